"""`embed`: EMBED, the Emory Breast Imaging Dataset: exams and images in two tables, boxes of regions."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from mame.errors import MameError
from mame.formats.dicom.header import vendor_of
from mame.mammogram import Box, Laterality, LesionKind, View
from mame.sources.record import Finding, Problem, Record
from mame.sources.tables import Row, density_of, known, read_rows, unused_files

TITLE = "EMBED Open Data"
URL = "https://registry.opendata.aws/emory-breast-imaging-dataset-embed/"
LICENCE = "EMBED data use agreement: research, no redistribution"
CITATION = "Jeong J. J. et al., Radiology: Artificial Intelligence 5(1) (2023), doi 10.1148/ryai.220047"
CLINICAL, IMAGES = "EMBED_OpenData_clinical", "EMBED_OpenData_metadata"
EXAM_COLUMNS = ("empi_anon", "acc_anon", "tissueden", "asses")
EXAM_OPTIONAL = ("side", "age_at_study", "path_severity")
IMAGE_COLUMNS = (
    "empi_anon", "acc_anon", "anon_dicom_path", "FinalImageType", "ImageLateralityFinal", "ViewPosition", "ROI_coords",
)  # fmt: skip
IMAGE_OPTIONAL = ("spot_mag", "Manufacturer", "ManufacturerModelName")
BIRADS = {"A": "0", "N": "1", "B": "2", "P": "3", "S": "4", "M": "5", "K": "6"}
MALE = "5"


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order of the image table. Raises MameError for a wrong root or column."""
    clinical, images = (_table(root, name) for name in (CLINICAL, IMAGES))
    exams: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in read_rows(clinical, EXAM_COLUMNS, EXAM_OPTIONAL):
        exams[row["empi_anon"], _whole(row["acc_anon"])].append(row)
    used: set[Path] = set()
    for row in read_rows(images, IMAGE_COLUMNS, IMAGE_OPTIONAL):
        path = _image(root, row["anon_dicom_path"])
        name = PurePosixPath(row["anon_dicom_path"]).stem
        if path is None:
            yield Problem(name, "row", f"its image isn't there ({row['anon_dicom_path']})")
            continue
        used.add(path)
        if row["FinalImageType"].lower() != "2d":
            yield Problem(name, "image", f"is a {row['FinalImageType']}, made from tomosynthesis: no mammogram")
            continue
        yield from _record(path, name, row, exams[row["empi_anon"], _whole(row["acc_anon"])])
    yield from unused_files(root.glob("**/cohort*/**/*.dcm"), used, root, f"has no row in {images.name}")


def _table(root: Path, name: str) -> Path:
    """The table, whole or reduced, in `tables/` or beside it."""
    names = [f"{name}.csv", f"{name}_reduced.csv"]
    places = [root / folder / file for folder in ("tables", ".") for file in names]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise MameError(f"{root}: is not EMBED (looked for tables/{names[0]} and tables/{names[1]})")
    return found


def _image(root: Path, said: str) -> Path | None:
    """The table has the path on the machine where it was written: cohort/patient/study/file are its last parts."""
    parts = PurePosixPath(said).parts[-4:]
    return next((path for start in (root, root / "images") if (path := start.joinpath(*parts)).is_file()), None)


def _record(path: Path, name: str, row: Row, exam: Sequence[Row]) -> Iterator[Record | Problem]:
    side, side_told = known(Laterality, row["ImageLateralityFinal"], "laterality", name)
    view, view_told = known(View, row["ViewPosition"], "view", name)
    yield from (*side_told, *view_told)
    if not exam:
        yield Problem(name, "row", f"has no exam in {CLINICAL}")
    own = [one for one in exam if one.get("side", "") in ("", "B", str(side or ""))]
    words = [one["tissueden"].removesuffix(".0") for one in exam if one["tissueden"]]
    male = MALE in words
    density, told = density_of("" if male or not words else words[0], name)
    yield from told
    if male:
        yield Problem(name, "density", "is a man's breast; density kept as unknown")
    grades = sorted(BIRADS[one["asses"]] for one in own if one["asses"] in BIRADS)
    findings: list[Finding] = []
    regions = _boxes(row["ROI_coords"])
    for number, box in enumerate(regions, start=1):
        try:
            findings.append(Finding(LesionKind.LESION, "region of interest", _box(box)))
        except (ValueError, TypeError, MameError) as error:
            yield Problem(name, "box", f"region {number} can't be: {error}")
    yield Record(
        path,
        name,
        row["empi_anon"],
        row["acc_anon"],
        laterality=side,
        view=view,
        vendor=vendor_of(row["Manufacturer"]),
        model=row["ManufacturerModelName"],
        density=density,
        birads=grades[-1] if grades else "",
        age=next((one["age_at_study"].split(".")[0] for one in exam if one["age_at_study"]), ""),
        healthy=_is_healthy(grades, marked=bool(regions)),
        findings=tuple(findings),
        magnification=row["spot_mag"].removesuffix(".0") == "1",
    )


def _is_healthy(grades: Sequence[str], marked: bool) -> bool | None:
    """marked: a region, even one that can't be understood, was of interest to somebody."""
    if marked:
        return False
    return grades[-1] in ("1", "2") and "0" not in grades if grades else None


def _boxes(text: str) -> Sequence[object]:
    """The regions in a Python tuple or list of fours written as text."""
    try:
        said = ast.literal_eval(text or "()")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return (text,)
    if not isinstance(said, list | tuple) or not said:
        return ()
    return (said,) if isinstance(said[0], int | float) else said


def _box(said: object) -> Box:
    """A region is given as ymin, xmin, ymax, xmax."""
    if not isinstance(said, list | tuple) or len(said) != 4:
        raise ValueError(f"{said!r} has no four corners")
    y0, x0, y1, x1 = (float(value) for value in said)
    return Box(x0, y0, x1, y1)


def _whole(number: str) -> str:
    """Some exports write whole numbers as 1.0 or 1e+15."""
    if number.isdigit():
        return number
    try:
        return str(int(float(number)))
    except (ValueError, OverflowError):
        return number
