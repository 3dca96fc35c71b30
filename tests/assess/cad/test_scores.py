"""Figures of CAD systems against libraries and by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mame.assess.cad import scores
from mame.assess.cad.arms import REAL, Arm, Sampler, arms_of
from mame.mammogram import Box


def test_auroc_equals_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(80) < 0.4
    sure = np.round(rng.normal(truth * 0.8, 1), 1)  # with ties
    assert scores.auroc(truth, sure) == pytest.approx(roc_auc_score(truth, sure), abs=1e-12)
    assert np.isnan(scores.auroc(np.ones(5, bool), np.arange(5.0)))


def scenes(seed: int, pictures: int = 25) -> tuple[list[list[Box]], list[tuple[np.ndarray, np.ndarray]]]:
    """Lesions, and detections of which some are near them."""
    rng = np.random.default_rng(seed)
    lesions, found = [], []
    for _ in range(pictures):
        there = []
        for _ in range(int(rng.integers(0, 4))):
            x, y = rng.uniform(0, 80, 2)
            there.append(Box(x, y, x + rng.uniform(8, 18), y + rng.uniform(8, 18)))
        boxes = [
            np.array(box.as_tuple()) + rng.normal(0, 2.0, 4) for box in there for _ in range(int(rng.integers(0, 3)))
        ]
        for _ in range(int(rng.integers(0, 4))):
            x, y = rng.uniform(0, 80, 2)
            boxes.append(np.array([x, y, x + 12, y + 12]))
        boxes = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
        lesions.append(there)
        found.append((np.array(boxes).reshape(-1, 4), rng.random(len(boxes))))
    return lesions, found


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_pycocotools_s(seed: int) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    lesions, found = scenes(seed)
    ours = scores.average_precision([scores.matched(*one, there) for one, there in zip(found, lesions, strict=True)])
    said = {"images": [{"id": i + 1} for i in range(len(lesions))], "categories": [{"id": 1}], "annotations": []}
    for number, there in enumerate(lesions, start=1):
        for box in there:
            size = [box.x0, box.y0, box.width, box.height]
            said["annotations"].append({
                "id": len(said["annotations"]) + 1, "image_id": number, "category_id": 1, "bbox": size,
                "area": box.width * box.height, "iscrowd": 0,
            })  # fmt: skip
    results = [
        {"image_id": number, "category_id": 1, "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]], "score": float(s)}
        for number, (boxes, sure) in enumerate(found, start=1)
        for b, s in zip(boxes, sure, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = said
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(results), "bbox")
        judged.params.iouThrs = np.array([0.5])
        judged.evaluate()
        judged.accumulate()
    precision = judged.eval["precision"][0, :, 0, 0, -1]
    assert ours == pytest.approx(float(precision.mean()), abs=1e-9)


def test_a_detector_that_finds_nothing_or_everything() -> None:
    lesions = [[Box(0, 0, 10, 10)], [Box(5, 5, 20, 20), Box(30, 30, 40, 40)], []]
    none = [scores.matched(np.zeros((0, 4)), np.zeros(0), there) for there in lesions]
    assert scores.average_precision(none) == 0.0
    assert scores.froc(none)[2] == 0.0
    every = [
        scores.matched(np.array([box.as_tuple() for box in there]).reshape(-1, 4), np.ones(len(there)), there)
        for there in lesions
    ]
    assert scores.average_precision(every) == pytest.approx(1.0)
    assert scores.froc(every)[2] == pytest.approx(1.0)
    assert np.isnan(scores.average_precision([scores.matched(np.zeros((0, 4)), np.zeros(0), [])]))


def test_the_froc_curve_is_monai_s_where_that_is_defined() -> None:
    from monai.metrics.froc import compute_froc_curve_data

    lesions, boxes = scenes(9)
    found = [scores.matched(*one, there) for one, there in zip(boxes, lesions, strict=True)]
    sure, hits = (np.concatenate([getattr(one, name) for one in found]) for name in ("scores", "hits"))
    assert hits.any()
    assert not hits.all()
    rates, sensitivity, _ = scores.froc(found)
    false, true = compute_froc_curve_data(sure[~hits], sure[hits], sum(map(len, lesions)), len(found))
    ours = set(zip(np.round(rates, 9), np.round(sensitivity, 9), strict=True))
    assert set(zip(np.round(false, 9), np.round(true, 9), strict=True)) <= ours


def test_a_second_detection_of_a_lesion_is_false() -> None:
    box = Box(0, 0, 10, 10)
    found = scores.matched(np.array([box.as_tuple(), box.as_tuple()]), np.array([0.4, 0.9]), [box])
    assert found.scores.tolist() == [0.9, 0.4]
    assert found.hits.tolist() == [True, False]


def test_holm_by_hand() -> None:
    assert scores.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert scores.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert scores.holm([]) == []


def test_the_interval_covers_and_the_test_keeps_its_level() -> None:
    rng = np.random.default_rng(3)
    covered, rejected, trials = 0, 0, 60
    for trial in range(trials):
        truth = np.tile([True, False], 40)
        patients = [str(i // 2) for i in range(80)]
        sure = rng.normal(truth * 1.0, 1, (2, 80))

        def measure(which: int, items: np.ndarray, sure: np.ndarray = sure, truth: np.ndarray = truth) -> float:
            return scores.auroc(truth[items], sure[which, items])

        one = scores.resampled(lambda _, items: measure(0, items), 1, patients, trial)[:300]
        other = scores.resampled(lambda _, items: measure(1, items), 1, patients, trial)[:300]
        low, high = np.quantile(one, [0.025, 0.975])
        covered += low <= 0.7602 <= high  # Φ(1/√2)
        rejected += scores.p_value(one - other) < 0.05
    assert covered / trials > 0.85
    assert rejected / trials < 0.15


def test_every_arm_draws_its_share_and_half_with_a_lesion() -> None:
    real, made = np.array([True] * 3 + [False] * 30), np.array([True] * 10 + [False] * 5)
    for arm in arms_of((0.5, 1.0)):
        draw = Sampler(arm, real, made, steps=100, seed=1)
        for half, steps in enumerate((range(50), range(50, 100))):
            chosen = np.concatenate([draw(step, 32) for step in steps])
            assert (chosen >= len(real)).mean() == pytest.approx(arm.synthetic[half], abs=0.04)
            assert np.concatenate([real, made])[chosen].mean() == pytest.approx(0.5, abs=0.01)
    assert arms_of((0.5,))[0] == Arm(REAL, (0.0, 0.0))
    same = Sampler(arms_of((0.5,))[1], real, made, 100, 4)
    assert np.array_equal(same(7, 32), Sampler(arms_of((0.5,))[1], real, made, 100, 4)(7, 32))
