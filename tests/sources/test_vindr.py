"""VinDr-Mammo in miniature."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mame.dataset.read import read_picture
from mame.mammogram import LesionKind

from .miniature import breast, check, dicom, failures, prepare, refused, rows_by_id, table

MASS, CALCIFICATIONS = LesionKind.MASS, LesionKind.CALCIFICATIONS
FINDINGS = (
    "study_id", "series_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads",
    "breast_density", "finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax", "split",
)  # fmt: skip
HEADERS = ("SOP Instance UID", "Patient's Age", "Manufacturer", "Manufacturer's Model Name")
TRUTHS = {
    "a1": breast(1, "L", "CC", "C"),
    "a2": breast(2, "R", "MLO", "C", (MASS, MASS)),
    "b1": breast(3, "R", "CC", "A", (MASS,)),
    "b2": breast(4, "L", "MLO", "A", (CALCIFICATIONS,)),
    "c1": breast(5, "L", "CC", "D"),
}
SPLITS = {"a": "training", "b": "training", "c": "test"}


def build(root: Path) -> list[dict[str, object]]:
    """The set's tree; returns the rows of its table."""
    rows: list[dict[str, object]] = []
    for name, truth in TRUTHS.items():
        study = name[0]
        dicom(
            truth.stored(inverted=name == "b1"), root / "images" / study / f"{name}.dicom", compressed=name == "a2",
            PhotometricInterpretation="MONOCHROME1" if name == "b1" else "MONOCHROME2",
            ImageLaterality=str(truth.laterality), ViewPosition=str(truth.view), Manufacturer=None,
        )  # fmt: skip
        common = {
            "study_id": study, "series_id": "s", "image_id": name, "laterality": truth.laterality,
            "view_position": truth.view, "height": 720, "width": 720, "breast_birads": "BI-RADS 2",
            "breast_density": f"DENSITY {truth.density}", "split": SPLITS[study],
        }  # fmt: skip
        if not truth.lesions:
            rows.append(common | {"finding_categories": "['No Finding']"})
        for (kind, _), box in zip(truth.lesions, truth.boxes(), strict=True):
            words = "['Suspicious Calcification', 'Mass']" if kind is MASS and name == "a2" else "['Mass']"
            words = "['Suspicious Calcification']" if kind is CALCIFICATIONS else words
            corners = {"xmin": box.x0, "ymin": box.y0, "xmax": box.x1, "ymax": box.y1}
            rows.append(common | corners | {"finding_categories": words, "finding_birads": "BI-RADS 4"})
    # an image's rows don't follow one another in the real table either
    rows.sort(key=lambda row: str(row.get("xmin", "")))
    table(root / "finding_annotations.csv", FINDINGS, rows)
    header = {"Patient's Age": "053Y", "Manufacturer": "SIEMENS", "Manufacturer's Model Name": "Mammomat Inspiration"}
    table(root / "metadata.csv", HEADERS, [{"SOP Instance UID": name, **header} for name in TRUTHS])
    return rows


def test_every_lesion_comes_out_where_it_was(tmp_path: Path) -> None:
    build(tmp_path / "set")
    rows = check(prepare("vindr", tmp_path / "set", tmp_path / "out"), TRUTHS, boxes=True)
    assert {row.density for row in rows.values()} == {"A", "C", "D"}
    assert {row.vendor for row in rows.values()} == {"siemens"}
    assert {row.model for row in rows.values()} == {"Mammomat Inspiration"}
    assert [lesion.kind for lesion in rows["b2"].lesions] == ["calcifications"]
    assert [lesion.kind for lesion in rows["a2"].lesions] == ["mass", "mass"]
    assert rows["b1"].lesions[0].birads == "4"
    assert rows["a1"].birads == "2"
    assert rows["a1"].age == "53"


def test_test_patients_stay_out_of_training(tmp_path: Path) -> None:
    build(tmp_path / "set")
    found = prepare("vindr", tmp_path / "set", tmp_path / "out")
    sides = {row.source_id: split for split in found.splits for row in found.rows(split)}
    assert sides["c1"] == "test"
    assert {sides[name] for name in ("a1", "a2", "b1", "b2")} <= {"train", "validation"}


def test_what_is_wrong_is_kept_as_unknown_or_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    rows = build(root)
    first = next(row for row in rows if row["image_id"] == "a1")
    first["breast_density"] = "DENSITY E"
    lesion = next(row for row in rows if row["image_id"] == "b1")
    lesion["xmin"], lesion["xmax"] = lesion["xmax"], lesion["xmin"]
    outside = dict(next(row for row in rows if row["image_id"] == "b2"), xmin=900, ymin=900, xmax=950, ymax=950)
    rows += [dict(first, image_id="gone"), outside]
    table(root / "finding_annotations.csv", FINDINGS, rows)
    dicom(breast(9).stored(), root / "images" / "z" / "stray.dicom")
    (root / "images" / "c" / "c1.dicom").write_bytes((root / "images" / "c" / "c1.dicom").read_bytes()[:9000])
    found = prepare("vindr", root, tmp_path / "out")
    got = rows_by_id(found)
    assert set(got) == {"a1", "a2", "b1", "b2"}
    assert got["a1"].density == ""
    assert got["b1"].lesions == ()
    assert len(got["b2"].lesions) == 1
    assert "outside" in got["b2"].dropped
    told = failures(found)
    assert sorted(what for what, _ in told if what in ("density", "row", "box")) == ["box", "density", "row"]
    assert any("has no row in finding_annotations.csv" in reason for _, reason in told)
    counts = found.about["counts"]
    assert counts["images"] + counts["images_failed"] == len(TRUTHS)
    assert found.about["unknown"]["density"] == 1


def test_a_wrong_root_and_a_missing_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "looked for finding_annotations.csv" in refused("vindr", tmp_path / "empty", tmp_path / "out")
    build(tmp_path / "set")
    path = tmp_path / "set" / "finding_annotations.csv"
    path.write_text(path.read_text().replace("breast_density", "density", 1))
    said = refused("vindr", tmp_path / "set", tmp_path / "out")
    assert "finding_annotations.csv: the column 'breast_density' is missing" in said


@pytest.mark.parametrize(
    ("only", "ids", "texts"),
    [
        (
            [],
            {"a1", "c1"},
            {"a mammogram in CC view with high density", "a mammogram in CC view with very high density"},
        ),
        (["--only", "lesions"], {"a2", "b1"}, {"a mammogram with a lesion"}),
    ],
)
def test_the_paper_s_selection_says_the_paper_s_words(tmp_path: Path, only, ids, texts) -> None:
    build(tmp_path / "set")
    found = prepare("vindr", tmp_path / "set", tmp_path / "out", "--recipe", "paper-vindr", *only)
    rows = rows_by_id(found)
    assert set(rows) == ids
    assert {row.text for row in rows.values()} == texts
    steps = [(step["filter"], step["images"]) for step in found.about["selection"]]
    assert steps[:2] == [("in the source", 5), ("vendor siemens", 5)]
    assert steps[-1][1] == 2
    for row in rows.values():  # the paper's frame, by Pillow itself
        truth = TRUTHS[row.source_id]
        side = next(split for split in found.splits if (found.folder / split / row.file_name).is_file())
        pixels = read_picture(found.folder / side / row.file_name)
        shown = truth.stored() / 4000
        shown = shown[:, ::-1] if truth.laterality == "R" else shown
        whole = Image.fromarray(np.ascontiguousarray(shown).astype(np.float32))
        expected = np.asarray(whole.resize((512, 512), Image.Resampling.BILINEAR))
        assert np.abs(pixels - expected).max() <= 1 / 255


def test_metadata_csv_may_be_absent(tmp_path: Path) -> None:
    build(tmp_path / "set")
    (tmp_path / "set" / "metadata.csv").unlink()
    rows = rows_by_id(prepare("vindr", tmp_path / "set", tmp_path / "out"))
    assert {row.vendor for row in rows.values()} == {""}


def test_rows_in_a_table_add_up(tmp_path: Path) -> None:
    build(tmp_path / "set")
    with open(tmp_path / "set" / "finding_annotations.csv", newline="") as file:
        asked = sum(bool(row["xmin"]) for row in csv.DictReader(file))
    found = prepare("vindr", tmp_path / "set", tmp_path / "out")
    assert sum(len(row.lesions) for row in rows_by_id(found).values()) == asked == found.about["counts"]["lesions"]
