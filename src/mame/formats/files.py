"""Reading and writing a mammogram, whatever its format: the first bytes tell it when read, the suffix when written."""

from __future__ import annotations

import math
import os
from pathlib import Path

from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.formats.dicom import read_dicom, write_dicom
from mame.formats.dicom.read import is_dicom
from mame.formats.png import read_png, write_png
from mame.formats.record import MAX_SPACING_MM
from mame.mammogram import Mammogram, SpacingOrigin

__all__ = ["DICOM_SUFFIXES", "SUFFIXES", "atomic_write", "read", "write"]

DICOM_SUFFIXES = (".dcm", ".dicom")
SUFFIXES = (".png", *DICOM_SUFFIXES)
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_LONGEST_START = 132


def read(path: str | os.PathLike[str], spacing_mm: float | None = None) -> Mammogram:
    """The mammogram in a DICOM, PNG or JPEG file; the first bytes tell which, not the name.

    spacing_mm: the pixel spacing where the user knows it; it goes before the file's own. Raises MameError that names
    the file where it is missing, of another kind, damaged or shows no breast, and for a spacing that can't be.
    """
    place = Path(path)
    if spacing_mm is not None and not (math.isfinite(spacing_mm) and 0 < spacing_mm < MAX_SPACING_MM):
        raise MameError(f"pixel spacing {spacing_mm} mm: it must be positive and less than {MAX_SPACING_MM:g} mm")
    start = _start(place)
    if start.startswith(_PICTURES):
        found = read_png(place)
    elif is_dicom(start):
        found = read_dicom(place)
    else:
        raise MameError(f"{place}: is not a DICOM, PNG or JPEG file")
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
