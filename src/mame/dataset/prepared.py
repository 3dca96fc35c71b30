"""Examples to learn from in a prepared folder: its training side only, neighbours in the list from one patient.

A trainer holds out the last examples for validation: in this order they come from patients of their own, but for one.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame import prompt
from mame.dataset.examples import Crops, Example, Examples
from mame.dataset.layout import WINDOWS, Split
from mame.dataset.read import open_set, read_mask, read_picture
from mame.dataset.regions import marked_region
from mame.errors import MameError
from mame.mammogram import Description, LesionKind


@dataclass(frozen=True)
class Entry:
    """One example's files and words."""

    id: str
    picture: str
    mask: str
    description: Description


@dataclass(frozen=True)
class PreparedViews:
    """Whole pictures. entries: relative to folder; size: pixels a side, at most those prepared."""

    name: str
    folder: Path
    entries: tuple[Entry, ...]
    size: int
    key: str

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Example:
        entry = self.entries[index]
        return Example(entry.id, _sized(read_picture(self.folder / entry.picture), self.size), entry.description)

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class PreparedWindows:
    """Windows around lesions, and some around tissue without one; `region` is where a lesion model is to paint."""

    name: str
    folder: Path
    entries: tuple[Entry, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    size: int
    key: str

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Example:
        entry = self.entries[index]
        pixels = read_picture(self.folder / entry.picture)
        mask = read_mask(self.folder / entry.mask)
        if not mask.any():  # no lesion: where one could have been
            mask = _ellipse(self.boxes[index], mask.shape)
        mask = _sized(mask.astype(np.float32), self.size) >= 0.5
        rng = np.random.default_rng([index, 5])
        return Example(entry.id, _sized(pixels, self.size), entry.description, marked_region(rng, mask), mask)

    def __hash__(self) -> int:
        return hash(self.key)


def open_prepared(folder: str, kind: str, size: int) -> Examples:
    """The views (healthy pictures), windows or crops of a prepared folder's training side.

    Crops are four pieces of every picture and every window. Raises MameError as `open_views` does.
    """
    if kind == "views":
        return open_views(folder, size, healthy=True)
    if kind == "windows":
        return open_windows(folder, size)
    whole: list[Examples] = [open_views(folder, size, healthy=False)]
    with suppress(MameError):  # a set without lesions has no windows
        whole.append(open_windows(folder, size))
    return Crops(folder, tuple(whole), Crops.each * len(whole) * max(len(examples) for examples in whole))


def open_views(folder: str, size: int, *, healthy: bool) -> PreparedViews:
    """The pictures of a prepared folder's training side. healthy: only those without a lesion, marked or dropped.

    Raises MameError where the folder is no prepared set, has no such picture, or was prepared smaller than `size`.
    """
    found = open_set(folder)
    _check_size(folder, int(found.about["order"]["size"]), size)
    rows = [row for row in found.iterate(Split.TRAIN) if not (healthy and (row.lesions or row.dropped))]
    if not rows:
        raise MameError(f"{folder}: has no {'healthy ' if healthy else ''}picture on its training side")
    rows.sort(key=lambda row: (row.patient, row.file_name))
    entries = tuple(
        Entry(
            Path(row.file_name).stem,
            f"{Split.TRAIN}/{row.file_name}",
            f"{Split.TRAIN}/{row.mask_file_name}",
            _said(row.text, Description(**row.known, lesion=row.lesions[0].kind if row.lesions else None)),
        )
        for row in rows
    )
    return PreparedViews(folder, Path(folder), entries, size, _key("views", entries, [r.sha256 for r in rows], size))


def open_windows(folder: str, size: int) -> PreparedWindows:
    """The windows of a prepared folder's training side. Raises MameError as `open_views` does."""
    found = open_set(folder)
    _check_size(folder, int(found.about["order"]["size"]), size)
    rows = [row for row in found.windows if row.split == Split.TRAIN]
    if not rows:
        raise MameError(f"{folder}: has no lesion window on its training side; prepare it with lesions and --windows")
    rows.sort(key=lambda row: (row.patient, row.file_name))
    entries = tuple(
        Entry(
            Path(row.file_name).stem,
            f"{WINDOWS}/{row.file_name}",
            f"{WINDOWS}/{row.mask_file_name}",
            _said(row.text, Description(**row.known, lesion=LesionKind(row.lesion) if row.lesion else None)),
        )
        for row in rows
    )
    boxes = tuple(row.box.as_tuple() for row in rows)
    return PreparedWindows(
        folder, Path(folder), entries, boxes, size, _key("windows", entries, [row.sha256 for row in rows], size)
    )


def _said(text: str, known: Description) -> Description:
    """What a caption says; for one that somebody wrote freely, all that is known."""
    said = prompt.parse(text)
    return known if said is None else said


def _check_size(folder: str, prepared: int, wanted: int) -> None:
    if wanted > prepared:
        raise MameError(f"{folder}: was prepared at {prepared} pixels, {wanted} are asked for; prepare it with --size")


def _key(kind: str, entries: tuple[Entry, ...], hashes: list[str], size: int) -> str:
    digest = hashlib.sha256()
    for entry, sha256 in zip(entries, hashes, strict=True):
        digest.update(f"{sha256} {entry.description}\n".encode())
    return f"prepared {kind} {digest.hexdigest()[:32]} {size}"


def _sized(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    if pixels.shape == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX), dtype=np.float32)


def _ellipse(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    x0, y0, x1, y1 = box
    inside = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1.0
    return np.asarray(inside)
