"""`mam-e demo`: what it does, in two minutes, on real input."""

from __future__ import annotations

from typing import Annotated

import typer

from mame.cli import options, output


def demo(
    model: options.Model = "mini",
    lesion_model: Annotated[str, typer.Option(help="The model that paints.")] = "mini-lesion",
    seed: options.Seed = 0,
    out: options.Out = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """See what MAM-E does on real mammograms, as a page to open.

    Finds the breast in real films, makes four mammograms from prompts, paints a mass into a real and into a synthetic
    one, and writes PNG, DICOM, labels and index.html, in about two minutes. Prints the path of the page.
    """
    from mame.synthesis.demo import demo as run

    page = run(
        out, model=model, lesion_model=lesion_model, seed=seed, device=device, dtype=dtype, force=force,
        announce=output.announce,
    )  # fmt: skip
    if json:
        output.show_json({"page": str(page), "folder": str(page.parent)})
    else:
        print(page)
