"""A prepared set for other trainers: the same folders with 8-bit RGB pictures, which every program reads alike."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from mame.dataset.layout import DATASET, METADATA, WINDOWS, json_line, read_lines, write_json, write_lines
from mame.dataset.read import open_set, read_values
from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.formats.folder import check_folder

BITS = (8,)
COPIED = "exported.json"


def export(dataset: str | os.PathLike[str], out: str | os.PathLike[str], bits: int = 8, force: bool = False) -> Path:
    """A copy of a prepared set with 8-bit RGB pictures (three equal channels) in a folder, which is returned.

    Many trainers turn a 16-bit PNG white. Masks and metadata stay; hashes of the 16-bit pixels are left out, and the
    copy is no prepared set any more. Raises MameError for other bits and for a folder that is there already.
    """
    if bits not in BITS:
        raise MameError(f"--bits {bits}: only 8 is written; the prepared set itself has 16")
    found, folder = open_set(dataset), Path(out)
    if folder.resolve() == found.folder.resolve():
        raise MameError(f"{folder}: a set can't be exported onto itself")
    check_folder(folder, force=True)
    if folder.exists() and any(folder.iterdir()):
        if not force or not (folder / COPIED).is_file():
            raise MameError(f"{folder}: is not empty" + ("" if force else "; use --force to replace an export"))
        shutil.rmtree(folder)
    for part in (*found.splits, WINDOWS):
        source = found.folder / part
        if (source / METADATA).is_file():
            _export_part(source, folder / part)
    about = {key: value for key, value in found.about.items() if key != "sha256"}
    write_json(folder / COPIED, about | {"bits": bits, "from": DATASET})
    return folder


def _export_part(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / "masks", target / "masks", dirs_exist_ok=True)
    lines = []
    for said in read_lines(source / METADATA):
        name = str(said["file_name"])
        values = read_values(source / name)
        grey = np.rint(values / 257.0).astype(np.uint8)  # 65535 is 255
        with atomic_write(target / name, force=True) as file:
            Image.fromarray(np.stack([grey] * 3, axis=-1)).save(file, "PNG")
        lines.append(json_line({key: value for key, value in said.items() if key != "sha256"}))
    write_lines(target / METADATA, lines)
