"""Thin curved things: vessels, ducts, spicules. Drawn as tubes, splatted and blurred, at any resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mame.imaging.phantom.grid import Field, Grid


@dataclass(frozen=True)
class Tube:
    """A bent cylinder: points N×2 (x, y) in mm, radius in mm at each point."""

    points: NDArray[np.float64]
    radius: NDArray[np.float64]


def wander(
    rng: np.random.Generator, start: tuple[float, float], angle: float, length_mm: float, bend: float, radius_mm: float,
    taper: float = 0.6,
) -> Tube:  # fmt: skip
    """A random smooth curve: its direction drifts by `bend` radians per √(10 mm); it ends at `taper` of its radius."""
    step = 1.0
    count = max(4, int(length_mm / step))
    drift = np.cumsum(rng.standard_normal(count)) * bend / np.sqrt(10.0)
    swing = bend * 1.5 * np.sin(np.arange(count) * step * rng.uniform(0.08, 0.25) + rng.uniform(0, 2 * np.pi))
    heading = angle + drift + swing
    x = start[0] + np.cumsum(np.cos(heading)) * step
    y = start[1] + np.cumsum(np.sin(heading)) * step
    return Tube(np.column_stack([x, y]), radius_mm * np.linspace(1.0, taper, count))


def tube_thickness(tubes: list[Tube], grid: Grid) -> Field:
    """H×W, mm of tube behind each pixel: each tube's cross-section (π r²) spread over a Gaussian of its radius."""
    image = np.zeros(grid.shape, dtype=np.float32)
    by_width: dict[float, list[tuple[NDArray[np.float64], NDArray[np.float64], float]]] = {}
    for tube in tubes:
        points, weights, sigma = _samples(tube, grid)
        by_width.setdefault(round(sigma * 2) / 2, []).append((points, weights, sigma))
    for sigma, parts in by_width.items():
        layer = np.zeros(grid.shape, dtype=np.float32)
        for points, weights, _ in parts:
            _splat(layer, points, weights)
        image += gaussian_filter(layer, max(sigma, 0.45), truncate=3.0)
    return image


def _samples(tube: Tube, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Points every half pixel, each with its share of the tube's volume over the area of a pixel."""
    steps = np.hypot(*np.diff(tube.points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(2, int(along[-1] / (grid.spacing_mm * 0.5)))
    at = np.linspace(0.0, along[-1], count)
    x = (np.interp(at, along, tube.points[:, 0]) - grid.x0_mm) / grid.spacing_mm - 0.5
    y = (np.interp(at, along, tube.points[:, 1]) - grid.y0_mm) / grid.spacing_mm - 0.5
    radius = np.interp(at, along, tube.radius)
    volume = np.pi * radius**2 * (along[-1] / count)
    sigma = float(radius.mean() * 0.5 / grid.spacing_mm)
    return np.column_stack([x, y]), volume / grid.spacing_mm**2, sigma


def _splat(image: Field, points: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
    """Add weights at fractional positions, shared between the four nearest pixels."""
    base = np.floor(points).astype(np.int64)
    fraction = points - base
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = base[:, 0] + dx, base[:, 1] + dy
            share = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1]) * weights
            inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
            np.add.at(image, (y[inside], x[inside]), share[inside].astype(np.float32))
