"""YOLO: a text file an image, a line a lesion: class, and centre x, centre y, width, height as shares of the image."""

from __future__ import annotations

from pathlib import Path

import yaml

from mame.formats.atomic import atomic_write
from mame.formats.labels.labelled import KINDS, LabelledImage


def write_yolo(image: LabelledImage, path: Path, force: bool = False) -> None:
    """Writes the file of one image, empty where it has no lesion. Raises MameError as `atomic_write` does."""
    height, width = image.shape
    lines = []
    for found in image.findings:
        x, y = found.box.centre
        shares = (x / width, y / height, found.box.width / width, found.box.height / height)
        lines.append(" ".join([str(KINDS.index(found.kind)), *(f"{share:.8f}" for share in shares)]))
    with atomic_write(path, force) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def write_yolo_names(path: Path, force: bool = False) -> None:
    """Writes what the class numbers mean, as the `names` of a YOLO data file."""
    with atomic_write(path, force) as file:
        file.write(yaml.safe_dump({"names": {number: str(kind) for number, kind in enumerate(KINDS)}}).encode())
