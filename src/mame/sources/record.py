"""What a source yields: records of images as the set's own tables describe them, and problems it met.

A source knows its set's folders and files and nothing of pixels. None and "" stand for what the set doesn't say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mame.mammogram import Box, Density, Laterality, LesionKind, View

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """A lesion in an image, in pixels of the file.

    words: what the set calls it. box: half-open, may reach outside the image. polygons: outlines, each of (x, y);
    mask: a picture of the image's size, bright inside. Outlines go before the box.
    """

    kind: LesionKind
    words: str = ""
    box: Box | None = None
    polygons: tuple[tuple[Point, ...], ...] = ()
    mask: Path | None = None
    birads: str = ""
    pathology: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One image. source_id: its name in the set, without identity of a patient unless `private`.

    split: the set's own word for its side. healthy: whether the set says that nothing suspicious is in the picture;
    None where it doesn't say. rows: of the image's matrix, where a table has it.
    """

    path: Path
    source_id: str
    patient: str
    study: str = ""
    private: bool = False
    laterality: Laterality | None = None
    view: View | None = None
    vendor: str | None = None
    model: str = ""
    spacing_mm: float | None = None
    density: Density | None = None
    birads: str = ""
    pathology: str = ""
    age: str = ""
    split: str | None = None
    healthy: bool | None = None
    findings: tuple[Finding, ...] = ()
    implants: bool = False
    magnification: bool = False
    screening: bool | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the set that is not as it should be. what: row, image, view, density, box, …; subject: which one.

    private: whether the subject may say who the patient is, so that a pseudonym stands in.
    """

    subject: str
    what: str
    reason: str
    private: bool = False


class Source(Protocol):
    """A module of this room: what the set is, and its records."""

    TITLE: str
    URL: str
    LICENCE: str
    CITATION: str

    def read(self, root: Path) -> Iterator[Record | Problem]:
        """Records and problems, in an order that is always the same. Raises MameError for a wrong root or column."""
        ...
