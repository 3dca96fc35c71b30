"""COCO: one JSON file of images, categories and annotations; boxes as [x, y, width, height], masks as run lengths."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from pycocotools import mask as run_lengths

from mame.formats.atomic import atomic_write
from mame.formats.labels.labelled import KINDS, Finding, LabelledImage

CATEGORIES = [
    {"id": number, "name": str(kind), "supercategory": "finding"} for number, kind in enumerate(KINDS, start=1)
]


def write_coco(images: Iterable[LabelledImage], path: Path, *, about: str = "", force: bool = False) -> None:
    """Writes images and their lesions. `images` is gone through twice; nothing but a line is ever held in memory.

    A lesion without a mask has a polygon of its box. Raises MameError as `atomic_write` does.
    """
    with atomic_write(path, force) as file:
        info = {"description": about or "Labels of mammograms", "version": "1.0"}
        file.write(f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(CATEGORIES)},\n"images": ['.encode())
        _write_list(file, (_image(number, image) for number, image in enumerate(images, start=1)))
        file.write(b'],\n"annotations": [')
        _write_list(file, _annotations(images))
        file.write(b"]}\n")


def _write_list(file: BinaryIO, items: Iterable[dict[str, Any]]) -> None:
    before = b"\n"
    for item in items:
        file.write(before + json.dumps(item).encode())
        before = b",\n"


def _image(number: int, image: LabelledImage) -> dict[str, Any]:
    height, width = image.shape
    return {"id": number, "file_name": image.file, "width": width, "height": height}


def _annotations(images: Iterable[LabelledImage]) -> Iterable[dict[str, Any]]:
    number = 0
    for place, image in enumerate(images, start=1):
        for found in image.findings:
            number += 1
            yield {"id": number, "image_id": place} | _annotation(found, image.shape)


def _annotation(found: Finding, shape: tuple[int, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = found.box.as_tuple()
    said: dict[str, Any] = {
        "category_id": 1 + KINDS.index(found.kind),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
    }
    if not found.counts:
        return said | {"area": found.box.area, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
    mask = {"size": list(shape), "counts": found.counts}
    return said | {"area": float(run_lengths.area(mask)), "segmentation": mask}
