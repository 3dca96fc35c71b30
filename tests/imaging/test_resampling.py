"""Strips give what the whole picture gives, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mame.imaging.outline import reduced
from mame.imaging.resampling import STRIP_PIXELS, cut, cut_resized, resized, strips

PIXELS = np.random.default_rng(0).random((1500, 700), dtype=np.float32)


@pytest.mark.parametrize("kernel", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX])
@pytest.mark.parametrize("shape", [(256, 130), (1600, 900)])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_picture_is_resized_in_strips_as_in_one(kernel, shape, mirror):
    pixels = PIXELS[:, ::-1] if mirror else PIXELS
    edges, box = (-20, 1490, -3, 704), (2.25, 15.5, 706.0, 1508.75)
    assert (edges[1] - edges[0]) * (edges[3] - edges[2]) > 2 * STRIP_PIXELS
    expected = resized(cut(pixels, *edges), shape, box, kernel)
    np.testing.assert_array_equal(cut_resized(pixels, edges, shape, box, kernel), expected)


@pytest.mark.parametrize("shape", [(1500, 700), (1499, 701), (1100, 1300)])
def test_a_picture_is_reduced_in_strips_as_in_one(shape):
    pixels = np.random.default_rng(1).random(shape, dtype=np.float32)
    small, factor = reduced(pixels)
    assert factor > 1
    np.testing.assert_array_equal(small, np.asarray(Image.fromarray(pixels).reduce(factor)))
    mask, _ = reduced(pixels > 0.5)
    np.testing.assert_array_equal(mask, np.asarray(Image.fromarray((pixels > 0.5).astype(np.float32)).reduce(factor)))


@pytest.mark.parametrize(("height", "width", "step"), [(4700, 2600, 9), (10, 10, 3), (7, 5_000_000, 4)])
def test_strips_cover_every_row_once(height, width, step):
    found = list(strips(height, width, step))
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(height))
    assert all((rows.stop - rows.start) % step == 0 for rows in found[:-1])
