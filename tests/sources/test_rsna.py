"""The RSNA set in miniature: labels without boxes."""

from __future__ import annotations

from pathlib import Path

from mame.mammogram import LesionKind

from .miniature import breast, check, dicom, failures, prepare, refused, rows_by_id, table

COLUMNS = (
    "site_id", "patient_id", "image_id", "laterality", "view", "age", "cancer", "biopsy", "invasive", "BIRADS",
    "implant", "density", "machine_id", "difficult_negative_case",
)  # fmt: skip
TRUTHS = {
    "10-1": breast(11, "L", "CC", "B"),
    "10-2": breast(12, "R", "MLO", "B", (LesionKind.MASS,)),
    "11-3": breast(13, "R", "CC", "D"),
}


def build(root: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, truth in TRUTHS.items():
        patient, image = name.split("-")
        dicom(truth.stored(inverted=image == "3"), root / "train_images" / patient / f"{image}.dcm", image == "2",
              PhotometricInterpretation="MONOCHROME1" if image == "3" else "MONOCHROME2",
              ImageLaterality=str(truth.laterality), ViewPosition=str(truth.view))  # fmt: skip
        ill = bool(truth.lesions)
        rows.append(
            {
                "site_id": 2,
                "patient_id": patient,
                "image_id": image,
                "laterality": truth.laterality,
                "view": truth.view,
                "age": "61.0",
                "cancer": int(ill),
                "biopsy": int(ill),
                "invasive": int(ill),
                "BIRADS": "0.0" if ill else "1.0",
                "implant": 0,
                "density": truth.density,
                "machine_id": 49,
                "difficult_negative_case": "False",
            }
        )
    table(root / "train.csv", COLUMNS, rows)
    return rows


def test_labels_come_along_and_no_lesion_is_invented(tmp_path: Path) -> None:
    build(tmp_path / "set")
    rows = check(prepare("rsna", tmp_path / "set", tmp_path / "out"), TRUTHS, located=False)
    assert {name: row.density for name, row in rows.items()} == {"10-1": "B", "10-2": "B", "11-3": "D"}
    assert rows["10-2"].pathology == "invasive cancer"
    assert {name: row.healthy for name, row in rows.items()} == {"10-1": "yes", "10-2": "no", "11-3": "yes"}
    assert (rows["10-2"].birads, rows["10-1"].birads) == ("0", "1")
    assert rows["10-1"].age == "61"
    assert rows["10-1"].model == "machine 49"
    assert rows["10-1"].patient == rows["10-2"].patient != rows["11-3"].patient


def test_only_what_the_set_calls_clear_is_healthy(tmp_path: Path) -> None:
    build(tmp_path / "set")
    found = prepare("rsna", tmp_path / "set", tmp_path / "out", "--only", "healthy")
    assert set(rows_by_id(found)) == {"10-1", "11-3"}


def test_odd_rows_are_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    rows = build(root)
    rows[0] |= {"view": "AT", "density": ""}
    rows[2] |= {"density": "E", "implant": 1}
    table(root / "train.csv", COLUMNS, [*rows, {**rows[0], "image_id": "99"}])
    dicom(breast(14).stored(), root / "train_images" / "12" / "4.dcm")
    found = prepare("rsna", root, tmp_path / "out")
    told = failures(found)
    assert sorted(what for what, _ in told) == ["density", "image", "row", "view"]
    assert found.about["unknown"]["density"] == 2
    kept = prepare("rsna", root, tmp_path / "none", "--no-implants")
    assert set(rows_by_id(kept)) == {"10-1", "10-2"}


def test_a_wrong_root_and_a_missing_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "looked for train.csv and train_images/" in refused("rsna", tmp_path / "empty", tmp_path / "out")
    build(tmp_path / "set")
    path = tmp_path / "set" / "train.csv"
    path.write_text(path.read_text().replace("image_id", "image", 1))
    assert "train.csv: the column 'image_id' is missing" in refused("rsna", tmp_path / "set", tmp_path / "out")
