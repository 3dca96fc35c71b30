"""Intensity: the monotone map from stored values to greys in [0, 1], and 16-bit masters of them.

Arrays and plain numbers only; the DICOM reader hands in what its header says. Equations: DICOM PS3.3 C.11.1 and C.11.2.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter

from mame.errors import MameError
from mame.mammogram import closed

WHITE = 65535


class VoiFunction(StrEnum):
    """VOI LUT Function (0028,1056)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


def modality_values(first: int, count: int, slope: float = 1.0, intercept: float = 0.0) -> NDArray[np.float64]:
    """Modality values of the stored values first, first + 1, … (count of them): slope · stored + intercept.

    Raises MameError for a count below 1 and a slope that is zero or not finite.
    """
    if count < 1:
        raise MameError(f"a lookup table needs at least one entry, not {count}")
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise MameError(f"Rescale Slope {slope} and Intercept {intercept} make no monotone map")
    return slope * np.arange(first, first + count, dtype=np.float64) + intercept


def window_lut(
    first: int,
    count: int,
    slope: float,
    intercept: float,
    centre: float,
    width: float,
    function: VoiFunction | str = VoiFunction.LINEAR,
) -> NDArray[np.float32]:
    """Greys of the stored values from `first` on through a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    centre, width: Window Center and Width, in modality values. Returns float32 (count,) in [0, 1].
    Raises MameError for an unknown function and for a width below 1 (LINEAR) or not above 0 (the others).
    """
    function = closed(VoiFunction, function, "VOI LUT Function")
    valid = width >= 1 if function is VoiFunction.LINEAR else width > 0
    if not (valid and np.isfinite([centre, width]).all()):
        raise MameError(f"Window Center {centre} and Width {width} are not a valid {function} window")
    x = modality_values(first, count, slope, intercept)
    if function is VoiFunction.SIGMOID:
        greys = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - centre) / width, -700.0, 700.0)))
    elif function is VoiFunction.LINEAR_EXACT:
        greys = (x - centre) / width + 0.5
    elif width == 1.0:
        greys = np.where(x <= centre - 0.5, 0.0, 1.0)
    else:
        greys = (x - (centre - 0.5)) / (width - 1.0) + 0.5
    return np.asarray(np.clip(greys, 0.0, 1.0), dtype=np.float32)


def table_lut(
    first: int,
    count: int,
    slope: float,
    intercept: float,
    first_mapped: int,
    entries: ArrayLike,
    bits: int,
) -> NDArray[np.float32]:
    """Greys of the stored values from `first` on through a VOI LUT (PS3.3 C.11.2.1.1).

    first_mapped: the modality value of entries[0]; values outside take the first or the last entry.
    entries: 1-D integers; bits: how many of them an entry uses, so that 2^bits - 1 is white.
    Returns float32 (count,) in [0, 1]. Raises MameError for an empty table and bits outside 1 to 16.
    """
    table = np.asarray(entries, dtype=np.float64).ravel()
    if table.size == 0:
        raise MameError("the VOI LUT Sequence holds an empty table")
    if not 1 <= bits <= 16:
        raise MameError(f"LUT Descriptor says {bits} bits an entry; it must be 1 to 16")
    index = np.rint(modality_values(first, count, slope, intercept)).astype(np.int64) - first_mapped
    greys = table[np.clip(index, 0, table.size - 1)] / (2**bits - 1)
    return np.asarray(np.clip(greys, 0.0, 1.0), dtype=np.float32)


def percentile_lut(
    values: NDArray[np.integer[Any]],
    first: int,
    count: int,
    breast: NDArray[np.bool_] | None = None,
    low: float = 0.5,
    high: float = 99.8,
) -> NDArray[np.float32]:
    """Greys of the stored values from `first` on where a file says no window: robust percentiles to black and white.

    values: H×W stored values. breast: H×W bool; where given, black is the air's median, and white the percentile
    `high` of the breast; else both are percentiles of the whole picture. Returns float32 (count,) in [0, 1].
    Raises MameError where all values are the same, and for percentiles out of order.
    """
    if not 0 <= low < high <= 100:
        raise MameError(f"percentiles must satisfy 0 <= low < high <= 100, not {low} and {high}")
    if breast is not None and breast.any() and not breast.all():
        black = float(np.median(values[~breast]))
        white = float(np.percentile(values[breast], high))
    else:
        black, white = (float(v) for v in np.percentile(values, [low, high]))
    if white <= black:
        black, white = float(values.min()), float(values.max())
    if white <= black:
        raise MameError("the picture is blank: all stored values are the same")
    greys = (modality_values(first, count) - black) / (white - black)
    return np.asarray(np.clip(greys, 0.0, 1.0), dtype=np.float32)


def invert(lut: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map with black and white exchanged: for MONOCHROME1, or a Presentation LUT Shape of INVERSE."""
    return (np.float32(1.0) - lut).astype(np.float32)


def clear_air(
    greys: NDArray[np.float32], mask: NDArray[np.bool_], feather_px: int | None = None
) -> NDArray[np.float32]:
    """Greys (H, W) with everything outside the breast exactly 0.

    mask: H×W bool, the breast. It is grown by feather_px first (default: 0.4 % of the longer side, at least 2), so that
    the soft skin line stays; what is inside the grown mask is not touched.
    """
    if greys.shape != mask.shape:
        raise MameError(f"a mask of shape {mask.shape} does not fit greys of shape {greys.shape}")
    grow = max(2, round(0.004 * max(mask.shape))) if feather_px is None else feather_px
    return np.where(_grown(mask, grow), greys, np.float32(0.0))


def _grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask grown by a number of pixels in every direction of the grid."""
    if pixels <= 0:
        return mask
    return np.asarray(maximum_filter(mask.view(np.uint8), 2 * pixels + 1), dtype=np.bool_)


def pixels_to_uint16(pixels: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Greys in [0, 1] as 16-bit integers: 65535 is 1.0, rounded, clipped."""
    return np.asarray(np.rint(np.clip(pixels, 0.0, 1.0).astype(np.float64) * WHITE), dtype=np.uint16)


def uint16_to_pixels(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    """16-bit integers as float32 greys in [0, 1]: the inverse of :func:`pixels_to_uint16`."""
    return (values.astype(np.float64) / WHITE).astype(np.float32)
