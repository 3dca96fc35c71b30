"""Sources of examples, mixed."""

from __future__ import annotations

import numpy as np
import pytest

from mame.dataset.augmented import AugmentedViews, AugmentedWindows
from mame.dataset.examples import open_examples
from mame.dataset.regions import Regions
from mame.errors import MameError
from mame.mammogram import Box, LesionKind


def test_a_mixture_holds_every_example_of_its_parts_and_spreads_them_evenly() -> None:
    first, second = (open_examples(f"phantom:{count}:{seed}", "views", 64) for count, seed in ((8, 1), (2, 2)))
    mixed = open_examples("phantom:8:1 + 2*phantom:2:2", "views", 64)
    assert len(mixed) == 12
    ids = [mixed[i].id for i in range(12)]
    assert sorted(ids) == sorted([f"phantom-1-{i}" for i in range(8)] + 2 * [f"phantom-2-{i}" for i in range(2)])
    for half in (ids[:6], ids[6:]):
        assert sum(name.startswith("phantom-1") for name in half) == 4
    where = ids.index("phantom-1-3")
    assert np.array_equal(mixed[where].pixels, first[3].pixels)
    assert np.array_equal(mixed[ids.index("phantom-2-1")].pixels, second[1].pixels)
    assert mixed.key != open_examples("phantom:8:1 + phantom:2:2", "views", 64).key


def test_a_part_that_is_no_source_is_named() -> None:
    with pytest.raises(MameError, match="'nowhere' is no source of views"):
        open_examples("phantom:8:1 + nowhere", "views", 64)


def test_regions_hold_the_lesion_and_the_default_keeps_its_key() -> None:
    plain = open_examples("phantom:4:3", "windows", 96)
    for regions in Regions:
        windows = open_examples("phantom:4:3", "windows", 96, regions)
        assert (windows.key == plain.key) == (regions is Regions.MIXED)
        for index in range(4):
            example = windows[index]
            assert example.lesion is not None
            assert example.region is not None
            assert not (example.lesion & ~example.region).any()
            if regions is Regions.BOX:
                assert example.region.sum() == Box.of_mask(example.lesion).area  # type: ignore[union-attr]
            if regions is Regions.OUTLINE:
                assert np.array_equal(example.region, example.lesion)


def test_marked_views_have_a_mass_in_a_breast() -> None:
    marked = open_examples("phantom:4:3", "marked", 128, Regions.BOX)
    for index in range(4):
        example = marked[index]
        assert example.description.lesion is LesionKind.MASS
        assert example.lesion is not None
        assert (example.pixels[example.lesion] > 0).all()
    assert np.array_equal(marked[1].pixels, marked[1].pixels)


@pytest.mark.parametrize("number", [1, 2])
def test_variations_say_the_same_and_can_be_drawn_again(number: int) -> None:
    views = open_examples("phantom:3:3", "views", 96)
    windows = open_examples("phantom:3:3", "windows", 96)
    for source, varied in (
        (views, AugmentedViews(views, number)),
        (windows, AugmentedWindows(windows, number, Regions.BOX)),
    ):
        assert varied.key != source.key
        for index in range(3):
            example, again = varied[index], varied[index]
            assert example.description == source[index].description
            assert not np.array_equal(example.pixels, source[index].pixels)
            assert np.array_equal(example.pixels, again.pixels)
            if example.region is not None:
                assert example.lesion is not None
                assert Box.of_mask(example.region) == Box.of_mask(example.lesion)
