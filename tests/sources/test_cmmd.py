"""CMMD in miniature: an Excel table, views by their codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mame.mammogram import LesionKind

from .miniature import breast, check, dicom, failures, prepare, refused, rows_by_id

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl (extra `sources`) is absent")

COLUMNS = ("ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype")
CODES = {"CC": "399162004", "MLO": "399368009"}
TRUTHS = {
    "D1-0001-1-1": breast(71, "L", "CC", "B", (LesionKind.MASS,)),
    "D1-0001-1-2": breast(72, "L", "MLO", "B", (LesionKind.MASS,)),
    "D1-0001-1-3": breast(73, "R", "CC", "B"),
    "D2-0002-1-1": breast(74, "R", "MLO", "D", (LesionKind.CALCIFICATIONS,)),
}
ROWS = [
    ("D1-0001", "L", 44, 2, "mass", "Malignant", None),
    ("D2-0002", "R", 55, 2, "both", "Benign", "Luminal A"),
]


def build(root: Path, rows: list[tuple[object, ...]] | None = None, columns: tuple[str, ...] = COLUMNS) -> None:
    for name, truth in TRUTHS.items():
        view = Dataset()
        view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = CODES[truth.view], "SCT", "view"
        dicom(truth.stored(), root / "CMMD" / name[:7] / "study" / "series" / f"{name[8:]}.dcm", name.startswith("D2"),
              PatientID=name[:7], ImageLaterality=str(truth.laterality), ViewPosition=None, Manufacturer="GE",
              ViewCodeSequence=Sequence([view]))  # fmt: skip
    write(root, ROWS if rows is None else rows, columns)


def write(root: Path, rows: list[tuple[object, ...]], columns: tuple[str, ...] = COLUMNS) -> None:
    book = openpyxl.Workbook()
    book.active.append(columns)
    for row in rows:
        book.active.append(row)
    book.save(root / "CMMD_clinicaldata_revision.xlsx")


def test_labels_come_along_and_no_lesion_is_invented(tmp_path: Path) -> None:
    build(tmp_path / "set")
    rows = check(prepare("cmmd", tmp_path / "set", tmp_path / "out"), TRUTHS, located=False)
    assert rows["D1-0001-1-1"].pathology == "malignant mass"
    assert rows["D2-0002-1-1"].pathology == "benign both, Luminal A"
    assert rows["D1-0001-1-3"].pathology == ""
    assert rows["D1-0001-1-1"].age == "44"
    assert {row.vendor for row in rows.values()} == {"ge"}
    assert rows["D1-0001-1-1"].patient == rows["D1-0001-1-3"].patient != rows["D2-0002-1-1"].patient


def test_nothing_is_called_healthy(tmp_path: Path) -> None:
    build(tmp_path / "set")
    assert "only healthy: 0" in refused("cmmd", tmp_path / "set", tmp_path / "out", "--only", "healthy")


def test_rows_and_images_without_each_other_are_told(tmp_path: Path) -> None:
    build(tmp_path / "set", [*ROWS[:1], ("D9-0001", "R", 60, 1, "mass", "Benign", None)])
    (tmp_path / "set" / "CMMD" / "D1-0001" / "broken.dcm").write_bytes(b"nothing")
    found = prepare("cmmd", tmp_path / "set", tmp_path / "out")
    assert len(rows_by_id(found)) == 4
    assert sorted(what for what, _ in failures(found)) == ["image", "image", "row"]


def test_a_wrong_root_a_missing_column_and_no_excel_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "looked for CMMD_clinicaldata_revision.xlsx" in refused("cmmd", tmp_path / "empty", tmp_path / "out")
    build(tmp_path / "set", columns=("ID", *COLUMNS[1:]))
    said = refused("cmmd", tmp_path / "set", tmp_path / "out")
    assert "CMMD_clinicaldata_revision.xlsx: the column 'ID1' is missing" in said
    (tmp_path / "set" / "CMMD_clinicaldata_revision.xlsx").write_bytes(b"no archive")
    assert "is no Excel file" in refused("cmmd", tmp_path / "set", tmp_path / "out")
