"""The size of a pixel where no file says it."""

from __future__ import annotations

import pytest

from mame.formats.spacing import assume_spacing
from mame.mammogram import Mammogram, SpacingOrigin


def test_a_film_is_taken_to_be_24_cm_long(generated: Mammogram) -> None:
    film = assume_spacing(generated.with_(spacing_mm=None))
    assert film.spacing_mm == pytest.approx(240 / 600)
    assert film.spacing_origin is SpacingOrigin.ASSUMED


def test_a_known_spacing_stays(generated: Mammogram) -> None:
    assert assume_spacing(generated) is generated
