"""Where in a breast a lesion can go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter

from mame.errors import MameError
from mame.mammogram import Box

WORKING_SIDE = 384
CLEAR = 0.9  # box sides between the centre and skin, muscle or the picture's edge
GREY_QUANTILE = 0.35  # of the tissue: a mass shows on fat, and fat between glands is where it is looked for


def free_place(
    pixels: NDArray[np.float32], breast: NDArray[np.bool_], pectoral: NDArray[np.bool_], side_px: float
) -> Box:
    """A square box of `side_px` well inside the breast, away from skin and muscle, on even and rather fatty tissue.

    pixels: H×W in [0, 1]; breast, pectoral: H×W bool. Always the same for the same picture.
    Raises MameError where the breast has no room for it.
    """
    factor = max(1, round(max(pixels.shape) / WORKING_SIDE))
    small = np.asarray(Image.fromarray(pixels).reduce(factor), dtype=np.float32)
    inside = np.asarray(Image.fromarray((breast & ~pectoral).astype(np.float32)).reduce(factor)) > 0.99
    side = side_px / factor
    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    candidates = depth >= CLEAR * side
    if not candidates.any():
        raise MameError(f"the breast has no room for a lesion of {side_px:.0f} pixels")
    level = gaussian_filter(small, side / 2)
    spread = np.sqrt(np.maximum(gaussian_filter(small**2, side / 2) - level**2, 0))
    wanted = float(np.quantile(level[candidates], GREY_QUANTILE))
    cost = np.where(candidates, np.abs(level - wanted) + spread, np.inf)
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    x0 = round((float(column) + 0.5) * factor - side_px / 2)
    y0 = round((float(row) + 0.5) * factor - side_px / 2)
    return Box(x0, y0, x0 + round(side_px), y0 + round(side_px))
