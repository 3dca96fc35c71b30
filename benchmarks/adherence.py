"""Does the model do what the prompt said? Every word combination, measured with the imaging room's own rules.

    python benchmarks/adherence.py [--model mini] [--prompts 64] [--seed 0] [--out FOLDER]

Prints, beside the model's figures, the same figures of phantoms with the same descriptions: what the rules themselves
get wrong is not the model's fault.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from mame import prompt
from mame.errors import MameError
from mame.imaging import phantom
from mame.imaging.breast import breast_area_cm2, estimate_view, find_breast, pectoral_mask
from mame.imaging.density import percent_density
from mame.mammogram import Area, Density, Description, Mammogram, View, area_from_cm2


@dataclass
class Score:
    """What was measured in one picture; None where no breast was found."""

    asked: Description
    view: View | None = None
    area: Area | None = None
    percent: float | None = None


def orders(count: int, vendors: list[str], seed: int) -> list[Description]:
    """`count` descriptions that use every word about equally often, in a seeded order."""
    every = [Description(v, view, d, a) for v, view, d, a in itertools.product(vendors, View, Density, Area)]
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(every)) for _ in range(-(-count // len(every)))]
    return [every[i] for i in np.concatenate(rounds)[:count]]


def measure(mammogram: Mammogram, asked: Description) -> Score:
    """Read view, area class and percent density from the pixels alone."""
    try:
        breast = find_breast(mammogram.pixels)
    except MameError:
        return Score(asked)
    pectoral = pectoral_mask(mammogram.pixels, breast)
    assert mammogram.spacing_mm is not None
    return Score(
        asked,
        estimate_view(mammogram.pixels, breast),
        area_from_cm2(breast_area_cm2(breast.mask, mammogram.spacing_mm)),
        percent_density(mammogram.pixels, breast.mask, pectoral),
    )


def report(name: str, scores: list[Score]) -> None:
    """One line: share of right views and areas, rank correlation of measured density with the class asked for."""
    found = [score for score in scores if score.view is not None]
    view = np.mean([score.view is score.asked.view for score in scores])
    area = np.mean([score.area is score.asked.area for score in scores])
    classes = [list(Density).index(score.asked.density) for score in found if score.asked.density]
    rank = spearmanr(classes, [score.percent for score in found]).statistic
    print(
        f"| {name} | {len(scores)} | {len(found)} | {100 * view:.0f} % | {100 * area:.0f} % | {rank:.2f} |", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vendors", default="hologic,siemens")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--out", type=Path, help="keep the pictures here")
    options = parser.parse_args()
    asked = orders(options.prompts, options.vendors.split(","), options.seed)
    print("| what | pictures | breast found | view right | area class right | density rank correlation |")
    print("| --- | --- | --- | --- | --- | --- |")
    drawn = [phantom.draw((900, i), one) for i, one in enumerate(asked) if one.vendor in phantom.LOOKS]
    report("phantoms", [measure(p.render().mammogram, one) for p, one in zip(drawn, asked, strict=False)])

    from mame.diffusion.model import load_model
    from mame.formats.files import write

    model = load_model(options.model)
    scores = []
    for i, one in enumerate(asked):
        text = prompt.write(one)
        (made,) = model.generate(
            text, count=1, seed=options.seed, first=i, steps=options.steps, guidance=options.guidance
        )
        scores.append(measure(made, one))
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            write(made, options.out / f"{i:04d}.png", force=True)
    report(options.model, scores)


if __name__ == "__main__":
    main()
