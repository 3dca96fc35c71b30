"""What the tags of a DICOM file say about a mammogram: whether it is one, which side, which view, whose machine."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from mame.errors import MameError
from mame.mammogram import Laterality, View

MAX_PIXELS = 120_000_000  # a film digitised at 25 µm has less; a header that claims more is damaged or a trap

# code values of ViewCodeSequence: SNOMED CT, and SNOMED RT ("SNM3"/"SRT") as files before 2018 have it
VIEW_CODES = {"399162004": View.CC, "R-10242": View.CC, "399368009": View.MLO, "R-10226": View.MLO}

MAGNIFIED = ("399163009", "R-102D6", "399055006", "R-102D7")  # magnification and spot compression (PS3.16 CID 4015)

# vendor word <- what its Manufacturer values contain; the first that fits
VENDORS = (
    ("hologic", r"hologic|lorad"),
    ("siemens", r"siemens"),
    ("ge", r"\bge\b|\bgems\b|general electric"),
    ("fuji", r"fuji"),
    ("philips", r"philips|sectra"),
    ("ims", r"\bims\b|giotto"),
    ("carestream", r"carestream|kodak"),
    ("konica", r"konica"),
    ("agfa", r"agfa"),
    ("planmed", r"planmed"),
)
OWN_MANUFACTURER = "MAM-E"

E = TypeVar("E", bound=StrEnum)

_CBIS = re.compile(r"(?:Mass|Calc)-(?:Training|Test)_(P_\d+)_(LEFT|RIGHT)_(CC|MLO)(?:_\d+)?")


@dataclass(slots=True)
class Header:
    """What the tags say; None where they are silent. `conflicts`: where two of them contradict each other."""

    laterality: Laterality | None = None
    view: View | None = None
    vendor: str | None = None
    spacing_mm: float | None = None
    patient: str | None = None
    conflicts: list[str] = field(default_factory=list)


def check_mammogram(dataset: Dataset) -> None:
    """Raises MameError (without the path) where the object is not one two-dimensional grey mammogram."""
    modality, sop_class = text(dataset, "Modality"), text(dataset, "SOPClassUID")
    mammography = (
        DigitalMammographyXRayImageStorageForPresentation,
        DigitalMammographyXRayImageStorageForProcessing,
        BreastTomosynthesisImageStorage,
    )
    captured = sop_class == SecondaryCaptureImageStorage and (
        "BREAST" in text(dataset, "BodyPartExamined").upper() or _CBIS.fullmatch(text(dataset, "PatientID"))
    )
    if modality != "MG" and sop_class not in mammography and not (captured and modality in ("", "OT")):
        raise MameError(f"not a mammogram: Modality is {modality or 'missing'!r}, not 'MG'")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise MameError(
            f"has {frames} frames (NumberOfFrames), as breast tomosynthesis has; only single images are read"
        )
    if "PixelData" not in dataset:
        raise MameError("has no pixel data")
    _check_pixel_module(dataset)


def _check_pixel_module(dataset: Dataset) -> None:
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation"):
        if dataset.get(keyword) in (None, ""):
            raise MameError(f"damaged: {keyword} is missing")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > MAX_PIXELS or rows * columns == 0:
        raise MameError(f"{rows} × {columns} pixels are not a mammogram's size")
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise MameError(f"PhotometricInterpretation is {photometric}; only grey (MONOCHROME1, MONOCHROME2) is read")
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise MameError(f"{stored} bits stored in {allocated}; 8 to 16 bits in 8 or 16 are read")


def interpret(dataset: Dataset) -> Header:
    """Side, view, vendor, spacing and patient as the tags give them. Raises MameError for pixels that aren't square."""
    header = Header(vendor=vendor_of(text(dataset, "Manufacturer")), spacing_mm=_spacing_mm(dataset))
    cbis = _CBIS.fullmatch(text(dataset, "PatientID"))
    header.patient = cbis[1] if cbis else text(dataset, "PatientID") or None
    orientation = values(dataset, "PatientOrientation")
    sides = {
        "ImageLaterality": _side(text(dataset, "ImageLaterality")),
        "Laterality": _side(text(dataset, "Laterality")),
        "PatientID": Laterality(cbis[2][0]) if cbis else None,
        "PatientOrientation": _side_of_orientation(orientation),
    }
    views = {
        "ViewCodeSequence": _view_of_codes(dataset),
        "ViewPosition": _view(text(dataset, "ViewPosition")),
        "PatientID": View(cbis[3]) if cbis else None,
        # CBIS-DDSM has the view there
        "PatientOrientation": _view(orientation[0]) if len(orientation) == 1 else None,
    }
    header.laterality = _first(sides, "laterality", header.conflicts)
    header.view = _first(views, "view", header.conflicts)
    return header


def _first(said: dict[str, E | None], what: str, conflicts: list[str]) -> E | None:
    """The first value that is there; a later one that differs is noted."""
    known = {keyword: value for keyword, value in said.items() if value is not None}
    if len(set(known.values())) > 1:
        conflicts.append(f"{what}: " + ", ".join(f"{keyword} says {value}" for keyword, value in known.items()))
    return next(iter(known.values()), None)


def vendor_of(manufacturer: str) -> str | None:
    """The vendor's lower-case word for a Manufacturer value, or None for an empty one and for this project's own."""
    name = manufacturer.lower().strip()
    if not name or name == OWN_MANUFACTURER.lower():
        return None
    for vendor, pattern in VENDORS:
        if re.search(pattern, name):
            return vendor
    word = re.match(r"[a-z0-9][a-z0-9._-]*", name)
    return word[0] if word and word[0] != "mammogram" else None


def _spacing_mm(dataset: Dataset) -> float | None:
    for keyword in ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing"):
        pair = [float(value) for value in values(dataset, keyword)]
        if len(pair) != 2 or not all(math.isfinite(value) and value > 0 for value in pair):
            continue
        if abs(pair[0] - pair[1]) > 0.01 * pair[0]:
            raise MameError(f"{keyword} {pair[0]} × {pair[1]} mm: pixels that aren't square are not read")
        return pair[0]
    return None


def _side(word: str) -> Laterality | None:
    return Laterality(word) if word in tuple(Laterality) else None


def _side_of_orientation(orientation: list[str]) -> Laterality | None:
    """L for `A\\R` and `A\\FR`, R for `P\\L` and `P\\FL`: the bottom is the medial side (PS3.3 C.7.6.1.1.1)."""
    if len(orientation) != 2 or not all(re.fullmatch("[APRLHF]{1,3}", word) for word in orientation):
        return None
    down = orientation[1]
    if ("R" in down) != ("L" in down):
        return Laterality.L if "R" in down else Laterality.R
    return None


def _view(word: str) -> View | None:
    bare = re.sub(r"^[LR]?(CC|MLO)$", r"\1", word.strip().upper())  # LCC, RMLO
    return View(bare) if bare in tuple(View) else None


def _view_of_codes(dataset: Dataset) -> View | None:
    for item in dataset.get("ViewCodeSequence") or []:
        found = VIEW_CODES.get(text(item, "CodeValue"))
        if found:
            return found
    return None


def is_magnified(dataset: Dataset) -> bool:
    """Whether a view modifier says magnification or spot compression."""
    return any(
        text(modifier, "CodeValue") in MAGNIFIED
        for view in dataset.get("ViewCodeSequence") or []
        for modifier in view.get("ViewModifierCodeSequence") or []
    )


def text(dataset: Dataset, keyword: str) -> str:
    """The value of an element as stripped text; empty where it is absent, the first of several."""
    found = values(dataset, keyword)
    return str(found[0]).strip() if found else ""


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """The values of an element as a list; empty where it is absent or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]


def orientation(laterality: Laterality, view: View | None, chest_wall: Laterality) -> list[str]:
    """PatientOrientation of a picture: where its rows and its columns go in the patient.

    chest_wall: L where the chest wall is at the left of the picture. By convention it is the breast's own side.
    LCC `A\\R`, RCC `P\\L`, LMLO `A\\FR`, RMLO `P\\FL`; a view not known is taken as one from the side (`F`).
    """
    medial = "R" if laterality is Laterality.L else "L"
    down = {View.CC: medial, View.MLO: "F" + medial, None: "F"}[view]
    return ["A" if chest_wall is Laterality.L else "P", down]
