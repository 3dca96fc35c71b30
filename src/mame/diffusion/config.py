"""What a training run is told: every option, checked, and written to the run as it took effect."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from mame.dataset.regions import Regions
from mame.diffusion.folders import is_inpainting, model_folder
from mame.errors import MameError

NEW = "new"  # the base of a model that starts from random weights


class Goal(StrEnum):
    """What is trained."""

    AUTOENCODER = "autoencoder"
    HEALTHY = "healthy"
    LESION = "lesion"
    FAST = "fast"  # few steps for a healthy or lesion model that exists


class Method(StrEnum):
    """Which weights are trained, and beside what.

    FULL: all of the U-Net. DREAMBOOTH: the same, while pictures that the base made keep it what it was (Ruiz 2023).
    LORA: small matrices added to the attention layers (Hu 2021).
    """

    FULL = "full"
    DREAMBOOTH = "dreambooth"
    LORA = "lora"


class Precision(StrEnum):
    """Arithmetic of the forward pass; AUTO takes bf16 where the processor multiplies it fast, else fp32."""

    AUTO = "auto"
    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"


class Optimizer(StrEnum):
    """AdamW in 32 bits, or with its state in 8 (Dettmers 2022), which takes a quarter of the memory."""

    ADAMW = "adamw"
    ADAMW_8BIT = "adamw8bit"


class Captions(StrEnum):
    """VARIED: fields left out at random and in either order, drawn anew each time. FIXED: as the data set says it."""

    VARIED = "varied"
    FIXED = "fixed"


class LesionField(StrEnum):
    """What a lesion model sees: a WINDOW around the region, or the whole VIEW, as the paper's did."""

    WINDOW = "window"
    VIEW = "view"


class Prediction(StrEnum):
    """What the U-Net predicts. AUTO is what its base does."""

    AUTO = "auto"
    EPSILON = "epsilon"
    V = "v_prediction"


class Tracker(StrEnum):
    """Where curves and sample grids are shown, beside metrics.jsonl."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    TRACKIO = "trackio"
    MLFLOW = "mlflow"
    NONE = "none"


class Result(StrEnum):
    """Which weights become the model: those of the last step, or of the lowest validation loss."""

    LAST = "last"
    BEST = "best"


class TrainConfig(BaseModel):
    """Options of one run. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # what
    goal: Goal
    dataset: str
    out: Path
    base: str = NEW
    recipe: str | None = None  # the named recipe whose values these are, where nothing else was said
    method: Method = Method.FULL
    size: PositiveInt = 512
    train_text_encoder: bool = True
    lora_rank: PositiveInt = 16
    class_prompt: str = "an x-ray"
    class_images: int = Field(default=200, ge=0)  # made by the base, for dreambooth; 0 preserves nothing
    prior_weight: float = Field(default=1.0, ge=0)

    # how long, how fast
    steps: PositiveInt = 1000
    batch: PositiveInt = 8  # images a process and backward pass
    accumulate: PositiveInt = 1
    processes: PositiveInt = 1
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    final_learning_rate: float = Field(default=0.0, ge=0)
    optimizer: Optimizer = Optimizer.ADAMW
    beta2: float = Field(default=0.99, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)  # 0 keeps no average
    seed: int = 0

    # what is learnt from
    captions: Captions = Captions.VARIED
    caption_dropout: float = Field(default=0.1, ge=0, le=1)
    field_dropout: float = Field(default=0.15, ge=0, le=1)
    augment: int = Field(default=0, ge=0)  # variations of each picture, drawn and encoded beforehand
    balance: PositiveInt = 1  # up to so many times as often are pictures drawn whose words are rare for their vendor
    lesion_field: LesionField = LesionField.WINDOW
    regions: Regions = Regions.MIXED
    region_weight: float = Field(default=2.0, ge=0)
    lesion_weight: float | None = Field(default=None, ge=0, le=1)  # None: a healthy model sees no lesion

    # the loss
    prediction: Prediction = Prediction.AUTO
    min_snr_gamma: float | None = Field(default=None, gt=0)
    zero_terminal_snr: bool = False
    offset_noise: float = Field(default=0.0, ge=0)
    texture_weight: float = Field(default=0.0, ge=0)  # of an autoencoder: grain as strong as the picture's
    judge_weight: float = Field(default=0.0, ge=0)  # of an autoencoder: texture that a judge takes for real
    guidance: float = Field(default=4.0, ge=1)  # which a fast model has in it, and needs no second pass for

    # the machine
    precision: Precision = Precision.AUTO
    gradient_checkpointing: bool = False
    compile_unet: bool | None = None  # None: where it pays
    shard: bool = False  # cut weights, gradients and optimiser over the processes (FSDP), rather than copy them
    cache: Path | None = None
    workers: PositiveInt = 2

    # watching
    validation_examples: int = Field(default=64, ge=0)
    validate_every: PositiveInt = 200
    stop_above: float = Field(default=10.0, gt=1)  # times the lowest validation loss: diverged
    checkpoint_every: PositiveInt = 200
    keep_checkpoints: PositiveInt = 2
    result: Result = Result.LAST
    tracker: Tracker = Tracker.TENSORBOARD
    sample_every: int = Field(default=0, ge=0)
    sample_prompts: tuple[str, ...] = (
        "a hologic mammogram in CC view with low density and big area",
        "a hologic mammogram in MLO view with very high density and small area",
        "a siemens mammogram in CC view with very low density and medium area",
        "a siemens mammogram in MLO view with high density and medium area",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.goal is Goal.AUTOENCODER and self.method is not Method.FULL:
            raise ValueError(
                f"method {self.method} is for healthy and lesion models; an autoencoder is trained in full"
            )
        if self.goal is Goal.FAST and (self.method is not Method.LORA or self.base == NEW):
            raise ValueError("fast is a LoRA for a base that exists: name it with base, and leave method lora")
        if self.shard and self.goal is Goal.AUTOENCODER:
            raise ValueError("shard is for healthy and lesion models; an autoencoder is small")
        if self.base == NEW and self.method is not Method.FULL:
            raise ValueError(f"method {self.method} needs a base that knows something; name one with base")
        return self

    @classmethod
    def read(cls, path: Path | None, **options: Any) -> Self:
        """Options from a YAML file (where one is given), overridden by those that are not None.

        A `recipe` fills in what neither says. Raises MameError that names the file, the key and what is wrong with it.
        """
        said = read_options(path) if path is not None else {}
        said |= {name: value for name, value in options.items() if value is not None}
        if said.get("recipe") is not None:
            from mame.diffusion.recipes import recipe

            said = recipe(said["recipe"], said) | said
        try:
            return cls(**said)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            told = first["msg"].removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                near = get_close_matches(where, cls.model_fields, n=1)
                told = f"is no option{f'; did you mean {near[0]}?' if near else ''}"
            raise MameError(f"{path or 'options'}: {f'{where}: ' if where else ''}{told}") from error

    @cached_property
    def paints(self) -> bool:
        """Whether the model that is trained paints into pictures. Raises MameError where its base is unknown."""
        if self.goal is Goal.FAST:
            return is_inpainting(model_folder(self.base))
        return self.goal is Goal.LESION

    @property
    def step_images(self) -> int:
        """Images a step, over all processes and backward passes."""
        return self.batch * self.accumulate * self.processes

    def to_yaml(self) -> str:
        """The options as they took effect."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def differences(self, other: TrainConfig) -> list[str]:
        """Options that may not differ when a run is resumed, and do."""
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return [
            f"{key} ({theirs[key]} before, {mine[key]} now)"
            for key in mine
            if key not in FREE and mine[key] != theirs[key]
        ]


FREE = {  # what may change when a run is resumed: nothing that the weights hang on, but for how long it goes on
    "steps", "out", "recipe", "cache", "workers", "compile_unet", "shard", "gradient_checkpointing", "validate_every",
    "stop_above", "checkpoint_every", "keep_checkpoints", "result", "tracker", "sample_every", "sample_prompts",
}  # fmt: skip


def plan(path: Path | None, resume: bool, **options: Any) -> TrainConfig:
    """The options of a run as the command line takes them: its own, then those of a file, then a recipe's.

    A run that is resumed goes on with the options it has. The recipe is `default` where neither a file nor a recipe is
    named, but for models from scratch. Raises MameError as `TrainConfig.read` does.
    """
    before = Path(options["out"]) / "config.yaml"
    if resume and path is None and before.is_file():
        return TrainConfig.read(before, **options)
    scratch = options.get("base") == NEW or options.get("goal") == Goal.AUTOENCODER
    if path is None and options.get("recipe") is None and not scratch:
        options["recipe"] = "default"
    return TrainConfig.read(path, **options)


def read_options(path: Path) -> dict[str, Any]:
    """The options in a YAML file, unchecked. Raises MameError where it can't be read or holds none."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MameError(f"{path}: cannot be read as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(loaded, dict):
        raise MameError(f"{path}: must hold options, one `name: value` a line")
    return loaded
