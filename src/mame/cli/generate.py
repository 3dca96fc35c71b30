"""`mam-e generate`: healthy mammograms from a prompt."""

from __future__ import annotations

from typing import Annotated

import typer

from mame.cli import options, output


def generate(
    prompt: Annotated[str, typer.Argument(help="Such as 'a siemens mammogram in MLO view with high density'.")],
    model: options.Model = "mini",
    count: Annotated[int, typer.Option(help="How many images.")] = 1,
    seed: options.Seed = 0,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    negative: options.Negative = "",
    fast: options.Fast = False,
    side: Annotated[str, typer.Option(metavar="L|R", help="Which breast.")] = "L",
    out: options.Out = None,
    format: options.Format = "png",
    batch: Annotated[
        int | None,
        typer.Option(help="Images made at once.  [default: 1, or 8 on a GPU]", show_default=False),
    ] = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Make healthy mammograms from a prompt.

    Prompts: a [VENDOR] mammogram in CC|MLO view with [very] low|high density and small|medium|big area. Free text works
    too, as far as the model knows the words. Prints the folder with the images and manifest.jsonl.
    """
    from mame.formats.folder import parse_formats
    from mame.synthesis import orders

    formats = parse_formats(format)
    with output.progress("generating", "steps") as progress:
        folder = orders.generate(
            prompt, out, model=model, count=count, seed=seed, steps=steps, guidance=guidance, negative=negative,
            fast=fast, side=side, formats=formats, batch=batch, device=device, dtype=dtype, force=force,
            progress=progress,
        )  # fmt: skip
    output.show_images(folder, json)
