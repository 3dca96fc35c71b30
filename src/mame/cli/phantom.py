"""`mam-e phantom`: a labelled data set from the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mame.cli import options, output


def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to, or to go on in.")],
    count: Annotated[int, typer.Option(help="How many images.")] = 8,
    seed: options.Seed = 0,
    lesions: Annotated[float, typer.Option(metavar="SHARE", help="Share of images with a lesion, 0 to 1.")] = 0.5,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Pixels a side of the 256 mm field.  [default: the machine's matrix]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Images drawn at once; each takes about 1.2 GB of memory.")] = 1,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Draw labelled phantoms: DICOM of full size, or smaller and sooner, with exact truth.

    Writes images/, masks/, labels/ and manifest.jsonl. Image i depends on the seed and i alone; the same command again
    completes what was stopped. Prints the folder.
    """
    from mame.synthesis import phantoms

    with output.progress("drawing", "images") as progress:
        folder = phantoms.phantom(
            out, count, seed, lesion_share=lesions, size=size, workers=workers, force=force, progress=progress
        )
    output.show_images(folder, json)
