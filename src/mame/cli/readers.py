"""`mam-e readers`: reader studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mame.cli import options

commands = typer.Typer(help="Reader studies: how many readers, and what their answers show.", rich_markup_mode=None)


@commands.command("analyse")
def analyse(
    answers: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="Columns reader, case, truth, score; modality and seconds if any.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for analysis.json and analysis.html.")],
    margin: Annotated[
        float | None, typer.Option(help="Test equivalence with guessing within this margin, fixed before reading.")
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Curves, intervals, comparison and agreement of readers' answers.

    Each reader's AUROC with DeLong's interval; several readers by Obuchowski and Rockette, readers and cases random;
    kappa between readers. Prints what it shows and the page's path.
    """
    from mame.assess.readers.analysis import analyse as run
    from mame.assess.readers.answers import read_answers
    from mame.assess.readers.report import JSON, verdicts, write_analysis

    found = run(read_answers(answers), margin)
    page = write_analysis(found, out, force)
    if json:
        print((out / JSON).read_text(), end="")
        return
    for line in found.readers:
        where = f" in {line['modality']}" if line["modality"] else ""
        print(f"reader {line['reader']}{where}: AUROC {line['auc']:.3f} ({line['low']:.3f} to {line['high']:.3f})")
    for said in [*verdicts(found), *found.notes]:
        print(said)
    print(page)


@commands.command("power")
def power(
    margin: Annotated[float, typer.Option(help="Equivalence with guessing within this margin of AUROC.")] = 0.1,
    wanted: Annotated[float, typer.Option("--power", help="Chance of showing it where it is so.")] = 0.8,
    most: Annotated[int, typer.Option("--readers", help="Up to this many readers.")] = 10,
) -> None:
    """Images that a study needs, for each number of readers, before it is drawn."""
    from mame.assess.readers.power import images_needed

    needs = [images_needed(readers, margin, wanted) for readers in range(1, most + 1)]
    print("readers  images of each kind")
    for readers, need in enumerate(needs, start=1):
        print(f"{readers:7d}  {need.images_a_class if need else 'more than 5000'}")
