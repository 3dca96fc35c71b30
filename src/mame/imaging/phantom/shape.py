"""The outline of a compressed breast, CC and MLO, and how thick it is behind each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mame.imaging.phantom.grid import Field, Grid
from mame.mammogram import View


@dataclass(frozen=True)
class Outline:
    """Half an ellipse on the chest wall (x = 0, centre y = 0), and for MLO a tail up to the top of the detector.

    depth_mm: chest wall to nipple; half_mm: half the height on the chest wall; wobble: (order, amplitude, phase) of the
    contour; roundness: exponent of the superellipse; tail: (x where the tail leaves the top edge, y of the top edge,
    y where its line would meet the chest wall), mm, or None for CC; nipple: (x, y), mm, and its radius.
    """

    view: View
    depth_mm: float
    half_mm: float
    roundness: float
    wobble: tuple[tuple[int, float, float], ...]
    tail: tuple[float, float, float] | None
    nipple_angle: float
    nipple_radius_mm: float

    def scaled(self, factor: float) -> Outline:
        """The same shape, `factor` times as large (the nipple keeps its size)."""
        tail = None if self.tail is None else (self.tail[0] * factor, self.tail[1] * factor, self.tail[2] * factor)
        return Outline(
            self.view, self.depth_mm * factor, self.half_mm * factor, self.roundness, self.wobble, tail,
            self.nipple_angle, self.nipple_radius_mm,
        )  # fmt: skip

    @property
    def top_mm(self) -> float:
        """Where the picture's tissue begins (y, mm)."""
        return -1.08 * self.half_mm if self.tail is None else self.tail[1]

    @property
    def bottom_mm(self) -> float:
        """Where it ends (y, mm)."""
        return 1.08 * self.half_mm

    @property
    def nipple(self) -> tuple[float, float]:
        """(x, y) on the contour, mm."""
        angle = np.asarray(self.nipple_angle, dtype=np.float32)
        along = self._radius(np.cos(angle), np.sin(angle))
        reach = float(self._stretch(angle) / along)
        return float(np.cos(angle)) * reach, float(np.sin(angle)) * reach

    def _radius(self, x: Field, y: Field) -> Field:
        p = np.float32(self.roundness)
        return ((np.abs(x) / self.depth_mm) ** p + (np.abs(y) / self.half_mm) ** p) ** (1 / p)

    def _stretch(self, angle: Field) -> Field:
        waves: Field = sum((a * np.cos(k * angle + phase) for k, a, phase in self.wobble), np.zeros_like(angle))
        return 1.0 + waves

    def depth_inside(self, grid: Grid) -> Field:
        """H×W, mm: distance to the skin, positive inside; without the nipple, and going on above the detector's edge.

        First-order (level set over its gradient), exact at the contour.
        """
        x, y = grid.mesh()
        rho = self._radius(x, y) / self._stretch(np.arctan2(y, x))
        gy, gx = np.gradient(rho, np.float32(grid.spacing_mm))
        inside = (1.0 - rho) / np.maximum(np.sqrt(gx**2 + gy**2), 0.3 / self.half_mm)
        if self.tail is not None:
            x_top, y_top, y_low = self.tail
            length = np.hypot(y_low - y_top, x_top)
            # signed distance to the straight line from (x_top, y_top) to (0, y_low), bent outwards a little at the top
            line = ((y_low - y_top) * (x_top - x) - x_top * (y - y_top)) / length
            inside = _smooth_max(inside, line, 0.42 * self.half_mm)
        return inside.astype(np.float32)

    def exposed(self, grid: Grid) -> NDArray[np.bool_]:
        """H×1: the rows that the detector saw; in MLO the arm side is cut by its upper edge."""
        rows: NDArray[np.bool_] = (grid.y >= (-np.inf if self.tail is None else self.tail[1]))[:, None]
        return rows

    def areola(self, grid: Grid) -> Field:
        """H×W in [0, 1]: nearness to the nipple, where the skin is thicker."""
        x, y = grid.mesh()
        nx, ny = self.nipple
        return np.exp(-((x - nx) ** 2 + (y - ny) ** 2) / np.float32(14.0**2))

    def nipple_chord(self, grid: Grid) -> Field:
        """H×W, mm: the nipple in profile, an egg half sunk into the skin and thicker than wide."""
        x, y = grid.mesh()
        nx, ny = self.nipple
        distance2 = ((x - nx + 0.4 * self.nipple_radius_mm) / np.float32(1.25)) ** 2 + (y - ny) ** 2
        return (2.6 * np.sqrt(np.maximum(self.nipple_radius_mm**2 - distance2, 0.0))).astype(np.float32)


def _smooth_max(a: Field, b: Field, width: float) -> Field:
    """Polynomial smooth maximum: equals max(a, b) where they differ by more than `width`."""
    blend = np.clip(1.0 - np.abs(a - b) / width, 0.0, None)
    return np.maximum(a, b) + blend**2 * (width * 0.25)


def thickness(inside: Field, compressed_mm: float) -> Field:
    """Tissue behind each pixel, mm: flat in the middle, a half circle at the rim (VICTRE's compressed breast)."""
    radius = compressed_mm / 2
    d = np.clip(inside, 0.0, radius)
    return (2.0 * np.sqrt(np.maximum(radius**2 - (radius - d) ** 2, 0.0))).astype(np.float32)
