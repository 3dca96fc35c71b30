"""OMI-DB in miniature, as its own reader, omidb, takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mame.mammogram import LesionKind

from .miniature import breast, check, dicom, failures, prepare, refused, rows_by_id

pytest.importorskip("omidb", reason="omidb (extra `sources`) is absent")

STUDY = "1.2.826.0.1.3680043.9.3218.1.1.{}"
IMAGE = "1.2.826.0.1.3680043.9.3218.1.2.{}"
SERIES = "1.2.826.0.1.3680043.9.3218.1.3.{}"
MASS, CALCIFICATIONS = LesionKind.MASS, LesionKind.CALCIFICATIONS
CLIENTS = {"demd1": (1, 2), "optm2": (3,), "demd3": (4,)}
PICTURES = {
    1: breast(41, "L", "CC", "B", (MASS, MASS)),
    2: breast(42, "R", "MLO", "B"),
    3: breast(43, "R", "CC", "D"),
    4: breast(44, "L", "MLO", "A", (CALCIFICATIONS,)),
}
TRUTHS = {f"{client}-{IMAGE.format(n)}": PICTURES[n] for client, numbers in CLIENTS.items() for n in numbers}


def mark(number: int, kind: LesionKind, box: Any, swapped: bool) -> dict[str, object]:
    """A mark; its corners come in either order."""
    ys = (box.y1, box.y0) if swapped else (box.y0, box.y1)
    words: dict[str, object] = {"Mass": "1"} if kind is MASS else {"SuspiciousCalcifications": "1"}
    return {
        "MarkID": number, "X1": str(int(box.x0)), "Y1": str(int(ys[0])), "X2": str(int(box.x1)),
        "Y2": str(int(ys[1])), "Conspicuity": "Obvious", "LinkedNBSSLesionNumber": "1", **words,
    }  # fmt: skip


def header(number: int, **more: Any) -> Dataset:
    """What an image's DICOM and JSON say."""
    truth = PICTURES[number]
    view = Dataset()
    view.CodeValue = "R-10242" if truth.view == "CC" else "R-10226"
    view.CodingSchemeDesignator, view.CodeMeaning = "SNM3", "view"
    said = {
        "ImageLaterality": str(truth.laterality), "ViewPosition": str(truth.view), "Manufacturer": "HOLOGIC, Inc.",
        "ManufacturerModelName": "Lorad Selenia", "ImagerPixelSpacing": ["0.07", "0.07"], "PatientAge": "055Y",
        "BreastImplantPresent": "NO", "ViewCodeSequence": Sequence([view]), "Rows": 3328, "Columns": 2560,
        "PresentationIntentType": "FOR PRESENTATION",
    } | more  # fmt: skip
    dataset = Dataset()
    for name, value in said.items():
        setattr(dataset, name, value)
    return dataset


def build(root: Path, **more: Any) -> None:
    for client, numbers in CLIENTS.items():
        studies: dict[str, Any] = {}
        for number in numbers:
            truth = PICTURES[number]
            dataset = header(number, **more)
            study = STUDY.format(client[-1])
            attributes = {name: getattr(dataset, name) for name in dataset.dir() if name not in ("Rows", "Columns")}
            dicom(
                truth.stored(),
                root / "images" / client / study / f"{IMAGE.format(number)}.dcm",
                number == 3,
                **attributes,
            )
            place = root / "data" / client / study / f"{IMAGE.format(number)}.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(dataset.to_json_dict()))
            boxes = zip(truth.lesions, truth.boxes(), strict=True)
            marks = {str(i): mark(i, kind, box, i == 1) for i, ((kind, _), box) in enumerate(boxes)}
            entry = studies.setdefault(study, {"StudyDate": "2015-03-02", "EpisodeID": "900"})
            entry[SERIES.format(number)] = {IMAGE.format(number): marks or ""}
        side = {"DateTaken": "2015-03-02", "EquipmentMakeModel": "X", "Opinion": "RN"}
        episode: dict[str, Any] = {"EpisodeType": "R", "EpisodeIsClosed": "Y", "SCREENING": {"L": side, "R": side}}
        if client == "demd1":
            episode["SURGERY"] = {"left_opinion": "OM", "L": {"1": {"DatePerformed": "2015-05-02"}}}
        folder = root / "data" / client
        # both spellings of the files' names are about
        image_name, nbss_name = ("IMAGEDB_", "NBSS_") if client == "optm2" else ("imagedb_", "nbss_")
        (folder / f"{image_name}{client}.json").write_text(json.dumps({"Site": "adde", "STUDIES": studies}))
        (folder / f"{nbss_name}{client}.json").write_text(json.dumps({"ClientID": client, "900": episode}))


def test_every_lesion_comes_out_where_it_was(tmp_path: Path) -> None:
    build(tmp_path / "set")
    found = prepare("optimam", tmp_path / "set", tmp_path / "out", "--spacing", "0.355556")
    rows = check(found, TRUTHS, boxes=True)
    assert {row.vendor for row in rows.values()} == {"hologic"}
    ill = rows[f"demd1-{IMAGE.format(1)}"]
    assert [lesion.kind for lesion in ill.lesions] == ["mass", "mass"]
    assert ill.pathology == "malignant"
    assert ill.age == "55"
    assert rows[f"demd3-{IMAGE.format(4)}"].lesions[0].finding == "suspicious calcifications"
    assert failures(found) == []


def test_the_paper_s_selection_says_the_paper_s_words(tmp_path: Path) -> None:
    build(tmp_path / "set")
    found = prepare("optimam", tmp_path / "set", tmp_path / "out", "--recipe", "paper-omi", "--spacing", "0.355556")
    rows = rows_by_id(found)
    assert set(rows) == {f"optm2-{IMAGE.format(3)}"}
    (row,) = rows.values()
    assert row.text in {f"a mammogram in CC view with {area} area" for area in ("small", "medium", "big")}
    steps = [(step["filter"], step["images"]) for step in found.about["selection"]]
    assert steps == [
        ("in the source", 4), ("vendor hologic", 4), ("no implants", 4), ("no magnification", 4),
        ("3328 or 4096 rows", 4), ("view CC or MLO", 4), ("screening", 4), ("0.07 or 0.065 mm a pixel", 4),
        ("only healthy", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "step", "left"),
    [
        ({"BreastImplantPresent": "YES"}, "no implants", 0),
        ({"Rows": 1914}, "3328 or 4096 rows", 0),
        ({"Manufacturer": "SIEMENS"}, "vendor hologic", 0),
        ({"ImagerPixelSpacing": ["0.1", "0.1"]}, "0.07 or 0.065 mm a pixel", 0),
    ],
)
def test_each_of_the_paper_s_filters_works(tmp_path: Path, more: dict[str, Any], step: str, left: int) -> None:
    build(tmp_path / "set", **more)
    said = refused("optimam", tmp_path / "set", tmp_path / "out", "--recipe", "paper-omi")
    assert f"{step}: {left}" in said


def test_images_for_processing_lateral_views_and_lost_files_are_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    build(root)
    study = root / "data" / "demd1" / STUDY.format(1)
    raw = header(1, PresentationIntentType="FOR PROCESSING")
    (study / f"{IMAGE.format(1)}.json").write_text(json.dumps(raw.to_json_dict()))
    assert raw.to_json_dict()["00080068"]["Value"][0] == "FOR PROCESSING"
    lateral = header(2, ViewPosition="LM")
    del lateral.ViewCodeSequence
    (study / f"{IMAGE.format(2)}.json").write_text(json.dumps(lateral.to_json_dict()))
    (root / "images" / "optm2" / STUDY.format(2) / f"{IMAGE.format(3)}.dcm").unlink()
    dicom(breast(49).stored(), root / "images" / "demd3" / "1.2.9" / "stray.dcm")
    (root / "data" / "demd9").mkdir()
    found = prepare("optimam", root, tmp_path / "out")
    told = failures(found)
    assert sorted(what for what, _ in told) == ["client", "image", "image", "row", "view"]
    assert any("FOR PROCESSING" in reason for _, reason in told)
    assert any("belongs to no study" in reason for _, reason in told)


def test_a_wrong_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "looked for data/optm… and data/demd…" in refused("optimam", tmp_path / "empty", tmp_path / "out")
