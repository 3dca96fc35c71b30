"""Variations of pictures, against what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from mame.imaging import phantom
from mame.imaging.breast import find_breast
from mame.imaging.density import percent_density
from mame.imaging.variation import draw_view_variation, draw_window_variation
from mame.mammogram import Description, View


@pytest.mark.parametrize("view", list(View))
def test_a_varied_view_keeps_chest_wall_area_density_and_view(view: View) -> None:
    for seed in range(4):
        drawn = phantom.draw(seed, Description(view=view))
        before = drawn.render(drawn.field_grid(256)).mammogram.pixels
        after = draw_view_variation(np.random.default_rng(seed), before, view).apply(before)
        assert not np.array_equal(before, after)
        assert after.dtype == np.float32
        assert 0 <= after.min() <= after.max() <= 1
        # the chest wall stays where it was: the first column is tissue along the same length
        assert (after[:, 0] > 0).sum() == pytest.approx((before[:, 0] > 0).sum(), rel=0.06)
        assert (after > 0).sum() == pytest.approx((before > 0).sum(), rel=0.021)
        assert find_breast(after).laterality == "L"
        found = [percent_density(picture, find_breast(picture).mask) for picture in (before, after)]
        assert found[1] == pytest.approx(found[0], abs=6)


def test_only_craniocaudal_views_are_turned_upside_down() -> None:
    pixels = np.zeros((64, 64), np.float32)
    pixels[8:24, :20] = 0.5  # high up on the left
    high = {}
    for view in (*View, None):
        varied = [draw_view_variation(np.random.default_rng(i), pixels, view).apply(pixels) for i in range(30)]
        high[view] = sum(picture[:32].sum() > picture[32:].sum() for picture in varied)
    assert high[View.MLO] == high[None] == 30
    assert 8 < high[View.CC] < 22


def test_a_window_and_its_mask_turn_together() -> None:
    pixels = np.full((96, 96), 0.3, np.float32)
    y, x = np.mgrid[:96, :96]
    mask = ((x - 40) / 14) ** 2 + ((y - 52) / 8) ** 2 < 1
    pixels[mask] = 0.9
    for seed in range(10):
        drawn = draw_window_variation(np.random.default_rng(seed), (96, 96))
        varied, moved = drawn.apply(pixels), drawn.apply_mask(mask)
        bright = varied > 0.6
        assert (bright & moved).sum() > 0.95 * moved.sum()
        assert moved.sum() == pytest.approx(mask.sum(), rel=0.25)


def test_air_stays_exactly_black() -> None:
    pixels = np.zeros((64, 64), np.float32)
    pixels[10:50, :30] = np.random.default_rng(0).uniform(0.2, 0.9, (40, 30))
    varied = draw_view_variation(np.random.default_rng(3), pixels, View.MLO).apply(pixels)
    assert (varied == 0).mean() == pytest.approx((pixels == 0).mean(), abs=0.02)
