"""Giving a model away: its folder with a model card filled from its run, for the hub or for another folder."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mame.diffusion.folders import CARD, ModelCard, is_hub_name, is_inpainting, model_folder, read_card
from mame.diffusion.sample import software
from mame.errors import MameError

RAIL = (
    "{name} ({url}), the licence of the base. Its use restrictions (Attachment A) hold for this model and for what is "
    "made with it, and have to be passed on with both: among others no use that breaks a law, that harms or exploits "
    "minors, that spreads false information in order to harm, that defames, and none that gives medical advice or "
    "interprets medical results."
)
LICENCES = {
    "creativeml-openrail-m": RAIL.format(
        name="CreativeML Open RAIL-M", url="https://huggingface.co/spaces/CompVis/stable-diffusion-license"
    ),
    "openrail++": RAIL.format(
        name="CreativeML Open RAIL++-M",
        url="https://huggingface.co/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL",
    ),
    "apache-2.0": "Apache-2.0, the licence of the base.",
}
TOLD = (  # options of the run that a reader asks for first
    "steps", "batch", "accumulate", "processes", "learning_rate", "optimizer", "precision", "size", "prediction",
    "train_text_encoder", "captions", "caption_dropout", "field_dropout", "min_snr_gamma", "augment", "ema_decay",
    "region_weight", "seed", "result",
)  # fmt: skip
MOST_MEASURES = 60


def publish(model: str, to: str, report: Path | None = None, public: bool = False, force: bool = False) -> str:
    """Write a model with its card to a new folder, or to the hub as owner/name; returns the folder or the address.

    model: a model folder, the folder of a run, or a name. report: a JSON file whose figures go into the card (what
    `mam-e assess` wrote). public: on the hub anybody may read it; without, only its owner.
    Raises MameError for a folder that exists (without force), a report that can't be read, and an unreachable hub.
    """
    source = Path(model)
    source = source / "model" if (source / "config.yaml").is_file() and (source / "model").is_dir() else source
    folder = model_folder(source if source.is_dir() else model)
    upload = is_hub_name(to) and not Path(to).parent.is_dir()
    place = Path(to)
    if not upload and place.exists() and not force:
        raise MameError(f"{place}: exists already; use --force (force=True) to replace it")
    try:
        if not upload:
            place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mam-e-", dir=None if upload else place.parent) as beside:
            made = Path(beside) / "model"
            shutil.copytree(folder, made)
            write_card(made, to if upload else place.resolve().name, folder.parent, report)
            if upload:
                return _upload(made, to, public)
            made.chmod(0o755)
            if place.exists():
                shutil.rmtree(place)
            made.rename(place)
    except OSError as error:
        raise MameError(f"{place}: the model can't be written: {error.strerror or error}") from None
    return str(place)


def write_card(folder: Path, target: str, run: Path, report: Path | None = None) -> None:
    """Write README.md (and the curve and samples of `run`, where it has them) into a model folder.

    target: the name it will be called by. Raises MameError for a report that can't be read.
    """
    card = read_card(folder)
    inpainting = is_inpainting(folder)
    training = card.training
    losses, validation = _curves(run)
    samples = sorted((run / "samples").glob("*.png"))
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    templates = Environment(loader=PackageLoader("mame.diffusion"), undefined=StrictUndefined, autoescape=False)
    if len(validation) > 1:
        _write_curve(templates, folder / "curve.svg", losses, validation)
    if samples:
        shutil.copyfile(samples[-1], folder / "samples.png")
    text = templates.get_template("card.md.j2").render(
        name=target.rstrip("/").split("/")[-1],
        target=target,
        card=card,
        training={"base": "", "recipe": "", "method": "", "dataset": "", "size": 0} | training,
        data={"title": "", "url": "", "licence": "", "citation": "", "variations": 0} | training.get("data", {}),
        base_on_hub=is_hub_name(str(training.get("base", ""))),
        options=[(key, training[key]) for key in TOLD if training.get(key) is not None],
        inpainting=inpainting,
        pipeline="StableDiffusionInpaintPipeline" if inpainting else "StableDiffusionPipeline",
        prediction=scheduler.get("prediction_type", "epsilon"),
        prompt=_example_prompt(card, inpainting),
        version=software().removeprefix("mam-e").strip() or "(unreleased)",
        curve=len(validation) > 1,
        start={"validation_loss": validation[0][1]} if validation else None,
        lowest=_lowest(validation),
        samples=bool(samples),
        measures=_measures(report),
        licence=_licence(str(training.get("base_licence", "unknown"))),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _example_prompt(card: ModelCard, inpainting: bool) -> str:
    if inpainting:
        return (
            "a mammogram with suspicious calcifications"
            if card.lesions == ("calcifications",)
            else ("a mammogram with a mass")
        )
    vendor = f"{card.vendors[0]} " if card.vendors else ""
    return f"a {vendor}mammogram in MLO view with high density and medium area"


def _licence(identifier: str) -> dict[str, str]:
    known = LICENCES.get(identifier)
    if known is None:
        text = f"The base's licence is {identifier!r}: read it before this model is passed on."
        return {"identifier": "other" if identifier == "unknown" else identifier, "text": text}
    return {"identifier": identifier, "text": known}


def _curves(run: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """(step, loss) of training and of validation in a run's metrics.jsonl; none where there is no run."""
    path = run / "metrics.jsonl"
    found: dict[str, list[tuple[int, float]]] = {"loss": [], "validation_loss": []}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        said = json.loads(line)
        for name, points in found.items():
            if name in said and math.isfinite(said[name]):
                points.append((int(said["step"]), float(said[name])))
    return found["loss"], found["validation_loss"]


def _lowest(validation: list[tuple[int, float]]) -> dict[str, float] | None:
    if not validation:
        return None
    step, loss = min(validation, key=lambda point: point[1])
    return {"step": step, "validation_loss": loss}


def _write_curve(
    templates: Environment, path: Path, losses: list[tuple[int, float]], validation: list[tuple[int, float]]
) -> None:
    values = [value for _, value in losses + validation]
    last, low, high = max(step for step, _ in losses + validation), min(values), max(values)
    spread = max(high - low, 1e-9)

    def points(line: list[tuple[int, float]]) -> str:
        places = ((50 + 570 * step / max(last, 1), 260 - 240 * (value - low) / spread) for step, value in line)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)

    lines = [
        {"name": "training", "colour": "#999", "points": points(losses), "y": 34},
        {"name": "held-out patients", "colour": "#5e35b1", "points": points(validation), "y": 50},
    ]
    text = templates.get_template("curve.svg.j2").render(
        lines=lines,
        x_ticks=[(50, "0"), (335, str(last // 2)), (620, str(last))],
        y_ticks=[(264, f"{low:.3g}"), (144, f"{(low + high) / 2:.3g}"), (24, f"{high:.3g}")],
    )
    path.write_text(text, encoding="utf-8")


def _measures(report: Path | None) -> list[tuple[str, str]]:
    """The figures in a report, each with the path to it."""
    if report is None:
        return []
    try:
        said = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MameError(f"{report}: not a report that can be read: {error}") from None
    found: list[tuple[str, str]] = []

    def walk(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, (*path, str(key)))
        elif isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
            found.append(
                (" · ".join(path), " to ".join(f"{one:.4g}" for one in value) if len(value) == 2 else str(value))
            )
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((" · ".join(path), f"{value:.4g}"))
        elif isinstance(value, str) and len(value) < 80:
            found.append((" · ".join(path), value))

    walk(said, ())
    return found[:MOST_MEASURES]


def _upload(folder: Path, name: str, public: bool) -> str:
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        hub.create_repo(name, private=not public, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message=f"{CARD}, weights and card by {software()}")
    except Exception as error:  # the hub's client raises a dozen kinds: offline, no token, no right, timed out
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MameError(
            f"{name}: can't be put on the hub ({reason}); `hf auth login` first, or give a folder"
        ) from None
    return f"https://huggingface.co/{name}"
