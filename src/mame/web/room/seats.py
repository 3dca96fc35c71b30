"""One window a reader: a link that is opened twice at once reads in the window that says so."""

from __future__ import annotations

import secrets
import threading
import time

AWAY_S = 20.0
"""A window that has not been heard of for so long is closed or asleep."""


class Seats:
    """Who sits where. Held in memory: after a restart the first window of a reader to come back has the seat."""

    def __init__(self) -> None:
        self._seats: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def take(self, reader: int, instead: bool = False) -> str | None:
        """A new seat for a reader; None where another window has it, unless this one is to read `instead`."""
        with self._lock:
            held = self._seats.get(reader)
            if held is not None and time.monotonic() - held[1] < AWAY_S and not instead:
                return None
            seat = secrets.token_urlsafe(12)
            self._seats[reader] = (seat, time.monotonic())
            return seat

    def holds(self, reader: int, seat: str) -> bool:
        """Whether this window has the reader's seat; it then keeps it."""
        with self._lock:
            held = self._seats.get(reader)
            if held is not None and held[0] != seat:
                return False
            self._seats[reader] = (seat, time.monotonic())
            return True

    def leave(self, reader: int, seat: str) -> None:
        """The window was closed."""
        with self._lock:
            if self._seats.get(reader, ("",))[0] == seat:
                del self._seats[reader]
