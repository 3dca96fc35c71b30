"""Where a phantom is looked at: a grid of square pixels in the plane of the detector, in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]  # float32 throughout; NumPy's stubs lose that in arithmetic


@dataclass(frozen=True)
class Grid:
    """Axis-aligned pixels. x runs from the chest wall (0) to the nipple, y downwards; (x0, y0) is the outer corner."""

    x0_mm: float
    y0_mm: float
    spacing_mm: float
    shape: tuple[int, int]

    @property
    def x(self) -> Field:
        """W pixel centres, mm."""
        return (self.x0_mm + (np.arange(self.shape[1]) + 0.5) * self.spacing_mm).astype(np.float32)

    @property
    def y(self) -> Field:
        """H pixel centres, mm."""
        return (self.y0_mm + (np.arange(self.shape[0]) + 0.5) * self.spacing_mm).astype(np.float32)

    def mesh(self) -> tuple[Field, Field]:
        """(x, y), each H×W, mm."""
        x, y = np.meshgrid(self.x, self.y)
        return x, y

    def to_pixels(self, x_mm: float, y_mm: float) -> tuple[float, float]:
        """Continuous pixel position (x, y) of a point; pixel i spans [i, i + 1)."""
        return (x_mm - self.x0_mm) / self.spacing_mm, (y_mm - self.y0_mm) / self.spacing_mm
