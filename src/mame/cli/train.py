"""`mam-e train` and `publish`: models made from data, and given away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mame.cli import options, output


def train(
    goal: Annotated[str, typer.Argument(metavar="autoencoder|healthy|lesion|fast|attributes", help="What to train.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A prepared folder, or phantom:COUNT[:SEED].")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the run; the model is in its model/.")],
    base: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to start from: mini, mini-lesion, a folder, a hub name, or new (random weights).  "
            "[default: the recipe's]",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="default, paper-omi, paper-vindr, paper-fusion, paper-lesion-omi or paper-lesion-vindr.  "
            "[default: default, unless --config is given or --base is new]",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="full|dreambooth|lora", help="Which weights are trained, and how.", show_default=False),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", show_default=False)] = None,
    batch: Annotated[int | None, typer.Option(help="Images a backward pass.", show_default=False)] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Backward passes added up for a step.", show_default=False)
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels a side.", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Of order, noise and captions.", show_default=False)] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="auto|bf16|fp16|fp32", help="Of the forward pass.", show_default=False)
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that train together, one a GPU.", show_default=False)
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that draw examples.", show_default=False)] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of latents to share between runs.", show_default=False)
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(metavar="tensorboard|wandb|trackio|mlflow|none", help="Who draws curves.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with any option of TrainConfig.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT, with its options.")] = False,
    json: options.Json = False,
) -> None:
    """Train a model on a data set, or on phantoms.

    Ctrl-C stops it, --resume continues it. Options given here go before those of --config, and those before the
    recipe's. OUT gets config.yaml, checkpoints/, metrics.jsonl, samples/ and model/. `attributes` trains the network
    that mam-e assess reads pictures with, and knows --steps and --seed only. Prints the model's folder.
    """
    if goal == "attributes":
        others = {"--base": base, "--recipe": recipe, "--method": method, "--batch": batch, "--accumulate": accumulate,
                  "--size": size, "--learning-rate": learning_rate, "--precision": precision,
                  "--processes": processes, "--workers": workers, "--cache": cache, "--tracker": tracker,
                  "--config": config, "--resume": resume or None}  # fmt: skip
        _attributes(dataset, out, steps, seed, [name for name, value in others.items() if value is not None], json)
        return
    from mame.diffusion.config import plan

    told = plan(
        config, resume, goal=goal, dataset=dataset, out=out, base=base, recipe=recipe, method=method, steps=steps,
        batch=batch, accumulate=accumulate, size=size, learning_rate=learning_rate, seed=seed, precision=precision,
        processes=processes, workers=workers, cache=cache, tracker=tracker,
    )  # fmt: skip
    from mame.diffusion.train import train

    with output.training() as (announce, progress):
        model = train(told, resume, announce, progress)
    if json:
        output.show_json({"model": str(model)})
    else:
        print(model)


def _attributes(dataset: str, out: Path, steps: int | None, seed: int | None, others: list[str], as_json: bool) -> None:
    from mame.assess.attributes.learn import STEPS, train_attributes
    from mame.errors import MameError

    if others:
        raise MameError(f"{others[0]} is not for attributes, which know --steps and --seed only")
    folder = train_attributes(dataset, out, steps or STEPS, seed or 0, output.announce)
    if as_json:
        output.show_json({"model": str(folder)})
    else:
        print(folder)


def publish(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a model's name.")],
    to: Annotated[str, typer.Argument(metavar="REPO|FOLDER", help="A hub name (owner/name), or a new folder.")],
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What was measured of it (report.json).", show_default=False)
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="On the hub: for everybody to read.")] = False,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Give a model away, with a model card filled from its run.

    Data and their licences, recipe, curves, samples, what was measured, limits, and the licence of the base, whose use
    restrictions go along. Prints the folder or the address.
    """
    from mame.diffusion.publish import publish as run

    place = run(model, to, report, public, force)
    if json:
        output.show_json({"published": place})
    else:
        print(place)
