"""Masses (round, lobulated, spiculated) and clusters of calcifications: drawn in millimetres, looked at on any grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mame.imaging.phantom.anatomy import Anatomy
from mame.imaging.phantom.curves import Tube, tube_thickness, wander
from mame.imaging.phantom.grid import Field, Grid
from mame.mammogram import LesionKind

MASS_RADIUS_MM = (3.5, 11.0)
TRIES = 200


@dataclass(frozen=True)
class MassShape:
    """A mass: contour R(θ) = R₀ (1 + Σ aₙ cos(nθ + φₙ)), tapering spicules, and how soft its margin is (mm)."""

    centre: tuple[float, float]
    radius_mm: float
    harmonics: tuple[tuple[int, float, float], ...]
    spicules: tuple[Tube, ...]
    margin_mm: float
    attenuation: float
    flatness: float
    kind: LesionKind = LesionKind.MASS

    def reach(self, grid: Grid) -> Field:
        """H×W: distance from the centre over the contour's radius there; below 1 inside."""
        x, y = grid.mesh()
        dx, dy = x - self.centre[0], y - self.centre[1]
        angle = np.arctan2(dy, dx)
        contour = 1.0 + sum(a * np.cos(n * angle + p) for n, a, p in self.harmonics)
        return (np.sqrt(dx**2 + dy**2) / (self.radius_mm * contour)).astype(np.float32)

    def thickness(self, grid: Grid) -> Field:
        """H×W, mm of mass behind each pixel, spicules included."""
        body = 2.0 * self.radius_mm * self.flatness * np.sqrt(np.maximum(1.0 - self.reach(grid) ** 2, 0.0))
        sigma = self.margin_mm / grid.spacing_mm
        soft = gaussian_filter(body, sigma, truncate=3.0) if sigma > 0.2 else body
        return np.asarray(soft + tube_thickness(list(self.spicules), grid) if self.spicules else soft, dtype=np.float32)

    def mask(self, grid: Grid) -> NDArray[np.bool_]:
        """H×W, true inside the contour (spicules are outside it, as radiologists outline)."""
        return np.asarray(self.reach(grid) < 1.0)


@dataclass(frozen=True)
class Cluster:
    """Calcifications: N×3 of x, y, radius, mm."""

    centre: tuple[float, float]
    grains: NDArray[np.float64]
    kind: LesionKind = LesionKind.CALCIFICATIONS

    def thickness(self, grid: Grid) -> Field:
        """H×W, mm of calcium oxalate behind each pixel."""
        tubes = [
            Tube(np.array([[x - r / 3, y], [x + r / 3, y]]), np.array([1.41 * r, 1.41 * r])) for x, y, r in self.grains
        ]
        return tube_thickness(tubes, grid)

    def mask(self, grid: Grid) -> NDArray[np.bool_]:
        """H×W, true within 1 mm of a grain."""
        x, y = grid.mesh()
        near = np.zeros(grid.shape, dtype=bool)
        for gx, gy, radius in self.grains:
            near |= (x - gx) ** 2 + (y - gy) ** 2 < (1.0 + radius) ** 2
        return near


LesionShape = MassShape | Cluster


def draw_lesion(rng: np.random.Generator, anatomy: Anatomy, kind: LesionKind) -> LesionShape | None:
    """A lesion of that kind somewhere it can be, or None where the breast has no room for it after a bounded search."""
    radius = float(rng.uniform(*MASS_RADIUS_MM)) if kind is not LesionKind.CALCIFICATIONS else 4.0
    centre = find_place(rng, anatomy, radius + 3.0)
    if centre is None:
        return None
    if kind is LesionKind.CALCIFICATIONS:
        return draw_cluster(rng, centre)
    return draw_mass(rng, centre, radius)


def find_place(rng: np.random.Generator, anatomy: Anatomy, clear_mm: float) -> tuple[float, float] | None:
    """A point at least `clear_mm` from the skin and outside the muscle, likelier in gland; None after TRIES."""
    cx, cy = anatomy.gland_centre
    outline = anatomy.outline
    for _ in range(TRIES):
        x = float(rng.normal(cx, 0.3 * outline.depth_mm))
        y = float(rng.normal(cy, 0.42 * outline.half_mm))
        point = Grid(x - 1.0, y - 1.0, 1.0, (3, 3))
        if x < clear_mm or not bool(outline.exposed(point).all()):
            continue
        if float(outline.depth_inside(point)[1, 1]) < clear_mm:
            continue
        if anatomy.pectoral is not None and float(anatomy.pectoral.depth(point)[1, 1]) > -clear_mm:
            continue
        return x, y
    return None


def draw_mass(rng: np.random.Generator, centre: tuple[float, float], radius_mm: float) -> MassShape:
    """A mass of that radius: round (sharp), lobulated, irregular or spiculated (8 to 24 tapering, bent branches).

    The low harmonics of the contour make lobules (a ≈ .1-.2), the high ones, falling as 1/n, an uneven margin.
    """
    shape = str(rng.choice(["round", "lobulated", "irregular", "spiculated"], p=[0.2, 0.25, 0.25, 0.3]))
    strength = {"round": 0.05, "lobulated": 0.15, "irregular": 0.17, "spiculated": 0.13}[shape]
    unevenness = {"round": 0.02, "lobulated": 0.04, "irregular": 0.18, "spiculated": 0.16}[shape]
    harmonics = tuple(
        (
            n,
            float(rng.normal(0, strength / np.sqrt(n - 1) if n < 5 else unevenness / n)),
            float(rng.uniform(0, 2 * np.pi)),
        )
        for n in range(2, 15)
    )
    spicules = _draw_spicules(rng, centre, radius_mm) if shape == "spiculated" else ()
    margin = {"round": 0.2, "lobulated": 0.3, "irregular": 0.6, "spiculated": 0.7}[shape] * rng.uniform(0.7, 2.2)
    return MassShape(
        centre,
        radius_mm,
        harmonics,
        spicules,
        float(margin),
        float(rng.uniform(1.0, 1.1)),
        float(rng.uniform(0.85, 1.1)),
    )


def _draw_spicules(rng: np.random.Generator, centre: tuple[float, float], radius_mm: float) -> tuple[Tube, ...]:
    """Branches that leave the mass in a few bundles, as strands that it pulls at, not like a sun's rays."""
    bundles = rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7)))
    spicules = []
    for _ in range(int(rng.integers(8, 25))):
        angle = float(rng.choice(bundles) + rng.normal(0.0, 0.35))
        start = (centre[0] + 0.6 * radius_mm * np.cos(angle), centre[1] + 0.6 * radius_mm * np.sin(angle))
        length = max(radius_mm * float(rng.uniform(0.8, 2.2)), 4.0)
        spicules.append(wander(rng, start, angle + rng.normal(0, 0.25), length, 0.3, rng.uniform(0.3, 0.75), 0.15))
    return tuple(spicules)


def draw_cluster(rng: np.random.Generator, centre: tuple[float, float]) -> Cluster:
    """4 to 14 grains within 5 mm, radius 80 to 260 µm, some lined up along a duct."""
    count = int(rng.integers(5, 15))
    spread = rng.uniform(1.2, 2.5)
    squeeze = rng.uniform(0.35, 1.0)
    turn = rng.uniform(0, np.pi)
    u, v = rng.normal(0, spread, count), rng.normal(0, spread * squeeze, count)
    x = centre[0] + u * np.cos(turn) - v * np.sin(turn)
    y = centre[1] + u * np.sin(turn) + v * np.cos(turn)
    return Cluster(centre, np.column_stack([x, y, rng.uniform(0.08, 0.26, count)]))
