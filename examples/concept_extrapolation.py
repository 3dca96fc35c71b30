"""The paper's three models in miniature, and what its "concept extrapolation" does, measured.

    python examples/concept_extrapolation.py OUT [--phantoms 1200] [--steps 900] [--batch 24] [--pictures 48]

In the paper one model learned from Hologic pictures whose captions say the breast's area, one from Siemens pictures
whose captions say the density, and a combined one from both, each with its vendor's word. That the combined model also
follows density words on Hologic pictures and area words on Siemens pictures, which it never saw together, was shown by
examples. Here phantoms of the two looks take the mammograms' place, all three models start from random weights (of
mini only the autoencoder is taken), and what they make is measured: percent density, area and look, per word, with
bootstrap intervals. Beside them stand phantoms drawn with the same words, and the separate models, which don't know the
other's words at all. Writes results.json, table.md, figure.png and pictures.png to OUT; the same command goes on after
a stop.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phantom_sets import description, write_set
from PIL import Image
from scipy.stats import spearmanr

import mame
from mame import prompt
from mame.assess.attributes.reader import names_of, open_reader
from mame.dataset.captions import Said
from mame.errors import MameError
from mame.imaging import phantom
from mame.imaging.breast import breast_area_cm2, find_breast, pectoral_mask
from mame.imaging.density import density_class, percent_density
from mame.mammogram import Area, Density, Description, Mammogram, View, area_from_cm2

LOOKS = {"hologic": Said.AREA, "siemens": Said.DENSITY}  # and the words its captions say
WORDS: dict[Said, list[Any]] = {Said.DENSITY: list(Density), Said.AREA: list(Area)}
COMBINED, PHANTOMS = "combined", "phantoms"
RESAMPLES = 2000
AT_ONCE = 8


@dataclass(frozen=True)
class Cell:
    """Pictures of one model, look and kind of words. `values`: n measured per word (% or cm²), nan where no breast.

    looks: n per word, whether mini's attribute reader sees the look in a picture.
    """

    model: str
    look: str
    kind: Said
    values: NDArray[np.float64]
    looks: NDArray[np.float64]

    @property
    def learned(self) -> str:
        """Where the words were learned from."""
        if self.model == PHANTOMS:
            return "drawn so"
        if LOOKS[self.look] is self.kind:
            return "on this look"
        return "on the other look only" if self.model == COMBINED else "never"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--phantoms", type=int, default=1200, help="of each look")
    parser.add_argument("--steps", type=int, default=900, help="of the combined model; half as many of the others")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--pictures", type=int, default=48, help="of each word")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    sets = write_sets(out, options)
    base = blank_base(out / "base", options)
    cells = [reference(look, kind, options) for look in LOOKS for kind in WORDS]
    sheet: list[NDArray[np.float32]] = []
    for name, dataset in sets.items():
        steps = options.steps if name == COMBINED else options.steps // 2  # each picture is seen as often
        model = mame.load_model(trained(out / f"run-{name}", dataset, base, steps, options))
        for look in LOOKS if name == COMBINED else [name]:
            for kind in WORDS:
                rows = [pictures(model, name, look, kind, word, options) for word in WORDS[kind]]
                cells.append(cell_of(name, look, kind, rows))
                if name == COMBINED:
                    sheet.append(np.concatenate([row[n].pixels for n in (0, 1) for row in rows], axis=1))
    lines = [summary(cell, options.seed) for cell in cells]
    (out / "results.json").write_text(json.dumps(lines, indent=1))
    (out / "table.md").write_text(table(lines))
    width = max(row.shape[1] for row in sheet)
    whole = np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in sheet])
    Image.fromarray((whole * 255).round().astype(np.uint8)).save(out / "pictures.png")
    draw_figure(lines, out / "figure.png")
    print((out / "table.md").read_text())


# -- data and models --------------------------------------------------------------------------------------------------


def write_sets(out: Path, options: argparse.Namespace) -> dict[str, Path]:
    """A prepared set for each model: each look with its own words, and both fused, which adds the vendor's word."""
    sets = {
        look: write_set(
            out / f"set-{look}", phantom.LOOKS[look], (said,), options.phantoms, 100 + number, options.size
        )
        for number, (look, said) in enumerate(LOOKS.items())
    }  # fmt: skip
    fused = out / f"set-{COMBINED}"
    if not (fused / "dataset.json").is_file():
        mame.fuse(list(sets.values()), fused, force=True)
    return {**sets, COMBINED: fused}


def blank_base(folder: Path, options: argparse.Namespace) -> Path:
    """mini with a U-Net and a text encoder of random weights: it has seen no word and no look."""
    if (folder / "model_index.json").is_file():
        return folder
    from mame.diffusion.mini import new_mini
    from mame.diffusion.model import load_parts

    parts = new_mini(inpainting=False, seed=options.seed)
    parts.autoencoder = load_parts(mame.model_folder("mini")).autoencoder
    parts.unet.register_to_config(sample_size=options.size // 8)
    mame.save_model(parts, folder, mame.ModelCard(field_mm=256.0))
    return folder


def trained(run: Path, dataset: Path, base: Path, steps: int, options: argparse.Namespace) -> Path:
    """The folder of the model that learned from a set; goes on with a run that was stopped."""
    if (run / "model" / "model_index.json").is_file():
        return run / "model"
    # No min-SNR weighting: with v-prediction it takes the weight from the noisiest steps, where alone words decide.
    config = mame.TrainConfig.read(
        None, goal="healthy", dataset=str(dataset), out=run, base=str(base), size=options.size, steps=steps,
        batch=options.batch, learning_rate=5e-4, final_learning_rate=5e-5, ema_decay=0.995,
        warmup_steps=min(100, steps // 4), validate_every=200, checkpoint_every=100, tracker="none", workers=1,
        seed=options.seed, augment=1,
    )  # fmt: skip
    return mame.train(config, resume=(run / "config.yaml").is_file())


def pictures(
    model: mame.Model, name: str, look: str, kind: Said, word: Any, options: argparse.Namespace
) -> list[Mammogram]:
    """What a model makes of one word, half of it CC views, half MLO."""
    vendor = look if name == COMBINED else None
    count = max(1, options.pictures // 2)
    views = [
        model.generate(
            prompt.write(Description(vendor, view, **{kind.value: word})),
            count=count,
            seed=options.seed + 1000 + number,
            batch=min(AT_ONCE, count),
        )
        for number, view in enumerate(View)
    ]
    return [one for pair in zip(*views, strict=True) for one in pair]


# -- measuring --------------------------------------------------------------------------------------------------------


def cell_of(name: str, look: str, kind: Said, rows: list[list[Mammogram]]) -> Cell:
    """What is seen in a model's pictures, a row for each word."""
    values = np.array([[measured(one, kind) for one in row] for row in rows])
    reader = open_reader()
    found = [names_of("vendor", reader.read(reader.embed([o.pixels for o in row])).classes["vendor"]) for row in rows]
    return Cell(name, look, kind, values, np.array([[one == look for one in row] for row in found], dtype=np.float64))


def measured(mammogram: Mammogram, kind: Said) -> float:
    """Percent density or area (cm²), from the pixels alone; nan where no breast is found."""
    try:
        breast = find_breast(mammogram.pixels)
    except MameError:
        return float("nan")
    assert mammogram.spacing_mm is not None
    if kind is Said.AREA:
        return breast_area_cm2(breast.mask, mammogram.spacing_mm)
    return percent_density(mammogram.pixels, breast.mask, pectoral_mask(mammogram.pixels, breast))


def reference(look: str, kind: Said, options: argparse.Namespace) -> Cell:
    """Phantoms drawn with each word, measured in the same way."""
    rows = []
    for number, word in enumerate(WORDS[kind]):
        row = []
        for index in range(options.pictures):
            any_breast = description(options.seed + 7, index + 10_000 * number)
            asked = Description(look, any_breast.view, any_breast.density, any_breast.area)
            asked = Description(**{**{f: getattr(asked, f) for f in ("vendor", "view", "density", "area")}, kind: word})
            drawn = phantom.draw((options.seed + 900, index), asked)
            row.append(drawn.render(drawn.field_grid(options.size)).mammogram)
        rows.append(row)
    return cell_of(PHANTOMS, look, kind, rows)


def summary(cell: Cell, seed: int) -> dict[str, Any]:
    """Per word the mean, and of all the difference between the ends, rank correlation and share in the asked class."""
    ranks = np.repeat(np.arange(len(cell.values)), cell.values.shape[1])

    def difference(values: NDArray[np.float64]) -> float:
        return float(np.nanmean(values[-1]) - np.nanmean(values[0]))

    def correlation(values: NDArray[np.float64]) -> float:
        flat = values.ravel()
        known = np.isfinite(flat)
        if np.ptp(flat[known]) == 0:
            return 0.0
        return float(spearmanr(ranks[known], flat[known]).statistic)

    def right(values: NDArray[np.float64]) -> float:
        found = zip(WORDS[cell.kind], values, strict=True)
        return float(np.mean([classed(value, cell.kind) is word for word, row in found for value in row]))

    rng = np.random.default_rng(seed)
    means = [with_interval(row[None], lambda one: float(np.nanmean(one)), rng) for row in cell.values]
    return {
        "model": cell.model, "look": cell.look, "words": cell.kind.value, "learned": cell.learned,
        "pictures": cell.values.size, "without_breast": int(np.isnan(cell.values).sum()),
        "mean": dict(zip([str(word) for word in WORDS[cell.kind]], means, strict=True)),
        "difference": with_interval(cell.values, difference, rng),
        "rank_correlation": with_interval(cell.values, correlation, rng),
        "class_right": with_interval(cell.values, right, rng),
        "look_right": with_interval(cell.looks, lambda seen: float(np.mean(seen)), rng),
    }  # fmt: skip


def classed(value: float, kind: Said) -> Any:
    """The word that fits a measurement, None where there was none."""
    if not np.isfinite(value):
        return None
    return density_class(value) if kind is Said.DENSITY else area_from_cm2(value)


def with_interval(
    values: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], float], rng: np.random.Generator
) -> tuple[float, float, float]:
    """(value, low, high): a statistic of words×n values and its 95 % bootstrap interval, pictures drawn per word."""
    count = values.shape[1]
    drawn = [
        statistic(np.stack([row[rng.integers(count, size=count)] for row in values])) for _ in range(RESAMPLES)
    ]  # fmt: skip
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return round(statistic(values), 4), round(float(low), 4), round(float(high), 4)


# -- telling ----------------------------------------------------------------------------------------------------------


def table(lines: list[dict[str, Any]]) -> str:
    """The summaries as a Markdown table."""

    def told(three: tuple[float, float, float], form: str, scale: float = 1.0) -> str:
        value, low, high = (format(scale * one, form) for one in three)
        return f"{value} ({low} to {high})"

    rows = [
        "| model | look | words | learned | mean per word | last − first | rank correlation | in the asked class, % "
        "| of the asked look, % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in lines:
        means = ", ".join(f"{three[0]:.0f}" for three in line["mean"].values())
        unit = "%" if line["words"] == Said.DENSITY else "cm²"
        rows.append(
            f"| {line['model']} | {line['look']} | {line['words']} | {line['learned']} | {means} {unit} "
            f"| {told(line['difference'], '.0f')} | {told(line['rank_correlation'], '.2f')} "
            f"| {told(line['class_right'], '.0f', 100)} | {told(line['look_right'], '.0f', 100)} |"
        )
    return "\n".join(rows) + "\n"


def draw_figure(lines: list[dict[str, Any]], path: Path) -> None:
    """Mean and interval per word: a panel for each look and kind of words, a line for each model."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(9, 6.4), sharey="row")
    for row, kind in enumerate(WORDS):
        for column, look in enumerate(LOOKS):
            panel = panels[row][column]
            for line in lines:
                if (line["look"], line["words"]) != (look, kind.value):
                    continue
                means = np.array(list(line["mean"].values()))
                style = {"color": "#999"} if line["model"] == PHANTOMS else {}
                name = line["model"] if line["model"] in (PHANTOMS, COMBINED) else "separate"
                panel.errorbar(
                    np.arange(len(means)), means[:, 0], yerr=[means[:, 0] - means[:, 1], means[:, 2] - means[:, 0]],
                    capsize=3, marker="o", label=f"{name}: learned {line['learned']}", **style,
                )  # fmt: skip
            panel.set_xticks(range(len(WORDS[kind])), [prompt_word(word) for word in WORDS[kind]])
            panel.set_title(f"{look}, {kind} words", fontsize=10)
            panel.set_ylabel("percent density" if kind is Said.DENSITY else "area, cm²")
            panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def prompt_word(word: Any) -> str:
    """How the language says it."""
    return prompt.DENSITY_WORDS[word] if isinstance(word, Density) else str(word)


if __name__ == "__main__":
    main()
