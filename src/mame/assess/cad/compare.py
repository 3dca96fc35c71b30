"""What a CAD study shows: each arm's figures, and its difference from the real arm on the same draws of patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.assess.cad import scores
from mame.assess.cad.arms import Arm, arms_of
from mame.assess.cad.plan import Job, Material, Plan, Result

Measure = Callable[[int, NDArray[np.intp]], float]
"""(training seed's number, numbers of the pictures or patches) to a figure."""


def score_classifier(result: Result, material: Material, plan: Plan, runs: Mapping[Job, Any]) -> None:
    """Adds AUROCs, and the learning curve; runs: what each training said of the test patches."""
    truth, patients = material.test_patches.lesion, material.test_patches.patient

    def measure(sure: NDArray[np.float64], seed: int, items: NDArray[np.intp]) -> float:
        return scores.auroc(truth[items], sure[seed, items])

    by_arm = {arm.name: partial(measure, _stack(runs, "classifier", arm, 1.0)) for arm in arms_of(plan.ratios)}
    compared = _compared(by_arm, plan.seeds, patients)
    result.classifier = [{"arm": arm, **_named("auroc", line)} for arm, line in zip(by_arm, compared, strict=True)]
    for share in (*plan.shares, 1.0) if plan.shares else ():
        for arm in plan.explained:
            found = scores.interval(partial(measure, _stack(runs, "classifier", arm, share)), plan.seeds, patients)
            result.curve.append({"share": share, "arm": arm.name, **asdict(found)})


def score_detector(result: Result, material: Material, plan: Plan, runs: Mapping[Job, Any]) -> None:
    """Adds mAP50 and the FROC score, and notes what they can't show; runs: what each training found in the pictures."""
    patients = [scene.patient for scene in material.test]
    found: dict[str, list[list[scores.Found]]] = {}
    for job, run in runs.items():
        if job.task == "detector":
            found.setdefault(job.arm.name, []).append([
                scores.matched(np.array(one["boxes"]).reshape(-1, 4), np.array(one["scores"]), scene.boxes)
                for one, scene in zip(run["detections"], material.test, strict=True)
            ])  # fmt: skip

    def precision(every: list[list[scores.Found]], seed: int, items: NDArray[np.intp]) -> float:
        return scores.average_precision([every[seed][i] for i in items])

    def sensitivity(every: list[list[scores.Found]], seed: int, items: NDArray[np.intp]) -> float:
        return scores.froc([every[seed][i] for i in items])[2]

    by_figure = [
        _compared({arm: partial(measure, every) for arm, every in found.items()}, plan.detector_seeds, patients)
        for measure in (precision, sensitivity)
    ]
    result.detector = [
        {"arm": arm, **_named("map50", one), "froc": _named("score", other)}
        for arm, one, other in zip(found, *by_figure, strict=True)
    ]
    for line in result.detector:
        line["froc_curve"] = scores.froc(found[line["arm"]][0])[:2]
        if not any(len(picture.scores) for one in found[line["arm"]] for picture in one):
            result.notes.append(f"detector, {line['arm']}: found nothing in any picture")
    reached = result.detector[0]["map50"]
    if not reached >= plan.least_map:
        result.notes.append(
            f"the detector of the real arm reaches an mAP50 of {reached:.2f}, below {plan.least_map:g}: "
            "the comparison of detectors has no power"
        )


def _stack(runs: Mapping[Job, Any], task: str, arm: Arm, share: float) -> NDArray[np.float64]:
    return np.array(
        [run["scores"] for job, run in runs.items() if (job.task, job.arm, job.share) == (task, arm, share)]
    )


def _compared(measures: Mapping[str, Measure], seeds: int, patients: Sequence[str]) -> list[dict[str, float]]:
    """For each arm its figure, and its difference from the first arm's, tested with the same draws of patients."""
    (first, *others) = measures
    drawn = {arm: scores.resampled(measure, seeds, patients) for arm, measure in measures.items()}
    everyone = np.arange(len(patients))
    lines = []
    for arm, measure in measures.items():
        value = float(np.mean([measure(seed, everyone) for seed in range(seeds)]))
        low, high = np.nanquantile(drawn[arm], [0.025, 0.975])
        lines.append({"value": value, "low": float(low), "high": float(high)})
    p = [scores.p_value(drawn[arm] - drawn[first]) for arm in others]
    for line, arm, raw, corrected in zip(lines[1:], others, p, scores.holm(p), strict=True):
        low, high = np.nanquantile(drawn[arm] - drawn[first], [0.025, 0.975])
        line |= {
            "difference": line["value"] - lines[0]["value"], "difference_low": float(low),
            "difference_high": float(high), "p": raw, "p_holm": corrected,
        }  # fmt: skip
    return lines


def _named(name: str, line: Mapping[str, float]) -> dict[str, float]:
    return {name if key == "value" else key: value for key, value in line.items()}
