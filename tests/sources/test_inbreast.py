"""INbreast in miniature: `;` between columns, outlines in property lists, ML for MLO."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.measure import find_contours

from mame.mammogram import LesionKind

from .miniature import breast, check, dicom, failures, prepare, refused, rows_by_id, table

MASS = LesionKind.MASS
COLUMNS = ("Patient ID", "Patient age", "Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads")
TRUTHS = {
    "20586908": breast(61, "L", "MLO", "C", (MASS, MASS)),
    "20586934": breast(62, "R", "CC", "C"),
    "20587054": breast(63, "R", "MLO", "A", (MASS,)),
}
HASHES = {"20586908": "6c613a14b80a8591", "20586934": "6c613a14b80a8591", "20587054": "b6a4f750c6df4f90"}


def outline(mask: np.ndarray) -> list[tuple[float, float]]:
    """(x, y) around a mask: pixel i spans [i, i + 1)."""
    line = max(find_contours(np.pad(mask, 1).astype(float), 0.5), key=len) - 1 + 0.5
    return [(float(x), float(y)) for y, x in line[::2]]


def regions(truth: Any, as_text: bool) -> list[dict[str, Any]]:
    made = []
    for _, mask in truth.lesions:
        points = outline(mask)
        said = [f"({x:.6f}, {y:.6f})" for x, y in points] if as_text else [list(point) for point in points]
        made.append({"Name": "Mass", "NumberOfPoints": len(points), "Point_px": said})
    return made


def build(root: Path, as_text: bool = True, view: str = "MLO", removed: bool = True) -> list[dict[str, object]]:
    place = root / "INbreast Release 1.0"
    (place / "AllXML").mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for name, truth in TRUTHS.items():
        said = view if truth.view == "MLO" else "CC"
        path = place / "AllDICOMs" / f"{name}_{HASHES[name]}_MG_{truth.laterality}_{said}_ANON.dcm"
        dicom(truth.stored(), path, ImageLaterality=None, ViewPosition=None, PatientID=None, Manufacturer=None)
        if truth.lesions:
            with open(place / "AllXML" / f"{name}.xml", "wb") as file:
                plistlib.dump({"Images": [{"NumberOfROIs": 1, "ROIs": regions(truth, as_text)}]}, file)
        rows.append(
            {
                "Patient ID": "removed" if removed else HASHES[name][:4],
                "Patient age": "removed",
                "Laterality": truth.laterality,
                "View": said,
                "Acquisition date": "201001",
                "File Name": name,
                "ACR": "ABCD".index(truth.density) + 1,
                "Bi-Rads": "4a" if truth.lesions else "1",
            }
        )
    table(place / "INbreast.csv", COLUMNS, rows, delimiter=";")
    return rows


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("view", ["MLO", "ML"])
def test_every_lesion_comes_out_where_it_was(tmp_path: Path, as_text: bool, view: str) -> None:
    build(tmp_path / "set", as_text, view)
    found = prepare("inbreast", tmp_path / "set", tmp_path / "out")
    rows = check(found, TRUTHS)
    assert {name: row.density for name, row in rows.items()} == {"20586908": "C", "20586934": "C", "20587054": "A"}
    assert rows["20586908"].birads == "4a"
    assert rows["20586908"].patient == rows["20586934"].patient != rows["20587054"].patient
    assert failures(found) == []


def test_the_folder_may_be_given_itself_and_the_table_may_name_patients(tmp_path: Path) -> None:
    build(tmp_path / "set", removed=False)
    found = prepare("inbreast", tmp_path / "set" / "INbreast Release 1.0", tmp_path / "out", "--only", "healthy")
    assert set(rows_by_id(found)) == {"20586934"}


def test_points_clusters_and_damage(tmp_path: Path) -> None:
    root = tmp_path / "set"
    rows = build(root)
    place = root / "INbreast Release 1.0"
    truth = TRUTHS["20587054"]
    (box,) = truth.boxes()
    x, y = box.centre
    corners = [f"({x + dx}, {y + dy})" for dx, dy in ((-6, 0), (6, 0), (0, 7))]
    made = [
        {"Name": "Calcification", "NumberOfPoints": 1, "Point_px": [f"({x}, {y})"]},
        {
            "Name": "Cluster",
            "NumberOfPoints": 3,
            "Point_px": corners,
        },
        {"Name": "Spiculated Region", "NumberOfPoints": 1, "Point_px": ["(1, 2, 3)"]},
    ]
    with open(place / "AllXML" / "20587054.xml", "wb") as file:
        plistlib.dump({"Images": [{"ROIs": made}]}, file)
    (place / "AllXML" / "20586908.xml").write_bytes(b"<plist><dict>")
    (place / "AllXML" / "1.xml").write_bytes(b"")
    rows[1]["View"], rows[2]["ACR"], rows[0]["Bi-Rads"] = "LAT", "7", "2"
    table(place / "INbreast.csv", COLUMNS, [*rows, {**rows[0], "File Name": "99"}, {}], delimiter=";")
    found = prepare("inbreast", root, tmp_path / "out")
    got = rows_by_id(found)
    assert [lesion.kind for lesion in got["20587054"].lesions] == ["calcifications", "calcifications"]
    assert got["20586908"].lesions == ()
    assert (got["20586908"].healthy, got["20586934"].healthy) == ("no", "yes")
    assert sorted(what for what, _ in failures(found)) == ["density", "outline", "outline", "outline", "row", "view"]


def test_a_wrong_root_and_a_missing_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "looked for INbreast Release 1.0/INbreast.csv" in refused("inbreast", tmp_path / "empty", tmp_path / "o")
    build(tmp_path / "set")
    path = tmp_path / "set" / "INbreast Release 1.0" / "INbreast.csv"
    path.write_text(path.read_text().replace("File Name", "Name", 1))
    assert "INbreast.csv: the column 'File Name' is missing" in refused("inbreast", tmp_path / "set", tmp_path / "o")
