"""Where a lesion can go."""

from __future__ import annotations

import numpy as np
import pytest
from formats.conftest import make_breast

from mame.errors import MameError
from mame.synthesis.places import free_place

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
