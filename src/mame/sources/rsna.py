"""`rsna`: the RSNA Screening Mammography Breast Cancer Detection set: labels of whole breasts, no boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mame.errors import MameError
from mame.mammogram import Laterality, View
from mame.sources.record import Problem, Record
from mame.sources.tables import Row, density_of, known, read_rows, unused_files

TITLE = "RSNA Screening Mammography Breast Cancer Detection"
URL = "https://www.kaggle.com/competitions/rsna-breast-cancer-detection"
LICENCE = "competition rules: non-commercial use and academic research"
CITATION = "Carr C. et al., RSNA Screening Mammography Breast Cancer Detection, Kaggle (2022)"
TABLE, IMAGES = "train.csv", "train_images"
COLUMNS = ("site_id", "patient_id", "image_id", "laterality", "view", "age", "cancer")
OPTIONAL = ("biopsy", "invasive", "BIRADS", "implant", "density", "machine_id", "difficult_negative_case")
YES = ("1", "1.0", "TRUE", "True")


def read(root: Path) -> Iterator[Record | Problem]:
    """Records in the order of the table. Raises MameError for a wrong root or column."""
    if not (root / TABLE).is_file():
        raise MameError(f"{root}: is not the RSNA set (looked for {TABLE} and {IMAGES}/)")
    used: set[Path] = set()
    for row in read_rows(root / TABLE, COLUMNS, OPTIONAL):
        path = root / IMAGES / row["patient_id"] / f"{row['image_id']}.dcm"
        if not path.is_file():
            yield Problem(row["image_id"], "row", f"its image isn't there ({path.relative_to(root).as_posix()})")
            continue
        used.add(path)
        yield from _record(path, row)
    yield from unused_files((root / IMAGES).glob("*/*.dcm"), used, root, f"has no row in {TABLE}")


def _record(path: Path, row: Row) -> Iterator[Record | Problem]:
    name = f"{row['patient_id']}-{row['image_id']}"
    density, told = density_of(row["density"], name)
    side, side_told = known(Laterality, row["laterality"], "laterality", name)
    view, view_told = known(View, row["view"], "view", name)
    yield from (*told, *side_told, *view_told)
    cancer, biopsy = row["cancer"] in YES, row["biopsy"] in YES
    birads = row["BIRADS"].removesuffix(".0")
    suspicious = cancer or biopsy or birads == "0" or row["difficult_negative_case"] in YES
    pathology = ("invasive cancer" if row["invasive"] in YES else "cancer") if cancer else ""
    yield Record(
        path,
        name,
        f"{row['site_id']}-{row['patient_id']}",
        laterality=side,
        view=view,
        model=f"machine {row['machine_id']}" if row["machine_id"] else "",
        density=density,
        birads=birads,
        pathology=pathology or ("benign at biopsy" if biopsy else ""),
        age=row["age"].removesuffix(".0"),
        healthy=not suspicious,
        implants=row["implant"] in YES,
    )
