"""How fast a cohort is made, beside a loop over the stock diffusers pipeline, and what everything but the model costs.

    python benchmarks/cohorts.py [stock overhead bound ray] [--images 64] [--workers 2] [--turns 4]

stock: the same weights, steps and guidance for both; the stock pipeline runs in float32 and makes one picture after the
other, as its users do, without measuring, labels or DICOM. Both ways take turns, because these machines drift.
overhead: what all but the model costs. bound: what a picture costs in multiplications, and how fast this processor does
those in the library's own matrix product. ray: one process against two Ray workers on this machine.
Images a second are by the clock, CPU seconds an image beside them: these other programs on the machine change less.
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

PARTS = ("stock", "overhead", "bound", "ray")
OUTPUTS = ["png", "dicom", "coco", "yolo", "vindr", "seg"]
BARE = {"tries": 1, "view": False, "density": None, "area": None, "visible": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=PARTS, default=["stock", "overhead", "bound"])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=4, help="how often both ways take turns")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if "stock" in options.parts:
            compare_stock(place, options.images, options.workers, options.turns)
        if "overhead" in options.parts:
            overhead(place, max(2, options.images // 4))
        if "bound" in options.parts:
            bound()
        if "ray" in options.parts:
            compare_ray(place, options.images)


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


def compare_stock(place: Path, images: int, workers: int, turns: int) -> None:
    """Pictures without lesions, which the stock pipeline can make, too."""
    from mame.diffusion.model import model_folder

    ours, stock = Taken(), Taken()
    pipeline = stock_pipeline(str(model_folder("mini")))
    each = max(1, images // turns)
    if workers == 1:  # opens the model in this process; several workers each open their own, and that counts
        synthesize(plan(1, steps=1), place / "opened", workers=1)
    for part in range(turns):
        stock.add(each, lambda: plain(pipeline, plan(each)))
        ours.add(each, lambda part=part: synthesize(plan(each, seed=part), place / f"ours-{part}", workers=workers))
    print(stock.line("stock diffusers, float32, one after the other"))
    print(ours.line(f"mam-e synthesize, {ours_dtype()}, {workers} at work, everything included"))
    clock, cpu = stock.wall_s / ours.wall_s, stock.cpu_s / ours.cpu_s
    print(f"by the clock {clock:.2f} times as fast, by CPU time {cpu:.2f} times", flush=True)


def ours_dtype() -> str:
    """What the U-Net runs in here."""
    from mame.diffusion.device import choose_compute

    return str(choose_compute().dtype).removeprefix("torch.")


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
    synthesize(plan(1, steps=1), place / "warm", workers=1)
    sample.generate_each, kept = timed(sample.generate_each, inside), sample.generate_each
    Model.inpaint, kept_too = timed(Model.inpaint, inside), Model.inpaint  # type: ignore[method-assign]
    began = time.process_time()
    synthesize(plan(images, lesions=lesions), place / "overhead", workers=1)
    total = time.process_time() - began
    sample.generate_each, Model.inpaint = kept, kept_too  # type: ignore[method-assign]
    print(
        f"outside the model {1 - inside[0] / total:.1%} of {total / images:.2f} CPU s an image "
        f"({images} images, 30 % with a lesion)",
        flush=True,
    )


def bound() -> None:
    """Below this no arrangement of the same multiplications in float32 gets, however many pictures are made at once."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from mame.diffusion import latent
    from mame.diffusion.model import load_model, load_parts, model_folder

    threads = torch.get_num_threads()
    steps, opened = plan(1).steps, load_model("mini", "cpu", "float32").parts
    torch.set_num_threads(1)
    text = torch.zeros(2, opened.tokenizer.model_max_length, opened.unet.config.cross_attention_dim)
    for what, parts in (("stock", load_parts(model_folder("mini"))), ("ours", opened)):
        with FlopCounterMode(display=False) as step, torch.no_grad():
            parts.unet(torch.zeros(2, 4, 64, 64), 500, encoder_hidden_states=text)
        with FlopCounterMode(display=False) as decoder, torch.no_grad():
            latent.decode(parts.autoencoder, torch.zeros(1, 4, 64, 64))
        gflop = (steps * step.get_total_flops() + decoder.get_total_flops()) / 1e9
        rate = matrix_gflops()
        least = f"{gflop / rate:.2f} CPU s at the {rate:.0f} GFLOP/s of a matrix product"
        print(f"{what}: {gflop:.0f} GFLOP an image, {least}", flush=True)
    torch.set_num_threads(threads)


def matrix_gflops(side: int = 1024, tries: int = 5) -> float:
    """The best of a few float32 matrix products, in CPU time of one thread."""
    import torch

    matrix, best = torch.rand(side, side), float("inf")
    for _ in range(tries):
        began = time.process_time()
        torch.mm(matrix, matrix)
        best = min(best, time.process_time() - began)
    return 2 * side**3 / best / 1e9


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
