"""The language of prompts: Description -> text -> Description is a round trip.

Grammar, word for word the paper's (Sensors 2024, 24(7), 2076), with lesion kinds added:
`a [VENDOR ]mammogram[ in VIEW view][ with PART[ and PART]...]`; a PART is `DENSITY density`, `AREA area` or a lesion.
"""

from __future__ import annotations

import re
from enum import StrEnum

from mame.errors import MameError
from mame.mammogram import Area, Density, Description, LesionKind, View

DENSITY_WORDS = {Density.A: "very low", Density.B: "low", Density.C: "high", Density.D: "very high"}
LESION_WORDS = {
    LesionKind.LESION: "a lesion",
    LesionKind.MASS: "a mass",
    LesionKind.CALCIFICATIONS: "suspicious calcifications",
}

_VENDOR = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PROMPT = re.compile(
    r"an? (?:(?P<vendor>(?!mammogram\b)[a-z0-9][a-z0-9._-]*) )?mammogram"
    r"(?: in (?P<view>cc|mlo) view)?(?: with (?P<parts>.+))?"
)
_PARTS = (
    {f"{word} density": ("density", density) for density, word in DENSITY_WORDS.items()}
    | {f"{area.value} area": ("area", area) for area in Area}
    | {word: ("lesion", kind) for kind, word in LESION_WORDS.items()}
)


class Priority(StrEnum):
    """Which word comes first; the first weighs more, as in the paper's interface."""

    DENSITY = "density"
    AREA = "area"
    ONLY_DENSITY = "only density"
    ONLY_AREA = "only area"


def write(description: Description, priority: Priority = Priority.DENSITY) -> str:
    """The prompt that says `description`.

    Raises MameError for a vendor that is not one plain word (letters, digits, '.', '_', '-').
    """
    vendor = description.vendor
    if vendor is not None and (not _VENDOR.fullmatch(vendor) or vendor == "mammogram"):
        raise MameError(f"vendor {vendor!r} must be one plain lower-case word to stand in a prompt")
    density = f"{DENSITY_WORDS[description.density]} density" if description.density else None
    area = f"{description.area.value} area" if description.area else None
    chosen = {
        Priority.DENSITY: [density, area],
        Priority.AREA: [area, density],
        Priority.ONLY_DENSITY: [density],
        Priority.ONLY_AREA: [area],
    }[Priority(priority)]
    lesion = LESION_WORDS[description.lesion] if description.lesion else None
    parts = [part for part in (*chosen, lesion) if part]
    text = f"a {vendor} mammogram" if vendor else "a mammogram"
    if description.view:
        text += f" in {description.view} view"
    return f"{text} with {' and '.join(parts)}" if parts else text


def parse(text: str) -> Description | None:
    """What a prompt says, or None where it is free text (which models take as it is).

    Letter case and runs of white space do not matter.
    """
    match = _PROMPT.fullmatch(" ".join(text.lower().split()))
    if match is None:
        return None
    said: dict[str, object] = {}
    for part in (match["parts"] or "").split(" and ") if match["parts"] else []:
        if part not in _PARTS or _PARTS[part][0] in said:
            return None
        name, value = _PARTS[part]
        said[name] = value
    view = View(match["view"].upper()) if match["view"] else None
    return Description(vendor=match["vendor"], view=view, **said)  # type: ignore[arg-type]
