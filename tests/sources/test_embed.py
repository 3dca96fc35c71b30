"""EMBED in miniature: two tables, boxes as ymin, xmin, ymax, xmax."""

from __future__ import annotations

from pathlib import Path

import pytest

from mame.mammogram import LesionKind

from .miniature import breast, check, dicom, failures, prepare, refused, rows_by_id, table

MASS = LesionKind.MASS
CLINICAL = ("empi_anon", "acc_anon", "side", "tissueden", "asses", "age_at_study")
IMAGES = (
    "empi_anon", "acc_anon", "anon_dicom_path", "FinalImageType", "ImageLateralityFinal", "ViewPosition", "spot_mag",
    "ROI_coords", "Manufacturer", "ManufacturerModelName",
)  # fmt: skip
TRUTHS = {
    "s1": breast(21, "L", "CC", "C", (MASS, MASS)),
    "s2": breast(22, "R", "MLO", "C"),
    "s3": breast(23, "R", "CC", "A", (MASS,)),
}
EXAMS = {"s1": ("100", "7001"), "s2": ("100", "7001"), "s3": ("200", "7002")}


def build(root: Path, suffix: str = "") -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    images: list[dict[str, object]] = []
    for name, truth in TRUTHS.items():
        patient, exam = EXAMS[name]
        place = f"cohort_1/{patient}/1.2.{exam}/{name}.dcm"
        dicom(truth.stored(), root / place, ImageLaterality=str(truth.laterality), ViewPosition=str(truth.view))
        regions = ", ".join(f"({box.y0}, {box.x0}, {box.y1}, {box.x1})" for box in truth.boxes())
        images.append(
            {
                "empi_anon": patient,
                "acc_anon": exam,
                "anon_dicom_path": f"/mnt/somewhere/anon_dicom/{place}",
                "FinalImageType": "2D",
                "ImageLateralityFinal": truth.laterality,
                "ViewPosition": truth.view,
                "spot_mag": "",
                "ROI_coords": f"({regions},)" if regions else "()",
                "Manufacturer": "HOLOGIC, Inc.",
                "ManufacturerModelName": "Selenia Dimensions",
            }
        )
    dicom(breast(24).stored(), root / "cohort_1/200/1.2.7002/cview.dcm")
    images.append(
        {**images[2], "anon_dicom_path": "/mnt/x/cohort_1/200/1.2.7002/cview.dcm", "FinalImageType": "C-view"}
    )
    clinical: list[dict[str, object]] = [
        {"empi_anon": 100, "acc_anon": 7001.0, "side": "L", "tissueden": 3, "asses": "S", "age_at_study": 57.2},
        {"empi_anon": 100, "acc_anon": 7001.0, "side": "R", "tissueden": 3, "asses": "N", "age_at_study": 57.2},
        {"empi_anon": 200, "acc_anon": 7002.0, "side": "B", "tissueden": 1, "asses": "A", "age_at_study": 48.0},
    ]
    table(root / "tables" / f"EMBED_OpenData_clinical{suffix}.csv", CLINICAL, clinical)
    table(root / "tables" / f"EMBED_OpenData_metadata{suffix}.csv", IMAGES, images)
    return clinical, images


@pytest.mark.parametrize("suffix", ["", "_reduced"])
def test_every_lesion_comes_out_where_it_was(tmp_path: Path, suffix: str) -> None:
    build(tmp_path / "set", suffix)
    found = prepare("embed", tmp_path / "set", tmp_path / "out")
    rows = check(found, TRUTHS, boxes=True)
    assert {name: row.density for name, row in rows.items()} == {"s1": "C", "s2": "C", "s3": "A"}
    assert {name: row.birads for name, row in rows.items()} == {"s1": "4", "s2": "1", "s3": "0"}
    assert rows["s1"].age == "57"
    assert {row.vendor for row in rows.values()} == {"hologic"}
    assert [reason for what, reason in failures(found) if what == "image"] == [
        "is a C-view, made from tomosynthesis: no mammogram"
    ]


def test_healthy_is_a_clear_assessment_of_that_breast(tmp_path: Path) -> None:
    build(tmp_path / "set")
    found = prepare("embed", tmp_path / "set", tmp_path / "out", "--only", "healthy")
    assert set(rows_by_id(found)) == {"s2"}


def test_men_spots_and_regions_that_can_t_be(tmp_path: Path) -> None:
    root = tmp_path / "set"
    clinical, images = build(root)
    clinical[2]["tissueden"] = 5
    images[0]["ROI_coords"] = "((10, 20, 5), (50, 60, 40, 90))"
    images[1]["spot_mag"] = "1.0"
    table(root / "tables" / "EMBED_OpenData_clinical.csv", CLINICAL, clinical)
    table(root / "tables" / "EMBED_OpenData_metadata.csv", IMAGES, images)
    found = prepare("embed", root, tmp_path / "out", "--no-magnification")
    rows = rows_by_id(found)
    assert set(rows) == {"s1", "s3"}
    assert rows["s3"].density == ""
    assert rows["s1"].lesions == ()
    assert rows["s1"].healthy == "no"  # of interest to somebody, wherever it is
    told = [what for what, _ in failures(found)]
    assert told.count("box") == 2
    assert told.count("density") == 1


def test_a_wrong_root_and_a_missing_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = refused("embed", tmp_path / "empty", tmp_path / "out")
    assert "looked for tables/EMBED_OpenData_clinical.csv and tables/EMBED_OpenData_clinical_reduced.csv" in said
    build(tmp_path / "set")
    path = tmp_path / "set" / "tables" / "EMBED_OpenData_metadata.csv"
    path.write_text(path.read_text().replace("ROI_coords", "rois", 1))
    assert "EMBED_OpenData_metadata.csv: the column 'ROI_coords'" in refused("embed", tmp_path / "set", tmp_path / "o")
