"""The result of a reader study as files: `analysis.json`, and one page that needs nothing else."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from PIL import Image

from mame.assess.readers.analysis import Analysis, called
from mame.assess.readers.study import PICTURES, open_study
from mame.dataset.read import read_values
from mame.formats.atomic import atomic_write

JSON, PAGE = "analysis.json", "analysis.html"
SIDE = 300  # of the ROC drawing
THUMBNAIL = 240


def write_analysis(found: Analysis, folder: Path, force: bool = False, study: Path | None = None) -> Path:
    """Writes both files into `folder` and returns the page's path. Raises MameError where one exists already.

    study: whose pictures are shown, the ones that gave themselves away, with the readers' marks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = found.as_json()
    with atomic_write(folder / JSON, force) as file:
        file.write((json.dumps(data, indent=1) + "\n").encode())
    with atomic_write(folder / PAGE, force) as file:
        file.write(page(found, study).encode())
    return folder / PAGE


def page(found: Analysis, study: Path | None = None) -> str:
    """The page, HTML, with nothing from elsewhere in it."""
    environment = Environment(loader=PackageLoader("mame.assess.readers"), autoescape=True)
    environment.filters["area"] = _area
    return environment.get_template("analysis.html.j2").render(
        found=found, verdicts=verdicts(found), curves=[_drawn(number, one) for number, one in enumerate(found.curves)],
        pictures=_pictures(found, study) if study is not None else [],
    )  # fmt: skip


def verdicts(found: Analysis) -> list[str]:
    """What the study shows, a plain sentence each."""
    said = []
    for line in [*found.modalities, *found.readers]:
        if "equivalence" not in line:
            continue
        who = called(line["reader"]) if "reader" in line else f"the {line['readers']} readers together"
        who = who[0].upper() + who[1:]
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


def _pictures(found: Analysis, study: Path) -> list[dict[str, Any]]:
    """Of the cases told apart: the pictures as data addresses, what they are, and the marks on them."""
    drawn = {case.id: case for case in open_study(study).cases}
    return [
        {
            "case": line["case"], "truth": line["truth"],
            "marks": [mark for mark in found.marks if mark["case"] == line["case"]],
            "images": [_small(study / PICTURES / name) for name in drawn[line["case"]].pictures],
        }
        for line in found.told_apart
        if line["case"] in drawn
    ]  # fmt: skip


def _small(path: Path) -> str:
    values = read_values(path)
    small = Image.fromarray((values >> 8).astype("uint8"))
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


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
