"""Captions: which of the things known of a picture its default prompt says.

A model learns what its captions say. The paper's two sets never said the same words (one the area, the other the
density), and its combined model was asked for both: concept extrapolation. `--caption` re-creates such sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from mame import prompt
from mame.errors import MameError
from mame.mammogram import Area, Density, Description, LesionKind, View


class Said(StrEnum):
    """A word of a caption. LESION is the paper's fixed "a lesion"; KIND says which.

    DENSITY is the set's label, or where it has none what was measured in the picture; MEASURED is always the latter.
    """

    VENDOR = "vendor"
    VIEW = "view"
    DENSITY = "density"
    MEASURED = "measured"
    AREA = "area"
    LESION = "lesion"
    KIND = "kind"


EVERYTHING = (Said.VENDOR, Said.VIEW, Said.DENSITY, Said.AREA, Said.KIND)
LESION_ONLY = (Said.LESION,)


def parse_caption(text: str | None) -> tuple[Said, ...]:
    """The words in a list such as "vendor,area", in the order of the language; None is everything.

    The view is always said, but beside "lesion" or "kind" alone: that is the paper's "a mammogram with a lesion".
    Raises MameError for another word and for none.
    """
    if text is None:
        return EVERYTHING
    names = {name.strip().lower() for name in text.split(",") if name.strip()}
    unknown = sorted(names - set(Said))
    if unknown or not names:
        raise MameError(f"--caption {text!r}: give one or more of {', '.join(Said)}, separated by commas")
    if {Said.LESION, Said.KIND} <= names:
        raise MameError(f"--caption {text!r}: lesion says 'a lesion', kind says which; give one of the two")
    if {Said.DENSITY, Said.MEASURED} <= names:
        raise MameError(f"--caption {text!r}: density is the set's label, measured the picture's; give one of the two")
    if names - {Said.LESION, Said.KIND}:
        names.add(Said.VIEW)
    return tuple(word for word in Said if word in names)


def describe(
    said: Sequence[Said],
    *,
    vendor: str | None,
    view: View | None,
    density: Density | None,
    measured: Density | None,
    area: Area | None,
    lesions: Sequence[LesionKind] = (),
) -> Description:
    """What a caption of these words says of a picture; what is not known is not said.

    density: the label, or where there is none `measured`. lesions: the kinds of all lesions in the picture. Several
    kinds are one "lesion".
    """
    kinds = set(lesions)
    if Said.MEASURED in said:
        density = measured
    lesion = None
    if kinds and Said.LESION in said:
        lesion = LesionKind.LESION
    elif kinds and Said.KIND in said:
        lesion = kinds.pop() if len(kinds) == 1 else LesionKind.LESION
    return Description(
        vendor=vendor if Said.VENDOR in said else None,
        view=view if Said.VIEW in said else None,
        density=density if {Said.DENSITY, Said.MEASURED} & set(said) else None,
        area=area if Said.AREA in said else None,
        lesion=lesion,
    )


def caption(description: Description) -> str:
    """The prompt that says a description; a vendor that is no plain word is not said."""
    try:
        return prompt.write(description)
    except MameError:
        return prompt.write(
            Description(
                view=description.view, density=description.density, area=description.area, lesion=description.lesion
            )
        )
