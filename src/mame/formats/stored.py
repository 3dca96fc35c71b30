"""Stored values on the way in and out: their greys, and the values to write where pixels were painted since."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.errors import MameError
from mame.mammogram import Mammogram, Stored

STRIP_ROWS = 64


def stored_values(mammogram: Mammogram, stored: Stored) -> NDArray[np.integer[Any]]:
    """The stored values to write: as they were, but where the pixels were changed since and the values were not.

    A pixel that is 0 is air cleared on the way in, not a change. Raises MameError where the shapes differ.
    """
    if stored.values.shape != mammogram.shape:
        raise MameError(f"pixels {mammogram.shape} and stored values {stored.values.shape} are not of one size")
    changed = (mammogram.pixels != greys_of(stored)) & (mammogram.pixels > 0)
    if not changed.any():
        return stored.values
    found = stored.values.copy()
    found[changed] = stored.values_of(mammogram.pixels[changed])
    return found


def greys_of(stored: Stored) -> NDArray[np.float32]:
    """The same as `stored.greys()`, without 64-bit indices where the values index the map themselves."""
    if stored.first == 0 and stored.values.dtype.kind == "u":
        greys = np.empty(stored.values.shape, dtype=np.float32)
        # in strips: NumPy turns indices into 64-bit ones, which for a whole picture takes 100 MB and twice the time
        for start in range(0, len(greys), STRIP_ROWS):
            strip = slice(start, start + STRIP_ROWS)
            np.take(stored.lut, stored.values[strip], out=greys[strip], mode="clip")
        return greys
    return stored.greys()
