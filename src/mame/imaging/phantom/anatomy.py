"""One woman's breast, drawn from a seed: everything that is decided before anybody looks at it on a grid.

Figures after VICTRE (density classes, thickness, glandular fraction) and the literature named in each place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mame.imaging.phantom import noise
from mame.imaging.phantom.compartments import Compartments, draw_compartments
from mame.imaging.phantom.curves import Tube, wander
from mame.imaging.phantom.grid import Field, Grid
from mame.imaging.phantom.shape import Outline
from mame.mammogram import AREA_LIMITS_CM2, Area, Density, View

COMPRESSED_MM = {Density.A: 60.0, Density.B: 55.0, Density.C: 45.0, Density.D: 35.0}
"""Compressed thickness by density class (VICTRE)."""

GLAND_FRACTION = {Density.A: (0.03, 0.08), Density.B: (0.11, 0.19), Density.C: (0.27, 0.42), Density.D: (0.5, 0.68)}
"""Glandular fraction by volume, drawn within these limits (VICTRE's .05, .15, .34 and .60 lie inside)."""

ENVELOPE = {Density.A: 0.44, Density.B: 0.48, Density.C: 0.54, Density.D: 0.62}
"""Reach of the gland's envelope, as a share of the breast."""

AREA_CM2 = {Area.SMALL: (62.0, 122.0), Area.MEDIUM: (137.0, 188.0), Area.BIG: (203.0, 268.0)}
"""Projected areas drawn for each class: inside the class's limits, which are those of the vocabulary."""

COMPARTMENTS_MM = ((28.0, 11.0), (17.0, 8.0), (10.0, 5.0), (6.0, 6.0))
"""Compartments between ligaments, towards the nipple and across, for a middling breast."""

MEAN_AREA_CM2 = {Density.A: 239.0, Density.B: 156.0, Density.C: 119.0, Density.D: 96.0}

assert AREA_CM2[Area.SMALL][1] < AREA_LIMITS_CM2[0] < AREA_CM2[Area.MEDIUM][0]


@dataclass(frozen=True)
class Pectoral:
    """The muscle in an MLO view: a slightly bulging line from (top_x, top_y) to the chest wall at low_y, mm."""

    top_x_mm: float
    top_y_mm: float
    low_y_mm: float
    bulge_mm: float
    share: float

    def depth(self, grid: Grid) -> Field:
        """H×W, mm: distance into the muscle from its edge, positive inside."""
        x, y = grid.mesh()
        rise = self.low_y_mm - self.top_y_mm
        along = np.clip((y - self.top_y_mm) / rise, 0.0, 1.0)
        edge = self.top_x_mm * (1.0 - along) + self.bulge_mm * np.sin(np.pi * along)
        length = np.hypot(rise, self.top_x_mm)
        return ((edge - x) * (rise / length)).astype(np.float32)


@dataclass(frozen=True)
class Anatomy:
    """What the breast is made of. Fields are periodic and unit-variance (see `noise`)."""

    view: View
    density: Density
    area_cm2: float
    compressed_mm: float
    gland_fraction: float
    envelope: float
    gland_centre: tuple[float, float]
    outline: Outline
    pectoral: Pectoral | None
    skin_mm: float
    clouds: tuple[Field, Field, Field]
    compartments: tuple[Compartments, ...]
    origins_mm: tuple[tuple[float, float], ...]
    bends: tuple[Field, Field]
    sway: Field
    fades: Field
    fine_tile: Field
    vessels: tuple[Tube, ...]
    ducts: tuple[Tube, ...]
    reticular: float


def draw_anatomy(rng: np.random.Generator, view: View, density: Density, area: Area | None, fine: bool) -> Anatomy:
    """Draw one breast. area None: as large as breasts of that density are; fine: with detail beyond 1 line/mm."""
    if area is None:
        area_cm2 = float(np.clip(rng.lognormal(np.log(MEAN_AREA_CM2[density]), 0.28), 62.0, 268.0))
    else:
        area_cm2 = float(rng.uniform(*AREA_CM2[area]))
    outline = _fit_area(_draw_outline(rng, view, area_cm2), area_cm2)
    pectoral = _draw_pectoral(rng, outline) if view is View.MLO else None
    nipple = outline.nipple
    compressed = COMPRESSED_MM[density] * rng.uniform(0.88, 1.12) * (area_cm2 / MEAN_AREA_CM2[density]) ** 0.15
    clouds = noise.pair(rng, noise.power_law(1.75, 70.0, float(rng.choice([1.0, 0.8, 0.65]))))
    layers = (*clouds, np.ascontiguousarray(np.roll(clouds[0], (181, 97), axis=(0, 1))[::-1]))
    size = float(rng.uniform(0.75, 1.3))
    compartments = tuple(draw_compartments(rng, (long * size, wide * size)) for long, wide in COMPARTMENTS_MM)
    sway, fades = noise.pair(rng, noise.band(60.0))
    bends = noise.pair(rng, noise.band(16.0))
    origins = tuple((float(rng.uniform(10.0, 60.0)), float(rng.normal(0.0, 18.0))) for _ in compartments)
    tile = _fine_tile(rng) if fine else np.zeros((1, 1), dtype=np.float32)
    return Anatomy(
        view=view, density=density, area_cm2=area_cm2, compressed_mm=float(compressed),
        gland_fraction=float(rng.uniform(*GLAND_FRACTION[density])),
        envelope=ENVELOPE[density] * rng.uniform(0.93, 1.08),
        gland_centre=(
            outline.depth_mm * rng.uniform(0.44, 0.56),
            float(nipple[1]) * 0.6 - outline.half_mm * rng.uniform(0.0, 0.16),
        ),
        outline=outline, pectoral=pectoral, skin_mm=float(rng.uniform(0.9, 1.7)),
        clouds=layers, compartments=compartments, origins_mm=origins, bends=bends, sway=sway, fades=fades,
        fine_tile=tile,
        vessels=tuple(_draw_vessels(rng, outline)), ducts=tuple(_draw_ducts(rng, outline)),
        reticular=float(rng.uniform(0.5, 1.2)),
    )  # fmt: skip


def _fine_tile(rng: np.random.Generator) -> Field:
    amplitude, deviation = noise.fine(1.75)
    return noise.pair(rng, amplitude, noise.FINE_TILE)[0] * np.float32(deviation)


def _draw_outline(rng: np.random.Generator, view: View, area_cm2: float) -> Outline:
    aspect = 0.74 + 0.26 * np.clip((area_cm2 - 60) / 200, 0, 1) + rng.normal(0.0, 0.1)
    half = 100.0
    wobble = tuple((k, float(rng.normal(0, 0.022 / k)), float(rng.uniform(0, 2 * np.pi))) for k in (2, 3, 4))
    tail = None
    if view is View.MLO:
        top = -half * rng.uniform(1.1, 1.5)
        tail = (half * rng.uniform(0.45, 0.85), top, half * rng.uniform(0.3, 0.9))
    return Outline(
        view=view, depth_mm=float(half * aspect), half_mm=half, roundness=float(rng.uniform(1.65, 2.25)), wobble=wobble,
        tail=tail, nipple_angle=float(rng.normal(0.05 if view is View.MLO else 0.0, 0.1)),
        nipple_radius_mm=float(rng.uniform(4.0, 6.5)),
    )  # fmt: skip


def _fit_area(outline: Outline, area_cm2: float) -> Outline:
    """Scale the outline so that it covers `area_cm2` (tail and muscle included)."""
    grid = Grid(0.0, -160.0, 2.0, (160, 120))
    covered = float(((outline.depth_inside(grid) > 0) & outline.exposed(grid)).sum()) * (grid.spacing_mm / 10) ** 2
    return outline.scaled(float(np.sqrt(area_cm2 / covered)))


def _draw_pectoral(rng: np.random.Generator, outline: Outline) -> Pectoral:
    assert outline.tail is not None
    top = outline.tail[1]
    width = outline.tail[0] * rng.uniform(0.5, 0.85)
    angle = np.deg2rad(rng.uniform(16.0, 34.0))
    low = min(top + width / np.tan(angle), 0.45 * outline.half_mm)
    return Pectoral(float(width), float(top), float(low), float(rng.normal(2.0, 3.0)), float(rng.uniform(0.32, 0.62)))


def _draw_vessels(rng: np.random.Generator, outline: Outline) -> list[Tube]:
    tubes = []
    for _ in range(int(rng.integers(2, 6))):
        y = outline.half_mm * rng.uniform(-0.7, 0.75)
        start = (outline.depth_mm * rng.uniform(-0.02, 0.25), y)
        nipple = outline.nipple
        angle = np.arctan2(nipple[1] - y, nipple[0] - start[0]) + rng.normal(0, 0.35)
        trunk = wander(rng, start, angle, outline.depth_mm * rng.uniform(0.5, 1.0), 0.12, rng.uniform(0.8, 1.3))
        tubes.append(trunk)
        for _ in range(int(rng.integers(0, 3))):
            at = int(rng.integers(len(trunk.points) // 4, len(trunk.points)))
            turn = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 0.9)
            x, y_at = trunk.points[at]
            tubes.append(
                wander(rng, (float(x), float(y_at)), turn, rng.uniform(15, 45), 0.2, float(trunk.radius[at]) * 0.7)
            )
    return tubes


def _draw_ducts(rng: np.random.Generator, outline: Outline) -> list[Tube]:
    nipple = outline.nipple
    back = np.arctan2(-nipple[1] * 0.5, -nipple[0])
    return [
        wander(rng, nipple, back + rng.normal(0, 0.38), outline.depth_mm * rng.uniform(0.25, 0.6), 0.12, 0.55, 0.4)
        for _ in range(int(rng.integers(8, 15)))
    ]
