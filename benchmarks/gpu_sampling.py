"""Stable Diffusion 1.5's architecture on a GPU: 24 guided steps at 512², a batch of 8, against stock diffusers in fp16.

    python benchmarks/gpu_sampling.py [--batch 8] [--runs 5] [--tiny]

Weights are random: timing doesn't care. Both run the same networks in turn. --tiny runs a small U-Net, also without a
GPU, to see that the script works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from gpu_training import architecture

import mame

PROMPT = "a mammogram in MLO view"
STEPS, GUIDANCE = 24, 4.0
WANTED_S, WANTED_RATIO = 0.25, 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.tiny:
        sys.exit("no GPU here: nothing measured (--tiny runs a small U-Net on the processor)")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "the processor"
    steps = 2 if options.tiny else STEPS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        parts = architecture(options.tiny)
        parts.scheduler = DPMSolverMultistepScheduler(  # type: ignore[no-untyped-call]
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        )
        mame.save_model(parts, folder, mame.ModelCard())
        model = mame.load_model(folder)
        dtype = torch.float16 if torch.cuda.is_available() else torch.float32
        stock: Any = StableDiffusionPipeline.from_pretrained(str(folder), torch_dtype=dtype)
        stock.to("cuda" if torch.cuda.is_available() else "cpu").set_progress_bar_config(disable=True)
        theirs, ours = in_turn(
            options.runs,
            lambda: stock([PROMPT] * options.batch, num_inference_steps=steps, guidance_scale=GUIDANCE),
            lambda: model.generate(PROMPT, count=options.batch, batch=options.batch, steps=steps, guidance=GUIDANCE),
        )
    print(f"{name}; torch {torch.__version__}; batch {options.batch}, {steps} steps\n")
    print("| what | seconds an image | times stock |\n| --- | --- | --- |")
    print(f"| stock diffusers, {dtype} | {theirs / options.batch:.3f} | 1.0 |")
    print(f"| MAM-E, {model.compute.dtype} | {ours / options.batch:.3f} | {theirs / ours:.2f} |")
    print(f"\nwanted on an H100: at most {WANTED_S} s, and {WANTED_RATIO} times stock")


def in_turn(runs: int, *actions: Callable[[], object]) -> list[float]:
    """Median seconds of each, one after the other in every round, but for the first, in which all is set up."""
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(runs + 1):
        for action, seconds in zip(actions, taken, strict=True):
            began = time.perf_counter()
            action()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds[1:]) for seconds in taken]


if __name__ == "__main__":
    main()
