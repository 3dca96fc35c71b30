"""Long work in a thread of its own, told step by step to a page that may stop asking."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Generic, TypeVar

T = TypeVar("T")


class StopError(Exception):
    """Somebody pressed stop, or closed the page."""


def told_by(work: Callable[[Callable[[T], None]], None]) -> Iterator[T]:
    """What `work` tells, as it tells it. Closing the iterator ends the work the next time it tells something.

    Whatever work raises is raised here.
    """
    told: Queue[_Said[T]] = Queue()
    stop = threading.Event()

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

    thread = threading.Thread(target=run, daemon=True)
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


class _Said(Generic[T]):
    def __init__(self, value: T | None = None, over: bool = False, error: BaseException | None = None) -> None:
        self.value, self.over, self.error = value, over, error
