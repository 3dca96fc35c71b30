"""Pictures for a page."""

from __future__ import annotations

import numpy as np
import pytest
from formats.conftest import make_breast
from PIL import Image

from mame.mammogram import Box
from mame.synthesis import showing

PIXELS = make_breast()


def test_a_picture_is_reduced_and_never_enlarged() -> None:
    assert showing.reduced(PIXELS, 300).size == (200, 300)
    assert showing.reduced(PIXELS, 3000).size == (400, 600)


@pytest.mark.parametrize("height", [300, 900])
def test_an_outline_is_drawn_on_the_border(height: int) -> None:
    picture = Image.new("RGB", (round(height * 2 / 3), height))
    mask = Box(100, 150, 300, 450).to_mask((600, 400))
    showing.draw_outline(picture, mask, showing.OUTLINE)
    drawn = Box.of_mask(np.asarray(picture).any(axis=2))
    assert drawn is not None
    scale = height / 600
    np.testing.assert_allclose(drawn.as_tuple(), np.array([100, 150, 300, 450]) * scale, atol=3)


def test_boxes_are_drawn_where_they_are() -> None:
    for dashed in (False, True):
        picture = Image.new("RGB", (200, 200))
        showing.draw_box(picture, Box(20, 40, 60, 80), 2.0, showing.ASKED, dashed)
        drawn = Box.of_mask(np.asarray(picture).any(axis=2))
        assert drawn is not None
        np.testing.assert_allclose(drawn.as_tuple(), (40, 80, 120, 160), atol=2)


def test_surroundings_stay_in_the_picture() -> None:
    assert showing.surroundings(Box(100, 100, 120, 110), (600, 400)) == Box(80, 75, 140, 135)
    assert showing.surroundings(Box(0, 0, 20, 20), (600, 400)) == Box(0, 0, 60, 60)
    assert showing.surroundings(Box(0, 0, 390, 590), (600, 400)).width == 400
    assert showing.cut(PIXELS, Box(80, 75, 140, 135), 100).size == (100, 100)


def test_a_dark_close_up_is_shown_with_its_own_contrast() -> None:
    dark, square = (0.1 * PIXELS).astype(np.float32), Box(80, 275, 140, 335)
    greys = showing.spread(dark, square)
    plain, stretched = np.asarray(showing.cut(dark, square)), np.asarray(showing.cut(dark, square, greys=greys))
    assert int(stretched.max()) - int(stretched.min()) > 5 * (int(plain.max()) - int(plain.min()))
    assert stretched.min() > 0
    assert stretched.max() < 255
    low, high = showing.spread(np.zeros((100, 100), np.float32), Box(0, 0, 50, 50))
    assert 0.0 <= low < high <= 1.0


def test_letters_are_found_and_borders_and_breast_are_not() -> None:
    film = PIXELS.copy()
    film[40:70, 300:360] = 0.9
    film[:, 396:] = 1.0
    (box,) = showing.letters(film, PIXELS > 0)
    np.testing.assert_allclose(box.as_tuple(), (300, 40, 360, 70), atol=3)
    assert showing.letters(PIXELS, PIXELS > 0) == []
