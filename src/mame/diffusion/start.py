"""What a training run starts from and what it leaves: parts of a model in, a model folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mame.dataset.examples import open_examples
from mame.diffusion.config import Goal, TrainConfig
from mame.diffusion.folders import Framing, ModelCard, model_folder, read_card
from mame.diffusion.mini import Parts, linear_encoder_weights, new_mini, set_linear_encoder
from mame.diffusion.model import load_parts, save_model
from mame.errors import MameError

NEW = "new"
ENCODER_PICTURES = 96


def starting_parts(config: TrainConfig) -> Parts:
    """The parts that `config.base` names, ready for `config.goal`.

    "new" is mini with random weights, its encoder fitted to pictures of the data set; anything else is opened as a
    model. A lesion model is made from a four-channel base by widening its first convolution with zeros: at step 0 it
    equals its base. Raises MameError for an unknown base, and for an inpainting base of a model for whole pictures.
    """
    lesion = config.goal is Goal.LESION
    if config.base == NEW:
        parts = new_mini(inpainting=lesion, seed=config.seed)
        set_linear_encoder(parts.autoencoder, *linear_encoder_weights(_some_pictures(config)))
        return parts
    parts = load_parts(model_folder(config.base))
    wide = parts.unet.config.in_channels > parts.unet.config.out_channels
    if lesion and not wide:
        widen(parts.unet)
    if config.goal is Goal.HEALTHY and wide:
        raise MameError(f"base {config.base!r} paints into pictures; whole ones need a base with four input channels")
    return parts


def widen(unet: Any) -> None:
    """Give a text-to-image U-Net the inputs of an inpainting one (mask, masked latents), with weights of zero."""
    old = unet.conv_in
    latents = old.in_channels
    new = torch.nn.Conv2d(2 * latents + 1, old.out_channels, old.kernel_size, padding=old.padding)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, :latents] = old.weight
        assert new.bias is not None
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=2 * latents + 1)


def save_result(parts: Parts, config: TrainConfig) -> Path:
    """Write the trained model to `config.out/model` and return that folder."""
    base = (
        ModelCard(frame=Framing.FIELD, field_mm=256.0) if config.base == NEW else read_card(model_folder(config.base))
    )
    told = {"dataset": config.dataset, "goal": str(config.goal), "base": config.base, "steps": config.steps}
    card = base.model_copy(update={"training": {**told, "seed": config.seed, "batch": config.batch}, "companion": None})
    folder = config.out / "model"
    save_model(parts, folder, card, force=True)
    return folder


def _some_pictures(config: TrainConfig) -> np.ndarray:
    kind = "windows" if config.goal is Goal.LESION else "views"
    examples = open_examples(config.dataset, kind, config.size)
    return np.stack([examples[i].pixels for i in range(min(ENCODER_PICTURES, len(examples)))])
