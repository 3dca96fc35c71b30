"""The training loop: one for every goal, from top to bottom.

What is random in step s comes from (seed, s) alone, and batches are cut by index, so a run that was stopped goes on
exactly where it was, and several processes make the step that one would.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate.accelerator import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils.dataclasses import InitProcessGroupKwargs

from mame.diffusion.checkpoints import (
    Average,
    best_facts,
    collect,
    load_best,
    load_checkpoint,
    newest,
    save_best,
    save_checkpoint,
    trainable,
)
from mame.diffusion.config import Goal, Precision, Result, Tracker, TrainConfig
from mame.diffusion.data import Data, examples_of, open_data
from mame.diffusion.distill import Shortcuts
from mame.diffusion.feed import Feed
from mame.diffusion.machine import Settled, make_optimizer, memory_end_told, save_memory_and_time, settle
from mame.diffusion.objectives import Decode, Denoise
from mame.diffusion.preview import sample_grid
from mame.diffusion.shard import asked_by_launcher, cut, full, put_together
from mame.diffusion.start import choose_trainable, save_result, starting_parts
from mame.diffusion.watch import Announce, Progress, Watch, check_tracker
from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.formats.lock import hold_alone

SKIPPED_AT_MOST = 20  # steps in a row that fp16's scaling may drop before the run counts as diverged


class DivergenceError(MameError):
    """The loss is no longer a number, or has risen far above where it was."""


def train(
    config: TrainConfig, resume: bool = False, announce: Announce = print, progress: Progress | None = None
) -> Path:
    """Train what `config` asks for and return the folder of the finished model (`out/model`).

    SIGINT and SIGTERM end it after the step at hand, with a checkpoint: KeyboardInterrupt or SystemExit(143) is raised
    then. Raises MameError for a base that can't be trained so, a run folder of other options, and what `fit` raises.
    """
    if config.processes > 1 and "WORLD_SIZE" not in os.environ:
        from mame.diffusion.launch import launch

        return launch(config, resume, announce, progress)
    check_tracker(config)
    settled = settle(config)
    sharded = asked_by_launcher() or config.shard
    accelerator = open_accelerator(config, settled)
    config = config.model_copy(
        update={"processes": accelerator.num_processes, "shard": sharded and accelerator.num_processes > 1}
    )
    say = announce if accelerator.is_main_process else _silent
    examples_of(config)  # a wrong name must not leave a run behind
    _check_folder(config, resume)  # before minutes go into opening a large base
    if settled.instead:
        say(settled.instead)
    say(f"trains on {settled}")
    with memory_end_told(config):
        parts = starting_parts(config, say)
        with _held(config.out, accelerator), _Stop() as stop:
            run = _open_run(config, resume, accelerator)
            data = fit(config, parts, run, say, progress, stop, settled, accelerator)
        if stop.asked is not None:
            say(f"stopped; {run} goes on with --resume")
            raise KeyboardInterrupt if stop.asked == signal.SIGINT else SystemExit(128 + stop.asked)
        if accelerator.is_main_process:
            save_result(parts, config, data)
    accelerator.wait_for_everyone()
    return config.out / "model"


def fit(
    config: TrainConfig,
    parts: Any,
    run: Path,
    announce: Announce = print,
    progress: Progress | None = None,
    stop: _Stop | None = None,
    settled: Settled | None = None,
    accelerator: Accelerator | None = None,
) -> Data:
    """Train `parts` (a model's tokenizer, text_encoder, autoencoder, unet, scheduler) in place; returns its data.

    In the end the parts hold the average of the last step, or of the one with the lowest validation loss, as
    config.result says. Goes on from the newest checkpoint in `run`; writes metrics.jsonl, checkpoints/ and samples/.
    Raises DivergenceError where the loss stops being finite or the validation loss rises above config.stop_above times
    its lowest; the last good checkpoint is kept. Raises MameError on a full disk, and where memory ends.
    """
    settled = settled or settle(config)
    accelerator = accelerator or open_accelerator(config, settled)
    stop = stop or _Stop()
    device, checkpoints = accelerator.device, run / "checkpoints"

    choose_trainable(parts, config)
    with accelerator.main_process_first():  # the others find the cache filled
        data = open_data(config, parts, device, announce)
    objective: Any = (
        Decode(parts.autoencoder, config)
        if config.goal is Goal.AUTOENCODER
        else (Shortcuts if config.goal is Goal.FAST else Denoise)(
            parts.unet, parts.text_encoder, parts.tokenizer, parts.scheduler, config
        )
    )
    objective.train().to(device, memory_format=torch.contiguous_format if config.shard else settled.memory_format)
    save_memory_and_time(objective, config, settled)
    whole = cut(objective) if config.shard else {}
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = make_optimizer(trained, config, settled)
    average = Average(objective, config.ema_decay)
    first, skipped = 0, 0
    if (found := newest(checkpoints)) is not None:
        facts = load_checkpoint(found, objective, average, optimizer)
        first = int(facts["step"])
        if accelerator.scaler is not None and "scaler" in facts:
            accelerator.scaler.load_state_dict(facts["scaler"])
        announce(f"resumed from {found.name}")
    optimizer = accelerator.prepare(optimizer)
    wrapped = objective if config.shard else accelerator.prepare(objective)
    feed = Feed(data, objective, config, accelerator.process_index, device)
    watch = Watch(config, run, accelerator, announce, progress, first)
    watch.log(first, event="start", machine=str(settled), pictures=data.count, held_out=len(data.held_out))
    lowest = float(best_facts(checkpoints).get("validation_loss", math.inf))

    def validate(step: int) -> None:
        """Tell the loss of the average on held-out pictures, keep it if it is the best, stop where it has risen far."""
        nonlocal lowest
        with average.in_place(objective):
            value = validation_loss(objective, feed, accelerator)
            weights = trainable(objective) if value < lowest else {}
        if weights and accelerator.is_main_process:
            save_best(checkpoints, weights, {"step": step, "validation_loss": value})
        if not math.isfinite(value) or value > config.stop_above * lowest:
            raise _diverged(run, step, f"the validation loss is {value:.4g}, after {lowest:.4g}")
        watch.log(step, validation_loss=value)
        watch.say(f"step {step}  validation loss {value:.4f}")
        lowest = min(lowest, value)

    def show(step: int) -> None:
        """A grid of samples of the average."""
        with average.in_place(objective):
            grid = sample_grid(parts, config, run / "samples" / f"step-{step:07d}.png")
        watch.show(step, "samples", grid)

    # cut networks work in all processes together, and a grid is drawn by one
    samples = config.sample_every and config.goal is not Goal.AUTOENCODER and accelerator.is_main_process
    samples = samples and not config.shard
    if first == 0 and len(data.held_out):
        validate(0)
    if first == 0 and samples:
        show(0)
    for step, batches in enumerate(feed.steps(first, config.steps), start=first + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step - 1)
        loss = torch.zeros((), device=device)
        for number, batch in enumerate(batches, start=1):
            apart = accelerator.no_sync(wrapped) if number < len(batches) else nullcontext()
            with apart, accelerator.autocast():
                part = wrapped(batch) / len(batches)
                accelerator.backward(part)
            loss += part.detach()
        norm = full(accelerator.clip_grad_norm_(trained, config.max_grad_norm))
        loss = accelerator.reduce(loss, reduction="mean")
        skipped = _checked(loss, norm, skipped, accelerator, run, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(objective, step)

        ends = _everyone(stop.asked is not None, accelerator)
        last = ends or step == config.steps
        watch.step(step, loss, learning_rate(config, step - 1))
        if len(data.held_out) and (step % config.validate_every == 0 or last):
            validate(step)
        if step % config.checkpoint_every == 0 or last:
            kept = collect(objective, average, optimizer) if config.shard or accelerator.is_main_process else None
            if kept is not None and accelerator.is_main_process:
                scaler = {"scaler": accelerator.scaler.state_dict()} if accelerator.scaler is not None else {}
                save_checkpoint(checkpoints, step, kept, config.keep_checkpoints, scaler)
        if samples and (step % config.sample_every == 0 or last):
            show(step)
        if ends:
            break

    watch.end()
    average.swap(objective)
    if config.result is Result.BEST and math.isfinite(lowest):
        accelerator.wait_for_everyone()  # it may just be being written
        load_best(checkpoints, objective)
    if whole:
        put_together(parts, objective, whole)
    return data


def open_accelerator(config: TrainConfig, settled: Settled) -> Accelerator:
    """One process, or as many as `accelerate launch`, torchrun or --processes have started."""
    AcceleratorState._reset_state()  # type: ignore[no-untyped-call]  # of an earlier run in this process
    return Accelerator(
        mixed_precision="no" if settled.precision is Precision.FP32 else str(settled.precision),
        cpu=settled.device.type == "cpu",
        log_with=None if config.tracker is Tracker.NONE else str(config.tracker),
        project_dir=str(config.out),
        # the others wait while one process fills the cache
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=24))],
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine from learning_rate to final_learning_rate (constant where that is 0)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.final_learning_rate == 0.0:
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    fall = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * fall


@torch.no_grad()
def validation_loss(objective: Any, feed: Feed, accelerator: Accelerator) -> float:
    """Mean loss of the weights in `objective` on the held-out pictures, over all processes."""
    total = torch.zeros(2, device=feed.device, dtype=torch.float64)
    for batch, count in feed.validation():
        with accelerator.autocast():
            total += torch.tensor([float(objective(batch)) * count, count], device=feed.device, dtype=torch.float64)
    total = accelerator.reduce(total, reduction="sum")
    return float(total[0] / total[1])


def _checked(loss: torch.Tensor, norm: Any, skipped: int, accelerator: Accelerator, run: Path, step: int) -> int:
    """Steps in a row without a finite gradient; raises DivergenceError where that is more than fp16's scaling does."""
    if math.isfinite(float(loss)) and math.isfinite(float(norm)):
        return 0
    if accelerator.scaler is None or not math.isfinite(float(loss)) or skipped >= SKIPPED_AT_MOST:
        raise _diverged(run, step, f"the loss is {float(loss):.4g} and its gradient {float(norm):.4g}")
    return skipped + 1


def _diverged(run: Path, step: int, what: str) -> DivergenceError:
    return DivergenceError(f"{run}: {what} at step {step}; the last checkpoint is kept: lower learning_rate")


def _everyone(asked: bool, accelerator: Accelerator) -> bool:
    """Whether any process was asked to stop: all stop after the same step."""
    if accelerator.num_processes == 1:
        return asked
    told = torch.tensor(float(asked), device=accelerator.device)
    return bool(accelerator.reduce(told, reduction="sum") > 0)


@contextmanager
def _held(run: Path, accelerator: Accelerator) -> Iterator[None]:
    """The folder for this run alone: two that write checkpoints there would each go on from the other's."""
    if not accelerator.is_main_process:
        yield
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        folder = os.open(run, os.O_RDONLY)
    except OSError as error:
        raise MameError(f"{run}: cannot be written: {error.strerror}") from error
    try:
        hold_alone(folder, run)
        yield
    finally:
        os.close(folder)


def _check_folder(config: TrainConfig, resume: bool) -> None:
    """Raises MameError where the run's folder holds another run."""
    run = config.out
    told = run / "config.yaml"
    if told.exists():
        if not resume:
            raise MameError(f"{run} holds a run already: --resume continues it, or choose another folder")
        changed = config.differences(TrainConfig.read(told))
        if changed:
            raise MameError(f"{run} was started with other options: {', '.join(changed)}")


def _open_run(config: TrainConfig, resume: bool, accelerator: Accelerator) -> Path:
    run = config.out
    told = run / "config.yaml"
    _check_folder(config, resume)
    accelerator.wait_for_everyone()  # all have looked before one writes
    if accelerator.is_main_process:
        try:
            run.mkdir(parents=True, exist_ok=True)
            with atomic_write(told, force=True) as file:
                file.write(config.to_yaml().encode())
        except OSError as error:
            raise MameError(f"{run}: cannot be written: {error.strerror}") from error
    return run


def _silent(_: str) -> None:
    pass


class _Stop:
    """Remembers that SIGINT or SIGTERM came, so that the step at hand can be finished."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not in the main thread: whoever runs us there stops us in another way
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: Any) -> None:
        self.asked = number
