"""Long work in a thread of its own, told step by step to a page that may stop asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Generic, TypeVar

T = TypeVar("T")


_stops: set[threading.Event] = set()
NAME = "studio work"
PATIENCE_S = 20.0


class StopError(Exception):
    """Somebody pressed stop, or closed the page."""


def told_by(work: Callable[[Callable[[T], None]], None]) -> Iterator[T]:
    """What `work` tells, as it tells it. Closing the iterator ends the work the next time it tells something.

    Whatever work raises is raised here.
    """
    told: Queue[_Said[T]] = Queue()
    stop = threading.Event()
    _stops.add(stop)

    def tell(value: T) -> None:
        if stop.is_set():
            raise StopError
        told.put(_Said(value=value))

    def run() -> None:
        try:
            work(tell)
            told.put(_Said(over=True))
        except StopError:
            told.put(_Said(over=True))
        except BaseException as error:  # told where it was asked
            told.put(_Said(over=True, error=error))

    thread = threading.Thread(target=run, name=NAME, daemon=True)
    thread.start()
    try:
        while True:
            said = told.get()
            if said.error is not None:
                raise said.error
            if said.over or said.value is None:
                return
            yield said.value
    finally:
        stop.set()
        thread.join()
        _stops.discard(stop)


def stop_all() -> None:
    """Ends all work that runs at its next step, and waits for that: threads must not outlive the interpreter."""
    for stop in list(_stops):
        stop.set()
    until = time.monotonic() + PATIENCE_S
    for thread in [one for one in threading.enumerate() if one.name == NAME]:
        thread.join(max(until - time.monotonic(), 0))


class _Said(Generic[T]):
    def __init__(self, value: T | None = None, over: bool = False, error: BaseException | None = None) -> None:
        self.value, self.over, self.error = value, over, error
