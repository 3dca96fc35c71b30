"""What teaches a model to need few steps: to go in one where its teacher goes in several.

The student is a LoRA on its own teacher. The teacher goes its usual way from noise to a picture, guided. That way is
cut into parts, and the student learns to cross each at once: progressive distillation (Salimans 2022, arXiv 2202.00512)
of all parts together, on whole ways of the teacher (Luhman 2021, arXiv 2101.02388). Guidance goes into the LoRA, so
that a step takes one pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mame.diffusion.cache import Words
from mame.diffusion.config import Precision, TrainConfig
from mame.diffusion.device import choose_compute, place_unet
from mame.diffusion.folders import FewSteps, model_folder, read_card
from mame.diffusion.lora import without_adapters
from mame.diffusion.mini import Parts
from mame.diffusion.model import Model
from mame.diffusion.objectives import Batch, Denoise
from mame.diffusion.sample import Order, denoise, few_times, sampler
from mame.diffusion.schedule import clean_and_noise, prediction_of

HUBER = 1e-3  # below which an error counts squared: of a latent's unit variance


def few_steps(config: TrainConfig) -> FewSteps:
    """What a model that was taught so says about its few steps."""
    return FewSteps(guidance=config.guidance)


class Shortcuts(Denoise):
    """From a point of the teacher's way say the next one, several of its steps further. Pictures are not needed."""

    def __init__(self, unet: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, config: TrainConfig) -> None:
        super().__init__(unet, text_encoder, tokenizer, scheduler, config)
        self.few = few_steps(config)
        self.kind = prediction_of(scheduler)
        self.parts = Parts(tokenizer, text_encoder, None, without_adapters(unet), scheduler)
        self.card = read_card(model_folder(config.base))
        self.teacher: Model | None = None

    def teacher_on(self, device: torch.device) -> Model:
        """The base as pictures are made with it: a network of its own, for it is asked far more often than it learns.

        Without the LoRA's layers and in the fastest dtype it takes about half the time of the student with them
        switched off.
        """
        if self.teacher is None:
            precise = "float32" if self.config.precision is Precision.FP32 else None
            compute = choose_compute(str(device), precise)
            place_unet(self.parts.unet, compute)
            self.teacher = Model("teacher", Path(), self.card, self.parts, compute)
        return self.teacher

    def draw(self, shape: tuple[int, ...], words: list[Words], rng: np.random.Generator) -> Batch:
        """What is random in a step: noise N×C×h×w that the ways start from, captions and `silence`, each N×L×D.

        silence: the embedding of nothing said, for guidance.
        """
        drawn = super().draw(shape, words, rng)
        start = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        return {
            "noise": torch.randn((len(words), *shape), generator=start),
            "text": drawn["text"],
            "silence": self.said([""] * len(words))["text"],
        }

    def forward(self, batch: Batch) -> Tensor:
        """Mean pseudo-Huber distance between where the student gets and where its teacher was, as an error of v."""
        times, points = self.way(batch)
        parts, count = len(times), len(batch["noise"])
        seen, there = torch.cat(points[:-1]), torch.cat(points[1:])
        timesteps = torch.tensor(times, device=seen.device).repeat_interleave(count)
        said = self.predicted(seen, timesteps, batch["text"].repeat(parts, 1, 1), batch)
        signal, spread = self.at(timesteps)
        clean, noise = clean_and_noise(seen, said, signal, spread, self.kind)
        signal_there = torch.cat([signal[count:], torch.ones_like(signal[:count])])
        spread_there = torch.cat([spread[count:], torch.zeros_like(spread[:count])])
        turned = spread * signal_there - signal * spread_there  # sine of the angle that v turns a point by
        error = (signal_there * clean + spread_there * noise - there) / turned
        error = (error.square() + HUBER**2).sqrt() - HUBER
        if "mask" in batch:
            error = torch.cat([self.weighed(part, batch) for part in error.chunk(parts)])
        return error.mean()

    @torch.no_grad()
    def way(self, batch: Batch) -> tuple[list[int], list[Tensor]]:
        """(times, points) of the teacher's ways from a batch's noise, as far apart as the student's steps.

        Points are N×c×h×w, and one more than the times: the last is the clean latents.
        """
        teacher = self.teacher_on(batch["noise"].device)
        condition = torch.cat([batch["mask"], batch["masked"]], dim=1) if "masked" in batch else None
        scheduler = sampler(teacher)
        scheduler.set_timesteps(self.few.of)
        times = few_times(scheduler, self.few.steps)
        points = {times[0]: batch["noise"] * scheduler.init_noise_sigma}

        def keep(latents: Tensor, time: int | None) -> Tensor:
            if time is None or time in times:
                points[-1 if time is None else time] = latents
            return latents

        order = Order("", steps=self.few.of, guidance=self.config.guidance)
        text = torch.stack([batch["silence"], batch["text"]]) if order.guidance != 1 else batch["text"][None]
        with torch.autocast(batch["noise"].device.type, enabled=False):
            denoise(teacher, batch["noise"], text.to(teacher.compute.dtype), order, condition, keep)
        return times, [points[time] for time in (*times, -1)]
