"""Fine fibres where a decoder gives none: thin random lines along the tissue, as strong as what the decoder loses.

A latent stands for 8×8 pixels and can't say where each fibre in them lies, so a decoder gives their likeliest grey,
which is flat. How strong texture would have been can be told from what is left of it; where its lines lie can't, so
they are drawn from noise. Plain noise of that strength has the right spectrum, too, but looks like a film underexposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage, optimize

Floats = NDArray[np.float32]
Row = tuple[float, float, float, float, float]
Coefficients = tuple[Row, Row]
"""Of the finest octave and the next: the logarithm of their variance is linear in what `_looks` gives."""

SIGMAS_PX = (0.0, 1.0, 2.0)  # octaves lie between Gaussian blurs of these
BLOCK = 4  # pixels: strengths are known of squares of this side
SMOOTH = 1.5  # squares
AWAY_FROM_AIR_PX = 3  # neither the skin is texture, nor the edge of the picture
DIRECTIONS = 12
WIDTH_PX, LENGTH_PX = 0.5, 3.0  # of a line: Gaussian across (σ), exponential along
LINES = 0.02  # a pixel and direction
ANYWHERE, ALONG = 0.25, 2.5  # strength of lines in any direction, and in that of the tissue where it has one
NOISE = 0.35  # of the lines' deviation
BLUR_PX = 0.8  # of a mammogram that was brought to a model's size: without it fibres are strong where it has nothing
FAINT = 1e-7  # variance that stands for none
LIMITS = (-18.0, -2.0)  # of the logarithm of a variance
CAUTION = 0.01  # a line drawn at random is wrong in its place, so that fewer of them are nearer to the true picture
RIDGE = 1e-8  # an octave that needs no lines must not get them where a picture looks like none before
SCALE = 1e4  # of the error that is minimised: by itself it is so small that the search would think it done
PLACES = 1500  # of each picture that strengths are fitted to


def with_fibres(picture: Floats, coefficients: Coefficients, rng: np.random.Generator) -> Floats:
    """A decoded picture (H×W in [0, 1], air exactly 0) with the fibres that were lost. Air stays 0, nothing leaves
    [0, 1]."""
    strong = _strengths(_looks(picture), coefficients)
    lines = _lines(picture, rng)
    added = sum(_full(strength, picture.shape) * line for strength, line in zip(strong, lines, strict=True))
    return np.where(picture > 0, np.clip(picture + added, 0.0, 1.0), np.float32(0.0)).astype(np.float32)


def fitted(pairs: Iterable[tuple[Floats, Floats]], seed: int = 0) -> Coefficients | None:
    """Coefficients with which decoded pictures get the strength of texture of the true ones, by least squares.

    pairs: (decoded, true), H×W in [0, 1], of one size. None where there is hardly any tissue in them.
    """
    rng = np.random.default_rng(seed)
    looks: list[Floats] = []
    decoded: list[Floats] = []
    true: list[Floats] = []
    shape: tuple[int, ...] = ()
    for ours, theirs in pairs:
        shape = ours.shape
        seen, there = _looks(ours), _looks(theirs)
        places = np.flatnonzero((_shrunk((ours > 0).astype(np.float32)) > 0.99).ravel())
        places = rng.choice(places, min(PLACES, len(places)), replace=False)
        looks.append(seen.reshape(len(seen), -1)[:, places])
        for found, one in ((decoded, seen), (true, there)):
            found.append(np.exp(one[1:3].reshape(2, -1)[:, places]))
    if sum(one.shape[1] for one in looks) < PLACES:
        return None
    x, have, want = (np.concatenate(parts, axis=1).astype(np.float64) for parts in (looks, decoded, true))
    best = _least(x, have, want, *_shares(shape))
    return _row(best[0]), _row(best[1])


def _least(
    x: NDArray[np.float64],
    have: NDArray[np.float64],
    want: NDArray[np.float64],
    own: NDArray[np.float64],
    cross: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Coefficients (2×5) for looks x (5×N) and variances by octave (2×N): L-BFGS with the gradient written out.

    Minimised is the mean squared error of the deviations, `CAUTION` times the variance added, and `RIDGE` times the
    squares of all coefficients but the first.
    """
    rest = np.ones((2, len(x)))
    rest[:, 0] = 0.0

    def error(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logarithms = flat.reshape(2, -1) @ x
        free = (logarithms > LIMITS[0]) & (logarithms < LIMITS[1])
        deviation = np.exp(np.clip(logarithms, *LIMITS) / 2)
        both = deviation[0] * deviation[1]
        added = own @ deviation**2 + cross[:, None] * both
        off = np.sqrt(have + added) - np.sqrt(want)
        slope = (off / np.sqrt(have + added) + CAUTION) / off.size  # of the error, by what is added
        by_logarithm = free * (own.T @ slope * deviation**2 + cross @ slope * both / 2)
        ridge = RIDGE * rest * flat.reshape(2, -1)
        found = float((off**2 + CAUTION * added).mean() + (ridge * flat.reshape(2, -1)).sum())
        return found * SCALE, (by_logarithm @ x.T + 2 * ridge).ravel() * SCALE

    start = np.zeros((2, len(x)))
    start[:, 0] = np.log(np.maximum((want - have).mean(axis=1), FAINT))
    return np.asarray(optimize.minimize(error, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(2, -1))


def _row(values: NDArray[np.float64]) -> Row:
    a, b, c, d, e = (round(float(value), 4) for value in values)
    return a, b, c, d, e


def octaves(picture: Floats) -> Iterator[Floats]:
    """The finest octave of a picture (H×W), and the next: differences of Gaussians."""
    blurred = [picture, *(ndimage.gaussian_filter(picture, sigma) for sigma in SIGMAS_PX[1:])]
    for fine, coarse in pairwise(blurred):
        yield fine - coarse


def _looks(picture: Floats) -> Floats:
    """What the strength of fibres hangs on, 5×h×w: 1, the logarithm of each octave's variance, grey, its square."""
    inside = ndimage.binary_erosion(picture > 0, iterations=AWAY_FROM_AIR_PX).astype(np.float32)
    weight = _smooth(inside) + 1e-3
    variances = [_smooth(octave**2 * inside) / weight for octave in octaves(picture)]
    grey = _smooth(picture * inside) / weight
    return np.stack([np.ones_like(grey), *(np.log(one + FAINT) for one in variances), grey, grey**2])


def _strengths(looks: Floats, coefficients: Coefficients) -> Floats:
    """Standard deviation of the fibres to add, 2×h×w, in grey."""
    logarithms = np.tensordot(np.array(coefficients, np.float32), looks, 1)
    return np.asarray(np.exp(np.clip(logarithms, *LIMITS) / 2))


def _lines(picture: Floats, rng: np.random.Generator) -> list[Floats]:
    """Random lines along the tissue of a picture, by octave, H×W each, of variance 1 everywhere."""
    height, width = picture.shape
    along = _directions(picture)
    field = np.zeros((DIRECTIONS, height, width), np.float32)
    count = round(LINES * height * width)
    for number in range(DIRECTIONS):
        y, x = rng.integers(height, size=count), rng.integers(width, size=count)
        angle = 2 * np.pi * (number + 0.5) / DIRECTIONS  # doubled: a line has no head
        there = along[:, y // BLOCK, x // BLOCK]
        liked = ANYWHERE + ALONG * np.maximum(there[0] * np.cos(angle) + there[1] * np.sin(angle), 0.0)
        np.add.at(field[number], (y, x), (np.abs(rng.standard_normal(count)) * liked).astype(np.float32))
    drawn = (fft.rfft2(field) * _strokes(height, width)).sum(axis=0)
    level = np.sqrt((np.abs(drawn) ** 2).mean())
    noise = fft.rfft2(rng.standard_normal((height, width), np.float32))
    drawn = drawn + NOISE * level / np.sqrt((np.abs(noise) ** 2).mean()) * noise
    found = []
    for passed in _passed(height, width):
        octave = fft.irfft2(drawn * passed, (height, width)).astype(np.float32)
        found.append(octave / _full(np.sqrt(_smooth(octave**2, 2.5) + 1e-12), picture.shape))
    return found


def _directions(picture: Floats) -> Floats:
    """2×h×w: the direction of the tissue as cosine and sine of twice its angle, as long as it is clear (0 to 1)."""
    smooth = ndimage.gaussian_filter(picture, 1.5)
    down, right = np.gradient(smooth)
    rr, dd, rd = (_smooth(one, 1.5) for one in (right * right, down * down, right * down))
    return np.asarray(np.stack([dd - rr, -2 * rd]) / (rr + dd + 1e-9), np.float32)  # across the gradient


@lru_cache(maxsize=2)
def _strokes(height: int, width: int) -> NDArray[np.complex64]:
    """The spectrum of a line in each direction, without its mean, for convolutions that wrap around."""
    y, x = fft.fftfreq(height, 1 / height)[:, None], fft.fftfreq(width, 1 / width)[None]
    strokes = []
    for number in range(DIRECTIONS):
        angle = np.pi * (number + 0.5) / DIRECTIONS
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        strokes.append(np.exp(-np.abs(along) / LENGTH_PX - across**2 / (2 * WIDTH_PX**2)))
    spectra = fft.rfft2(np.stack(strokes).astype(np.float32))
    spectra[:, 0, 0] = 0
    return np.asarray(spectra)


@lru_cache(maxsize=2)
def _passed(height: int, width: int) -> list[Floats]:
    """What each octave lets through of a spectrum."""
    squared = fft.fftfreq(height)[:, None] ** 2 + fft.rfftfreq(width)[None] ** 2
    blurs = [np.exp(-2 * np.pi**2 * (sigma**2 + BLUR_PX**2) * squared) for sigma in SIGMAS_PX]
    return [(fine - coarse).astype(np.float32) for fine, coarse in pairwise(blurs)]


@lru_cache(maxsize=2)
def _shares(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much variance lines of each octave bring into each (2×2), and both of them together beyond that (2).

    Octaves overlap, so that what is drawn for one is seen in the other.
    """
    finest, coarser = _lines(np.full(shape, np.float32(0.5)), np.random.default_rng(0))
    seen = [list(octaves(one)) for one in (finest, coarser)]
    own = np.array([[float((seen[j][k] ** 2).mean()) for j in range(2)] for k in range(2)])
    return own, np.array([2 * float((seen[0][k] * seen[1][k]).mean()) for k in range(2)])


def _smooth(picture: Floats, sigma: float = SMOOTH) -> Floats:
    """A picture at a square of `BLOCK` pixels a value, blurred over some of them."""
    return np.asarray(ndimage.gaussian_filter(_shrunk(picture), sigma, mode="nearest"))


def _shrunk(picture: Floats) -> Floats:
    down, right = (-side % BLOCK for side in picture.shape)
    padded = np.pad(picture, ((0, down), (0, right)), mode="edge")
    return np.asarray(padded.reshape(padded.shape[0] // BLOCK, BLOCK, -1, BLOCK).mean(axis=(1, 3)), np.float32)


def _full(small: Floats, shape: tuple[int, ...]) -> Floats:
    """Values of squares at every pixel, linearly between their middles."""
    size = small.shape[1] * BLOCK, small.shape[0] * BLOCK
    whole = np.asarray(Image.fromarray(small.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    return whole[: shape[0], : shape[1]]
