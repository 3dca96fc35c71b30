"""Cohorts end to end with small models: what is made, that it is exactly what was ordered, and that it goes on."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pandas as pd
import pydicom
import pytest
from diffusion.conftest import Folders
from formats.standard import dciodvfy, iod_faults
from pycocotools.coco import COCO

from mame.dataset.read import open_set
from mame.dataset.verify import verify
from mame.diffusion.model import load_model
from mame.errors import MameError
from mame.formats.files import read
from mame.formats.manifest import read_manifest
from mame.formats.png import read_mask_png
from mame.mammogram import Box
from mame.synthesis.cohort.deal import deal
from mame.synthesis.cohort.run import foresee, read_cohort, synthesize
from mame.synthesis.plan import Plan, read_plan

from .conftest import ANYTHING, MakePlan, contents

Boxes = dict[str, list[tuple[float, ...]]]

# -- what is there ----------------------------------------------------------------------------------------------------


def test_a_cohort_is_exactly_what_was_ordered(cohort: Path, make_plan: MakePlan) -> None:
    orders, lines = deal(make_plan()), read_manifest(cohort)
    assert [line["order"]["index"] for line in lines] == list(range(8))
    for order, line in zip(orders, lines, strict=True):
        assert line["description"] == {"view": order.words.view}
        assert line["laterality"] == order.side
        assert [lesion["kind"] for lesion in line["lesions"]] == [lesion.kind for lesion in order.lesions]
        for asked, lesion in zip(order.lesions, line["lesions"], strict=True):
            box = Box(*lesion["box"])
            assert abs(max(box.width, box.height) * line["spacing_mm"] - asked.size_mm) <= line["spacing_mm"]
    about = read_cohort(cohort)
    assert (about["asked"], about["made"], about["failed"], about["counts"]["lesions"]) == (8, 8, 0, 4)
    assert Counter(line["description"]["view"] for line in lines) == {"CC": 4, "MLO": 4}
    assert read_plan(cohort / "plan.yaml") == make_plan()


def test_a_cohort_is_a_prepared_set(cohort: Path) -> None:
    import datasets

    assert verify(cohort) == []
    rows = open_set(cohort).rows("train")
    assert len(rows) == 8
    loaded = datasets.load_dataset("imagefolder", data_dir=str(cohort), cache_dir=str(cohort.parent / "cache"))
    assert loaded["train"].num_rows == 8
    assert sorted(loaded["train"]["text"]) == sorted(row.text for row in rows)
    assert sum("with a mass" in row.text or "and a mass" in row.text for row in rows) == 4


def test_the_prepared_picture_is_the_picture(cohort: Path) -> None:
    found = open_set(cohort)
    for row, mammogram in found.mammograms("train"):
        image = read(cohort / "images" / row.file_name)
        mirrored = image.pixels[:, ::-1] if row.laterality == "R" else image.pixels
        kept = mammogram.pixels > 0  # the small models paint noise into air, which a prepared picture leaves out
        assert kept.any()
        np.testing.assert_array_equal(mammogram.pixels[kept], mirrored[kept])
        assert row.spacing_mm == image.spacing_mm


def test_dicom_and_png_show_the_same(cohort: Path) -> None:
    for line in read_manifest(cohort):
        png, dicom = (read(cohort / file) for file in line["files"])
        np.testing.assert_array_equal(png.pixels, dicom.pixels)
        assert png.lesions == dicom.lesions
        assert png.description == dicom.description
        dataset = pydicom.dcmread(cohort / line["files"][1], stop_before_pixels=True)
        assert (dataset.SyntheticData, dataset.StudyDate) == ("YES", "20000101")
        assert dataset.SOPInstanceUID == line["sop_instance_uid"]
        assert line["prompt"] in dataset.DerivationDescription


def by_pycocotools(folder: Path) -> Boxes:
    coco = COCO(str(folder / "labels" / "coco.json"))
    found: Boxes = {Path(image["file_name"]).stem: [] for image in coco.imgs.values()}
    for one in coco.anns.values():
        x, y, w, h = one["bbox"]
        found[Path(coco.imgs[one["image_id"]]["file_name"]).stem].append((x, y, x + w, y + h))
    return found


def by_a_yolo_reader(folder: Path) -> Boxes:
    found: Boxes = {}
    for path in sorted((folder / "labels" / "yolo").glob("*.txt")):
        height, width = read(folder / "images" / f"{path.stem}.png").shape
        found[path.stem] = []
        for line in path.read_text().splitlines():
            x, y, w, h = (float(share) for share in line.split()[1:])
            found[path.stem].append(
                ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
            )
    return found


def by_pandas(folder: Path) -> Boxes:
    table = pd.read_csv(folder / "labels" / "finding_annotations.csv", dtype={"image_id": str})
    found: Boxes = {name: [] for name in table.image_id}
    for row in table.itertuples():
        if ast.literal_eval(row.finding_categories) != ["No Finding"]:
            found[row.image_id].append((row.xmin, row.ymin, row.xmax, row.ymax))
    return found


def by_highdicom(folder: Path) -> Boxes:
    found: Boxes = {path.stem: [] for path in (folder / "images").glob("*.dcm")}
    for path in (folder / "labels" / "seg").glob("*.dcm"):
        seg = hd.seg.segread(path)
        masks = seg.get_pixels_by_source_instance([seg.SourceImageSequence[0].ReferencedSOPInstanceUID])[0]
        for number in range(masks.shape[-1]):
            box = Box.of_mask(masks[..., number] > 0)
            assert box is not None
            found[path.stem].append(box.as_tuple())
    return found


def test_boxes_agree_in_all_formats_to_half_a_pixel(cohort: Path) -> None:
    told = {Path(line["file"]).stem: [tuple(x["box"]) for x in line["lesions"]] for line in read_manifest(cohort)}
    assert sum(len(boxes) for boxes in told.values()) == 4
    for reader in (by_pycocotools, by_a_yolo_reader, by_pandas, by_highdicom):
        found = reader(cohort)
        assert found.keys() == told.keys()
        for name, boxes in told.items():
            assert len(found[name]) == len(boxes)
            if boxes:
                np.testing.assert_allclose(found[name], boxes, atol=0.5)


def test_the_mask_is_what_was_painted_through(cohort: Path) -> None:
    for line in read_manifest(cohort):
        if line["lesions"]:
            box = Box.of_mask(read_mask_png(cohort / line["mask_file"]))
            assert box == Box(*line["lesions"][0]["box"])
        else:
            assert "mask_file" not in line


def test_nothing_is_hidden(cohort: Path) -> None:
    lines = read_manifest(cohort)
    about = read_cohort(cohort)
    assert about["tries"] == sum(line["tries"] for line in lines) > 12
    for line in lines:
        assert line["tries"] == 1 + len(line["lesions"]) + len(line["rejected"])
        assert all(rejected["reasons"] for rejected in line["rejected"])
    assert set(about["rejected"]) == {"side"}  # the small models' noise is now and then a right breast


def test_an_image_can_be_made_again_by_its_seed(cohort: Path, folders: Folders) -> None:
    model = load_model(folders.healthy)
    for line in read_manifest(cohort):
        how = line.get("painted_on", line)
        (again,) = model.generate(how["prompt"], seed=how["seed"], steps=how["steps"], laterality=line["laterality"])
        made = read(cohort / line["file"])
        outside = ~made_region(cohort, line)
        np.testing.assert_allclose(made.pixels[outside], again.pixels[outside], atol=1 / 65535)


def made_region(folder: Path, line: dict[str, Any]) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    if "mask_file" not in line:
        return np.zeros(line["shape"], dtype=bool)
    return np.asarray(binary_dilation(read_mask_png(folder / line["mask_file"]), iterations=3))


def test_every_kind_of_object_is_valid(cohort: Path) -> None:
    line = next(line for line in read_manifest(cohort) if line["lesions"])
    kinds = {
        line["files"][1]: ("digital-mammography-x-ray-image", "MammographyImageForPresentation"),
        line["labels"]["seg"]: ("segmentation", "Segmentation"),
        line["labels"]["sr"]: ("comprehensive-sr", "ComprehensiveSR"),
    }
    for file, (iod, _) in kinds.items():
        assert iod_faults(pydicom.dcmread(cohort / file), iod) == []
    for file, (_, name) in kinds.items():
        assert dciodvfy(cohort / file, name) == []


def test_cases_share_a_study(tmp_path: Path, make_plan: MakePlan) -> None:
    out = synthesize(make_plan(count=8, cases=True, vendor="siemens", outputs=["dicom"]), tmp_path / "out", workers=1)
    found = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((out / "images").glob("*.dcm"))]
    for start in (0, 4):
        case = found[start : start + 4]
        for word in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
            assert len({getattr(dataset, word) for dataset in case}) == 1
        assert [dataset.InstanceNumber for dataset in case] == [1, 2, 3, 4]
        assert len({(dataset.ImageLaterality, dataset.ViewPosition) for dataset in case}) == 4
        assert len({dataset.SOPInstanceUID for dataset in case}) == 4
    assert found[0].PatientID != found[4].PatientID
    assert len({row.patient for row in open_set(out).rows("train")}) == 2


def test_two_cohorts_share_no_uid(cohort: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    other = synthesize(make_plan(negative="noise", count=4), tmp_path / "other", workers=1)
    uids = [{line["sop_instance_uid"] for line in read_manifest(folder)} for folder in (cohort, other)]
    assert uids[0].isdisjoint(uids[1])


# -- stopping and going on --------------------------------------------------------------------------------------------


class StopError(Exception):
    pass


def stop_after(images: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done == images:
            raise StopError

    return progress


def test_a_stopped_run_goes_on_to_the_same_cohort(cohort: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    out = tmp_path / "out"
    with pytest.raises(StopError):
        synthesize(make_plan(), out, workers=1, progress=stop_after(3))
    made = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert len({path.stem[:4] for path in made}) == 3
    told: list[tuple[int, int]] = []
    synthesize(make_plan(), out, workers=1, progress=lambda *now: told.append(now))
    assert told[0] == (3, 8)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert contents(out) == contents(cohort)


def test_what_was_finished_but_not_noted_is_not_made_again(
    cohort: Path, tmp_path: Path, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(StopError):
        synthesize(make_plan(), out, workers=1, progress=stop_after(3))
    journal = out / ".unfinished" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    said = json.loads(lines[-1])
    index = said.pop("index")
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])  # killed while it was noted
    (out / ".unfinished" / "done" / f"{index}.json").write_text(json.dumps(said))
    made = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    synthesize(make_plan(), out, workers=1)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert contents(out) == contents(cohort)


def test_a_finished_cohort_is_left_alone(cohort: Path, make_plan: MakePlan) -> None:
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("*")}
    assert synthesize(make_plan(), cohort) == cohort
    assert {path: path.stat().st_mtime_ns for path in cohort.rglob("*")} == before


def test_a_folder_with_another_plan_is_refused(cohort: Path, make_plan: MakePlan) -> None:
    lesions = {"share": 0.25, "size_mm": [22, 30], "steps": 1}
    with pytest.raises(MameError, match=r"another plan: count 8 instead of 4; lesions\.share 0\.5 instead of 0\.25"):
        synthesize(make_plan(count=4, lesions=lesions), cohort)
    with pytest.raises(MameError, match="was begun with no images a shard, not 3"):
        synthesize(make_plan(), cohort, shards=3)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, make_plan: MakePlan) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.png").write_bytes(b"")
    with pytest.raises(MameError, match="did not make"):
        synthesize(make_plan(), tmp_path)
    assert (tmp_path / "images" / "mine.png").exists()


def test_force_makes_it_anew(tmp_path: Path, make_plan: MakePlan) -> None:
    out = synthesize(make_plan(count=2, outputs=["png"]), tmp_path / "out", workers=1)
    lesions = {"share": 0}
    synthesize(make_plan(count=1, lesions=lesions, outputs=["png"]), out, workers=1, force=True)
    assert sorted(path.name for path in (out / "images").iterdir()) == ["0000.png"]
    assert not (out / "labels").exists()
    assert verify(out) == []


# -- what can't be made -----------------------------------------------------------------------------------------------


def test_an_order_that_can_not_be_met_is_left_out_with_its_reasons(
    tmp_path: Path, make_plan: MakePlan, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAM_E_KEY", str(tmp_path / "key"))
    lesions = {"share": 0.5, "size_mm": 79, "steps": 1}
    out = synthesize(make_plan(background={"dicom": str(films)}, count=6, lesions=lesions), tmp_path / "out", workers=1)
    about = read_cohort(out)
    assert (about["asked"], about["made"], about["failed"]) == (6, 3, 3)
    assert "no room for a lesion of 79 mm: 3 mm off skin" in (out / "failures.csv").read_text()
    assert verify(out) == []
    assert len(list((out / "labels" / "yolo").iterdir())) == about["made"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "nonsense"}, "unknown model 'nonsense'"),
        ({"lesion_model": "nonsense"}, "unknown model 'nonsense'"),
        ({"vendor": "ge"}, "knows siemens, not 'ge'"),
        ({"lesions": {"share": 0.5, "kinds": {"calcifications": 1}}}, "a pixel is 4 mm at best, and at most 0.1 mm"),
        ({"lesions": {"share": 1, "size_mm": {"set": "nowhere"}}}, "nowhere: is not a prepared data set"),
        ({"background": {"set": "nowhere"}}, "nowhere: is not a prepared data set"),
        ({"background": {"dicom": "nowhere"}}, "nowhere: is not a folder"),
    ],
)
def test_what_can_not_be_is_said_before_anything_runs(
    tmp_path: Path, make_plan: MakePlan, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(MameError) as error:
        synthesize(make_plan(**changes), tmp_path / "out")
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_forecast_keeps_nothing(tmp_path: Path, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = foresee(make_plan(count=200, density={"A": 0.1, "D": 0.9}), workers=2)
    assert (seen.images, seen.lesions, seen.workers) == (200, 100, 2)
    assert seen.counts["density"] == {"D": 180, "A": 20}
    assert 0.5 < seen.elapsed_s < 600
    assert 1e6 < seen.disk_bytes < 1e9
    assert "density  D                    180   90.0%" in seen.to_text()
    assert list(tmp_path.iterdir()) == []


def test_the_forecast_of_the_disk_is_about_right(cohort: Path, make_plan: MakePlan) -> None:
    taken = sum(len(data) for name, data in contents(cohort).items() if not name.endswith(".html"))
    assert 0.3 < foresee(make_plan(), workers=1).disk_bytes / taken < 4


def test_a_plan_in_a_file_by_its_path(tmp_path: Path, folders: Folders) -> None:
    said = Plan(count=1, model=str(folders.healthy), steps=1, accept=ANYTHING)
    (tmp_path / "plan.yaml").write_text(said.to_yaml())
    out = synthesize(tmp_path / "plan.yaml", tmp_path / "out", workers=1)
    assert read_cohort(out)["made"] == 1
