"""Reading a prepared data set back: its rows, pictures, masks and windows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame.dataset.layout import METADATA, WINDOWS, Row, Split, WindowRow, open_folder, read_rows, read_windows
from mame.errors import MameError
from mame.imaging.intensity import uint16_to_pixels
from mame.mammogram import Description, Lesion, Mammogram, SpacingOrigin

SIMULATION = "phantom"
"""The source without patients."""


@dataclass(frozen=True)
class PreparedSet:
    """A prepared folder. about: what its dataset.json says."""

    folder: Path
    about: dict[str, Any]

    @property
    def splits(self) -> tuple[Split, ...]:
        """The sides that have images."""
        return tuple(split for split in Split if (self.folder / split / METADATA).is_file())

    @property
    def framing(self) -> str:
        """The frame of its pictures ("field" or "center_crop"); "" where sets of several frames were joined."""
        found = _framings(self.about["order"])
        return found.pop() if len(found) == 1 else ""

    @property
    def keys(self) -> set[str]:
        """Fingerprints of the keys that its patients' pseudonyms were made with; none for simulations."""
        return _keys(self.about["order"])

    def rows(self, split: Split | str) -> list[Row]:
        """The rows of one side, in the file's order; none where the side has no images."""
        return list(self.iterate(split))

    def iterate(self, split: Split | str) -> Iterator[Row]:
        """The same rows, one at a time."""
        path = self.folder / Split(split) / METADATA
        if path.is_file():
            yield from read_rows(path)

    @cached_property
    def windows(self) -> list[WindowRow]:
        """The windows around lesions, all sides together."""
        path = self.folder / WINDOWS / METADATA
        return list(read_windows(path)) if path.is_file() else []

    def mammogram(self, split: Split | str, row: Row) -> Mammogram:
        """The picture of a row with its lesions and their masks. Raises MameError where a file can't be read."""
        place = self.folder / Split(split)
        lesions = tuple(
            Lesion(
                lesion.kind,
                lesion.box,
                read_mask(place / lesion.mask),
                lesion.birads or None,
                lesion.pathology or None,
            )
            for lesion in row.lesions
        )
        return Mammogram(
            read_picture(place / row.file_name),
            row.spacing_mm,
            row.side,
            Description(**row.known, lesion=lesions[0].kind if lesions else None),
            lesions,
            patient=row.patient,
            source=f"{row.source} {row.source_id}",
            spacing_origin=SpacingOrigin(row.spacing_origin),
        )

    def mammograms(self, split: Split | str) -> Iterator[tuple[Row, Mammogram]]:
        """Rows and pictures of one side, one at a time."""
        for row in self.iterate(split):
            yield row, self.mammogram(split, row)


def _framings(order: dict[str, Any]) -> set[str]:
    joined: list[dict[str, Any]] = order.get("fused", [])
    return set().union(*map(_framings, joined)) if joined else {str(order.get("framing", ""))}


def _keys(order: dict[str, Any]) -> set[str]:
    joined: list[dict[str, Any]] = order.get("fused", [])
    if joined:
        return set().union(*map(_keys, joined))
    return {str(order["key"])} if order.get("key") and order.get("source") != SIMULATION else set()


def open_set(folder: str | os.PathLike[str]) -> PreparedSet:
    """A prepared folder. Raises MameError where it is none, or not finished."""
    return PreparedSet(Path(folder), open_folder(folder))


def read_values(path: Path) -> NDArray[np.uint16]:
    """The stored 16-bit values (H, W) of a prepared picture. Raises MameError that names the file."""
    values = _opened(path)
    if values.ndim != 2 or values.dtype != np.uint16:
        raise MameError(f"{path}: is not a 16-bit grey picture")
    return values


def read_picture(path: Path) -> NDArray[np.float32]:
    """The greys in [0, 1] (H, W) of a prepared picture. Raises MameError that names the file."""
    return uint16_to_pixels(read_values(path))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The mask (H, W) in a prepared set's file. Raises MameError that names the file."""
    values = _opened(path)
    if values.ndim != 2 or values.dtype != np.uint8:
        raise MameError(f"{path}: is not an 8-bit grey mask")
    return values > 127


def _opened(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode == "I":  # what an older Pillow makes of 16 bits
                return np.asarray(image).astype(np.uint16)
            return np.asarray(image)
    except OSError as error:  # Pillow's own errors are of this kind, too
        raise MameError(f"{path}: {error.strerror or 'damaged or not a PNG picture'}") from None
    except (ValueError, SyntaxError, EOFError) as error:
        raise MameError(f"{path}: damaged ({error})") from None
