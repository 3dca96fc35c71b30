"""`mam-e cad`: the detector's gain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mame.cli import options
from mame.cli.output import announce
from mame.errors import MameError


def cad(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A prepared set of real mammograms with lesions.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="Synthetic ones: a cohort, or a prepared set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the study; one that was stopped goes on.")],
    ratios: Annotated[
        str | None,
        typer.Option(metavar="R,R,…", help="Synthetic for each real one.  [default: 0.5,1]", show_default=False),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each arm.  [default: 3]", show_default=False)] = None,
    largest: Annotated[
        float, typer.Option(metavar="MM", help="Pictures with a longer lesion box are left out.")
    ] = 60.0,
    quick: Annotated[bool, typer.Option("--quick", help="A look at whether it runs: figures mean little.")] = False,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Does a CAD system that also learned from synthetic lesions find more real ones?

    Trains a lesion classifier and a detector on real lesions, real and synthetic ones, synthetic ones alone, and
    synthetic ones before real ones, with as many steps each; tests on the data set's test side. Prints the plan and
    the time before it starts, and the page's path at the end.
    """
    from dataclasses import replace

    from mame.assess.cad.plan import QUICK, RESULT, Plan
    from mame.assess.cad.report import verdicts, write_report
    from mame.assess.cad.study import cad as study

    plan = replace(QUICK if quick else Plan(), seed=seed, largest_mm=largest)
    if ratios is not None:
        plan = replace(plan, ratios=_ratios(ratios))
    if not largest > 0:
        raise MameError(f"--largest {largest:g}: above 0 mm")
    if seeds is not None:
        if seeds < 1:
            raise MameError(f"--seeds {seeds}: at least 1")
        plan = replace(plan, seeds=seeds, detector_seeds=min(seeds, plan.detector_seeds))
    result = study(dataset, cohort, out, plan, announce, force)
    page = write_report(result, out)
    if json:
        print((out / RESULT).read_text(), end="")
        return
    for line in [*verdicts(result), *result.notes]:
        print(line)
    print(page)


def _ratios(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < ratio <= 100 for ratio in found):
        raise MameError(f"--ratios {text!r}: give numbers between 0 and 100, with commas between them")
    return found
