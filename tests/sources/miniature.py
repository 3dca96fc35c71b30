"""Miniature data sets: phantoms with exact truth, written as a set would have them, and what must come of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from formats.conftest import mg_dataset
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from skimage.morphology import convex_hull_image
from typer.testing import CliRunner

from mame.cli import app
from mame.dataset.layout import Row
from mame.dataset.read import PreparedSet, open_set
from mame.dataset.verify import verify
from mame.imaging import phantom
from mame.imaging.phantom.lesions import draw_lesion
from mame.mammogram import Box, Density, Description, Laterality, LesionKind, View

SIDE = 720
SPACING_MM = 256 / SIDE
WINDOW = {"WindowCenter": "2000.5", "WindowWidth": "4001", "VOILUTFunction": "LINEAR"}  # 0 black, 4000 white
NAME = "DOE^JANE"
"""In every header: nothing prepared may hold it."""


@dataclass(frozen=True)
class Truth:
    """A phantom's picture as its file shows it (right breasts have the chest wall on the right), and what is in it."""

    pixels: NDArray[np.float32]
    laterality: Laterality
    view: View
    density: Density
    lesions: tuple[tuple[LesionKind, NDArray[np.bool_]], ...]

    def boxes(self) -> list[Box]:
        """Half-open, one for each lesion."""
        return [Box.of_mask(mask) for _, mask in self.lesions]

    def stored(self, white: int = 4000, inverted: bool = False) -> NDArray[np.uint16]:
        """12 bits; inverted: as MONOCHROME1 has them."""
        values = np.rint(self.pixels * white).astype(np.uint16)
        return np.asarray(white - values if inverted else values)


@lru_cache(maxsize=64)
def breast(
    number: int, side: str = "L", view: str = "CC", density: str = "B", kinds: tuple[LesionKind, ...] = ()
) -> Truth:
    """A phantom; with several kinds, as many lesions."""
    said = Description("siemens", View(view), Density(density))
    for attempt in range(20):
        drawn = phantom.draw((4, number, attempt), said)
        shapes = []
        for index, kind in enumerate(kinds):
            shape = draw_lesion(np.random.default_rng([number, attempt, index]), drawn.anatomy, kind)
            shapes += [] if shape is None else [shape]
        picture = replace(drawn, lesions=tuple(shapes)).render(drawn.field_grid(SIDE))
        masks = [lesion.mask for lesion in picture.mammogram.lesions]
        apart = all(not (a & b).any() for i, a in enumerate(masks) for b in masks[:i])
        large = all(Box.of_mask(mask).area > 400 for mask in masks)  # so that half a pixel doesn't decide
        if len(masks) == len(kinds) and apart and large:
            break
    else:
        raise AssertionError("no phantom has room for these lesions")
    picture = picture.mirrored() if side == "R" else picture
    record = picture.mammogram
    # people outline a cluster as a whole, not each of its grains
    lesions = tuple(
        (lesion.kind, lesion.mask if lesion.kind is LesionKind.MASS else convex_hull_image(lesion.mask))
        for lesion in record.lesions
    )
    return Truth(record.pixels, Laterality(side), View(view), Density(density), lesions)


def dicom(values: NDArray[Any], path: Path, compressed: bool = False, **attributes: Any) -> Dataset:
    """Write an MG object whose header names the patient."""
    said = (
        {"PatientName": NAME, "BitsStored": 12, "ImagerPixelSpacing": [f"{SPACING_MM:.6f}"] * 2} | WINDOW | attributes
    )
    dataset = mg_dataset(values, **said)
    if compressed:
        dataset.compress(RLELossless)
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)
    return dataset


def table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], delimiter: str = ",") -> None:
    """Write a CSV file; a row lacks what it has no value for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def prepare(source: str, root: Path, out: Path, *options: str) -> PreparedSet:
    """`mam-e prepare`, then `mam-e verify`, which must find no fault."""
    done = CliRunner().invoke(app, ["prepare", source, str(root), str(out), "--key", str(out.parent / "key"), *options])
    assert done.exit_code == 0, done.output
    assert verify(out) == []
    return open_set(out)


def refused(source: str, root: Path, out: Path, *options: str) -> str:
    """What `mam-e prepare` says where it ends with exit code 2: one line."""
    done = CliRunner().invoke(app, ["prepare", source, str(root), str(out), "--key", str(out.parent / "key"), *options])
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    return done.stderr


def failures(found: PreparedSet) -> list[tuple[str, str]]:
    """(what, reason) of everything that was left out or not understood."""
    with open(found.folder / "failures.csv", newline="", encoding="utf-8") as file:
        return [(line["what"], line["reason"]) for line in csv.DictReader(file)]


def rows_by_id(found: PreparedSet) -> dict[str, Row]:
    """Every row of every side by the image's name in its set."""
    rows = [row for split in found.splits for row in found.rows(split)]
    assert len({row.source_id for row in rows}) == len(rows)
    return {row.source_id: row for row in rows}


def check(found: PreparedSet, truths: Mapping[str, Truth], boxes: bool = False, located: bool = True) -> dict[str, Row]:
    """Every image has its side and view, every lesion is where the truth has it (IoU ≥ 0.9), none is lost or invented.

    boxes: the set has boxes only, so the truth of a lesion is its box; located: whether it has places at all.
    """
    rows = rows_by_id(found)
    assert set(rows) == set(truths)
    for split in found.splits:
        for row, mammogram in found.mammograms(split):
            truth = truths[row.source_id]
            assert (row.laterality, row.view) == (truth.laterality, truth.view), row.source_id
            lesions = truth.lesions if located else ()
            assert len(mammogram.lesions) == len(lesions), row.source_id
            for _, mask in lesions:
                true_box = _mapped(Box.of_mask(mask), row, truth)
                said = max(row.lesions, key=lambda lesion: lesion.box.iou(true_box))
                got = mammogram.lesions[row.lesions.index(said)].mask
                if boxes:  # a box is known to a fraction of a pixel, its mask is made of whole ones
                    assert said.box.iou(true_box) >= 0.99
                    drawn = Box.of_mask(got)
                    pairs = zip(drawn.as_tuple(), true_box.as_tuple(), strict=True)
                    assert max(abs(a - b) for a, b in pairs) <= 0.51
                else:
                    overlap = _iou(got, _seen(mask, row, truth))
                    assert overlap >= 0.9, f"{row.source_id}: IoU {overlap:.3f}"
    _nothing_names_the_patient(found.folder)
    return rows


def _mapped(box: Box, row: Row, truth: Truth) -> Box:
    """A box of the file in the prepared picture, by the frame's own words: a window of the left-facing picture."""
    box = box.mirrored(truth.pixels.shape[1]) if truth.laterality is Laterality.R else box
    x0, y0, x1, _ = row.frame.window
    scale = row.frame.shape[1] / (x1 - x0)
    return Box((box.x0 - x0) * scale, (box.y0 - y0) * scale, (box.x1 - x0) * scale, (box.y1 - y0) * scale)


def _seen(mask: NDArray[np.bool_], row: Row, truth: Truth) -> NDArray[np.bool_]:
    """The true mask through the frame by another way: Pillow, four times as fine."""
    shown = mask[:, ::-1] if truth.laterality is Laterality.R else mask
    image = Image.fromarray(shown.astype(np.float32))
    size = row.frame.shape[0]
    large = image.transform((size * 4,) * 2, Image.Transform.EXTENT, tuple(row.frame.window))
    return np.asarray(large.reduce(4)) >= 0.5


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def _nothing_names_the_patient(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert "DOE" not in path.name
        if path.is_file():
            # three letters turn up by chance in a few hundred kilobytes of compressed pixels; the whole name doesn't
            told = NAME if path.suffix == ".png" else "DOE"
            assert told.encode() not in path.read_bytes()
