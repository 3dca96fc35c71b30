"""What a step of training minimises: one class a goal, each a module whose call gives the loss of a batch.

What is random in a step is drawn for all of its pictures at once by `draw`, before they are cut into batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mame import prompt
from mame.diffusion.cache import Words
from mame.diffusion.config import Captions, TrainConfig
from mame.diffusion.judge import Judge, judged
from mame.diffusion.schedule import prediction_of, signal_and_noise, snr_weights
from mame.diffusion.texture import texture_loss
from mame.mammogram import Description

Batch = dict[str, Any]


def caption(words: Words, rng: np.random.Generator, config: TrainConfig) -> str:
    """A prompt for a picture: fields left out at random, either priority, and now and then nothing at all."""
    if rng.random() < config.caption_dropout:
        return ""
    if words.text is not None:
        return words.text
    description = words.description
    if config.captions is Captions.FIXED:
        return prompt.write(description)
    # the lesion word stays: a lesion model that isn't told what it paints learns to paint anything
    kept = {
        name: None if rng.random() < config.field_dropout else getattr(description, name)
        for name in ("vendor", "view", "density", "area")
    }
    priority = prompt.Priority.DENSITY if rng.random() < 0.5 else prompt.Priority.AREA
    return prompt.write(Description(**kept, lesion=description.lesion), priority)


class Denoise(nn.Module):
    """Predict the noise (or v) in noisy latents from a caption; lesion examples also show the mask and the rest."""

    def __init__(self, unet: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, config: TrainConfig) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        self.config = config
        self.encodes_text = any(parameter.requires_grad for parameter in text_encoder.parameters())
        self._embeddings: dict[str, Tensor] = {}  # of captions, while the text encoder is frozen: they are few
        signal, noise = signal_and_noise(scheduler)
        self.signal: Tensor
        self.noise: Tensor
        self.register_buffer("signal", signal, persistent=False)
        self.register_buffer("noise", noise, persistent=False)

    def draw(self, shape: tuple[int, ...], words: list[Words], rng: np.random.Generator) -> Batch:
        """What is random in a step, for latents of a shape (C, h, w): timesteps N, noise N×C×h×w, captions.

        Captions are token ids (N×L) or, while the text encoder is frozen, embeddings (N×L×D).
        """
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        captions = [caption(one, rng, self.config) for one in words]
        count = len(words)
        # stratified: each step covers the whole range of timesteps, which halves the noise of the loss
        strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        batch: Batch = {
            "timesteps": (strata * len(self.signal)).long().clamp(max=len(self.signal) - 1),
            "noise": torch.randn((count, *shape), generator=generator),
            **self.said(captions),
        }
        if self.config.offset_noise:
            # a little of the noise is the same all over the picture (N. Guttenberg 2023): greys learn to move as one
            offset = torch.randn((count, shape[0], 1, 1), generator=generator)
            batch["noise"] = batch["noise"] + self.config.offset_noise * offset
        return batch

    def said(self, captions: list[str]) -> Batch:
        """Captions as the model hears them: `tokens`, or `text` while the text encoder is frozen."""
        if self.encodes_text:
            return {"tokens": self._tokens(captions)}
        if new := sorted({one for one in captions if one not in self._embeddings}):
            with torch.no_grad():
                heard = self._heard(self._tokens(new).to(self.signal.device)).float().cpu()
            self._embeddings |= dict(zip(new, heard, strict=True))
        return {"text": torch.stack([self._embeddings[one] for one in captions])}

    def _tokens(self, captions: list[str]) -> Tensor:
        length = self.tokenizer.model_max_length
        found = self.tokenizer(captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        tokens: Tensor = found.input_ids
        return tokens

    def _heard(self, tokens: Tensor) -> Tensor:
        heard: Tensor = self.text_encoder(tokens)[0]
        return heard

    def forward(self, batch: Batch) -> Tensor:
        """Mean weighted squared error of the prediction."""
        noise, timesteps = batch["noise"], batch["timesteps"]
        latents, seen = self.noised(batch)
        signal, spread = self.at(timesteps)
        text = batch["text"] if "text" in batch else self._heard(batch["tokens"])
        guess = self.predicted(seen, timesteps, text, batch)
        velocity = prediction_of(self.scheduler) == "v_prediction"
        error = (guess - (signal * noise - spread * latents if velocity else noise)).pow(2)
        error = self.weighed(error, batch)
        weights = snr_weights(self.scheduler, timesteps, self.config.min_snr_gamma)
        if "share" in batch:
            weights = weights * batch["share"]
        return (error.mean(dim=(1, 2, 3)) * weights).mean()

    def noised(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(latents, the same with the batch's noise at its timesteps), N×c×h×w; drawn where they are a distribution."""
        latents: Tensor = batch["latents"]
        if "deviation" in batch:
            latents = latents + batch["deviation"] * batch["within"]
        signal, spread = self.at(batch["timesteps"])
        return latents, signal * latents + spread * batch["noise"]

    def at(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """How much of a picture and of noise there is at timesteps (N), each N×1×1×1."""
        return self.signal[timesteps].view(-1, 1, 1, 1), self.noise[timesteps].view(-1, 1, 1, 1)

    def predicted(self, seen: Tensor, timesteps: Tensor, text: Tensor, batch: Batch) -> Tensor:
        """What the U-Net says of noisy latents k·N×c×h×w, for lesions beside the mask and the rest that `batch` has.

        k: how many times the batch's pictures are there, one after the other.
        """
        if "masked" in batch:
            beside = torch.cat([batch["mask"], batch["masked"]], dim=1)
            seen = torch.cat([seen, beside.repeat(len(seen) // len(beside), 1, 1, 1)], dim=1)
        said: Tensor = self.unet(seen, timesteps, text).sample
        return said.float()

    def weighed(self, error: Tensor, batch: Batch) -> Tensor:
        """Errors N×c×h×w as far as they count: more in the region to paint, less in the lesions of a healthy model."""
        if "mask" in batch:
            weight = 1.0 + self.config.region_weight * batch["mask"]
            return error * weight / weight.mean(dim=(1, 2, 3), keepdim=True)
        if "lesion" in batch and self.config.lesion_weight is not None:
            return error * (1.0 - (1.0 - self.config.lesion_weight) * batch["lesion"])
        return error


class Decode(nn.Module):
    """Give back the picture that latents came from; the encoder stays as it is, so that latents stay valid."""

    def __init__(self, autoencoder: Any, config: TrainConfig) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.config = config
        self.judge = Judge(config.seed) if config.judge_weight else None
        autoencoder.encoder.requires_grad_(False)
        if getattr(autoencoder, "quant_conv", None) is not None:  # AutoencoderKL's last step of encoding
            autoencoder.quant_conv.requires_grad_(False)

    def draw(self, shape: tuple[int, ...], words: list[Words], rng: np.random.Generator) -> Batch:
        """Nothing is random here but the order of the crops."""
        return {}

    def forward(self, batch: Batch) -> Tensor:
        """Absolute error, the error of gradients at three scales, and what texture costs, as far as weighed.

        The judge is heard in training only: what it says changes as it learns, and measures nothing.
        """
        wanted = batch["pixels"] * 2 - 1
        latents = batch["latents"] / self.autoencoder.config.scaling_factor
        given = self.autoencoder.decode(latents).sample.float()
        loss = (given - wanted).abs().mean()
        grey = given.mean(dim=1, keepdim=True)
        a, b = grey, wanted
        for _ in range(3):
            loss = (
                loss + (a.diff(dim=-1) - b.diff(dim=-1)).abs().mean() + (a.diff(dim=-2) - b.diff(dim=-2)).abs().mean()
            )
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        if self.config.texture_weight:
            loss = loss + self.config.texture_weight * texture_loss(grey, wanted)
        if self.judge is not None and self.training:
            loss = loss + judged(self.judge, given, wanted, loss, self.config.judge_weight)
        return loss
