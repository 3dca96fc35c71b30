"""From tissue to signal: attenuation, scatter, photon noise, the detector's blur."""

from __future__ import annotations

import numpy as np
import scipy.fft

from mame.imaging.phantom.grid import Field, Grid

# Linear attenuation, 1/cm, W/Rh 28 kVp, exit-weighted behind 4.5 cm (domain facts; calcium oxalate for calcifications).
ADIPOSE, GLAND, SKIN, MUSCLE, LIGAMENT, BLOOD, CALCIUM = 0.477, 0.706, 0.773, 0.793, 0.804, 0.775, 7.34


def expose(line: Field, inside: Field, grid: Grid, rng: np.random.Generator, look: Detector) -> Field:
    """Log signal L = -ln(I / I0), H×W, from the line integral Σμt (dimensionless).

    Scatter adds a share of the primary that is smooth; photons are counted per detector pixel, so a coarser grid
    sees less noise; the detector's MTF is sinc(p f) · exp(-(f / 11)²), f in 1/mm.
    """
    primary = np.exp(-line)
    signal = primary * np.float32(1.0 + look.scatter)
    native = grid.spacing_mm / look.spacing_mm
    photons = look.photons / float(np.median(primary[inside > 10.0]) if (inside > 10.0).any() else primary.mean())
    counts = signal * np.float32(photons * native**2)
    counts += np.sqrt(counts) * rng.standard_normal(grid.shape, dtype=np.float32)
    blurred = _mtf(counts, grid.spacing_mm, look) if native < 2.0 else counts
    return -np.log(np.maximum(blurred, 1.0) / np.float32(photons * native**2))


class Detector:
    """What of a machine shapes the signal: pixel pitch in mm, photons a pixel behind the breast, scatter share."""

    def __init__(self, spacing_mm: float, photons: float, scatter: float) -> None:
        self.spacing_mm = spacing_mm
        self.photons = photons
        self.scatter = scatter


def _mtf(image: Field, spacing_mm: float, look: Detector) -> Field:
    shape = tuple(scipy.fft.next_fast_len(n + 16, real=True) for n in image.shape)
    padded = np.pad(image, [(0, s - n) for s, n in zip(shape, image.shape, strict=True)], mode="edge")
    fy = scipy.fft.fftfreq(shape[0], d=spacing_mm).astype(np.float32)[:, None]
    fx = scipy.fft.rfftfreq(shape[1], d=spacing_mm).astype(np.float32)[None, :]
    f2 = fx**2 + fy**2
    transfer = np.sinc(look.spacing_mm * np.sqrt(f2)) * np.exp(-f2 / np.float32(11.0**2))
    spectrum = scipy.fft.rfft2(padded) * transfer.astype(np.float32)
    return np.asarray(scipy.fft.irfft2(spectrum, s=shape)[: image.shape[0], : image.shape[1]], dtype=np.float32)
