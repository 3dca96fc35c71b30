"""`inbreast`: INbreast, Portuguese full-field mammograms with outlines drawn by specialists."""

from __future__ import annotations

import math
import plistlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from mame.errors import MameError
from mame.mammogram import Laterality, LesionKind, View
from mame.sources.record import Finding, Point, Problem, Record
from mame.sources.tables import Row, density_of, known, lesion_kind, read_rows

TITLE = "INbreast"
URL = "https://doi.org/10.1016/j.acra.2011.09.014"
LICENCE = "on request from the authors: research and teaching"
CITATION = "Moreira I. C. et al., Academic Radiology 19(2) (2012), doi 10.1016/j.acra.2011.09.014"
FOLDER = "INbreast Release 1.0"
TABLE, IMAGES, OUTLINES = "INbreast.csv", "AllDICOMs", "AllXML"
COLUMNS = ("Patient ID", "Laterality", "View", "File Name", "ACR", "Bi-Rads")
OPTIONAL = ("Patient age", "Acquisition date")
POINT_RADIUS_PX = 4.0
"""Of a mark that is a single point, a calcification as a rule: a little circle, 0.28 mm at the set's 70 µm."""


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order of the table. Raises MameError for a wrong root or column."""
    place = root / FOLDER if (root / FOLDER).is_dir() else root
    if not (place / TABLE).is_file():
        raise MameError(f"{root}: is not INbreast (looked for {FOLDER}/{TABLE} and {TABLE})")
    images = {path.name.split("_")[0]: path for path in sorted((place / IMAGES).glob("*.dcm"))}
    outlines = {path.stem: path for path in sorted((place / OUTLINES).glob("*.xml"))}
    for row in read_rows(place / TABLE, COLUMNS, OPTIONAL, delimiter=";"):
        name = row["File Name"]
        if not name:
            continue  # the table ends in empty lines
        path = images.pop(name, None)
        if path is None:
            yield Problem(name, "row", "its image isn't there")
            continue
        yield from _record(path, name, row, outlines.pop(name, None))
    for path in images.values():
        yield Problem(path.name.split("_")[0], "image", f"has no row in {TABLE}")
    for name in outlines:
        yield Problem(name, "outline", "belongs to no image")


def _record(path: Path, name: str, row: Row, outline: Path | None) -> Iterator[Record | Problem]:
    findings: list[Finding] = []
    if outline is not None:
        for found in _findings(outline, row["Bi-Rads"]):
            if isinstance(found, str):
                yield Problem(name, "outline", found)
            else:
                findings.append(found)
    density, told = density_of(row["ACR"], name)
    side, side_told = known(Laterality, row["Laterality"], "laterality", name)
    view, view_told = known(View, "MLO" if row["View"].upper() == "ML" else row["View"], "view", name)
    yield from (*told, *side_told, *view_told)
    yield Record(
        path,
        name,
        _patient(path, row),
        laterality=side,
        view=view,
        density=density,
        birads=row["Bi-Rads"],
        age=row["Patient age"],
        healthy=outline is None and row["Bi-Rads"] in ("1", "2"),
        findings=tuple(findings),
    )


def _patient(path: Path, row: Row) -> str:
    """The table's patient, or, where that was removed, the hash that all files of a patient share."""
    said = row["Patient ID"]
    if said and said.lower() != "removed":
        return said
    parts = path.stem.split("_")
    return parts[1] if len(parts) > 1 else path.stem


def _findings(path: Path, birads: str) -> Iterator[Finding | str]:
    """The regions of an outline file; a line for each that can't be understood."""
    try:
        with open(path, "rb") as file:
            said = plistlib.load(file, fmt=plistlib.FMT_XML)
        regions = said["Images"][0]["ROIs"]
    except (OSError, ExpatError, plistlib.InvalidFileException, ValueError, KeyError, IndexError, TypeError) as error:
        yield f"its outlines can't be read: {error or type(error).__name__}"
        return
    for number, region in enumerate(regions, start=1):
        try:
            words = str(region.get("Name", "")).strip()
            corners = [_point(point) for point in region["Point_px"]]
            if not corners:
                raise ValueError("it has no point")
        except (AttributeError, KeyError, TypeError, ValueError, MameError) as error:
            yield f"outline {number} can't be understood: {error}"
            continue
        kind = LesionKind.MASS if "spiculated" in words.lower() else lesion_kind(words.replace("Cluster", "calc"))
        yield Finding(kind, words, polygons=(_outline(corners),), birads=birads)


def _point(said: Any) -> Point:
    """`(x, y)` as text, or two numbers."""
    values = re.findall(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", said) if isinstance(said, str) else list(said)
    if len(values) != 2:
        raise ValueError(f"{said!r} is no point")
    x, y = (float(value) for value in values)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"{said!r} is no point")
    return x, y


def _outline(corners: Sequence[Point]) -> tuple[Point, ...]:
    if len(corners) > 2:
        return tuple(corners)
    x, y = corners[0]
    steps = [2 * math.pi * step / 12 for step in range(12)]
    return tuple((x + POINT_RADIUS_PX * math.cos(turn), y + POINT_RADIUS_PX * math.sin(turn)) for turn in steps)
