"""CDD-CESM in miniature, as published: shapes of the VGG annotator, subtracted images among the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mame.mammogram import LesionKind

from .miniature import Truth, breast, check, failures, prepare, rows_by_id, table
from .test_inbreast import outline

MASS = LesionKind.MASS
COLUMNS = (
    "Image_name", "Patient_ID", "Side", "Type", "Age", "Breast density (ACR)", "BIRADS", "Findings", "View", "Tags",
    "Machine",
)  # fmt: skip
SHAPES = ("#filename", "file_size", "region_shape_attributes")
TRUTHS = {
    "P1_L_DM_MLO": breast(91, "L", "MLO", "C", (MASS, MASS)),
    "P1_R_DM_CC": breast(92, "R", "CC", "C"),
    "P2_R_DM_MLO": breast(93, "R", "MLO", "A", (MASS,)),
}


def shapes(name: str, truth: Truth) -> list[dict[str, object]]:
    made = []
    for _, mask in truth.lesions:
        points = outline(mask)
        attributes = {
            "name": "polygon",
            "all_points_x": [x for x, _ in points],
            "all_points_y": [y for _, y in points],
        }
        made.append({"#filename": f"{name}.jpg", "region_shape_attributes": json.dumps(attributes)})
    return made


def build(root: Path, pathology: str) -> None:
    (root / "images").mkdir(parents=True)
    rows = []
    drawn: list[dict[str, object]] = []
    for name, truth in TRUTHS.items():
        for kind in ("DM", "CM"):
            file = name.replace("DM", kind)
            grey = Image.fromarray(np.rint(truth.pixels * 255).astype(np.uint8))
            grey.save(root / "images" / f"{file}.jpg", quality=97)
            rows.append(
                {
                    "Image_name": file,
                    "Patient_ID": name[1],
                    "Side": truth.laterality,
                    "Type": kind,
                    "Age": 52,
                    "Breast density (ACR)": truth.density,
                    "BIRADS": 4 if truth.lesions else 1,
                    "Findings": "Irregular mass" if truth.lesions else "Normal",
                    "View": truth.view,
                    "Machine": 1,
                    pathology: "Malignant" if truth.lesions else "Normal",
                }
            )
        drawn += shapes(name, truth)
    table(root / "Radiology-manual-annotations.csv", (*COLUMNS, pathology), rows)
    table(root / "Radiology_hand_drawn_segmentations_v2.csv", SHAPES, drawn)


@pytest.mark.parametrize("pathology", ["Pathology Classification/ Follow up", "Pathology Classification/Follow up"])
def test_every_lesion_comes_out_where_it_was(tmp_path: Path, pathology: str) -> None:
    build(tmp_path / "set", pathology)
    found = prepare("cdd-cesm", tmp_path / "set", tmp_path / "out", "--spacing", "0.355556")
    rows = check(found, TRUTHS)
    assert {row.vendor for row in rows.values()} == {"ge"}
    assert rows["P2_R_DM_MLO"].pathology == "Malignant"
    assert rows["P1_L_DM_MLO"].patient == rows["P1_R_DM_CC"].patient != rows["P2_R_DM_MLO"].patient
    assert [lesion.kind for lesion in rows["P1_L_DM_MLO"].lesions] == ["mass", "mass"]


def test_circles_ellipses_and_shapes_that_can_t_be(tmp_path: Path) -> None:
    build(tmp_path / "set", "Pathology Classification/ Follow up")
    (box,) = TRUTHS["P2_R_DM_MLO"].boxes()
    cx, cy = box.centre
    said = [
        {"name": "circle", "cx": cx, "cy": cy, "r": 12},
        {"name": "ellipse", "cx": cx, "cy": cy, "rx": 20, "ry": 10, "theta": 0.4},
        {"name": "star", "cx": cx, "cy": cy},
    ]
    rows = [{"#filename": "P2_R_DM_MLO.jpg", "region_shape_attributes": json.dumps(shape)} for shape in said]
    table(tmp_path / "set" / "Radiology_hand_drawn_segmentations_v2.csv", SHAPES, rows)
    found = prepare("cdd-cesm", tmp_path / "set", tmp_path / "out", "--spacing", "0.355556")
    scale = 512 / 720
    areas = sorted(lesion.box.area / scale**2 for lesion in rows_by_id(found)["P2_R_DM_MLO"].lesions)
    assert areas[0] == pytest.approx(24 * 24, rel=0.15)
    assert [what for what, _ in failures(found)] == ["outline"]
