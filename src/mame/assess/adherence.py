"""Does it do what the prompt said? What was asked against what the network reads and what the rules measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.assess.attributes.network import CLASSES
from mame.assess.features import Measures
from mame.assess.figures import Figure, groups_of, interval, mean_figure, resampled, share_figure
from mame.assess.pictures import Picture
from mame.imaging.density import density_class
from mame.mammogram import Laterality

Ints = NDArray[np.int64]
WORDS = ("view", "density", "area", "vendor")
ATTRIBUTES = (*WORDS, "side", "lesion")
ORDERED = ("density", "area")
RULES, NETWORK = "rules", "network"
LESION = {False: "no", True: "yes"}


@dataclass(frozen=True)
class Judged:
    """One attribute as one judge sees it. confusion: counts, rows asked, columns found, in the order of CLASSES."""

    attribute: str
    judge: str
    accuracy: Figure
    balanced: float
    kappa: float
    confusion: Ints
    seen: Figure | None = None
    extrapolated: Figure | None = None

    def as_json(self) -> dict[str, Any]:
        """In values JSON can hold."""
        said: dict[str, Any] = {
            "accuracy": self.accuracy.as_json(),
            "balanced_accuracy": round(self.balanced, 4),
            "weighted_kappa": round(self.kappa, 4) if np.isfinite(self.kappa) else None,
            "classes": list(CLASSES[self.attribute]),
            "confusion": self.confusion.tolist(),
        }
        for name in ("seen", "extrapolated"):
            if (figure := getattr(self, name)) is not None:
                said[name] = figure.as_json()
        return said


def adherence(
    measures: Measures, pictures: Sequence[Picture], known: set[tuple[str, ...]] | None, seed: int,
    floors: dict[tuple[str, str], float] | None = None,
) -> list[Judged]:  # fmt: skip
    """Every attribute that was asked of two pictures or more, by both judges.

    known: combinations of words (see `words_of`) that the training side has, to tell pictures of others apart. floors:
    by attribute and judge, how often the judge is right on real pictures.
    """
    found = []
    for attribute in ATTRIBUTES:
        classes = CLASSES[attribute]
        asked = wanted(attribute, pictures)
        chosen = _there(asked)
        if len(chosen) < 2:
            continue
        extrapolated = np.array([known is not None and words_of(pictures[i]) not in known for i in chosen])
        patients = [pictures[i].patient for i in chosen]
        for judge, seen in judges(measures, pictures, attribute).items():
            right = (seen[chosen] == asked[chosen]).astype(np.float64)
            confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
            np.add.at(confusion, (asked[chosen], seen[chosen]), 1)
            apart = {}
            if known is not None and extrapolated.any():
                for name, part in (("seen", ~extrapolated), ("extrapolated", extrapolated)):
                    if part.any():
                        owners = [one for one, inside in zip(patients, part, strict=True) if inside]
                        apart[name] = share_figure(right[part], owners, seed)
            found.append(
                Judged(
                    attribute,
                    judge,
                    share_figure(right, patients, seed, (floors or {}).get((attribute, judge), float("nan"))),
                    balanced_accuracy(confusion),
                    quadratic_kappa(confusion) if attribute in ORDERED else float("nan"),
                    confusion,
                    **apart,
                )
            )
    return found


def wanted(attribute: str, pictures: Sequence[Picture]) -> Ints:
    """Class number that was asked of each picture, or that its label says; -1 where nobody knows."""
    if attribute == "side":
        said: list[Any] = [picture.side for picture in pictures]
    elif attribute == "lesion":
        said = [None if picture.lesion is None else LESION[picture.lesion] for picture in pictures]
    else:
        said = [getattr(picture.asked, attribute) for picture in pictures]
    classes = CLASSES[attribute]
    return np.array([classes.index(word) if word in classes else -1 for word in said], dtype=np.int64)


def judges(measures: Measures, pictures: Sequence[Picture], attribute: str) -> dict[str, Ints]:
    """Class numbers that each judge gives the pictures. Rules know no vendor and no lesion.

    Pictures are measured with the side that was asked at the left, so what is read there is turned back.
    """
    from mame.assess.features import reader

    found = {NETWORK: reader().read(measures.embedding).classes[attribute]}
    by_rule = {
        "view": measures.view,
        "density": tuple(density_class(float(percent)) for percent in measures.percent),
        "area": measures.area,
        "side": measures.side,
    }
    if attribute in by_rule:
        found[RULES] = np.array([CLASSES[attribute].index(value) for value in by_rule[attribute]], dtype=np.int64)
    if attribute == "side":
        turned = np.array([picture.side is Laterality.R for picture in pictures])
        found = {judge: np.where(turned, 1 - seen, seen) for judge, seen in found.items()}
    return found


def words_of(picture: Picture) -> tuple[str, ...]:
    """What a prompt says, to compare combinations by."""
    return tuple(str(getattr(picture.asked, name) or "") for name in WORDS)


def density_by_class(
    measures: Measures, pictures: Sequence[Picture], seed: int, floors: dict[str, Figure] | None = None
) -> dict[str, Figure]:
    """Measured percent density (0 to 100) of the pictures of each density that was asked.

    floors: the same of labelled real pictures.
    """
    found = {}
    for name in CLASSES["density"]:
        chosen = [i for i, picture in enumerate(pictures) if picture.asked.density == name]
        if chosen:
            usual = floors[name].value if floors and name in floors else float("nan")
            found[name] = mean_figure(measures.percent[chosen], [pictures[i].patient for i in chosen], seed, usual)
    return found


def balanced_accuracy(confusion: Ints) -> float:
    """Mean over the classes that were asked of the share found right."""
    asked = confusion.sum(axis=1)
    there = asked > 0
    return float((np.diag(confusion)[there] / asked[there]).mean()) if there.any() else float("nan")


def quadratic_kappa(confusion: Ints) -> float:
    """Cohen's kappa with quadratic weights (Cohen 1968), from a confusion matrix of ordered classes."""
    total = confusion.sum()
    i = np.arange(len(confusion))
    off = (i[:, None] - i[None, :]) ** 2
    chance = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / total
    expected = float((off * chance).sum())
    return 1 - float((off * confusion).sum()) / expected if expected else float("nan")


def rank_correlation(measures: Measures, pictures: Sequence[Picture], seed: int, floor: float = float("nan")) -> Figure:
    """Spearman's correlation of the density class asked with the percent density measured."""
    from scipy.stats import spearmanr

    asked = wanted("density", pictures)
    chosen = _there(asked)
    if len(chosen) < 3 or len(set(asked[chosen])) < 2:
        return Figure(float("nan"), floor=floor, n=len(chosen))
    groups = groups_of([pictures[i].patient for i in chosen])
    a, b = asked[chosen], measures.percent[chosen]

    def again(rng: np.random.Generator) -> float:
        drawn = resampled(groups, rng)
        return float(spearmanr(a[drawn], b[drawn]).statistic) if len(set(a[drawn])) > 1 else float("nan")

    value = float(spearmanr(a, b).statistic)
    return Figure(value, *interval(value, again, seed), floor, len(chosen))


def _there(asked: Ints) -> list[int]:
    found: list[int] = np.flatnonzero(asked >= 0).tolist()
    return found
