"""Does it look real? Distances of synthetic pictures from real ones, and what real ones score among themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mame.assess.distances import frechet, kernel, kernel_distance
from mame.assess.features import Measures
from mame.assess.figures import RESAMPLES, Figure, groups_of, halves, interval, mean_figure, resampled
from mame.assess.radiomics import frechet_radiomics, frechet_radiomics_stable, in_units_of
from mame.assess.spectrum import GREYS

Floats = NDArray[np.float64]
Distance = Callable[[Floats, Floats], float]
SPLITS = 10
"""How often the real pictures are halved for a floor."""
FRECHET_RESAMPLES = 100


@dataclass(frozen=True)
class Extra:
    """Features of another network: its name, and N×F for each side."""

    name: str
    real: Floats
    synthetic: Floats


def fidelity(
    real: Measures, synthetic: Measures, whose: tuple[Sequence[str], Sequence[str]], seed: int,
    extras: Sequence[Extra] = (),
) -> dict[str, Figure]:  # fmt: skip
    """Figures by name. whose: the patient of each real and each synthetic picture.

    frd, as published, and frd_stable, without features of rounding errors; frechet_mammogram and kid_mammogram on the
    attribute reader's features; the same for `extras`; spectrum_slope and grey_…: how far the mean is from that of
    real pictures.
    """
    found = {
        "frd": distance(frechet_radiomics, real.radiomic, synthetic.radiomic, whose, seed),
        "frd_stable": distance(frechet_radiomics_stable, real.radiomic, synthetic.radiomic, whose, seed),
        "frechet_mammogram": distance(frechet, real.embedding, synthetic.embedding, whose, seed),
        "kid_mammogram": kid(real.embedding, synthetic.embedding, whose, seed),
    }
    for extra in extras:
        found[f"frechet_{extra.name}"] = distance(frechet, extra.real, extra.synthetic, whose, seed)
        found[f"kid_{extra.name}"] = kid(extra.real, extra.synthetic, whose, seed)
    found["spectrum_slope"] = apart(real.slope, synthetic.slope, whose, seed)
    for index, name in enumerate(GREYS):
        found[f"grey_{name}"] = apart(real.greys[:, index], synthetic.greys[:, index], whose, seed)
    return found


def distance(
    of: Distance, real: Floats, synthetic: Floats, whose: tuple[Sequence[str], Sequence[str]], seed: int
) -> Figure:
    """A distance with its interval, and the floor: halves of the real pictures against each other.

    Distances grow as pictures get fewer, so `at_floor` gives this one for as many as the halves have.
    """
    value = of(real, synthetic)
    both = groups_of(whose[0]), groups_of(whose[1])
    low, high = interval(
        value,
        lambda rng: of(real[resampled(both[0], rng)], synthetic[resampled(both[1], rng)]),
        seed,
        FRECHET_RESAMPLES,
        centred=True,
    )
    floor, at_floor = _floor(of, real, synthetic, whose, seed)
    fewest = min(len(real), len(synthetic))
    width = real.shape[1]
    notes = (
        (f"unreliable: {fewest} pictures are fewer than the {width} features, read KID instead",)
        if fewest <= width
        else ()
    )
    return Figure(value, low, high, floor, fewest, at_floor, notes)


def kid(real: Floats, synthetic: Floats, whose: tuple[Sequence[str], Sequence[str]], seed: int) -> Figure:
    """KID with its interval and floor. Its expectation does not hang on the number of pictures.

    A picture that a resample draws twice is not compared with itself.
    """
    value = kernel_distance(real, synthetic)
    aa, bb, ab = kernel(real, real), kernel(synthetic, synthetic), kernel(real, synthetic)
    both = groups_of(whose[0]), groups_of(whose[1])

    def again(rng: np.random.Generator) -> float:
        u = np.bincount(resampled(both[0], rng), minlength=len(aa)).astype(np.float64)
        v = np.bincount(resampled(both[1], rng), minlength=len(bb)).astype(np.float64)
        return _within(aa, u) + _within(bb, v) - 2 * float(u @ ab @ v) / (u.sum() * v.sum())

    low, high = interval(value, again, seed, RESAMPLES, centred=True)
    floor, _ = _floor(kernel_distance, real, synthetic, whose, seed)
    return Figure(value, low, high, floor, min(len(real), len(synthetic)))


def apart(real: Floats, synthetic: Floats, whose: tuple[Sequence[str], Sequence[str]], seed: int) -> Figure:
    """How far two means are apart, in the unit of the values; values that are not there are left out."""
    there = [np.isfinite(part) for part in (real, synthetic)]
    a, b = real[there[0]], synthetic[there[1]]
    owners = [[one for one, is_there in zip(whose[i], there[i], strict=True) if is_there] for i in range(2)]
    if min(len(a), len(b)) < 2:
        return Figure(float("nan"), n=min(len(a), len(b)))
    both = groups_of(owners[0]), groups_of(owners[1])
    value = float(b.mean() - a.mean())
    low, high = interval(
        value, lambda rng: float(b[resampled(both[1], rng)].mean() - a[resampled(both[0], rng)].mean()), seed
    )
    rng = np.random.default_rng([seed, 62])
    between = [
        abs(float(a[one].mean() - a[other].mean()))
        for one, other in (halves(owners[0], rng) for _ in range(SPLITS))
        if len(one) and len(other)
    ]
    return Figure(value, low, high, float(np.mean(between)) if between else float("nan"), min(len(a), len(b)))


def means(measures: Measures, patients: Sequence[str], seed: int) -> dict[str, Figure]:
    """What one side has of its own: the slope of its spectrum and its greys."""
    there = np.isfinite(measures.slope)
    owners = [one for one, is_there in zip(patients, there, strict=True) if is_there]
    found = {"spectrum_slope": mean_figure(measures.slope[there], owners, seed)}
    for index, name in enumerate(GREYS):
        found[f"grey_{name}"] = mean_figure(measures.greys[:, index], patients, seed)
    return found


def moved_most(real: Measures, synthetic: Measures, names: Sequence[str], count: int = 8) -> list[tuple[str, float]]:
    """The radiomic features whose means are farthest apart, in deviations of the real ones."""
    with np.errstate(divide="ignore", invalid="ignore"):
        off = (synthetic.radiomic.mean(axis=0) - real.radiomic.mean(axis=0)) / real.radiomic.std(axis=0)
    off = np.where(np.isfinite(off), off, 0.0)
    order = np.argsort(-np.abs(off))[:count]
    return [(names[i], float(off[i])) for i in order]


def scaled(real: Measures, synthetic: Measures) -> tuple[Floats, Floats]:
    """Radiomic features in units of the real ones, beside the embedding likewise."""
    radiomic = in_units_of(real.radiomic, synthetic.radiomic)
    embedding = in_units_of(real.embedding, synthetic.embedding)
    a, b = (np.concatenate([one, other], axis=1) for one, other in zip(radiomic, embedding, strict=True))
    return a, b


def _within(k: Floats, weights: Floats) -> float:
    """Mean of a kernel over pairs of different pictures, each as often as it was drawn."""
    pairs = weights.sum() ** 2 - (weights**2).sum()
    if pairs <= 0:
        return float("nan")
    return float((weights @ k @ weights - (weights**2 * np.diag(k)).sum()) / pairs)


def _floor(
    of: Distance, real: Floats, synthetic: Floats, whose: tuple[Sequence[str], Sequence[str]], seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng([seed, 63])
    floors, same = [], []
    for _ in range(SPLITS):
        one, other = halves(whose[0], rng)
        if min(len(one), len(other)) < 2:
            continue
        floors.append(of(real[one], real[other]))
        drawn = rng.permutation(len(synthetic))[: len(other)]
        same.append(of(real[one], synthetic[drawn]))
    if not floors:
        return float("nan"), float("nan")
    return float(np.mean(floors)), float(np.mean(same))
