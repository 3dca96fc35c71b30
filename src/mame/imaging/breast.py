"""Finding the breast in a mammogram: its outline, its side, the pectoral muscle and the view.

Pixels only. Works on scanned film (borders, burnt-in letters, noise) and digital images (padded, air exactly 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from mame.errors import MameError
from mame.imaging.outline import enlarged, reduced, segment, side_of, tidied
from mame.mammogram import Box, Laterality, View

PECTORAL_ROWS = 256  # rows of the crop of the breast in which the muscle is looked for
STEPS = 48  # points along a line
EVIDENCE_CAP = 0.25
CONVINCING = 0.05
# Logistic regression on 249 images of CDD-CESM, 8 films and 192 phantoms (98, 100 and 99 % right in ten folds split by
# patient): weight of the muscle's edge, of the breast's width near its upper and lower end, of where it is widest, and
# of the hollow between arm and breast; and the bias.
VIEW_WEIGHTS = (41.8, 7.2, 5.9, 2.1, 69.2)
VIEW_BIAS = -10.2


@dataclass(frozen=True, slots=True)
class Breast:
    """A breast found in a picture.

    mask: H×W bool, true on breast and pectoral muscle. laterality: L where the chest wall is on the left of the
    breast in the picture, R where it is on the right.
    """

    mask: NDArray[np.bool_]
    laterality: Laterality


def find_breast(pixels: NDArray[np.float32]) -> Breast:
    """The breast in a picture H×W of greys in [0, 1], bright = dense.

    The side is told from the shape: an unmirrored left breast has its chest wall on the left.
    Raises MameError where there is no breast: blank, constant or noise.
    """
    if pixels.ndim != 2 or min(pixels.shape) < 16:
        raise MameError(f"no breast found: a picture of shape {pixels.shape} is too small or not two-dimensional")
    small, factor = reduced(pixels)
    mask = segment(small)
    side = side_of(mask)
    return Breast(enlarged(tidied(mask, side), factor, (pixels.shape[0], pixels.shape[1])), side)


def breast_area_cm2(mask: NDArray[np.bool_], spacing_mm: float) -> float:
    """Projected area in cm² of a mask whose pixels are spacing_mm wide. Raises MameError for a spacing <= 0."""
    if not spacing_mm > 0:
        raise MameError(f"pixel spacing must be positive, not {spacing_mm} mm")
    return float(np.count_nonzero(mask)) * spacing_mm**2 / 100.0


def breast_share(mask: NDArray[np.bool_]) -> float:
    """Share of the picture that the mask covers, 0 to 1."""
    return float(np.count_nonzero(mask)) / mask.size


# -- pectoral muscle and view ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Crop:
    """The breast alone, PECTORAL_ROWS high, chest wall on the left; and where it lies in the picture."""

    greys: NDArray[np.float32]
    mask: NDArray[np.bool_]
    rows: slice
    columns: slice


def pectoral_mask(pixels: NDArray[np.float32], breast: Breast) -> NDArray[np.bool_]:
    """H×W bool, true on the pectoral muscle of an MLO view; false everywhere where none convinces.

    The muscle is the triangle in the upper corner of the chest wall behind the straight line with the strongest
    drop in brightness across it. pixels: H×W greys in [0, 1].
    """
    crop = _crop(pixels, breast)
    evidence, line = _muscle_line(crop)
    found = np.zeros(breast.mask.shape, dtype=bool)
    if evidence < CONVINCING or _view_score(crop, evidence) < 0:
        return found
    height, width = crop.rows.stop - crop.rows.start, crop.columns.stop - crop.columns.start
    x = (np.arange(width) + 0.5) * crop.mask.shape[1] / width
    y = (np.arange(height) + 0.5) * crop.mask.shape[0] / height
    triangle = x[None, :] / line[0] + y[:, None] / line[1] < 1
    found[crop.rows, crop.columns] = triangle if breast.laterality is Laterality.L else triangle[:, ::-1]
    return found & breast.mask


def estimate_view(pixels: NDArray[np.float32], breast: Breast) -> View:
    """The projection: MLO where a pectoral muscle and the breast's shape speak for it, else CC.

    pixels: H×W greys in [0, 1]; breast: what :func:`find_breast` found in them.
    """
    crop = _crop(pixels, breast)
    return View.MLO if _view_score(crop, _muscle_line(crop)[0]) > 0 else View.CC


def _crop(pixels: NDArray[np.float32], breast: Breast) -> _Crop:
    if pixels.shape != breast.mask.shape:
        raise MameError(f"the breast was found in a picture of shape {breast.mask.shape}, not {pixels.shape}")
    extent = Box.of_mask(breast.mask)
    if extent is None:
        raise MameError("the breast mask is empty: there is no breast to look at")
    rows, columns = extent.slices()
    shape = max(32, round(extent.width * PECTORAL_ROWS / extent.height)), PECTORAL_ROWS
    greys, mask = (
        np.asarray(Image.fromarray(part).resize(shape, Image.Resampling.BILINEAR), dtype=np.float32)
        for part in (
            np.ascontiguousarray(pixels[rows, columns], dtype=np.float32),
            breast.mask[rows, columns].astype(np.uint8) * 255,
        )
    )
    if breast.laterality is Laterality.R:
        greys, mask = greys[:, ::-1], mask[:, ::-1]
    return _Crop(greys, mask > 127, rows, columns)


def _muscle_line(crop: _Crop) -> tuple[float, tuple[float, float]]:
    """How convincing the best line is (-1 to EVIDENCE_CAP), and where it meets the upper edge (x) and chest wall (y).

    The evidence is the mean drop in brightness across the line, in units of the breast's median grey, times the
    root of the share of the line on which it drops at all.
    """
    height = crop.mask.shape[0]
    x_top, y_wall = _candidates(crop.mask)
    t = (np.arange(STEPS) + 0.5) / STEPS
    x, y = x_top[:, None] * (1 - t), y_wall[:, None] * t
    length = np.hypot(x_top, y_wall)
    normal_x, normal_y = (y_wall / length)[:, None], (x_top / length)[:, None]
    smooth = _normalised(crop)

    def beside(distance: float) -> NDArray[np.float32]:
        at = [y + normal_y * distance, x + normal_x * distance]
        return np.asarray(map_coordinates(smooth, at, order=1, mode="nearest"))

    beyond = [y + normal_y * 8.0, x + normal_x * 8.0]
    valid = map_coordinates(crop.mask.astype(np.uint8), beyond, order=0, mode="nearest") > 0
    valid &= y < height - 1
    # A muscle is a step, not a ridge: it drops close to the line and farther off. One strong edge must not decide.
    drop = np.minimum(beside(-2.5) - beside(2.5), beside(-6.0) - beside(6.0)).clip(-EVIDENCE_CAP, EVIDENCE_CAP)
    count = valid.sum(axis=1)
    share = (valid & (drop > 0.01)).sum(axis=1) / np.maximum(count, 1)
    evidence = np.where(valid, drop, 0).sum(axis=1) / np.maximum(count, 1) * np.sqrt(share)
    evidence[count < 0.7 * STEPS * np.minimum(1.0, height / y_wall)] = 0.0
    # Evidence is capped, so lines beside a strong edge are as good as the one on it: the steepest of them.
    steepness = np.where(valid, beside(-1.5) - beside(1.5), 0).sum(axis=1) / np.maximum(count, 1)
    best = int(np.argmax(evidence + 0.02 * steepness))
    return float(evidence[best]), (float(x_top[best]), float(y_wall[best]))


def _candidates(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(x at the upper edge, y at the chest wall) of lines 5 to 55 degrees from the chest wall."""
    height = mask.shape[0]
    top_width = max(int(mask[: height // 20 + 1].sum(axis=1).max()), 16)
    x, y = np.meshgrid(np.linspace(0.1, 1.0, 37) * top_width, np.linspace(0.12, 1.2, 45) * height, indexing="ij")
    angle = np.degrees(np.arctan2(x, y))
    # A small corner is the breast's tip.
    usable = (angle > 5) & (angle < 55) & (np.hypot(x, np.minimum(y, height)) > 55) & (x > 12)
    return x[usable], y[usable]


def _normalised(crop: _Crop) -> NDArray[np.float32]:
    """Greys smoothed inside the mask only, in units of their median."""
    weight = crop.mask.astype(np.float32)
    smooth = gaussian_filter(crop.greys * weight, 2.0) / np.maximum(gaussian_filter(weight, 2.0), 1e-3)
    return np.asarray(smooth / max(float(np.median(crop.greys[crop.mask])), 1e-6), dtype=np.float32)


def _view_score(crop: _Crop, evidence: float) -> float:
    """Log odds of MLO: the muscle's edge, a wide upper end (axilla), a heavy lower half, a hollow below the arm."""
    height, width = crop.mask.shape
    widths = crop.mask.sum(axis=1) / width
    upper, lower = widths[height // 50 : height // 10], widths[-(height // 10) : -(height // 50)]
    widest = float(np.argmax(widths)) / height
    axilla = upper.mean()
    below, body = widths[height // 10 : height // 4].mean(), widths[height // 4 : 2 * height // 5].mean()
    hollow = (axilla + body) / 2 - below  # an ellipse is wider than the mean of its neighbours, a hollow is not
    said = (min(evidence, EVIDENCE_CAP), float(axilla), float(lower.mean()), widest, float(hollow))
    return float(np.dot(VIEW_WEIGHTS, said)) + VIEW_BIAS
