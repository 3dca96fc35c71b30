"""Resampling along one window: which pixels are needed, cut out and padded, and resized by Pillow.

Coordinates are continuous and pixels half-open, as in `framing.py`, which this serves.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def covered(start: float, stop: float, length: int) -> slice:
    """The pixels of an axis whose centres lie in [start, stop)."""
    first = min(max(math.ceil(start - 0.5), 0), length)
    return slice(first, max(first, min(math.ceil(stop - 0.5), length)))


def support(scale: float) -> int:
    """How many source pixels beyond the window a kernel reaches."""
    return math.ceil(2 * max(1.0, 1 / scale)) + 1


def reach(start: float, stop: float, length: int, support: int) -> tuple[int, int]:
    """First and last source pixel to look at: beyond the source only where the window itself reaches beyond it.

    Zero padding elsewhere would darken the edge; a kernel cut off at the edge is renormalised by Pillow.
    """
    tolerance = 1e-6
    first, last = math.floor(start) - support, math.ceil(stop) + support
    return (
        first if start < -tolerance else max(first, 0),
        last if stop > length + tolerance else min(last, length),
    )


def cut(pixels: NDArray[Any], top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
    """Rows top..bottom and columns left..right as float32, zero outside the picture."""
    height, width = pixels.shape
    patch = np.zeros((bottom - top, right - left), dtype=np.float32)
    y0, y1 = max(top, 0), min(bottom, height)
    x0, x1 = max(left, 0), min(right, width)
    if y1 > y0 and x1 > x0:
        patch[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return patch


def resized(
    pixels: NDArray[np.float32],
    shape: tuple[int, int],
    box: tuple[float, float, float, float],
    kernel: Image.Resampling,
) -> NDArray[np.float32]:
    """The part of a float32 picture inside box (x0, y0, x1, y1) at another shape (h, w), antialiased, not clipped."""
    height, width = pixels.shape
    x0, y0, x1, y1 = box
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))  # rounding, at most
    image = Image.fromarray(pixels).resize((shape[1], shape[0]), kernel, box=inside)
    return np.asarray(image, dtype=np.float32)
