"""Mapping a function over many items: in this process, on several local ones, or on a Ray cluster.

Results come in the order in which they are done. At no moment are more items under way than are needed to keep every
worker busy, so memory does not grow with the number of items.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

from mame.errors import MameError

T = TypeVar("T")
R = TypeVar("R")

LOCAL_RAY = "local"
AHEAD = 2  # items handed out for every worker: one at work, one waiting
PARENT_CHECK_S = 1.0
CONNECT_S = 10.0
RAY_RETRIES = 3  # of an item whose node or process was lost
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
MEMORY = Path("/proc/meminfo")
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What became of item `index`: its value, or, where the process at work on it died again and again, why not."""

    index: int
    value: R | None = None
    lost: str | None = None


def map_items(
    work: Callable[[T], R], items: Iterable[tuple[int, T]], workers: int = 1, ray: str | None = None
) -> Iterator[Outcome[R]]:
    """`work` on every (number, item), in the order in which they are done.

    workers: processes on this machine; 1 works in this process. ray: the address of a Ray cluster, or `local` to
    start one here; then `workers` is not looked at, and every CPU of the cluster is used. `work` and the items must be
    picklable; on a cluster the files they name must be reachable from every node.
    An item whose process dies (killed for memory, a decoder that crashed) is tried again alone, and is then given up
    as `Outcome.lost`; the others are not harmed. What `work` raises is raised here, after the items under way ended.
    Raises MameError for workers below 1, where no process can be started, for a missing Ray, and for a cluster that
    can't be reached.
    """
    if workers < 1:
        raise MameError(f"workers must be at least 1, not {workers}")
    if ray is not None:
        yield from _on_ray(work, items, ray)
    elif workers == 1:
        for index, item in items:
            yield Outcome(index, work(item))
    else:
        yield from _on_processes(work, items, workers)


def usable_cores() -> int:
    """How many cores this process may use: those there are, less what a container or an affinity mask withholds."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota()))


def _quota() -> int:
    """The container's share of CPUs, rounded up; a large number where there is no limit."""
    try:
        quota, period = CGROUP_QUOTA.read_text(encoding="ascii").split()[:2]
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # "max" is no number: no limit
        return 1 << 16


def usable_workers(bytes_each: int) -> int:
    """How many processes of that size are worth running: as many as cores, and no more than the free memory holds."""
    try:
        lines = dict(line.split(":", 1) for line in MEMORY.read_text(encoding="ascii").splitlines())
        free_bytes = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):  # not Linux
        return usable_cores()
    return max(1, min(usable_cores(), free_bytes // bytes_each))


# -- local processes ------------------------------------------------------------------------------------------------


def _on_processes(work: Callable[[T], R], items: Iterable[tuple[int, T]], workers: int) -> Iterator[Outcome[R]]:
    waiting = iter(items)
    while True:
        under_way: dict[Future[R], tuple[int, T]] = {}
        pool = _pool(workers)
        try:
            yield from _drained(pool, work, waiting, under_way, workers * AHEAD)
            return
        except BrokenProcessPool:
            suspects = sorted(under_way.values(), key=lambda pair: pair[0])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        _check_that_processes_start()
        for index, item in suspects:
            yield _alone(work, index, item)


def _drained(
    pool: ProcessPoolExecutor,
    work: Callable[[T], R],
    waiting: Iterator[tuple[int, T]],
    under_way: dict[Future[R], tuple[int, T]],
    limit: int,
) -> Iterator[Outcome[R]]:
    """Hands out all items; where the pool breaks, `under_way` holds those without a result."""
    exhausted = False
    while under_way or not exhausted:
        while not exhausted and len(under_way) < limit:
            pair = next(waiting, None)
            if pair is None:
                exhausted = True
            else:
                # entered before it is handed out: a pool that is broken already must not lose it
                future: Future[R] = Future()
                under_way[future] = pair
                submitted = pool.submit(work, pair[1])
                del under_way[future]
                under_way[submitted] = pair
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            value = future.result()
            index, _ = under_way.pop(future)
            yield Outcome(index, value)


def _alone(work: Callable[[T], R], index: int, item: T) -> Outcome[R]:
    with _pool(1) as pool:
        try:
            return Outcome(index, pool.submit(work, item).result())
        except BrokenProcessPool:
            return Outcome(index, lost="the process that worked on it died, perhaps for lack of memory")


def _check_that_processes_start() -> None:
    """Else every item of thousands would be given up, one dead process after the other."""
    if _alone(abs, 0, 0).lost is not None:
        raise MameError(
            "a worker process dies as it starts; a script that asks for workers has to do so under "
            'if __name__ == "__main__":'
        )


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """In a new process: one thread, Ctrl-C is the parent's to handle, and no life after the parent's."""
    for name in _THREAD_LIMITS:
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os._exit(1)


# -- Ray ------------------------------------------------------------------------------------------------------------


def _on_ray(work: Callable[[T], R], items: Iterable[tuple[int, T]], address: str) -> Iterator[Outcome[R]]:
    ray, started = _connected(address)
    try:
        yield from _ray_drained(ray, work, iter(items))
    finally:
        if started:
            with suppress(Exception):  # a cluster that is gone can't be left
                ray.shutdown()


def _connected(address: str) -> tuple[Any, bool]:
    """(the module, connected; whether it was connected here)."""
    try:
        import ray
    except ImportError:
        raise MameError("--ray needs the package ray: pip install 'mam-e[cluster]'") from None
    if ray.is_initialized():
        return ray, False
    _check_reachable(address)
    try:
        ray.init(
            address=address,  # "local" is Ray's word, too; None would take any cluster that ever ran here
            include_dashboard=False if address == LOCAL_RAY else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (Exception, SystemExit) as error:  # what it raises for a cluster that isn't there has no common base
        reason = " ".join(str(error).split())[:160]
        raise MameError(f"Ray cluster {address!r} can't be reached: {reason or type(error).__name__}") from None
    return ray, True


def _check_reachable(address: str) -> None:
    """Ray itself tries for five minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise MameError(f"Ray cluster {address!r} can't be reached: {error}") from None


def _ray_drained(ray: Any, work: Callable[[T], R], waiting: Iterator[tuple[int, T]]) -> Iterator[Outcome[R]]:
    remote = ray.remote(num_cpus=1, max_retries=RAY_RETRIES)(_one_thread_work)
    stored = ray.put(work)
    under_way: dict[Any, int] = {}
    exhausted = False
    while under_way or not exhausted:
        limit = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))  # nodes come and go
        while not exhausted and len(under_way) < limit:
            pair = next(waiting, None)
            if pair is None:
                exhausted = True
            else:
                under_way[remote.remote(stored, pair[1])] = pair[0]
        done, _ = ray.wait(list(under_way), num_returns=1)
        for reference in done:
            yield _ray_outcome(ray, reference, under_way.pop(reference))


def _ray_outcome(ray: Any, reference: Any, index: int) -> Outcome[Any]:
    try:
        return Outcome(index, ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
        return Outcome(index, lost="the process that worked on it died again and again, perhaps for lack of memory")


def _one_thread_work(work: Callable[[T], R], item: T) -> R:
    for name in _THREAD_LIMITS:
        os.environ.setdefault(name, "1")
    return work(item)
