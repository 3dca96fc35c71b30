"""A picture at every scale, so that any part of it is at hand at the size of a screen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame.errors import MameError
from mame.formats.atomic import atomic_write

SMALLEST = 256
"""The longer side of the last level, pixels, at most."""

MOST = 4096
"""The longest side of a part that is sent, pixels: more than screens have."""

Values = NDArray[np.uint16]


@dataclass(frozen=True)
class Pyramid:
    """Levels of one picture, each half as large as the one before; the first is the picture itself, H×W uint16."""

    levels: list[Values]

    @classmethod
    def of(cls, values: Values) -> Pyramid:
        """Made in memory: a third more than the picture."""
        levels = [values]
        while max(levels[-1].shape) > SMALLEST:
            levels.append(_halved(levels[-1]))
        return cls(levels)

    @classmethod
    def on_disk(cls, path: Path, shape: tuple[int, int], read: Callable[[], Values]) -> Pyramid:
        """Kept in a file that is mapped, not read; made there from `read()` where it is not yet, and then whole."""
        shapes = _shapes(shape)
        size = 2 * sum(h * w for h, w in shapes)
        if not path.exists() or path.stat().st_size != size:
            made = cls.of(read())
            with atomic_write(path, force=True) as file:
                for level in made.levels:
                    file.write(level.astype("<u2").tobytes())
        flat = np.memmap(path, dtype="<u2", mode="r")
        starts = np.cumsum([0, *(h * w for h, w in shapes)])
        return cls([flat[a : a + h * w].reshape(h, w) for a, (h, w) in zip(starts[:-1], shapes, strict=True)])

    @property
    def shape(self) -> tuple[int, int]:
        """Of the picture: H, W."""
        height, width = self.levels[0].shape
        return height, width

    def part(self, box: tuple[float, float, float, float], width: int, height: int) -> Values:
        """The picture inside box (x0, y0, x1, y1; pixels, half-open) as height×width values.

        Made smaller by averaging, larger by interpolation. Raises MameError for an empty box, one outside the picture
        and a size that is none.
        """
        x0, y0, x1, y1 = box
        tall, wide = self.shape
        if not (0 <= x0 < x1 <= wide and 0 <= y0 < y1 <= tall):
            raise MameError(f"the part {box} is not inside a picture of {wide}×{tall} pixels")
        if not (1 <= width <= MOST and 1 <= height <= MOST):
            raise MameError(f"a part has 1 to {MOST} pixels a side, got {width}×{height}")
        shrink = min((x1 - x0) / width, (y1 - y0) / height)
        level = min(max(int(math.log2(max(shrink, 1.0))), 0), len(self.levels) - 1)
        values = self.levels[level]
        down = (values.shape[1] / wide, values.shape[0] / tall)
        left, top = int(x0 * down[0]), int(y0 * down[1])
        right = min(math.ceil(x1 * down[0]), values.shape[1])
        bottom = min(math.ceil(y1 * down[1]), values.shape[0])
        inner = np.asarray(values[top:bottom, left:right])
        window = (x0 * down[0] - left, y0 * down[1] - top, x1 * down[0] - left, y1 * down[1] - top)
        window = (window[0], window[1], min(window[2], inner.shape[1]), min(window[3], inner.shape[0]))
        if inner.shape == (height, width) and window == (0, 0, width, height):
            return inner
        grey = Image.fromarray(inner.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR, window)
        return np.rint(np.asarray(grey)).clip(0, 65535).astype(np.uint16)


def _shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    shapes = [shape]
    while max(shapes[-1]) > SMALLEST:
        height, width = shapes[-1]
        shapes.append((max(height // 2, 1), max(width // 2, 1)))
    return shapes


def _halved(values: Values) -> Values:
    """Means of 2×2; an odd last row or column goes."""
    height, width = values.shape
    even = values[: max(height // 2, 1) * 2, : max(width // 2, 1) * 2].astype(np.uint32)
    down = even[0::2] + even[1::2] if height > 1 else even * 2
    both = down[:, 0::2] + down[:, 1::2] if width > 1 else down * 2
    return ((both + 2) // 4).astype(np.uint16)
