"""Where to paint: how a user would mark a lesion whose outline is known."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mame.mammogram import Box


class Regions(StrEnum):
    """What stands for the place to paint in a lesion example.

    MIXED: what users draw, boxes and circles; BOX: the tight box, as in the paper; OUTLINE: the lesion's own mask;
    DILATED: the mask with a margin.
    """

    MIXED = "mixed"
    BOX = "box"
    OUTLINE = "outline"
    DILATED = "dilated"

    @property
    def key(self) -> str:
        """What it adds to the key of examples: nothing for the default, so that older caches stay good."""
        return "" if self is Regions.MIXED else f" {self.value}"


def region_of(rng: np.random.Generator, mask: NDArray[np.bool_], regions: Regions) -> NDArray[np.bool_]:
    """The region (H×W bool) for a lesion's mask (H×W bool, not empty)."""
    if regions is Regions.MIXED:
        return marked_region(rng, mask)
    if regions is Regions.OUTLINE:
        return mask
    box = Box.of_mask(mask)
    assert box is not None
    if regions is Regions.BOX:
        return box.to_mask(mask.shape)
    margin = float(rng.uniform(0.05, 0.2)) * max(box.width, box.height)
    return np.asarray(distance_transform_edt(~mask) <= margin)


def marked_region(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """How a user would mark the lesion: a box most often, else its outline, exact or generous."""
    box = Box.of_mask(mask)
    assert box is not None
    margin = float(rng.uniform(0.02, 0.2)) * max(box.width, box.height)
    if rng.random() < 0.6:
        return box.grown(margin).to_mask(mask.shape)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    cx, cy = box.centre
    # an ellipse is how people circle things; the exact outline is what a segmentation gives
    ellipse = ((x - cx) / (box.width / 2 + margin)) ** 2 + ((y - cy) / (box.height / 2 + margin)) ** 2 <= 1.0
    return np.asarray(ellipse | mask)
