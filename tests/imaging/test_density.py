"""Density: drawn pictures whose dense share is known, and the order of real ones."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from mame.errors import MameError
from mame.imaging.breast import find_breast, pectoral_mask
from mame.imaging.density import dense_mask, density_class, fuzzy_c_means, judged_mask, percent_density
from mame.mammogram import Density

CDD = Path(__file__).parents[2].parent / "shared/data/cdd-cesm"


def drawn(radius, size=512, seed=0):
    """A breast of fat with a dense disk of that radius (pixels) in it: (pixels, breast, dense)."""
    y, x = np.mgrid[:size, :size]
    breast = ((y - size / 2) / (0.42 * size)) ** 2 + (x / (0.65 * size)) ** 2 < 1
    dense = (y - size / 2) ** 2 + (x - 0.22 * size) ** 2 < radius**2
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 2.0) * 0.05
    pixels = np.where(dense, 0.7, 0.3) + noise
    return np.where(breast, pixels, 0).clip(0, 1).astype(np.float32), breast, dense


@pytest.mark.parametrize("radius", [40, 70, 95])
def test_a_disk_of_dense_tissue(radius):
    pixels, breast, dense = drawn(radius)
    found = dense_mask(pixels, breast)
    assert np.count_nonzero(found & dense) / np.count_nonzero(found | dense) > 0.9
    judged = judged_mask(breast)
    expected = 100 * np.count_nonzero(dense & judged) / np.count_nonzero(judged)
    assert percent_density(pixels, breast) == pytest.approx(expected, abs=3)


def test_works_at_full_size():
    pixels, breast, dense = drawn(300, size=2048)
    found = dense_mask(pixels, breast)
    assert found.shape == pixels.shape
    assert np.count_nonzero(found & dense) / np.count_nonzero(found | dense) > 0.9


def test_muscle_is_not_dense_tissue():
    pixels, breast, _ = drawn(60)
    y, x = np.mgrid[:512, :512]
    muscle = breast & (x / 140 + (y - 40) / 220 < 1)
    pixels[muscle] = 0.8
    assert not (dense_mask(pixels, breast, muscle) & muscle).any()
    assert percent_density(pixels, breast, muscle) < percent_density(pixels, breast) - 3


def test_rim_has_no_chest_wall():
    _, breast, _ = drawn(60)
    judged = judged_mask(breast)
    assert judged[256, 0]
    assert not judged[256, np.flatnonzero(breast[256])[-1] - 5]
    padded = np.pad(breast, ((0, 0), (80, 0)))
    assert judged_mask(padded)[256, 82]
    assert judged_mask(padded[:, ::-1])[256, -83]


def test_an_even_picture_has_no_dense_tissue():
    _, breast, _ = drawn(60)
    assert percent_density(np.where(breast, 0.4, 0).astype(np.float32), breast) == 0


def test_class_limits():
    typical = {4: "A", 19: "B", 40: "C", 62: "D", 0: "A", 100: "D", 11.5: "B"}
    for percent, letter in typical.items():
        assert density_class(percent) is Density(letter)
    with pytest.raises(MameError, match="between 0 and 100"):
        density_class(101)


def test_fuzzy_c_means_finds_the_means():
    rng = np.random.default_rng(0)
    greys = np.concatenate([rng.normal(m, 0.02, 5000) for m in (0.2, 0.5, 0.8)]).astype(np.float32)
    np.testing.assert_allclose(fuzzy_c_means(greys, clusters=3), [0.2, 0.5, 0.8], atol=0.01)


def test_wrong_shapes_and_empty_masks():
    pixels, breast, _ = drawn(60)
    with pytest.raises(MameError, match="breast mask has shape"):
        percent_density(pixels, breast[:-1])
    with pytest.raises(MameError, match="empty"):
        dense_mask(pixels, np.zeros_like(breast))


def test_order_of_real_images():
    if not (CDD / "index.csv").exists():
        pytest.skip("CDD-CESM is not at hand")
    with open(CDD / "index.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["density"] in list("ABCD") and r["file"].startswith("images-512")]
    rows = [r for r in rows if r["density"] in "AD"] + [r for r in rows if r["density"] in "BC"][::3]
    measured = []
    for row in rows:
        pixels = np.asarray(Image.open(CDD / row["file"]).convert("L"), dtype=np.float32) / 255
        breast = find_breast(pixels)
        measured.append(percent_density(pixels, breast.mask, pectoral_mask(pixels, breast)))
    assert spearmanr(measured, [r["density"] for r in rows]).statistic > 0.3
