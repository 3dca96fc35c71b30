"""How the power of a mammogram falls with spatial frequency, and the greys inside the breast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDES = (128, 64, 32)
"""Sides in pixels of the pieces of breast that are looked at, the largest that fits."""

BAND = (4, 0.5)
"""From so many cycles a piece to so much of the Nyquist frequency: below is anatomy, above is noise and resampling."""


def spectrum_slope(pixels: NDArray[np.float32], breast: NDArray[np.bool_]) -> float:
    """Exponent β of the power law P(f) ~ f^-β of tissue (Burgess 2001: about 3 in mammograms), NaN without tissue.

    pixels: H×W in [0, 1]; breast: bool H×W. Pieces that lie wholly in the breast, half overlapping, without their mean
    and gradient, under a Hann window; their power is averaged by rings, and a line fitted to the logarithms.
    """
    for side in SIDES:
        pieces = _pieces(pixels, breast, side)
        if len(pieces):
            return _slope(pieces)
    return float("nan")


def _pieces(pixels: NDArray[np.float32], breast: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    found = []
    for y in range(0, pixels.shape[0] - side + 1, side // 2):
        for x in range(0, pixels.shape[1] - side + 1, side // 2):
            if breast[y : y + side, x : x + side].all():
                found.append(pixels[y : y + side, x : x + side])
    return np.array(found, dtype=np.float64).reshape(-1, side, side)


def _slope(pieces: NDArray[np.float64]) -> float:
    side = pieces.shape[1]
    t = (np.arange(side) - (side - 1) / 2) / side
    flat = pieces - pieces.mean(axis=(1, 2), keepdims=True)
    weight = (t**2).sum() * side
    flat = flat - (flat * t[None, :, None]).sum(axis=(1, 2), keepdims=True) / weight * t[None, :, None]
    flat = flat - (flat * t[None, None, :]).sum(axis=(1, 2), keepdims=True) / weight * t[None, None, :]
    hann = np.hanning(side)
    power = (np.abs(np.fft.fft2(flat * hann[:, None] * hann[None, :])) ** 2).mean(axis=0)
    along = np.fft.fftfreq(side) * side
    rings = np.rint(np.hypot(along[:, None], along[None, :])).astype(int)
    mean = np.bincount(rings.ravel(), power.ravel()) / np.maximum(np.bincount(rings.ravel()), 1)
    low, high = BAND[0], int(BAND[1] * side / 2)
    f = np.arange(low, high + 1)
    if not (mean[f] > 0).all():
        return float("nan")
    return float(-np.polyfit(np.log(f), np.log(mean[f]), 1)[0])


GREYS = ("mean", "deviation", "p5", "p50", "p95", "entropy")


def grey_levels(pixels: NDArray[np.float32], breast: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of the greys inside the breast, in [0, 1]: mean, deviation, three percentiles; entropy in bits of 256 bins."""
    inside = pixels[breast].astype(np.float64)
    if not inside.size:
        return np.full(len(GREYS), np.nan)
    shares = np.bincount(np.clip(inside * 256, 0, 255).astype(int), minlength=256) / inside.size
    shares = shares[shares > 0]
    percentiles = np.percentile(inside, (5, 50, 95))
    return np.array([inside.mean(), inside.std(), *percentiles, -(shares * np.log2(shares)).sum()])
