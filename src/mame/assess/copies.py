"""Does it copy patients? The nearest training picture of each synthetic one, and whether that is nearer than chance.

Likeness is the correlation of two pictures' detail (what is finer than a sixteenth of the picture), under mirroring and
shifts. The threshold is what one in a hundred held-out patients reaches; training pictures that were changed a little
must be caught, or the test has no power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.assess.figures import Figure, groups_of, interval, resampled
from mame.assess.likeness import Details, Index, Nearest

Floats = NDArray[np.float64]

QUANTILE = 0.99
"""Of held-out patients: the threshold."""
CAUGHT = 0.95
CHUNK = 4096


@dataclass(frozen=True)
class Copies:
    """rate: synthetic pictures above the threshold; excess: over what held-out patients reach; controls: caught."""

    threshold: float
    rate: Figure
    excess: Figure
    held_out: Figure
    nearest: Nearest
    controls: dict[str, float] = field(default_factory=dict)
    of_held_out: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def has_power(self) -> bool:
        """Whether every changed copy was caught as often as must be."""
        return bool(self.controls) and min(self.controls.values()) >= CAUGHT


def copies(
    synthetic: Details, trained_on: Details, held_out: Details, whose: tuple[Sequence[str], Sequence[str]],
    seed: int, controls: dict[str, Details],
) -> Copies:  # fmt: skip
    """All of it. Details: N×128×128, of `likeness.detail`. whose: patients of synthetic and of held-out pictures.

    Without held-out pictures the threshold comes from one half of the training pictures against the other. controls:
    training pictures, changed in some way.
    """
    index = Index(trained_on)
    nearest = index.search(synthetic)
    reached = index.search(held_out).likeness if len(held_out) else _among_themselves(trained_on, seed)
    owners = list(whose[1]) if len(held_out) else [""] * len(reached)
    threshold = _threshold(reached)
    rate = _share(nearest.likeness > threshold, whose[0], seed)
    usual = _share(reached > threshold, owners, seed)
    excess = _difference(nearest.likeness > threshold, reached > threshold, (whose[0], owners), seed)
    caught = {name: float((index.search(part).likeness > threshold).mean()) for name, part in controls.items()}
    return Copies(threshold, rate, excess, usual, nearest, caught, reached)


def mirrored(pictures: NDArray[Any]) -> NDArray[Any]:
    """N×H×W upside down."""
    return np.ascontiguousarray(pictures[:, ::-1])


def noisy(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A picture with noise of 5 % of the range; air stays air."""
    noise = rng.normal(0, 0.05, picture.shape).astype(np.float32)
    return np.clip(picture + noise * (picture > 0), 0, 1).astype(np.float32)


def _among_themselves(details: Details, seed: int) -> Floats:
    order = np.random.default_rng([seed, 72]).permutation(len(details))
    half = len(order) // 2
    return Index(details[order[half:]]).search(details[order[:half]]).likeness


def _threshold(reached: Floats) -> float:
    """The 99th percentile, of few the largest."""
    return float(np.quantile(reached, QUANTILE, method="higher")) if len(reached) else float("nan")


def _share(above: NDArray[np.bool_], patients: Sequence[str], seed: int) -> Figure:
    values = above.astype(np.float64)
    if not len(values):
        return Figure(float("nan"))
    groups = groups_of(patients)
    value = float(values.mean())
    low, high = interval(value, lambda rng: float(values[resampled(groups, rng)].mean()), seed)
    if value in (0.0, 1.0):  # a resample says nothing then: the rule of three (Hanley 1983)
        bound = min(1.0, 3 / len(groups))
        low, high = (0.0, bound) if value == 0 else (1 - bound, 1.0)
    return Figure(value, low, high, n=len(values))


def _difference(
    above: NDArray[np.bool_], usual: NDArray[np.bool_], whose: tuple[Sequence[str], Sequence[str]], seed: int
) -> Figure:
    """Rate of synthetic pictures above the threshold less that of held-out ones; the floor is 0."""
    a, b = _share(above, whose[0], seed), _share(usual, whose[1], seed)
    if not (np.isfinite(a.value) and np.isfinite(b.value)):
        return Figure(float("nan"), n=len(above))
    value = a.value - b.value
    below = np.hypot(a.value - a.low, b.high - b.value)
    beyond = np.hypot(a.high - a.value, b.value - b.low)  # Newcombe 1998, method 10
    return Figure(value, float(value - below), float(value + beyond), 0.0, len(above))


def embedded(synthetic: Floats, trained_on: Floats, held_out: Floats, patients: Sequence[str], seed: int) -> Figure:
    """Share of synthetic pictures nearer to a training picture, in the embedding, than 99 % of held-out ones are."""
    from scipy.spatial.distance import cdist

    if not len(trained_on) or not len(held_out):
        return Figure(float("nan"), n=len(synthetic))

    def near(a: Floats) -> Floats:
        parts = [cdist(a, trained_on[i : i + CHUNK]).min(axis=1) for i in range(0, len(trained_on), CHUNK)]
        return np.min(parts, axis=0)

    usual = near(held_out)
    bound = float(np.quantile(usual, 1 - QUANTILE, method="lower"))
    figure = _share(near(synthetic) < bound, patients, seed)
    return Figure(figure.value, figure.low, figure.high, float((usual < bound).mean()), figure.n)


def worst(found: Copies, count: int = 6) -> list[dict[str, Any]]:
    """The pairs most alike: numbers of the synthetic and the training picture, and the likeness."""
    order = np.argsort(-found.nearest.likeness)[:count]
    return [
        {"synthetic": int(i), "training": int(found.nearest.index[i]), "likeness": float(found.nearest.likeness[i])}
        for i in order
    ]
