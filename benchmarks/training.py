"""How fast training is, against a plain loop with stock diffusers parts in float32 and no caches.

    python benchmarks/training.py [--base mini] [--steps 10] [--batch 4] [--rounds 2] [--cpu-time] [--compiled]

The plain loop has the shape of diffusers' own text-to-image example: in every step pictures are read from files and
encoded, captions are encoded, all in float32. Both train the same U-Net and text encoder on the same phantoms. They
are run in turn, because machines drift; the figure is the median of the rounds, the first step of each left out.
--compiled adds a run with torch.compile, which takes minutes to begin. --cpu-time counts the processor's seconds, of
all threads, rather than the clock's: for a machine with other work.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from speed import machine
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from mame import prompt
from mame.dataset.examples import open_examples
from mame.diffusion import train
from mame.diffusion.config import TrainConfig
from mame.diffusion.device import usable_threads
from mame.diffusion.feed import Feed
from mame.diffusion.folders import model_folder
from mame.diffusion.machine import settle
from mame.diffusion.start import starting_parts

Clock = Callable[[], float]
PICTURES = 16
SIZE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    clock: Clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(usable_threads())
    print(machine(), f"{torch.get_num_threads()} threads, batch {options.batch}")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_pictures(root / "pictures")
        ways: dict[str, Callable[[], float]] = {
            "plain loop, float32": lambda: plain(options, root / "pictures", clock),
            "mam-e train, float32": lambda: ours(options, root, "fp32", clock),
            f"mam-e train, as it chooses ({chosen()})": lambda: ours(options, root, "auto", clock),
        }
        if options.compiled:
            ways["the same, compiled"] = lambda: ours(options, root, "auto", clock, compiled=True)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                rates[name].append(way())
    second = "CPU second" if options.cpu_time else "s"
    print(f"\n| what | images/{second} | times the plain loop |\n| --- | --- | --- |")
    base = rates["plain loop, float32"]
    for name, found in rates.items():
        times = statistics.median(b / a for a, b in zip(base, found, strict=True))
        print(f"| {name} | {statistics.median(found):.2f} | {times:.1f} |")


def write_pictures(folder: Path) -> None:
    """Phantoms as RGB files with a caption each, as a user of the plain loop would have them."""
    folder.mkdir()
    examples = open_examples(f"phantom:{PICTURES}:1", "views", SIZE)
    for i in range(PICTURES):
        grey = (examples[i].pixels * 255).round().astype(np.uint8)
        Image.fromarray(np.stack([grey] * 3, axis=2)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(prompt.write(examples[i].description))


def chosen() -> str:
    """The precision that the trainer takes on this machine."""
    config = TrainConfig(goal="healthy", dataset="phantom:1", out=Path("run"), precision="auto")
    return str(settle(config).precision)


def plain(options: argparse.Namespace, pictures: Path, clock: Clock) -> float:
    """Images a second of the plain loop."""
    base, steps, batch = options.base, options.steps, options.batch
    folder = model_folder(base)
    kind: Any = AutoencoderTiny if "Tiny" in (folder / "vae" / "config.json").read_text() else AutoencoderKL
    vae = kind.from_pretrained(folder / "vae").requires_grad_(False)
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet").float().train()
    text_encoder: Any = CLIPTextModel.from_pretrained(folder / "text_encoder").train()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    scheduler: Any = DDPMScheduler.from_pretrained(folder / "scheduler")
    optimizer = torch.optim.AdamW([*unet.parameters(), *text_encoder.parameters()], lr=1e-6)
    began = 0.0
    for step in range(steps + 1):
        if step == 1:
            began = clock()
        numbers = [(step * batch + i) % PICTURES for i in range(batch)]
        pixels = torch.stack([_pixels(pictures / f"{number}.png") for number in numbers])
        captions = [(pictures / f"{number}.txt").read_text() for number in numbers]
        with torch.no_grad():
            said = vae.encode(pixels)
            latents = (
                said.latents if kind is AutoencoderTiny else said.latent_dist.sample()
            ) * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        times = torch.randint(0, 1000, (batch,))
        noisy = scheduler.add_noise(latents, noise, times)
        length = tokenizer.model_max_length
        tokens = tokenizer(captions, padding="max_length", max_length=length, return_tensors="pt", truncation=True)
        guess = unet(noisy, times, text_encoder(tokens.input_ids)[0]).sample
        velocity = scheduler.config.prediction_type == "v_prediction"
        loss = F.mse_loss(guess, scheduler.get_velocity(latents, noise, times) if velocity else noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return steps * batch / (clock() - began)


def _pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1).float() / 127.5 - 1


def ours(options: argparse.Namespace, root: Path, precision: str, clock: Clock, compiled: bool = False) -> float:
    """Images a second of the trainer, from its cache."""
    with tempfile.TemporaryDirectory(dir=root) as run:
        config = TrainConfig.read(
            None, goal="healthy", dataset=f"phantom:{PICTURES}:1", out=Path(run), base=options.base,
            steps=options.steps + 1, batch=options.batch, precision=precision, cache=root / "cache", workers=1,
            learning_rate=1e-6, validation_examples=0, tracker="none", checkpoint_every=10_000, size=SIZE,
            compile_unet=compiled,
        )  # fmt: skip
        parts = starting_parts(config, lambda _: None)
        began: list[float] = []
        steps = Feed.steps

        def watched(self: Feed, first: int, last: int) -> Any:
            for batches in steps(self, first, last):
                began.append(clock())
                yield batches
            began.append(clock())

        Feed.steps = watched  # type: ignore[method-assign]
        try:
            train.fit(config, parts, config.out, lambda _: None)
        finally:
            Feed.steps = steps  # type: ignore[method-assign]
        # the last step's time holds the checkpoint, which the plain loop doesn't write
        return (options.steps - 1) * options.batch / (began[-2] - began[1])


if __name__ == "__main__":
    main()
