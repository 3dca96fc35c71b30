"""Simulated pictures to learn from, drawn when they are asked for: views, lesion windows, views with lesions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mame.dataset.examples import Example
from mame.dataset.regions import Regions, region_of
from mame.errors import MameError
from mame.imaging import phantom
from mame.imaging.phantom.lesions import MassShape
from mame.mammogram import Area, Density, Description, LesionKind, View

TRIES = 20


@dataclass(frozen=True)
class PhantomViews:
    """Healthy whole views in the field frame, every word of the language as likely as every other."""

    name: str
    count: int
    seed: int
    size: int

    @property
    def key(self) -> str:
        """Which simulator, seed and size."""
        return f"phantom views {phantom.VERSION} {self.seed} {self.size}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self.seed, index, 1])
        asked = Description(
            vendor=str(rng.choice(sorted(phantom.LOOKS))),
            view=View(rng.choice(list(View))),
            density=Density(rng.choice(list(Density))),
            area=Area(rng.choice(list(Area))),
        )
        drawn = phantom.draw((self.seed, index), asked)
        picture = drawn.render(drawn.field_grid(self.size))
        return Example(f"phantom-{self.seed}-{index}", picture.mammogram.pixels, replace(asked, lesion=None))


@dataclass(frozen=True)
class PhantomWindows:
    """Lesion windows: a mass or a cluster in the middle third, or (one in eight) a region with nothing in it."""

    name: str
    count: int
    seed: int
    size: int
    mass_share: float = 0.75
    empty_share: float = 0.125
    regions: Regions = Regions.MIXED

    @property
    def key(self) -> str:
        """Which simulator, seed, size and mixture."""
        told = f"phantom windows {phantom.VERSION} {self.seed} {self.size} {self.mass_share} {self.empty_share}"
        return told + self.regions.key

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self.seed, index, 2])
        kind = LesionKind.MASS if rng.random() < self.mass_share else LesionKind.CALCIFICATIONS
        drawn = phantom.draw((self.seed, index, 2), lesion=kind, fine=True)
        while (
            not drawn.lesions
        ):  # a breast with no room for a lesion: draw another (rare, and each draw is independent)
            drawn = phantom.draw((self.seed, index, int(rng.integers(1 << 30))), lesion=kind, fine=True)
        shape = drawn.lesions[0]
        reach = (
            shape.radius_mm
            if isinstance(shape, MassShape)
            else float(np.ptp(shape.grains[:, :2], axis=0).max()) / 2 + 1
        )
        side = 2.0 * reach * float(rng.uniform(2.4, 4.0))
        aim = rng.normal(0.0, 0.06 * side, 2)
        grid = drawn.window_grid((shape.centre[0] + aim[0], shape.centre[1] + aim[1]), side, self.size)
        picture = drawn.render(grid)
        if not picture.mammogram.lesions:
            raise MameError(f"phantom {self.seed}-{index} has a lesion outside its window")
        mask = picture.mammogram.lesions[0].mask
        assert mask is not None
        said = drawn.description
        if rng.random() < self.empty_share:
            picture = drawn.without_lesions().render(grid)
            said = replace(said, lesion=None)
        region = region_of(rng, mask, self.regions)
        return Example(f"window-{self.seed}-{index}", picture.mammogram.pixels, said, region, mask)


@dataclass(frozen=True)
class PhantomMarked:
    """Whole views with a mass in them: for a lesion model that sees the whole picture, as the paper's did.

    No calcifications: at the half millimetre of a whole view there is nothing to see of them.
    """

    name: str
    count: int
    seed: int
    size: int
    regions: Regions

    @property
    def key(self) -> str:
        """Which simulator, seed, size and regions."""
        return f"phantom marked {phantom.VERSION} {self.seed} {self.size}" + self.regions.key

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self.seed, index, 4])
        for number in range(TRIES):  # a breast with no room for a mass is drawn anew
            drawn = phantom.draw((self.seed, index, number, 4), lesion=LesionKind.MASS)
            picture = drawn.render(drawn.field_grid(self.size)).mammogram
            mask = picture.lesions[0].mask if picture.lesions else None
            if mask is not None and mask.any():
                region = region_of(rng, mask, self.regions)
                return Example(f"marked-{self.seed}-{index}", picture.pixels, drawn.description, region, mask)
        raise MameError(f"phantom {self.seed}-{index}: no breast with room for a mass in {TRIES} draws")
