"""Full fine-tuning of Stable Diffusion 1.5's architecture at 512² on a GPU: images a second, and memory.

    python benchmarks/gpu_training.py [--batch 32] [--steps 60] [--tiny]

Weights are random: timing doesn't care. Latents come from the cache, U-Net and text encoder are trained in bf16. The
second line is what has to fit a 16 GB card: batch 4, gradient checkpointing, 8-bit Adam, no average.
--tiny runs a small U-Net, also without a GPU, to see that the script works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from mame.diffusion import mini, train
from mame.diffusion.config import TrainConfig
from mame.diffusion.machine import settle

PICTURES = 64
TARGETS = {"A100": 36.0, "H100": 70.0, "H200": 70.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.tiny:
        sys.exit("no GPU here: nothing measured (--tiny runs a small U-Net on the processor)")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "the processor"
    print(f"{name}; torch {torch.__version__}\n\n| what | images/s | peak memory GB | how |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        fast = {"batch": options.batch, "compile_unet": torch.cuda.is_available()}
        row("full fine-tuning, 512²", options, Path(folder), **fast)
        small = {"batch": 4, "gradient_checkpointing": True, "optimizer": "adamw8bit", "compile_unet": False}
        row("the same, batch 4, small", options, Path(folder), **small)
    for chip, wanted in TARGETS.items():
        if chip in name:
            print(f"\nwanted on this chip: {wanted:.0f} images/s, and at most 16 GB for the second line")


def row(what: str, options: argparse.Namespace, root: Path, **more: Any) -> None:
    """Train for the steps and print one line: the rate of the last steps, when everything is compiled."""
    config = TrainConfig(
        goal="healthy", dataset=f"phantom:{PICTURES}:1", out=Path(tempfile.mkdtemp(dir=root)), cache=root / "cache",
        size=64 if options.tiny else 512, steps=options.steps, learning_rate=1e-6, ema_decay=0.0, captions="fixed",
        validation_examples=0, checkpoint_every=1_000_000, tracker="none", workers=4, **more,
    )  # fmt: skip
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    train.fit(config, architecture(options.tiny), config.out, lambda _: None)
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    told = [line for line in lines if "images_s" in line]
    first, last = told[0], told[-1]
    seconds = last["time"] - first["time"]
    steps = last["step"] - first["step"]
    rate = f"{steps * config.batch / seconds:.1f}" if seconds > 0 else "-"
    print(f"| {what} | {rate} | {last['memory_gb']:.1f} | batch {config.batch}, {settle(config)} |", flush=True)


def architecture(tiny: bool) -> mini.Parts:
    """Stable Diffusion 1.5's networks with random weights; a small vocabulary, which costs nothing in time."""
    tokenizer = mini.build_tokenizer()
    tokenizer.model_max_length = 77
    width, layers = (64, 2) if tiny else (768, 12)
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=max(2, width // 64), max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    widths = (32, 32, 64, 64) if tiny else (320, 640, 1280, 1280)
    unet: Any = UNet2DConditionModel(
        sample_size=64, block_out_channels=widths, cross_attention_dim=width, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )  # fmt: skip
    channels = (32, 32, 32, 32) if tiny else (128, 256, 512, 512)
    autoencoder: Any = AutoencoderKL(
        block_out_channels=channels, layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    scheduler: Any = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return mini.Parts(tokenizer, CLIPTextModel(text).eval(), autoencoder.eval(), unet, scheduler)


if __name__ == "__main__":
    main()
