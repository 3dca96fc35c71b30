"""A figure as reports give it, and its interval by patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 200
LEVEL = 0.95
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval, the floor that real pictures score against themselves, and how many there were.

    NaN (null in JSON) where there is no such thing. at_floor: the same figure at the floor's number of pictures, for
    distances that hang on it; notes: what to mind.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    floor: float = float("nan")
    n: int = 0
    at_floor: float = float("nan")
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """In values JSON can hold."""
        said = asdict(self)
        rounded: dict[str, Any] = {
            name: _plain(value) for name, value in said.items() if name not in ("n", "notes", "at_floor")
        }
        rounded["n"] = self.n
        if np.isfinite(self.at_floor):
            rounded["at_floor"] = _plain(self.at_floor)
        if self.notes:
            rounded["notes"] = list(self.notes)
        return rounded


def _plain(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def groups_of(patients: Sequence[str]) -> list[Ints]:
    """The numbers of the pictures of each patient; a picture without one is its own."""
    found: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        found.setdefault(patient or f"\0{index}", []).append(index)
    return [np.array(numbers) for numbers in found.values()]


def resampled(groups: Sequence[Ints], rng: np.random.Generator) -> Ints:
    """A bootstrap sample: as many patients, drawn with replacement, with all their pictures."""
    return np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])


def interval(
    value: float,
    again: Callable[[np.random.Generator], float],
    seed: int,
    resamples: int = RESAMPLES,
    *,
    centred: bool = False,
) -> tuple[float, float]:
    """95 % bootstrap interval of a value. again: the value of one resample.

    centred: for distances, which grow when pictures are drawn twice: the resamples' spread is laid around the value
    instead of around their own mean.
    """
    rng = np.random.default_rng([seed, 61])
    found = np.array([again(rng) for _ in range(resamples)])
    found = found[np.isfinite(found)]
    if len(found) < 2 or not np.isfinite(value):
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    shift = value - float(found.mean()) if centred else 0.0
    return float(low + shift), float(high + shift)


def mean_figure(values: NDArray[np.float64], patients: Sequence[str], seed: int, floor: float = float("nan")) -> Figure:
    """The mean of one value a picture."""
    groups = groups_of(patients)
    value = float(np.mean(values)) if len(values) else float("nan")
    low, high = (
        interval(value, lambda rng: float(values[resampled(groups, rng)].mean()), seed)
        if len(groups) > 1
        else (float("nan"),) * 2
    )
    return Figure(value, low, high, floor, len(values))


def share_figure(
    right: NDArray[np.bool_] | NDArray[np.float64], patients: Sequence[str], seed: int, floor: float = float("nan")
) -> Figure:
    """The share of pictures of which something is so (N booleans, or 0 and 1)."""
    figure = mean_figure(np.asarray(right, dtype=np.float64), patients, seed, floor)
    low, high = of_three(figure.value, (figure.low, figure.high), len(groups_of(patients)))
    return replace(figure, low=low, high=high)


def of_three(share: float, interval: tuple[float, float], patients: int) -> tuple[float, float]:
    """The interval of a share, which a bootstrap makes a point where it is 0 or 1: the rule of three (Hanley 1983)."""
    if share not in (0.0, 1.0) or not patients:
        return interval
    bound = min(1.0, 3 / patients)
    return (0.0, bound) if share == 0 else (1 - bound, 1.0)


def halves(patients: Sequence[str], rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Two halves of the pictures, no patient in both; as even as whole patients allow."""
    groups = groups_of(patients)
    order = rng.permutation(len(groups))
    first: list[Ints] = []
    second: list[Ints] = []
    for index in order:
        side = first if sum(map(len, first)) <= sum(map(len, second)) else second
        side.append(groups[index])
    empty = np.zeros(0, dtype=np.int64)
    return np.concatenate([empty, *first]), np.concatenate([empty, *second])
