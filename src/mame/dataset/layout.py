"""A prepared data set on disk: its folders, a line of metadata.jsonl, dataset.json and failures.csv.

    OUT/{train,validation,test}/ID.png          16-bit grey
    OUT/{train,validation,test}/masks/ID.png    all lesions of the image, 255 inside, black where it has none
    OUT/{train,validation,test}/masks/ID-1.png  each lesion alone, where there are several
    OUT/{train,validation,test}/metadata.jsonl
    OUT/windows/…                               the same for windows around lesions, all splits together
    OUT/dataset.json, failures.csv, index.html

`datasets` infers the type of a column from a split's first lines and wants it to be the same in every split. So words
that are not known are "" instead of null, numbers are always floats, and every image has a mask.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.formats.record import plain
from mame.imaging.framing import Frame
from mame.mammogram import Area, Box, Density, Laterality, LesionKind, View

FORMAT = 1
METADATA = "metadata.jsonl"
DATASET = "dataset.json"
FAILURES = "failures.csv"
CARD = "index.html"
MASKS = "masks"
WINDOWS = "windows"
_NAME = re.compile(r"(masks/)?[A-Za-z0-9_-][A-Za-z0-9._-]*\.png")
UNFINISHED = ".unfinished"  # what a run keeps until it is done

T = TypeVar("T")


class Split(StrEnum):
    """A side of the data set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Outline(StrEnum):
    """What a lesion's mask was made from."""

    OUTLINE = "outline"
    BOX = "box"


@dataclass(frozen=True, slots=True)
class RowLesion:
    """One lesion of a row. box: in pixels of the image file, inside it; mask: its file, beside metadata.jsonl."""

    kind: LesionKind
    box: Box
    mask: str
    made_from: Outline
    birads: str = ""
    pathology: str = ""
    finding: str = ""

    def to_json(self) -> dict[str, Any]:
        """In values JSON can hold."""
        return {
            "kind": str(self.kind),
            "box": [round(float(value), 3) for value in self.box.as_tuple()],
            "mask": self.mask,
            "made_from": str(self.made_from),
            "birads": self.birads,
            "pathology": self.pathology,
            "finding": self.finding,
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_json`; raises KeyError, ValueError, TypeError or MameError."""
        words = {name: str(said.get(name, "")) for name in ("birads", "pathology", "finding")}
        return cls(LesionKind(said["kind"]), Box(*said["box"]), str(said["mask"]), Outline(said["made_from"]), **words)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of metadata.jsonl: an image file and all that is known of it. A word that is not known is "".

    file_name, mask_file_name: beside metadata.jsonl. text: the default prompt. caption: the words it says.
    source: the set's name; source_id: the image there; patient, study: pseudonyms.
    density: the set's label; density_measured, percent_density: from the picture before it was quantised, as are area
    and area_cm2 (in cm² of the spacing known or assumed) and breast_share (of the image).
    healthy: whether the set says that nothing suspicious is in the picture, "yes" or "no"; "no" with a lesion, too,
    also one without a place.
    spacing_mm: of a pixel of the image file; spacing_origin: file, given or assumed.
    frame: from source pixels to the image's. conflicts: where two statements contradict each other.
    sha256, mask_sha256: of the pixels (16 bits, little endian; 8 bits), row by row.
    """

    file_name: str
    mask_file_name: str
    text: str
    caption: str
    source: str
    source_id: str
    patient: str
    study: str
    laterality: str
    view: str
    vendor: str
    model: str
    density: str
    density_measured: str
    percent_density: float
    area: str
    area_cm2: float
    breast_share: float
    birads: str
    pathology: str
    age: str
    spacing_mm: float
    spacing_origin: str
    dropped: str
    conflicts: str
    sha256: str
    mask_sha256: str
    frame: Frame
    lesions: tuple[RowLesion, ...] = ()
    healthy: str = ""

    @property
    def shows_lesion(self) -> bool:
        """Whether a lesion is in the picture, be it marked, dropped, or known of without a place."""
        return bool(self.lesions or self.dropped or self.healthy == "no")

    def to_json(self) -> dict[str, Any]:
        """In values JSON can hold, every one of the same type in every row."""
        said: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            said[entry.name] = float(value) if isinstance(value, float) else value
        said["frame"] = frame_to_json(self.frame)
        said["lesions"] = [lesion.to_json() for lesion in self.lesions]
        return said

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_json`. Raises MameError where a field is missing or makes no sense."""
        try:
            known = {"healthy": ""} | said  # sets of before there was such a field have none
            values = {entry.name: known[entry.name] for entry in fields(cls)}
            values["frame"] = frame_from_json(said["frame"])
            values["lesions"] = tuple(RowLesion.from_json(lesion) for lesion in said["lesions"])
            return cls(**values)
        except KeyError as error:
            raise MameError(f"the field {error} is missing") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise MameError(f"not a line of {METADATA}: {error}") from None

    def __post_init__(self) -> None:
        for name in (self.file_name, self.mask_file_name, *(lesion.mask for lesion in self.lesions)):
            check_name(name)

    @property
    def known(self) -> dict[str, Any]:
        """vendor, view, density (label before measured) and area as members of the vocabulary, None where unknown."""
        return _known(self.vendor, self.view, self.density or self.density_measured, self.area)

    @property
    def side(self) -> Laterality | None:
        """The breast's side, where it is known."""
        return Laterality(self.laterality) if self.laterality else None


def _known(vendor: str, view: str, density: str, area: str) -> dict[str, Any]:
    return {
        "vendor": vendor or None,
        "view": View(view) if view else None,
        "density": Density(density) if density else None,
        "area": Area(area) if area else None,
    }


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One line of windows/metadata.jsonl: a square around a lesion, or around tissue without one, cut at full detail.

    view_of: the image's file_name without its suffix; split: its side. lesion: the kind, or "" where there is none;
    then `box` is where one could have been. mask_file_name: the lesion, black where there is none. The other words
    are as in :class:`Row`. spacing_mm: of a pixel of the window; field_mm: its side.
    """

    file_name: str
    mask_file_name: str
    text: str
    caption: str
    split: str
    view_of: str
    patient: str
    vendor: str
    view: str
    density: str
    area: str
    lesion: str
    box: Box
    made_from: str
    field_mm: float
    spacing_mm: float
    spacing_origin: str
    sha256: str
    mask_sha256: str
    frame: Frame

    def __post_init__(self) -> None:
        for name in (self.file_name, self.mask_file_name):
            check_name(name)

    def to_json(self) -> dict[str, Any]:
        """In values JSON can hold, every one of the same type in every row."""
        said = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        said["box"] = [round(float(value), 3) for value in self.box.as_tuple()]
        said["frame"] = frame_to_json(self.frame)
        return said

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_json`. Raises MameError where a field is missing or makes no sense."""
        try:
            values = {entry.name: said[entry.name] for entry in fields(cls)}
            return cls(**values | {"box": Box(*said["box"]), "frame": frame_from_json(said["frame"])})
        except KeyError as error:
            raise MameError(f"the field {error} is missing") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise MameError(f"not a line of {WINDOWS}/{METADATA}: {error}") from None

    @property
    def known(self) -> dict[str, Any]:
        """vendor, view, density and area as members of the vocabulary, None where unknown."""
        return _known(self.vendor, self.view, self.density, self.area)


def check_name(name: str) -> None:
    """Raises MameError where the name of a file in a set leads out of its folder."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MameError(f"{name!r} is not the name of a file in a prepared set")


def frame_to_json(frame: Frame) -> dict[str, Any]:
    """The frame with every number a float, and 0.0 for a spacing that nobody knows."""
    said = frame.to_json()
    said["window"] = [float(value) for value in said["window"]]
    said["shrink"] = float(said["shrink"])
    said["source_spacing_mm"] = float(said["source_spacing_mm"] or 0.0)
    return said


def frame_from_json(said: dict[str, Any]) -> Frame:
    """The inverse of :func:`frame_to_json`. Raises MameError where it is no frame."""
    return Frame.from_json(said | {"source_spacing_mm": said.get("source_spacing_mm") or None})


# -- files ----------------------------------------------------------------------------------------------------------


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes lines to a file in one step, replacing an older one. Raises MameError as `atomic_write` does."""
    with atomic_write(path, force=True) as file:
        for line in lines:
            file.write(f"{line}\n".encode())


def json_line(said: Mapping[str, Any]) -> str:
    """A JSON object in one line."""
    return json.dumps(dict(said), ensure_ascii=False, allow_nan=False, default=plain)


def write_json(path: Path, said: Mapping[str, Any]) -> None:
    """Writes a JSON object to a file in one step, replacing an older one."""
    text = json.dumps(dict(said), ensure_ascii=False, allow_nan=False, default=plain, indent=2)
    write_lines(path, [text])


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises MameError where it can't be read or is none."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MameError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise MameError(f"{path}: is not JSON ({error})") from None
    if not isinstance(said, dict):
        raise MameError(f"{path}: is not a JSON object")
    return said


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects in a file, line by line. Raises MameError that names file and line."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                try:
                    said = json.loads(line)
                except (ValueError, RecursionError):
                    said = None
                if not isinstance(said, dict):
                    raise MameError(f"{path}: line {number} is not a JSON object")
                yield said
    except OSError as error:
        raise MameError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise MameError(f"{path}: is not UTF-8 text") from None


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a metadata.jsonl. Raises MameError that names file and line."""
    return _parsed(path, Row.from_json)


def read_windows(path: Path) -> Iterator[WindowRow]:
    """The rows of a windows/metadata.jsonl. Raises MameError that names file and line."""
    return _parsed(path, WindowRow.from_json)


def _parsed(path: Path, parse: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    for number, said in enumerate(read_lines(path), start=1):
        try:
            yield parse(said)
        except MameError as error:
            raise MameError(f"{path}: line {number}: {error}") from None


def open_folder(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What dataset.json of a prepared folder says. Raises MameError where there is none, or an unfinished one."""
    place = Path(folder)
    if (place / UNFINISHED).exists():
        raise MameError(f"{place}: its preparation is not finished; the same `mam-e prepare` again goes on with it")
    if not (place / DATASET).is_file():
        raise MameError(f"{place}: is not a prepared data set (it has no {DATASET}); `mam-e prepare` makes one")
    said = read_json(place / DATASET)
    if said.get("format") != FORMAT:
        raise MameError(f"{place}: has format {said.get('format')!r}; this version reads format {FORMAT}")
    return said
