"""Where to paint: how a user would mark a lesion whose outline is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mame.mammogram import Box


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
