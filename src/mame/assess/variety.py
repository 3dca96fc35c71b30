"""Is it varied? How alike pictures of one prompt are, and how much of what is real the synthetic ones cover."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist

from mame.assess.distances import NEIGHBOURS, coverage, coverage_of
from mame.assess.features import Measures, read_pixels
from mame.assess.figures import Figure, groups_of, halves, interval, of_three, resampled
from mame.assess.pictures import Picture
from mame.mammogram import Description

Floats = NDArray[np.float64]
PAIRS = 120
"""How many pairs of one prompt are compared at most."""
SIDE = 512
"""Pixels a side of the pictures that are compared, at most: those of the paper."""
LEAST = 176
"""Pixels a side that five scales and a window of 11 pixels need; smaller ones are enlarged."""
SPLITS = 10
NAMES = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Variety:
    """figures: ms_ssim, precision, recall, density, coverage; guidance: MS-SSIM by guidance scale, where several."""

    figures: dict[str, Figure]
    guidance: dict[str, Figure] = field(default_factory=dict)


def variety(
    real: tuple[Measures, Sequence[Picture]], synthetic: tuple[Measures, Sequence[Picture]], seed: int
) -> Variety:
    """All of it. Each side: measures, and their pictures."""
    figures = {"ms_ssim": alike(synthetic[1], seed, floor=alike(real[1], seed).value)}
    figures |= covered(real[0].embedding, synthetic[0].embedding, [p.patient for p in real[1]], seed)
    scales = sorted({p.guidance for p in synthetic[1] if p.guidance is not None})
    by_scale = {}
    if len(scales) > 1:
        for scale in scales:
            part = [p for p in synthetic[1] if p.guidance == scale]
            by_scale[f"{scale:g}"] = alike(part, seed, floor=figures["ms_ssim"].floor)
    return Variety(figures, by_scale)


def pairs_of(pictures: Sequence[Picture], seed: int) -> list[tuple[int, int]]:
    """At most 120 pairs of the same words, drawn at random, no patient with itself.

    Where too few pictures say all the same, as real ones do, pairs are of the same view and density, or view.
    """

    def same(key: Any) -> dict[Any, list[int]]:
        found: dict[Any, list[int]] = defaultdict(list)
        for index, picture in enumerate(pictures):
            found[key(picture.asked)].append(index)
        return found

    rng = np.random.default_rng([seed, 64])
    for key in (lambda d: d, lambda d: (d.view, d.density), lambda d: d.view):
        groups = [group for group in same(key).values() if len(group) > 1]
        pairs = [
            (group[a], group[b])
            for group in groups
            for a in range(len(group))
            for b in range(a)
            if not pictures[group[a]].patient or pictures[group[a]].patient != pictures[group[b]].patient
        ]
        if len(pairs) >= min(PAIRS, len(pictures) // 4):
            break
    chosen = rng.permutation(len(pairs))[:PAIRS]
    return [pairs[i] for i in chosen]


def ms_ssim(a: Sequence[NDArray[np.float32]], b: Sequence[NDArray[np.float32]]) -> Floats:
    """Multi-scale structural similarity (Wang 2003) of N pairs of pictures H×W in [0, 1], by MONAI.

    Its five scales and window of 11 pixels need pictures of more than 160 pixels a side; see LEAST.
    """
    import torch
    from monai.metrics.regression import MultiScaleSSIMMetric

    metric = MultiScaleSSIMMetric(spatial_dims=2, data_range=1.0)
    found = [
        np.asarray(
            metric(y_pred=torch.from_numpy(one.copy())[None, None], y=torch.from_numpy(other.copy())[None, None])
        ).ravel()
        for one, other in zip(a, b, strict=True)
    ]
    return np.concatenate(found).astype(np.float64) if found else np.zeros(0)


def alike(pictures: Sequence[Picture], seed: int, floor: float = float("nan")) -> Figure:
    """Mean MS-SSIM of pairs that say the same, 0 to 1; the paper's measure: the lower, the more varied."""
    pairs = pairs_of(pictures, seed)
    if not pairs:
        return Figure(float("nan"), notes=("no two pictures with the same words",))
    shown = {index: _small(pictures[index]) for index in sorted({index for pair in pairs for index in pair})}
    values = ms_ssim([shown[a] for a, _ in pairs], [shown[b] for _, b in pairs])
    value = float(values.mean())
    groups = groups_of([picture.patient for picture in pictures])
    ends = np.array(pairs)

    def again(rng: np.random.Generator) -> float:
        drawn = np.bincount(resampled(groups, rng), minlength=len(pictures))
        weight = drawn[ends[:, 0]] * drawn[ends[:, 1]]  # a pair is there as often as both of its pictures are
        return float((weight * values).sum() / weight.sum()) if weight.any() else float("nan")

    low, high = interval(value, again, seed)
    said = len({pictures[a].asked for a, _ in pairs} | {Description()}) - 1
    same = all(pictures[a].asked == pictures[b].asked for a, b in pairs)
    notes = () if same and said else ("paired by view and density, as no two prompts are the same",)
    return Figure(value, low, high, floor, len(values), notes=notes)


def _small(picture: Picture) -> NDArray[np.float32]:
    pixels = read_pixels(picture)
    height, width = pixels.shape
    factor = min(SIDE / max(height, width), 1.0)
    size = max(LEAST, round(width * factor)), max(LEAST, round(height * factor))
    if size == (width, height):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX), dtype=np.float32)


def covered(real: Floats, synthetic: Floats, patients: Sequence[str], seed: int) -> dict[str, Figure]:
    """Precision, recall, density and coverage; floor: one half of the real pictures as if it were synthetic.

    Intervals resample the pictures that are asked, not those that span the reach.
    """
    distances = cdist(real, real), cdist(synthetic, synthetic), cdist(real, synthetic)
    whole = coverage_of(*distances)
    k = min(NEIGHBOURS, len(real) - 1, len(synthetic) - 1)
    if k < 1:
        return {name: Figure(float("nan"), n=min(len(real), len(synthetic))) for name in NAMES}
    of_real = np.partition(distances[0], k, axis=1)[:, k]
    of_synthetic = np.partition(distances[1], k, axis=1)[:, k]
    reached = distances[2] < of_real[:, None]
    each = {
        "precision": (reached.any(axis=0).astype(float), None),
        "recall": ((distances[2] < of_synthetic[None, :]).any(axis=1).astype(float), patients),
        "density": (reached.sum(axis=0) / k, None),
        "coverage": (reached.any(axis=1).astype(float), patients),
    }
    rng = np.random.default_rng([seed, 65])
    floors: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(SPLITS):
        one, other = halves(patients, rng)
        if min(len(one), len(other)) > 1:
            for name, value in vars(coverage(real[one], real[other])).items():
                floors[name].append(value)
    found = {}
    for name, (values, owners) in each.items():
        groups = groups_of(owners if owners is not None else [""] * len(values))
        value = getattr(whole, name)
        low, high = interval(value, lambda rng, v=values, g=groups: float(v[resampled(g, rng)].mean()), seed)  # type: ignore[misc]
        if name != "density":  # which is no share
            low, high = of_three(value, (low, high), len(groups))
        floor = float(np.mean(floors[name])) if floors[name] else float("nan")
        found[name] = Figure(value, low, high, floor, len(values))
    return found
