"""CSAW-CC in miniature, with its masks under either of the names they go by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mame.mammogram import LesionKind

from .miniature import breast, check, dicom, failures, prepare, refused, rows_by_id, table

COLUMNS = (
    "anon_patientid", "anon_filename", "exam_year", "x_age", "x_case", "x_cancer_laterality", "imagelaterality",
    "viewposition", "libra_breastarea", "libra_densearea", "libra_percentdensity",
)  # fmt: skip
WORD = {"L": "Left", "R": "Right"}
TRUTHS = {
    "1_2015_L_CC_1": breast(31, "L", "CC", "B", (LesionKind.MASS,)),
    "1_2015_R_CC_1": breast(32, "R", "CC", "B"),
    "2_2016_R_MLO_1": breast(33, "R", "MLO", "C", (LesionKind.MASS,)),
    "3_2016_L_MLO_1": breast(34, "L", "MLO", "D"),
}
ILL = {"1": "Left", "2": "Right", "3": ""}


def build(root: Path, mask_name: str = "{}_mask.png") -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, truth in TRUTHS.items():
        patient, year, *_ = name.split("_")
        dicom(truth.stored(), root / "images" / f"{name}.dcm", name.startswith("2"),
              ImageLaterality=str(truth.laterality), ViewPosition=str(truth.view), Manufacturer="HOLOGIC")  # fmt: skip
        for _, mask in truth.lesions:
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / "images" / mask_name.format(name))
        rows.append(
            {
                "anon_patientid": patient,
                "anon_filename": f"{name}.dcm",
                "exam_year": year,
                "x_age": 55,
                "x_case": int(bool(ILL[patient])),
                "x_cancer_laterality": ILL[patient],
                "imagelaterality": WORD[truth.laterality],
                "viewposition": truth.view,
                "libra_breastarea": 100,
                "libra_densearea": 20,
                "libra_percentdensity": 20,
            }
        )
    table(root / "CSAW-CC_breast_cancer_screening_data.csv", COLUMNS, rows)
    return rows


@pytest.mark.parametrize("mask_name", ["{}_mask.png", "{}.png"])
def test_every_lesion_comes_out_where_it_was(tmp_path: Path, mask_name: str) -> None:
    build(tmp_path / "set", mask_name)
    rows = check(prepare("csaw-cc", tmp_path / "set", tmp_path / "out"), TRUTHS)
    assert {row.pathology for row in rows.values()} == {"", "malignant"}
    assert rows["1_2015_L_CC_1"].pathology == "malignant"
    assert rows["1_2015_R_CC_1"].pathology == ""
    assert {row.density for row in rows.values()} == {""}  # LIBRA's per cent is a measurement, no label
    assert rows["3_2016_L_MLO_1"].age == "55"


def test_controls_are_healthy_and_a_case_s_other_breast_is_not_called_so(tmp_path: Path) -> None:
    build(tmp_path / "set")
    found = prepare("csaw-cc", tmp_path / "set", tmp_path / "out", "--only", "healthy")
    assert set(rows_by_id(found)) == {"3_2016_L_MLO_1"}


def test_what_does_not_belong_together_is_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    rows = build(root)
    rows[3]["viewposition"] = "LAT"
    table(root / "CSAW-CC_breast_cancer_screening_data.csv", COLUMNS, [*rows, {**rows[0], "anon_filename": "no.dcm"}])
    dicom(breast(35).stored(), root / "images" / "stray.dcm")
    Image.new("L", (8, 8)).save(root / "images" / "stray2_mask.png")
    told = failures(prepare("csaw-cc", root, tmp_path / "out"))
    assert sorted(what for what, _ in told) == ["image", "mask", "row", "view"]


def test_a_wrong_root_and_a_missing_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "looked for CSAW-CC_breast_cancer" in refused("csaw-cc", tmp_path / "empty", tmp_path / "out")
    build(tmp_path / "set")
    path = tmp_path / "set" / "CSAW-CC_breast_cancer_screening_data.csv"
    path.write_text(path.read_text().replace("x_case", "case", 1))
    assert "the column 'x_case' is missing" in refused("csaw-cc", tmp_path / "set", tmp_path / "o")
