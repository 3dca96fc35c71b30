"""The arms of a CAD study: from which examples each training step draws. Every arm has the same number of steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REAL, SYNTHETIC, PRETRAINED = "real", "synthetic", "synthetic, then real"


@dataclass(frozen=True)
class Arm:
    """synthetic: the share of synthetic examples in the first and in the second half of training."""

    name: str
    synthetic: tuple[float, float]

    @classmethod
    def mixed(cls, ratio: float) -> Arm:
        """Real examples and `ratio` times as many synthetic ones."""
        share = ratio / (1 + ratio)
        return cls(f"real + {ratio:g} synthetic", (share, share))


def arms_of(ratios: tuple[float, ...]) -> list[Arm]:
    """All arms, the one that the others are compared with first."""
    return [
        Arm(REAL, (0.0, 0.0)),
        *(Arm.mixed(ratio) for ratio in ratios),
        Arm(SYNTHETIC, (1.0, 1.0)),
        Arm(PRETRAINED, (1.0, 0.0)),
    ]


@dataclass(frozen=True)
class Sampler:
    """Draws examples for a step: real ones are numbers from 0, synthetic ones follow them; half of them with a lesion.

    real, synthetic: whether each example has a lesion. The same seed draws the same.
    """

    arm: Arm
    real: NDArray[np.bool_]
    synthetic: NDArray[np.bool_]
    steps: int
    seed: int

    def __call__(self, step: int, count: int) -> NDArray[np.intp]:
        """`count` numbers for a step."""
        rng = np.random.default_rng([self.seed, 53, step])
        share = self.arm.synthetic[2 * step >= self.steps]
        chosen = np.empty(count, dtype=np.intp)
        for place in range(count):
            made = bool(rng.random() < share)
            truth = self.synthetic if made else self.real
            wanted = np.flatnonzero(truth == bool(place % 2 == 0))
            pool = wanted if len(wanted) else np.arange(len(truth))
            chosen[place] = int(rng.choice(pool)) + (len(self.real) if made else 0)
        return chosen
