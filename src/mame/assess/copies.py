"""Does it copy patients? The nearest training picture of each synthetic one, and whether that is nearer than chance.

Likeness is the correlation of two pictures' detail (what is finer than a sixteenth of the picture), under mirroring and
shifts. The threshold is what one in a hundred pictures of held-out patients reaches; training pictures that were
changed a little must be caught, or the test has no power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from mame.assess.figures import Figure, groups_of, share_figure
from mame.assess.likeness import Details, Index, Nearest

Floats = NDArray[np.float64]

QUANTILE = 0.99
"""Of pictures of held-out patients: the threshold."""
ASKED = 1000
"""Training pictures that are compared with the others, where nobody was held out."""
CAUGHT = 0.95
CHUNK = 4096


@dataclass(frozen=True)
class Copies:
    """rate: synthetic pictures above the threshold; excess: over what others reach; controls: caught.

    others: pictures of held-out patients, or, where `among_themselves`, training pictures against those of other
    patients. held_out: how many of these are above what the rest of them reaches.
    """

    threshold: float
    rate: Figure
    excess: Figure
    held_out: Figure
    nearest: Nearest
    controls: dict[str, float] = field(default_factory=dict)
    of_held_out: Floats = field(default_factory=lambda: np.zeros(0))
    among_themselves: bool = False

    @property
    def has_power(self) -> bool:
        """Whether every changed copy was caught as often as must be."""
        return bool(self.controls) and min(self.controls.values()) >= CAUGHT


def copies(
    synthetic: Details, trained_on: Details, held_out: Details,
    whose: tuple[Sequence[str], Sequence[str], Sequence[str]], seed: int, controls: dict[str, Details],
) -> Copies:  # fmt: skip
    """All of it. Details: N×128×128, of `likeness.detail`. whose: patients of synthetic, training, held-out pictures.

    Without held-out pictures the threshold comes from training pictures, each against those of other patients.
    controls: training pictures, changed in some way.
    """
    index = Index(trained_on)
    nearest = index.search(synthetic)
    among = not len(held_out)
    if among:
        reached, owners = _among_themselves(index, whose[1], seed)
    else:
        reached, owners = index.search(held_out).likeness, list(whose[2])
    threshold = threshold_of(reached)
    usual = _above_the_rest(reached, owners)
    rate = share_figure(nearest.likeness > threshold, whose[0], seed)
    unusual = share_figure(usual, owners, seed)
    excess = _difference(rate, unusual)
    rate = replace(rate, floor=unusual.value)
    caught = {name: float((index.search(part).likeness > threshold).mean()) for name, part in controls.items()}
    return Copies(threshold, rate, excess, unusual, nearest, caught, reached, among)


def mirrored(pictures: NDArray[Any]) -> NDArray[Any]:
    """N×H×W upside down."""
    return np.ascontiguousarray(pictures[:, ::-1])


def noisy(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A picture with noise of 5 % of the range; air stays air."""
    noise = rng.normal(0, 0.05, picture.shape).astype(np.float32)
    return np.clip(picture + noise * (picture > 0), 0, 1).astype(np.float32)


def threshold_of(reached: Floats) -> float:
    """Likeness that one more picture of the same kind passes with a chance of 1 % at most; of less than 99 the largest.

    The ⌈0.99·(n + 1)⌉-th smallest (split conformal; Vovk 2005): the quantile of n alone is passed more often.
    """
    if not len(reached):
        return float("nan")
    rank = min(len(reached), math.ceil(QUANTILE * (len(reached) + 1)))
    return float(np.sort(reached)[rank - 1])


def _among_themselves(index: Index, patients: Sequence[str], seed: int) -> tuple[Floats, list[str]]:
    """Training pictures against those of other patients, and whose they are."""
    owners = np.zeros(len(index.full), dtype=np.int64)
    for number, members in enumerate(groups_of(patients)):
        owners[members] = number
    chosen = np.random.default_rng([seed, 72]).permutation(len(owners))[:ASKED]
    reached = index.search(index.full[chosen], (owners[chosen], owners)).likeness
    return reached, [patients[i] for i in chosen]


def _above_the_rest(reached: Floats, patients: Sequence[str]) -> NDArray[np.bool_]:
    """Which are above the threshold that the pictures of all other patients give."""
    above = np.zeros(len(reached), dtype=np.bool_)
    groups = groups_of(patients)
    if len(groups) < 2:
        return above
    for members in groups:
        above[members] = reached[members] > threshold_of(np.delete(reached, members))
    return above


def _difference(a: Figure, b: Figure) -> Figure:
    """Rate of synthetic pictures above the threshold less that of others; the floor is 0."""
    if not (np.isfinite(a.value) and np.isfinite(b.value)):
        return Figure(float("nan"), n=a.n)
    value = a.value - b.value
    below = np.hypot(a.value - a.low, b.high - b.value)
    beyond = np.hypot(a.high - a.value, b.value - b.low)  # Newcombe 1998, method 10
    return Figure(value, float(value - below), float(value + beyond), 0.0, a.n)


def embedded(
    synthetic: Floats, trained_on: Floats, held_out: Floats, whose: tuple[Sequence[str], Sequence[str]], seed: int,
    controls: dict[str, Floats],
) -> tuple[Figure, dict[str, float]]:  # fmt: skip
    """Share of synthetic pictures nearer to a training picture, in the embedding, than 99 % of held-out ones are.

    whose: patients of synthetic and of held-out pictures. controls: embeddings of changed training pictures. Returns
    the share, with that of held-out pictures as its floor, and how many of each control were caught.
    """
    if not len(trained_on) or not len(held_out):
        return Figure(float("nan"), n=len(synthetic)), {}

    def near(a: Floats) -> Floats:
        parts = [cdist(a, trained_on[i : i + CHUNK]).min(axis=1) for i in range(0, len(trained_on), CHUNK)]
        return -np.asarray(np.min(parts, axis=0))

    usual = near(held_out)
    bound = threshold_of(usual)
    floor = float(_above_the_rest(usual, whose[1]).mean())
    caught = {name: float((near(part) > bound).mean()) for name, part in controls.items() if len(part)}
    return replace(share_figure(near(synthetic) > bound, whose[0], seed), floor=floor), caught


def worst(found: Copies, count: int = 6) -> list[dict[str, Any]]:
    """The pairs most alike: numbers of the synthetic and the training picture, and the likeness."""
    order = np.argsort(-found.nearest.likeness)[:count]
    return [
        {"synthetic": int(i), "training": int(found.nearest.index[i]), "likeness": float(found.nearest.likeness[i])}
        for i in order
    ]
