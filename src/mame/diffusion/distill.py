"""What teaches a model to need few steps: latent consistency distillation (Luo 2023, arXiv 2310.04378; 2311.05556).

The student, a LoRA on its own teacher, learns to say from any point of a path to a picture where that path ends. The
teacher's guidance goes into it, so that a step takes one pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mame.diffusion.cache import Words
from mame.diffusion.config import TrainConfig
from mame.diffusion.folders import FewSteps, model_folder, read_card
from mame.diffusion.objectives import Batch, Denoise
from mame.diffusion.sample import guide
from mame.diffusion.schedule import clean_and_noise, prediction_of

GRID = 20  # times that the teacher's path is cut at, evenly spaced: its steps are so many
HUBER = 1e-3  # below which an error counts squared: of a latent's unit variance
SIGMA_DATA, TIME_SCALE = 0.5, 10.0  # of the boundary condition, as in diffusers' LCMScheduler


def boundary(timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """(c_skip, c_out) of arXiv 2310.04378, appendix: at time 0 what goes in comes out."""
    scaled = timesteps.float() * TIME_SCALE
    return SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2), scaled / (scaled**2 + SIGMA_DATA**2).sqrt()


def few_steps(config: TrainConfig) -> FewSteps:
    """What a model that was taught so says about its few steps."""
    return FewSteps(guidance=config.guidance, grid=GRID)


class Consistency(Denoise):
    """From a point of the teacher's path and from the one a step nearer to the picture, say the same picture."""

    def __init__(self, unet: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, config: TrainConfig) -> None:
        super().__init__(unet, text_encoder, tokenizer, scheduler, config)
        card = read_card(model_folder(config.base))
        self.rescale, self.until = card.guidance_rescale, card.guidance_until
        self.kind = prediction_of(scheduler)

    def draw(self, shape: tuple[int, ...], words: list[Words], rng: np.random.Generator) -> Batch:
        """As `Denoise.draw`; timesteps are of the grid, and `silence` is the embedding of nothing said (N×L×D)."""
        batch = super().draw(shape, words, rng)
        stride = len(self.signal) // GRID
        batch["timesteps"] = (batch["timesteps"] * GRID // len(self.signal) + 1) * stride - 1
        batch["silence"] = self.said([""] * len(words))["text"]
        return batch

    def forward(self, batch: Batch) -> Tensor:
        """Mean pseudo-Huber distance between what is said from the two points."""
        timesteps = batch["timesteps"]
        _, seen = self.noised(batch)
        given = self._picture(seen, timesteps, batch)
        with torch.no_grad():
            wanted = self._wanted(seen, timesteps, batch)
        error = ((given - wanted).square() + HUBER**2).sqrt() - HUBER
        return self.weighed(error, batch).mean()

    def _wanted(self, seen: Tensor, timesteps: Tensor, batch: Batch) -> Tensor:
        """The student's own word a step further along the path on which its teacher, guided, goes on (DDIM)."""
        self.unet.disable_adapters()
        try:
            twice = torch.cat([seen, seen]), torch.cat([timesteps, timesteps])
            text = torch.cat([batch["silence"], batch["text"]])
            without, with_prompt = self.predicted(*twice, text, batch).chunk(2)
        finally:
            self.unet.enable_adapters()
        guided = guide(without, with_prompt, self.config.guidance, self.rescale)
        said = torch.where((timesteps >= self.until).view(-1, 1, 1, 1), guided, with_prompt)
        clean, noise = clean_and_noise(seen, said, *self.at(timesteps), self.kind)
        earlier = timesteps - len(self.signal) // GRID
        there = (earlier < 0).view(-1, 1, 1, 1)  # at the picture itself
        earlier = earlier.clamp(min=0)
        signal, spread = self.at(earlier)
        nearer = signal * clean + spread * noise
        return torch.where(there, clean, self._picture(nearer, earlier, batch))

    def _picture(self, seen: Tensor, timesteps: Tensor, batch: Batch) -> Tensor:
        """Where the student says that the path through `seen` ends."""
        said = self.predicted(seen, timesteps, batch["text"], batch)
        clean, _ = clean_and_noise(seen, said, *self.at(timesteps), self.kind)
        skip, out = (part.view(-1, 1, 1, 1) for part in boundary(timesteps))
        return skip * seen + out * clean
