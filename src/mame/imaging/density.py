"""Breast density: which tissue is dense, how much of the breast it is, and the class that goes with it.

Fuzzy c-means on grey levels after LIBRA (Keller et al., Medical Physics 39(8), 4903, 2012), with a rule for which
clusters are dense in place of LIBRA's trained classifier.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mame.errors import MameError
from mame.imaging.outline import enlarged, reduced
from mame.mammogram import Density

CLUSTERS = 8
BINS = 256
RIM_SHARE = 0.13  # of the root of the breast's area: under the skin the breast is thinner, and darker for that
DENSE_FROM = 0.5  # of the way from fat (5th percentile) to the brightest tissue (99th)
# Half way between the typical area percent densities of the classes, 4, 19, 40 and 62 % (domain facts, section 4).
CLASS_LIMITS = (11.5, 29.5, 51.0)


def dense_mask(
    pixels: NDArray[np.float32], breast_mask: NDArray[np.bool_], pectoral: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """H×W bool, true on fibroglandular tissue.

    pixels: H×W greys in [0, 1]. breast_mask, pectoral: H×W bool; muscle is never dense tissue, nor is a rim under
    the skin (see :func:`judged_mask`). Raises MameError for shapes that differ and for an empty breast.
    """
    _check(pixels, breast_mask, pectoral)
    small, factor = reduced(pixels)
    judged = _judged(breast_mask, pectoral)
    dense = judged & (small >= dense_threshold(small[judged]))
    return enlarged(dense, factor, (pixels.shape[0], pixels.shape[1]))


def judged_mask(breast_mask: NDArray[np.bool_], pectoral: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """H×W bool, true where density is judged: the breast without the muscle and a rim under the skin.

    The rim is 13 % of the root of the breast's area wide, about 17 mm for 170 cm²; the chest wall has none.
    """
    _check(breast_mask, breast_mask, pectoral)
    factor = reduced(breast_mask)[1]
    return enlarged(_judged(breast_mask, pectoral), factor, (breast_mask.shape[0], breast_mask.shape[1]))


def percent_density(
    pixels: NDArray[np.float32], breast_mask: NDArray[np.bool_], pectoral: NDArray[np.bool_] | None = None
) -> float:
    """Area percent density, 0 to 100: dense pixels over judged pixels. Arguments as in :func:`dense_mask`."""
    _check(pixels, breast_mask, pectoral)
    small, _ = reduced(pixels)
    greys = small[_judged(breast_mask, pectoral)]
    return 100.0 * float(np.mean(greys >= dense_threshold(greys)))


def density_class(percent: float) -> Density:
    """BI-RADS class of an area percent density (0 to 100): A < 11.5, B < 29.5, C < 51, D above.

    Raises MameError outside 0 to 100.
    """
    if not 0 <= percent <= 100:
        raise MameError(f"percent density must lie between 0 and 100, not {percent}")
    return list(Density)[int(np.searchsorted(CLASS_LIMITS, percent, side="right"))]


def dense_threshold(greys: NDArray[np.float32]) -> float:
    """The grey from which tissue (n greys) is dense: half way into the first dense cluster; inf where none is dense.

    A cluster is dense where its centre lies more than DENSE_FROM of the way from the 5th to the 99th percentile.
    """
    fat, bright = (float(v) for v in np.quantile(greys, [0.05, 0.99]))
    if bright - fat < 1e-4:
        return math.inf
    centres = fuzzy_c_means(greys)
    dense = np.flatnonzero(centres > fat + DENSE_FROM * (bright - fat))
    if dense.size == 0:
        return math.inf
    first = max(int(dense[0]), 1)
    return float(centres[first - 1] + centres[first]) / 2


def fuzzy_c_means(greys: NDArray[np.float32], clusters: int = CLUSTERS, steps: int = 60) -> NDArray[np.float64]:
    """Centres (clusters,), ascending, of fuzzy c-means with fuzzifier 2 on the histogram of n greys (Bezdek 1981)."""
    counts, edges = np.histogram(greys, bins=BINS)
    share = counts / counts.sum()
    levels = (edges[:-1] + edges[1:]) / 2
    centres = np.quantile(greys, (np.arange(clusters) + 0.5) / clusters).astype(np.float64)
    for _ in range(steps):
        membership = 1.0 / ((levels[:, None] - centres) ** 2 + 1e-12)
        membership /= membership.sum(axis=1, keepdims=True)
        weight = membership**2 * share[:, None]
        moved = (weight * levels[:, None]).sum(axis=0) / weight.sum(axis=0)
        settled = np.abs(moved - centres).max() < 1e-5
        centres = moved
        if settled:
            break
    return np.sort(centres)


def _judged(breast_mask: NDArray[np.bool_], pectoral: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The judged part at the working size; the whole breast where it is too small to have an inside."""
    breast = reduced(breast_mask)[0] >= 0.5
    # Edge padding, so that there is no rim where the breast leaves the picture.
    padded = np.pad(_to_the_wall(breast), 1, mode="edge")
    depth = distance_transform_edt(padded)[1:-1, 1:-1]
    judged = breast & (depth > RIM_SHARE * math.sqrt(np.count_nonzero(breast)))
    if pectoral is not None:
        judged &= reduced(pectoral)[0] < 0.5
    if np.count_nonzero(judged) < 0.1 * np.count_nonzero(breast):
        return breast
    return np.asarray(judged, dtype=np.bool_)


def _to_the_wall(breast: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask continued to the picture's edge on the chest wall's side, for pictures that are padded there."""
    columns = np.flatnonzero(breast.any(axis=0))
    first, last = int(columns[0]), int(columns[-1])
    edge = max(1, (last - first + 1) // 10)
    continued = breast.copy()
    if breast[:, first : first + edge].sum() >= breast[:, last + 1 - edge : last + 1].sum():
        continued[:, :first] = breast[:, first + edge - 1 : first + edge]
    else:
        continued[:, last + 1 :] = breast[:, last + 1 - edge : last + 2 - edge]
    return continued


def _check(
    pixels: NDArray[np.float32] | NDArray[np.bool_],
    breast_mask: NDArray[np.bool_],
    pectoral: NDArray[np.bool_] | None,
) -> None:
    for name, mask in (("breast", breast_mask), ("pectoral", pectoral)):
        if mask is not None and mask.shape != pixels.shape:
            raise MameError(f"the {name} mask has shape {mask.shape}, the picture {pixels.shape}")
    if not breast_mask.any():
        raise MameError("the breast mask is empty: there is no density to measure")
