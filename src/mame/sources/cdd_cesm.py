"""`cdd-cesm`: the low-energy images of CDD-CESM, which look like standard mammograms, with outlines drawn by hand.

Two layouts: the set as published (Radiology-manual-annotations.csv, Radiology_hand_drawn_segmentations_v2.csv, JPEG
images anywhere below), and an excerpt with index.csv, whose outlines stand in the table.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mame.errors import MameError
from mame.mammogram import Laterality, View
from mame.sources.record import Finding, Point, Problem, Record
from mame.sources.tables import Row, density_of, known, lesion_kind, read_rows

TITLE = "CDD-CESM: low-energy images"
URL = "https://doi.org/10.7937/29kw-ae92"
LICENCE = "CC BY 4.0"
CITATION = "Khaled R. et al., Scientific Data 9 (2022), doi 10.1038/s41597-022-01238-0"
TABLE = "Radiology-manual-annotations.csv"
OUTLINES = "Radiology_hand_drawn_segmentations_v2.csv"
INDEX = "index.csv"
PATHOLOGY = ("Pathology Classification/ Follow up", "Pathology Classification/Follow up")
MACHINES = {"1": "ge"}  # the set's first unit; which make the second one is, its tables don't say
CORNERS = 72  # of an ellipse as a polygon


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order of the table. Raises MameError where neither table is there, or a column is missing."""
    if (root / TABLE).is_file():
        yield from _published(root)
    elif (root / INDEX).is_file():
        yield from _excerpt(root)
    else:
        raise MameError(f"{root}: is not CDD-CESM (looked for {TABLE} and {INDEX})")


def _published(root: Path) -> Iterator[Record | Problem]:
    columns = ("Image_name", "Patient_ID", "Side", "Type", "Age", "Breast density (ACR)", "BIRADS", "Findings", "View")
    shapes: dict[str, list[Any]] = defaultdict(list)
    if (root / OUTLINES).is_file():
        for row in read_rows(root / OUTLINES, ("#filename", "region_shape_attributes")):
            shapes[Path(row["#filename"]).stem].append(row["region_shape_attributes"])
    images = {path.stem: path for path in sorted(root.rglob("*.jpg"))}
    for row in read_rows(root / TABLE, columns, (*PATHOLOGY, "Machine")):
        name = row["Image_name"]
        if row["Type"] != "DM":
            images.pop(name, None)  # subtracted images are no mammograms
            continue
        path = images.pop(name, None)
        if path is None:
            yield Problem(name, "row", "its image isn't there")
            continue
        facts = {
            "laterality": row["Side"],
            "view": row["View"],
            "density": row["Breast density (ACR)"],
            "birads": row["BIRADS"],
            "findings": row["Findings"],
            "pathology": next((row[column] for column in PATHOLOGY if row[column]), ""),
            "age": row["Age"],
            "machine": row["Machine"],
        }
        yield from _record(path, name, facts, shapes[name], f"P{row['Patient_ID'].removeprefix('P')}")
    for name in images:
        yield Problem(name, "image", f"has no row in {TABLE}")


def _excerpt(root: Path) -> Iterator[Record | Problem]:
    columns = ("file", "mask", "patient", "laterality", "view", "density", "birads", "findings", "pathology", "age")
    for row in read_rows(root / INDEX, (*columns, "outlines"), ("machine",)):
        path = root / row["file"]
        if not path.is_file():
            yield Problem(row["file"], "row", "its image isn't there")
            continue
        name = str(Path(row["file"]).with_suffix("")).replace("/", "-")
        shapes = json.loads(row["outlines"]) if row["outlines"].strip() else []
        mask = root / row["mask"] if row["mask"].strip() else None
        # images of a patient who isn't known stay on the training side: they may show one who is
        patient, split = (row["patient"], None) if row["patient"].strip() else (Path(row["file"]).stem, "train")
        yield from _record(path, name, row, shapes, patient, mask, split)


def _record(
    path: Path,
    name: str,
    row: Row,
    shapes: Sequence[Any],
    patient: str,
    mask: Path | None = None,
    split: str | None = None,
) -> Iterator[Record | Problem]:
    words, pathology = row["findings"], row["pathology"]
    findings: list[Finding] = []
    for number, shape in enumerate(shapes, start=1):
        try:
            polygon = _polygon(json.loads(shape) if isinstance(shape, str) else shape)
        except (KeyError, ValueError, TypeError) as error:
            yield Problem(name, "outline", f"outline {number} can't be understood: {error}")
            continue
        findings.append(_finding(words, pathology, row, polygons=(polygon,)))
    if mask is not None and not findings:
        findings.append(_finding(words, pathology, row, mask=mask))
    density, told = density_of(row["density"], name)
    side, side_told = known(Laterality, row["laterality"][:1], "laterality", name)
    view, view_told = known(View, row["view"], "view", name)
    yield from (*told, *side_told, *view_told)
    yield Record(
        path,
        name,
        patient,
        laterality=side,
        view=view,
        vendor=MACHINES.get(row["machine"]),
        density=density,
        birads=row["birads"],
        pathology=pathology,
        age=row["age"],
        split=split,
        healthy=False if shapes or findings else pathology.lower() == "normal" if pathology else None,
        findings=tuple(findings),
    )


def _finding(
    words: str, pathology: str, row: Row, polygons: tuple[tuple[Point, ...], ...] = (), mask: Path | None = None
) -> Finding:
    return Finding(lesion_kind(words), words, None, polygons, mask, row["birads"], pathology)


def _polygon(shape: dict[str, Any]) -> tuple[Point, ...]:
    """The corners of a VGG annotator's shape."""
    kind = shape["name"]
    if kind in ("polygon", "polyline"):
        corners = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        return tuple((float(x), float(y)) for x, y in corners)
    if kind not in ("circle", "ellipse"):
        raise ValueError(f"shape {kind!r}")
    rx, ry = (shape["r"], shape["r"]) if kind == "circle" else (shape["rx"], shape["ry"])
    turn = float(shape.get("theta", 0.0))
    found = []
    for step in range(CORNERS):
        angle = 2 * math.pi * step / CORNERS
        x, y = rx * math.cos(angle), ry * math.sin(angle)
        found.append(
            (
                shape["cx"] + x * math.cos(turn) - y * math.sin(turn),
                shape["cy"] + x * math.sin(turn) + y * math.cos(turn),
            )
        )
    return tuple(found)
