"""Reading and writing a mammogram, whatever its format: the first bytes tell it when read, the suffix when written."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.formats.dicom import read_dicom, read_dicom_uncleared, write_dicom
from mame.formats.dicom.read import is_dicom
from mame.formats.png import read_png, read_png_uncleared, write_png
from mame.formats.record import MAX_SPACING_MM
from mame.mammogram import Mammogram, SpacingOrigin

__all__ = ["DICOM_SUFFIXES", "SUFFIXES", "atomic_write", "read", "read_uncleared", "write"]

DICOM_SUFFIXES = (".dcm", ".dicom")
SUFFIXES = (".png", *DICOM_SUFFIXES)
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P5\n", b"P5 ", b"P5\r", b"P5\t")
_LONGEST_START = 132


def read(path: str | os.PathLike[str], spacing_mm: float | None = None) -> Mammogram:
    """The mammogram in a DICOM, PNG, JPEG or PGM file; the first bytes tell which, not the name.

    spacing_mm: the pixel spacing where the user knows it; it goes before the file's own. Raises MameError that names
    the file where it is missing, of another kind, damaged or shows no breast, and for a spacing that can't be.
    """
    return _read(path, spacing_mm, read_dicom, read_png)


def read_uncleared(path: str | os.PathLike[str], spacing_mm: float | None = None) -> Mammogram:
    """The same as :func:`read`, for callers that look for the breast themselves, at about half the cost.

    Air keeps its greys, nobody has looked on which side the chest wall is, and a picture without a breast passes.
    """
    return _read(path, spacing_mm, read_dicom_uncleared, read_png_uncleared)


def _read(
    path: str | os.PathLike[str],
    spacing_mm: float | None,
    dicom: Callable[[Path], Mammogram],
    picture: Callable[[Path], Mammogram],
) -> Mammogram:
    place = Path(path)
    if spacing_mm is not None and not (math.isfinite(spacing_mm) and 0 < spacing_mm < MAX_SPACING_MM):
        raise MameError(f"pixel spacing {spacing_mm} mm: it must be positive and less than {MAX_SPACING_MM:g} mm")
    start = _start(place)
    if start.startswith(_PICTURES):
        found = picture(place)
    elif is_dicom(start):
        found = dicom(place)
    else:
        raise MameError(f"{place}: is not a DICOM, PNG, JPEG or PGM file")
    if spacing_mm is None:
        return found
    return found.with_(spacing_mm=spacing_mm, spacing_origin=SpacingOrigin.GIVEN)


def write(mammogram: Mammogram, path: str | os.PathLike[str], force: bool = False) -> None:
    """Writes a mammogram as the suffix says: .png (16-bit grey) or .dcm, .dicom (DICOM, uncompressed).

    Raises MameError for another suffix, for an existing file without `force`, and as `write_png` and `write_dicom` do.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        write_png(mammogram, path, force)
    elif suffix in DICOM_SUFFIXES:
        write_dicom(mammogram, path, force=force)
    else:
        raise MameError(f"{path}: the name must end in {', '.join(SUFFIXES)}")


def _start(place: Path) -> bytes:
    try:
        with open(place, "rb") as file:
            return file.read(_LONGEST_START)
    except OSError as error:
        raise MameError(f"{place}: {error.strerror or error}") from error
