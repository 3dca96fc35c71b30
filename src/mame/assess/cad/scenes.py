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
Place = tuple[tuple[float, float], float]
"""(x, y) of a patch's centre, and its side; pixels of the picture."""


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


def scenes_of(found: PreparedSet, splits: Sequence[Split], largest_mm: float) -> list[Scene]:
    """The pictures of these sides, in the set's order, but those `unmarked`, or marked `too_wide`."""
    scenes = []
    for split in splits:
        for row in found.iterate(split):
            if unmarked(row) or too_wide(row, largest_mm):
                continue
            pixels = read_picture(found.folder / split / row.file_name)
            boxes = tuple(lesion.box for lesion in row.lesions)
            scenes.append(Scene(pixels, boxes, f"{row.source} {row.patient}"))
    return scenes


def unmarked(row: Row) -> bool:
    """Whether a picture shows a lesion that has no box: it is no example of one, and none of tissue without."""
    return row.shows_lesion and not row.lesions


def too_wide(row: Row, largest_mm: float) -> bool:
    """Whether a picture has a mark whose box is longer than that: it says which breast is ill, and hardly where."""
    return any(max(one.box.width, one.box.height) * row.spacing_mm > largest_mm for one in row.lesions)


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
    """A patch for each lesion, and patches of tissue without one, of the lesions' sizes.

    Where a scene has no room for tissue of the size that it is to give, another scene gives it: were large sizes left
    out, a classifier would tell lesions by their size. A lesion larger than any tissue that was found gives no patch.
    """
    tissue = _tissue(scenes, seed)
    widest = max((field for places in tissue for _, field in places), default=0.0)
    pixels, lesion, patients, boxes = [], [], [], []
    for index, scene in enumerate(scenes):
        rng = np.random.default_rng([seed, 31, index])
        for box in scene.boxes:
            field = _field(max(box.width, box.height))
            if field > widest > 0:
                continue
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
        for centre, field in tissue[index]:
            pixels.append(_patch(scene.pixels, centre, field))
            lesion.append(False)
            patients.append(scene.patient)
            boxes.append((0.0, 0.0, 0.0, 0.0))
    stack = np.stack(pixels) if pixels else np.zeros((0, PATCH, PATCH), np.float32)
    return Patches(stack, np.array(lesion, dtype=bool), patients, boxes)  # type: ignore[arg-type]


def _field(side: float) -> float:
    """The side of a patch for a lesion of that longer side; pixels of the picture."""
    return max(AROUND * side, SMALLEST_FIELD)


def _tissue(scenes: Sequence[Scene], seed: int) -> list[list[Place]]:
    """For each scene places inside the breast that hold no part of a lesion, the sizes drawn from those of lesions."""
    sides = [max(box.width, box.height) for scene in scenes for box in scene.boxes] or [SMALLEST_FIELD / AROUND]
    depths = [_depth(scene) for scene in scenes]
    found: list[list[Place]] = [[] for _ in scenes]
    for index, scene in enumerate(scenes):
        rng = np.random.default_rng([seed, 37, index])
        for _ in range(PATCHES_OF_TISSUE * max(len(scene.boxes), 1)):
            side = float(rng.choice(sides))
            for giver in (index, *rng.permutation(len(scenes))):
                if (place := _place(rng, scenes[giver], depths[giver], side)) is not None:
                    found[giver].append(place)
                    break
    return found


def _depth(scene: Scene) -> Floats:
    """How far each pixel is from the breast's edge and the picture's, in pixels; 0 outside."""
    depth = ndimage.distance_transform_edt(np.pad(scene.pixels > 0, 1))[1:-1, 1:-1]
    return depth.astype(np.float32)  # type: ignore[no-any-return]


def _place(rng: np.random.Generator, scene: Scene, depth: Floats, side: float) -> Place | None:
    """A place of tissue as deep as a lesion of that side would lie, whose patch holds no part of a lesion."""
    field = _field(side)
    deep = depth > 0.5 * side
    for box in scene.boxes:
        near = box.grown((field + side) / 2).rounded().clipped(depth.shape)
        if near is not None:
            deep[near.slices()] = False
    y, x = np.nonzero(deep)
    if not len(y):
        return None
    chosen = int(rng.integers(len(y)))
    return (float(x[chosen]), float(y[chosen])), field


def _patch(pixels: Floats, centre: tuple[float, float], field: float) -> Floats:
    """PATCH×PATCH around a centre, of mean 0 and deviation 1; beyond the picture is air."""
    margin = int(np.ceil(field))
    around = np.pad(pixels, margin)
    left, top = centre[0] - field / 2 + margin, centre[1] - field / 2 + margin
    window = (left, top, left + field, top + field)
    cut = Image.fromarray(around).resize((PATCH, PATCH), Image.Resampling.BILINEAR, window, reducing_gap=3.0)
    values = np.asarray(cut, dtype=np.float32)
    return (values - values.mean()) / max(float(values.std()), 1e-4)
