"""Simulated lesions in real tissue: windows of real mammograms with a mass or a cluster laid into them.

A model that saw phantoms only knows the phantom's tissue; here the surroundings are real and the truth still exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter

from mame.dataset.examples import Example
from mame.dataset.regions import Regions, region_of
from mame.errors import MameError
from mame.formats.files import SUFFIXES, read
from mame.imaging.breast import find_breast
from mame.imaging.phantom.grid import Grid
from mame.imaging.phantom.lesions import Cluster, MassShape, draw_cluster, draw_mass
from mame.mammogram import Description, LesionKind

VERSION = 3
ASSUMED_SPACING_MM = 0.1  # of files that don't say: windows are cut by the lesion's size, so little hangs on it
RADIUS_MM = (3.5, 11.0)
CLUSTER_SIDE_MM = (12.0, 26.0)
MOTTLE_MM = (0.25, 0.8, 2.5)  # sizes of the grain in a mass: a texture without one scale
EACH = 16  # neighbouring examples come from one picture, which is read once for all of them
SKIN_PX = 6.0  # the outline comes in steps: the tissue fades in over some pixels, so that a model learns no stairs
TRIES = 50


@dataclass(frozen=True)
class CompositeWindows:
    """Lesion windows size×size: real surroundings, a simulated lesion, or (one in eight) a region with nothing in it.

    folder: mammograms (DICOM, PNG or JPEG), best such as have no lesion of their own. Contrast and brightness are
    varied, from digital images to flat film.
    """

    name: str
    folder: Path
    count: int
    seed: int
    size: int
    mass_share: float = 0.75
    empty_share: float = 0.125
    regions: Regions = Regions.MIXED

    @property
    def key(self) -> str:
        """Which files, seed, size and mixture."""
        told = sha256("".join(f"{path.name} {path.stat().st_size}\n" for path in _files(self.folder)).encode())
        return (
            f"composite windows {VERSION} {told.hexdigest()[:16]} {self.seed} {self.size} {self.mass_share} "
            f"{self.empty_share}{self.regions.key}"
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        files = _files(self.folder)
        order = np.random.default_rng([self.seed, 5]).permutation(len(files))
        pixels, depth, spacing_mm = _picture(files[order[(index // EACH) % len(files)]])
        rng = np.random.default_rng([self.seed, index, 6])
        mass = rng.random() < self.mass_share
        reach_mm = float(rng.uniform(*RADIUS_MM)) if mass else 4.0
        side_mm = 2.0 * reach_mm * float(rng.uniform(2.4, 4.0)) if mass else float(rng.uniform(*CLUSTER_SIDE_MM))
        # some lie just under the skin, so that a window with air in it is nothing new
        y, x = _place(rng, depth, reach_mm * float(rng.uniform(0.4, 1.0)) / spacing_mm)
        tissue, cover = _window(pixels, np.clip(depth / SKIN_PX, 0.0, 1.0), x, y, side_mm / spacing_mm, self.size)
        tissue = _toned(rng, tissue) * cover
        aim = rng.normal(0.0, 0.06 * side_mm, 2)
        grid = Grid(-side_mm / 2 + aim[0], -side_mm / 2 + aim[1], side_mm / self.size, (self.size, self.size))
        shape = draw_mass(rng, (0.0, 0.0), reach_mm) if mass else draw_cluster(rng, (0.0, 0.0))
        mask = shape.mask(grid)
        if not mask.any():
            raise MameError(f"{self.name} {index}: the lesion lies outside its window")
        kind: LesionKind | None = LesionKind.MASS if mass else LesionKind.CALCIFICATIONS
        if rng.random() < self.empty_share:
            kind = None
        else:
            tissue = laid_in(rng, tissue, cover > 0.5, shape, grid)
        region = region_of(rng, mask, self.regions)
        return Example(f"composite-{self.seed}-{index}", tissue, Description(lesion=kind), region, mask)


def laid_in(
    rng: np.random.Generator,
    tissue: NDArray[np.float32],
    inside: NDArray[np.bool_],
    shape: MassShape | Cluster,
    grid: Grid,
) -> NDArray[np.float32]:
    """A lesion laid into presentation greys (H×W in [0, 1]): g' = 1 - (1 - g) exp(-k t).

    t: the lesion's thickness, of unit height; k: how much it stands out. The exponential is attenuation where the
    film curve is straight, and saturates towards white as the curve's shoulder does. A mass also takes the place of
    the tissue it grew in, so part of that tissue's structure goes.
    """
    path = shape.thickness(grid)
    if isinstance(shape, Cluster):
        strength = float(rng.uniform(0.5, 2.0))
        path = path / 0.3
    else:
        strength = float(rng.uniform(0.25, 0.9))
        grain = rng.standard_normal(path.shape, dtype=np.float32)
        mottle = sum(_unit(gaussian_filter(grain, mm / grid.spacing_mm, mode="wrap")) for mm in MOTTLE_MM)
        path = path / (2.0 * shape.radius_mm) * (1.0 + 0.05 * mottle)
        share = 0.3 * np.clip(path, 0.0, 1.0)  # most of the tissue lies before or behind the mass and goes on
        tissue = tissue * (1 - share) + gaussian_filter(tissue, 1.5 / grid.spacing_mm) * share
    laid = 1.0 - (1.0 - tissue) * np.exp(-strength * np.maximum(path, 0.0))
    return np.where(inside, np.clip(laid, 0.0, 1.0), 0.0).astype(np.float32)


def _unit(field: NDArray[np.float32]) -> NDArray[np.float32]:
    return field / (field.std() + np.float32(1e-6))


@lru_cache(maxsize=8)
def _files(folder: Path) -> tuple[Path, ...]:
    kinds = (*SUFFIXES, ".jpg", ".jpeg")
    found = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds))
    if not found:
        raise MameError(f"{folder}: holds no mammograms ({', '.join(kinds)})")
    return found


@lru_cache(maxsize=1)
def _picture(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Greys H×W with the chest wall on the left, depth below the skin in pixels, and the spacing."""
    record = read(path)
    breast = find_breast(record.pixels)
    pixels, mask = record.pixels, breast.mask
    if breast.laterality == "R":
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    # edge padding on the chest wall's side: tissue goes on there
    depth = distance_transform_edt(np.pad(mask, ((1, 1), (0, 1))))[1:-1, :-1]
    return np.ascontiguousarray(pixels * mask), depth.astype(np.float32), record.spacing_mm or ASSUMED_SPACING_MM


def _place(rng: np.random.Generator, depth: NDArray[np.float32], clear: float) -> tuple[int, int]:
    """(row, column) at least `clear` pixels below the skin, or the deepest there is."""
    for _ in range(TRIES):
        y, x = int(rng.integers(depth.shape[0])), int(rng.integers(depth.shape[1]))
        if depth[y, x] > clear:
            return y, x
    deepest = int(np.argmax(depth))
    return deepest // depth.shape[1], deepest % depth.shape[1]


def _window(
    pixels: NDArray[np.float32], cover: NDArray[np.float32], x: int, y: int, side: float, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The square of `side` pixels around (x, y), moved off the chest wall, as size×size greys and cover."""
    left, top = max(x - side / 2, 0.0), y - side / 2
    first_row, first_column, reach = int(np.floor(top)), int(left), int(np.ceil(side)) + 1
    rows = slice(max(first_row, 0), max(first_row + reach, 0))
    columns = slice(first_column, first_column + reach)
    greys, covered = pixels[rows, columns], cover[rows, columns]
    above, right = max(-first_row, 0), reach - greys.shape[1]
    pad = ((above, reach - above - greys.shape[0]), (0, right))
    box = (left - first_column, top - first_row, left - first_column + side, top - first_row + side)
    greys, covered = (
        np.asarray(Image.fromarray(layer).resize((size, size), Image.Resampling.BILINEAR, box=box), dtype=np.float32)
        for layer in (np.pad(greys, pad), np.pad(covered, pad))
    )
    return greys, covered


def _toned(rng: np.random.Generator, tissue: NDArray[np.float32]) -> NDArray[np.float32]:
    """Another machine's contrast: a power, then black and white points: digital images to flat, nearly white film."""
    low = 0.6 * float(rng.random()) ** 1.5
    high = low + (1.0 - low) * float(rng.uniform(0.5, 1.0))
    toned = low + (high - low) * np.clip(tissue, 0.0, 1.0) ** float(rng.uniform(0.6, 1.6))
    return np.asarray(toned, dtype=np.float32)
