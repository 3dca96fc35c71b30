"""What lies behind each pixel: millimetres of fat, gland, ligament, muscle, skin, blood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mame.imaging.phantom import noise
from mame.imaging.phantom.anatomy import Anatomy
from mame.imaging.phantom.curves import tube_thickness
from mame.imaging.phantom.grid import Field, Grid
from mame.imaging.phantom.shape import thickness

STEEPNESS = 0.6
"""Width of the step between fat and gland, in standard deviations of the texture (.35 for one layer)."""

HALF_WIDTHS_MM = (0.7, 0.5, 0.35, 0.3)
PATHS_MM = (9.0, 7.5, 6.0, 4.0)
"""Of the nets of sheets, coarse to fine: half width at 1/e seen edge-on, and how much of it lies behind a pixel."""

BEND_MM = (2.0, 1.5, 1.0, 1.0)
"""How far the sheets of each net are bent out of their plane."""


@dataclass
class Tissue:
    """Path lengths in mm, each H×W. `inside`: distance to the skin, positive in the breast; `breast`: what is seen."""

    breast: NDArray[np.bool_]
    inside: Field
    total: Field
    skin: Field
    gland: Field
    ligament: Field
    muscle: Field
    blood: Field
    muscle_depth: Field | None


class Net(NamedTuple):
    """Of one net of compartments, each H×W: mm to the nearest sheet, its strength, mm into the compartment."""

    gap: Field
    strength: Field
    inward: Field


def fill(anatomy: Anatomy, grid: Grid) -> Tissue:
    """The breast's tissues on a grid, without lesions."""
    outline = anatomy.outline
    inside = outline.depth_inside(grid)
    body = thickness(inside, anatomy.compressed_mm)
    skin = anatomy.skin_mm * (1.0 + 1.3 * outline.areola(grid))
    inner = thickness(inside - skin, anatomy.compressed_mm - 2 * anatomy.skin_mm)
    nipple = outline.nipple_chord(grid)
    total = np.maximum(body, nipple)
    clouds = tuple(_look(cloud, grid) for cloud in anatomy.clouds)
    nets = _nets(anatomy, grid, inside)
    gland = inner * _gland_share(anatomy, grid, inside, _drawn_out(clouds, nets))
    gland += tube_thickness(list(anatomy.ducts), grid) * (inside > 1.0)
    depth = None if anatomy.pectoral is None else anatomy.pectoral.depth(grid)
    muscle = np.zeros_like(inner) if depth is None else _muscle(anatomy, depth, inner, clouds)
    room = np.maximum(inner - muscle, 0.0)
    share = room / np.maximum(inner, 1e-3)
    gland = np.minimum(gland * share, room * 0.97)
    ligament = _ligaments(anatomy, grid, inside, inner, clouds, nets)
    ligament = np.minimum(ligament * _outside_muscle(depth), room - gland)
    blood = np.minimum(tube_thickness(list(anatomy.vessels), grid) * (inside > 2.0), room - gland - ligament)
    breast = ((inside > 0) | (nipple > 0)) & outline.exposed(grid)
    return Tissue(breast, inside, total, total - inner, gland, ligament, muscle, blood, depth)


def _look(field: Field, grid: Grid) -> Field:
    """A periodic field on a grid; a grid of the field's own pixels needs no interpolation."""
    step = noise.PERIOD_MM / noise.TILE
    row, column = (grid.y0_mm + noise.PERIOD_MM / 2) / step, grid.x0_mm / step
    if grid.spacing_mm != step or row != round(row) or column != round(column):
        return noise.on_grid(field, grid)
    rows = (np.arange(grid.shape[0]) + round(row)) % noise.TILE
    columns = (np.arange(grid.shape[1]) + round(column)) % noise.TILE
    return np.asarray(field[rows[:, None], columns[None, :]])


def _outside_muscle(depth: Field | None) -> Field | np.float32:
    """1 outside the muscle, a trace inside: ligaments end at it."""
    return np.float32(1.0) if depth is None else 1.0 - 0.85 * _sigmoid(depth / 1.5)


def _envelope(anatomy: Anatomy, grid: Grid, inside: Field) -> Field:
    """exp(-[((x - cx)² / (k a)²) + (y - cy)² / (1.4 k b)²]²), drawn out towards the nipple, none under the skin."""
    x, y = grid.mesh()
    cx, cy = anatomy.gland_centre
    reach_x = anatomy.envelope * anatomy.outline.depth_mm
    reach_y = anatomy.envelope * 1.35 * anatomy.outline.half_mm
    body = np.exp(-((((x - cx) / reach_x) ** 2 + ((y - cy) / reach_y) ** 2) ** 2))
    nx, ny = anatomy.outline.nipple
    cone = 0.75 * np.exp(-(((x - nx + 18.0) / 16.0) ** 2) - ((y - ny) / (6.0 + 0.35 * np.abs(nx - x))) ** 2)
    fat = np.clip((inside - 2.0) / (0.06 * anatomy.outline.depth_mm + 3.0), 0.0, 1.0)
    return (np.maximum(body, cone) * fat).astype(np.float32)


def _gland_share(anatomy: Anatomy, grid: Grid, inside: Field, clouds: tuple[Field, ...]) -> Field:
    """Share of the thickness that is gland: env · mean over layers of σ((g + m)/.35).

    Several layers lie behind one another in a compressed breast: their mean is what makes the picture cloudy rather
    than black and white. m is found by bisection so that the whole breast holds the wanted fraction.
    """
    coarse = Grid(0.0, -noise.PERIOD_MM / 2, 4.0, (64, 64))
    step = noise.TILE // 64
    thin = tuple(cloud[step // 2 :: step, step // 2 :: step] for cloud in anatomy.clouds)
    there = anatomy.outline.depth_inside(coarse)
    weight = thickness(there, anatomy.compressed_mm) * anatomy.outline.exposed(coarse)
    if anatomy.pectoral is not None:
        weight = weight * (anatomy.pectoral.depth(coarse) < 0)
    envelope = _envelope(anatomy, coarse, there)
    wanted = anatomy.gland_fraction * float(weight.sum())
    low, high = -6.0, 8.0
    for _ in range(22):
        middle = (low + high) / 2
        held = float((weight * envelope * _layers(thin, envelope, middle)).sum())
        low, high = (middle, high) if held < wanted else (low, middle)
    envelope = _envelope(anatomy, grid, inside)
    fine: Field | float = 0.0
    if anatomy.fine_tile.size > 1:
        fine = noise.on_grid(anatomy.fine_tile, grid, noise.FINE_PERIOD_MM)
    haze = np.float32(0.035) * np.clip(1.0 + clouds[1] + fine, 0.0, 3.0)
    return envelope * _layers(tuple(c + fine for c in clouds), envelope, (low + high) / 2) + haze


def _layers(clouds: tuple[Field, ...], envelope: Field, offset: float) -> Field:
    lean = np.float32(offset) - 0.9 * (1.0 - envelope)
    solid = sum(_sigmoid((cloud + lean) / STEEPNESS) for cloud in clouds) / np.float32(len(clouds))
    threads = np.clip(0.84 + 0.07 * clouds[0] - 0.05 * clouds[1], 0.5, 1.0)  # even solid gland is interwoven with fat
    return np.asarray(solid * threads, dtype=np.float32)


def _nets(anatomy: Anatomy, grid: Grid, inside: Field) -> tuple[Net, ...]:
    """The nets of compartments on a grid, coarse one first.

    Compartments are drawn out towards the nipple: they are looked up at (distance from it, angle around it).
    """
    there = inside > 0
    x, y = (np.broadcast_to(axis, grid.shape)[there] for axis in (grid.x[None, :], grid.y[:, None]))
    sway, fade, bend, other = (_look(field, grid)[there] for field in (anatomy.sway, anatomy.fades, *anatomy.bends))
    nx, ny = anatomy.outline.nipple
    found = []
    for number, (compartments, (ahead, aside)) in enumerate(zip(anatomy.compartments, anatomy.origins_mm, strict=True)):
        dx, dy = nx + ahead - x, y - ny - aside
        distance = np.sqrt(dx**2 + dy**2)
        angle = np.arctan2(dy, np.maximum(dx, 1.0))
        reach = np.float32(0.6 * nx + ahead)  # where compartments have their own width
        u = distance + 4.0 * fade + BEND_MM[number] * bend
        v = angle * reach + 5.0 * sway + BEND_MM[number] * other
        planes = np.full((3, *grid.shape), 50.0, dtype=np.float32)
        planes[:, there] = compartments.sheets(u.astype(np.float32), v.astype(np.float32))
        found.append(Net(*planes))
    return tuple(found)


def _drawn_out(clouds: tuple[Field, ...], nets: tuple[Net, ...]) -> tuple[Field, ...]:
    """The gland's texture: gland lies along the sheets and leaves the compartments' middles to fat."""
    coarse, fine = (np.exp(-net.inward / np.float32(reach)) for net, reach in zip(nets, (3.0, 1.6), strict=False))
    coarse, fine = 1.3 * (coarse - 0.4), 1.1 * (fine - 0.4)
    return clouds[0] + coarse, clouds[1] + fine, clouds[2] + 0.4 * (coarse + fine)


def _ligaments(
    anatomy: Anatomy,
    grid: Grid,
    inside: Field,
    inner: Field,
    clouds: tuple[Field, ...],
    nets: tuple[Net, ...],
) -> Field:
    """Cooper's ligaments, mm behind each pixel: the sheets between compartments, seen edge-on as curved lines."""
    amount = np.zeros(grid.shape, dtype=np.float32)
    fades = _look(anatomy.fades, grid)
    for number, (net, path) in enumerate(zip(nets, PATHS_MM, strict=True)):
        width = HALF_WIDTHS_MM[number] * (0.6 + 0.8 * net.strength)
        seen = np.maximum(width, np.float32(0.7 * grid.spacing_mm))
        fade = 0.3 + 0.7 * _sigmoid((clouds[number % 3] + (0.9 if number % 2 else -0.9) * fades) * 1.4)
        amount += (
            np.exp(-((net.gap / seen) ** 2)) * (width / seen) * (0.12 + 0.88 * net.strength) * fade * np.float32(path)
        )
    rim = np.clip((inside - 1.5) / 6.0, 0.0, 1.0) * (1.0 - 0.4 * np.exp(-np.clip(inside, 0, None) / 18.0))
    return amount * rim * np.float32(anatomy.reticular) * (inner / anatomy.compressed_mm)


def _muscle(anatomy: Anatomy, depth: Field, inner: Field, clouds: tuple[Field, ...]) -> Field:
    """Pectoral muscle: thicker away from its edge, faintly mottled."""
    assert anatomy.pectoral is not None
    ramp = 1.0 - np.exp(-np.clip(depth, 0.0, None) / 7.0)
    share = anatomy.pectoral.share * (0.45 + 0.55 * np.clip(depth / 40.0, 0.0, 1.0))
    texture = 1.0 + 0.05 * clouds[0] + 0.05 * clouds[1]
    return inner * np.clip(_sigmoid(depth / 0.8) * (0.35 + 0.65 * ramp) * share * texture, 0.0, 0.95)


def _sigmoid(x: Field) -> Field:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0)))
