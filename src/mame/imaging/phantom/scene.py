"""A phantom as a whole: drawn from a description and a seed, rendered on a grid with its truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mame.imaging.framing import FIELD_MM
from mame.imaging.phantom import physics
from mame.imaging.phantom.anatomy import Anatomy, draw_anatomy
from mame.imaging.phantom.grid import Field, Grid
from mame.imaging.phantom.lesions import Cluster, LesionShape, MassShape, draw_lesion
from mame.imaging.phantom.looks import LOOKS, Look, look_of, present
from mame.imaging.phantom.tissue import Tissue, fill
from mame.mammogram import (
    Box,
    Density,
    Description,
    Laterality,
    Lesion,
    LesionKind,
    Mammogram,
    SpacingOrigin,
    View,
    area_from_cm2,
)

DENSE_SHARE = 0.28
"""A pixel counts as dense where gland and ligament fill more than this share of its column."""


@dataclass(frozen=True)
class Truth:
    """What is known exactly. Masks are H×W; percent_density: dense area over breast area without muscle, 0 to 100."""

    breast: NDArray[np.bool_]
    dense: NDArray[np.bool_]
    pectoral: NDArray[np.bool_]
    percent_density: float
    gland_fraction: float
    area_cm2: float


@dataclass(frozen=True)
class Picture:
    """A rendered phantom: the mammogram (left-sided, chest wall at the left edge unless mirrored) and its truth."""

    mammogram: Mammogram
    truth: Truth

    def mirrored(self) -> Picture:
        """The right breast of the same picture."""
        flip = np.fliplr
        record = self.mammogram
        width = record.shape[1]
        lesions = tuple(
            replace(item, box=item.box.mirrored(width), mask=None if item.mask is None else flip(item.mask).copy())
            for item in record.lesions
        )
        truth = replace(
            self.truth, breast=flip(self.truth.breast), dense=flip(self.truth.dense), pectoral=flip(self.truth.pectoral)
        )
        pixels = np.ascontiguousarray(flip(record.pixels))
        return Picture(record.with_(pixels=pixels, laterality=Laterality.R, lesions=lesions), truth)


@dataclass(frozen=True)
class Phantom:
    """One breast and the machine that looks at it. Everything random in it comes from `seed`."""

    anatomy: Anatomy
    look: Look
    lesions: tuple[LesionShape, ...]
    seed: tuple[int, ...]

    @property
    def description(self) -> Description:
        """What a prompt would say of it."""
        anatomy = self.anatomy
        kind = self.lesions[0].kind if self.lesions else None
        return Description(self.look.vendor, anatomy.view, anatomy.density, area_from_cm2(anatomy.area_cm2), kind)

    def field_grid(self, size: int = 512) -> Grid:
        """The field frame: chest wall at the left edge, breast centred in height; larger breasts are scaled down."""
        outline = self.anatomy.outline
        extent = max(outline.bottom_mm - outline.top_mm, outline.nipple[0] + 6.0, FIELD_MM)
        spacing = extent / size
        native = FIELD_MM / size
        middle = (outline.bottom_mm + outline.top_mm) / 2
        top = middle - extent / 2
        return Grid(0.0, round(top / native) * native if extent == FIELD_MM else top, spacing, (size, size))

    def matrix_grid(self) -> Grid:
        """The machine's full matrix, the large one where the breast needs it."""
        outline = self.anatomy.outline
        spacing = self.look.spacing_mm
        tall = (outline.bottom_mm - outline.top_mm) > self.look.matrices[0][0] * spacing
        rows, columns = self.look.matrices[
            1 if tall or outline.nipple[0] + 6 > self.look.matrices[0][1] * spacing else 0
        ]
        middle = (outline.bottom_mm + outline.top_mm) / 2
        top = outline.top_mm if self.anatomy.view is View.MLO else middle - rows * spacing / 2
        return Grid(0.0, top, spacing, (rows, columns))

    def window_grid(self, centre: tuple[float, float], side_mm: float, size: int = 512) -> Grid:
        """A square window of `side_mm` around a point (mm), moved so that it does not leave the chest wall."""
        return Grid(max(centre[0] - side_mm / 2, 0.0), centre[1] - side_mm / 2, side_mm / size, (size, size))

    def without_lesions(self) -> Phantom:
        """The same breast, healthy."""
        return replace(self, lesions=())

    def render(self, grid: Grid | None = None) -> Picture:
        """Look at the phantom on a grid (the field frame by default)."""
        grid = grid or self.field_grid()
        tissue = fill(self.anatomy, grid)
        line = _line_integral(tissue)
        for shape in self.lesions:
            line += _lesion_integral(shape, tissue, grid, self.anatomy)
        rng = np.random.default_rng([*self.seed, grid.shape[0], int(grid.spacing_mm * 1e4), int(grid.x0_mm * 10 + 5e4)])
        signal = physics.expose(line, tissue.inside, grid, rng, self.look.detector)
        pixels = present(
            signal, tissue.breast, tissue.total, tissue.inside, self.anatomy.compressed_mm, grid, self.look
        )
        lesions = tuple(lesion for shape in self.lesions if (lesion := _lesion(shape, tissue, grid)) is not None)
        record = Mammogram(
            pixels=pixels, spacing_mm=grid.spacing_mm, spacing_origin=SpacingOrigin.MODEL, laterality=Laterality.L,
            description=self.description,
            lesions=lesions, source="phantom", provenance={"phantom_seed": list(self.seed)}, synthetic=True,
        )  # fmt: skip
        return Picture(record, _truth(tissue, grid))


def draw(
    seed: int | tuple[int, ...],
    description: Description | None = None,
    lesion: LesionKind | None = None,
    fine: bool = False,
) -> Phantom:
    """Draw a phantom; what the description leaves open is drawn from the seed.

    lesion: its kind, where one is wanted (the description's own word counts as well). fine: with texture beyond one
    line a millimetre, for full matrices and windows (costs 0.1 s). Raises MameError for a vendor without a look.
    """
    asked = description or Description()
    key = (seed,) if isinstance(seed, int) else tuple(seed)
    rng = np.random.default_rng(key)
    view = asked.view or View(rng.choice(list(View)))
    density = asked.density or Density(rng.choice(list(Density), p=[0.15, 0.35, 0.35, 0.15]))
    look = look_of(asked.vendor) if asked.vendor else LOOKS[str(rng.choice(list(LOOKS)))]
    anatomy = draw_anatomy(rng, view, density, asked.area, fine)
    kind = lesion or asked.lesion
    shape = draw_lesion(rng, anatomy, LesionKind.MASS if kind is LesionKind.LESION else kind) if kind else None
    return Phantom(anatomy, look, (shape,) if shape else (), key)


def _line_integral(tissue: Tissue) -> Field:
    """Σ μ t, dimensionless (μ in 1/cm, t in mm)."""
    known = tissue.skin + tissue.gland + tissue.ligament + tissue.muscle + tissue.blood
    fat = np.maximum(tissue.total - known, 0.0)
    line = physics.SKIN * tissue.skin + physics.GLAND * tissue.gland + physics.LIGAMENT * tissue.ligament
    line += physics.MUSCLE * tissue.muscle + physics.BLOOD * tissue.blood + physics.ADIPOSE * fat
    return np.asarray(line * np.float32(0.1), dtype=np.float32)


def _lesion_integral(shape: LesionShape, tissue: Tissue, grid: Grid, anatomy: Anatomy) -> Field:
    """What a lesion adds to Σ μ t: it takes the place of the mixture that was there."""
    path = shape.thickness(grid)
    if isinstance(shape, Cluster):
        return path * np.float32(0.1 * (physics.CALCIUM - physics.GLAND))
    share = np.clip(tissue.gland / np.maximum(tissue.total, 1.0), 0.0, 1.0)
    there = physics.ADIPOSE + (physics.GLAND - physics.ADIPOSE) * share
    room = np.minimum(path, 0.95 * tissue.total)
    return np.asarray(room * (shape.attenuation * physics.GLAND - there) * 0.1, dtype=np.float32)


def _lesion(shape: MassShape | Cluster, tissue: Tissue, grid: Grid) -> Lesion | None:
    mask = shape.mask(grid) & tissue.breast
    box = Box.of_mask(mask)
    return None if box is None else Lesion(shape.kind, box, mask)


def _truth(tissue: Tissue, grid: Grid) -> Truth:
    pectoral = (
        np.zeros_like(tissue.breast) if tissue.muscle_depth is None else (tissue.muscle_depth > 0) & tissue.breast
    )
    free = tissue.breast & ~pectoral
    fibrous = (tissue.gland + 0.5 * tissue.ligament) / np.maximum(tissue.total, 1.0)
    dense = free & (fibrous > DENSE_SHARE) & (tissue.inside > 3.0)
    area = float(free.sum())
    volume = float(tissue.total[free].sum())
    return Truth(
        tissue.breast, dense, pectoral,
        percent_density=100.0 * float(dense.sum()) / max(area, 1.0),
        gland_fraction=float((tissue.gland * free).sum()) / max(volume, 1.0),
        area_cm2=float(tissue.breast.sum()) * (grid.spacing_mm / 10) ** 2,
    )  # fmt: skip
