"""Can a machine tell them apart? A classifier of all features, cross-validated by patient, and proof of its power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mame.assess.features import Measures
from mame.assess.figures import RESAMPLES, Figure, groups_of, halves, interval, resampled

Floats = NDArray[np.float64]
FOLDS = 5
SPLITS = 5
"""How often the real pictures are halved for the floor."""
POWER = 0.95
"""AUROC that must be reached on phantoms against real pictures, or the classifier shows nothing."""


@dataclass(frozen=True)
class Told:
    """auroc: of synthetic against real, 0.5 where they can't be told apart; power: of phantoms against real ones."""

    auroc: Figure
    power: Figure

    @property
    def has_power(self) -> bool:
        """Whether the classifier finds what is to be found."""
        return bool(self.power.value >= POWER)


def told_apart(
    real: Measures, synthetic: Measures, phantoms: Measures, whose: tuple[Sequence[str], Sequence[str]], seed: int
) -> Told:
    """The classifier on synthetic pictures, and the same on phantoms. whose: patients of real and synthetic ones.

    Floor of the AUROC: real pictures of one half of the patients against the other, the mean of several halvings.
    """
    everything = _features(real)
    rng = np.random.default_rng([seed, 66])
    floors = []
    for _ in range(SPLITS):
        one, other = halves(whose[0], rng)
        if min(len(one), len(other)) >= FOLDS:
            owners = [whose[0][i] for i in one], [whose[0][i] for i in other]
            floors.append(separated(everything[one], everything[other], owners, seed, resamples=0).value)
    floor = float(np.mean(floors)) if floors else float("nan")
    found = separated(everything, _features(synthetic), whose, seed)
    power = separated(everything, _features(phantoms), (whose[0], [""] * len(phantoms)), seed)
    return Told(Figure(found.value, found.low, found.high, floor, found.n, notes=found.notes), power)


def separated(
    a: Floats, b: Floats, whose: tuple[Sequence[str], Sequence[str]], seed: int, resamples: int = RESAMPLES
) -> Figure:
    """Cross-validated AUROC of a linear classifier for `b` against `a`, with a bootstrap interval by patient.

    Logistic regression on standardised features, of as many principal components as a fifth of the pictures.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([a, b])
    x = x[:, np.isfinite(x).all(axis=0)]
    y = np.repeat([0, 1], [len(a), len(b)])
    groups = np.zeros(len(x), dtype=np.int64)
    owners = [*whose[0], *whose[1]]
    for number, members in enumerate(groups_of(owners)):
        groups[members] = number
    folds = min(FOLDS, len(set(groups[y == 0])), len(set(groups[y == 1])))
    if folds < 2:
        return Figure(float("nan"), n=min(len(a), len(b)), notes=("too few patients to cross-validate",))
    scores = np.full(len(x), np.nan)
    for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(x, y, groups):
        if len(set(y[train])) < 2 or not len(test):
            continue
        parts = max(2, min(len(train) // 5, x.shape[1]))
        model = make_pipeline(
            StandardScaler(), PCA(parts, random_state=seed), LogisticRegression(C=0.1, class_weight="balanced",
                                                                               max_iter=2000)
        )  # fmt: skip
        scores[test] = model.fit(x[train], y[train]).decision_function(x[test])
    judged = np.isfinite(scores)
    both = groups_of([owners[i] for i in np.flatnonzero(judged)])
    y, scores = y[judged], scores[judged]

    def again(rng: np.random.Generator) -> float:
        drawn = resampled(both, rng)
        return float(roc_auc_score(y[drawn], scores[drawn])) if len(set(y[drawn])) == 2 else float("nan")

    if len(set(y)) < 2:
        return Figure(float("nan"), n=min(len(a), len(b)))
    value = float(roc_auc_score(y, scores))
    return Figure(value, *interval(value, again, seed, resamples), n=min(len(a), len(b)))


def _features(measures: Measures) -> Floats:
    return np.concatenate(
        [measures.radiomic, measures.embedding, np.nan_to_num(measures.slope)[:, None], measures.greys], axis=1
    )
