"""VinDr-Mammo's `finding_annotations.csv`: a row a finding, a row without a box for an image that has none.

The table has no word for what is not known. A healthy breast is BI-RADS 1 there, one with a lesion BI-RADS 4, unless
the lesion says otherwise.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mame.formats.atomic import atomic_write
from mame.formats.labels.labelled import LabelledImage
from mame.mammogram import LesionKind

COLUMNS = (
    "study_id", "series_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads",
    "breast_density", "finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax", "split",
)  # fmt: skip
CATEGORIES = {
    LesionKind.LESION: "Lesion",
    LesionKind.MASS: "Mass",
    LesionKind.CALCIFICATIONS: "Suspicious Calcification",
}
NOTHING = "No Finding"
HEALTHY_BIRADS, LESION_BIRADS = "1", "4"


def write_vindr(images: Iterable[LabelledImage], path: Path, force: bool = False) -> None:
    """Writes the table; it is written row by row. Raises MameError as `atomic_write` does."""
    with atomic_write(path, force) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for image in images:
            writer.writerows(_rows(image))
        text.flush()
        text.detach()


def _rows(image: LabelledImage) -> Iterator[dict[str, Any]]:
    grades = [found.birads or LESION_BIRADS for found in image.findings]
    common = {
        "study_id": image.study,
        "series_id": image.series,
        "image_id": image.image_id,
        "laterality": image.laterality or "",
        "view_position": image.view or "",
        "height": image.shape[0],
        "width": image.shape[1],
        "breast_birads": f"BI-RADS {max(grades, default=HEALTHY_BIRADS)}",
        "breast_density": f"DENSITY {image.density}" if image.density else "",
        "split": image.split,
    }
    if not image.findings:
        yield common | {"finding_categories": str([NOTHING])}
    for found, grade in zip(image.findings, grades, strict=True):
        edges = dict(zip(("xmin", "ymin", "xmax", "ymax"), found.box.as_tuple(), strict=True))
        yield (
            common
            | edges
            | {
                "finding_categories": str([CATEGORIES[found.kind]]),
                "finding_birads": f"BI-RADS {grade}",
            }
        )
