"""`cbis-ddsm`: CBIS-DDSM, digitised film with outlines of masses and calcifications.

Downloads lay the files out in several ways and the tables' paths fit none of them, so files are known by their headers:
PatientID says set, patient, side, view and lesion, SeriesDescription says film, crop or mask.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from mame.errors import MameError
from mame.formats.dicom import read_header
from mame.formats.dicom.header import text
from mame.mammogram import Laterality, LesionKind, View
from mame.sources.record import Finding, Problem, Record
from mame.sources.tables import Row, density_of, read_rows

TITLE = "CBIS-DDSM"
URL = "https://doi.org/10.7937/K9/TCIA.2016.7O02S9CY"
LICENCE = "CC BY 3.0"
CITATION = "Lee R. S. et al., Scientific Data 4:170177 (2017), doi 10.1038/sdata.2017.177"
TABLES = tuple(f"{kind}_case_description_{part}_set.csv" for kind in ("mass", "calc") for part in ("train", "test"))
NAME = re.compile(r"(Mass|Calc)-(Training|Test)_(P_\d+)_(LEFT|RIGHT)_(CC|MLO)(?:_(\d+))?")
COLUMNS = (
    "patient_id", "left or right breast", "image view", "abnormality id", "abnormality type", "assessment", "pathology",
)  # fmt: skip
OPTIONAL = (
    "breast_density", "breast density", "mass shape", "mass margins", "calc type", "calc distribution", "subtlety",
)  # fmt: skip

PATHOLOGIES = ("benign_without_callback", "benign", "malignant")  # by gravity

Case = tuple[str, str, str]  # patient, side, view: one film, though it may be there once for its masses and once more


@dataclass
class Film:
    """What was found of one film: its pictures, and the mask files of its lesions by (set, number)."""

    pictures: list[Path] = field(default_factory=list)
    masks: dict[tuple[str, str], list[tuple[Path, Dataset]]] = field(default_factory=lambda: defaultdict(list))
    matrix: tuple[int, int] = (0, 0)


def read(root: Path) -> Iterator[Record | Problem]:
    """Records by patient, side and view. Raises MameError where there is no DICOM file, or a column is missing."""
    files = sorted(path for path in root.rglob("*.dcm") if path.is_file())
    if not files:
        raise MameError(f"{root}: is not CBIS-DDSM (looked for *.dcm below it, and for {TABLES[0]} and its like)")
    films: dict[Case, Film] = defaultdict(Film)
    for path in files:
        told = _note(films, path)
        if told:
            yield Problem(path.relative_to(root).as_posix(), "image", told)
    rows: dict[Case, list[tuple[Row, str]]] = defaultdict(list)
    tables = [path for name in TABLES for path in sorted(root.rglob(name))]
    for table in tables:
        part = "test" if "_test_" in table.name else "train"
        for row in read_rows(table, COLUMNS, OPTIONAL):
            rows[row["patient_id"], row["left or right breast"].upper(), row["image view"].upper()].append((row, part))
    for case in sorted(set(films) | set(rows)):
        yield from _film(case, films.get(case, Film()), rows.get(case, []), bool(tables))


def _note(films: dict[Case, Film], path: Path) -> str:
    """Sort a file in; returns what is wrong with it."""
    try:
        dataset = read_header(path)
    except MameError as error:
        return str(error).replace(f"{path}: ", "")
    name = NAME.fullmatch(text(dataset, "PatientID"))
    if name is None:
        return f"PatientID {text(dataset, 'PatientID')!r} is none of CBIS-DDSM"
    kind, _, patient, side, view, number = name.groups()
    film = films[patient, side, view]
    if number is None:
        film.pictures.append(path)
        film.matrix = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    else:
        film.masks[kind.lower(), number].append((path, dataset))
    return ""


def _film(case: Case, film: Film, rows: list[tuple[Row, str]], tables: bool) -> Iterator[Record | Problem]:
    patient, side, view = case
    subject = f"{patient}_{side}_{view}"
    if not film.pictures:
        yield Problem(subject, "row" if rows else "image", "its full image isn't there")
        return
    if tables and not rows:
        yield Problem(subject, "image", "has no row in the tables")
    findings: list[Finding] = []
    for row, _ in rows:
        mask = _mask(film, row)
        words, kind = _said(row)
        if mask is None:
            yield Problem(subject, "mask", f"the mask of {row['abnormality type']} {row['abnormality id']} isn't there")
            continue
        findings.append(Finding(kind, words, mask=mask, birads=row["assessment"], pathology=row["pathology"].lower()))
    grades = [row["breast_density"] or row["breast density"] for row, _ in rows]
    density, told = density_of(next((grade for grade in grades if grade not in ("", "0")), ""), subject)
    yield from told
    parts = {part for _, part in rows} or {"test" if "-Test_" in _id(film) else "train"}
    diagnoses = sorted({row["pathology"].lower() for row, _ in rows}, key=_gravity)
    yield Record(
        film.pictures[0],
        subject,
        patient,
        laterality=Laterality(side[0]),
        view=View(view),
        density=density,
        birads=max((row["assessment"] for row, _ in rows), default=""),
        pathology=diagnoses[-1] if diagnoses else "",
        split="test" if "test" in parts else "train",
        healthy=False if rows or not tables else None,  # every film of the set was taken for a finding
        findings=tuple(findings),
    )


def _mask(film: Film, row: Row) -> Path | None:
    """The mask of a row's lesion among the files of its series: crop and mask may have changed places."""
    kind = "calc" if "calc" in row["abnormality type"].lower() else "mass"
    found = film.masks.get((kind, row["abnormality id"]), [])
    for path, dataset in found:
        if "mask" in text(dataset, "SeriesDescription").lower():
            return path
    # files without a description: the mask has the film's size, the crop has not
    undescribed = [(path, dataset) for path, dataset in found if not text(dataset, "SeriesDescription")]
    for path, dataset in undescribed:
        if (int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)) == film.matrix:
            return path
    return None


def _said(row: Row) -> tuple[str, LesionKind]:
    calcification = "calc" in row["abnormality type"].lower()
    details = ("calc type", "calc distribution") if calcification else ("mass shape", "mass margins")
    words = [row["abnormality type"], *(row[name].lower() for name in details if row[name] not in ("", "N/A"))]
    return ", ".join(words), LesionKind.CALCIFICATIONS if calcification else LesionKind.MASS


def _gravity(pathology: str) -> int:
    return PATHOLOGIES.index(pathology) if pathology in PATHOLOGIES else -1


def _id(film: Film) -> str:
    return text(read_header(film.pictures[0]), "PatientID")
