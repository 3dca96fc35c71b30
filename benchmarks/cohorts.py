"""How fast a cohort is made, beside a loop over the stock diffusers pipeline, and what everything but the model costs.

    python benchmarks/cohorts.py [--images 64] [--workers 2] [--ray]

Same weights, steps and guidance for both; the stock pipeline runs in float32 and makes one picture after the other, as
its users do, without measuring, labels or DICOM. Both ways take turns, because these machines drift. `--ray` compares
one process with two Ray workers on this machine instead. Images a second are by the clock, CPU seconds an image beside
them: the second is what other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mame.synthesis.cohort.run import read_cohort, synthesize
from mame.synthesis.plan import Plan

PARTS = 4  # turns
OUTPUTS = ["png", "dicom", "coco", "yolo", "vindr", "seg"]
BARE = {"tries": 1, "view": False, "density": None, "area": None, "visible": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="two Ray workers against one process")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.ray:
            compare_ray(place, options.images)
        else:
            compare_stock(place, options.images, options.workers)
            overhead(place, max(4, options.images // 4))


def plan(images: int, **changes: Any) -> Plan:
    """The plan of the documentation, every picture taken as it comes: what is remade hangs on the model alone."""
    said: dict[str, Any] = {
        "count": images,
        "seed": 1,
        "vendor": {"siemens": 0.5, "hologic": 0.5},
        "density": {"A": 0.1, "B": 0.4, "C": 0.4, "D": 0.1},
        "accept": BARE,
        "outputs": OUTPUTS,
    }
    return Plan(**(said | changes))


def compare_stock(place: Path, images: int, workers: int) -> None:
    """Pictures without lesions, which the stock pipeline can make, too."""
    from mame.diffusion.model import model_folder

    ours, stock = Taken(), Taken()
    pipeline = stock_pipeline(str(model_folder("mini")))
    each = max(1, images // PARTS)
    for part in range(PARTS):
        stock.add(each, lambda: plain(pipeline, plan(each)))
        ours.add(each, lambda part=part: synthesize(plan(each, seed=part), place / f"ours-{part}", workers=workers))
    print(stock.line("stock diffusers, float32, one after the other"))
    print(ours.line(f"mam-e synthesize, {workers} workers, everything included"))
    print(
        f"by the clock {stock.wall_s / ours.wall_s:.2f} times as fast, by CPU time {stock.cpu_s / ours.cpu_s:.2f} times"
    )


def stock_pipeline(folder: str) -> Any:
    """The pipeline, on all threads that torch takes by itself."""
    import torch
    from diffusers import StableDiffusionPipeline

    found = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    found.set_progress_bar_config(disable=True)
    return found


def plain(pipeline: Any, asked: Plan) -> None:
    """The loop a user would write."""
    from mame import prompt
    from mame.synthesis.cohort.deal import deal

    for order in deal(asked):
        pipeline(prompt.write(order.words), num_inference_steps=asked.steps, guidance_scale=asked.guidance)


def overhead(place: Path, images: int) -> None:
    """Placing, measuring, writing PNG, DICOM, labels and the prepared set: all but the model, in this process."""
    from mame.diffusion import sample
    from mame.diffusion.model import Model

    inside = [0.0]
    lesions = {"share": 0.3, "size_mm": [8, 25]}
    synthesize(plan(1), place / "warm", workers=1)
    sample.generate_each, kept = timed(sample.generate_each, inside), sample.generate_each
    Model.inpaint, kept_too = timed(Model.inpaint, inside), Model.inpaint  # type: ignore[method-assign]
    began = time.process_time()
    synthesize(plan(images, lesions=lesions), place / "overhead", workers=1)
    total = time.process_time() - began
    sample.generate_each, Model.inpaint = kept, kept_too  # type: ignore[method-assign]
    print(
        f"outside the model {1 - inside[0] / total:.1%} of {total / images:.2f} CPU s an image "
        f"({images} images, 30 % with a lesion)"
    )


def timed(function: Callable[..., Any], inside: list[float]) -> Callable[..., Any]:
    """The function, its CPU seconds added up."""

    def run(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            inside[0] += time.process_time() - began

    return run


def compare_ray(place: Path, images: int) -> None:
    """From an idle machine to a finished cohort, starting Ray and opening models included."""
    for name, how in (("one process", {"workers": 1}), ("two Ray workers", {"ray": "local"})):
        began = time.monotonic()
        out = synthesize(plan(images), place / name.replace(" ", "-"), **how)  # type: ignore[arg-type]
        taken = time.monotonic() - began
        print(
            f"{name:<16} {taken / images:6.2f} s an image by the clock ({read_cohort(out)['made']} images)", flush=True
        )


class Taken:
    """Time of some images: by the clock, and of all cores."""

    def __init__(self) -> None:
        self.images, self.wall_s, self.cpu_s = 0, 0.0, 0.0

    def add(self, images: int, action: Callable[[], object]) -> None:
        """Times an action that makes images."""
        wall, cpu = time.monotonic(), cpu_s()
        action()
        self.images += images
        self.wall_s += time.monotonic() - wall
        self.cpu_s += cpu_s() - cpu

    def line(self, what: str) -> str:
        """One line of the table."""
        return f"{what:<55} {self.images / self.wall_s:6.3f} images/s, {self.cpu_s / self.images:6.2f} CPU s an image"


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    own, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + theirs.ru_utime + theirs.ru_stime


if __name__ == "__main__":
    main()
