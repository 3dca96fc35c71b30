"""Shards: tar files of some thousand images each, as WebDataset reads them, for cohorts of millions.

A sample is every file with the same stem: `0000.png`, `0000.dcm`, `0000.mask.png`, `0000.yolo.txt`, `0000.seg.dcm`,
`0000.sr.dcm`, and `0000.json`, its line of the manifest.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mame.dataset.layout import json_line
from mame.formats.atomic import atomic_write

FOLDER = "shards"
MODE = 0o644


def shard_name(number: int) -> str:
    """The file of a shard, below the cohort's folder."""
    return f"{FOLDER}/cohort-{number:06d}.tar"


def pack(path: Path, loose: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Packs images into one tar file, whole or absent; the same files give the same bytes.

    loose: the folder that holds the files; lines: of the manifest, in order. Raises MameError as `atomic_write` does.
    """
    with (
        atomic_write(path, force=True) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for line in lines:
            for name, member in members(line):
                _add(tar, member, (loose / name).read_bytes())
            _add(tar, f"{stem(line)}.json", (json_line(line) + "\n").encode())


def members(line: dict[str, Any]) -> list[tuple[str, str]]:
    """(file below the folder, name in the tar) of every file that a line of the manifest names."""
    name = stem(line)
    found = [(file, Path(file).name) for file in line["files"]]
    if line.get("mask_file"):
        found.append((line["mask_file"], f"{name}.mask.png"))
    found += [(file, f"{name}.{kind}{Path(file).suffix}") for kind, file in line["labels"].items()]
    return found


def stem(line: dict[str, Any]) -> str:
    """What the files of an image are called."""
    return Path(line["file"]).stem


def unpacked(loose: Path, line: dict[str, Any]) -> None:
    """Takes the loose files of an image away, once they are in a shard."""
    for name, _ in members(line):
        (loose / name).unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), MODE  # time, owner and group stay 0
    tar.addfile(info, io.BytesIO(data))


class Packer:
    """Packs each shard as soon as all of its images are done. size: images a shard, by their numbers in the plan.

    line: of the manifest, by the number of the image; None for one that was given up.
    """

    def __init__(self, folder: Path, loose: Path, size: int, count: int, line: Callable[[int], dict[str, Any] | None]):
        self.folder, self.loose, self.size, self.count, self.line = folder, loose, size, count, line
        self.left = {number: min(size, count - number * size) for number in range(-(-count // size))}

    def done(self, index: int) -> None:
        """Notes that an image is done, or was before."""
        number = index // self.size
        self.left[number] -= 1
        if self.left[number] == 0:
            self._pack(number)

    def _pack(self, number: int) -> None:
        path = self.folder / shard_name(number)
        indices = range(number * self.size, min((number + 1) * self.size, self.count))
        lines = [line for index in indices if (line := self.line(index)) is not None]
        if lines and not path.exists():
            pack(path, self.loose, lines)
        for line in lines:
            unpacked(self.loose, line)
