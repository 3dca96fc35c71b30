"""Writing a file so that it is whole or absent: beside its place first, then moved there in one step."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mame.errors import MameError

PREFIX, SUFFIX = ".mam-e-", ".part"  # of what is being written


@contextmanager
def atomic_write(path: str | os.PathLike[str], force: bool = False) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the name `path` only when the block ends without an error.

    The bytes go to a hidden temporary file in the same folder, which is removed where the block fails. An existing
    file is replaced with `force` only. Raises MameError where `path` exists, where its folder is missing or may not
    be written to, or where the disk is full.
    """
    place = Path(path)
    if not force and os.path.lexists(place):
        raise _exists(place)
    if place.is_dir():
        raise MameError(f"{place}: is a folder, not a file")
    # a short name of its own: a long name of the target with a suffix could pass the limit of 255 bytes
    temporary = place.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
    try:
        with open(temporary, "xb") as file:
            yield file
        _move(temporary, place, force)
    except OSError as error:
        # errors about other files (raised inside the block by the caller's own reading) keep their own names
        if error.filename is not None and Path(error.filename) not in (temporary, place):
            raise
        raise MameError(f"{place}: {_reason(error, place)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Takes away what killed writers left in a folder, into which nobody may be writing now."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        path.unlink(missing_ok=True)


def _move(temporary: Path, place: Path, force: bool) -> None:
    if force:
        os.replace(temporary, place)
        return
    try:
        # a hard link refuses to replace, so that of two writers the second is told
        os.link(temporary, place)
    except FileExistsError:
        raise _exists(place) from None
    except OSError:  # file systems without hard links (FAT, some network shares)
        if os.path.lexists(place):
            raise _exists(place) from None
        os.replace(temporary, place)


def _exists(place: Path) -> MameError:
    return MameError(f"{place}: exists already; use --force (force=True) to replace it")


def _reason(error: OSError, place: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"folder {place.parent} does not exist"
    return error.strerror or str(error)
