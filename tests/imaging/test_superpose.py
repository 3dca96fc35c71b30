"""A lesion lies over what was there."""

from __future__ import annotations

import numpy as np

from mame.imaging.superpose import superposed

SIDE = 128


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(window with a thin bright line in it, region, a mass, the change of a model that forgot the line)"""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    line = 0.2 * np.exp(-(((y - x) / 3) ** 2))
    window = (0.35 + line).astype(np.float32)
    region = (np.abs(x - 64) < 30) & (np.abs(y - 64) < 30)
    mass = (0.25 * (np.hypot(x - 64, y - 64) < 24)).astype(np.float32)
    return window, region, mass, np.where(region, mass - line, 0).astype(np.float32)


def test_what_was_there_shows_through() -> None:
    window, region, mass, change = scene()
    before, after = window + change, window + superposed(window, change, region)
    inside = mass > 0
    line = window - 0.35

    def seen(picture: np.ndarray) -> float:
        return float(np.corrcoef(picture[inside], line[inside])[0, 1])

    assert abs(seen(before)) < 0.1
    assert seen(after) > 0.9


def test_a_change_that_kept_the_tissue_stays_as_it_is() -> None:
    window, region, mass, _ = scene()
    assert np.abs(superposed(window, mass, region) - mass)[mass > 0].max() < 0.02


def test_faint_changes_that_would_show_the_outline_fade_and_no_rim_gets_darker() -> None:
    window, region, mass, _ = scene()
    flat = np.full_like(window, 0.35)
    found = superposed(flat, np.where(region, mass + 0.004, 0).astype(np.float32), region)
    far = region & (np.hypot(*(np.mgrid[0:SIDE, 0:SIDE] - 64)) > 38)
    assert far.any()
    assert np.abs(found[far]).max() < 0.001
    rim = np.where(region & ~(mass > 0), np.float32(-0.1), mass)
    assert superposed(flat, rim, region).min() >= 0
    dent = superposed(flat, np.where(np.mgrid[0:SIDE, 0:SIDE][1] < 60, mass, -mass), region)
    assert dent.min() >= 0
    assert dent[:, :56].max() > 0.2
    assert superposed(flat, -mass, region).min() < -0.2  # a lucent one
