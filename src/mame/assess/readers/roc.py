"""Areas under empirical ROC curves and their covariances, after DeLong, DeLong and Clarke-Pearson (Biometrics 1988)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mame.errors import MameError

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; `error`: its standard error."""

    value: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Areas:
    """Areas of several scorings of the same cases. auc: K; covariance: K×K."""

    auc: Floats
    covariance: Floats

    def estimate(self, index: int = 0, level: float = 0.95) -> Estimate:
        """One of them with its normal interval, cut at 0 and 1."""
        error = float(np.sqrt(max(self.covariance[index, index], 0.0)))
        return interval(float(self.auc[index]), error, level=level)


def delong(truth: ArrayLike, scores: ArrayLike) -> Areas:
    """Areas and their covariances from one truth and K scorings of the same N cases.

    truth: N, true or 1 for what is looked for (disease, a synthetic picture); scores: N or K×N, higher for more likely.
    Placements are computed from mid-ranks (Sun and Xu, IEEE Signal Processing Letters 2014), ties count a half.

    Raises MameError where a class has fewer than two cases, a score is missing, or lengths differ.
    """
    truth = np.asarray(truth).astype(bool).ravel()
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if rows.shape[1] != truth.size:
        raise MameError(f"{truth.size} cases have a truth and {rows.shape[1]} a score")
    if not np.isfinite(rows).all():
        raise MameError("a score is missing or not a number")
    positive, negative = rows[:, truth], rows[:, ~truth]
    m, n = positive.shape[1], negative.shape[1]
    if min(m, n) < 2:
        raise MameError(f"needs at least 2 cases of each class, got {m} with and {n} without")
    ranks = np.stack([stats.rankdata(row) for row in np.hstack([positive, negative])])
    own_positive = np.stack([stats.rankdata(row) for row in positive])
    own_negative = np.stack([stats.rankdata(row) for row in negative])
    placed_positive = (ranks[:, :m] - own_positive) / n  # share of the other class that each case beats
    placed_negative = 1.0 - (ranks[:, m:] - own_negative) / m
    auc = placed_positive.mean(axis=1)
    covariance = np.atleast_2d(np.cov(placed_positive)) / m + np.atleast_2d(np.cov(placed_negative)) / n
    return Areas(auc, covariance)


def difference(areas: Areas, first: int, second: int, level: float = 0.95) -> tuple[Estimate, float]:
    """DeLong's test of two correlated areas: first - second with its interval, and the two-sided p."""
    cov = areas.covariance
    value = float(areas.auc[first] - areas.auc[second])
    error = float(np.sqrt(max(cov[first, first] + cov[second, second] - 2 * cov[first, second], 0.0)))
    p = float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else float(value == 0)
    return interval(value, error, level=level, bounds=(-1.0, 1.0)), p


def interval(
    value: float, error: float, df: float = np.inf, level: float = 0.95, bounds: tuple[float, float] = (0.0, 1.0)
) -> Estimate:
    """value ± t · error, cut at the bounds; df: degrees of freedom, infinite for the normal."""
    reach = float(stats.t.ppf(0.5 + level / 2, df)) * error
    return Estimate(value, max(value - reach, bounds[0]), min(value + reach, bounds[1]), error)


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests (Schuirmann 1987) that an area lies within `margin` of `target`.

    p: the larger of the two; shown: p < alpha, the same as the (1 - 2 alpha) interval lying within the margin.
    """

    target: float
    margin: float
    alpha: float
    p: float
    shown: bool


def equivalence(
    value: float, error: float, margin: float, df: float = np.inf, target: float = 0.5, alpha: float = 0.05
) -> Equivalence:
    """Test whether an area is as good as `target` (0.5: guessing). Raises MameError for a margin that is no margin.

    Without a standard error (error 0: one grade for everything, or no mistake at all) nothing is shown, and p is 1.
    """
    if not 0.0 < margin < 0.5:
        raise MameError(f"the equivalence margin must lie between 0 and 0.5, got {margin}")
    if error <= 0:
        p = 1.0  # an answer of "can't tell" to every picture is no evidence that they can't be told apart
    else:
        below = float(stats.t.sf((value - target + margin) / error, df))
        above = float(stats.t.cdf((value - target - margin) / error, df))
        p = max(below, above)
    return Equivalence(target, margin, alpha, p, p < alpha)
