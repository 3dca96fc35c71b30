"""Sample grids while training: fixed prompts and seeds, so that grids of different steps can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mame.diffusion.config import TrainConfig


@torch.no_grad()
def sample_grid(parts: Any, config: TrainConfig, path: Path, steps: int = 20, guidance: float = 3.0) -> None:
    """Write one picture a prompt, side by side (8-bit PNG; a look at the training, not a result)."""
    from diffusers import StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline(
        vae=parts.autoencoder, text_encoder=parts.text_encoder, tokenizer=parts.tokenizer, unet=parts.unet,
        scheduler=parts.scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(i) for i in range(len(config.sample_prompts))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = pipeline(
            list(config.sample_prompts), num_inference_steps=steps, guidance_scale=guidance, generator=generators,
            height=config.size, width=config.size, output_type="np",
        ).images  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    row = np.concatenate([picture.mean(axis=2) for picture in np.clip(made, 0, 1)], axis=1)
    Image.fromarray((row * 255).round().astype(np.uint8)).save(path)
