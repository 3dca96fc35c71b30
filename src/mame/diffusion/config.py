"""What a training run is told: every option, checked, and written to the run as it took effect."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from mame.errors import MameError


class Goal(StrEnum):
    """What is trained."""

    AUTOENCODER = "autoencoder"
    HEALTHY = "healthy"
    LESION = "lesion"


class Precision(StrEnum):
    """Arithmetic of the forward pass; AUTO takes bf16 where the processor multiplies it fast, else fp32."""

    AUTO = "auto"
    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"


class TrainConfig(BaseModel):
    """Options of one run. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    goal: Goal
    dataset: str
    out: Path
    base: str = "new"
    size: PositiveInt = 512
    steps: PositiveInt = 1000
    batch: PositiveInt = 8
    accumulate: PositiveInt = 1
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    final_learning_rate: float = Field(default=0.0, ge=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    precision: Precision = Precision.AUTO
    seed: int = 0
    caption_dropout: float = Field(default=0.1, ge=0, le=1)
    field_dropout: float = Field(default=0.15, ge=0, le=1)
    min_snr_gamma: float | None = Field(default=None, gt=0)
    region_weight: float = Field(default=2.0, ge=0)
    train_text_encoder: bool = True
    validation_examples: int = Field(default=64, ge=0)
    validate_every: PositiveInt = 200
    checkpoint_every: PositiveInt = 200
    keep_checkpoints: PositiveInt = 2
    sample_every: int = Field(default=0, ge=0)
    sample_prompts: tuple[str, ...] = (
        "a hologic mammogram in CC view with low density and big area",
        "a hologic mammogram in MLO view with very high density and small area",
        "a siemens mammogram in CC view with very low density and medium area",
        "a siemens mammogram in MLO view with high density and medium area",
    )
    cache: Path | None = None
    workers: PositiveInt = 2

    @classmethod
    def read(cls, path: Path | None, **options: Any) -> Self:
        """Options from a YAML file (where one is given), overridden by those that are not None.

        Raises MameError that names the file, the key and what is wrong with it.
        """
        said: dict[str, Any] = {}
        if path is not None:
            try:
                loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise MameError(f"{path}: cannot be read as YAML: {str(error).splitlines()[0]}") from error
            if not isinstance(loaded, dict):
                raise MameError(f"{path}: must hold options, one `name: value` a line")
            said = loaded
        said |= {name: value for name, value in options.items() if value is not None}
        try:
            return cls(**said)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise MameError(f"{path or 'options'}: {where}: {first['msg']}") from error

    def to_yaml(self) -> str:
        """The options as they took effect."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def differences(self, other: TrainConfig) -> list[str]:
        """Options that may not differ when a run is resumed, and do."""
        free = {
            "steps",
            "out",
            "keep_checkpoints",
            "checkpoint_every",
            "validate_every",
            "sample_every",
            "workers",
            "cache",
        }
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return [
            f"{key} ({theirs[key]} before, {mine[key]} now)"
            for key in mine
            if key not in free and mine[key] != theirs[key]
        ]
