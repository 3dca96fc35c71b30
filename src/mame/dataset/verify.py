"""Proving a prepared set: every file is there, whole, and says the same as the others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.dataset.layout import MASKS, METADATA, WINDOWS, Outline, Row, Split, WindowRow, read_rows, read_windows
from mame.dataset.read import PreparedSet, open_set, read_mask, read_values
from mame.dataset.work import array_hash
from mame.errors import MameError
from mame.mammogram import Box

TOLERANCE_PX = 1.01  # an outline's mask is on whole pixels, its box may not be


def verify(folder: str | os.PathLike[str]) -> list[str]:
    """What is wrong with a prepared set, one line a fault; empty where nothing is.

    Every image and mask is opened and compared with its hash, boxes with masks, the counts of dataset.json with the
    rows; no patient and no picture may be on two sides, and no file be there that no row names.
    Raises MameError where the folder is no prepared set, or an unfinished one.
    """
    found = open_set(folder)
    return list(_faults(found))


def _faults(found: PreparedSet) -> Iterator[str]:
    yield from _check_hashes(found)
    patients: dict[tuple[str, str], Split] = {}
    pictures: dict[str, tuple[str, str]] = {}
    images = lesions = 0
    for split in found.splits:
        place, named = found.folder / split, {METADATA}
        try:
            for row in read_rows(place / METADATA):
                images, lesions = images + 1, lesions + len(row.lesions)
                named |= {row.file_name, row.mask_file_name, *(lesion.mask for lesion in row.lesions)}
                yield from _check_row(place, row)
                side = patients.setdefault((row.source, row.patient), split)
                if side is not split:
                    yield f"patient {row.patient} is in {side} and in {split}"
                other = pictures.setdefault(row.sha256, (row.file_name, split))
                if other[1] != split:
                    yield f"{split}/{row.file_name}: is the same picture as {other[1]}/{other[0]}"
        except MameError as error:
            yield str(error)
        yield from _check_names(place, named)
    counts = found.about.get("counts", {})
    for name, seen in (("images", images), ("lesions", lesions)):
        if counts.get(name) != seen:
            yield f"dataset.json counts {counts.get(name)} {name}, the rows {seen}"
    yield from _check_windows(found, patients)


def _check_hashes(found: PreparedSet) -> Iterator[str]:
    told = found.about.get("sha256", {})
    for name, expected in told.items():
        path = found.folder / name
        if not path.is_file():
            yield f"{path}: is missing"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            yield f"{path}: was changed since it was prepared"
    for split in found.splits:
        if f"{split}/{METADATA}" not in told:
            yield f"{found.folder / split / METADATA}: dataset.json does not know it"


def _check_row(place: Path, row: Row) -> Iterator[str]:
    shape = row.frame.shape
    yield from _check_picture(place / row.file_name, shape, row.sha256)
    union = yield from _check_mask(place / row.mask_file_name, shape, row.mask_sha256)
    together = np.zeros(shape, dtype=bool)
    for number, lesion in enumerate(row.lesions, start=1):
        where = f"{place / row.file_name}: lesion {number}"
        inside = lesion.box.clipped(shape)
        if inside is None or any(
            abs(a - b) > 1e-3 for a, b in zip(inside.as_tuple(), lesion.box.as_tuple(), strict=True)
        ):
            yield f"{where}: its box {list(lesion.box.as_tuple())} is not inside the image"
            continue
        try:
            mask = read_mask(place / lesion.mask)
        except MameError as error:
            yield str(error)
            continue
        if mask.shape != shape:
            yield f"{place / lesion.mask}: is of shape {mask.shape}, not {shape}"
            continue
        together |= mask
        yield from _check_box(where, lesion.box, mask, lesion.made_from)
    if union is not None and not np.array_equal(union, together):
        yield f"{place / row.mask_file_name}: is not the union of the lesions' masks"


def _check_box(where: str, box: Box, mask: NDArray[np.bool_], made_from: str) -> Iterator[str]:
    extent = Box.of_mask(mask)
    if extent is None:
        yield f"{where}: its mask is empty"
        return
    expected = box.rounded() if made_from == Outline.BOX else box
    if _apart(extent, expected) > TOLERANCE_PX:
        yield f"{where}: its box {list(box.as_tuple())} and its mask {list(extent.as_tuple())} do not agree"


def _apart(box: Box, other: Box) -> float:
    """How far two boxes' edges are apart at most."""
    return max(abs(a - b) for a, b in zip(box.as_tuple(), other.as_tuple(), strict=True))


def _check_windows(found: PreparedSet, patients: dict[tuple[str, str], Split]) -> Iterator[str]:
    place, named = found.folder / WINDOWS, {METADATA}
    if not place.exists():
        return
    sides: dict[str, set[Split]] = {}
    for (_, patient), split in patients.items():
        sides.setdefault(patient, set()).add(split)
    try:
        for row in read_windows(place / METADATA):
            named |= {row.file_name, row.mask_file_name}
            yield from _check_window(place, row)
            if row.split not in sides.get(row.patient, set()):
                yield f"{place / row.file_name}: is in {row.split}, its patient is not"
    except MameError as error:
        yield str(error)
    yield from _check_names(place, named)


def _check_window(place: Path, row: WindowRow) -> Iterator[str]:
    yield from _check_picture(place / row.file_name, row.frame.shape, row.sha256)
    mask = yield from _check_mask(place / row.mask_file_name, row.frame.shape, row.mask_sha256)
    if mask is not None and row.lesion:
        yield from _check_box(f"{place / row.file_name}", row.box, mask, row.made_from)


def _check_picture(path: Path, shape: tuple[int, int], expected: str) -> Iterator[str]:
    try:
        values = read_values(path)
    except MameError as error:
        yield str(error)
        return
    if values.shape != shape:
        yield f"{path}: is of shape {values.shape}, not {shape}"
    elif array_hash(values.astype("<u2")) != expected:
        yield f"{path}: its pixels are not those that were prepared"


def _check_mask(path: Path, shape: tuple[int, int], expected: str) -> Any:
    """Yields faults; returns the mask, or None where it can't be read."""
    try:
        mask = read_mask(path)
    except MameError as error:
        yield str(error)
        return None
    if mask.shape != shape:
        yield f"{path}: is of shape {mask.shape}, not {shape}"
        return None
    if array_hash(mask.astype(np.uint8) * 255) != expected:
        yield f"{path}: its pixels are not those that were prepared"
    return mask


def _check_names(place: Path, named: set[str]) -> Iterator[str]:
    there = {path.name for path in place.iterdir() if path.is_file()}
    there |= {f"{MASKS}/{path.name}" for path in (place / MASKS).glob("*")}
    for name in sorted(there - named):
        yield f"{place / name}: no row names it"
