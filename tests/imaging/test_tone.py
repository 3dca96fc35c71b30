import numpy as np
import pytest

from mame.imaging.tone import GAIN, MIDDLE, RANGE, Tone, tone_of

REGION = np.zeros((96, 96), bool)
REGION[32:64, 32:64] = True


def _tissue(level, spread, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(level + spread * rng.standard_normal((96, 96)), 0.01, 1.0).astype(np.float32)


@pytest.mark.parametrize(("level", "spread"), [(0.15, 0.04), (0.5, 0.08), (0.9, 0.02)])
def test_surroundings_of_every_machine_come_to_one_brightness_and_contrast(level, spread):
    window = _tissue(level, spread)
    window[REGION] = 1.0  # what is in the region has no say
    toned = tone_of(window, REGION).apply(window)
    around = toned[~REGION]
    assert np.median(around) == pytest.approx(MIDDLE, abs=0.02)
    low, high = np.quantile(around, [0.05, 0.95])
    assert high - low == pytest.approx(min(RANGE, GAIN[1] * 3.29 * spread), rel=0.15)


def test_air_stays_air_and_a_window_without_tissue_is_left():
    window = _tissue(0.4, 0.05)
    window[:, 70:] = 0.0
    assert (tone_of(window, REGION).apply(window)[:, 70:] == 0).all()
    assert tone_of(np.zeros((96, 96), np.float32), REGION) == Tone(1.0, 0.0, MIDDLE)


def test_a_small_change_comes_back_as_it_was_and_a_large_one_never_leaves_the_range():
    window = _tissue(0.5, 0.02)
    tone = tone_of(window, REGION)
    wanted = np.full_like(window, 0.004)
    laid = tone.lay(window, tone.gain * wanted) - window
    assert laid[REGION].mean() == pytest.approx(0.004, rel=0.1)
    for change in (-3.0, -0.3, 0.3, 3.0):
        laid = tone.lay(window, np.full_like(window, change))
        assert laid.min() >= 0
        assert laid.max() <= 1
        assert (np.sign(laid - window) == np.sign(change)).all()


def test_in_nearly_white_tissue_a_lesion_is_brighter_and_not_flat_white():
    window = _tissue(0.92, 0.015)
    tone = tone_of(window, REGION)
    change = np.where(REGION, np.float32(0.3), 0.0).astype(np.float32)
    laid = tone.lay(window, change)
    assert laid[REGION].mean() > window[REGION].mean() + 0.03
    assert (laid[REGION] < 1).all()
    assert np.array_equal(laid[~REGION], window[~REGION])
