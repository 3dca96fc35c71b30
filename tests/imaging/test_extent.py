"""How far a change is seen, and a change that fills its region."""

from __future__ import annotations

import numpy as np
import pytest

from mame.imaging.extent import STRETCH, fitted, visible_box
from mame.mammogram import Box

REGION = Box(60, 80, 140, 150)


def blob(x: float, y: float, across: float, down: float, side: int = 200) -> np.ndarray:
    """A soft-edged ellipse with those half-axes, 0.3 at most."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    radius = np.hypot((columns - x) / across, (rows - y) / down)
    return (0.3 * np.clip((1.1 - radius) / 0.2, 0, 1)).astype(np.float32)


def test_half_of_the_peak_is_where_it_is_seen() -> None:
    found = visible_box(blob(100, 115, 30, 20), REGION)
    assert found is not None
    np.testing.assert_allclose(found.as_tuple(), (70, 95, 130, 135), atol=1.5)
    assert visible_box(np.zeros((200, 200), np.float32), REGION) is None
    assert visible_box(blob(20, 20, 10, 10), Box(150, 150, 170, 170)) is None


@pytest.mark.parametrize("change", [(94, 118, 30, 24), (110, 108, 28, 31), (100, 115, 40, 38)])
def test_a_lesion_fills_its_region(change: tuple[float, float, float, float]) -> None:
    before = visible_box(blob(*change), REGION)
    after = visible_box(fitted(blob(*change), REGION), REGION)
    assert before is not None
    assert after is not None
    assert after.iou(REGION) > 0.78
    assert after.iou(REGION) > before.iou(REGION) or before.iou(REGION) > 0.78
    np.testing.assert_allclose(after.centre, REGION.centre, atol=1.5)


def test_it_stays_the_same_lesion() -> None:
    small = blob(100, 115, 12, 10)
    grown = fitted(small, REGION)
    seen, before = visible_box(grown, REGION), visible_box(small, REGION)
    assert seen is not None
    assert before is not None
    assert seen.width <= STRETCH[1] * before.width + 2
    assert grown.max() == pytest.approx(small.max(), abs=0.01)
    assert grown.min() >= 0
    nothing = np.zeros((200, 200), np.float32)
    assert np.array_equal(fitted(nothing, REGION), nothing)
