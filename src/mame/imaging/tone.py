"""The tone of a lesion window: every machine's greys brought to one scale before a model sees them, and back.

A film nearly white and a flat digital image show the same tissue at other greys. A model that always sees surroundings
of one brightness and contrast has less to learn, and what it paints stands out as much as its surroundings do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

MIDDLE = 0.35
RANGE = 0.3
"""Where the median and the 5th to 95th percentile of the surroundings go: dark enough for a lesion to be brighter."""

GAIN = (0.6, 3.0)
NEAR_SHARE = 0.08  # of the window: how far from the region the surroundings reach


@dataclass(frozen=True)
class Tone:
    """q = gain · p + shift, cut to [0, 1]; level: the surroundings' own median grey."""

    gain: float
    shift: float
    level: float

    def apply(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """A window's greys on the model's scale; air (exactly 0) stays 0."""
        toned = np.clip(window * np.float32(self.gain) + np.float32(self.shift), 0.0, 1.0)
        return np.where(window > 0, toned, np.float32(0.0)).astype(np.float32)

    def lay(self, window: NDArray[np.float32], change: NDArray[np.float32]) -> NDArray[np.float32]:
        """A change on the model's scale laid into a window's own greys, never beyond black or white.

        A small change is itself over the gain; a large one fades out towards white as 1 - exp(-change / room) does,
        room being what is left between the surroundings and white, as a film's shoulder would, and so towards black.
        """
        own = change / np.float32(self.gain)
        above, below = np.float32(max(1.0 - self.level, 0.02)), np.float32(max(self.level, 0.02))
        brighter = window + (1.0 - window) * (1.0 - np.exp(-np.maximum(own, 0.0) / above))
        darker = window * np.exp(np.minimum(own, 0.0) / below)
        return np.where(own > 0, brighter, darker).astype(np.float32)


def tone_of(window: NDArray[np.float32], region: NDArray[np.bool_]) -> Tone:
    """The tone of a window (h×w in [0, 1], air 0) by what surrounds the region (h×w) near by; no tissue: unchanged."""
    far = distance_transform_edt(~region) > NEAR_SHARE * window.shape[0]
    around = window[(window > 0) & ~region & ~far]
    if around.size < 50:
        return Tone(1.0, 0.0, MIDDLE)
    low, middle, high = (float(value) for value in np.quantile(around, [0.05, 0.5, 0.95]))
    gain = float(np.clip(RANGE / max(high - low, 1e-3), *GAIN))
    return Tone(gain, MIDDLE - gain * middle, middle)
