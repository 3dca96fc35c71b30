"""A folder of written mammograms: numbered images, their masks, and the manifest that says how each was made.

Every image in it is whole: what an interrupted or failed run had not finished is not there.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.errors import MameError
from mame.formats import manifest, record
from mame.formats.files import write
from mame.formats.png import write_mask_png
from mame.mammogram import Lesion, Mammogram, closed

HOME = Path("mam-e-out")  # where a folder goes that nobody named
BYTES_A_PIXEL = 2
_OURS = re.compile(r"\d{4,}(-mask)?\.(png|dcm)")


class Format(StrEnum):
    """What an image can be written as."""

    PNG = "png"
    DICOM = "dicom"

    @property
    def suffix(self) -> str:
        """The end of a file's name."""
        return ".dcm" if self is Format.DICOM else ".png"


def parse_formats(text: str) -> tuple[Format, ...]:
    """The formats in a list such as "png,dicom". Raises MameError for another word and for none."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    if not words:
        raise MameError(f"format {text!r}: give {', '.join(Format)}, or both")
    return tuple(dict.fromkeys(closed(Format, word, "format") for word in words))


def check_folder(folder: str | os.PathLike[str], force: bool = False, needed_bytes: int = 0) -> None:
    """Raises MameError where images can't go into a folder; leaves everything as it was.

    That is: a file has its name, it or the folder above can't be written to, there is less room than `needed_bytes`,
    or it holds images already and `force` is not given.
    """
    place = Path(folder)
    try:
        if place.exists() and not place.is_dir():
            raise MameError(f"{place}: is a file, not a folder")
        if not force and place.is_dir() and any(_is_ours(path.name) for path in place.iterdir()):
            raise MameError(f"{place}: holds images already; use --force (force=True) to replace them")
        base = next(path for path in (place, *place.absolute().parents) if path.exists())
        with tempfile.NamedTemporaryFile(dir=base, prefix=".mam-e-") as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
        free_bytes = shutil.disk_usage(base).free
    except OSError as error:
        raise MameError(f"{place}: can't be written to: {error.strerror or error}") from None
    if free_bytes < needed_bytes:
        free, needed = free_bytes / 1e6, needed_bytes / 1e6
        raise MameError(f"{place}: not enough room: {free:.0f} MB are free, about {needed:.0f} MB are needed")


def next_folder(command: str, home: str | os.PathLike[str] = HOME) -> Path:
    """Makes and returns `mam-e-out/COMMAND-N`, one above the highest N there; no two callers get the same."""
    root = _make(Path(home))
    try:
        taken = [path.name.removeprefix(f"{command}-") for path in root.glob(f"{command}-*")]
        number = 1 + max((int(text) for text in taken if text.isdecimal()), default=0)
        while True:
            place = root / f"{command}-{number}"
            try:
                place.mkdir()
            except FileExistsError:
                number += 1
            else:
                return place
    except OSError as error:
        raise MameError(f"{root}: can't be written to: {error.strerror or error}") from None


class ImageFolder:
    """A folder that images are added to, one after the other; see :func:`image_folder`.

    path: where it is. formats: how each image is written, the first being the one the manifest calls `file`.
    lines: the manifest so far.
    """

    def __init__(self, path: Path, formats: Sequence[Format], force: bool) -> None:
        self.path = path
        self.formats = tuple(formats)
        self.force = force
        self.lines: list[dict[str, Any]] = []

    def add(self, mammogram: Mammogram, mask: NDArray[np.bool_] | None = None, **facts: Any) -> dict[str, Any]:
        """Writes the next image, its mask (H×W) and its line of the manifest, and returns that line.

        facts: more to say in the line. Where a part can't be written, no part of this image is left; where the run is
        interrupted after the manifest names it, all of it is.
        """
        if not self.lines and self.force:
            self._clear()
        name = f"{len(self.lines):04d}"
        files = [f"{name}{kind.suffix}" for kind in self.formats]
        mask_file = None if mask is None else f"{name}-mask.png"
        line = manifest_line(mammogram, files, mask_file) | facts
        places = [self.path / file for file in (*files, *([] if mask_file is None else [mask_file]))]
        ours = [place for place in places if self.force or not place.exists()]
        try:
            for place in places[: len(files)]:
                write(mammogram, place, self.force)
            if mask is not None:
                write_mask_png(mask, places[-1], self.force)
            manifest.write_manifest(self.path, [*self.lines, line])
        except BaseException:
            # A signal may come between the manifest's rename and here: what it names must stay.
            if not self._named(line["file"]):
                for place in ours:
                    place.unlink(missing_ok=True)
            raise
        self.lines.append(line)
        return line

    def _named(self, file: str) -> bool:
        """Whether the manifest on disk names a file."""
        if not (self.path / manifest.NAME).exists():
            return False
        return any(line.get("file") == file for line in manifest.read_manifest(self.path))

    def _clear(self) -> None:
        """Removes the images that the manifest of the run before names."""
        if not (self.path / manifest.NAME).exists():
            return
        for line in manifest.read_manifest(self.path):
            for name in (*line.get("files", ()), line.get("mask_file")):
                if isinstance(name, str) and _OURS.fullmatch(name):
                    (self.path / name).unlink(missing_ok=True)
        (self.path / manifest.NAME).unlink()


@contextmanager
def image_folder(
    out: str | os.PathLike[str] | None,
    command: str,
    formats: Iterable[Format | str] = (Format.PNG,),
    force: bool = False,
    needed_bytes: int = 0,
) -> Iterator[ImageFolder]:
    """A folder to add images to: `out`, or `mam-e-out/COMMAND-N`. One that was made and stays empty is removed again.

    Open it before the long work starts: it is then that `check_folder` refuses.
    """
    chosen = tuple(closed(Format, kind, "format") for kind in formats)
    check_folder(HOME if out is None else out, force or out is None, needed_bytes)
    target = HOME if out is None else Path(out)
    made = [path for path in (target, *target.parents) if not path.exists()]
    if out is None:
        place = next_folder(command)
        made.insert(0, place)
    else:
        place = _make(target)
    try:
        yield ImageFolder(place, chosen, force)
    finally:
        with suppress(OSError):  # a folder with something in it is not removed
            for path in made:
                path.rmdir()


def write_folder(
    mammograms: Iterable[Mammogram],
    folder: str | os.PathLike[str],
    formats: Iterable[Format | str] = (Format.PNG,),
    force: bool = False,
) -> Path:
    """Writes mammograms as 0000.png and/or 0000.dcm, … with `manifest.jsonl`; returns the folder.

    Raises MameError as `check_folder` and `mame.write` do.
    """
    with image_folder(folder, "", formats, force) as images:
        for mammogram in mammograms:
            images.add(mammogram)
    return images.path


def check_writable(mammogram: Mammogram, formats: Iterable[Format]) -> None:
    """Raises MameError where a record lacks what one of the formats has to say, so that it is known before long work.

    DICOM needs the size of a pixel and the view.
    """
    if Format.DICOM not in tuple(formats):
        return
    source = mammogram.stored.presentation if mammogram.stored is not None else {}
    if mammogram.description.view is None and "ViewCode" not in source:
        raise MameError("DICOM needs the view (CC or MLO): say it in the prompt ('in MLO view'), or write png only")
    if mammogram.spacing_mm is None:
        raise MameError("DICOM needs the size of a pixel, which is not known here: give --spacing, or write png only")


def manifest_line(mammogram: Mammogram, files: Sequence[str], mask_file: str | None = None) -> dict[str, Any]:
    """What a manifest says of one image, in values JSON can hold; boxes are [x0, y0, x1, y1] in its own pixels.

    A lesion has `box`, what was asked for or is known, and, where it was painted, `box_measured`, what changed visibly
    (null where nothing did).
    """
    made_by = {key: value for key, value in record.made_by(mammogram).items() if key not in ("asked", "box_measured")}
    said = mammogram.description
    words = {name: getattr(said, name) for name in ("vendor", "view", "density", "area", "lesion")}
    line: dict[str, Any] = {"file": files[0], "files": list(files)}
    if mask_file is not None:
        line["mask_file"] = mask_file
    return line | {
        **made_by,
        "synthetic": record.is_synthetic(mammogram),
        "source": None if mammogram.source is None else Path(mammogram.source).name,
        "shape": list(mammogram.shape),
        "spacing_mm": mammogram.spacing_mm,
        "spacing_origin": None if mammogram.spacing_mm is None else mammogram.spacing_origin,
        "laterality": mammogram.laterality,
        "description": {name: value for name, value in words.items() if value is not None},
        "lesions": [_lesion(lesion, measured_boxes(mammogram.provenance)) for lesion in mammogram.lesions],
    }


def measured_boxes(provenance: dict[str, Any]) -> dict[tuple[float, ...], Any]:
    """Box asked for -> box measured (None where nothing changed) of every lesion that was painted, the last first."""
    found: dict[tuple[float, ...], Any] = {}
    how: Any = provenance
    while isinstance(how, dict) and how:
        asked = how.get("asked")
        if isinstance(asked, list | tuple):
            found.setdefault(tuple(asked), how.get("box_measured"))
        how = how.get("painted_on")
    return found


def _lesion(lesion: Lesion, measured: dict[tuple[float, ...], Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": lesion.kind, "box": list(lesion.box.as_tuple())}
    if lesion.box.as_tuple() in measured:
        said["box_measured"] = measured[lesion.box.as_tuple()]
    said |= {key: value for key in ("birads", "pathology") if (value := getattr(lesion, key)) is not None}
    return said


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MameError(f"{folder}: can't be written to: {error.strerror or error}") from None
    return folder


def _is_ours(name: str) -> bool:
    return name == manifest.NAME or _OURS.fullmatch(name) is not None
