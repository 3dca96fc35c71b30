"""`mam-e prepare`, `fuse`, `verify` and `export`: real data sets in, one prepared data set out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mame.cli import options, output

REPORT_EVERY_S = 30.0
FAULTS = 1  # exit code of verify where it finds any

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to, or to go on in.")]


def prepare(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="vindr, optimam, cbis-ddsm, …, dicom or phantom.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Where the data set lies.")],
    out: Out,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 512,
    framing: Annotated[
        str | None,
        typer.Option(metavar="field|center_crop", help="What is kept.  [default: field]", show_default=False),
    ] = None,
    only: Annotated[str | None, typer.Option(metavar="healthy|lesions", help="Which images.")] = None,
    vendor: Annotated[list[str] | None, typer.Option(help="Only this vendor; may be repeated.")] = None,
    view: Annotated[str | None, typer.Option(metavar="CC|MLO", help="Only this view.")] = None,
    finding: Annotated[list[str] | None, typer.Option(help="Only images with this finding; may be repeated.")] = None,
    no_implants: Annotated[bool, typer.Option("--no-implants", help="Leave out breasts with implants.")] = False,
    no_magnification: Annotated[
        bool, typer.Option("--no-magnification", help="Leave out magnified and spot views.")
    ] = False,
    recipe: Annotated[
        str | None, typer.Option(metavar="paper-omi|paper-vindr", help="The paper's selection, frame and captions.")
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="What text says: vendor, view, density or measured, area, kind, lesion.  [default: all]",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="TRAIN,VALIDATION,TEST", help="Shares of the patients, where the set has no split.")
    ] = "80,10,10",
    windows: Annotated[int, typer.Option(help="Windows around each lesion, at full detail.")] = 1,
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="Size of a pixel where the files lack it or are wrong.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key of the pseudonyms.  [default: ~/.config/mam-e/key]", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split and of the windows' places.")] = 0,
    workers: Annotated[int, typer.Option(help="Images prepared at once; each takes up to 0.7 GB of memory.")] = 1,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="Run on a Ray cluster (extra `cluster`).")
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Prepare a data set to train on: one layout, whatever the source.

    Reads every image, finds the breast, frames it, carries the lesions along, and writes train/, validation/ and test/
    by patient, dataset.json, failures.csv and a data card, index.html. Patients get pseudonyms. The same command again
    goes on where a run was stopped. Prints the folder.
    """
    from mame.dataset.gather import prepare as run

    with progress("preparing") as report:
        folder = run(
            source, root, out, size=size, framing=framing, only=only, vendors=tuple(vendor or ()), view=view,
            findings=tuple(finding or ()), no_implants=no_implants, no_magnification=no_magnification, recipe=recipe,
            caption=caption, split=split, windows=windows, spacing_mm=spacing, key=key, seed=seed,
            workers=workers, ray=ray, force=force, progress=report,
        )  # fmt: skip
    _show(folder, json)


def fuse(
    datasets: Annotated[list[Path], typer.Argument(metavar="A B … OUT", help="Prepared sets, and the new folder.")],
    caption: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS", help="What text says.  [default: each set's own, and the vendor]", show_default=False
        ),
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Join prepared sets into one. Sides are kept, and no patient or picture is on two."""
    from mame.dataset.fuse import fuse as run

    *sets, out = datasets
    _show(run(sets, out, words=caption, force=force), json)


def verify(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A prepared folder.")], json: options.Json = False
) -> None:
    """Prove a prepared set: files, hashes, masks, boxes, sides. Prints each fault; exit code 1 where there is one."""
    from mame.dataset.verify import verify as run

    faults = run(dataset)
    if json:
        output.show_json({"folder": str(dataset), "faults": faults})
    else:
        print("\n".join(faults) if faults else f"{dataset}: no fault found")
    if faults:
        raise typer.Exit(FAULTS)


def export(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A prepared folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to.")],
    bits: Annotated[int, typer.Option(help="Bits a channel: 8.")] = 8,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Copy a prepared set with 8-bit RGB pictures, for other trainers. Prints the folder."""
    from mame.dataset.export import export as run

    folder = run(dataset, out, bits, force)
    if json:
        output.show_json({"folder": str(folder)})
    else:
        print(folder)


@contextmanager
def progress(what: str, unit: str = "images") -> Iterator[Callable[[int, int], None]]:
    """Progress with rate and time left: a bar on a terminal, else a line now and then."""
    with output.progress(what, unit) as bar:
        began = last = time.monotonic()
        first: int | None = None

        def report(done: int, total: int) -> None:
            nonlocal last, first
            if bar is not None:
                bar(done, total)
            first = done if first is None else first
            now = time.monotonic()
            if (now - last < REPORT_EVERY_S and done < total) or done == first:
                return
            last, rate = now, (done - first) / max(now - began, 1e-3)
            if bar is None or done == total:
                left = (total - done) / max(rate, 1e-9) / 60
                output.announce(f"{what}: {done}/{total} {unit}, {rate:.1f} {unit}/s, {left:.0f} min left")

        yield report


def _show(folder: Path, as_json: bool) -> None:
    from mame.dataset.layout import DATASET, read_json

    about = read_json(folder / DATASET)
    if as_json:
        output.show_json({"folder": str(folder)} | about)
        return
    counts = about["counts"]
    left_out = counts["images_failed"] + counts["images_duplicate"]
    told = ", ".join(f"{count} {what}" for what, count in about.get("left_out_by_the_source", {}).items())
    print(
        f"{counts['images']} images, {counts['lesions']} lesions; left out: {left_out} images, "
        f"{counts['lesions_dropped']} lesions{told and f'; wrong in the source: {told}'} (failures.csv)",
        file=sys.stderr,
    )
    if counts["images_with_conflicts"]:
        print(f"{counts['images_with_conflicts']} images contradict themselves (`conflicts`)", file=sys.stderr)
    print(folder)
