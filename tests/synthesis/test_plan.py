"""Plans: what they say, what is refused in one line, and how they are dealt out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mame.dataset.layout import Split
from mame.errors import MameError
from mame.mammogram import Density, Laterality, LesionKind, View
from mame.synthesis.cohort.deal import Order, Stream, deal, fingerprint, largest_remainder, seed_of
from mame.synthesis.plan import Output, Plan, read_plan

AS_IT_STANDS = """\
count: 200
seed: 1
model: mini
vendor: {siemens: 0.5, hologic: 0.5}
view: {CC: 0.5, MLO: 0.5}
density: {A: 0.1, B: 0.4, C: 0.4, D: 0.1}
lesions: {share: 0.3, kinds: {mass: 1.0}, size_mm: [8, 25]}
outputs: [png, dicom, coco, yolo, vindr, seg]
"""


def plan_of(tmp_path: Path, text: str) -> Plan:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return read_plan(path)


def counted(orders: list[Order], word: str) -> dict[Any, int]:
    return dict(Counter(order.side if word == "side" else getattr(order.words, word) for order in orders))


def test_the_documented_plan_works_as_it_stands(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, AS_IT_STANDS)
    assert plan.outputs == (Output.PNG, Output.DICOM, Output.COCO, Output.YOLO, Output.VINDR, Output.SEG)
    orders = deal(plan)
    assert counted(orders, "vendor") == {"siemens": 100, "hologic": 100}
    assert counted(orders, "view") == {View.CC: 100, View.MLO: 100}
    assert counted(orders, "side") == {Laterality.L: 100, Laterality.R: 100}
    assert counted(orders, "density") == {Density.A: 20, Density.B: 80, Density.C: 80, Density.D: 20}
    assert counted(orders, "area") == {None: 200}
    sizes = [lesion.size_mm for order in orders for lesion in order.lesions]
    assert len(sizes) == sum(bool(order.lesions) for order in orders) == 60
    assert (8 <= min(sizes) < 9, 24 < max(sizes) <= 25) == (True, True)
    assert abs(np.mean(sizes) - 16.5) < 0.2
    assert [order.index for order in orders] == list(range(200))
    assert {order.split for order in orders} == {Split.TRAIN}


def test_a_plan_reads_back_as_it_was_written(tmp_path: Path) -> None:
    for text in (AS_IT_STANDS, "count: 4\naccept: {density: null}\nlesions: {share: 1, size_mm: {set: some/where}}"):
        plan = plan_of(tmp_path, text)
        assert plan_of(tmp_path, plan.to_yaml()) == plan


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("count: 3\nlesion: {}", "unknown key 'lesion'; did you mean 'lesions'?"),
        ("count: 4\nlesions: {shares: 1}", "unknown key 'lesions.shares'; did you mean 'share'?"),
        ("count: 4\nlesions: {size_mm: {of: x}}", "unknown key 'lesions.size_mm.of'; known are set"),
        ("count: 4\nview: {CC: 0.5, MLO: 0.6}", "view: {CC: 0.5, MLO: 0.6} add up to 1.1, not to 1 (shares) or 4"),
        ("count: 4\nview: {CC: 1, MLO: 2}", "add up to 3, not to 1 (shares) or 4 (counts)"),
        ("count: 4\ndensity: {A: -1, B: 2}", "density: a share can't be -1"),
        ("count: 4\ndensity: {A: .nan}", "density: a share can't be nan"),
        ("count: 4\ndensity: {E: 1}", "density: 'E' is none of A, B, C, D"),
        ("count: 4\nview: {}", "view: is empty"),
        ("count: 4\nlesions: {size_mm: [8, 300]}", "lesions.size_mm: 300 mm is larger than any breast has room for"),
        ("count: 4\nlesions: {size_mm: [20, 5]}", "lesions.size_mm: [20, 5] is no range"),
        ("count: 4\nlesions: {size_mm: 1}", "lesions.size_mm: 1 mm is too small"),
        ("count: 4\nlesions: {share: 1.2}", "lesions.share: Input should be less than or equal to 1"),
        ("count: 4\nlesions: {number: {7: 1}}", "lesions.number: '7' lesions in an image"),
        ("count: 4\nlesions: {kinds: {cyst: 1}}", "lesions.kinds: 'cyst' is none of"),
        ("count: 5\ncases: true", "count must be a multiple of 4, not 5"),
        ("count: 8\ncases: true\nview: CC", "view: a case has both in equal parts"),
        ("count: 8\ncases: true\nbackground: {set: x}", "cases: real backgrounds"),
        ("count: 4\noutputs: [coco]", "outputs: give png or dicom"),
        ("count: 4\noutputs: [png, seg]", "outputs: seg refers to DICOM objects; add dicom"),
        ("count: 4\noutputs: [jpg]", "outputs.0: Input should be 'png'"),
        ("count: 4\nbackground: {}", "background: give set: FOLDER or dicom: FOLDER"),
        ("count: 4\nvendor: GE Medical", "vendor 'GE Medical' must be a lower-case word"),
        ("count: 4\ncount: 5", "the key 'count' is there twice (line 2)"),
        ("count: many", "count: Input should be a valid integer"),
        ("seed: 1", "count: Field required"),
        ("count: 0", "count: Input should be greater than or equal to 1"),
        ("- count", "a plan is lines of `key: value`"),
        ("", "a plan is lines of `key: value`"),
        ("a: [", "is not YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(MameError) as error:
        plan_of(tmp_path, text)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'plan.yaml'}: ")
    assert "\n" not in str(error.value)


def test_a_plan_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MameError, match="No such file"):
        read_plan(tmp_path / "none.yaml")


def test_counts_and_a_single_word(tmp_path: Path) -> None:
    orders = deal(plan_of(tmp_path, "count: 10\ndensity: {A: 7, D: 3}\nvendor: siemens\nside: R"))
    assert counted(orders, "density") == {Density.A: 7, Density.D: 3}
    assert counted(orders, "vendor") == {"siemens": 10}
    assert counted(orders, "side") == {Laterality.R: 10}
    assert counted(orders, "view") == {View.CC: 5, View.MLO: 5}


def test_plans_tell_their_differences(tmp_path: Path) -> None:
    one = plan_of(tmp_path, AS_IT_STANDS)
    two = plan_of(tmp_path, AS_IT_STANDS.replace("share: 0.3", "share: 0.4").replace("count: 200", "count: 100"))
    assert one.differences(one) == []
    assert one.differences(two) == ["count 100 instead of 200", "lesions.share 0.4 instead of 0.3"]


# -- dealing ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda shares: sum(shares) > 0.01), st.integers(0, 5000)
)
def test_largest_remainder_adds_up_and_is_near(shares: list[float], total: int) -> None:
    counts = largest_remainder(shares, total)
    assert sum(counts) == total
    whole = sum(shares)
    assert all(abs(count - share / whole * total) < 1.001 for count, share in zip(counts, shares, strict=True))


def test_a_share_changes_nothing_else() -> None:
    base = deal(Plan(count=40, seed=3, density={"A": 0.5, "B": 0.5}, lesions={"share": 0.5}))
    other = deal(Plan(count=40, seed=3, density={"A": 0.25, "B": 0.75}, lesions={"share": 0.5}))
    assert [order.words.view for order in base] == [order.words.view for order in other]
    assert [order.lesions for order in base] == [order.lesions for order in other]
    assert fingerprint(base) != fingerprint(other)
    assert fingerprint(base) == fingerprint(
        deal(Plan(count=40, seed=3, density={"A": 0.5, "B": 0.5}, lesions={"share": 0.5}))
    )


def test_another_seed_is_another_deal() -> None:
    one, two = (deal(Plan(count=40, seed=seed, lesions={"share": 0.5})) for seed in (1, 2))
    assert [bool(order.lesions) for order in one] != [bool(order.lesions) for order in two]


def test_several_lesions_and_kinds() -> None:
    plan = Plan(
        count=30,
        lesions={"share": 1, "number": {1: 0.5, 3: 0.5}, "kinds": {"mass": 0.75, "lesion": 0.25}, "size_mm": 12},
    )
    orders = deal(plan)
    assert Counter(len(order.lesions) for order in orders) == {1: 15, 3: 15}
    kinds = Counter(lesion.kind for order in orders for lesion in order.lesions)
    assert kinds == {LesionKind.MASS: 45, LesionKind.LESION: 15}
    assert {lesion.size_mm for order in orders for lesion in order.lesions} == {12.0}


def test_cases_share_patient_vendor_density_and_area() -> None:
    plan = Plan(
        count=80,
        cases=True,
        vendor={"siemens": 40, "hologic": 40},
        density={"A": 0.25, "C": 0.75},
        area={"small": 0.5, "big": 0.5},
        lesions={"share": 0.3},
        split={"train": 0.5, "test": 0.5},
    )
    orders = deal(plan)
    cases = [orders[start : start + 4] for start in range(0, 80, 4)]
    for number, case in enumerate(cases):
        assert {order.case for order in case} == {number}
        assert [order.number for order in case] == [1, 2, 3, 4]
        views = {(order.words.view, order.side) for order in case}
        assert views == {(view, side) for view in View for side in Laterality}
        for word in ("vendor", "density", "area"):
            assert len({getattr(order.words, word) for order in case}) == 1
        assert len({order.split for order in case}) == 1
        for side in Laterality:  # a lesion is seen in both views of its breast
            lesions = [order.lesions for order in case if order.side is side]
            assert lesions[0] == lesions[1]
    assert counted(orders, "vendor") == {"siemens": 40, "hologic": 40}
    assert counted(orders, "density") == {Density.A: 20, Density.C: 60}
    assert sum(bool(order.lesions) for order in orders) == 24
    assert max(len({order.side for order in case if order.lesions}) for case in cases) == 1
    assert Counter(order.split for order in orders) == {Split.TRAIN: 40, Split.TEST: 40}


def test_counts_of_cases_must_be_whole_cases() -> None:
    with pytest.raises(MameError, match="multiples of 4"):
        deal(Plan(count=8, cases=True, density={"A": 6, "B": 2}))


def test_seeds_differ_wherever_anything_differs() -> None:
    plan = Plan(count=2, seed=5)
    tried = [
        seed_of(plan, index, stream, attempt, lesion)
        for index in range(4)
        for stream in (Stream.PICTURE, Stream.PAINT)
        for attempt in range(4)
        for lesion in range(3)
    ]
    assert len(set(tried)) == len(tried)
    assert all(0 <= seed < 2**31 for seed in tried)
    assert seed_of(plan, 1, Stream.PAINT, 2, 1) == seed_of(Plan(count=9, seed=5), 1, Stream.PAINT, 2, 1)
