"""`mam-e assess`: is it good?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mame.cli import options
from mame.cli.output import announce


def assess(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="A prepared set, or a folder of real mammograms.")],
    synthetic: Annotated[Path, typer.Argument(metavar="SYNTHETIC", help="A cohort, or a folder of synthetic ones.")],
    out: options.Out = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another report.json to compare with.", show_default=False)
    ] = None,
    inception: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|download", help="Inception weights as torch-fidelity has them, for FID.", show_default=False
        ),
    ] = None,
    network: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Safetensors of a torchvision or timm network; may be repeated.", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that measure pictures.  [default: one a core]", show_default=False)
    ] = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Are synthetic mammograms good enough? One report for reviewers, radiologists and data protection officers.

    Do they look real, are they varied, do they do what the prompt said, do they copy patients? Each figure comes with
    its interval and with what real pictures score among themselves. Writes report.html and report.json, prints the
    verdicts and the page's path.
    """
    from mame.assess.report import assess as run
    from mame.assess.run import Order
    from mame.cluster import usable_cores

    order = Order(seed=seed, workers=workers or usable_cores(), inception=inception, networks=tuple(network or ()))
    report = run(real, synthetic, out, order, baseline=baseline, say=announce, force=force)
    if json:
        print(report.data.read_text(), end="")
        return
    for verdict in report.verdicts:
        print(f"{verdict.question} {verdict.grade}: {verdict.text}")
    print(report.page)
