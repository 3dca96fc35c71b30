"""Sample grids while training: fixed prompts and seeds, so that grids of different steps can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mame.diffusion import latent
from mame.diffusion.config import Goal, TrainConfig
from mame.diffusion.data import held_out_of
from mame.diffusion.device import Compute, choose_compute
from mame.diffusion.distill import few_steps
from mame.diffusion.folders import ModelCard
from mame.diffusion.model import Model
from mame.diffusion.sample import Order, denoise, embed, noise
from mame.prompt import write

STEPS, GUIDANCE = 20, 3.0
WINDOWS = 4


@torch.no_grad()
def sample_grid(parts: Any, config: TrainConfig, path: Path) -> NDArray[np.uint8]:
    """Write one picture a prompt, side by side (8-bit PNG; a look at the training, not a result), and return it.

    A lesion model paints into held-out pictures: each as it is, what the model saw of it, and what it made.
    """
    compute = Compute(next(parts.unet.parameters()).device, torch.float32)
    few = few_steps(config) if config.goal is Goal.FAST else None
    model = Model("training", path, ModelCard(), parts, compute, few)
    parts.autoencoder.to(compute.device)
    fastest = choose_compute(str(compute.device)).dtype
    with torch.autocast(compute.device.type, dtype=fastest, enabled=fastest is not torch.float32):
        rows = _painted(model, config) if config.paints else [_made(model, config)]
    row = np.concatenate(rows, axis=0)
    grid = (np.clip(row, 0, 1) * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path)
    return grid


def _made(model: Model, config: TrainConfig) -> NDArray[np.float32]:
    pictures = []
    for number, prompt in enumerate(config.sample_prompts):
        order = _order(model, prompt, number)
        pictures.append(_sampled(model, config, order, number))
    return np.concatenate(pictures, axis=1)


def _painted(model: Model, config: TrainConfig) -> list[NDArray[np.float32]]:
    examples, numbers = held_out_of(config)
    rows = []
    for number in numbers[:WINDOWS]:
        example = examples[int(number)]
        assert example.region is not None
        order = _order(model, example.text or write(example.description), int(number))
        place = model.compute.device
        picture, region = (torch.tensor(array, device=place)[None] for array in (example.pixels, example.region))
        condition = latent.inpainting_condition(model.parts.autoencoder, picture, region)
        made = _sampled(model, config, order, int(number), condition)
        seen = np.where(example.region, np.float32(0.5), example.pixels)
        rows.append(np.concatenate([example.pixels, seen, made], axis=1))
    return rows


def _order(model: Model, prompt: str, number: int) -> Order:
    return Order(prompt, number, model.few.steps, 1.0) if model.few else Order(prompt, number, STEPS, GUIDANCE)


def _sampled(
    model: Model, config: TrainConfig, order: Order, number: int, condition: torch.Tensor | None = None
) -> NDArray[np.float32]:
    side = config.size // model.latent_scale
    start = noise(config.seed, number, (int(model.parts.unet.config.out_channels), side, side))[None]
    latents = denoise(model, start, embed(model, order), order, condition)
    with torch.autocast(latents.device.type, enabled=False):
        return latent.decode(model.parts.autoencoder, latents.float())[0].cpu().numpy()
