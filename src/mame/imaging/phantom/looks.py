"""The two machines the simulator knows: their matrices and how they present a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from mame.errors import MameError
from mame.imaging.phantom import physics
from mame.imaging.phantom.grid import Field, Grid


@dataclass(frozen=True)
class Look:
    """One vendor's machine and presentation.

    matrices: (rows, columns), the small and the large; flatten: how much of the rim's missing thickness is made up;
    sharpen: (strength, radius in mm) of the unsharp masks; gain, middle: the sigmoid's slope and the contrast that
    becomes mid-grey; adapt: how far the tone follows the picture's own range; floor: grey of fat at the least.
    """

    vendor: str
    model: str
    spacing_mm: float
    matrices: tuple[tuple[int, int], tuple[int, int]]
    photons: float
    scatter: float
    flatten: float
    sharpen: tuple[tuple[float, float], ...]
    gain: float
    middle: float
    adapt: float
    floor: float

    @property
    def detector(self) -> physics.Detector:
        """Its detector: pixel, photons and scatter."""
        return physics.Detector(self.spacing_mm, self.photons, self.scatter)


HOLOGIC = Look(
    "hologic", "phantom-H", 0.07, ((3328, 2560), (4096, 3328)), 4500.0, 0.12,
    flatten=0.93, sharpen=((0.5, 0.9), (0.4, 5.0)), gain=3.3, middle=0.5, adapt=0.6, floor=0.05,
)  # fmt: skip
SIEMENS = Look(
    "siemens", "phantom-S", 0.085, ((3518, 2800), (3518, 2800)), 5000.0, 0.16,
    flatten=0.86, sharpen=((0.35, 0.8),), gain=2.6, middle=0.42, adapt=0.5, floor=0.17,
)  # fmt: skip

LOOKS = {look.vendor: look for look in (HOLOGIC, SIEMENS)}


def look_of(vendor: str) -> Look:
    """The look of a vendor; raises MameError for one the simulator does not know."""
    if vendor not in LOOKS:
        raise MameError(f"the phantom knows no vendor {vendor!r}, only {', '.join(LOOKS)}")
    return LOOKS[vendor]


def present(
    signal: Field, breast: NDArray[np.bool_], total: Field, inside: Field, compressed_mm: float, grid: Grid, look: Look
) -> Field:
    """Log signal to a picture for reading, H×W in [0, 1], air exactly 0.

    The rim is flattened by adding (T - h) · μ of fat, contrast is measured in units of a column of pure gland,
    sharpened by unsharp masks and put through a sigmoid.
    """
    missing = (compressed_mm - _blur(total, 3.0, grid)) * (0.1 * physics.ADIPOSE)
    flat = signal + np.float32(look.flatten) * np.maximum(missing, 0.0)
    fat = 0.1 * compressed_mm * physics.ADIPOSE - np.log(1.0 + look.scatter)
    contrast = (flat - np.float32(fat)) / np.float32(0.1 * compressed_mm * (physics.GLAND - physics.ADIPOSE))
    contrast = np.where(total > 0, contrast, np.float32(-0.6))
    deep = contrast[breast & (inside > 6.0)][::7]
    low, high = np.quantile(deep, [0.05, 0.99]) if deep.size > 50 else (0.0, 1.0)
    low, high = (1 - look.adapt) * 0.0 + look.adapt * low, (1 - look.adapt) * 1.0 + look.adapt * max(high, low + 0.25)
    tone = (contrast - np.float32(low)) / np.float32(high - low)
    detail = sum(strength * (tone - _blur(tone, radius, grid)) for strength, radius in look.sharpen)
    rim = np.clip(inside / 3.0, 0.0, 1.0)
    curve = 1.0 / (1.0 + np.exp(-look.gain * (tone + detail * rim - look.middle)))
    ends = 1.0 / (1.0 + np.exp(-look.gain * (np.array([-0.12, 1.35]) - look.middle)))
    grey = look.floor + (1.0 - look.floor) * (curve - ends[0]) / (ends[1] - ends[0])
    edge = np.clip(total / 9.0, 0.0, 1.0)
    return np.where(breast, np.clip(grey * edge, 1.0 / 4095, 1.0), 0.0).astype(np.float32)


def _blur(field: Field, radius_mm: float, grid: Grid) -> Field:
    """Gaussian blur; a wide one is done on a thinned grid, which the eye can't tell and costs a tenth."""
    sigma = radius_mm / grid.spacing_mm
    if sigma < 6.0:
        return np.asarray(gaussian_filter(field, sigma, mode="nearest", truncate=3.0))
    step = int(sigma // 3)
    rows, columns = field.shape
    thin = np.pad(field, ((0, -rows % step), (0, -columns % step)), mode="edge")
    thin = thin.reshape(thin.shape[0] // step, step, thin.shape[1] // step, step).mean(axis=(1, 3))
    soft = gaussian_filter(thin, sigma / step, mode="nearest", truncate=3.0)
    return np.asarray(zoom(soft, step, order=1, grid_mode=True, mode="nearest")[:rows, :columns])
