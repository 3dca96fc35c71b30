"""`csaw-cc`: CSAW-CC, a case-control set of Swedish screening, Hologic, with masks of cancers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mame.errors import MameError
from mame.mammogram import Laterality, LesionKind, View
from mame.sources.record import Finding, Problem, Record
from mame.sources.tables import Row, known, one_of, read_rows

TITLE = "CSAW-CC"
URL = "https://doi.org/10.5878/45vm-t798"
LICENCE = "restricted access through the Swedish National Data Service"
CITATION = "Strand F., CSAW-CC (mammography), Karolinska Institutet (2022), doi 10.5878/45vm-t798"
TABLE = "CSAW-CC_breast_cancer_screening_data.csv"
COLUMNS = ("anon_patientid", "anon_filename", "imagelaterality", "viewposition", "x_case", "x_cancer_laterality")
OPTIONAL = ("exam_year", "x_age")
MASKS = ("{stem}_mask.png", "{stem}.png")
"""Names of an image's mask, anywhere below the root: the set's papers don't agree on one."""


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order of the table. Raises MameError for a wrong root or column."""
    if not (root / TABLE).is_file():
        raise MameError(f"{root}: is not CSAW-CC (looked for {TABLE})")
    images = {path.name: path for path in sorted(root.rglob("*.dcm"))}
    masks = {path.name: path for path in sorted(root.rglob("*.png"))}
    for row in read_rows(root / TABLE, COLUMNS, OPTIONAL):
        path = images.pop(row["anon_filename"], None)
        if path is None:
            yield Problem(row["anon_filename"], "row", "its image isn't there")
            continue
        mask = next((masks.pop(name) for form in MASKS if (name := form.format(stem=path.stem)) in masks), None)
        yield from _record(path, row, mask)
    for name in images:
        yield Problem(name, "image", f"has no row in {TABLE}")
    for name in masks:
        yield Problem(name, "mask", "belongs to no image")


def _record(path: Path, row: Row, mask: Path | None) -> Iterator[Record | Problem]:
    name = path.stem
    side, side_told = known(Laterality, row["imagelaterality"][:1], "laterality", name)
    view, view_told = known(View, row["viewposition"], "view", name)
    yield from (*side_told, *view_told)
    case = row["x_case"] == "1"
    ill = case and side is not None and one_of(Laterality, row["x_cancer_laterality"][:1]) is side
    findings = () if mask is None else (Finding(LesionKind.LESION, "cancer", mask=mask, pathology="malignant"),)
    yield Record(
        path,
        name,
        row["anon_patientid"],
        f"{row['anon_patientid']}-{row['exam_year']}" if row["exam_year"] else "",
        laterality=side,
        view=view,
        vendor="hologic",
        pathology="malignant" if ill else "",  # of the breast: an early image of it need not show anything
        age=row["x_age"],
        healthy=False if findings else None if case else True,
        findings=findings,
    )
