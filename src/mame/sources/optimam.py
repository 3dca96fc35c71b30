"""`optimam`: OPTIMAM's OMI-DB, British screening, through `omidb`, the database's own reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from mame.errors import MameError
from mame.formats.dicom.header import interpret, is_magnified, text
from mame.mammogram import Box, LesionKind
from mame.sources.record import Finding, Problem, Record

TITLE = "OPTIMAM Mammography Image Database (OMI-DB)"
URL = "https://medphys.royalsurrey.nhs.uk/omidb/"
LICENCE = "OPTIMAM data sharing agreement"
CITATION = "Halling-Brown M. D. et al., Radiology: Artificial Intelligence 3(1) (2021), doi 10.1148/ryai.2020200103"
CLIENTS = ("demd*", "optm*")
# what a mark may be, in omidb's names: those that a reader of a report would look for first
WORDS = (
    "mass", "suspicious_calcifications", "architectural_distortion", "focal_asymmetry", "calcifications",
    "dystrophic_calcification", "fat_necrosis", "milk_of_calcium", "other_benign_cluster", "plasma_cell_mastitis",
    "benign_skin_feature", "suture_calcification", "vascular_feature",
)  # fmt: skip


def read(root: Path) -> Iterator[Record | Problem]:
    """Records by client. Raises MameError for a wrong root, and where `omidb` (extra `sources`) is absent."""
    data = root / "data"
    names = sorted({path.name for form in CLIENTS for path in data.glob(form) if path.is_dir()})
    if not names:
        raise MameError(f"{root}: is not OMI-DB (looked for data/optm… and data/demd…, with images/ beside data/)")
    try:
        from loguru import logger
        from omidb.parser import DB
    except ImportError:
        raise MameError("optimam is read with omidb: pip install 'mam-e[sources]'") from None
    logger.disable("omidb")  # what it skips is found and told below
    for name in names:
        # one client at a time: a database of all iterates in the order of a set, another one each run
        clients = list(DB(data, root / "images", clients=[name], distinct_event_study_links=False))
        if not clients:
            yield Problem(name, "client", "its JSON files can't be read")
            continue
        seen: set[Path] = set()
        for episode in clients[0].episodes:
            for study in episode.studies:
                for series in study.series:
                    for image in series.images:
                        yield from _image(root, name, study, image, clients[0].status.value, seen)
        for path in sorted((root / "images" / name).rglob("*.dcm")):
            if path not in seen:
                yield Problem(path.relative_to(root).as_posix(), "image", "belongs to no study of an NBSS episode")


def _image(root: Path, client: str, study: Any, image: Any, status: str, seen: set[Path]) -> Iterator[Record | Problem]:
    path = root / "images" / client / study.id / f"{image.id}.dcm"
    subject = f"{client}/{study.id}/{image.id}"
    if not path.is_file():
        yield Problem(subject, "row", "its image isn't there")
        return
    seen.add(path)
    try:
        dataset = Dataset.from_json(image.attributes)
        header = interpret(dataset)
    except (OSError, ValueError, TypeError, KeyError, json.JSONDecodeError, MameError) as error:
        yield Problem(subject, "image", f"its JSON header can't be read: {error}")
        return
    if text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
        yield Problem(subject, "image", "is FOR PROCESSING, not for looking at")
        return
    if header.view is None:
        yield Problem(
            subject, "view", f"{text(dataset, 'ViewPosition') or 'none'} is neither CC nor MLO; kept as unknown"
        )
    findings: list[Finding] = []
    for mark in image.marks:
        try:
            findings.append(_finding(mark, status))
        except MameError as error:
            yield Problem(subject, "box", f"mark {mark.id} can't be: {error}")
    events = [event.value for event in study.event_type]
    yield Record(
        path,
        f"{client}-{image.id}",
        client,
        study.id,
        laterality=header.laterality,
        view=header.view,
        vendor=header.vendor,
        model=text(dataset, "ManufacturerModelName"),
        spacing_mm=header.spacing_mm,
        pathology=status.lower(),
        age=text(dataset, "PatientAge"),
        healthy=False if findings or image.marks else True if status == "Normal" else None,
        findings=tuple(findings),
        implants=text(dataset, "BreastImplantPresent").upper() == "YES",
        magnification=is_magnified(dataset),
        screening="screening" in events if events else None,
        rows=int(text(dataset, "Rows") or 0) or None,
    )


def _finding(mark: Any, status: str) -> Finding:
    """A mark's corners come in either order."""
    said = [word for word in WORDS if getattr(mark, word)]
    kind = LesionKind.LESION
    if "mass" in said:
        kind = LesionKind.MASS
    elif "suspicious_calcifications" in said:
        kind = LesionKind.CALCIFICATIONS
    corners = mark.boundingBox
    xs, ys = sorted((corners.x1, corners.x2)), sorted((corners.y1, corners.y2))
    words = ", ".join(word.replace("_", " ") for word in said)
    return Finding(kind, words, Box(xs[0], ys[0], xs[1], ys[1]), pathology=status.lower())
