"""How many readers and images a study needs to show equivalence with guessing within a margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mame.errors import MameError

READER_SD = 0.04
"""Standard deviation of readers' true areas around their mean, where nobody says better."""

CORRELATION = 0.35
"""Of two readers' errors over the same cases (Cov2 over the error variance; Van Dyke's five readers have 0.43)."""


@dataclass(frozen=True)
class Need:
    """Images of each class for a number of readers, and the power that they give."""

    readers: int
    images_a_class: int
    power: float


def images_needed(
    readers: int,
    margin: float,
    power: float = 0.8,
    alpha: float = 0.05,
    area: float = 0.5,
    reader_sd: float = READER_SD,
    correlation: float = CORRELATION,
    limit: int = 5000,
) -> Need | None:
    """The fewest images of each class with which `readers` show equivalence at `margin`; None beyond `limit`.

    area: what they would truly score. The variance of one area with n of each class is Hanley and McNeil's (Radiology
    1982); the mean's over R readers is Obuchowski and Rockette's, (σ²_reader + σ² (1 + (R - 1) ρ)) / R.

    Raises MameError for a margin outside (0, 0.5), an area outside it, or no reader.
    """
    if not 0 < margin < 0.5 or abs(area - 0.5) >= margin:
        raise MameError(f"margin {margin:g} must lie between 0 and 0.5, and the true area {area:g} within it")
    if readers < 1:
        raise MameError(f"needs a reader, got {readers}")
    low, high = 2, limit
    if power_of(readers, high, margin, alpha, area, reader_sd, correlation) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        enough = power_of(readers, middle, margin, alpha, area, reader_sd, correlation) >= power
        low, high = (low, middle) if enough else (middle + 1, high)
    return Need(readers, low, power_of(readers, low, margin, alpha, area, reader_sd, correlation))


def power_of(
    readers: int, images: int, margin: float, alpha: float, area: float, reader_sd: float, correlation: float
) -> float:
    """Chance that both one-sided tests reject, with `images` of each class."""
    error = _area_variance(area, images, images)
    spread = reader_sd**2 if readers > 1 else 0.0  # one reader is only asked about himself
    shared = error * (1 + (readers - 1) * correlation)
    deviation = float(np.sqrt((spread + shared) / readers))
    df = np.inf if readers == 1 else _df(readers, spread + error * (1 - correlation), readers * correlation * error)
    reach = float(stats.t.ppf(1 - alpha, df)) * deviation
    room = margin - reach
    if room <= 0:
        return 0.0
    off = area - 0.5
    return float(stats.norm.cdf((room - off) / deviation) - stats.norm.cdf((-room - off) / deviation))


def _df(readers: int, between: float, shared: float) -> float:
    """Hillis's degrees of freedom of the readers' mean, from the expected mean squares."""
    return (between + shared) ** 2 / (between**2 / (readers - 1))


def _area_variance(area: float, positives: int, negatives: int) -> float:
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return spread / (positives * negatives)
