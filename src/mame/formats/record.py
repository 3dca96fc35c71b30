"""What a written picture says about itself: one small JSON text, the same in a PNG chunk and in DICOM's private block.

Only the fields named here are written, so that no path or identity of a source patient slips into a file. What is read
is data that anybody may have written: it is bounded, checked field by field, and ignored where it is malformed.
"""

from __future__ import annotations

import json
import math
from pathlib import PurePath
from typing import Any, TypeGuard

import numpy as np

from mame.errors import MameError
from mame.mammogram import Box, Description, Laterality, Lesion, LesionKind, Mammogram, SpacingOrigin

VERSION = 1
MAX_RECORD_BYTES = 256 * 1024
MAX_LESIONS = 1000
MAX_SPACING_MM = 10.0

# the keys of a provenance that say how a picture was made; every other key stays in memory and in the manifest
MADE_BY = (
    "prompt",
    "negative",
    "seed",
    "index",
    "model",
    "model_hash",
    "base_model",
    "lora",
    "steps",
    "guidance",
    "guidance_until",
    "strength",
    "fast",
    "scheduler",
    "fibres",
    "software",
    "created",
    "phantom",
    "asked",
    "box_measured",
    "painted_on",  # the same of the picture that a lesion was painted into
)
MAX_STEPS = 32  # pictures painted one on the other of which a record tells


def is_synthetic(mammogram: Mammogram) -> bool:
    """Whether the picture, or a part of it, was made up: the flag, or a provenance that names a model or prompt."""
    return mammogram.synthetic or any(mammogram.provenance.get(key) is not None for key in ("model", "prompt"))


def made_by(mammogram: Mammogram) -> dict[str, Any]:
    """The part of the provenance that says how the picture was made (the keys of MADE_BY)."""
    return _made_by(mammogram.provenance, MAX_STEPS)


def _made_by(provenance: dict[str, Any], steps: int) -> dict[str, Any]:
    found = {key: provenance[key] for key in MADE_BY if provenance.get(key) is not None}
    before = found.pop("painted_on", None)
    if isinstance(before, dict) and steps > 1 and (earlier := _made_by(before, steps - 1)):
        found["painted_on"] = earlier
    return found


def to_json(mammogram: Mammogram, *, air_is_zero: bool) -> str:
    """The record of a mammogram as ASCII JSON.

    air_is_zero: whether the values written next to it are presentation-ready, air exactly 0, so that a reader need
    not look for the breast. Raises MameError where the record is too long or holds what JSON can't.
    """
    said = mammogram.description
    record: dict[str, Any] = {
        "mam-e": VERSION,
        "synthetic": is_synthetic(mammogram),
        "air_is_zero": air_is_zero,
        "spacing_mm": mammogram.spacing_mm,
        "spacing_origin": str(mammogram.spacing_origin),
        "laterality": mammogram.laterality,
        "description": {
            name: getattr(said, name)
            for name in ("vendor", "view", "density", "area", "lesion")
            if getattr(said, name) is not None
        },
        "lesions": [_lesion_to_dict(lesion) for lesion in mammogram.lesions],
        "made_by": made_by(mammogram),
    }
    try:
        text = json.dumps(record, default=plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MameError(f"the provenance can't be written as JSON: {error}") from None
    if len(text) > MAX_RECORD_BYTES:
        raise MameError(f"the record is {len(text)} bytes of JSON; at most {MAX_RECORD_BYTES} are written into a file")
    return text


def _lesion_to_dict(lesion: Lesion) -> dict[str, Any]:
    found = {"kind": lesion.kind, "box": lesion.box.as_tuple(), "birads": lesion.birads, "pathology": lesion.pathology}
    return {key: value for key, value in found.items() if value is not None}


def plain(value: Any) -> Any:
    """The JSON form of a value json.dumps does not know. Raises TypeError where it has none."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Box):
        return list(value.as_tuple())
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r} has no JSON form")


def from_json(text: str | bytes | None) -> dict[str, Any] | None:
    """The record in a text, or None where it is absent, too long, malformed or not of this kind."""
    if not text or len(text) > MAX_RECORD_BYTES:
        return None
    try:
        record = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("mam-e") == VERSION else None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def apply(record: dict[str, Any], mammogram: Mammogram) -> Mammogram:
    """The mammogram with what a record (from `from_json`) says; each field that makes no sense is left out."""
    changes: dict[str, Any] = {"synthetic": record.get("synthetic") is True or mammogram.synthetic}
    spacing = record.get("spacing_mm")
    if _is_number(spacing) and 0 < spacing < MAX_SPACING_MM:
        changes["spacing_mm"] = float(spacing)
        if record.get("spacing_origin") in tuple(SpacingOrigin):
            changes["spacing_origin"] = SpacingOrigin(record["spacing_origin"])
    if record.get("laterality") in tuple(Laterality):
        changes["laterality"] = Laterality(record["laterality"])
    changes["description"] = _description(record.get("description"), mammogram.description)
    lesions = record.get("lesions")
    if isinstance(lesions, list):
        found = (_lesion(item, mammogram.shape) for item in lesions[:MAX_LESIONS])
        changes["lesions"] = tuple(lesion for lesion in found if lesion is not None)
    how = record.get("made_by")
    if isinstance(how, dict):
        changes["provenance"] = {**mammogram.provenance, **{key: how[key] for key in MADE_BY if key in how}}
    return mammogram.with_(**changes)


def _description(said: Any, otherwise: Description) -> Description:
    if not isinstance(said, dict):
        return otherwise
    words = {}
    for name in ("vendor", "view", "density", "area", "lesion"):
        value = said.get(name)
        try:
            Description(**{name: value})
        except (MameError, AttributeError, TypeError):
            continue
        words[name] = value if value is not None else getattr(otherwise, name)
    return Description(**words)


def _lesion(item: Any, shape: tuple[int, int]) -> Lesion | None:
    if not isinstance(item, dict):
        return None
    corners = item.get("box")
    if not isinstance(corners, list) or len(corners) != 4 or not all(_is_number(value) for value in corners):
        return None
    kind = item.get("kind")
    try:
        box = Box(*corners).clipped(shape)
    except (MameError, OverflowError):
        return None
    if box is None or kind not in tuple(LesionKind):
        return None
    return Lesion(LesionKind(kind), box, birads=_word(item.get("birads")), pathology=_word(item.get("pathology")))


def _word(value: Any) -> str | None:
    return value[:64] if isinstance(value, str) else None


def _is_number(value: Any) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
