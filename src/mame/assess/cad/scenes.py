"""What CAD systems learn from and are tested on: whole pictures with lesion boxes, and patches cut out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mame.dataset.layout import Row, Split
from mame.dataset.read import PreparedSet, read_picture
from mame.imaging.phantom import draw
from mame.mammogram import Box, LesionKind

PATCH = 64  # pixels a side
AROUND = 2.2  # a patch's side over the lesion's
SMALLEST_FIELD = 40  # pixels of the picture
SHIFT = 0.15  # of the field: a lesion is not always in the middle
PATCHES_OF_TISSUE = 2  # a lesion, or a picture without one

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A picture (H×W in [0, 1], air 0), the boxes of its lesions in its pixels, and whose it is."""

    pixels: Floats
    boxes: tuple[Box, ...]
    patient: str


@dataclass(frozen=True)
class Patches:
    """N patches. pixels: N×64×64 float32, each of mean 0 and deviation 1; lesion: N bool; patient: N.

    boxes: the lesion in each patch, in its pixels; empty (0, 0, 0, 0) where there is none.
    """

    pixels: Floats
    lesion: NDArray[np.bool_]
    patient: list[str]
    boxes: list[tuple[float, float, float, float]]

    def __len__(self) -> int:
        return len(self.pixels)

    def only(self, chosen: NDArray[np.intp]) -> Patches:
        """Some of them, by number."""
        return Patches(
            self.pixels[chosen], self.lesion[chosen], [self.patient[i] for i in chosen],
            [self.boxes[i] for i in chosen],
        )  # fmt: skip


def scenes_of(found: PreparedSet, splits: Sequence[Split]) -> list[Scene]:
    """Every picture of these sides, in the set's order, but those that are ill nobody knows where (`unmarked`)."""
    scenes = []
    for split in splits:
        for row in found.iterate(split):
            if unmarked(row):
                continue
            pixels = read_picture(found.folder / split / row.file_name)
            boxes = tuple(lesion.box for lesion in row.lesions)
            scenes.append(Scene(pixels, boxes, f"{row.source} {row.patient}"))
    return scenes


def unmarked(row: Row) -> bool:
    """Whether a picture shows a lesion that has no box: it is no example of one, and none of tissue without."""
    return row.shows_lesion and not row.lesions


def phantom_scenes(count: int, seed: int, size: int) -> list[Scene]:
    """Simulated mammograms, each with a mass: what a detector is pre-trained on."""
    scenes = []
    for index in range(count):
        drawn = draw((seed, index), lesion=LesionKind.MASS)
        picture = drawn.render(drawn.field_grid(size))
        boxes = tuple(lesion.box for lesion in picture.mammogram.lesions)
        scenes.append(Scene(picture.mammogram.pixels, boxes, f"phantom {seed} {index}"))
    return scenes


def patches_of(scenes: Sequence[Scene], seed: int) -> Patches:
    """A patch for each lesion, and patches of tissue without one, of the same sizes; scene i from (seed, i) alone."""
    sides = [max(box.width, box.height) for scene in scenes for box in scene.boxes] or [SMALLEST_FIELD / AROUND]
    pixels, lesion, patients, boxes = [], [], [], []
    for index, scene in enumerate(scenes):
        rng = np.random.default_rng([seed, 31, index])
        for box in scene.boxes:
            field = max(AROUND * max(box.width, box.height), SMALLEST_FIELD)
            shift = rng.uniform(-SHIFT, SHIFT, 2) * field
            centre = ((box.x0 + box.x1) / 2 + shift[0], (box.y0 + box.y1) / 2 + shift[1])
            pixels.append(_patch(scene.pixels, centre, field))
            lesion.append(True)
            patients.append(scene.patient)
            scale, left, top = PATCH / field, centre[0] - field / 2, centre[1] - field / 2
            boxes.append(tuple(
                float(np.clip((value - corner) * scale, 0, PATCH))
                for value, corner in zip(box.as_tuple(), (left, top, left, top), strict=True)
            ))  # fmt: skip
        for centre, field in _tissue(rng, scene, sides):
            pixels.append(_patch(scene.pixels, centre, field))
            lesion.append(False)
            patients.append(scene.patient)
            boxes.append((0.0, 0.0, 0.0, 0.0))
    stack = np.stack(pixels) if pixels else np.zeros((0, PATCH, PATCH), np.float32)
    return Patches(stack, np.array(lesion, dtype=bool), patients, boxes)  # type: ignore[arg-type]


def _tissue(rng: np.random.Generator, scene: Scene, sides: list[float]) -> list[tuple[tuple[float, float], float]]:
    """Places (centre, field) inside the breast that hold no part of a lesion; none where there is no room."""
    breast = scene.pixels > 0
    depth = ndimage.distance_transform_edt(np.pad(breast, 1))[1:-1, 1:-1]
    found: list[tuple[tuple[float, float], float]] = []
    for _ in range(PATCHES_OF_TISSUE * max(len(scene.boxes), 1)):
        side = float(rng.choice(sides))
        field = max(AROUND * side, SMALLEST_FIELD)
        deep = depth > 0.5 * side
        for box in scene.boxes:
            near = box.grown((field + side) / 2).rounded().clipped(breast.shape)
            if near is not None:
                deep[near.slices()] = False
        y, x = np.nonzero(deep)
        if len(y):
            chosen = int(rng.integers(len(y)))
            found.append(((float(x[chosen]), float(y[chosen])), field))
    return found


def _patch(pixels: Floats, centre: tuple[float, float], field: float) -> Floats:
    """PATCH×PATCH around a centre, of mean 0 and deviation 1; beyond the picture is air."""
    margin = int(np.ceil(field))
    around = np.pad(pixels, margin)
    left, top = centre[0] - field / 2 + margin, centre[1] - field / 2 + margin
    window = (left, top, left + field, top + field)
    cut = Image.fromarray(around).resize((PATCH, PATCH), Image.Resampling.BILINEAR, window, reducing_gap=3.0)
    values = np.asarray(cut, dtype=np.float32)
    return (values - values.mean()) / max(float(values.std()), 1e-4)
