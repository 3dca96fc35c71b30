"""Figures of CAD systems: AUROC, mAP at IoU 0.5 and FROC, with intervals by patient, and paired tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mame.mammogram import Box

IOU = 0.5
FROC_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""False detections a picture at which sensitivity is averaged."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Found:
    """Detections in one picture against its lesions: scores (surest first), whether each is the first on a lesion."""

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    lesions: int


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval over seeds and patients."""

    value: float
    low: float
    high: float


def auroc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve, by ranks; NaN where one class is missing."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def matched(boxes: NDArray[np.float64], scores: NDArray[np.float64], lesions: Sequence[Box]) -> Found:
    """Each lesion is hit once, by the surest detection with IoU ≥ 0.5 that is not taken, as COCO counts."""
    order = np.argsort(-scores, kind="stable")
    free, hits = set(range(len(lesions))), []
    for index in order:
        overlap = {i: lesions[i].iou(Box(*boxes[index])) for i in free}
        best = max(overlap, key=lambda i: overlap[i], default=None)
        hit = best is not None and overlap[best] >= IOU
        if hit and best is not None:
            free.discard(best)
        hits.append(hit)
    return Found(scores[order], np.array(hits, dtype=bool), len(lesions))


def average_precision(found: Sequence[Found]) -> float:
    """COCO's average precision at one IoU: precision, made monotone, at 101 recalls. NaN without a lesion."""
    lesions = sum(one.lesions for one in found)
    if not lesions:
        return float("nan")
    scores = np.concatenate([one.scores for one in found])
    hits = np.concatenate([one.hits for one in found])[np.argsort(-scores, kind="mergesort")]
    if not len(hits):
        return 0.0
    recall = np.cumsum(hits) / lesions
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.where(at < len(precision), precision[np.minimum(at, len(precision) - 1)], 0.0).mean())


def froc(found: Sequence[Found]) -> tuple[list[float], list[float], float]:
    """(false detections a picture, sensitivity, mean sensitivity at FROC_RATES by MONAI). NaN without a lesion.

    MONAI's own curve is empty where nothing false was detected, so it is counted here.
    """
    from monai.metrics.froc import compute_froc_score

    lesions = sum(one.lesions for one in found)
    if not lesions:
        return [], [], float("nan")
    scores = np.concatenate([one.scores for one in found])
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([one.hits for one in found])[order]
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # detections of one score come together
    rates, sensitivity = np.cumsum(~hits)[last] / len(found), np.cumsum(hits)[last] / lesions
    most = float(sensitivity[-1]) if len(last) else 0.0
    far = 2 * max(FROC_RATES) + (float(rates[-1]) if len(last) else 0.0)  # no more is found at higher rates
    rates, sensitivity = np.concatenate([[0.0], rates, [far]]), np.concatenate([[0.0], sensitivity, [most]])
    score = compute_froc_score(rates[::-1], sensitivity[::-1], eval_thresholds=FROC_RATES)  # it wants them falling
    return rates.tolist(), sensitivity.tolist(), float(score)


def interval(
    measure: Callable[[int, NDArray[np.intp]], float], seeds: int, patients: Sequence[str], key: int = 0
) -> Figure:
    """A figure averaged over training seeds, with an interval over patients and seeds, both drawn again.

    measure: (seed's number, items) to a value; items: numbers into `patients`, which names each item's patient.
    """
    everyone = np.arange(len(patients))
    value = float(np.mean([measure(seed, everyone) for seed in range(seeds)]))
    low, high = np.nanquantile(resampled(measure, seeds, patients, key), [0.025, 0.975])
    return Figure(value, float(low), float(high))


def resampled(
    measure: Callable[[int, NDArray[np.intp]], float], seeds: int, patients: Sequence[str], key: int = 0
) -> NDArray[np.float64]:
    """RESAMPLES values of a figure with patients and seeds drawn again; the same draws for every measure of a key."""
    groups: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        groups.setdefault(patient, []).append(index)
    lists = [np.array(items) for items in groups.values()]
    values = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        rng = np.random.default_rng([key, 47, number])
        items = np.concatenate([lists[i] for i in rng.integers(len(lists), size=len(lists))])
        drawn = rng.integers(seeds, size=seeds)
        values[number] = np.mean([measure(int(seed), items) for seed in drawn])
    return values


def p_value(differences: NDArray[np.float64]) -> float:
    """Two-sided, of resampled differences against 0, never below one in the number of resamples."""
    usable = differences[np.isfinite(differences)]
    if not len(usable):
        return float("nan")
    below = (1 + (usable <= 0).sum()) / (1 + len(usable))
    above = (1 + (usable >= 0).sum()) / (1 + len(usable))
    return float(min(1.0, 2 * min(below, above)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scand. J. Statist. 1979) of several p values, in their order."""
    order = np.argsort(p)
    corrected, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected
