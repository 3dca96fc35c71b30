"""The result of a reader study as files: `analysis.json`, and one page that needs nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from mame.assess.readers.analysis import Analysis
from mame.formats.atomic import atomic_write

JSON, PAGE = "analysis.json", "analysis.html"
SIDE = 300  # of the ROC drawing


def write_analysis(found: Analysis, folder: Path, force: bool = False) -> Path:
    """Writes both files into `folder` and returns the page's path. Raises MameError where one exists already."""
    folder.mkdir(parents=True, exist_ok=True)
    data = found.as_json()
    with atomic_write(folder / JSON, force) as file:
        file.write((json.dumps(data, indent=1) + "\n").encode())
    with atomic_write(folder / PAGE, force) as file:
        file.write(page(found).encode())
    return folder / PAGE


def page(found: Analysis) -> str:
    """The page, HTML."""
    environment = Environment(loader=PackageLoader("mame.assess.readers"), autoescape=True)
    environment.filters["area"] = _area
    return environment.get_template("analysis.html.j2").render(
        found=found, verdicts=verdicts(found), curves=[_drawn(number, one) for number, one in enumerate(found.curves)]
    )


def verdicts(found: Analysis) -> list[str]:
    """What the study shows, a plain sentence each."""
    said = []
    for line in [*found.modalities, *found.readers]:
        if "equivalence" not in line:
            continue
        who = f"Reader {line['reader']}" if "reader" in line else f"The {line['readers']} readers together"
        test = line["equivalence"]
        shown = "shown" if test["shown"] else "not shown"
        said.append(
            f"{who}{' in ' + line['modality'] if line['modality'] else ''}: {shown} to be equivalent to guessing at "
            f"±{test['margin']:g} (AUROC {_area(line)}, p = {test['p']:.3g})."
        )
    if found.comparison:
        one = found.comparison
        differ = "differ" if one["p"] < 0.05 else "are not shown to differ"
        said.append(
            f"{one['first']} and {one['second']} {differ}: {one['difference']:.3f} "
            f"({one['low']:.3f} to {one['high']:.3f}), p = {one['p']:.3g}."
        )
    return said


def _area(line: dict[str, Any]) -> str:
    return f"{line['auc']:.3f} ({line['low']:.3f} to {line['high']:.3f})"


def _drawn(number: int, curve: dict[str, Any]) -> dict[str, str]:
    points = zip(curve["false_positive"], curve["true_positive"], strict=True)
    name = " · ".join(word for word in (curve["reader"], curve["modality"]) if word)
    return {
        "name": name,
        "colour": f"hsl({number * 137 % 360} 70% 55%)",
        "points": " ".join(f"{SIDE * x:.1f},{SIDE * (1 - y):.1f}" for x, y in points),
    }
