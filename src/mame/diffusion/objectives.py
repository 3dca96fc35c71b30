"""What a step of training minimises: one class a goal, each a module whose call gives the loss of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mame import prompt
from mame.diffusion.config import TrainConfig
from mame.mammogram import Description

Batch = dict[str, Any]


def signal_and_noise(scheduler: Any) -> tuple[Tensor, Tensor]:
    """(√ᾱ, √(1-ᾱ)) for every training timestep, each T, float32."""
    kept = scheduler.alphas_cumprod.double()
    return kept.sqrt().float(), (1.0 - kept).sqrt().float()


def snr_weights(scheduler: Any, timesteps: Tensor, gamma: float | None) -> Tensor:
    """Loss weights of min-SNR-γ (Hang 2023, eq. 8), B: min(SNR, γ)/SNR for epsilon, min(SNR, γ)/(SNR + 1) for v.

    All ones where gamma is None.
    """
    if gamma is None:
        return torch.ones_like(timesteps, dtype=torch.float32)
    kept = scheduler.alphas_cumprod.to(timesteps.device).double()[timesteps]
    snr = kept / (1.0 - kept)
    below = snr.clamp(max=gamma)
    kind = scheduler.config.prediction_type
    return (below / (snr + 1.0) if kind == "v_prediction" else below / snr).float()


def caption(description: Description, rng: np.random.Generator, config: TrainConfig) -> str:
    """A prompt for a picture: fields left out at random, either priority, and now and then nothing at all."""
    if rng.random() < config.caption_dropout:
        return ""
    # the lesion word stays: a lesion model that isn't told what it paints learns to paint anything
    kept = {
        name: None if rng.random() < config.field_dropout else getattr(description, name)
        for name in ("vendor", "view", "density", "area")
    }
    priority = prompt.Priority.DENSITY if rng.random() < 0.5 else prompt.Priority.AREA
    return prompt.write(Description(**kept, lesion=description.lesion), priority)


class Denoise(nn.Module):
    """Predict the noise (or v) in noisy latents from a caption; lesion windows also show the mask and the rest."""

    def __init__(self, unet: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, config: TrainConfig) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        self.config = config
        text_encoder.requires_grad_(config.train_text_encoder)
        signal, noise = signal_and_noise(scheduler)
        self.signal: Tensor
        self.noise: Tensor
        self.register_buffer("signal", signal, persistent=False)
        self.register_buffer("noise", noise, persistent=False)

    def prepare(self, batch: Batch, descriptions: list[Description], rng: np.random.Generator) -> Batch:
        """Add what is random in a step: timesteps B, noise B×C×h×w, captions as token ids B×L."""
        latents = batch["latents"]
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        captions = [caption(description, rng, self.config) for description in descriptions]
        tokens = self.tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        # stratified: each batch covers the whole range of timesteps, which halves the noise of the loss
        strata = (torch.arange(len(latents)) + torch.rand(len(latents), generator=generator)) / len(latents)
        return {
            **batch,
            "timesteps": (strata * len(self.signal)).long().clamp(max=len(self.signal) - 1),
            "noise": torch.randn(latents.shape, generator=generator),
            "tokens": tokens.input_ids,
        }

    def forward(self, batch: Batch) -> Tensor:
        """Mean weighted squared error of the prediction."""
        latents, noise, timesteps = batch["latents"], batch["noise"], batch["timesteps"]
        shape = (-1, 1, 1, 1)
        signal, spread = self.signal[timesteps].view(shape), self.noise[timesteps].view(shape)
        seen = signal * latents + spread * noise
        if "masked" in batch:
            seen = torch.cat([seen, batch["mask"], batch["masked"]], dim=1)
        text = self.text_encoder(batch["tokens"])[0]
        guess = self.unet(seen.contiguous(memory_format=torch.channels_last), timesteps, text).sample.float()
        kind = self.scheduler.config.prediction_type
        target = signal * noise - spread * latents if kind == "v_prediction" else noise
        error = (guess - target).pow(2)
        if "mask" in batch:
            weight = 1.0 + self.config.region_weight * batch["mask"]
            error = error * weight / weight.mean(dim=(1, 2, 3), keepdim=True)
        weights = snr_weights(self.scheduler, timesteps, self.config.min_snr_gamma)
        return (error.mean(dim=(1, 2, 3)) * weights).mean()


class Decode(nn.Module):
    """Give back the picture that latents came from; the encoder stays as it is, so that latents stay valid."""

    def __init__(self, autoencoder: Any, config: TrainConfig) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.config = config
        autoencoder.encoder.requires_grad_(False)

    def prepare(self, batch: Batch, descriptions: list[Description], rng: np.random.Generator) -> Batch:
        """Nothing is random here but the order of the crops."""
        return batch

    def forward(self, batch: Batch) -> Tensor:
        """Absolute error plus the error of gradients at three scales, which keeps texture (fibres, grain) alive."""
        wanted = batch["pixels"] * 2 - 1
        given = self.autoencoder.decode(batch["latents"].contiguous(memory_format=torch.channels_last)).sample.float()
        loss = (given - wanted).abs().mean()
        a, b = given.mean(dim=1, keepdim=True), wanted
        for _ in range(3):
            loss = (
                loss + (a.diff(dim=-1) - b.diff(dim=-1)).abs().mean() + (a.diff(dim=-2) - b.diff(dim=-2)).abs().mean()
            )
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        return loss
