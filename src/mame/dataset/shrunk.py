"""Whole views made smaller, for looks of which no small breast is at hand: what is said of their area follows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame.dataset.examples import Example, Examples
from mame.imaging.framing import FIELD_MM
from mame.mammogram import AREA_LIMITS_CM2, Area, area_from_cm2

VERSION = 1
SMALLEST_CM2 = 60.0
LEAST = 0.5  # the factor below which a picture would have a detail that no detector gives
CUT = 0.16  # share of the picture's width that the first or last row of tissue has where the image ended within it


@dataclass(frozen=True)
class Shrunk:
    """Pictures of another source, framed as a field of 256 mm, each of them smaller: medium or small, by its number.

    The chest wall stays at the left edge, and where the image cut through tissue above or below, the cut stays where it
    was. A picture that is cut on both sides, or is small, is given as it is.
    """

    name: str
    inner: Examples

    @property
    def key(self) -> str:
        """Of what."""
        return f"shrunk {VERSION} {self.inner.key}"

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Example:
        example = self.inner[index]
        tissue = example.pixels > 0
        side = len(tissue)
        area = float(tissue.mean()) * (FIELD_MM / 10) ** 2
        aim = _aim(np.random.default_rng([index, 10]), area)
        factor = max(LEAST, (aim / area) ** 0.5) if area > 0 else 1.0
        fixed = _fixed(tissue)
        if factor >= 1 or fixed is None:
            return example
        small = round(side * factor)
        top = round(fixed * (1 - small / side))

        def laid(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            whole = np.zeros_like(pixels)
            resized = Image.fromarray(pixels).resize((small, small), Image.Resampling.BICUBIC)
            whole[top : top + small, :small] = np.clip(np.asarray(resized), 0.0, 1.0)
            return whole

        def marked(mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
            return None if mask is None else laid(mask.astype(np.float32)) > 0.5

        inside = laid(tissue.astype(np.float32)) > 0.5
        return replace(
            example,
            pixels=np.where(inside, laid(example.pixels), np.float32(0.0)),
            description=replace(example.description, area=area_from_cm2(area * (small / side) ** 2)),
            region=marked(example.region),
            lesion=marked(example.lesion),
        )


def _fixed(tissue: NDArray[np.bool_]) -> int | None:
    """The row that stays where it is: a cut through tissue, else the middle; None where there are two cuts."""
    rows = np.flatnonzero(tissue.any(axis=1))
    ends = [int(row) for row in (rows[0], rows[-1]) if tissue[row].mean() > CUT]
    return None if len(ends) == 2 else ends[0] if ends else len(tissue) // 2


def _aim(rng: np.random.Generator, area_cm2: float) -> float:
    """The area in cm² to make of one that is larger: below the class it is in; of one that is small, its own."""
    small, medium = AREA_LIMITS_CM2
    classes = [(SMALLEST_CM2, small), (small, medium)]
    below = {Area.SMALL: 0, Area.MEDIUM: 1, Area.BIG: 2}[area_from_cm2(area_cm2)]
    if not below:
        return area_cm2
    low, high = classes[int(rng.integers(below))]
    return float(rng.uniform(low, high))
