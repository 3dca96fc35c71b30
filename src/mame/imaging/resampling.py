"""Resampling along one window: which pixels are needed, cut out and padded, and resized by Pillow.

Coordinates are continuous and pixels half-open, as in `framing.py`, which this serves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRIP_PIXELS = 1 << 18  # 1 MB of float32: a strip stays in a core's cache, and its memory in the process


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


def strips(height: int, width: int, step: int = 1) -> Iterator[slice]:
    """The rows of a picture H×W in strips of about STRIP_PIXELS, each but the last of a multiple of `step` rows.

    A copy of a whole mammogram in Pillow costs more in fresh pages of memory than in work, and the cost is the
    system's, so that processes at work side by side wait for one another.
    """
    rows = max(STRIP_PIXELS // max(width, 1) // step, 1) * step
    return (slice(start, min(start + rows, height)) for start in range(0, height, rows))


def cut_resized(
    pixels: NDArray[Any],
    edges: tuple[int, int, int, int],
    shape: tuple[int, int],
    box: tuple[float, float, float, float],
    kernel: Image.Resampling,
) -> NDArray[np.float32]:
    """`resized` of `cut`, bit for bit, without the cut in memory: Pillow resizes along x first, row by row.

    edges: top, bottom, left, right; box: in pixels of the cut.
    """
    top, bottom, left, right = edges
    x0, y0, x1, y1 = box
    if (bottom - top) * (right - left) <= STRIP_PIXELS:
        return resized(cut(pixels, top, bottom, left, right), shape, box, kernel)
    narrow = np.empty((bottom - top, shape[1]), dtype=np.float32)
    for rows in strips(bottom - top, right - left):
        strip = cut(pixels, top + rows.start, top + rows.stop, left, right)
        narrow[rows] = resized(strip, (len(strip), shape[1]), (x0, 0.0, x1, float(len(strip))), kernel)
    return resized(narrow, shape, (0.0, y0, float(shape[1]), y1), kernel)


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
