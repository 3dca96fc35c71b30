"""From a source's picture to the prepared one: find the breast, measure, frame, carry the lesions along.

The breast is looked for at a reduced size, and only the part of the picture that shows it is resampled: nearly all of
the time goes into decoding and into one pass over the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from mame.dataset.layout import Outline
from mame.errors import MameError
from mame.imaging.breast import Breast, breast_area_cm2, breast_share, find_breast, pectoral_mask
from mame.imaging.density import percent_density
from mame.imaging.framing import Frame, center_crop, field, lesion_window
from mame.imaging.intensity import clear_air
from mame.imaging.outline import reduced
from mame.mammogram import Area, Box, Laterality, LesionKind, View, area_from_cm2, area_from_share

AIR_MARGIN = 0.004  # of the source's longer side: how far from the breast's outline the soft skin line may reach
WINDOW_FACTORS = (2.4, 4.0)  # of the lesion's longer side: how wide a window is
WINDOW_JITTER = 0.06  # of the window: how far its centre is from the lesion's, one standard deviation
EMPTY_TRIES = 50


class Framing(StrEnum):
    """Which part of the picture is kept."""

    FIELD = "field"
    CENTER_CROP = "center_crop"


@dataclass(frozen=True, slots=True)
class Found:
    """A lesion as the source knows it: a box in source pixels, or an outline that can be drawn (H×W mask), or both.

    draw: called with the picture's shape, when the mask is needed.
    """

    kind: LesionKind
    box: Box | None
    draw: Callable[[tuple[int, int]], NDArray[np.bool_]] | None = None
    birads: str = ""
    pathology: str = ""
    finding: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """A lesion in the source picture: its box and mask, clipped to the picture. mask: of the box's pixels only."""

    found: Found
    box: Box
    mask: NDArray[np.bool_]
    made_from: Outline


@dataclass(frozen=True, slots=True)
class Framed:
    """A lesion in a framed picture: box in its pixels, mask of its shape."""

    placed: Placed
    box: Box
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """A breast found at the reduced size. small: h×w greys, `factor` source pixels each. shape: the source's."""

    small: NDArray[np.float32]
    breast: Breast
    factor: int
    shape: tuple[int, int]

    @property
    def mirrored(self) -> bool:
        """Whether the chest wall is on the right."""
        return self.breast.laterality is Laterality.R


@dataclass(frozen=True, slots=True)
class Measured:
    """What the picture says of the breast. percent_density: 0 to 100; area_cm2; share: of the frame, 0 to 1."""

    percent_density: float
    area_cm2: float
    share: float
    area: Area


def look(pixels: NDArray[np.float32]) -> Seen:
    """The breast in a source picture (H, W). Raises MameError where there is none."""
    small, factor = reduced(pixels)
    return Seen(small, find_breast(small), factor, (pixels.shape[0], pixels.shape[1]))


def frame_of(seen: Seen, framing: Framing, size: int, spacing_mm: float) -> Frame:
    """The frame of a picture, `size` pixels a side, chest wall on the left."""
    if framing is Framing.CENTER_CROP:
        return center_crop(seen.shape, size, seen.mirrored, spacing_mm)
    height, width = seen.breast.mask.shape
    small = field((height, width), spacing_mm * seen.factor, seen.breast, size)
    x0, y0, x1, y1 = (value * seen.factor for value in small.window)
    # the reduced picture is a little wider than the source where that is no multiple of the factor
    shift = width * seen.factor - seen.shape[1] if seen.mirrored else 0
    if x0 - shift < seen.factor:  # the wall is at the picture's edge: not a fraction of a pixel beside it
        shift = x0
    window = (x0 - shift, y0, x1 - shift, y1)
    return Frame(seen.shape, seen.mirrored, window, small.shape, small.shrink, spacing_mm)


def measure(seen: Seen, frame: Frame, framing: Framing, spacing_mm: float, view: View | None) -> Measured:
    """Density and area from the source's greys. The muscle of an MLO view counts as breast, but is not judged dense."""
    muscle = None if view is View.CC else pectoral_mask(seen.small, seen.breast)
    percent = percent_density(seen.small, seen.breast.mask, muscle)
    area_cm2 = breast_area_cm2(seen.breast.mask, spacing_mm * seen.factor)
    share = breast_share(air_mask(seen, frame))
    area = area_from_share(share) if framing is Framing.CENTER_CROP else area_from_cm2(area_cm2)
    return Measured(percent, area_cm2, share, area)


def air_mask(seen: Seen, frame: Frame) -> NDArray[np.bool_]:
    """The breast's mask in a framed picture: (h, w), false in air."""
    height, width = seen.breast.mask.shape
    shift = width * seen.factor - seen.shape[1] if frame.mirror else 0
    x0, y0, x1, y1 = frame.window
    window = ((x0 + shift) / seen.factor, y0 / seen.factor, (x1 + shift) / seen.factor, y1 / seen.factor)
    return replace(frame, source_shape=(height, width), window=window).apply_mask(seen.breast.mask)


def take(pixels: NDArray[np.float32], seen: Seen, frame: Frame) -> NDArray[np.float32]:
    """The framed picture: float32 (h, w) in [0, 1], air exactly 0. Only where the breast is, is it resampled."""
    mask = air_mask(seen, frame)
    taken = np.zeros(frame.shape, dtype=np.float32)
    extent = Box.of_mask(mask)
    if extent is None:
        return taken
    margin = max(1, math.ceil(AIR_MARGIN * max(seen.shape) * frame.scale))
    near = extent.grown(margin).clipped(frame.shape)
    assert near is not None
    taken[near.slices()] = part(frame, near).apply(pixels)
    return clear_air(taken, mask, margin)


def part(frame: Frame, box: Box) -> Frame:
    """The frame that gives only a part of the picture: a box with whole-number edges in its pixels."""
    x0, y0, x1, y1 = frame.window
    x_step, y_step = (x1 - x0) / frame.shape[1], (y1 - y0) / frame.shape[0]
    window = (x0 + box.x0 * x_step, y0 + box.y0 * y_step, x0 + box.x1 * x_step, y0 + box.y1 * y_step)
    return replace(frame, window=window, shape=(int(box.height), int(box.width)))


# -- lesions --------------------------------------------------------------------------------------------------------


def place(found: Found, shape: tuple[int, int]) -> Placed:
    """A lesion in the source picture of shape (H, W). Raises MameError, with the reason, where nothing is there."""
    if found.draw is not None:
        mask = found.draw(shape)
        if mask.shape != shape:
            raise MameError(f"its mask has {mask.shape[1]} × {mask.shape[0]} pixels, the image {shape[1]} × {shape[0]}")
        extent = Box.of_mask(mask)
        if extent is not None:
            return Placed(found, extent, mask[extent.slices()], Outline.OUTLINE)
        if found.box is None:
            raise MameError("its outline lies outside the image, or is empty")
    if found.box is None:
        raise MameError("neither a box nor an outline is known")
    inside = found.box.clipped(shape)
    if inside is None:
        raise MameError("its box lies outside the image")
    return Placed(found, inside, inside.to_mask(shape)[inside.rounded().slices()], Outline.BOX)


def carry(placed: Placed, frame: Frame) -> Framed:
    """A lesion in a framed picture. Raises MameError, with the reason, where less than a pixel of it is inside."""
    box = frame.box(placed.box).clipped(frame.shape)
    if box is None or box.width < 1e-3 or box.height < 1e-3:
        raise MameError("it lies outside the frame")
    mask = np.zeros(frame.shape, dtype=bool)
    if placed.made_from is Outline.BOX:
        return Framed(placed, box, _covered(box, frame.shape))
    near = box.grown(2).rounded().clipped(frame.shape)
    assert near is not None
    mask[near.slices()] = _carried(placed, part(frame, near))
    extent = Box.of_mask(mask)
    if extent is None:  # smaller than a pixel: what its box touches
        mask = box.to_mask(frame.shape)
        extent = Box.of_mask(mask)
        assert extent is not None
    return Framed(placed, extent, mask)


def _covered(box: Box, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose middle is in a box; where it holds none, those it touches."""
    y, x = np.arange(shape[0])[:, None] + 0.5, np.arange(shape[1])[None] + 0.5
    mask = (y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1)
    return mask if mask.any() else box.to_mask(shape)


def _carried(placed: Placed, frame: Frame) -> NDArray[np.bool_]:
    """The mask through a frame, without a mask of the source's size: the source is cut to the lesion and a margin."""
    near = placed.box.rounded()
    margin = math.ceil(4 / min(frame.scale, 1.0)) + 4
    height, width = near.height + 2 * margin, near.width + 2 * margin
    padded = np.pad(placed.mask, margin)
    left, top = near.x0 - margin, near.y0 - margin
    if frame.mirror:
        left = frame.source_shape[1] - near.x1 - margin
    x0, y0, x1, y1 = frame.window
    window = (x0 - left, y0 - top, x1 - left, y1 - top)
    return replace(frame, source_shape=(int(height), int(width)), window=window).apply_mask(padded)


# -- windows --------------------------------------------------------------------------------------------------------


def fits_window(box: Box, seen: Seen) -> bool:
    """Whether a window around a lesion (source pixels) would be a detail, not the whole breast and its air."""
    extent = Box.of_mask(seen.breast.mask)
    if extent is None:
        return False
    longest = max(extent.width, extent.height) * seen.factor
    return WINDOW_FACTORS[0] * max(box.width, box.height) <= longest


def window_around(box: Box, seen: Seen, spacing_mm: float, size: int, rng: np.random.Generator) -> Frame:
    """A square window around a lesion's box (source pixels), as wide and as far off its middle as chance has it."""
    factor = float(rng.uniform(*WINDOW_FACTORS))
    side = factor * max(box.width, box.height)
    dx, dy = (float(value) for value in rng.normal(0.0, WINDOW_JITTER * side, 2))
    moved = Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)
    aim = moved if moved.clipped(seen.shape) is not None else box
    return lesion_window(seen.shape, aim, spacing_mm, size, factor, seen.mirrored)


def empty_box(box: Box, lesions: Sequence[Box], seen: Seen, rng: np.random.Generator) -> Box | None:
    """A box of the same size elsewhere in the breast that touches no lesion (source pixels), or None."""
    muscle = pectoral_mask(seen.small, seen.breast)
    rows, columns = np.nonzero(seen.breast.mask & ~muscle)
    if rows.size == 0:
        return None
    for _ in range(EMPTY_TRIES):
        index = int(rng.integers(rows.size))
        x, y = (columns[index] + 0.5) * seen.factor, (rows[index] + 0.5) * seen.factor
        tried = Box(x - box.width / 2, y - box.height / 2, x + box.width / 2, y + box.height / 2)
        small = Box(*(value / seen.factor for value in tried.as_tuple())).rounded()
        inside = small.clipped(seen.small.shape)  # type: ignore[arg-type]
        if inside is None or inside.area < small.area or not seen.breast.mask[inside.slices()].all():
            continue
        if all(tried.grown(box.width / 4).iou(lesion) == 0 for lesion in lesions):
            return tried
    return None
