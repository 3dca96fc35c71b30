"""Examples to learn from in a prepared folder, and those of other patients to validate on: its own sides.

Neighbours in the list are of one patient.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame import prompt
from mame.dataset.examples import Crops, Example, Examples
from mame.dataset.layout import METADATA, WINDOWS, Row, Split, WindowRow
from mame.dataset.read import PreparedSet, open_set, read_mask, read_picture
from mame.dataset.regions import Regions, region_of
from mame.errors import MameError
from mame.mammogram import Description, LesionKind


@dataclass(frozen=True)
class Entry:
    """One example's files and words. text: a caption in free words; each: the masks of its lesions, if several."""

    id: str
    picture: str
    mask: str
    description: Description
    text: str | None = None
    each: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreparedViews:
    """Whole pictures. entries: relative to folder; size: pixels a side, at most those prepared.

    marked: with their lesions.
    """

    name: str
    folder: Path
    entries: tuple[Entry, ...]
    size: int
    key: str
    marked: bool = False

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Example:
        entry = self.entries[index]
        pixels = _sized(read_picture(self.folder / entry.picture), self.size)
        lesion = _shrunk(read_mask(self.folder / entry.mask), self.size) if self.marked else None
        return Example(entry.id, pixels, entry.description, lesion=lesion, text=entry.text)

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class PreparedLesions:
    """Pictures with `region`, where a lesion model is to paint: windows, some around tissue without one, or views.

    boxes: where a lesion could have been, in a picture that has none.
    """

    name: str
    folder: Path
    entries: tuple[Entry, ...]
    boxes: tuple[tuple[float, float, float, float] | None, ...]
    size: int
    key: str
    regions: Regions

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Example:
        entry = self.entries[index]
        pixels = read_picture(self.folder / entry.picture)
        mask = read_mask(self.folder / entry.mask)
        box = self.boxes[index]
        if box is not None and not mask.any():
            mask = _ellipse(box, mask.shape)
        rng = np.random.default_rng([index, 5])
        parts = [read_mask(self.folder / path) for path in entry.each] or [mask]
        region = np.any([region_of(rng, _shrunk(part, self.size), self.regions) for part in parts], axis=0)
        whole = _shrunk(mask, self.size)
        return Example(entry.id, _sized(pixels, self.size), entry.description, region, whole, entry.text)

    def __hash__(self) -> int:
        return hash(self.key)


def open_prepared(folder: str, kind: str, size: int, regions: Regions = Regions.MIXED) -> Examples:
    """The views (healthy pictures, or "all"), windows, marked pictures or crops of a prepared folder's training side.

    Crops are four pieces of every picture and every window. Raises MameError where the folder is no prepared set, was
    prepared smaller than `size`, or has nothing of that kind, and for a picture without a caption.
    """
    return _open(folder, kind, size, regions, Split.TRAIN)


def open_validation(folder: str, kind: str, size: int, regions: Regions = Regions.MIXED) -> Examples | None:
    """The same of its validation side, or None where that has none."""
    found = open_set(folder)
    empty = Split.VALIDATION not in found.splits
    if kind == "windows":
        empty = not any(row.split == Split.VALIDATION for row in found.windows)
    if empty or kind == "crops":  # what a decoder gives back hangs on no patient: its own last crops will do
        return None
    try:
        return _open(folder, kind, size, regions, Split.VALIDATION)
    except MameError:
        return None


def _open(folder: str, kind: str, size: int, regions: Regions, split: Split) -> Examples:
    if kind == "views":
        return open_views(folder, size, split, healthy=True)
    if kind == "all":
        views = open_views(folder, size, split, healthy=False)
        return replace(views, key=f"{views.key} marked", marked=True)
    if kind == "windows":
        return open_windows(folder, size, regions, split)
    if kind == "marked":
        return open_marked(folder, size, regions, split)
    whole: list[Examples] = [open_views(folder, size, split, healthy=False)]
    with suppress(MameError):  # a set without lesions has no windows
        whole.append(open_windows(folder, size, regions, split))
    return Crops(folder, tuple(whole), Crops.each * len(whole) * max(len(examples) for examples in whole))


def open_views(folder: str, size: int, split: Split = Split.TRAIN, *, healthy: bool) -> PreparedViews:
    """The pictures of one side of a prepared folder.

    healthy: only those without a lesion, be it marked, dropped, or known of without a place.
    Raises MameError as `open_prepared` does.
    """
    found = _checked(folder, size)
    rows = [row for row in found.iterate(split) if not (healthy and row.shows_lesion)]
    if not rows:
        raise MameError(f"{folder}: has no {'healthy ' if healthy else ''}picture on its {split} side")
    rows.sort(key=lambda row: (row.patient, row.file_name))
    entries = tuple(_view_entry(found, split, row) for row in rows)
    return PreparedViews(folder, Path(folder), entries, size, _key("views", entries, [r.sha256 for r in rows], size))


def open_marked(folder: str, size: int, regions: Regions, split: Split = Split.TRAIN) -> PreparedLesions:
    """The whole pictures with lesions of one side. Raises MameError as `open_prepared` does."""
    found = _checked(folder, size)
    rows = [row for row in found.iterate(split) if row.lesions]
    if not rows:
        raise MameError(f"{folder}: has no picture with a lesion on its {split} side")
    rows.sort(key=lambda row: (row.patient, row.file_name))
    entries = tuple(_view_entry(found, split, row) for row in rows)
    key = _key("marked", entries, [row.sha256 + row.mask_sha256 for row in rows], size) + regions.key
    return PreparedLesions(folder, Path(folder), entries, (None,) * len(rows), size, key, regions)


def open_windows(folder: str, size: int, regions: Regions, split: Split = Split.TRAIN) -> PreparedLesions:
    """The windows of one side of a prepared folder. Raises MameError as `open_prepared` does."""
    found = _checked(folder, size)
    rows = [row for row in found.windows if row.split == split]
    if not rows:
        raise MameError(f"{folder}: has no lesion window on its {split} side; prepare it with lesions and --windows")
    rows.sort(key=lambda row: (row.patient, row.file_name))
    entries = tuple(_window_entry(found, row) for row in rows)
    boxes = tuple(row.box.as_tuple() for row in rows)
    key = _key("windows", entries, [row.sha256 for row in rows], size) + regions.key
    return PreparedLesions(folder, Path(folder), entries, boxes, size, key, regions)


def _checked(folder: str, wanted: int) -> PreparedSet:
    found = open_set(folder)
    prepared = int(found.about["order"]["size"])
    if wanted > prepared:
        raise MameError(f"{folder}: was prepared at {prepared} pixels, {wanted} are asked for; prepare it with --size")
    return found


def _view_entry(found: PreparedSet, split: Split, row: Row) -> Entry:
    kinds = {lesion.kind for lesion in row.lesions}
    lesion = LesionKind.LESION if len(kinds) > 1 else next(iter(kinds), None)
    said = _said(row.text, Description(**row.known, lesion=lesion), found.folder / split / METADATA, row.file_name)
    files = (f"{split}/{row.file_name}", f"{split}/{row.mask_file_name}")
    each = tuple(f"{split}/{lesion.mask}" for lesion in row.lesions) if len(row.lesions) > 1 else ()
    return Entry(Path(row.file_name).stem, *files, *said, each)


def _window_entry(found: PreparedSet, row: WindowRow) -> Entry:
    known = Description(**row.known, lesion=LesionKind(row.lesion) if row.lesion else None)
    said = _said(row.text, known, found.folder / WINDOWS / METADATA, row.file_name)
    files = (f"{WINDOWS}/{row.file_name}", f"{WINDOWS}/{row.mask_file_name}")
    return Entry(Path(row.file_name).stem, *files, *said)


def _said(text: str, known: Description, table: Path, name: str) -> tuple[Description, str | None]:
    """What a caption says; for one that somebody wrote freely, all that is known, and the caption itself."""
    if not text.strip():
        raise MameError(f"{table}: {name} has no caption; write one into its `text`")
    said = prompt.parse(text)
    return (known, text) if said is None else (said, None)


def _key(kind: str, entries: tuple[Entry, ...], hashes: list[str], size: int) -> str:
    digest = hashlib.sha256()
    for entry, sha256 in zip(entries, hashes, strict=True):
        digest.update(f"{sha256} {entry.description}{entry.text or ''}\n".encode())
    return f"prepared {kind} {digest.hexdigest()[:32]} {size}"


def _sized(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    if pixels.shape == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX), dtype=np.float32)


def _shrunk(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """The mask at another size; one that shrinks to less than half a pixel keeps the fullest."""
    covered = _sized(mask.astype(np.float32), size)
    return np.asarray((covered > 0) & (covered >= min(0.5, float(covered.max()))))


def _ellipse(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    x0, y0, x1, y1 = box
    inside = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1.0
    return np.asarray(inside)
