"""One run at a time in a folder: a lock that ends with its process, so that a killed run leaves nothing to clear up."""

from __future__ import annotations

from pathlib import Path

from mame.errors import MameError


def hold_alone(descriptor: int, folder: Path) -> None:
    """Lock an open file, or an open folder, until it is closed. `folder` is what the message names.

    Raises MameError where another process has it. Does nothing where the system or the disk has no locks.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MameError(f"{folder}: another run is writing here; wait until it is done, or stop it") from None
    except OSError:  # a file system without locks
        return
