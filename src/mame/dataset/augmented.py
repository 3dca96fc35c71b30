"""Variations of examples, drawn beforehand by number so that they can be cached: what is said of them stays true."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mame.dataset.examples import Example, Examples
from mame.dataset.regions import Regions, region_of
from mame.imaging.variation import draw_view_variation, draw_window_variation

VERSION = 1


@dataclass(frozen=True)
class AugmentedViews:
    """Variation `number` (from 1) of whole views; a region to paint goes along."""

    examples: Examples
    number: int

    @property
    def name(self) -> str:
        """How the user called the source."""
        return self.examples.name

    @property
    def key(self) -> str:
        """Of what, and which variation."""
        return f"{self.examples.key} varied {VERSION} {self.number}"

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        example = self.examples[index]
        rng = np.random.default_rng([self.number, index, 8])
        drawn = draw_view_variation(rng, example.pixels, example.description.view)
        region, lesion = (None if m is None else drawn.apply_mask(m) for m in (example.region, example.lesion))
        if region is not None and not region.any():  # too small to survive: better unvaried than lost
            return example
        return replace(example, pixels=drawn.apply(example.pixels), region=region, lesion=lesion)


@dataclass(frozen=True)
class AugmentedWindows:
    """Variation `number` (from 1) of lesion windows; the place to paint is marked anew around the turned lesion."""

    examples: Examples
    number: int
    regions: Regions

    @property
    def name(self) -> str:
        """How the user called the source."""
        return self.examples.name

    @property
    def key(self) -> str:
        """Of what, and which variation."""
        return f"{self.examples.key} varied {VERSION} {self.number}"

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        example = self.examples[index]
        assert example.lesion is not None
        rng = np.random.default_rng([self.number, index, 9])
        shape = example.pixels.shape
        drawn = draw_window_variation(rng, (shape[0], shape[1]))
        lesion = drawn.apply_mask(example.lesion)
        if lesion.sum() < example.lesion.sum() / 2:  # turned out of the window
            return example
        region = region_of(rng, lesion, self.regions)
        return replace(example, pixels=drawn.apply(example.pixels), region=region, lesion=lesion)
