"""`mam-e synthesize`: a cohort from a plan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mame.cli import datasets, options, output

SHORT = 1  # exit code where images are missing


def synthesize(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan in YAML.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to, or to go on in.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what will be made, and the time and disk it takes.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes.  [default: as many as there are cores and memory for]", show_default=False),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="Run on a Ray cluster (extra `cluster`).")
    ] = None,
    shards: Annotated[
        int | None, typer.Option(metavar="N", help="Write tar files of N images each, for WebDataset.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key of the pseudonyms, for DICOM backgrounds.", show_default=False),
    ] = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Make a labelled cohort: images, labels, provenance, exactly as a plan orders them.

    The folder is a prepared data set with images/, labels/ and manifest.jsonl beside it. The same command again goes on
    where a run was stopped. Prints the folder; the exit code is 1 where an image could not be made as ordered.
    """
    from mame.synthesis.cohort import run

    if dry_run:
        seen = run.foresee(plan, workers=workers, key=key, device=device, dtype=dtype)
        if json:
            output.show_json(seen.to_json())
        else:
            print(seen.to_text())
        return
    with datasets.progress("synthesizing") as report:
        folder = run.synthesize(
            plan, out, workers=workers, ray=ray, shards=shards, key=key, device=device, dtype=dtype, force=force,
            progress=report,
        )  # fmt: skip
    about = run.read_cohort(folder)
    if json:
        output.show_json({"folder": str(folder)} | about)
    else:
        print(
            f"{about['made']} of {about['asked']} images, {about['counts']['lesions']} lesions; "
            f"{about['tries']} pictures and lesions were made for them",
            file=sys.stderr,
        )
        print(folder)
    if about["made"] < about["asked"]:
        raise typer.Exit(SHORT)
