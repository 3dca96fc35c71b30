"""Frames: there and back for points, boxes, masks and pictures; and painting that leaves the rest alone."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mame.errors import MameError
from mame.imaging.breast import Breast
from mame.imaging.framing import Frame, center_crop, feather, field, lesion_window, paste
from mame.mammogram import Box, Laterality

SIDES = st.integers(20, 900)


def blob(shape, laterality=Laterality.L, height=0.8, width=0.6):
    """A half-ellipse on the chest wall."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = ((y - shape[0] / 2) / (height * shape[0] / 2)) ** 2 + (x / (width * shape[1])) ** 2 < 1
    return Breast(mask if laterality is Laterality.L else mask[:, ::-1].copy(), laterality)


def smooth(shape, seed=0):
    """A smooth picture in [0, 1]."""
    small = np.random.default_rng(seed).random((6, 6)).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)).clip(0, 1)


@st.composite
def frames(draw):
    shape = (draw(SIDES), draw(SIDES))
    mirror, size = draw(st.booleans()), draw(st.integers(16, 600))
    kind = draw(st.sampled_from(["free", "center", "field", "lesion"]))
    if kind == "center":
        return center_crop(shape, size, mirror)
    if kind == "field":
        side = Laterality.R if mirror else Laterality.L
        return field(shape, draw(st.floats(0.03, 2.0)), blob(shape, side), size)
    if kind == "lesion":
        x0, y0 = draw(st.floats(0, shape[1] - 2)), draw(st.floats(0, shape[0] - 2))
        box = Box(x0, y0, x0 + draw(st.floats(1, 200)), y0 + draw(st.floats(1, 200)))
        return lesion_window(shape, box, None, size, draw(st.floats(1, 5)), mirror)
    x0, y0, side = draw(st.floats(-300, 300)), draw(st.floats(-300, 300)), draw(st.floats(5, 1500))
    return Frame(shape, mirror, (x0, y0, x0 + side, y0 + side), (size, size))


@given(frames(), st.floats(-100, 1000), st.floats(-100, 1000))
def test_points_come_back(frame, x, y):
    back = frame.point_back(*frame.point(x, y))
    assert math.dist(back, (x, y)) < 1e-6


@given(frames(), st.floats(-50, 500), st.floats(-50, 500), st.floats(0.5, 300), st.floats(0.5, 300))
def test_boxes_come_back_in_order(frame, x0, y0, width, height):
    box = Box(x0, y0, x0 + width, y0 + height)
    model = frame.box(box)
    assert model.area == pytest.approx(box.area * frame.scale**2, rel=1e-6)
    for a, b in zip(frame.box_back(model).as_tuple(), box.as_tuple(), strict=True):
        assert a == pytest.approx(b, abs=1e-6)


@given(frames(), st.integers(0, 10**6))
def test_a_mirrored_box_is_the_box_of_the_mirrored_picture(frame, seed):
    twin = Frame(frame.source_shape, not frame.mirror, frame.window, frame.shape)
    x0, y0, w, h = np.random.default_rng(seed).uniform(1, 100, 4)
    box = Box(x0, y0, x0 + w, y0 + h)
    there, mirrored = frame.box(box), twin.box(box.mirrored(frame.source_shape[1]))
    np.testing.assert_allclose(there.as_tuple(), mirrored.as_tuple(), atol=1e-6)


@given(frames())
def test_json_round_trip(frame):
    assert Frame.from_json(json.loads(json.dumps(frame.to_json()))) == frame


@settings(max_examples=40, deadline=None)
@given(st.integers(200, 700), st.integers(200, 700), st.booleans(), st.data())
def test_masks_come_back(height, width, mirror, data):
    side = data.draw(st.floats(150, 600))
    x0, y0 = data.draw(st.floats(-50, max(width - 150, 0))), data.draw(st.floats(-50, max(height - 150, 0)))
    frame = Frame((height, width), mirror, (x0, y0, x0 + side, y0 + side), (256, 256))
    # a disk well inside what the window and the picture share
    left, right = max(x0, 0), min(x0 + side, width)
    top, bottom = max(y0, 0), min(y0 + side, height)
    radius = 0.45 * min(right - left, bottom - top)
    if radius < 20:
        return
    cx, cy = (left + right) / 2, (top + bottom) / 2
    cx = width - cx if mirror else cx
    y, x = np.mgrid[:height, :width]
    mask = (x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2 < radius**2
    model = frame.apply_mask(mask)
    assert np.count_nonzero(model) == pytest.approx(np.count_nonzero(mask) * frame.scale**2, rel=0.05)
    back = frame.restore_mask(model)
    assert np.count_nonzero(back & mask) / np.count_nonzero(back | mask) > 0.93


@settings(max_examples=40, deadline=None)
@given(frames())
def test_a_pixel_lands_where_its_point_says(frame):
    """The picture goes the same way as the points: the centre of mass of a drawn disk is where the map puts it."""
    height, width = frame.source_shape
    slices = frame.source_slices()
    rows, columns = range(height)[slices[0]], range(width)[slices[1]]
    if min(len(rows), len(columns)) < 24 or frame.scale < 0.3:
        return
    cx, cy = columns[len(columns) // 2] + 0.5, rows[len(rows) // 2] + 0.5
    y, x = np.mgrid[:height, :width]
    disk = np.exp(-((x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2) / 8).astype(np.float32)
    model = frame.apply(disk)
    assert model.shape == frame.shape
    assert model.dtype == np.float32
    assert 0 <= model.min() <= model.max() <= 1
    my, mx = np.mgrid[: frame.shape[0], : frame.shape[1]]
    found = np.array([((mx + 0.5) * model).sum(), ((my + 0.5) * model).sum()]) / model.sum()
    assert math.dist(found, frame.point(cx, cy)) < max(0.1, 0.1 * frame.scale)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("shape", [(400, 300), (1000, 700)])
def test_a_smooth_picture_comes_back(mirror, shape):
    source = smooth(shape)
    frame = Frame(shape, mirror, (20.3, 30.7, 220.3, 230.7), (256, 256))
    back = frame.restore(frame.apply(source))
    rows, columns = frame.source_slices()
    inside = np.zeros(shape, dtype=bool)
    inside[rows, columns] = True
    assert back.shape == shape
    assert (back[~inside] == 0).all()
    np.testing.assert_allclose(back[inside], source[inside], atol=0.02)


def test_what_lies_outside_the_source_is_zero():
    frame = Frame((100, 100), False, (-50, -50, 150, 150), (64, 64))
    model = frame.apply(np.ones((100, 100), dtype=np.float32))
    assert (model[:14] == 0).all()
    assert (model[20:44, 20:44] == 1).all()


def test_a_window_wholly_outside():
    frame = Frame((100, 100), False, (200, 200, 300, 300), (32, 32))
    assert (frame.apply(np.ones((100, 100), dtype=np.float32)) == 0).all()
    assert not frame.restore(np.ones((32, 32), dtype=np.float32)).any()


@pytest.mark.parametrize("shape", [(3518, 2800), (1280, 1024), (600, 515), (300, 200), (512, 512), (700, 900)])
@pytest.mark.parametrize("mirror", [False, True])
def test_center_crop_is_pillows(shape, mirror):
    rng = np.random.default_rng(0)
    grey = (255 * smooth(shape) * (0.6 + 0.4 * rng.random(shape))).astype(np.uint8)
    frame = center_crop(shape, 512, mirror)
    short = min(shape)
    w, h = (max(512, round(n * 512 / short)) for n in (shape[1], shape[0]))
    image = Image.fromarray(grey[:, ::-1] if mirror else grey).resize((w, h), Image.Resampling.BILINEAR)
    left, top = (w - 512) // 2, (h - 512) // 2
    expected = np.asarray(image.crop((left, top, left + 512, top + 512)), dtype=np.float32)
    assert np.abs(frame.apply(grey.astype(np.float32) / 255) * 255 - expected).max() <= 1.0
    assert frame.shape == (512, 512)


@pytest.mark.parametrize("laterality", list(Laterality))
def test_field_has_the_chest_wall_on_the_left_and_a_spacing(laterality):
    shape, spacing = (2000, 1500), 0.1
    breast = blob(shape, laterality)
    frame = field(shape, spacing, breast)
    assert frame.shrink == 1
    assert frame.spacing_mm(spacing) == pytest.approx(0.5)
    assert frame.field_mm == pytest.approx(256)
    model = frame.apply_mask(breast.mask)
    extent = Box.of_mask(model)
    assert extent.x0 == 0
    assert extent.centre[1] == pytest.approx(256, abs=1)
    assert model.sum() * 0.25 == pytest.approx(breast.mask.sum() * spacing**2, rel=0.01)


def test_field_of_a_padded_picture_starts_at_the_breast():
    breast = blob((500, 300))
    padded = Breast(np.pad(breast.mask, ((0, 0), (120, 80))), Laterality.L)
    frame = field((500, 500), 0.4, padded)
    assert frame.window[0] == 120


@given(st.floats(0.1, 1.0), st.floats(0.1, 1.0), st.floats(0.05, 0.6), st.sampled_from(list(Laterality)))
@settings(max_examples=30, deadline=None)
def test_no_tissue_is_ever_lost(height, width, spacing, laterality):
    shape = (700, 600)
    breast = blob(shape, laterality, height, width)
    frame = field(shape, spacing, breast)
    framed = frame.box(Box.of_mask(breast.mask))
    assert framed.x0 >= -1e-6
    assert framed.y0 >= -1e-6
    assert framed.x1 <= 512 + 1e-6
    assert framed.y1 <= 512 + 1e-6
    assert 0 < frame.shrink <= 1
    assert frame.spacing_mm(spacing) == pytest.approx(0.5 / frame.shrink)


def test_field_says_what_is_wrong():
    breast = blob((100, 100))
    with pytest.raises(MameError, match="positive"):
        field((100, 100), 0.0, breast)
    with pytest.raises(MameError, match="shape"):
        field((100, 90), 0.1, breast)
    with pytest.raises(MameError, match="empty"):
        field((100, 100), 0.1, Breast(np.zeros((100, 100), dtype=bool), Laterality.L))


def test_lesion_window_is_centred_and_stays_inside():
    frame = lesion_window((4000, 3000), Box(1000, 2000, 1100, 2080), 0.07)
    assert frame.window == (900, 1890, 1200, 2190)
    assert frame.field_mm == pytest.approx(21)
    assert lesion_window((4000, 3000), Box(0, 3950, 100, 4000)).window == (0, 3700, 300, 4000)
    # mirrored: the same place of the mirrored picture
    assert lesion_window((4000, 3000), Box(0, 100, 100, 200), mirror=True).window == (2700, 0, 3000, 300)
    # larger than the picture: all of it, centred
    assert lesion_window((200, 400), Box(150, 50, 250, 150)).window == (50, -50, 350, 250)


def test_lesion_window_says_what_is_wrong():
    with pytest.raises(MameError, match="outside"):
        lesion_window((100, 100), Box(200, 200, 210, 210))
    with pytest.raises(MameError, match="factor"):
        lesion_window((100, 100), Box(20, 20, 30, 30), factor=0.5)


def test_frames_that_are_none():
    with pytest.raises(MameError, match="distort"):
        Frame((100, 100), False, (0, 0, 100, 90), (512, 512))
    with pytest.raises(MameError, match="empty"):
        Frame((100, 100), False, (10, 10, 10, 20), (512, 512))
    with pytest.raises(MameError, match="empty"):
        Frame((100, 0), False, (0, 0, 10, 10), (512, 512))
    with pytest.raises(MameError, match="not a frame"):
        Frame.from_json({"mirror": True})
    frame = center_crop((100, 100))
    with pytest.raises(MameError, match="shape"):
        frame.apply(np.zeros((100, 99), dtype=np.float32))
    with pytest.raises(MameError, match="shape"):
        frame.restore(np.zeros((100, 99), dtype=np.float32))


def test_feather_is_one_inside_and_zero_outside():
    mask = Box(40, 50, 60, 90).to_mask((200, 150))
    alpha = feather(mask, 8)
    assert alpha.dtype == np.float32
    assert (alpha[mask] == 1).all()
    assert not alpha[~Box(32, 42, 68, 98).to_mask((200, 150))].any()
    row = alpha[70, 59:70]
    assert (np.diff(row) <= 0).all()
    assert 0 < row[4] < 1
    assert not feather(np.zeros((20, 20), dtype=bool), 5).any()
    assert (feather(mask, 0) == mask).all()


@pytest.mark.parametrize("mirror", [False, True])
def test_paste_changes_only_the_region(mirror):
    rng = np.random.default_rng(0)
    source = rng.random((900, 700)).astype(np.float32)
    box = Box(20, 400, 130, 480)
    frame = lesion_window(source.shape, box, mirror=mirror)
    alpha = feather(box.to_mask(source.shape), 10)
    painted = frame.apply(source)
    region = frame.box(box).rounded()
    painted[region.slices()] = np.clip(painted[region.slices()] + 0.3, 0, 1)
    result = paste(source, painted, frame, alpha)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[alpha == 0], source[alpha == 0])
    change = (result - source)[box.slices()]
    assert change.mean() > 0.1
    assert result.min() >= 0
    assert result.max() <= 1


def test_paste_keeps_detail_that_the_window_cannot_resolve():
    rng = np.random.default_rng(0)
    source = (0.3 + 0.2 * rng.random((2000, 2000))).astype(np.float32)
    box = Box(600, 600, 1200, 1200)
    frame = lesion_window(source.shape, box, size=128)
    result = paste(source, frame.apply(source) + 0.2, frame, feather(box.to_mask(source.shape), 20))
    np.testing.assert_allclose((result - source)[box.slices()], 0.2, atol=1e-3)


def test_nothing_painted_changes_nothing():
    source = smooth((500, 400))
    frame = lesion_window(source.shape, Box(100, 100, 180, 160))
    result = paste(source, frame.apply(source), frame, np.ones_like(source))
    np.testing.assert_array_equal(result, source)
    with pytest.raises(MameError, match="alpha"):
        paste(source, frame.apply(source), frame, np.ones((2, 2), dtype=np.float32))
