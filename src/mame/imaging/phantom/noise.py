"""Random fields with a wanted spectrum, periodic, that can be looked at on any grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mame.imaging.phantom.grid import Field, Grid

PERIOD_MM = 256.0
TILE = 512
FINE_PERIOD_MM = 64.0
FINE_TILE = 1024

Amplitude = Callable[[Field], Field]


@lru_cache(maxsize=4)
def _frequencies(tile: int, period_mm: float) -> tuple[Field, Field]:
    """(fy, fx) in 1/mm, broadcastable to tile × tile."""
    f = scipy.fft.fftfreq(tile, d=period_mm / tile).astype(np.float32)
    return f[:, None], f[None, :]


def pair(rng: np.random.Generator, amplitude: Field, tile: int = TILE) -> tuple[Field, Field]:
    """Two independent fields of unit variance and zero mean, tile × tile, from one complex transform.

    amplitude: tile × tile, the square root of the power spectrum.
    """
    white = rng.standard_normal((2, tile, tile), dtype=np.float32)
    spectrum = (white[0] + 1j * white[1]) * amplitude
    both = scipy.fft.ifft2(spectrum, overwrite_x=True)
    real, imaginary = both.real, both.imag
    return real / (real.std() + 1e-12), imaginary / (imaginary.std() + 1e-12)


@lru_cache(maxsize=16)
def power_law(exponent: float, longest_mm: float = 120.0, stretch: float = 1.0) -> Field:
    """Amplitude f^-exponent, flattened for waves above `longest_mm`; stretch > 1 draws the texture out along x."""
    fy, fx = _frequencies(TILE, PERIOD_MM)
    f = np.sqrt((fx * np.float32(stretch)) ** 2 + fy**2 + np.float32(1.0 / longest_mm) ** 2)
    amplitude = f ** np.float32(-exponent)
    amplitude[0, 0] = 0.0
    return amplitude


@lru_cache(maxsize=32)
def band(wave_mm: float, stretch: float = 1.0) -> Field:
    """Amplitude of a smooth field whose waves are `wave_mm` and longer (f^-0.7 below, a Gaussian fall above)."""
    fy, fx = _frequencies(TILE, PERIOD_MM)
    f = np.sqrt((fx * np.float32(stretch)) ** 2 + fy**2) * np.float32(wave_mm)
    amplitude = (np.maximum(f, 0.12) ** np.float32(-0.7) * np.exp(-(np.maximum(f - 0.5, 0.0) ** 2) / 0.18)).astype(
        np.float32
    )
    amplitude[0, 0] = 0.0
    return amplitude


@lru_cache(maxsize=4)
def fine(exponent: float) -> tuple[Field, float]:
    """Amplitude beyond what TILE resolves, on the fine tile, and the standard deviation it has there.

    The second figure continues :func:`power_law` of that exponent, which has unit variance, beyond its Nyquist limit.
    """
    limit = TILE / PERIOD_MM / 2
    coarse = power_law(exponent)
    scale = float(np.sqrt(np.mean(coarse**2)) * TILE)
    fy, fx = _frequencies(FINE_TILE, FINE_PERIOD_MM)
    f = np.sqrt(fx**2 + fy**2)
    amplitude = np.where(f > limit, np.maximum(f, limit) ** np.float32(-exponent), 0.0).astype(np.float32)
    waves = PERIOD_MM / FINE_PERIOD_MM  # the coarse tile has this many more waves along an axis in the same band
    return amplitude, float(np.sqrt(np.sum(amplitude**2)) * waves / scale)


def on_grid(field: Field, grid: Grid, period_mm: float = PERIOD_MM) -> Field:
    """A periodic field (its pixel (0, 0) at x = 0, y = -period/2) on a grid, by separable cubic interpolation."""
    tile = field.shape[0]
    step = period_mm / tile
    columns = (grid.x / step) - 0.5
    rows = ((grid.y + period_mm / 2) / step) - 0.5
    return np.asarray(_weights(rows, tile) @ field @ _weights(columns, tile).T, dtype=np.float32)


def _weights(position: Field, tile: int) -> NDArray[np.float32]:
    """n × tile matrix of cubic (Catmull-Rom) weights, wrapped around."""
    base = np.floor(position).astype(np.int64)
    t = (position - base).astype(np.float32)
    taps = (
        (-0.5 * t + t**2 - 0.5 * t**3),
        (1.0 - 2.5 * t**2 + 1.5 * t**3),
        (0.5 * t + 2.0 * t**2 - 1.5 * t**3),
        (-0.5 * t**2 + 0.5 * t**3),
    )
    weights = np.zeros((len(position), tile), dtype=np.float32)
    index = np.arange(len(position))
    for offset, tap in zip((-1, 0, 1, 2), taps, strict=True):
        np.add.at(weights, (index, (base + offset) % tile), tap)
    return weights
