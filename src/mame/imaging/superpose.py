"""A lesion lies over what was there: an x-ray picture is a sum along the beam, so the tissue above and below stays.

A model that paints a region sees only its surroundings and makes up what is inside. The true inside is known here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SCALE = 0.14
"""Of the region's shorter side: structures finer than this are the tissue's, coarser ones the lesion's own shape."""

KEPT = 0.75
"""How much of the tissue's structure stays: a mass takes the place of a part of the beam's way only."""

FAINT = (0.02, 0.1)
"""Of the largest change: less than the first is none, more than the second is whole."""

BRIGHT = 0.1
"""Of the strongest darkening: a change that brightens by more is of a lesion that absorbs, else of a lucent one."""


def superposed(
    window: NDArray[np.float32], change: NDArray[np.float32], region: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """A painted change (h×w) with the window's own structure kept in it, and without its faint parts.

    What the change merely takes away, its share against the window's fine structure by least squares over the region,
    is given back for the most part. Changes too faint to be a lesion, which would show the region's outline, fade, and
    where some of it absorbs more than the tissue whose place it takes, nothing gets darker.
    window: h×w in [0, 1], region: h×w, not empty; the same is done beside it, so that no edge appears.
    """
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    side = min(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    width = max(SCALE * float(side), 1.0)
    structure = window - gaussian_filter(window, width)
    fine = change - gaussian_filter(change, width)
    power = float((structure[region] ** 2).sum())
    taken = float(np.clip(-(structure[region] * fine[region]).sum() / max(power, 1e-9), 0.0, 1.0))
    smooth = np.abs(gaussian_filter(change, width / 2))
    low, high = (share * float(np.percentile(smooth[region], 98)) for share in FAINT)
    strength = np.clip((smooth - low) / max(high - low, 1e-9), 0.0, 1.0)
    strength = strength * strength * (3.0 - 2.0 * strength)
    kept = strength * (change + np.float32(KEPT * taken) * structure)
    darkest, brightest = (float(value) for value in np.percentile(kept[region], [2, 98]))
    if brightest > BRIGHT * -darkest:
        kept = np.maximum(kept, 0.0)
    return np.asarray(kept, dtype=np.float32)
