"""What can be taken away of a picture: image, masks, labels, and the recipe, each as its command would write it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mame.errors import MameError
from mame.formats.dicom.write import to_dataset
from mame.formats.folder import Format, ImageFolder, check_writable
from mame.formats.labels import labelled, write_coco, write_seg, write_sr, write_vindr, write_yolo, write_yolo_names
from mame.mammogram import Mammogram
from mame.web.studio.desk import Piece

IMAGES = "made"  # the folder that the last line of a recipe writes to
RECIPE = "recipe.sh"


def formats_of(mammogram: Mammogram) -> tuple[Format, ...]:
    """What a picture can be written as: DICOM needs the view and the size of a pixel."""
    try:
        check_writable(mammogram, [Format.DICOM])
    except MameError:
        return (Format.PNG,)
    return (Format.PNG, Format.DICOM)


def write_bundle(folder: Path, mammogram: Mammogram, commands: Sequence[str]) -> None:
    """Writes FOLDER/made (image, mask, manifest), FOLDER/labels where there are lesions, and FOLDER/recipe.sh.

    Raises MameError where a part can't be written.
    """
    place = folder / IMAGES
    place.mkdir(exist_ok=True)
    formats = formats_of(mammogram)
    newest = mammogram.lesions[-1].mask if mammogram.lesions else None
    ImageFolder(place, formats, force=True).add(mammogram, newest)
    (folder / RECIPE).write_text("\n".join([*commands, ""]), encoding="utf-8")
    if mammogram.lesions:
        _write_labels(folder / "labels", mammogram, Format.DICOM in formats)


def zipped(piece: Piece) -> Path:
    """Everything of a piece in one file, which is made when it is first asked for."""
    piece.wait()
    place = piece.folder / "everything.zip"
    if not place.exists():
        beside = piece.folder / "everything.part"
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for path in sorted((piece.folder / IMAGES).rglob("*")):
                file.write(path, path.relative_to(piece.folder))
            for path in sorted((piece.folder / "labels").rglob("*")):
                if path.is_file():
                    file.write(path, path.relative_to(piece.folder))
            for path in (piece.folder / RECIPE, *piece.masks):
                file.write(path, path.name)
        beside.rename(place)
    return place


def _write_labels(folder: Path, mammogram: Mammogram, with_dicom: bool) -> None:
    folder.mkdir(exist_ok=True)
    label = labelled(mammogram, "0000", "0000.png")
    write_coco([label], folder / "coco.json", about="Synthetic mammograms", force=True)
    write_yolo(label, folder / "0000.txt", force=True)
    write_yolo_names(folder / "yolo.yaml", force=True)
    write_vindr([label], folder / "finding_annotations.csv", force=True)
    if with_dicom:
        dataset = to_dataset(mammogram)
        write_seg(mammogram, dataset, folder / "seg.dcm", force=True)
        write_sr(mammogram, dataset, folder / "sr.dcm", force=True)


def thumbnail(mammogram: Mammogram, side: int) -> bytes:
    """A small 8-bit PNG of a picture for the page."""
    import io

    from PIL import Image

    grey = Image.fromarray(mammogram.pixels)
    grey.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=2.0)
    file = io.BytesIO()
    Image.fromarray(np.rint(np.asarray(grey).clip(0, 1) * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
