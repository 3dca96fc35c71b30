"""Mild geometric variations of a picture that leave every word said of it true, for learning from few pictures.

Whole views keep the chest wall at the left edge and the breast's area; all maps go from pixel to source pixel, (y, x).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from mame.mammogram import View

SHEAR_DEGREES = 4.0
STRETCH = 0.05
SHIFT = 0.04  # of the picture's height
KEPT = 0.98  # share of the tissue that has to stay in the picture
TURN_DEGREES = 5.0
ZOOM = 0.06
WEAKER = (1.0, 0.5, 0.25, 0.1)  # what is tried where tissue would be lost


@dataclass(frozen=True)
class Variation:
    """An affine map: the variation's pixel p (y, x) shows the source's matrix @ p + offset; edges go on."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """A picture (H×W in [0, 1], air 0) through the map. Cubic, since what is linear blurs; air stays exactly 0."""
        air = self.apply_mask(pixels == 0)
        shown = affine_transform(pixels, self.matrix, self.offset, order=3, mode="nearest")
        return np.where(air, 0.0, np.clip(shown, 0.0, 1.0)).astype(np.float32)

    def apply_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (H×W bool) through the map."""
        shown = affine_transform(mask.astype(np.float32), self.matrix, self.offset, order=1, mode="nearest")
        return np.asarray(shown >= 0.5)


def draw_view_variation(rng: np.random.Generator, pixels: NDArray[np.float32], view: View | None) -> Variation:
    """A variation of a whole view (H×W, chest wall at the left edge).

    Sheared along the chest wall, stretched along one axis and squeezed along the other (a breast lies otherwise, its
    area and share of gland stay), shifted along the chest wall. A CC view is also mirrored upside down, every other
    time: inner and outer half change places, as between a left and a mirrored right breast.
    """
    height = pixels.shape[0]
    flip = -1.0 if view is View.CC and rng.random() < 0.5 else 1.0
    shear, stretch, shift = rng.uniform(-1.0, 1.0, 3)
    tissue = pixels > 0
    for strength in WEAKER:
        slope = np.tan(radians(SHEAR_DEGREES * shear * strength))
        factor = 1.0 + STRETCH * stretch * strength
        matrix = np.array([[flip * factor, slope], [0.0, 1.0 / factor]])
        middle, edge = (height - 1) / 2, -0.5  # the chest wall is the left edge of the first column of pixels
        fixed = np.array([middle + SHIFT * shift * strength * height, edge])
        found = Variation(matrix, np.array([middle, edge]) - matrix @ fixed)
        if abs(found.apply_mask(tissue).sum() / max(tissue.sum(), 1) - 1.0) <= 1.0 - KEPT:
            return found
    return Variation(np.diag([flip, 1.0]), np.array([height - 1.0 if flip < 0 else 0.0, 0.0]))


def draw_window_variation(rng: np.random.Generator, shape: tuple[int, int]) -> Variation:
    """A variation of a lesion window (H×W): turned, zoomed in on until nothing outside is seen, and often upside down.

    Never left to right: the skin is on the right in every window that will be painted into.
    """
    turn = radians(TURN_DEGREES * rng.uniform(-1.0, 1.0))
    zoom = (cos(turn) + abs(sin(turn))) * (1.0 + ZOOM * rng.random())
    flip = -1.0 if rng.random() < 0.5 else 1.0
    matrix = np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]]) / zoom @ np.diag([flip, 1.0])
    middle = (np.array(shape) - 1.0) / 2
    return Variation(matrix, middle - matrix @ middle)
