"""The pictures of the two sides of a report: where they lie, whose they are, and what was asked of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mame.dataset.layout import DATASET, WINDOWS, Row, Split, WindowRow
from mame.dataset.pseudonyms import patient_hash
from mame.dataset.read import PreparedSet, open_set
from mame.errors import MameError
from mame.formats.manifest import NAME, read_manifest
from mame.mammogram import Area, Box, Density, Description, Laterality, View

ENDINGS = (".png", ".jpg", ".jpeg", ".pgm", ".dcm")
FEWEST = 2


@dataclass(frozen=True)
class Picture:
    """One picture. asked: what its prompt or its label says; patient: a hash, "" where nobody knows.

    facing: which side the breast is on in the file; guidance: of the sampler, where a manifest says it; side, lesion:
    which breast it is to be and whether it is to have a lesion, None where nobody knows.
    """

    id: str
    file: Path
    patient: str = ""
    asked: Description = field(default_factory=Description)
    facing: Laterality | None = None
    guidance: float | None = None
    spacing_mm: float | None = None
    side: Laterality | None = None
    lesion: bool | None = None


@dataclass(frozen=True)
class Patch:
    """A window around a lesion, or around tissue without one: file, lesion mask, region to paint, whose it is."""

    file: Path
    mask: Path
    box: Box
    patient: str
    lesion: bool


@dataclass(frozen=True)
class Side:
    """Real or synthetic pictures. prepared: whether they are a prepared set; about: what is known of the folder."""

    folder: Path
    pictures: tuple[Picture, ...]
    patches: tuple[Patch, ...] = ()
    prepared: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def patients(self) -> list[str]:
        """Of each picture."""
        return [picture.patient for picture in self.pictures]


@dataclass(frozen=True)
class Sides:
    """What a report compares. real: those to compare with; trained_on: those that a generator may have copied;
    held_out: of other patients. notes: what the folders could not tell."""

    real: Side
    synthetic: Side
    trained_on: Side
    held_out: Side
    notes: tuple[str, ...] = ()


def open_sides(real: Path, synthetic: Path) -> Sides:
    """Both sides of a report.

    real: a prepared set (its test side is compared with, its training side may have been copied) or a folder of plain
    pictures; synthetic: the same, with a manifest where one was written. Raises MameError for a folder without
    pictures, or with fewer than two.
    """
    notes = []
    made = open_side(synthetic)
    same = real.resolve() == synthetic.resolve()
    if same:
        notes.append("The same folder stands on both sides: every synthetic picture is a real one.")
    if same and made.prepared:
        return Sides(_enough(made), made, made, Side(real, ()), tuple(notes))
    if not (real / DATASET).is_file():
        plain = open_side(real)
        inside = [picture for picture in plain.pictures if picture.file.resolve().is_relative_to(synthetic.resolve())]
        if inside and not same:
            notes.append(
                f"The synthetic folder lies in the real one: its {len(inside)} pictures don't count as real ones."
            )
            plain = replace(plain, pictures=tuple(one for one in plain.pictures if one not in inside))
        notes.append(
            "The real pictures are no prepared data set: which of them were trained on, and whose they are, is not "
            "known. Copies are looked for among all of them, without held-out patients to compare with."
        )
        nobody = Side(real, ())
        return Sides(_enough(plain), _enough(made), plain, nobody, tuple(notes))
    sides = {split: open_side(real, [split]) for split in open_set(real).splits}
    train, test = sides.get(Split.TRAIN), sides.get(Split.TEST)
    if test is None or len(test) < FEWEST:
        test = sides.get(Split.VALIDATION)
        notes.append("The real set has no test side of two pictures or more: its validation side stands in.")
    if test is None or len(test) < FEWEST:
        notes.append("It has no validation side, either: fidelity is measured against pictures that were trained on.")
        test = train
    assert test is not None
    apart = test if test is not train else Side(real, ())
    return Sides(_enough(test), _enough(made), train or Side(real, ()), apart, tuple(notes))


def open_side(folder: Path, splits: Iterable[Split] | None = None) -> Side:
    """The pictures of a prepared set (of some of its splits), or of a folder."""
    if not folder.is_dir():
        raise MameError(f"{folder}: is no folder")
    return _prepared(folder, splits) if (folder / DATASET).is_file() else _plain(folder)


def _enough(side: Side) -> Side:
    if len(side) < FEWEST:
        kinds = f" ({', '.join(ENDINGS)})" if not len(side) else ""
        raise MameError(
            f"{side.folder}: has {len(side)} picture{'s' * (len(side) != 1)}{kinds}; a report needs two or more"
        )
    return side


def _prepared(folder: Path, splits: Iterable[Split] | None) -> Side:
    found = open_set(folder)
    taken = list(splits) if splits is not None else list(found.splits)
    told = _told(folder)
    pictures = [
        _of_row(found, split, row, told.get(Path(row.file_name).stem)) for split in taken for row in found.rows(split)
    ]
    source = {Path(row.file_name).stem: row.source for split in taken for row in found.rows(split)}
    patches = [_of_window(found, row, source[row.view_of]) for row in found.windows if row.view_of in source]
    return Side(folder, tuple(pictures), tuple(patches), True, found.about)


def _of_row(found: PreparedSet, split: Split, row: Row, said: dict[str, Any] | None) -> Picture:
    file = found.folder / split / row.file_name
    patient = patient_hash(row.source, row.patient)
    if said is not None:
        return Picture(Path(row.file_name).stem, file, patient, _asked(said), Laterality.L, _guidance(said),
                       row.spacing_mm or None, _side(said), _lesion(said))  # fmt: skip
    labels = Description(
        vendor=row.vendor or None,
        view=View(row.view) if row.view else None,
        density=Density(row.density) if row.density else None,
        area=Area(row.area) if row.area else None,
    )
    return Picture(Path(row.file_name).stem, file, patient, labels, Laterality.L, None, row.spacing_mm or None,
                   row.side, _lesion_of(row))  # fmt: skip


def _lesion_of(row: Row) -> bool | None:
    """Whether a labelled picture has a lesion; None where its set says neither."""
    return True if row.lesions else False if row.healthy == "yes" else None


def _of_window(found: PreparedSet, row: WindowRow, source: str) -> Patch:
    place = found.folder / WINDOWS
    return Patch(place / row.file_name, place / row.mask_file_name, row.box, patient_hash(source, row.patient),
                 bool(row.lesion))  # fmt: skip


def _plain(folder: Path) -> Side:
    told = _told(folder)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    masks = {path for path in files if path.stem.endswith("-mask") or path.parent.name == "masks"}
    one_each: dict[tuple[Path, str], Path] = {}
    for path in files:
        if path in masks:
            continue
        kept = one_each.get((path.parent, path.stem))  # a picture that is there as DICOM and PNG counts once
        if kept is None or path.suffix.lower() == ".png":
            one_each[path.parent, path.stem] = path
    pictures = []
    for path in sorted(one_each.values()):
        said = told.get(path.stem)
        if said is None:
            pictures.append(Picture(path.stem, path))
            continue
        side = _side(said)
        pictures.append(Picture(path.stem, path, "", _asked(said), side, _guidance(said), said.get("spacing_mm"), side,
                                _lesion(said)))  # fmt: skip
    return Side(folder, tuple(pictures), (), False)


def _told(folder: Path) -> dict[str, dict[str, Any]]:
    """Lines of the manifest by the name of their picture, without its ending."""
    if not (folder / NAME).is_file():
        return {}
    return {Path(str(line["file"])).stem: line for line in read_manifest(folder) if line.get("file")}


def _asked(said: dict[str, Any]) -> Description:
    words = {name: value for name, value in dict(said.get("description") or {}).items() if value}
    kinds = {"view": View, "density": Density, "area": Area, "vendor": str}
    try:
        return Description(**{name: kinds[name](value) for name, value in words.items() if name in kinds})
    except ValueError as error:
        raise MameError(f"manifest.jsonl: {said.get('file')}: {error}") from error


def _side(said: dict[str, Any]) -> Laterality | None:
    """Which breast it is to be. Raises MameError for a word that is none."""
    try:
        return Laterality(said["laterality"]) if said.get("laterality") else None
    except ValueError as error:
        raise MameError(f"{NAME}: {said.get('file')}: {error}") from error


def _lesion(said: dict[str, Any]) -> bool:
    """Whether it was to have a lesion."""
    return bool(said.get("lesions") or dict(said.get("description") or {}).get("lesion"))


def _guidance(said: dict[str, Any]) -> float | None:
    found = (said.get("painted_on") or said).get("guidance")
    return float(found) if found is not None else None


def contents(picture: Picture) -> str:
    """SHA-256 of a picture's file."""
    return hashlib.sha256(picture.file.read_bytes()).hexdigest()


def counted(pictures: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """How many pictures say which word, "" where they say none."""
    names = ("vendor", "view", "density", "area")
    return {name: dict(sorted(Counter(str(getattr(p.asked, name) or "") for p in pictures).items())) for name in names}
