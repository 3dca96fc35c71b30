"""`phantom`: a folder that `mam-e phantom` made: images/, masks/ and labels/, exact truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mame.errors import MameError
from mame.mammogram import Box, Density, Laterality, LesionKind, View
from mame.sources.record import Finding, Problem, Record

TITLE = "MAM-E phantoms"
URL = ""
LICENCE = "as this software"
CITATION = ""


def read(root: Path) -> Iterator[Record | Problem]:
    """Records by number; an image without a label is a problem. Raises MameError where `labels/` is missing."""
    labels = sorted((root / "labels").glob("*.json"), key=lambda path: (len(path.stem), path.stem))
    if not labels:
        raise MameError(f"{root}: no phantoms here (looked for labels/*.json, which `mam-e phantom` writes)")
    for path in labels:
        yield _record(root, path)
    known = {path.stem for path in labels}
    for image in sorted((root / "images").glob("*.dcm")):
        if image.stem not in known:
            yield Problem(image.name, "image", "has no label")


def _record(root: Path, path: Path) -> Record | Problem:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        findings = tuple(_finding(root, said, lesion) for lesion in said["lesions"])
        return Record(
            root / said["file"],
            f"phantom-{said['seed']}-{said['index']}",
            f"{said['seed']}-{said['index']}",
            laterality=Laterality(said["laterality"]),
            view=View(said["view"]),
            vendor=said["vendor"],
            spacing_mm=said["spacing_mm"],
            density=Density(said["density"]),
            healthy=not findings,
            findings=findings,
        )
    except (OSError, ValueError, KeyError, TypeError, MameError) as error:
        return Problem(path.name, "label", f"can't be understood: {error}")


def _finding(root: Path, said: dict[str, Any], lesion: dict[str, Any]) -> Finding:
    mask = said.get("masks", {}).get("lesion") if len(said["lesions"]) == 1 else None
    return Finding(
        LesionKind(lesion["kind"]),
        lesion["kind"],
        Box(*lesion["box"]),
        mask=root / mask if mask else None,
        birads=str(lesion.get("birads", "")),
        pathology=str(lesion.get("pathology", "")),
    )
