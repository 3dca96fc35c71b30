"""`dicom`: any folder of mammograms, with an optional table of labels, `labels.csv`, beside the files.

The headers say patient, study, side, view, machine, spacing and age. The table's columns, all but the first optional:
file (path below the folder), patient, split, laterality, view, vendor, density (A-D), birads, pathology, finding, and
x0, y0, x1, y1 (half-open, pixels); one row a lesion.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mame.errors import MameError
from mame.formats.dicom import read_header
from mame.formats.dicom.header import interpret, is_magnified, text
from mame.mammogram import Box, Density, Laterality, View
from mame.sources.record import Finding, Problem, Record
from mame.sources.tables import lesion_kind, one_of

TITLE = "A folder of mammograms"
URL = ""
LICENCE = ""
CITATION = ""
LABELS = "labels.csv"
COLUMNS = (
    "file", "patient", "split", "laterality", "view", "vendor", "density", "birads", "pathology", "finding",
    "x0", "y0", "x1", "y1",
)  # fmt: skip
SUFFIXES = ("", ".dcm", ".dicom")
NOTHING = ("", "normal", "no finding", "none")

Table = dict[str, list[dict[str, str]]]


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order of their paths. Raises MameError where the folder holds no file, or a column is unknown."""
    if not root.is_dir():
        raise MameError(f"{root}: is not a folder of DICOM files")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise MameError(f"{root}: no DICOM file here (looked for *.dcm, *.dicom and files without a suffix)")
    table = _table(root / LABELS)
    for path in files:
        name = path.relative_to(root).as_posix()
        yield from _records(path, name, table.pop(name, None))
    for number, _ in enumerate(table, start=1):  # the name may say who the patient is
        yield Problem(f"{number} of the rows without a file", "row", f"{LABELS} names a file that isn't there")


def _table(path: Path) -> Table:
    table: Table = defaultdict(list)
    if not path.is_file():
        return table
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        unknown = [column for column in columns if column not in COLUMNS]
        if "file" not in columns:
            raise MameError(f"{path}: the column 'file' is missing")
        if unknown:
            raise MameError(f"{path}: the column {unknown[0]!r} is none of {', '.join(COLUMNS)}")
        for row in reader:
            table[row["file"].strip()].append({key: (value or "").strip() for key, value in row.items() if key})
    return dict(table)


def _records(path: Path, name: str, rows: list[dict[str, str]] | None) -> Iterator[Record | Problem]:
    try:
        dataset = read_header(path)
        header = interpret(dataset)
    except MameError as error:
        yield Problem("", "image", str(error).replace(f"{path}: ", ""))
        return
    if text(dataset, "Modality") not in ("MG", "OT", ""):
        yield Problem("", "image", f"is of modality {text(dataset, 'Modality')}, not MG")
        return
    first = rows[0] if rows else {}
    problems: list[Problem] = []
    findings = tuple(
        finding for number, row in enumerate(rows or (), 1) if (finding := _finding(row, number, problems)) is not None
    )
    yield from problems
    patient = first.get("patient") or header.patient or text(dataset, "StudyInstanceUID") or name
    yield Record(
        path,
        name,
        patient,
        text(dataset, "StudyInstanceUID"),
        private=True,
        laterality=one_of(Laterality, first.get("laterality")) or header.laterality,
        view=one_of(View, first.get("view")) or header.view,
        vendor=(first.get("vendor") or "").lower() or header.vendor,
        model=text(dataset, "ManufacturerModelName"),
        spacing_mm=header.spacing_mm,
        density=one_of(Density, first.get("density")),
        birads=first.get("birads", ""),
        pathology=first.get("pathology", ""),
        age=text(dataset, "PatientAge"),
        split=first.get("split") or None,
        healthy=None if rows is None else not findings and first.get("pathology", "").lower() in NOTHING,
        findings=findings,
        implants=text(dataset, "BreastImplantPresent") == "YES",
        magnification=is_magnified(dataset),
        rows=int(dataset.get("Rows") or 0) or None,
    )


def _finding(row: dict[str, str], number: int, problems: list[Problem]) -> Finding | None:
    corners = [row.get(name, "") for name in ("x0", "y0", "x1", "y1")]
    words = row.get("finding", "")
    if not any(corners):
        return None
    try:
        box = Box(*(float(value) for value in corners))
    except (ValueError, MameError) as error:
        problems.append(Problem(f"row {number}", "box", str(error)))
        return None
    return Finding(lesion_kind(words), words, box, birads=row.get("birads", ""), pathology=row.get("pathology", ""))
