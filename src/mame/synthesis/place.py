"""Where in a breast a lesion can go, and the outline of its region.

Everything is looked at at a reduced size. A place is drawn once from the map of all possible ones, so there is no loop
that could fail to end: where the map is empty, the refusal says what the breast has room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter

from mame.errors import MameError
from mame.imaging.density import dense_mask
from mame.mammogram import Box
from mame.synthesis.plan import Prior, Shape

WORKING_SIDE = 384
MARGIN_MM = 3.0  # between a lesion's outline and skin, muscle, the picture's edge or another lesion
CLEAR = 0.9  # for the plainest place: box sides between the centre and skin, muscle or the picture's edge
GREY_QUANTILE = 0.35  # of the tissue: a mass shows on fat, and fat between glands is where it is looked for
EVEN_WEIGHT = 0.15  # of a place with no dense tissue around, where one with nothing else has 1
PRIOR_MM = 6.0  # around a place: what is looked at for the prior
WAVES = range(2, 7)  # of an organic outline: R(θ) = R₀ (1 + Σ aₙ cos(nθ + φₙ)), the phantom's formula
ROUGHNESS = 0.22  # a₂; aₙ falls as n^-1.5
LONGEST_ASPECT = 1.5


@dataclass(frozen=True)
class Room:
    """Where a breast has room. small: greys h×w, each `factor` pixels of the picture; inside: breast, no muscle.

    depth: how far (in pixels of the picture) each small pixel is from skin and muscle; edge: from the picture's edge.
    """

    small: NDArray[np.float32]
    inside: NDArray[np.bool_]
    depth: NDArray[np.float64]
    edge: NDArray[np.float64]
    factor: int
    shape: tuple[int, int]

    @classmethod
    def look(cls, pixels: NDArray[np.float32], breast: NDArray[np.bool_], pectoral: NDArray[np.bool_]) -> Room:
        """The room in a picture. pixels: H×W in [0, 1]; breast, pectoral: H×W bool."""
        factor = max(1, round(max(pixels.shape) / WORKING_SIDE))
        small = np.asarray(Image.fromarray(pixels).reduce(factor), dtype=np.float32)
        inside = np.asarray(Image.fromarray((breast & ~pectoral).astype(np.float32)).reduce(factor)) > 0.99
        # the picture's edge is no skin: the breast goes on behind the chest wall
        depth = distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1] if not inside.all() else None
        height, width = inside.shape
        y, x = np.mgrid[:height, :width] + 0.5
        edge = np.minimum(np.minimum(x, width - x), np.minimum(y, height - y))
        if depth is None:
            depth = np.full(inside.shape, np.inf)
        return cls(small, inside, depth * factor, edge * factor, factor, (pixels.shape[0], pixels.shape[1]))

    def fits(self, reach_px: float, off_px: float, lesions: Sequence[Box] = ()) -> NDArray[np.bool_]:
        """h×w: where the centre of a lesion can be that reaches `reach_px` far and keeps `off_px` from all else."""
        possible = self.inside & (np.minimum(self.depth, self.edge) >= reach_px + off_px)
        y, x = (np.mgrid[: possible.shape[0], : possible.shape[1]] + 0.5) * self.factor
        for lesion in lesions:
            wide = lesion.grown(reach_px + off_px)
            possible &= (x < wide.x0) | (x > wide.x1) | (y < wide.y0) | (y > wide.y1)
        return np.asarray(possible)

    def largest_px(self) -> float:
        """How far the largest lesion could reach from its centre, if it touched skin or muscle."""
        return float(np.minimum(self.depth, self.edge)[self.inside].max(initial=0.0))


@dataclass(frozen=True)
class Place:
    """A region to paint a lesion in: its tight box, in whole pixels, and its mask (H×W), None where it is the box."""

    box: Box
    mask: NDArray[np.bool_] | None

    @property
    def region(self) -> Box | NDArray[np.bool_]:
        """What the painter takes."""
        return self.box if self.mask is None else self.mask


def find_place(
    room: Room,
    size_mm: float,
    spacing_mm: float,
    rng: np.random.Generator,
    *,
    shape: Shape = Shape.ORGANIC,
    prior: Prior = Prior.DENSE,
    lesions: Sequence[Box] = (),
) -> Place:
    """A place for a lesion whose longer side is `size_mm`, drawn from all that there are; the same for the same `rng`.

    lesions: boxes of others, in pixels, to keep away from. Raises MameError, with the size there is room for, where no
    place is left.
    """
    longer = size_mm / spacing_mm
    outline = _organic(rng, longer) if shape is Shape.ORGANIC else _oblong(rng, longer)
    reach = float(np.hypot(outline[:, 0], outline[:, 1]).max())
    off = MARGIN_MM / spacing_mm
    possible = room.fits(reach, off, lesions)
    if not possible.any():
        raise MameError(_no_room(room, size_mm, spacing_mm, bool(lesions)))
    weight = np.where(possible, _weights(room, prior, spacing_mm), 0.0).ravel()
    chosen = int(np.searchsorted(np.cumsum(weight), rng.random() * weight.sum(), side="right"))
    row, column = divmod(min(chosen, weight.size - 1), possible.shape[1])
    jitter = rng.uniform(-0.5, 0.5, 2)
    centre = (column + 0.5 + jitter[0]) * room.factor, (row + 0.5 + jitter[1]) * room.factor
    return _placed(outline + centre, shape, room.shape)


def _no_room(room: Room, size_mm: float, spacing_mm: float, others: bool) -> str:
    most = max(0.0, 2 * (room.largest_px() * spacing_mm - MARGIN_MM))
    beside = " beside the others" if others else ""
    return (
        f"the breast has no room for a lesion of {size_mm:.0f} mm{beside}: {MARGIN_MM:g} mm off skin, muscle and the "
        f"picture's edge it holds a round one of {most:.0f} mm at most"
    )


def _weights(room: Room, prior: Prior, spacing_mm: float) -> NDArray[np.float64]:
    if prior is Prior.EVEN or not room.inside.any():
        return np.ones(room.inside.shape)
    dense = dense_mask(room.small, room.inside).astype(np.float64)
    around = gaussian_filter(dense, PRIOR_MM / (spacing_mm * room.factor))
    return EVEN_WEIGHT + (1 - EVEN_WEIGHT) * around


# -- outlines ---------------------------------------------------------------------------------------------------------


def _organic(rng: np.random.Generator, longer_px: float) -> NDArray[np.float64]:
    """Points (n, 2), x and y, of a smooth closed outline around (0, 0) whose tight box has that longer side."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radius = np.ones_like(angle)
    for wave in WAVES:
        radius += ROUGHNESS * (2 / wave) ** 1.5 * rng.uniform(0, 1) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    return np.asarray((points - (low + high) / 2) * longer_px / float((high - low).max()))


def _oblong(rng: np.random.Generator, longer_px: float) -> NDArray[np.float64]:
    """Corners (4, 2) of a box around (0, 0): its sides differ by chance, by half at most."""
    shorter = longer_px / float(rng.uniform(1, LONGEST_ASPECT))
    width, height = (longer_px, shorter) if rng.random() < 0.5 else (shorter, longer_px)
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, height / 2)


def _placed(points: NDArray[np.float64], shape: Shape, size: tuple[int, int]) -> Place:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    near = Box(round(float(x0)), round(float(y0)), round(float(x1)), round(float(y1)))
    if shape is Shape.BOX:
        return Place(near, None)
    mask = np.zeros(size, dtype=bool)
    cut = near.grown(2).clipped(size)
    assert cut is not None
    rows, columns = cut.slices()
    mask[rows, columns] = _filled(points - (cut.x0, cut.y0), (int(cut.height), int(cut.width)))
    tight = Box.of_mask(mask)
    assert tight is not None
    return Place(tight, mask)


def _filled(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """H×W: true where a pixel's centre is inside a star-shaped outline (n, 2)."""
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    offset = points - centre
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    order = np.argsort(angle)
    reach = np.hypot(offset[:, 0], offset[:, 1])
    limit = np.interp(np.arctan2(y - centre[1], x - centre[0]), angle[order], reach[order], period=2 * np.pi)
    return np.asarray(np.hypot(x - centre[0], y - centre[1]) <= limit)


# -- the plainest place -----------------------------------------------------------------------------------------------


def free_place(
    pixels: NDArray[np.float32], breast: NDArray[np.bool_], pectoral: NDArray[np.bool_], side_px: float
) -> Box:
    """A square box of `side_px` well inside the breast, away from skin and muscle, on even and rather fatty tissue.

    pixels: H×W in [0, 1]; breast, pectoral: H×W bool. Always the same for the same picture.
    Raises MameError where the breast has no room for it.
    """
    room = Room.look(pixels, breast, pectoral)
    candidates = room.fits(CLEAR * side_px, 0.0)
    if not candidates.any():
        raise MameError(f"the breast has no room for a lesion of {side_px:.0f} pixels")
    sigma = side_px / room.factor / 2
    level = gaussian_filter(room.small, sigma)
    spread = np.sqrt(np.maximum(gaussian_filter(room.small**2, sigma) - level**2, 0))
    wanted = float(np.quantile(level[candidates], GREY_QUANTILE))
    cost = np.where(candidates, np.abs(level - wanted) + spread, np.inf)
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    x0 = round((float(column) + 0.5) * room.factor - side_px / 2)
    y0 = round((float(row) + 0.5) * room.factor - side_px / 2)
    return Box(x0, y0, x0 + round(side_px), y0 + round(side_px))
