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
CEILING = 0.7
"""How far from the surroundings' median towards white a mass can reach."""

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

        A change is itself over the gain, so that what was there shows through it. Where its peak would go beyond the
        room between the surroundings' median and a ceiling below white, all of it is lowered to room · (1 -
        exp(-peak / room)): a mass in nearly white tissue is not the whitest thing on the film. Pixels nearer to white
        than the median have so much less room. So towards black.
        """
        own = change / np.float32(self.gain)
        up = _within(np.maximum(own, 0.0), CEILING * (1.0 - self.level))
        down = _within(np.maximum(-own, 0.0), CEILING * self.level)
        up *= np.minimum((1.0 - window) / np.float32(max(1.0 - self.level, 1e-3)), 1.0)
        down *= np.minimum(window / np.float32(max(self.level, 1e-3)), 1.0)
        return np.clip(window + up - down, 0.0, 1.0).astype(np.float32)


def _within(change: NDArray[np.float32], room: float) -> NDArray[np.float32]:
    """A change ≥ 0, lowered as a whole so that its peak, the 95th percentile of what counts, stays within the room."""
    most = float(change.max())
    if most <= 0:
        return change
    peak = float(np.percentile(change[change > 0.25 * most], 95))
    room = max(room, 1e-3)
    return change * np.float32(room * (1.0 - np.exp(-peak / room)) / peak)


def tone_of(window: NDArray[np.float32], region: NDArray[np.bool_]) -> Tone:
    """The tone of a window (h×w in [0, 1], air 0) by what surrounds the region (h×w) near by; no tissue: unchanged."""
    far = distance_transform_edt(~region) > NEAR_SHARE * window.shape[0]
    around = window[(window > 0) & ~region & ~far]
    if around.size < 50:
        return Tone(1.0, 0.0, MIDDLE)
    low, middle, high = (float(value) for value in np.quantile(around, [0.05, 0.5, 0.95]))
    gain = float(np.clip(RANGE / max(high - low, 1e-3), *GAIN))
    return Tone(gain, MIDDLE - gain * middle, middle)
