"""What a CAD study is made of: its plan, its trainings, what they learn from, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mame.assess.cad.arms import Arm, arms_of
from mame.assess.cad.scenes import Patches, Scene

PLAN, RESULT, RUNS, MODELS, PANELS = "plan.json", "cad.json", "runs", "models", "panels"
"""Files and folders of a study."""


@dataclass(frozen=True)
class Plan:
    """How large a study is. steps: of each training; shares: of real patients, for the learning curve.

    phantoms, start_steps: of the detector's pre-training; size: of the detector's pictures; least_map: of the real
    arm, below which a comparison of detectors says nothing; largest_mm: of a lesion's box, its longer side: pictures
    with a longer one are left out, as a mark of half a breast says which breast is ill, and hardly where.
    """

    seeds: int = 3
    ratios: tuple[float, ...] = (0.5, 1.0)
    steps: int = 120
    shares: tuple[float, ...] = (0.25, 0.5)
    detector_seeds: int = 2
    detector_steps: int = 80
    phantoms: int = 150
    start_steps: int = 600
    size: int = 320
    least_map: float = 0.2
    largest_mm: float = 60.0
    seed: int = 0

    @property
    def explained(self) -> tuple[Arm, Arm]:
        """The arms whose classifiers are kept, to be asked where they look, and that learn from fewer patients, too."""
        return arms_of(self.ratios)[0], Arm.mixed(max(self.ratios))


QUICK = Plan(
    seeds=1, ratios=(1.0,), steps=30, shares=(), detector_seeds=1, detector_steps=10, phantoms=24, start_steps=30,
    size=256,
)  # fmt: skip


@dataclass
class Result:
    """What `cad.json` holds."""

    plan: dict[str, Any]
    counts: dict[str, Any]
    classifier: list[dict[str, Any]] = field(default_factory=list)
    detector: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    explain: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """Pictures and patches of the three parts of a study."""

    real: list[Scene]
    made: list[Scene]
    test: list[Scene]
    real_patches: Patches
    made_patches: Patches
    test_patches: Patches


@dataclass(frozen=True)
class Job:
    """One training: of a `classifier` or a `detector`, an arm, a seed, and the share of the real patients."""

    task: str
    arm: Arm
    seed: int
    share: float = 1.0

    @property
    def name(self) -> str:
        """A file's name."""
        arm = self.arm.name.replace(" ", "-").replace(",", "")
        return f"{self.task}-{arm}-{self.share:g}-{self.seed}"
