"""Sources of examples, mixed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from mame.dataset.augmented import AugmentedViews, AugmentedWindows
from mame.dataset.examples import Example, open_examples, unsimulated
from mame.dataset.regions import Regions
from mame.dataset.shrunk import Shrunk
from mame.errors import MameError
from mame.mammogram import Area, Box, Description, LesionKind, area_from_cm2


@dataclass(frozen=True)
class One:
    """A source of one picture."""

    example: Example
    name: str = "one"
    key: str = "one"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Example:
        return self.example

    def __hash__(self) -> int:
        return 1


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


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("phantom:8:1 + 2*some/folder", "2*some/folder"),
        ("toned:composite:8:1:normals + 2*toned:a + shrunk:b", "2*toned:a + shrunk:b"),
        ("3*phantom:8:1 + shrunk:phantom:4", "3*phantom:8:1 + shrunk:phantom:4"),
        ("some/folder", "some/folder"),
    ],
)
def test_of_a_mixture_with_phantoms_the_rest_can_be_had_alone(source: str, kept: str) -> None:
    assert unsimulated(source) == kept


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


def test_shrunk_views_are_smaller_say_so_and_keep_their_chest_wall() -> None:
    whole, shrunk = (open_examples(f"{word}phantom:30:4", "all", 128) for word in ("", "shrunk:"))
    assert shrunk.key != whole.key
    smaller = 0
    for index in range(30):
        before, after = whole[index], shrunk[index]
        assert after.pixels.dtype == np.float32
        assert replace(after.description, area=None) == replace(before.description, area=None)
        areas = [float((example.pixels > 0).sum()) for example in (before, after)]
        if before.description.area is Area.SMALL:
            assert np.array_equal(after.pixels, before.pixels)
        elif areas[1] < areas[0]:
            smaller += 1
            assert after.description.area is area_from_cm2(areas[1] * 0.2**2)  # pixels of 2 mm
            assert (after.pixels[:, 0] > 0).any()
            assert after.lesion is not None
            assert after.lesion.shape == after.pixels.shape
    assert smaller >= 10
    assert {shrunk[i].description.area for i in range(30)} >= {Area.SMALL, Area.MEDIUM}


@pytest.mark.parametrize(("first", "last"), [(5, 80), (20, 95)])
def test_a_cut_through_tissue_stays_where_it_was(first: int, last: int) -> None:
    pixels = np.zeros((100, 100), np.float32)
    y, x = np.mgrid[:100, :100]
    round_end = ((y - 50) / 45) ** 2 + (x / 60) ** 2 <= 1
    pixels[round_end & (y >= first) & (y < last)] = 0.5  # straight where the image ended, as a muscle's upper end is
    made = Shrunk("cut", One(Example("cut", pixels, Description(area=Area.BIG))))[0]
    before, after = (np.flatnonzero((picture > 0).any(axis=1)) for picture in (pixels, made.pixels))
    straight, free = (0, -1) if first > 5 else (-1, 0)
    assert after[straight] == pytest.approx(before[straight], abs=1)
    assert abs(after[free] - before[free]) > 10


def test_lesions_shrink_with_their_views() -> None:
    whole, shrunk = (open_examples(f"{word}phantom:12:4", "marked", 128) for word in ("", "shrunk:"))
    smaller = 0
    for index in range(12):
        before, after = whole[index], shrunk[index]
        assert before.lesion is not None
        assert after.lesion is not None
        assert after.description.lesion == before.description.lesion
        factor = (after.pixels > 0).sum() / (before.pixels > 0).sum()
        assert after.lesion.sum() / before.lesion.sum() == pytest.approx(factor, rel=0.5, abs=0.1)
        assert (after.pixels[after.lesion] > 0).all()
        smaller += factor < 0.95
    assert smaller > 3


def test_only_whole_views_can_be_shrunk() -> None:
    with pytest.raises(MameError, match="shrunk: is for whole views"):
        open_examples("shrunk:phantom:4:3", "windows", 64)


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
