"""For the examples here: prepared sets of phantoms as one machine shows them, with captions of only some words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import mame
from mame.dataset.captions import Said
from mame.dataset.plan import Item, Options
from mame.dataset.prepare import About, prepare_items
from mame.dataset.pseudonyms import Pseudonyms
from mame.dataset.splits import Shares
from mame.imaging import phantom
from mame.imaging.phantom.looks import Look
from mame.mammogram import Area, Density, Description, Laterality, View

KEY = Pseudonyms(bytes(32))  # nobody's: these patients are drawn
FINER = 2  # pixels of a phantom to one of the prepared picture
SHARES = Shares(0.9, 0.1, 0.0)


def write_set(out: Path, look: Look, words: tuple[Said, ...], count: int, seed: int, size: int) -> Path:
    """`count` healthy phantoms that a machine of that look took, prepared at `size` pixels a side in `out`.

    Views, densities and areas are as likely as each other. words: what captions say beside the view. The same call
    again goes on where it was stopped.
    """
    about = About(f"{count} phantoms, look {look.vendor}", licence="as this software")
    options = Options(
        f"phantom-{look.vendor}", size=size, caption=(*words, Said.VIEW), shares=SHARES, seed=seed, windows=0
    )
    return prepare_items(items(out.parent / f"{out.name}-raw", look, count, seed, size), options, out, KEY, about=about)


def items(raw: Path, look: Look, count: int, seed: int, size: int) -> Iterator[Item]:
    """The phantoms as files in `raw`, drawn where they are not there yet."""
    raw.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        asked = description(seed, index)
        drawn = replace(phantom.draw((seed, index), asked), look=look)
        path = raw / f"{index:05d}.png"
        if not path.exists():
            mame.write(drawn.render(drawn.field_grid(size * FINER)).mammogram, path)
        grid = drawn.field_grid(size * FINER)
        yield Item(
            path, f"{look.vendor}-{index:05d}", f"{look.vendor}-{index}", laterality=Laterality.L, view=asked.view,
            vendor=look.vendor, density=asked.density, spacing_mm=grid.spacing_mm, healthy=True,
        )  # fmt: skip


def description(seed: int, index: int) -> Description:
    """Which breast number `index` is: each word as likely as every other. The vendor is only to draw it by."""
    rng = np.random.default_rng([seed, index])
    view, density, area = (list(kind)[rng.integers(len(kind))] for kind in (View, Density, Area))
    return Description(next(iter(phantom.LOOKS)), view, density, area)
