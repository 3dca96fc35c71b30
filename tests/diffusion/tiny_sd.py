"""A Stable Diffusion small enough for tests, in the shape of the real ones: AutoencoderKL, CLIP, PNDM or DDIM."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from mame.diffusion import mini

SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def write_tiny_sd(folder: Path, inpainting: bool = False, prediction: str = "epsilon", seed: int = 0) -> Path:
    """Write one with random weights, as its stock pipeline saves it: SD 1.x (PNDM, epsilon) or 2.x (DDIM, v)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = mini.build_tokenizer()
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=tokenizer.model_max_length,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        autoencoder = AutoencoderKL(
            block_out_channels=(16, 16, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=8,
            scaling_factor=0.18215,
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=9 if inpainting else 4,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
        )
    scheduler = (
        PNDMScheduler(**SCHEDULE, skip_prk_steps=True, steps_offset=1)
        if prediction == "epsilon"
        else DDIMScheduler(**SCHEDULE, prediction_type=prediction, set_alpha_to_one=False, steps_offset=1)
    )
    kind = StableDiffusionInpaintPipeline if inpainting else StableDiffusionPipeline
    kind(
        vae=autoencoder, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder
