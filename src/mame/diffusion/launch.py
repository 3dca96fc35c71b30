"""One training on several processes of this machine: one a GPU, or CPU processes that talk through gloo."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

from mame.cluster import usable_cores
from mame.diffusion.config import TrainConfig
from mame.errors import MameError

END_S = 60.0  # how long processes may take to end once one of them has failed
LINE, PROGRESS, MISTAKE, STOPPED, LOST, DONE = "line", "progress", "mistake", "stopped", "lost", "done"


def launch(
    config: TrainConfig,
    resume: bool,
    announce: Callable[[str], None],
    progress: Callable[[int, int, str], None] | None,
) -> Path:
    """Run `train` in config.processes processes; returns and raises what it does there.

    SIGINT and SIGTERM are passed on, and all end after the same step, with a checkpoint.
    """
    context = get_context("spawn")
    port = _free_port()
    ends, processes = [], []
    for rank in range(config.processes):
        here, there = context.Pipe()
        process = context.Process(
            target=_run, args=(rank, port, config, resume, progress is not None, there), name=f"train-{rank}"
        )
        process.start()
        there.close()
        ends.append(here)
        processes.append(process)

    def forward(number: int, _: Any) -> None:
        for process in processes:
            if process.is_alive() and process.pid:
                os.kill(process.pid, number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    answers: list[tuple[str, Any]] = []
    try:
        answers = _listen(ends, announce, progress)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        patience_s = END_S if len(answers) == len(processes) else 0.0  # else some wait for one that has failed
        for process in processes:
            process.join(timeout=patience_s)
            if process.is_alive():
                process.kill()
                process.join()
    for kind, value in answers:
        if kind == MISTAKE:
            raise MameError(str(value))
        if kind == STOPPED:
            raise KeyboardInterrupt if value == signal.SIGINT else SystemExit(128 + int(value))
    if any(kind != DONE for kind, _ in answers):
        raise MameError(f"{config.out}: a process of the training ended without a word; --resume goes on")
    return config.out / "model"


def _listen(
    ends: list[Any], announce: Callable[[str], None], progress: Callable[[int, int, str], None] | None
) -> list[tuple[str, Any]]:
    """How each process ended; returns at the first that did not end well."""
    answers: list[tuple[str, Any]] = []
    left = list(ends)
    while left:
        for ready in connection.wait(left):
            end: Any = ready
            kind: str = LOST
            value: Any = None
            with suppress(EOFError):
                kind, value = end.recv()
            if kind == LINE:
                announce(value)
            elif kind == PROGRESS and progress is not None:
                progress(*value)
            else:
                answers.append((kind, value))
                left.remove(end)
                if kind in (MISTAKE, LOST):
                    return answers
    return answers


def _run(rank: int, port: int, config: TrainConfig, resume: bool, bar: bool, told: Any) -> None:
    """One process: what `accelerate launch` would set, then the same `train`."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(config.processes),
        "LOCAL_WORLD_SIZE": str(config.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // config.processes)))
    import torch

    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    from mame.diffusion.train import train

    try:
        train(
            config,
            resume,
            lambda text: told.send((LINE, text)),
            (lambda *facts: told.send((PROGRESS, facts))) if bar else None,
        )
        told.send((DONE, None))
    except MameError as error:
        told.send((MISTAKE, str(error)))
    except KeyboardInterrupt:
        told.send((STOPPED, int(signal.SIGINT)))
    except SystemExit as error:
        told.send((STOPPED, int(error.code or 128) - 128))
    finally:
        told.close()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
