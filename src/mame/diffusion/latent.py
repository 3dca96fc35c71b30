"""Between pictures and latents, the same for training, sampling and painting.

Pictures go in as grey in [0, 1]; the autoencoder sees three equal channels in [-1, 1], as Stable Diffusion's do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def encode(autoencoder: Any, pictures: Tensor) -> Tensor:
    """Latents (N, c, h, w), float32, scaled for the U-Net, of grey pictures (N, H, W) in [0, 1].

    One picture at a time: on CPUs a batch costs three times as much a picture.
    """
    return encode_signed(autoencoder, pictures * 2 - 1)


def encode_signed(autoencoder: Any, pictures: Tensor) -> Tensor:
    """As `encode`, of pictures in [-1, 1] (what a masked picture is written in: the masked part is 0)."""
    config = autoencoder.config
    latents = []
    for picture in pictures:
        said = autoencoder.encode(picture.to(autoencoder.dtype).expand(1, 3, -1, -1))
        latents.append(said.latents if hasattr(said, "latents") else said.latent_dist.mode())
    shift = getattr(config, "shift_factor", None) or 0.0
    scaled: Tensor = (torch.cat(latents).float() - shift) * config.scaling_factor
    return scaled


def decode(autoencoder: Any, latents: Tensor) -> Tensor:
    """Grey pictures (N, H, W), float32, nominally in [0, 1] but not clipped, of latents (N, c, h, w)."""
    config = autoencoder.config
    shift = getattr(config, "shift_factor", None) or 0.0
    raw = (latents.float() / config.scaling_factor + shift).to(autoencoder.dtype)
    pictures = [autoencoder.decode(latent[None]).sample.float().mean(dim=1) for latent in raw]
    return (torch.cat(pictures) + 1) / 2


def inpainting_condition(autoencoder: Any, pictures: Tensor, masks: Tensor) -> Tensor:
    """The channels (N, 1 + c, h, w) an inpainting U-Net sees beside the noisy latents: mask, then the masked picture.

    pictures: (N, H, W) grey in [0, 1]. masks: (N, H, W) bool, true where to paint.
    The same as diffusers' StableDiffusionInpaintPipeline: the masked part is middle grey before encoding.
    """
    latents = encode_signed(autoencoder, (pictures * 2 - 1) * ~masks)
    return torch.cat([latent_mask(masks, (latents.shape[-2], latents.shape[-1])), latents], dim=1)


def latent_mask(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (N, H, W) bool at the latents' size (h, w), as float32 (N, 1, h, w).

    Nearest, as the stock pipeline does; a mask too thin to be hit by it keeps every latent that it touches.
    """
    fine = masks[:, None].float()
    coarse = torch.nn.functional.interpolate(fine, size=size)
    touched = torch.nn.functional.adaptive_max_pool2d(fine, size)
    lost = coarse.amax(dim=(1, 2, 3), keepdim=True) == 0
    return torch.where(lost, touched, coarse)
