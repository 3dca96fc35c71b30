"""How far a painted change is seen, and a change that is stretched so that a lesion fills the box it was asked for.

A model that learned from boxes drawn with some room paints lesions with some room; a label should be tight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mame.mammogram import Box

FLAT_CHANGE = 1e-4
FILLED = 0.92
"""Of each side of the box: how much the visible part of a change is made to fill; what is fainter fills the rest."""

STRETCH = (0.8, 1.5)
"""How far a change is squeezed or stretched along each side: beyond that it would be another lesion."""


def visible_box(change: NDArray[np.float32], region: Box) -> Box | None:
    """The box around what is seen of a change ≥ 0 (H×W), in or near a region; None where nothing is.

    Visible is more than half the peak of the smoothed change. The peak is the 99th percentile, and pieces that hold
    less than a tenth of the largest are left out, so that single grains of noise don't stretch the box.
    """
    near = region.grown(0.5 * max(region.width, region.height)).rounded().clipped((change.shape[0], change.shape[1]))
    if near is None:
        return None
    smooth = ndimage.gaussian_filter(change[near.slices()], max(1.0, 0.04 * min(region.width, region.height)))
    changed = smooth > FLAT_CHANGE
    if not changed.any():
        return None
    visible = smooth > 0.5 * float(np.percentile(smooth[changed], 99))
    labels, _ = ndimage.label(visible)
    sizes = np.bincount(labels.ravel())[1:]
    large = np.isin(labels, 1 + np.flatnonzero(sizes >= 0.1 * sizes.max()))
    found = Box.of_mask(large)
    if found is None:
        return None
    return Box(found.x0 + near.x0, found.y0 + near.y0, found.x1 + near.x0, found.y1 + near.y0)


def fitted(change: NDArray[np.float32], region: Box) -> NDArray[np.float32]:
    """A change (H×W) moved and mildly stretched, so that what is seen of it fills a region; one not seen stays."""
    seen = visible_box(np.abs(change), region)
    if seen is None:
        return change
    (x, y), (from_x, from_y) = region.centre, seen.centre
    across = float(np.clip(FILLED * region.width / seen.width, *STRETCH))
    down = float(np.clip(FILLED * region.height / seen.height, *STRETCH))
    # pixel i has its centre at i + 0.5
    offset = (from_y - 0.5 - (y - 0.5) / down, from_x - 0.5 - (x - 0.5) / across)
    moved = ndimage.affine_transform(change, (1 / down, 1 / across), offset, order=1, mode="constant")
    return np.asarray(moved, dtype=np.float32)
