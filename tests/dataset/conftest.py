"""Small breasts with lesions whose truth is known, as DICOM, and the items a source would make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from mame.dataset.picture import Found
from mame.dataset.plan import Item
from mame.dataset.pseudonyms import Pseudonyms
from mame.formats.dicom import write_dicom
from mame.mammogram import Box, Density, Description, Laterality, LesionKind, Mammogram, View

SHAPE = (700, 420)
SPACING_MM = 0.3
KEY = Pseudonyms(bytes(range(32)))


@dataclass(frozen=True)
class DrawMask:
    """An outline that a source knows: a mask as it is."""

    mask: NDArray[np.bool_]

    def __call__(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        return self.mask


def make_breast(shape: tuple[int, int], seed: int) -> NDArray[np.float32]:
    """Half an ellipse against the left edge with texture; air exactly 0."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = ((rows / shape[0] - 0.5) / 0.42) ** 2 + (columns / shape[1] / 0.7) ** 2
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    greys = 0.45 + 0.15 * texture / texture.std() * np.clip(1 - distance, 0, 1)
    fade = np.clip((1 - distance) * 8, 0, 1)
    return np.where(distance < 1, np.clip(greys * (0.3 + 0.7 * fade), 0.02, 1), 0).astype(np.float32)


def disc(centre: tuple[float, float], radius: float, shape: tuple[int, int] = SHAPE) -> NDArray[np.bool_]:
    """H×W mask of a disc (x, y of the centre)."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.asarray((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2)


def picture(seed: int, lesions: tuple[NDArray[np.bool_], ...] = (), right: bool = False) -> NDArray[np.float32]:
    """A left or right breast; lesions are given as they are in it."""
    pixels = make_breast(SHAPE, seed)
    pixels = np.ascontiguousarray(pixels[:, ::-1]) if right else pixels
    for mask in lesions:
        pixels = np.where(mask, np.float32(0.95), pixels)
    return pixels


def write_item(
    folder: Path, number: int, *, lesions: int = 0, right: bool = False, outlined: bool = True, **changes: object
) -> Item:
    """A DICOM of a small breast and the item of it: two images a patient."""
    rng = np.random.default_rng(number)
    masks = []
    for lesion in range(lesions):
        x, y = rng.uniform(70, 150), 250 + 120 * lesion + rng.uniform(-20, 20)
        masks.append(disc((SHAPE[1] - x if right else x, y), rng.uniform(22, 30)))
    side = Laterality.R if right else Laterality.L
    record = Mammogram(
        picture(number, tuple(masks), right), SPACING_MM, side, Description(vendor="siemens", view=View.CC)
    )
    path = folder / f"image-{number}.dcm"
    write_dicom(record, path, seed=f"{number}", force=True)
    found = tuple(
        Found(
            LesionKind.MASS,
            None if outlined else Box.of_mask(mask),
            DrawMask(mask) if outlined else None,
            birads="4",
            finding="Mass",
        )
        for mask in masks
    )
    item = Item(
        path,
        f"image {number}",
        f"patient {number // 2}",
        f"study {number // 2}",
        laterality=side,
        view=View.CC,
        vendor="siemens",
        density=Density.C if number % 3 else None,
        age="54",
        healthy=not lesions,
        lesions=found,
    )
    return replace(item, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Twelve images of six patients: half with one or two lesions, a third of right breasts."""
    folder = tmp_path_factory.mktemp("source")
    return [write_item(folder, n, lesions=(0, 1, 0, 2)[n % 4], right=n % 3 == 0, outlined=n % 8 < 4) for n in range(12)]


@pytest.fixture
def some(items: list[Item]) -> Callable[..., list[Item]]:
    """Items with changes to all of them."""
    return lambda **changes: [replace(item, **changes) for item in items]
