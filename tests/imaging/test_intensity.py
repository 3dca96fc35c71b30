"""The maps from stored values to greys, against the equations of DICOM PS3.3."""

import numpy as np
import pytest

from mame.errors import MameError
from mame.imaging.intensity import (
    clear_air,
    invert,
    percentile_lut,
    pixels_to_uint16,
    table_lut,
    uint16_to_pixels,
    window_lut,
)


def standard_window(x, c, w, function):
    """PS3.3 C.11.2.1.2.1 and C.11.2.1.3, word for word, y from 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (x - c) / w))
    if function == "LINEAR":
        if x <= c - 0.5 - (w - 1) / 2:
            return 0.0
        if x > c - 0.5 + (w - 1) / 2:
            return 1.0
        return (x - (c - 0.5)) / (w - 1) + 0.5
    if x <= c - w / 2:
        return 0.0
    if x > c + w / 2:
        return 1.0
    return (x - c) / w + 0.5


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(
    ("slope", "intercept", "centre", "width"), [(1, 0, 2048, 4096), (2.5, -100, 300, 500), (-1, 0, -90, 20)]
)
def test_window_is_the_standards(function, slope, intercept, centre, width):
    lut = window_lut(-50, 300, slope, intercept, centre, width, function)
    expected = [standard_window(slope * v + intercept, centre, width, function) for v in range(-50, 250)]
    assert lut.dtype == np.float32
    assert lut.shape == (300,)
    np.testing.assert_allclose(lut, expected, atol=1e-6)


def test_window_of_width_one_is_a_threshold():
    assert window_lut(0, 4, 1, 0, 2, 1).tolist() == [0, 0, 1, 1]


def test_linear_examples_of_the_standard():
    # "c=2048 and w=4096: y = 0 at x = 0, y = 1 at x = 4095"; "c=0 and w=1: 0 at x <= -0.5"
    lut = window_lut(0, 4096, 1, 0, 2048, 4096)
    assert lut[0] == 0
    assert lut[-1] == 1
    assert (np.diff(lut) > 0).all()


def test_sigmoid_far_from_the_centre_does_not_overflow():
    with np.errstate(over="raise", invalid="raise"):
        lut = window_lut(0, 65536, 1, 0, 100, 1e-3, "SIGMOID")
    assert lut[0] == pytest.approx(0)
    assert lut[-1] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0.5}, "Window"),
        ({"width": float("nan")}, "Window"),
        ({"function": "LOG"}, "VOI LUT Function"),
        ({"slope": 0}, "Rescale"),
        ({"count": 0}, "at least one"),
    ],
)
def test_window_says_what_is_wrong(changes, message):
    with pytest.raises(MameError, match=message):
        window_lut(**{"first": 0, "count": 10, "slope": 1, "intercept": 0, "centre": 5, "width": 10} | changes)


def test_exact_and_sigmoid_take_widths_below_one():
    assert window_lut(0, 3, 1, 0, 1, 0.5, "LINEAR_EXACT").tolist() == [0, 0.5, 1]
    with pytest.raises(MameError, match="Window"):
        window_lut(0, 3, 1, 0, 1, 0, "LINEAR_EXACT")


def test_table_is_clamped_at_its_ends():
    lut = table_lut(0, 6, 1, 0, 2, [10, 100, 255], 8)
    np.testing.assert_allclose(lut, np.array([10, 10, 10, 100, 255, 255]) / 255, rtol=1e-6)


def test_table_applies_to_modality_values():
    lut = table_lut(0, 3, 2, -2, -2, np.arange(5) * 1000, 16)
    np.testing.assert_allclose(lut, np.array([0, 2000, 4000]) / 65535, rtol=1e-6)
    with pytest.raises(MameError, match="empty"):
        table_lut(0, 3, 1, 0, 0, [], 8)
    with pytest.raises(MameError, match="bits"):
        table_lut(0, 3, 1, 0, 0, [1], 17)


def test_sixteen_bits_stay_sixteen_bits():
    assert np.unique(window_lut(0, 65536, 1, 0, 32768, 65536)).size == 65536


def test_invert():
    lut = window_lut(0, 100, 1, 0, 50, 100)
    inverted = invert(lut)
    assert inverted.dtype == np.float32
    np.testing.assert_array_equal(inverted, 1 - lut)


def test_percentiles_of_the_breast():
    values = np.full((100, 100), 300, dtype=np.uint16)
    mask = np.zeros((100, 100), dtype=bool)
    mask[:, :40] = True
    values[mask] = np.random.default_rng(0).integers(1000, 3000, mask.sum())
    values[0, 99] = 65535  # a burnt-in letter must not set white
    lut = percentile_lut(values, 0, 65536, mask)
    assert lut[300] == 0
    assert lut[3000] == 1
    assert 0.3 < lut[1300] < 0.5
    whole = percentile_lut(values, 0, 65536)
    assert whole.min() == 0
    assert whole.max() == 1


def test_percentiles_of_a_blank_picture():
    with pytest.raises(MameError, match="blank"):
        percentile_lut(np.full((10, 10), 7, dtype=np.uint16), 0, 256)
    with pytest.raises(MameError, match="percentiles"):
        percentile_lut(np.eye(10, dtype=np.uint16), 0, 256, low=50, high=50)


def test_air_is_cleared_but_not_the_skin():
    greys = np.full((100, 100), 0.2, dtype=np.float32)
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:80, :50] = True
    cleared = clear_air(greys, mask, feather_px=3)
    assert (cleared[20:80, :53] == np.float32(0.2)).all()
    assert (cleared[:, 53:] == 0).all()
    assert (cleared[:17] == 0).all()
    assert cleared.dtype == np.float32
    assert clear_air(greys, mask)[50, 51] > 0
    with pytest.raises(MameError, match="shape"):
        clear_air(greys, mask[:50])


def test_uint16_round_trip():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = uint16_to_pixels(values)
    assert pixels.dtype == np.float32
    assert pixels.max() == 1
    np.testing.assert_array_equal(pixels_to_uint16(pixels), values)
    assert pixels_to_uint16(np.array([-0.5, 0.5, 2.0])).tolist() == [0, 32768, 65535]
