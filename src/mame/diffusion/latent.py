"""Between pictures and latents, the same for training, sampling and painting.

Pictures go in as grey in [0, 1]; the autoencoder sees three equal channels in [-1, 1], as Stable Diffusion's do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

LARGE = 128  # latents a side above which a picture is decoded in tiles: 1,024 pixels


def encode(autoencoder: Any, pictures: Tensor) -> Tensor:
    """Latents (N, c, h, w), float32, scaled for the U-Net, of grey pictures (N, H, W) in [0, 1].

    One picture at a time: on CPUs a batch costs three times as much a picture.
    """
    return encode_signed(autoencoder, pictures * 2 - 1)


def encode_signed(autoencoder: Any, pictures: Tensor) -> Tensor:
    """As `encode`, of pictures in [-1, 1] (what a masked picture is written in: the masked part is 0)."""
    return moments(autoencoder, pictures)[0]


def moments(autoencoder: Any, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
    """Mean and standard deviation (each N, c, h, w; float32, scaled) of the latents of pictures (N, H, W) in [-1, 1].

    The deviation is None where an autoencoder gives one latent and no distribution, as AutoencoderTiny does.
    """
    config = autoencoder.config
    means, deviations = [], []
    for picture in pictures:
        said = autoencoder.encode(picture.to(autoencoder.dtype).expand(1, 3, -1, -1))
        if hasattr(said, "latents"):
            means.append(said.latents)
        else:
            means.append(said.latent_dist.mode())
            deviations.append(said.latent_dist.std)
    shift = getattr(config, "shift_factor", None) or 0.0
    mean: Tensor = (torch.cat(means).float() - shift) * config.scaling_factor
    return mean, torch.cat(deviations).float() * config.scaling_factor if deviations else None


def patchwise(autoencoder: Any, side: int = 8) -> Callable[[Tensor], Tensor] | None:
    """The same as `encode_signed` in one convolution, where an encoder is linear in each patch of side×side pixels.

    mini's is (see mini.py), and as the network that it is stored in it takes fifty times as long. Tried on noise: None
    where it isn't so.
    """
    if hasattr(autoencoder, "quant_conv"):  # AutoencoderKL, whose pixels all attend to each other
        return None
    place = next(autoencoder.parameters()).device
    impulses = torch.eye(side * side, device=place).view(-1, side, side)
    noise = torch.rand((1, 4 * side, 4 * side), generator=torch.Generator().manual_seed(0)).to(place) * 2 - 1
    with torch.no_grad():
        wanted = encode_signed(autoencoder, noise)
        bias = encode_signed(autoencoder, torch.zeros(1, side, side, device=place))[0, :, 0, 0]
        answers = encode_signed(autoencoder, impulses)
        if answers.shape[-2:] != (1, 1):
            return None
        weight = (answers[:, :, 0, 0] - bias).T.reshape(-1, 1, side, side)

        def encoded(pictures: Tensor) -> Tensor:
            return torch.nn.functional.conv2d(pictures[:, None], weight, bias, stride=side)

        return encoded if torch.allclose(encoded(noise), wanted, atol=1e-3, rtol=1e-3) else None


def decode(autoencoder: Any, latents: Tensor) -> Tensor:
    """Grey pictures (N, H, W), float32, nominally in [0, 1] but not clipped, of latents (N, c, h, w)."""
    config = autoencoder.config
    shift = getattr(config, "shift_factor", None) or 0.0
    raw = (latents.float() / config.scaling_factor + shift).to(autoencoder.dtype)
    with _tiled(autoencoder, max(raw.shape[-2:]) > LARGE):
        pictures = [autoencoder.decode(latent[None]).sample.float().mean(dim=1) for latent in raw]
    return (torch.cat(pictures) + 1) / 2


@contextmanager
def _tiled(autoencoder: Any, large: bool) -> Iterator[None]:
    """Tiles that overlap, faded into each other, for a picture whose decoding would take many gigabytes at once."""
    if large:
        autoencoder.enable_tiling()
    try:
        yield
    finally:
        if large:
            autoencoder.disable_tiling()


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
