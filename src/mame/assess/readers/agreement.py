"""How far graders agree: Cohen's kappa, weighted by the square of the distance between grades, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mame.errors import MameError

ROUNDS = 1000
MAX_GRADES = 20
"""More different scores than this are no grades: kappa would count every small difference as disagreement."""


@dataclass(frozen=True)
class Kappa:
    """Weighted kappa of n pairs of grades, with its bootstrapped interval."""

    value: float
    low: float
    high: float
    n: int


def weighted_kappa(first: ArrayLike, second: ArrayLike, seed: int = 0, level: float = 0.95) -> Kappa:
    """Quadratically weighted kappa (Cohen 1968) of two gradings of the same N cases, percentile bootstrap over cases.

    Both constant and equal: 1. Raises MameError for lengths that differ, fewer than 2 pairs, or scores that are no
    grades.
    """
    a, b = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    if a.size != b.size or a.size < 2:
        raise MameError(f"kappa needs two gradings of the same 2 or more cases, got {a.size} and {b.size}")
    grades, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    if len(grades) > MAX_GRADES:
        raise MameError(f"{len(grades)} different scores are no grades: kappa is for up to {MAX_GRADES}")
    a, b = codes[: a.size].astype(np.float64), codes[a.size :].astype(np.float64)
    picks = np.random.default_rng(seed).integers(0, a.size, (ROUNDS, a.size))
    drawn = _kappa(a[picks], b[picks])
    low, high = np.quantile(drawn[np.isfinite(drawn)], [0.5 - level / 2, 0.5 + level / 2])
    return Kappa(float(_kappa(a[None], b[None])[0]), float(low), float(high), a.size)


def _kappa(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One for each row: 1 - observed over expected mean square distance, with quadratic weights a closed form."""
    observed = ((a - b) ** 2).mean(axis=1)
    expected = a.var(axis=1) + b.var(axis=1) + (a.mean(axis=1) - b.mean(axis=1)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1.0 - observed / expected, 1.0)
