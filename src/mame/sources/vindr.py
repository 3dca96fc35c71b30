"""`vindr`: VinDr-Mammo 1.0.0, full-field digital mammograms from Vietnam with boxes of findings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from mame.errors import MameError
from mame.formats.dicom.header import vendor_of
from mame.mammogram import Box, Laterality, View
from mame.sources.record import Finding, Problem, Record
from mame.sources.tables import Row, density_of, known, lesion_kind, read_rows, unused_files

TITLE = "VinDr-Mammo 1.0.0"
URL = "https://physionet.org/content/vindr-mammo/1.0.0/"
LICENCE = "PhysioNet Restricted Health Data Use Agreement 1.5.0"
CITATION = "Nguyen H. T. et al., Scientific Data 10:277 (2023), doi 10.1038/s41597-023-02100-7"
FINDINGS = "finding_annotations.csv"
HEADERS = "metadata.csv"
NOTHING = "No Finding"
COLUMNS = (
    "study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density", "finding_categories",
    "finding_birads", "xmin", "ymin", "xmax", "ymax", "split",
)  # fmt: skip


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order in which the table first names them. Raises MameError for a wrong root or column."""
    if not (root / FINDINGS).is_file():
        raise MameError(f"{root}: is not VinDr-Mammo (looked for {FINDINGS} and images/)")
    images: dict[str, list[Row]] = {}
    for row in read_rows(root / FINDINGS, COLUMNS):
        images.setdefault(row["image_id"], []).append(row)  # an image's rows need not follow one another
    headers = _headers(root / HEADERS)
    used: set[Path] = set()
    for name, rows in images.items():
        path = root / "images" / rows[0]["study_id"] / f"{name}.dicom"
        if not path.is_file():
            yield Problem(name, "row", f"its image isn't there (images/{rows[0]['study_id']}/{name}.dicom)")
            continue
        used.add(path)
        yield from _record(path, name, rows, headers.get(name, {}))
    yield from unused_files((root / "images").glob("*/*.dicom"), used, root, f"has no row in {FINDINGS}")


def _headers(path: Path) -> dict[str, Row]:
    """Of each image: age and machine. The columns are called as DICOM's attributes are."""
    if not path.is_file():
        return {}
    columns = ("Patient's Age", "Manufacturer", "Manufacturer's Model Name")
    return {row["SOP Instance UID"]: row for row in read_rows(path, ("SOP Instance UID",), columns)}


def _record(path: Path, name: str, rows: list[Row], header: Row) -> Iterator[Record | Problem]:
    first = rows[0]
    findings: list[Finding] = []
    clear = True
    for row in rows:
        words = _words(row["finding_categories"])
        clear &= words == [NOTHING]
        if words == [NOTHING]:
            continue
        try:
            box = Box(*(float(row[corner]) for corner in ("xmin", "ymin", "xmax", "ymax")))
        except (ValueError, MameError) as error:
            yield Problem(name, "box", f"the box of {', '.join(words)} can't be: {error}")
            continue
        said = ", ".join(words)
        findings.append(Finding(lesion_kind(said), said, box, birads=_last(row["finding_birads"])))
    density, told = density_of(first["breast_density"], name)
    side, side_told = known(Laterality, first["laterality"], "laterality", name)
    view, view_told = known(View, first["view_position"], "view", name)
    yield from (*told, *side_told, *view_told)
    yield Record(
        path,
        name,
        first["study_id"],  # one study a patient
        first["study_id"],
        laterality=side,
        view=view,
        vendor=vendor_of(header.get("Manufacturer", "")),
        model=header.get("Manufacturer's Model Name", ""),
        density=density,
        birads=_last(first["breast_birads"]),
        age=header.get("Patient's Age", ""),
        split=first["split"] or None,
        healthy=clear,
        findings=tuple(findings),
    )


def _words(text: str) -> list[str]:
    """The words of a Python list written as text; what is no such list is one word."""
    try:
        said = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [text]
    return [str(word) for word in said] if isinstance(said, list | tuple) and said else [str(text)]


def _last(text: str) -> str:
    """`2` of `BI-RADS 2`."""
    return text.split(" ")[-1]
