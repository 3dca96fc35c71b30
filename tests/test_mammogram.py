"""The vocabulary: closed words, half-open boxes, and the map between stored values and greys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mame.errors import MameError
from mame.mammogram import (
    Area,
    Box,
    Density,
    Description,
    Laterality,
    Lesion,
    LesionKind,
    Mammogram,
    Stored,
    View,
    area_from_cm2,
    area_from_share,
)

SIDE = 40


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, y0 = draw(st.integers(-10, SIDE + 5)), draw(st.integers(-10, SIDE + 5))
    return Box(x0, y0, x0 + draw(st.integers(1, 30)), y0 + draw(st.integers(1, 30)))


@given(boxes())
def test_a_mirrored_box_covers_the_mirrored_pixels(box: Box) -> None:
    shape = (SIDE, SIDE + 3)
    assert np.array_equal(box.mirrored(shape[1]).to_mask(shape), box.to_mask(shape)[:, ::-1])
    assert box.mirrored(shape[1]).mirrored(shape[1]) == box


@given(boxes())
def test_the_box_of_a_boxes_mask_is_the_clipped_box(box: Box) -> None:
    shape = (SIDE, SIDE)
    assert Box.of_mask(box.to_mask(shape)) == box.clipped(shape)


@given(boxes(), boxes())
def test_overlap_counts_pixels(one: Box, other: Box) -> None:
    shape = (90, 90)  # large enough that nothing is cut off once shifted into it
    shifted = [Box(b.x0 + 10, b.y0 + 10, b.x1 + 10, b.y1 + 10).to_mask(shape) for b in (one, other)]
    common, either = (shifted[0] & shifted[1]).sum(), (shifted[0] | shifted[1]).sum()
    assert one.iou(other) == pytest.approx(common / either)
    assert one.iou(other) == other.iou(one)
    assert one.iou(one) == 1.0


@pytest.mark.parametrize("edges", [(5, 0, 5, 9), (9, 0, 5, 9), (0, 9, 5, 2), (0, 0, float("nan"), 1)])
def test_an_empty_or_reversed_box_is_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(MameError, match="box"):
        Box(*edges)


def test_a_box_holds_its_first_pixel_and_not_its_last_edge() -> None:
    mask = Box(2, 3, 5, 7).to_mask((10, 10))
    assert mask.sum() == 3 * 4
    assert mask[3, 2]
    assert not mask[:, 5].any()
    assert not mask[7].any()


def test_areas_are_classed_as_the_paper_does() -> None:
    assert [area_from_share(s) for s in (0.1, 0.39999, 0.4, 0.59999, 0.6, 0.9)] == [
        Area.SMALL, Area.SMALL, Area.MEDIUM, Area.MEDIUM, Area.BIG, Area.BIG,
    ]  # fmt: skip
    # the same shares of a square of 18 cm, within its rounding
    for limit, share in zip((130.0, 195.0), (0.4, 0.6), strict=True):
        assert limit == pytest.approx(share * 18 * 18, rel=0.01)
        assert area_from_cm2(limit - 0.1) != area_from_cm2(limit)


def test_words_outside_the_vocabulary_are_refused_and_listed() -> None:
    for wrong in ({"view": "LM"}, {"density": "E"}, {"area": "huge"}, {"lesion": "cyst"}):
        with pytest.raises(MameError, match=r"is none of"):
            Description(**wrong)  # type: ignore[arg-type]
    with pytest.raises(MameError, match="lower-case"):
        Description(vendor="Siemens")
    with pytest.raises(MameError, match="laterality 'X' is none of L, R"):
        Mammogram(np.zeros((4, 4), np.float32), laterality="X")  # type: ignore[arg-type]


def test_plain_words_become_members_of_the_vocabulary() -> None:
    said = Description(view="MLO", density="C", area="big", lesion="mass")  # type: ignore[arg-type]
    assert (said.view, said.density, said.area, said.lesion) == (View.MLO, Density.C, Area.BIG, LesionKind.MASS)
    assert Mammogram(np.zeros((4, 4), np.float32), laterality="R").laterality is Laterality.R  # type: ignore[arg-type]
    assert Lesion("mass", Box(0, 0, 1, 1)).kind is LesionKind.MASS  # type: ignore[arg-type]


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.float32), np.zeros(4, np.float32)])
def test_pixels_of_another_kind_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(MameError, match="two-dimensional float32"):
        Mammogram(pixels)


@given(st.booleans(), st.integers(-200, 200), st.integers(2, 64), st.data())
def test_stored_values_come_back_through_greys(falling: bool, first: int, count: int, data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 3), min_size=count - 1, max_size=count - 1).filter(any))
    lut = np.concatenate(([0], np.cumsum(steps))).astype(np.float32)
    lut = (lut / lut[-1])[:: -1 if falling else 1]
    values = np.arange(first, first + count, dtype=np.int32)[None]
    stored = Stored(values, lut, first, 16)
    greys = stored.greys()
    assert np.array_equal(Stored(stored.values_of(greys), lut, first, 16).greys(), greys)
