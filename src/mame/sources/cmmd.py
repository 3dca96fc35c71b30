"""`cmmd`: the Chinese Mammography Database: breasts with a biopsy, no boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mame.errors import MameError
from mame.formats.dicom import read_header
from mame.formats.dicom.header import interpret, text
from mame.sources.record import Problem, Record

TITLE = "CMMD: The Chinese Mammography Database"
URL = "https://doi.org/10.7937/tcia.eqde-4b16"
LICENCE = "CC BY 4.0"
CITATION = "Cui C. et al., The Cancer Imaging Archive (2021), doi 10.7937/tcia.eqde-4b16"
TABLE = "CMMD_clinicaldata_revision.xlsx"
COLUMNS = ("ID1", "LeftRight", "abnormality", "classification")
OPTIONAL = ("subtype", "Age")

Row = dict[str, str]


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order of their paths. Raises MameError for a wrong root or column."""
    tables = sorted(root.rglob(TABLE))
    if not tables:
        raise MameError(f"{root}: is not CMMD (looked for {TABLE} below it)")
    rows: dict[tuple[str, str], Row] = {}
    for row in _rows(tables[0]):
        rows[row["ID1"], row["LeftRight"].upper()[:1]] = row
    used: set[tuple[str, str]] = set()
    for path in sorted(root.rglob("*.dcm")):
        subject = path.relative_to(root).as_posix()
        try:
            dataset = read_header(path)
            header = interpret(dataset)
        except MameError as error:
            yield Problem(subject, "image", str(error).replace(f"{path}: ", ""))
            continue
        patient = header.patient or path.relative_to(root).parts[0]
        key = (patient, str(header.laterality or ""))
        breast = rows.get(key)
        used.add(key)
        if not any(name == patient for name, _ in rows):
            yield Problem(subject, "image", f"patient {patient} has no row in {TABLE}")
        yield Record(
            path,
            f"{patient}-{path.stem}",
            patient,
            text(dataset, "StudyInstanceUID"),
            laterality=header.laterality,
            view=header.view,
            vendor=header.vendor,
            model=text(dataset, "ManufacturerModelName"),
            spacing_mm=header.spacing_mm,
            pathology=_pathology(breast) if breast else "",
            age=(breast or {}).get("Age", "") or text(dataset, "PatientAge"),
            # the other breast of a patient with a lesion is not known to be free of one
            healthy=False if breast else None,
        )
    for patient, side in sorted(set(rows) - used):
        yield Problem(f"{patient} {side}", "row", "its images aren't there")


def _pathology(row: Row) -> str:
    """Such as `malignant mass`, with the molecular subtype where it is known."""
    words = f"{row['classification'].lower()} {row['abnormality'].lower()}"
    return f"{words}, {row['subtype']}" if row["subtype"] else words


def _rows(path: Path) -> Iterator[Row]:
    try:
        from openpyxl.reader.excel import load_workbook
    except ImportError:
        raise MameError("CMMD's table is read with openpyxl: pip install 'mam-e[sources]'") from None
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # openpyxl raises whatever the archive inside does
        raise MameError(f"{path}: is no Excel file: {error}") from None
    table = _filled(book.worksheets[0].iter_rows(values_only=True))
    names = next(table, [])
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise MameError(f"{path}: the column {missing[0]!r} is missing (it has {', '.join(names)})")
    for values in table:
        said = defaultdict(str, zip(names, values, strict=False))
        row = {column: said[column] for column in (*COLUMNS, *OPTIONAL)}
        if row["ID1"]:
            yield row
    book.close()


def _filled(rows: Iterator[tuple[object, ...]]) -> Iterator[list[str]]:
    for row in rows:
        yield ["" if value is None else str(value).strip() for value in row]
