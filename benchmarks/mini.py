"""Does mini keep what was promised of it? Every figure of its table, by one command that goes on where it stopped.

    python benchmarks/mini.py WORK [--data ../shared/data/cdd-cesm] [--only speed,adherence,…] [--model mini]

WORK keeps the pictures and, for each part, a JSON file; what is there is not measured again. Real mammograms are
CDD-CESM, split by patient; a model that learned from them must have learned from the training side of that split only.
Times are taken side by side with the stock diffusers pipeline in float32, same weights, steps and guidance.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from adherence import orders
from speed import GUIDANCE, PROMPT, STEPS, machine, timed

import mame
from mame import prompt as language
from mame.dataset.read import open_set, read_picture
from mame.diffusion.folders import FAST
from mame.errors import MameError
from mame.formats.manifest import write_manifest
from mame.imaging import phantom
from mame.imaging.breast import find_breast
from mame.imaging.fibres import with_fibres
from mame.mammogram import Area, Density, Description, View

SPLIT = ("--split", "70,10,20")
REAL_LOOK = "ge"
AT_ONCE = 16
SHARD_MB, WEIGHTS_MB = 15, 95
Found = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of the table. met: None where it was not measured."""

    what: str
    target: str
    measured: str
    met: bool | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cdd-cesm"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--only", help=f"some of {', '.join(PARTS)}, commas between")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--pictures", type=int, default=128, help="of the real look, for distances and copies")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    options.work.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        kept = options.work / f"{name}.json"
        if not kept.is_file():
            print(f"{name} …", file=sys.stderr)
            found = PARTS[name][0](options) | {"machine": machine(), "date": f"{datetime.date.today()}"}
            kept.write_text(json.dumps(found, indent=1))
    print("| what | target | measured | met | where |\n| --- | --- | --- | --- | --- |")
    for name, (_, rows) in PARTS.items():
        kept = options.work / f"{name}.json"
        found = json.loads(kept.read_text()) if kept.is_file() else {}
        for row in rows(found):
            row = row if found else replace(row, met=None)
            met = {True: "yes", False: "**no**", None: "not yet measured"}[row.met]
            measured, where = (
                (row.measured, f"{found['date']}, {found['machine']}") if row.met is not None else ("", "")
            )
            print(f"| {row.what} | {row.target} | {measured} | {met} | {where} |")


# -- how fast ---------------------------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> Found:
    """Seconds of a picture, ours and stock in turn; of few steps, where the model has the weights; of 16 at once.

    Ours also with guidance in every step, as stock has it, where the model's card lets it end sooner.
    """
    import torch
    from diffusers import StableDiffusionPipeline

    model = mame.load_model(options.model)
    folder = str(mame.model_folder(options.model))
    stock = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    model.generate(PROMPT)
    throughout = replace_card(model, guidance_until=0) if model.card.guidance_until else None
    ours: list[float] = []
    plain: list[float] = []
    few: list[float] = []
    guided: list[float] = []
    for seed in range(options.runs):
        ours += timed(lambda s=seed: model.generate(PROMPT, seed=s, steps=STEPS, guidance=GUIDANCE), 1)  # type: ignore[misc]
        if throughout is not None:
            guided += timed(lambda s=seed: throughout.generate(PROMPT, seed=s, steps=STEPS, guidance=GUIDANCE), 1)  # type: ignore[misc]
        plain += timed(lambda: stock(PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE), 1)
        if has_few_steps(model):
            few += timed(lambda s=seed: model.generate(PROMPT, seed=s, fast=True), 1)  # type: ignore[misc]
    other = on_openvino(options.model)
    elsewhere = timed(lambda: other.generate(PROMPT, steps=STEPS, guidance=GUIDANCE), options.runs) if other else []
    (together,) = timed(lambda: model.generate(PROMPT, count=16, batch=16), 1)
    (one_by_one,) = timed(lambda: model.generate(PROMPT, count=16, batch=1), 1)
    return {
        "ours": statistics.median(ours), "stock": statistics.median(plain),
        "ratio": statistics.median(b / a for a, b in zip(ours, plain, strict=True)),
        "throughout": statistics.median(guided) if guided else None,
        "openvino": statistics.median(elsewhere) if elsewhere else None,
        "few": statistics.median(few) if few else None, "batch": one_by_one / together,
        "dtype": str(model.compute.dtype), "threads": torch.get_num_threads(),
    }  # fmt: skip


def replace_card(model: mame.Model, **changes: Any) -> mame.Model:
    """A model with some fields of its card changed, on the same weights."""
    card = model.card.model_copy(update=changes)
    return mame.Model(model.name, model.folder, card, model.parts, model.compute)


def on_openvino(name: str) -> mame.Model | None:
    """The model on OpenVINO, warm; None where that isn't installed."""
    try:
        model = mame.load_model(name, device="openvino")
    except MameError:
        return None
    model.generate(PROMPT, steps=1)
    return model


def speed_rows(found: Found) -> Iterator[Row]:
    ours, ratio, few, batch = (found.get(key) or float("nan") for key in ("ours", "ratio", "few", "batch"))
    said = f"{ours:.2f} s; {ratio:.1f} × stock"
    if throughout := found.get("throughout"):
        said += f"; guided in every step {throughout:.2f} s; {ours * ratio / throughout:.1f} × stock"
    yield Row(
        f"512², {STEPS} guided steps, warm, 2 cores", "≤ 1.3 s with AMX; ≥ 4 × stock float32",
        said, ours <= 1.3 and ratio >= 4,
    )  # fmt: skip
    other = found.get("openvino") or float("nan")
    yield Row(
        "the same on OpenVINO (`--device openvino`)", "the same", f"{other:.2f} s; {ours * ratio / other:.1f} × stock",
        other <= 1.3 and ours * ratio / other >= 4 if other == other else None,
    )  # fmt: skip
    yield Row("`--fast`, 4 steps", "≤ 0.35 s with AMX", f"{few:.2f} s", few <= 0.35 if few == few else None)
    yield Row("16 pictures at once against one by one", "≥ 1.3 × as many a second", f"{batch:.2f} ×", batch >= 1.3)


def has_few_steps(model: mame.Model) -> bool:
    """Whether the model's folder has weights for `fast`."""
    return (model.folder / FAST).is_dir()


# -- does it do what it was told --------------------------------------------------------------------------------------


def made(folder: Path, model: mame.Model, asked: list[Description], seed: int, fast: bool = False) -> Path:
    """A model's pictures of the descriptions, in a folder; some at once, which takes less time."""
    from mame.diffusion import sample

    which = model.in_few_steps() if fast else model
    steps, guidance = (which.few.steps, 1.0) if which.few is not None else (STEPS, GUIDANCE)

    def make(numbers: list[int]) -> list[mame.Mammogram]:
        orders = [sample.Order(language.write(asked[number]), seed, steps, guidance) for number in numbers]
        wanted = [sample.Wanted(order, number) for order, number in zip(orders, numbers, strict=True)]
        return sample.generate_each(which, wanted, AT_ONCE)

    return filled(folder, asked, model.size, make)


def drawn(folder: Path, asked: list[Description], seed: int) -> Path:
    """Phantoms of the descriptions, in a folder."""

    def make(numbers: list[int]) -> list[mame.Mammogram]:
        shapes = [phantom.draw((seed, number), asked[number]) for number in numbers]
        return [shape.render(shape.field_grid(512)).mammogram for shape in shapes]

    return filled(folder, asked, 512, make)


def filled(
    folder: Path, asked: list[Description], size: int, make: Callable[[list[int]], list[mame.Mammogram]]
) -> Path:
    """A folder of pictures of so many pixels a side, with a manifest; those that are there stay."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:04d}.png" for number in range(len(asked))]
    missing = [number for number, file in enumerate(files) if not file.is_file()]
    for start in range(0, len(missing), AT_ONCE):
        numbers = missing[start : start + AT_ONCE]
        for number, picture in zip(numbers, make(numbers), strict=True):
            mame.write(picture, files[number])
    lines = []
    for file, description in zip(files, asked, strict=True):
        words = {name: getattr(description, name) for name in ("vendor", "view", "density", "area")}
        lines.append({"file": file.name, "prompt": language.write(description), "description": words,
                      "laterality": "L", "spacing_mm": 256 / size})  # fmt: skip
    write_manifest(folder, lines)
    return folder


def real(options: argparse.Namespace) -> Path:
    """The prepared set whose training side mini saw."""
    folder: Path = options.work / "real"
    if not (folder / "dataset.json").is_file():
        mam_e("prepare", "cdd-cesm", options.data, folder, *SPLIT)
    return folder


def report(options: argparse.Namespace, name: str, synthetic: Path) -> Found:
    """What `mam-e assess` says of pictures against the prepared set; a report that is newer than they are stays."""
    out = options.work / f"report-{name}"
    file = out / "report.json"
    newest = max(path.stat().st_mtime for path in synthetic.glob("*.png"))
    if not file.is_file() or file.stat().st_mtime < newest:
        mam_e("assess", real(options), synthetic, "--out", out, "--workers", os.cpu_count() or 1, "--force")
    found: Found = json.loads(file.read_text(encoding="utf-8"))
    return found


def mam_e(*words: object) -> None:
    """A command of mam-e; its lines go to the error stream."""
    subprocess.run([sys.executable, "-m", "mame.cli", *map(str, words)], check=True, stdout=sys.stderr)


def adherence(options: argparse.Namespace) -> Found:
    asked = orders(options.prompts, ["hologic", "siemens", REAL_LOOK], 0)
    folder = made(options.work / "every-word", mame.load_model(options.model), asked, 1)
    return {"n": len(asked), "adherence": report(options, "every-word", folder)["adherence"]}


def adherence_rows(found: Found) -> Iterator[Row]:
    wanted = {"view": ("accuracy", 0.98), "vendor": ("accuracy", 0.95), "area": ("accuracy", 0.85),
              "density": ("weighted_kappa", 0.75)}  # fmt: skip
    for attribute, (figure, least) in wanted.items():
        said, met = [], True
        for judge, one in (found.get("adherence") or {}).get(attribute, {}).items():
            value = one[figure]["value"] if figure == "accuracy" else one[figure] or 0.0
            said.append(f"{judge}: {value:.0%}" if figure == "accuracy" else f"{judge}: {value:.2f}")
            met = met and value >= least
        target = f"≥ {least:.0%}" if figure == "accuracy" else f"kappa ≥ {least}"
        yield Row(f"{attribute} as asked, {found.get('n', 512)} prompts", target, ", ".join(said), met)


# -- does it look real ------------------------------------------------------------------------------------------------


def distances(options: argparse.Namespace) -> Found:
    """Pictures of the real look against real ones that mini never saw, and phantoms against the same.

    Both are asked for in the words of those real ones, in turn, so that the looks are compared, not how often what.
    """
    model = mame.load_model(options.model)
    asked = words_of_held_out(options)
    found = {"real look": report(options, "real-look", made(options.work / "real-look", model, asked, 2))}
    of_both = [replace(one, vendor=("hologic", "siemens")[number % 2]) for number, one in enumerate(asked)]
    found["phantoms"] = report(options, "phantoms", drawn(options.work / "phantoms", of_both, 77))
    if has_few_steps(model):
        few = made(options.work / "real-look-few-steps", model, asked, 2, fast=True)
        found["few steps"] = report(options, "real-look-few-steps", few)
    parts = ("fidelity", "told_apart", "copies")
    return {"n": len(asked), "bands": texture(options), "same seed": same_seed(options)} | {
        name: {part: one[part] for part in parts} for name, one in found.items()
    }


def same_seed(options: argparse.Namespace) -> list[float] | None:
    """PSNR of pictures in few steps against those in 24: of the same seed and number, and of the next; means, dB."""
    few, whole = (
        [read_picture(path) for path in sorted((options.work / name).glob("*.png"))]
        for name in ("real-look-few-steps", "real-look")
    )
    if len(few) != len(whole):
        return None
    others = [*whole[1:], whole[0]]
    return [float(np.mean([psnr(a, b) for a, b in zip(few, each, strict=True)])) for each in (whole, others)]


def psnr(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Of pictures in [0, 1], dB."""
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def texture(options: argparse.Namespace) -> list[float]:
    """Strength of texture in the pictures of the real look over that in real ones, by octave: of each, the median."""
    found = open_set(real(options))
    known = [found.mammogram("test", row).pixels for row in found.rows("test")]
    ours = [read_picture(path) for path in sorted((options.work / "real-look").glob("*.png"))]
    there, here = (np.median([bands(one, find_breast(one).mask) for one in each], axis=0) for each in (known, ours))
    ratios: list[float] = (here / there).tolist()
    return ratios


def words_of_held_out(options: argparse.Namespace) -> list[Description]:
    """What is to be seen in the real pictures that mini never saw, lesions apart, as often as `options.pictures`."""
    rows = open_set(real(options)).rows("test")
    chosen = [rows[number % len(rows)] for number in range(options.pictures)]
    return [Description(REAL_LOOK, View(row.view), Density(row.density_measured), Area(row.area)) for row in chosen]


def distances_rows(found: Found) -> Iterator[Row]:
    for key, name in (("frechet_mammogram", "Fréchet distance, own features"), ("frd", "FRD")):
        ours, theirs = (level(found.get(side), "fidelity", key) for side in ("real look", "phantoms"))
        floor = (found.get("real look") or {}).get("fidelity", {}).get(key, {}).get("floor") or float("nan")
        yield Row(
            f"{name}, `{REAL_LOOK}` prompts against held-out real images", "≤ half that of phantoms",
            f"{ours:.1f}; phantoms {theirs:.1f}; floor {floor:.1f}", ours <= theirs / 2,
        )  # fmt: skip
    few, whole = (level(found.get(side), "fidelity", "frechet_mammogram") for side in ("few steps", "real look"))
    yield Row(
        "Fréchet distance, own features, `--fast`", "≤ 1.25 × that of 24 steps", f"{few / whole:.2f} ×",
        few <= 1.25 * whole if few == few else None,
    )  # fmt: skip
    same, other = found.get("same seed") or (float("nan"), float("nan"))
    yield Row(
        "`--fast` against 24 steps of the same seed", "measured", f"{same:.1f} dB; of another seed {other:.1f} dB",
        True if same == same else None,
    )  # fmt: skip
    yield texture_row(f"texture of `{REAL_LOOK}` pictures against held-out real ones", found)
    excess = level(found.get("real look"), "copies", "excess_rate")
    yield Row("copies, over held-out patients", "excess ≤ 2 %", f"{excess:.1%}", excess <= 0.02)
    told = (found.get("real look") or {}).get("told_apart") or {}
    auroc = level(found.get("real look"), "told_apart", "auroc")
    power = level(found.get("real look"), "told_apart", "power")
    yield Row(
        "told apart from held-out real images", "AUROC ≤ 0.75", f"{auroc:.2f}; phantoms {power:.2f}",
        auroc <= 0.75 if told.get("has_power") else None,
    )  # fmt: skip


def level(found: Found | None, section: str, name: str) -> float:
    """A figure's value, at the floor's number of pictures where the report has that; nan where it isn't there."""
    figure = ((found or {}).get(section) or {}).get(name) or {}
    value = figure.get("at_floor", figure.get("value"))
    return float("nan") if value is None else float(value)


def autoencoder(options: argparse.Namespace) -> Found:
    """Held-out real images through the autoencoder and back: PSNR, and the spectrum of what comes back.

    Both also with the fibres that the model's card has pictures made with.
    """
    import torch

    from mame.diffusion.folders import model_folder, read_card
    from mame.diffusion.latent import decode, encode
    from mame.diffusion.model import load_autoencoder

    parts, fibres = load_autoencoder(options.model), read_card(model_folder(options.model)).fibres
    found = open_set(real(options))
    noise: dict[str, list[float]] = {"plain": [], "fibres": []}
    power: dict[str, list[np.ndarray[Any, Any]]] = {"plain": [], "fibres": []}
    with torch.inference_mode():
        for number, row in enumerate(found.rows("test")):
            pixels = found.mammogram("test", row).pixels
            inside = find_breast(pixels).mask
            back = decode(parts, encode(parts, torch.from_numpy(pixels)[None]))[0].clamp(0, 1).numpy()
            shown = {"plain": back}
            if fibres is not None:
                shown["fibres"] = with_fibres(back * inside, fibres, np.random.default_rng(number))
            for name, picture in shown.items():
                noise[name].append(psnr(picture, pixels))
                power[name].append(bands(picture, inside) / bands(pixels, inside))
    said = {
        name: {"psnr": float(np.mean(each)), "least": min(each), "bands": np.median(power[name], axis=0).tolist()}
        for name, each in noise.items()
        if each
    }
    return {"n": len(noise["plain"])} | said


def bands(pixels: np.ndarray[Any, Any], inside: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Strength of texture in the breast by octave, from 2 to 32 pixels: deviation of differences of Gaussians."""
    from scipy import ndimage

    deep = ndimage.binary_erosion(inside, iterations=12)
    blurred = [pixels, *(ndimage.gaussian_filter(pixels, sigma) for sigma in (1, 2, 4, 8))]
    return np.array([(fine - coarse)[deep].std() for fine, coarse in itertools.pairwise(blurred)])


def autoencoder_rows(found: Found) -> Iterator[Row]:
    said, met = [], []
    for name, words in (("plain", ""), ("fibres", "with fibres ")):
        if one := found.get(name):
            said.append(f"{words}{one['psnr']:.2f} dB, worst {one['least']:.1f}")
            met.append(one["psnr"] >= 33)
    yield Row(
        f"autoencoder on {found.get('n')} held-out real images at 512²", "PSNR ≥ 33 dB", "; ".join(said), all(met)
    )
    yield texture_row("texture that comes back from it", found.get("plain", {}))
    if "fibres" in found:
        yield texture_row("the same with fibres, as in the pictures made", found["fibres"])


def texture_row(what: str, found: Found) -> Row:
    """How strong texture is, by octave, over what it should be."""
    parts = found.get("bands", [])
    near = bool(parts) and all(abs(one - 1) <= 0.1 for one in parts)
    return Row(f"{what}, by octave from the finest", "within 10 %", ", ".join(f"{one:.0%}" for one in parts), near)


def healthy(options: argparse.Namespace) -> Found:
    """`healthy.py`: how many pictures that were asked for without a lesion show what could be one?"""
    said = options.work / "healthy-rates.json"
    script = Path(__file__).with_name("healthy.py")
    command = (sys.executable, script, options.work, "--data", options.data, "--json", said)
    subprocess.run(command, check=True, stdout=sys.stderr)
    return {"rates": json.loads(said.read_text())}


def healthy_rows(found: Found) -> Iterator[Row]:
    said = [f"{name}: {one['suspect']:.0%}" for name, one in found.get("rates", {}).items()]
    yield Row("pictures that show what a classifier takes for a mass", "measured", "; ".join(said), bool(said))


# -- lesions, greys, weights ------------------------------------------------------------------------------------------


def lesions(options: argparse.Namespace) -> Found:
    """`painted_lesions.py`: does a classifier of real lesions find what mini-lesion paints?"""
    script = Path(__file__).with_name("painted_lesions.py")
    said = options.work / "painted-lesions.json"
    command = (sys.executable, script, "--data", options.data, "--work", options.work / "lesions", "--json", said)
    subprocess.run(command, check=True, stdout=sys.stderr)
    found: Found = json.loads(said.read_text())
    return found


def lesions_rows(found: Found) -> Iterator[Row]:
    painted, known = (found.get(kind, {}).get("found", float("nan")) for kind in ("painted", "lesion"))
    yield Row(
        "painted lesions found by a classifier of real ones", "≥ 80 % of its rate on held-out real ones",
        f"{painted:.0%} against {known:.0%}: {painted / known:.0%}", painted >= 0.8 * known,
    )  # fmt: skip


def greys(options: argparse.Namespace) -> Found:
    """Distinct 16-bit values of a picture, the fewest of some."""
    model = mame.load_model(options.model)
    counts = []
    for number, description in enumerate(orders(options.runs, [REAL_LOOK], 3)):
        (picture,) = model.generate(language.write(description), seed=3, first=number)
        counts.append(len(np.unique(np.rint(picture.pixels * 65535).astype(np.uint16))))
    return {"fewest": min(counts), "n": len(counts)}


def greys_rows(found: Found) -> Iterator[Row]:
    fewest = found.get("fewest", 0)
    yield Row(f"distinct grey levels, fewest of {found.get('n')} pictures", "≥ 1,024", f"{fewest:,}", fewest >= 1024)


def weights(options: argparse.Namespace) -> Found:
    """Megabytes of the weights in the package, and of the largest file."""
    sizes = [path.stat().st_size / 1e6 for path in (Path(mame.__file__).parent / "weights").rglob("*.safetensors")]
    return {"all": sum(sizes), "largest": max(sizes)}


def weights_rows(found: Found) -> Iterator[Row]:
    whole, largest = found.get("all", float("nan")), found.get("largest", float("nan"))
    yield Row(
        "weights in the package", f"≤ {WEIGHTS_MB} MB, files ≤ {SHARD_MB} MB", f"{whole:.1f} MB, largest {largest:.1f}",
        whole <= WEIGHTS_MB and largest <= SHARD_MB,
    )  # fmt: skip


PARTS: dict[str, tuple[Callable[[argparse.Namespace], Found], Callable[[Found], Iterator[Row]]]] = {
    "speed": (speed, speed_rows),
    "adherence": (adherence, adherence_rows),
    "distances": (distances, distances_rows),
    "healthy": (healthy, healthy_rows),
    "autoencoder": (autoencoder, autoencoder_rows),
    "lesions": (lesions, lesions_rows),
    "greys": (greys, greys_rows),
    "weights": (weights, weights_rows),
}


if __name__ == "__main__":
    main()
