"""Where a lesion can go."""

from __future__ import annotations

import numpy as np
import pytest
from formats.conftest import make_breast
from scipy.ndimage import distance_transform_edt, label

from mame.errors import MameError
from mame.imaging import phantom
from mame.mammogram import Box
from mame.synthesis.place import MARGIN_MM, Place, Room, find_place, free_place
from mame.synthesis.plan import Prior, Shape

PIXELS = make_breast((1200, 800))
BREAST = PIXELS > 0


def muscle() -> np.ndarray:
    y, x = np.mgrid[:1200, :800]
    return (x / 300 + y / 600 < 1) & BREAST


@pytest.mark.parametrize("side", [40.0, 120.5])
def test_a_place_is_in_the_breast_and_off_the_muscle(side: float) -> None:
    place = free_place(PIXELS, BREAST, muscle(), side)
    assert place.width == place.height == round(side)
    assert (BREAST & ~muscle())[place.slices()].all()
    assert place == free_place(PIXELS, BREAST, muscle(), side)


def test_a_breast_may_have_no_room() -> None:
    with pytest.raises(MameError, match="no room"):
        free_place(PIXELS, BREAST, muscle(), 900)


# -- drawn places -----------------------------------------------------------------------------------------------------

SPACING_MM = 0.2


@pytest.fixture(scope="module")
def room() -> Room:
    return Room.look(PIXELS, BREAST, muscle())


def margin_px(place: Place) -> float:
    """How far the region is from what is not breast, muscle included."""
    region = place.mask if place.mask is not None else place.box.to_mask(PIXELS.shape)
    padded = np.pad(BREAST & ~muscle(), 1, mode="edge")
    return float(distance_transform_edt(padded)[1:-1, 1:-1][region].min())


@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("size_mm", [5.0, 17.3, 40.0])
def test_places_are_as_large_as_asked_and_where_a_lesion_can_be(room: Room, shape: Shape, size_mm: float) -> None:
    for seed in range(20):
        place = find_place(room, size_mm, SPACING_MM, np.random.default_rng(seed), shape=shape)
        longer = max(place.box.width, place.box.height)
        assert abs(longer * SPACING_MM - size_mm) <= 2 * SPACING_MM
        assert place.box.clipped(PIXELS.shape) == place.box
        assert margin_px(place) * SPACING_MM >= MARGIN_MM - 2 * SPACING_MM * room.factor
        if place.mask is not None:
            assert Box.of_mask(place.mask) == place.box
            assert 0.4 < place.mask.sum() / place.box.area < 0.95
            assert label(place.mask)[1] == 1


def test_a_place_is_the_seeds_alone(room: Room) -> None:
    places = [find_place(room, 12, SPACING_MM, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert places[0].box == places[1].box != places[2].box
    assert places[0].mask is not None
    np.testing.assert_array_equal(places[0].mask, places[1].mask)


def test_lesions_keep_off_each_other(room: Room) -> None:
    for seed in range(10):
        rng, boxes = np.random.default_rng(seed), list[Box]()
        for _ in range(4):
            boxes.append(find_place(room, 15, SPACING_MM, rng, lesions=boxes).box)
        grown = [box.grown(MARGIN_MM / SPACING_MM / 2 - 2) for box in boxes]
        assert all(a.iou(b) == 0 for n, a in enumerate(grown) for b in grown[:n])


def test_the_prior_goes_where_the_tissue_is_dense() -> None:
    pixels = np.where(BREAST, np.float32(0.3), np.float32(0))
    pixels[700:1000, 100:350] = np.where(BREAST[700:1000, 100:350], np.float32(0.8), np.float32(0))
    room = Room.look(pixels, BREAST, np.zeros_like(BREAST))

    def share(prior: Prior) -> float:
        inside = 0
        for seed in range(200):
            x, y = find_place(room, 8, SPACING_MM, np.random.default_rng(seed), prior=prior).box.centre
            inside += 700 < y < 1000 and 100 < x < 350
        return inside / 200

    assert share(Prior.EVEN) < 0.25
    assert share(Prior.DENSE) > 0.45


def test_a_refusal_says_what_there_is_room_for(room: Room) -> None:
    with pytest.raises(MameError, match=r"no room for a lesion of 79 mm: 3 mm off skin, .* it holds .* of \d+ mm"):
        find_place(room, 79, 0.4 * SPACING_MM, np.random.default_rng(0))
    filled = [Box(0, 0, 800, 1200)]
    with pytest.raises(MameError, match="beside the others"):
        find_place(room, 10, SPACING_MM, np.random.default_rng(0), lesions=filled)


def test_a_picture_without_a_breast_has_no_room() -> None:
    nothing = np.zeros(PIXELS.shape, dtype=bool)
    with pytest.raises(MameError, match="0 mm at most"):
        find_place(Room.look(PIXELS, nothing, nothing), 10, SPACING_MM, np.random.default_rng(0))


def test_phantoms_have_room() -> None:
    for number in range(6):
        picture = phantom.draw((11, number)).render()
        pixels, truth = picture.mammogram.pixels, picture.truth
        spacing = picture.mammogram.spacing_mm
        assert spacing is not None
        place = find_place(Room.look(pixels, truth.breast, truth.pectoral), 10, spacing, np.random.default_rng(number))
        assert place.mask is not None
        assert (truth.breast & ~truth.pectoral)[place.mask].all()
