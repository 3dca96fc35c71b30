"""One set of lesions through every label format and back, each read by what others read it with."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pandas as pd
import pydicom
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pydicom.dataset import Dataset

from mame.errors import MameError
from mame.formats.dicom.write import to_dataset
from mame.formats.labels import (
    LabelledImage,
    labelled,
    write_coco,
    write_seg,
    write_sr,
    write_vindr,
    write_yolo,
    write_yolo_names,
)
from mame.formats.labels.labelled import decode, encode
from mame.mammogram import Box, Density, Laterality, Lesion, LesionKind, Mammogram

from .standard import dciodvfy, iod_faults

KINDS = ["lesion", "mass", "calcifications"]


def blob(shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.bool_]:
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.asarray(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1)


@pytest.fixture
def painted(generated: Mammogram) -> Mammogram:
    """A generated picture with three lesions: outlined, boxed between pixels, and half outside the picture."""
    mask = blob(generated.shape, (120.3, 250.8), (17, 23.5))
    box = Box.of_mask(mask)
    assert box is not None
    return generated.with_(
        lesions=(
            Lesion(LesionKind.MASS, box, mask),
            Lesion(LesionKind.CALCIFICATIONS, Box(60.25, 300.5, 81.75, 340.125)),
            Lesion(LesionKind.LESION, Box(-4, 280, 9.5, 301), birads="5"),
        ),
        provenance=generated.provenance | {"uid_seed": "cohort 1 0", "created": "2000-01-01"},
    )


@pytest.fixture
def image(painted: Mammogram) -> LabelledImage:
    return labelled(painted, "0001", "0001.png", study="1.2", series="1.3")


@pytest.fixture
def healthy(generated: Mammogram) -> LabelledImage:
    return labelled(generated.with_(laterality=Laterality.R), "0000", "0000.png", split="test")


def boxes_of(image: LabelledImage) -> list[tuple[float, ...]]:
    return [found.box.as_tuple() for found in image.findings]


# -- every reader gives the same boxes --------------------------------------------------------------------------------

Reader = Callable[[Mammogram, LabelledImage, LabelledImage, Path], list[tuple[str, tuple[float, ...]]]]


def by_pycocotools(_: Mammogram, image: LabelledImage, healthy: LabelledImage, folder: Path) -> list[tuple]:
    write_coco([healthy, image], folder / "coco.json")
    coco = COCO(str(folder / "coco.json"))
    (number,) = (key for key, said in coco.imgs.items() if said["file_name"] == "0001.png")
    assert (coco.imgs[number]["height"], coco.imgs[number]["width"]) == image.shape
    found = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
    names = [coco.loadCats([one["category_id"]])[0]["name"] for one in found]
    edges = [(x, y, x + w, y + h) for x, y, w, h in (one["bbox"] for one in found)]
    return list(zip(names, edges, strict=True))


def by_a_plain_yolo_reader(_: Mammogram, image: LabelledImage, healthy: LabelledImage, folder: Path) -> list[tuple]:
    write_yolo(image, folder / "0001.txt")
    height, width = image.shape
    found = []
    for line in (folder / "0001.txt").read_text().splitlines():
        number, *shares = line.split()
        x, y, w, h = (float(share) for share in shares)
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        found.append((KINDS[int(number)], box))
    return found


def by_pandas(_: Mammogram, image: LabelledImage, healthy: LabelledImage, folder: Path) -> list[tuple]:
    write_vindr([healthy, image], folder / "finding_annotations.csv")
    table = pd.read_csv(folder / "finding_annotations.csv", dtype={"image_id": str})
    words = {"Lesion": "lesion", "Mass": "mass", "Suspicious Calcification": "calcifications"}
    return [
        (words[ast.literal_eval(row.finding_categories)[0]], (row.xmin, row.ymin, row.xmax, row.ymax))
        for row in table[table.image_id == "0001"].itertuples()
    ]


def by_highdicom_sr(painted: Mammogram, image: LabelledImage, healthy: LabelledImage, folder: Path) -> list[tuple]:
    write_sr(painted, to_dataset(painted), folder / "sr.dcm")
    found = []
    for group in hd.sr.srread(folder / "sr.dcm").content.get_planar_roi_measurement_groups():
        corners = group.roi.value
        kind = {"Lesion": 0, "Mass": 1, "Calcification Cluster": 2}[group.finding_type.meaning]
        found.append((KINDS[kind], (*corners.min(axis=0), *corners.max(axis=0))))
    return found


@pytest.mark.parametrize("reader", [by_pycocotools, by_a_plain_yolo_reader, by_pandas])
def test_boxes_come_back(
    painted: Mammogram, image: LabelledImage, healthy: LabelledImage, tmp_path: Path, reader: Reader
) -> None:
    found = reader(painted, image, healthy, tmp_path)
    assert [kind for kind, _ in found] == ["mass", "calcifications", "lesion"]
    np.testing.assert_allclose([box for _, box in found], boxes_of(image), atol=1e-3)
    assert boxes_of(image)[2] == (0, 280, 9.5, 301)  # clipped to the image


def test_boxes_come_back_from_a_report(
    painted: Mammogram, image: LabelledImage, healthy: LabelledImage, tmp_path: Path
) -> None:
    inside = painted.with_(lesions=painted.lesions[:2])
    found = by_highdicom_sr(inside, image, healthy, tmp_path)
    assert [kind for kind, _ in found] == ["mass", "calcifications"]
    np.testing.assert_allclose([box for _, box in found], boxes_of(image)[:2], atol=1e-3)


def test_masks_come_back_from_a_segmentation(painted: Mammogram, tmp_path: Path) -> None:
    source = to_dataset(painted)
    write_seg(painted, source, tmp_path / "seg.dcm")
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    masks = seg.get_pixels_by_source_instance([source.SOPInstanceUID])[0] > 0
    assert masks.shape == (*painted.shape, 3)
    np.testing.assert_array_equal(masks[..., 0], painted.lesions[0].mask)
    for number, lesion in enumerate(painted.lesions):
        box, inside = Box.of_mask(masks[..., number]), lesion.box.rounded().clipped(painted.shape)
        assert box == inside
    assert [seg.get_segment_description(n).segmented_property_type.meaning for n in (1, 2, 3)] == [
        "Mass",
        "Calcification Cluster",
        "Lesion",
    ]
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.PatientID == source.PatientID


def test_coco_masks_are_the_masks(
    painted: Mammogram, image: LabelledImage, healthy: LabelledImage, tmp_path: Path
) -> None:
    write_coco([healthy, image], tmp_path / "coco.json")
    coco = COCO(str(tmp_path / "coco.json"))
    first, second, _ = coco.loadAnns(coco.getAnnIds())
    mask = painted.lesions[0].mask
    assert mask is not None
    np.testing.assert_array_equal(coco.annToMask(first).astype(bool), mask)
    assert first["area"] == mask.sum()
    assert abs(int(coco.annToMask(second).sum()) - second["area"]) < 70  # a polygon of a box between pixels
    assert len(coco.imgs) == 2
    assert {category["name"] for category in coco.loadCats(coco.getCatIds())} == set(KINDS)


def test_nothing_of_a_healthy_image(healthy: LabelledImage, tmp_path: Path) -> None:
    write_coco([healthy], tmp_path / "coco.json")
    said = json.loads((tmp_path / "coco.json").read_text())
    assert (len(said["images"]), said["annotations"]) == (1, [])
    write_yolo(healthy, tmp_path / "0000.txt")
    assert (tmp_path / "0000.txt").read_bytes() == b""
    write_vindr([healthy], tmp_path / "v.csv")
    (row,) = pd.read_csv(tmp_path / "v.csv", dtype=str).to_dict("records")
    assert (row["finding_categories"], row["breast_birads"], row["laterality"]) == ("['No Finding']", "BI-RADS 1", "R")
    assert pd.isna(row["xmin"])
    assert row["split"] == "test"


def test_vindr_says_what_the_image_is(image: LabelledImage, tmp_path: Path) -> None:
    write_vindr([image], tmp_path / "v.csv")
    table = pd.read_csv(tmp_path / "v.csv")
    assert list(table.columns[:8]) == [
        "study_id", "series_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads",
    ]  # fmt: skip
    assert set(table.breast_birads) == {"BI-RADS 5"}  # the worst of its findings
    assert list(table.finding_birads) == ["BI-RADS 4", "BI-RADS 4", "BI-RADS 5"]
    assert set(table.breast_density) == {f"DENSITY {Density.C}"}
    assert (set(table.view_position), set(table.height)) == ({"MLO"}, {image.shape[0]})


def test_yolo_names_the_classes(tmp_path: Path) -> None:
    write_yolo_names(tmp_path / "data.yaml")
    assert (tmp_path / "data.yaml").read_text() == "names:\n  0: lesion\n  1: mass\n  2: calcifications\n"


def test_an_image_goes_through_json(image: LabelledImage, healthy: LabelledImage) -> None:
    for one in (image, healthy):
        assert LabelledImage.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_run_lengths_hold_a_mask_of_full_size() -> None:
    mask = blob((4736, 2624), (1300, 3000), (120, 90))
    counts = encode(mask)
    assert len(counts) < 2000
    np.testing.assert_array_equal(decode(counts, mask.shape), mask)


# -- the standard -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["seg", "sr"])
def made(request: pytest.FixtureRequest, painted: Mammogram, tmp_path: Path) -> tuple[str, Path, Dataset]:
    source = to_dataset(painted)
    path = tmp_path / f"{request.param}.dcm"
    {"seg": write_seg, "sr": write_sr}[request.param](painted, source, path)
    return request.param, path, source


def test_dciodvfy_takes_it(made: tuple[str, Path, Dataset]) -> None:
    kind, path, _ = made
    assert dciodvfy(path, {"seg": "Segmentation", "sr": "ComprehensiveSR"}[kind]) == []


def test_the_module_tables_find_no_fault(made: tuple[str, Path, Dataset]) -> None:
    kind, path, _ = made
    iod = {"seg": "segmentation", "sr": "comprehensive-sr"}[kind]
    dataset = pydicom.dcmread(path)
    assert iod_faults(dataset, iod) == []
    # the tables do find faults, deep inside, too
    del dataset.StudyInstanceUID
    if kind == "seg":
        del dataset.PerFrameFunctionalGroupsSequence[1].FrameContentSequence
        deep = "functional group FrameContentSequence is missing in frame 2"
    else:
        del dataset.ContentSequence[-1].ContentSequence[0].ContentSequence[-1].GraphicType
        deep = "type 1 ContentSequence/GraphicType is missing"
    assert set(iod_faults(dataset, iod)) == {"type 1 StudyInstanceUID is missing", deep}


def test_the_same_call_writes_the_same_bytes(made: tuple[str, Path, Dataset], painted: Mammogram) -> None:
    kind, path, source = made
    again = path.with_name("again.dcm")
    {"seg": write_seg, "sr": write_sr}[kind](painted, source, again)
    assert again.read_bytes() == path.read_bytes()
    dataset = pydicom.dcmread(path)
    assert (dataset.ContentDate, dataset.SyntheticData) == ("20000101", "YES")
    assert dataset.StudyInstanceUID == source.StudyInstanceUID


def test_what_can_not_be_said_is_refused(generated: Mammogram, painted: Mammogram, tmp_path: Path) -> None:
    source = to_dataset(painted)
    with pytest.raises(MameError, match="no lesion"):
        write_seg(generated, source, tmp_path / "a.dcm")
    with pytest.raises(MameError, match="no lesion"):
        write_sr(generated, source, tmp_path / "a.dcm")
    source.Rows = 3
    with pytest.raises(MameError, match="the image 3"):
        write_seg(painted, source, tmp_path / "a.dcm")
    assert list(tmp_path.iterdir()) == []
