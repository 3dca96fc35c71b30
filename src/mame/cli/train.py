"""`mam-e train`: an autoencoder, a healthy model or a lesion model, from scratch or from a base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mame.cli import options, output


def train(
    goal: Annotated[str, typer.Argument(metavar="autoencoder|healthy|lesion", help="What to train.")],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A prepared folder, or phantom:COUNT[:SEED].")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the run; the model is in its model/.")],
    base: Annotated[
        str | None, typer.Option(help="A model to start from, or new.  [default: new]", show_default=False)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", show_default=False)] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step.", show_default=False)] = None,
    accumulate: Annotated[int | None, typer.Option(help="Batches added up before a step.", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Of order, noise and captions.", show_default=False)] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="auto|bf16|fp16|fp32", help="Of the forward pass.", show_default=False)
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that draw examples.", show_default=False)] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of latents to share between runs.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with any option of TrainConfig.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT.")] = False,
    json: options.Json = False,
) -> None:
    """Train a model on a data set, or on phantoms.

    Ctrl-C stops it, --resume continues it. Options given here go before those of --config. OUT gets config.yaml,
    checkpoints/, metrics.jsonl, samples/ and model/. Prints the model's folder.
    """
    from mame.diffusion.config import TrainConfig

    told = TrainConfig.read(
        config, goal=goal, dataset=dataset, out=out, base=base, steps=steps, batch=batch, accumulate=accumulate,
        learning_rate=learning_rate, seed=seed, precision=precision, workers=workers, cache=cache,
    )  # fmt: skip
    from mame.diffusion.train import train

    model = train(told, resume, output.announce)
    if json:
        output.show_json({"model": str(model)})
    else:
        print(model)
