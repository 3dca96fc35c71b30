"""Radiomic features of whole pictures, and the Fréchet distance of them (FRD).

The features and their settings are those of `frd-score` 1.0.1 for two dimensions (Konz, Osuala et al., "Fréchet
Radiomic Distance", Medical Image Analysis 2026, arXiv 2412.01496), which takes them from PyRadiomics (van Griethuysen,
Cancer Research 2017): the picture brought to mean 0 and deviation 100, halved in size, and its four wavelet bands; of
each 18 first-order features and 59 of texture (co-occurrence, runs, zones, neighbourhoods), in bins of 5. Its
Laplacian filters need four slices and so give nothing in two dimensions, there as here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pywt
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from mame.assess.distances import frechet
from mame.errors import MameError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCALE = 100.0  # deviation of the normalised picture
SPACING = 2  # pixels of the picture to one that is measured
BIN = 5.0
SHIFT = 300.0  # added before energies, so that few values are negative
VOXEL = SPACING**2  # area of a measured pixel
EPS = float(np.spacing(1))
ROUNDING = 1e-8  # deviation of a feature that is nothing but rounding errors
SMALLEST = 8  # pixels a side: less has no texture

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def radiomic_features(values: NDArray[np.number]) -> dict[str, float]:
    """Features by name of one picture. values: H×W, in any unit: only their shape counts, but for three of them.

    Raises MameError for a picture without contrast, or smaller than 8 pixels.
    """
    image = np.asarray(values, dtype=np.float64)
    if image.ndim != 2 or min(image.shape) < SMALLEST:
        raise MameError(f"radiomic features need a picture of at least {SMALLEST}x{SMALLEST} pixels, not {image.shape}")
    if not np.isfinite(image).all() or image.min() == image.max():
        raise MameError("a picture without contrast, or with values that are no numbers, has no radiomic features")
    measured = _halved(image)
    found = {"mean": float(image.mean()), "minimum": float(image.min()), "maximum": float(image.max())}
    for said in ("measured", "masked"):  # twice, as the mask there is the whole picture
        found |= {f"{said} {name}": float(value) for name, value in _extent(measured)}
    for band, pixels in _bands(measured):
        found |= {f"{band} {name}": float(value) for name, value in _of_band(pixels)}
    return found


@lru_cache(maxsize=1)
def feature_names() -> tuple[str, ...]:
    """Names of the features, in their order."""
    ramp = np.add.outer(np.arange(16.0), np.arange(16.0) ** 2)
    return tuple(radiomic_features(ramp))


def frechet_radiomics(reference: Floats, other: Floats) -> float:
    """FRD, version 1: the logarithm of the squared Fréchet distance of features (N×F) in units of the reference.

    Features that don't vary in the reference are left out. -inf where both sets are the same.
    """
    squared = frechet(*in_units_of(reference, other))
    return float(np.log(squared)) if squared > 0 else float("-inf")


def frechet_radiomics_stable(reference: Floats, other: Floats) -> float:
    """FRD without the features that vary in the reference by rounding errors only, 1e-8 and less.

    Where half of a picture is air, quartiles of its wavelet bands are such errors, and in units of their deviation two
    sets of the same pictures are millions apart. Not comparable to published values.
    """
    varies = reference.std(axis=0) > ROUNDING
    return frechet_radiomics(reference[:, varies], other[:, varies])


def in_units_of(reference: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Both with the reference's mean 0 and deviation 1, without features that don't vary in it (float32, as there)."""
    reference, other = reference.astype(np.float32), other.astype(np.float32)
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = [(part - mean) / deviation for part in (reference, other)]
    kept = np.isfinite(scaled[0]).all(axis=0) & np.isfinite(scaled[1]).all(axis=0)
    return scaled[0][:, kept].astype(np.float64), scaled[1][:, kept].astype(np.float64)


def _halved(image: Floats) -> Floats:
    """Mean 0, deviation 100, by cubic B-splines at the middles of pixels of twice the size.

    ITK does it, as for the reference: what is air has wavelet bands of nothing but rounding errors, whose signs decide
    between two bins, so that features agree only where the arithmetic is the same to the last bit.
    """
    size = [-(-length // SPACING) for length in reversed(image.shape)]
    normal = SimpleITK.Normalize(SimpleITK.GetImageFromArray(image.astype(np.float32)[None])) * SCALE
    normal.SetSpacing((1.0, 1.0, 1.0))
    at = (SPACING - 1) / 2
    halved = SimpleITK.Resample(
        normal, [*size, 1], SimpleITK.Transform(), SimpleITK.sitkBSpline, (at, at, 0.0), (SPACING, SPACING, 1.0)
    )
    return np.asarray(SimpleITK.GetArrayFromImage(halved)[0], dtype=np.float64)


def _extent(image: Floats) -> Iterator[tuple[str, float]]:
    yield "mean", image.mean()
    yield "minimum", image.min()
    yield "maximum", image.max()


def _bands(image: Floats) -> Iterator[tuple[str, Floats]]:
    """The picture and its stationary wavelet bands (coif1, one level)."""
    yield "original", image
    odd = [(0, length % 2) for length in image.shape]
    padded = np.pad(image, odd, "wrap")
    rows, columns = image.shape
    for name, band in pywt.swtn(padded, "coif1", level=1, axes=(1, 0))[0].items():
        yield f"wavelet-{name.replace('a', 'L').replace('d', 'H')}", band[:rows, :columns]


def _of_band(image: Floats) -> Iterator[tuple[str, float]]:
    levels = (np.floor(image / BIN) - np.floor(image.min() / BIN)).astype(np.int64) + 1
    yield from _first_order(image, levels)
    yield from _mean_of(_co_occurrence(levels, direction) for direction in DIRECTIONS)
    yield from _mean_of(_sizes("glrlm", *_runs(levels, direction), levels.size) for direction in DIRECTIONS)
    yield from _sizes("glszm", *_zones(levels), levels.size).items()
    yield from _neighbourhoods(levels)


def _mean_of(each: Iterator[dict[str, float]]) -> Iterator[tuple[str, float]]:
    found = list(each)
    for name in found[0]:
        yield name, float(np.mean([one[name] for one in found]))


def _entropy(shares: Floats) -> float:
    return float(-(shares * np.log2(shares + EPS)).sum())


def _first_order(image: Floats, levels: Ints) -> Iterator[tuple[str, float]]:
    x = image.ravel()
    shares = np.bincount(levels.ravel())[1:] / x.size
    shares = shares[shares > 0]
    p10, p25, p50, p75, p90 = np.percentile(x, (10, 25, 50, 75, 90))
    middle = x[(x >= p10) & (x <= p90)]
    centred = x - x.mean()
    squared = centred * centred
    variance = squared.mean()
    energy = float(((x + SHIFT) ** 2).sum())
    yield from {
        "10Percentile": p10,
        "90Percentile": p90,
        "Energy": energy,
        "Entropy": _entropy(shares),
        "InterquartileRange": p75 - p25,
        "Kurtosis": (squared * squared).mean() / variance**2 if variance else 0.0,
        "Maximum": x.max(),
        "MeanAbsoluteDeviation": np.abs(centred).mean(),
        "Mean": x.mean(),
        "Median": p50,
        "Minimum": x.min(),
        "Range": x.max() - x.min(),
        "RobustMeanAbsoluteDeviation": np.abs(middle - middle.mean()).mean(),
        "RootMeanSquared": np.sqrt(energy / x.size),
        "Skewness": (squared * centred).mean() / variance**1.5 if variance else 0.0,
        "TotalEnergy": energy * VOXEL,
        "Uniformity": (shares**2).sum(),
        "Variance": variance,
    }.items()


def _pair(levels: Ints, direction: tuple[int, int]) -> tuple[Ints, Ints]:
    """Every pixel that has a neighbour in that direction, and the neighbour."""
    down, right = direction
    rows, columns = levels.shape
    first = levels[: rows - down, max(0, -right) : columns - max(0, right)]
    return first, levels[down:, max(0, right) : columns + min(0, right)]


def _co_occurrence(levels: Ints, direction: tuple[int, int]) -> dict[str, float]:
    """Features of how often two grey levels lie side by side (Haralick 1973), both ways round."""
    a, b = (part.ravel() for part in _pair(levels, direction))
    top = int(levels.max())
    side = top + 1
    one_way = np.bincount(a * side + b, minlength=side * side).reshape(side, side)
    counts = one_way + one_way.T
    p = counts[counts > 0] / (2 * a.size)
    px = counts.sum(axis=1) / (2 * a.size)
    i = np.arange(side, dtype=np.float64)
    differences = np.bincount(np.abs(a - b), minlength=top) / a.size
    sums = np.bincount(a + b) / a.size
    k, s = np.arange(len(differences), dtype=np.float64), np.arange(len(sums), dtype=np.float64)
    mean = float((px * i).sum())
    variance = float((px * (i - mean) ** 2).sum())
    product = float((a * b).mean())
    off = s - 2 * mean
    average = float((differences * k).sum())
    joint, marginal = _entropy(p), _entropy(px[px > 0])
    # of independent levels, whose joint entropy is the sum of both; p·log(px·py) gives the same sum
    independent = 2 * marginal
    more = independent - joint
    return {
        f"glcm_{name}": float(value)
        for name, value in {
            "Autocorrelation": product,
            "JointAverage": mean,
            "ClusterProminence": (sums * off**4).sum(),
            "ClusterShade": (sums * off**3).sum(),
            "ClusterTendency": (sums * off**2).sum(),
            "Contrast": (differences * k**2).sum(),
            "Correlation": (product - mean**2) / variance if variance else 1.0,
            "DifferenceAverage": average,
            "DifferenceEntropy": _entropy(differences),
            "DifferenceVariance": (differences * (k - average) ** 2).sum(),
            "JointEnergy": (p**2).sum(),
            "JointEntropy": joint,
            "Imc1": -more / marginal if marginal else 0.0,
            "Imc2": np.sqrt(1 - np.exp(-2 * more)) if more > 0 else 0.0,
            "Idm": (differences / (1 + k**2)).sum(),
            "Idmn": (differences / (1 + (k / top) ** 2)).sum(),
            "Id": (differences / (1 + k)).sum(),
            "Idn": (differences / (1 + k / top)).sum(),
            "InverseVariance": (differences[1:] / k[1:] ** 2).sum(),
            "MaximumProbability": p.max(),
            "SumEntropy": _entropy(sums),
            "SumSquares": variance,
        }.items()
    }


def _runs(levels: Ints, direction: tuple[int, int]) -> tuple[Ints, Ints]:
    """(level, length) of every run of one level along lines of that direction."""
    down, right = direction
    rows, columns = levels.shape
    if down == 0:
        lines = levels
    elif right == 0:
        lines = levels.T
    else:  # diagonals, one to a row of a sheared picture; 0 where there is none
        shear = np.zeros((rows, rows + columns - 1), dtype=np.int64)
        for row, line in enumerate(levels if right > 0 else levels[:, ::-1]):
            shear[row, rows - 1 - row : rows - 1 - row + columns] = line
        lines = shear.T
    closed = np.pad(lines, ((0, 0), (0, 1))).ravel()  # a 0 after each line, so that no run goes over its end
    starts = np.flatnonzero(np.diff(closed, prepend=0) != 0)
    lengths = np.diff(starts, append=closed.size)
    found = closed[starts]
    return found[found > 0], lengths[found > 0]


def _zones(levels: Ints) -> tuple[Ints, Ints]:
    """(level, size) of every connected zone of one level, over edges and corners."""
    zones = label(levels, connectivity=2, background=0)
    sizes = np.bincount(zones.ravel())[1:]
    first = np.zeros(len(sizes) + 1, dtype=np.int64)
    first[zones.ravel()] = levels.ravel()
    return first[1:], sizes


NAMES = {"glrlm": ("Run", "ShortRun", "LongRun", "RunLength"), "glszm": ("Zone", "SmallArea", "LargeArea", "SizeZone")}
"""What PyRadiomics calls one of them, short and long ones, and their lengths."""


def _sizes(matrix: str, levels: Ints, lengths: Ints, pixels: int) -> dict[str, float]:
    """Features of runs (Galloway 1975) or zones (Thibault 2009) from each one's level and length."""
    count = len(levels)
    of_level, of_length = np.bincount(levels), np.bincount(lengths)
    longest = len(of_length)
    together = np.bincount(levels * longest + lengths)
    i, j = levels.astype(np.float64), lengths.astype(np.float64)
    i2, j2 = i**2, j**2
    thing, short, long, length = NAMES[matrix]
    low, high = "LowGrayLevel", "HighGrayLevel"
    return {
        f"{matrix}_{name}": float(value)
        for name, value in {
            f"{short}Emphasis": (1 / j2).mean(),
            f"{long}Emphasis": j2.mean(),
            "GrayLevelNonUniformity": (of_level**2).sum() / count,
            "GrayLevelNonUniformityNormalized": (of_level**2).sum() / count**2,
            f"{length}NonUniformity": (of_length**2).sum() / count,
            f"{length}NonUniformityNormalized": (of_length**2).sum() / count**2,
            f"{thing}Percentage": count / pixels,
            "GrayLevelVariance": i.var(),
            f"{thing}Variance": j.var(),
            f"{thing}Entropy": _entropy(together[together > 0] / count),
            f"{low}{thing}Emphasis": (1 / i2).mean(),
            f"{high}{thing}Emphasis": i2.mean(),
            f"{short}{low}Emphasis": (1 / (i2 * j2)).mean(),
            f"{short}{high}Emphasis": (i2 / j2).mean(),
            f"{long}{low}Emphasis": (j2 / i2).mean(),
            f"{long}{high}Emphasis": (i2 * j2).mean(),
        }.items()
    }


def _neighbourhoods(levels: Ints) -> Iterator[tuple[str, float]]:
    """Features of how far a level is from the mean around it (Amadasun 1989)."""
    ones = np.ones((3, 3))
    around = ndimage.convolve(levels.astype(np.float64), ones, mode="constant") - levels
    number = ndimage.convolve(np.ones(levels.shape), ones, mode="constant") - 1
    flat = levels.ravel()
    far = np.bincount(flat, weights=np.abs(levels - around / number).ravel())
    share = np.bincount(flat) / flat.size
    present = np.flatnonzero(share)
    i, p, s = present.astype(np.float64), share[present], far[present]
    ip = i * p
    total, weighed = s.sum(), float((p * s).sum())
    between = np.abs(i[:, None] - i[None, :])
    busy = float(np.abs(ip[:, None] - ip[None, :]).sum())
    both = p[:, None] + p[None, :]
    weights = p * s
    several = len(i) > 1
    contrast = (p[:, None] * p[None, :] * between**2).sum() / (len(i) * (len(i) - 1)) if several else 0.0
    yield from {
        "ngtdm_Busyness": weighed / busy if busy else 0.0,
        "ngtdm_Coarseness": 1 / weighed if weighed else 1e6,
        "ngtdm_Complexity": (between * (weights[:, None] + weights[None, :]) / both).sum() / flat.size,
        "ngtdm_Contrast": contrast * total / flat.size,
        "ngtdm_Strength": (both * between**2).sum() / total if total else 0.0,
    }.items()
