"""`mam-e inpaint`: a lesion painted into a region of a mammogram."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mame.cli import options, output
from mame.errors import MameError

if TYPE_CHECKING:
    from mame.mammogram import Box


def inpaint(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A mammogram: DICOM, PNG or JPEG.")],
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Where: a box in pixels, x to the right, y down.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where: a picture of the image's size, bright inside.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What to paint.")] = "a mammogram with a mass",
    model: options.Model = "mini-lesion",
    window: Annotated[
        str, typer.Option(metavar="auto|whole", help="What the model sees: the region's surroundings, or the whole.")
    ] = "auto",
    spacing: Annotated[
        float | None,
        typer.Option(
            metavar="MM", help="Size of a pixel where the file lacks it.  [default: a 24 cm film]", show_default=False
        ),
    ] = None,
    seed: options.Seed = 0,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    negative: options.Negative = "",
    fast: options.Fast = False,
    out: options.Out = None,
    format: options.Format = "png",
    device: options.Device = None,
    dtype: options.Dtype = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Paint a lesion into a mammogram, at its own resolution.

    Give --box or --mask. Every stored value outside the region stays as it was. Prints the folder with the image, the
    mask and manifest.jsonl, which holds the box asked for and the box that changed.
    """
    region = _region(box, mask)
    from mame.formats.folder import parse_formats
    from mame.synthesis import orders

    formats = parse_formats(format)
    with output.progress("painting", "steps") as progress:
        folder = orders.inpaint(
            image, region, out, prompt=prompt, model=model, window=window, spacing_mm=spacing, seed=seed, steps=steps,
            guidance=guidance, negative=negative, fast=fast, formats=formats, device=device, dtype=dtype, force=force,
            progress=progress,
        )  # fmt: skip
    output.show_images(folder, json)


def _region(box: str | None, mask: Path | None) -> Box | Path:
    if (box is None) == (mask is None):
        raise MameError("say where to paint: --box X0,Y0,X1,Y1 or --mask FILE, one of them")
    if mask is not None:
        return mask
    from mame.mammogram import Box

    try:
        x0, y0, x1, y1 = (float(part) for part in str(box).split(","))
    except ValueError:
        raise MameError(f"--box {box!r}: give four numbers, X0,Y0,X1,Y1") from None
    return Box(x0, y0, x1, y1)
