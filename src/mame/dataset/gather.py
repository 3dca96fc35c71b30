"""From a source's records to a prepared set: the one place that knows both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mame.dataset.captions import EVERYTHING, parse_caption
from mame.dataset.counts import Note
from mame.dataset.picture import Found
from mame.dataset.plan import Item, Options, with_recipe
from mame.dataset.prepare import About, prepare_items
from mame.dataset.pseudonyms import PICTURE, open_key
from mame.dataset.splits import parse_shares
from mame.errors import MameError
from mame.formats.dicom import read_mask_dicom
from mame.formats.png import read_mask_png
from mame.sources import open_source
from mame.sources.record import Finding, Problem, Record


def prepare(
    source: str,
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: int = 512,
    framing: str | None = None,
    only: str | None = None,
    vendors: Sequence[str] = (),
    view: str | None = None,
    findings: Sequence[str] = (),
    no_implants: bool = False,
    no_magnification: bool = False,
    recipe: str | None = None,
    caption: str | None = None,
    split: str = "80,10,10",
    windows: int = 1,
    spacing_mm: float | None = None,
    key: str | os.PathLike[str] | None = None,
    seed: int = 0,
    workers: int = 1,
    ray: str | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """A public data set on disk as a prepared set in a folder, which is returned.

    source: its name (see `mame.sources.SOURCES`); root: where it lies. Each option is that of `mam-e prepare`.
    Raises MameError for a wrong option, a root that is not that set's, and as `prepare_items` does.
    """
    module, place = open_source(source), Path(root)
    if not place.is_dir():
        raise MameError(f"{place}: is not a folder; give the folder that {source} was unpacked to")
    said = with_recipe(
        {
            "source": source,
            "size": size,
            "framing": framing,
            "only": only,
            "vendors": tuple(vendor.lower() for vendor in vendors),
            "view": view,
            "findings": tuple(findings),
            "no_implants": no_implants,
            "no_magnification": no_magnification,
            "recipe": recipe,
            "caption": None if caption is None else parse_caption(caption),
            "shares": parse_shares(split),
            "windows": windows,
            "spacing_mm": spacing_mm,
            "seed": seed,
        }
    )
    options = Options(**({"caption": EVERYTHING} | said))
    notes: list[Note] = []
    pseudonyms = open_key(key)
    about = About(module.TITLE, module.URL, module.LICENCE, module.CITATION)
    items = _items(module.read(place), notes, lambda name: pseudonyms.name(PICTURE, source, name))
    return prepare_items(
        items, options, out, pseudonyms, about=about, notes=notes, workers=workers, ray=ray, force=force,
        progress=progress,
    )  # fmt: skip


def _items(records: Iterator[Record | Problem], notes: list[Note], pseudonym: Callable[[str], str]) -> Iterator[Item]:
    """The records as items; the problems become notes."""
    for record in records:
        if isinstance(record, Problem):
            subject = pseudonym(record.subject) if record.private else record.subject
            notes.append(Note(subject, record.what, record.reason))
            continue
        yield Item(
            record.path,
            record.source_id,
            record.patient,
            record.study,
            private=record.private,
            laterality=record.laterality,
            view=record.view,
            vendor=record.vendor,
            model=record.model,
            density=record.density,
            spacing_mm=record.spacing_mm,
            birads=record.birads,
            pathology=record.pathology,
            age=record.age,
            own_split=record.split,
            healthy=record.healthy,
            lesions=tuple(_found(finding) for finding in record.findings),
            implants=record.implants,
            magnification=record.magnification,
            screening=record.screening,
            matrix_rows=record.rows,
        )


def _found(finding: Finding) -> Found:
    draw: Callable[[tuple[int, int]], NDArray[np.bool_]] | None = None
    if finding.mask is not None:
        draw = MaskFile(finding.mask)
    elif finding.polygons:
        draw = Polygons(finding.polygons)
    return Found(finding.kind, finding.box, draw, finding.birads, finding.pathology, finding.words)


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask in a file of its own: PNG, JPEG or DICOM. One of another size is brought to the picture's."""

    path: Path

    def __call__(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask (H, W) for a picture of that shape. Raises MameError where the file can't be read."""
        try:
            mask = read_mask_png(self.path)
        except MameError as error:
            if "is not a PNG or JPEG" not in str(error):
                raise
            mask = read_mask_dicom(self.path)
        if mask.shape == shape:
            return mask
        if abs(mask.shape[0] / mask.shape[1] / (shape[0] / shape[1]) - 1) > 0.02:
            raise MameError(f"its mask has {mask.shape[1]} × {mask.shape[0]} pixels, the image {shape[1]} × {shape[0]}")
        image = Image.fromarray(mask.astype(np.uint8) * 255).resize(shape[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image) > 127


@dataclass(frozen=True, slots=True)
class Polygons:
    """Outlines by their corners (x, y), in pixels of the image file; filled by the even-odd rule, each alone."""

    outlines: tuple[tuple[tuple[float, float], ...], ...]

    def __call__(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask (H, W) for a picture of that shape."""
        image = Image.new("1", (shape[1], shape[0]))
        draw = ImageDraw.Draw(image)
        for outline in self.outlines:
            if len(outline) > 2:
                draw.polygon([(x - 0.5, y - 0.5) for x, y in outline], fill=1)
        return np.asarray(image, dtype=np.bool_)
