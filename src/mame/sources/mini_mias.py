"""`mini-mias`: the mini-MIAS database, digitised British film at 200 µm, with circles around findings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from mame.errors import MameError
from mame.mammogram import Laterality, LesionKind, View
from mame.sources.record import Finding, Problem, Record

TITLE = "mini-MIAS"
URL = "http://peipa.essex.ac.uk/info/mias.html"
LICENCE = "research only (MIAS licence agreement)"
CITATION = "Suckling J. et al., Excerpta Medica International Congress Series 1069 (1994) 375-378"
TABLE = "Info.txt"
SIDE_PX = 1024
SPACING_MM = 0.2
CORNERS = 72
KINDS = {
    "CALC": ("calcification", LesionKind.CALCIFICATIONS),
    "CIRC": ("circumscribed mass", LesionKind.MASS),
    "SPIC": ("spiculated mass", LesionKind.MASS),
    "MISC": ("ill-defined mass", LesionKind.MASS),
    "ARCH": ("architectural distortion", LesionKind.LESION),
    "ASYM": ("asymmetry", LesionKind.LESION),
}
SEVERITY = {"B": "benign", "M": "malignant"}


def read(root: Path) -> Iterator[Record | Problem]:
    """Records by number. Raises MameError where Info.txt is missing."""
    if not (root / TABLE).is_file():
        raise MameError(f"{root}: is not mini-MIAS (looked for {TABLE} and mdb001.pgm …)")
    lines: dict[str, list[list[str]]] = {}
    for line in (root / TABLE).read_text(encoding="latin-1").splitlines():
        words = line.split()
        if words and words[0].startswith("mdb") and words[0][3:6].isdigit():
            lines.setdefault(words[0], []).append(words[1:])
    images = {path.stem: path for path in sorted(root.rglob("*.pgm"))}
    for name, said in lines.items():
        path = images.pop(name, None)
        if path is None:
            yield Problem(name, "row", "its image isn't there")
            continue
        yield from _record(path, name, said)
    for name in images:
        yield Problem(name, "image", f"has no line in {TABLE}")


def _record(path: Path, name: str, lines: list[list[str]]) -> Iterator[Record | Problem]:
    number = int(name[3:6])
    findings: list[Finding] = []
    normal = all(len(words) > 1 and words[1] == "NORM" for words in lines)
    severities = [SEVERITY[words[2]] for words in lines if len(words) > 2 and words[2] in SEVERITY]
    for words in lines:
        if len(words) < 2 or words[1] == "NORM":
            continue
        if words[1] not in KINDS:
            yield Problem(name, "finding", f"{words[1]!r} is none of {', '.join(KINDS)}")
            continue
        said, kind = KINDS[words[1]]
        try:
            x, y, radius = (float(word) for word in words[3:6])
        except ValueError:
            yield Problem(name, "outline", f"the {said} has no place in {TABLE}")
            continue
        severity = SEVERITY.get(words[2], "")
        findings.append(Finding(kind, said, polygons=(_circle(x, y, radius),), pathology=severity))
    yield Record(
        path,
        name,
        f"pair {(number + 1) // 2}",
        laterality=Laterality.L if number % 2 == 0 else Laterality.R,
        view=View.MLO,  # all of them
        spacing_mm=SPACING_MM,
        pathology="malignant" if "malignant" in severities else "benign" if severities else "",
        healthy=normal,
        findings=tuple(findings),
    )


def _circle(x: float, y: float, radius: float) -> tuple[tuple[float, float], ...]:
    """The table counts y from the bottom."""
    turns = (2 * math.pi * step / CORNERS for step in range(CORNERS))
    return tuple((x + radius * math.cos(turn), SIDE_PX - y + radius * math.sin(turn)) for turn in turns)
