"""`dicom`: any folder of mammograms, with an optional table of labels, `labels.csv`, beside the files.

The headers say patient, study, side, view, machine, spacing and age. The table's columns, all but the first optional:
file (path below the folder), patient, split, laterality, view, vendor, density (A-D), birads, pathology, finding, and
x0, y0, x1, y1 (half-open, pixels); one row a lesion. Names of files and what a row says may tell who a patient is, so
problems are private ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mame.errors import MameError
from mame.formats.dicom import read_header
from mame.formats.dicom.header import interpret, is_magnified, text
from mame.mammogram import Box, Laterality, View
from mame.sources.record import Finding, Problem, Record
from mame.sources.tables import Row, column_names, density_of, known, lesion_kind, read_rows

TITLE = "A folder of mammograms"
URL = ""
LICENCE = ""
CITATION = ""
LABELS = "labels.csv"
COLUMNS = (
    "file", "patient", "split", "laterality", "view", "vendor", "density", "birads", "pathology", "finding",
    "x0", "y0", "x1", "y1",
)  # fmt: skip
CORNERS = COLUMNS[-4:]
SUFFIXES = ("", ".dcm", ".dicom")
NOTHING = ("", "normal", "no finding", "none")
CLEAR_BIRADS = ("", "1", "2")
JUDGEMENTS = ("birads", "pathology", "finding", *CORNERS)  # columns of which one must be there to call an image healthy


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order of their paths. Raises MameError where the folder holds no file, or a column is unknown."""
    if not root.is_dir():
        raise MameError(f"{root}: is not a folder of DICOM files")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise MameError(f"{root}: no DICOM file here (looked for *.dcm, *.dicom and files without a suffix)")
    labels, judged = _labels(root / LABELS)
    labelled = bool(labels)
    for path in files:
        name = path.relative_to(root).as_posix()
        rows = labels.pop(name, [])
        if labelled and not rows:
            yield Problem(name, "label", f"has no row in {LABELS}; only its header is known", private=True)
        yield from _records(path, name, rows, judged)
    for name in labels:
        yield Problem(name, "row", f"{LABELS} names a file that isn't there", private=True)


def _labels(path: Path) -> tuple[dict[str, list[Row]], bool]:
    """(the rows of every file, whether they say of an image that nothing is in it)."""
    if not path.is_file():
        return {}, False
    columns = column_names(path)
    unknown = [column for column in columns if column not in COLUMNS]
    if "file" in columns and unknown:
        raise MameError(f"{path}: the column {unknown[0]!r} is none of {', '.join(COLUMNS)}")
    labels: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(path, COLUMNS[:1], COLUMNS[1:]):
        labels[row["file"]].append(row)
    return dict(labels), not set(JUDGEMENTS).isdisjoint(columns)


def _records(path: Path, name: str, rows: list[Row], judged: bool) -> Iterator[Record | Problem]:
    try:
        dataset = read_header(path)
        header = interpret(dataset)
    except MameError as error:
        yield Problem(name, "image", str(error).replace(f"{path}: ", ""), private=True)
        return
    if text(dataset, "Modality") not in ("MG", "OT", ""):
        yield Problem(name, "image", f"is of modality {text(dataset, 'Modality')}, not MG", private=True)
        return
    first = rows[0] if rows else defaultdict[str, str](str)
    findings: list[Finding] = []
    for row in rows:
        try:
            findings += _finding(row)
        except (ValueError, MameError) as error:
            yield Problem(name, "box", f"the box of {row['finding'] or 'a lesion'} can't be: {error}", private=True)
    density, density_told = density_of(first["density"], name)
    side, side_told = known(Laterality, first["laterality"], "laterality", name)
    view, view_told = known(View, first["view"], "view", name)
    for told in (*density_told, *side_told, *view_told):
        yield Problem(told.subject, told.what, told.reason, private=True)
    patient = first["patient"] or header.patient or text(dataset, "StudyInstanceUID") or name
    yield Record(
        path,
        name,
        patient,
        text(dataset, "StudyInstanceUID"),
        private=True,
        laterality=side or header.laterality,
        view=view or header.view,
        vendor=first["vendor"].lower() or header.vendor,
        model=text(dataset, "ManufacturerModelName"),
        spacing_mm=header.spacing_mm,
        density=density,
        birads=first["birads"],
        pathology=first["pathology"],
        age=text(dataset, "PatientAge"),
        split=first["split"] or None,
        healthy=all(map(_is_clear, rows)) if rows and judged else None,
        findings=tuple(findings),
        implants=text(dataset, "BreastImplantPresent") == "YES",
        magnification=is_magnified(dataset),
        rows=int(dataset.get("Rows") or 0) or None,
    )


def _is_clear(row: Row) -> bool:
    """Whether a row says nothing suspicious: no lesion, with or without a place, no grade and no diagnosis of one."""
    words = (row["finding"], row["pathology"])
    placed = any(row[corner] for corner in CORNERS)
    return not placed and row["birads"] in CLEAR_BIRADS and all(word.lower() in NOTHING for word in words)


def _finding(row: Row) -> list[Finding]:
    """The lesion of a row, if it has one. Raises ValueError or MameError for a box that can't be."""
    words = row["finding"]
    if not any(row[corner] for corner in CORNERS):
        if words.lower() in NOTHING:
            return []
        raise MameError("it has none")
    box = Box(*(float(row[corner]) for corner in CORNERS))
    return [Finding(lesion_kind(words), words, box, birads=row["birads"], pathology=row["pathology"])]
