"""One image of a data set, from the source's file to the prepared ones: what a worker does."""

from __future__ import annotations

import ctypes
import hashlib
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.dataset.captions import Said, caption, describe
from mame.dataset.layout import MASKS, WINDOWS, Row, RowLesion, WindowRow
from mame.dataset.picture import (
    Framed,
    Measured,
    Placed,
    Seen,
    carry,
    empty_box,
    fits_window,
    frame_of,
    look,
    measure,
    place,
    take,
    window_around,
)
from mame.dataset.plan import Item, Options, Planned
from mame.dataset.pseudonyms import Pseudonyms
from mame.errors import MameError
from mame.formats.files import read_uncleared
from mame.formats.png import write_mask_png, write_png
from mame.formats.spacing import assume_spacing
from mame.imaging.density import density_class
from mame.imaging.framing import Frame
from mame.imaging.intensity import pixels_to_uint16
from mame.mammogram import Area, Box, Density, Description, Laterality, Lesion, LesionKind, Mammogram, View

EMPTY_SHARE = 0.125  # of the windows: tissue without a lesion, so that a model learns to paint that, too
MAX_AGE = 90  # years; who is older is "90", as no crowd hides them


@dataclass(frozen=True, slots=True)
class Drawing:
    """A prepared picture in memory: what goes into one file."""

    path: Path
    mammogram: Mammogram


@dataclass(slots=True)
class Result:
    """What was made of an item: the files to write, and what the journal says of it."""

    pictures: list[Drawing]
    masks: list[tuple[Path, NDArray[np.bool_]]]
    said: dict[str, Any]

    def write(self) -> dict[str, Any]:
        """Writes the files, replacing older ones; returns what the journal says. Raises MameError as `write_png`."""
        for drawing in self.pictures:
            write_png(drawing.mammogram, drawing.path, force=True)
        for path, mask in self.masks:
            write_mask_png(mask, path, force=True)
        return self.said


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
KEPT_BYTES = 256_000_000
LARGE_BYTES = (64_000_000, 32_000_000)  # older versions take no more than the second


@lru_cache(maxsize=1)
def _steady_memory() -> None:
    """Let this process keep the memory of one picture for the next, once.

    glibc gives large arrays back to the system as soon as they are freed, and gets fresh pages for the next: 25,000 of
    them an image, 100 of 270 ms, all in the kernel, where processes at work side by side wait for one another.
    Other C libraries have no such call, or need none.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        any(libc.mallopt(M_MMAP_THRESHOLD, size) for size in LARGE_BYTES)  # as much as it takes


@dataclass(frozen=True)
class Work:
    """Prepares items one by one; picklable. out: the set's folder, reachable from every worker."""

    options: Options
    pseudonyms: Pseudonyms
    out: Path

    def __call__(self, planned: Planned) -> dict[str, Any]:
        """Reads, frames and writes one item; returns what the journal keeps of it.

        That is {"row", "windows", "same", "dropped"}, or {"failed": reason} where the file can't be read. Raises
        MameError where the result can't be written.
        """
        _steady_memory()
        try:
            result = self.make(planned)
        except MameError as error:
            return {"failed": self._without_path(str(error), planned.item)}
        except MemoryError:
            return {"failed": "not enough memory"}
        return result.write()

    def make(self, planned: Planned) -> Result:
        """Everything that becomes of an item, in memory. Raises MameError where its file can't be read."""
        item, options = planned.item, self.options
        read = assume_spacing(read_uncleared(item.path, options.spacing_mm or item.spacing_mm))
        seen = look(read.pixels)
        assert read.spacing_mm is not None
        return self.framed(planned, read, seen, frame_of(seen, options.framing, options.size, read.spacing_mm))

    def framed(self, planned: Planned, read: Mammogram, seen: Seen, frame: Frame) -> Result:
        """Everything that becomes of an item whose picture is in memory and whose frame is known, in memory.

        read: with the size of a pixel, known or assumed.
        """
        item, options = planned.item, self.options
        spacing_mm = read.spacing_mm
        assert spacing_mm is not None
        side, view, conflicts = _agreed(item, read, seen)
        measured = measure(seen, frame, options.framing, spacing_mm, view)
        lesions, dropped = _lesions(item, frame, seen.shape)
        known = _Known(item.vendor or read.description.vendor, side, view, item.density, measured)
        result = Result([], [], {})
        row = self._row(planned, read, frame, known, lesions, dropped, conflicts, result)
        taken = take(read.pixels, seen, frame)
        row["sha256"] = array_hash(pixels_to_uint16(taken).astype("<u2"))
        words = self._words(known, [lesion.placed.found.kind for lesion in lesions])
        row["text"] = caption(words)
        marks = tuple(Lesion(lesion.placed.found.kind, lesion.box) for lesion in lesions)
        folder = self.out / planned.split
        picture = self._mammogram(taken, read, frame, side, words, marks)
        result.pictures.append(Drawing(folder / row["file_name"], picture))
        windows = self._windows(planned, read, seen, known, [lesion.placed for lesion in lesions], result)
        result.said = {
            "row": Row(**row).to_json(),
            "windows": [window.to_json() for window in windows],
            "same": array_hash(read.stored.values if read.stored is not None else read.pixels),
            "dropped": dropped,
        }
        return result

    def _row(
        self,
        planned: Planned,
        read: Mammogram,
        frame: Frame,
        known: _Known,
        lesions: Sequence[Framed],
        dropped: Sequence[str],
        conflicts: Sequence[str],
        result: Result,
    ) -> dict[str, Any]:
        """The fields of a row, but for the picture's own; adds the masks to the result."""
        item, name, source = planned.item, planned.name, self.options.source
        folder = self.out / planned.split
        mask_file = f"{MASKS}/{name}.png"
        together = np.zeros(frame.shape, dtype=bool)
        rows = []
        for number, lesion in enumerate(lesions, start=1):
            together |= lesion.mask
            alone = mask_file if len(lesions) == 1 else f"{MASKS}/{name}-{number}.png"
            if alone != mask_file:
                result.masks.append((folder / alone, lesion.mask))
            found = lesion.placed.found
            made_from = lesion.placed.made_from
            rows.append(
                RowLesion(found.kind, lesion.box, alone, made_from, found.birads, found.pathology, found.finding)
            )
        result.masks.append((folder / mask_file, together))
        measured = known.measured
        return {
            "file_name": f"{name}.png",
            "mask_file_name": mask_file,
            "caption": ",".join(self.options.caption),
            "source": source,
            "source_id": name if item.private else item.source_id,
            "patient": self.pseudonyms.name("patient", source, item.patient),
            "study": self.pseudonyms.name("study", source, item.study) if item.study else "",
            "laterality": str(known.laterality),
            "view": str(known.view or ""),
            "vendor": known.vendor or "",
            "model": item.model,
            "density": str(item.density or ""),
            "density_measured": str(known.measured_density),
            "percent_density": round(measured.percent_density, 2),
            "area": str(measured.area),
            "area_cm2": round(measured.area_cm2, 2),
            "breast_share": round(measured.share, 4),
            "birads": item.birads,
            "pathology": item.pathology,
            "age": _age(item.age),
            "spacing_mm": frame.spacing_mm(read.spacing_mm or 0.0),
            "spacing_origin": str(read.spacing_origin),
            "dropped": "; ".join(dropped),
            "conflicts": "; ".join(conflicts),
            "mask_sha256": array_hash(together.astype(np.uint8) * 255),
            "frame": frame,
            "lesions": tuple(rows),
            "healthy": _healthy(item),
        }

    def _words(self, known: _Known, kinds: Sequence[LesionKind], lesion_words: bool = False) -> Description:
        said = self.options.caption
        if lesion_words and not {Said.LESION, Said.KIND} & set(said):
            said = (*said, Said.KIND)
        return describe(
            said, vendor=known.vendor, view=known.view, density=known.density or known.measured_density,
            measured=known.measured_density, area=known.area, lesions=kinds,
        )  # fmt: skip

    def _mammogram(
        self,
        pixels: NDArray[np.float32],
        read: Mammogram,
        frame: Frame,
        side: Laterality,
        words: Description,
        lesions: tuple[Lesion, ...],
    ) -> Mammogram:
        """The record that the PNG carries: nothing but what is named here."""
        return Mammogram(
            pixels,
            frame.spacing_mm(read.spacing_mm or 0.0),
            side,
            words,
            lesions,
            spacing_origin=read.spacing_origin,
            synthetic=read.synthetic,
        )

    def _windows(
        self,
        planned: Planned,
        read: Mammogram,
        seen: Seen,
        known: _Known,
        lesions: Sequence[Placed],
        result: Result,
    ) -> list[WindowRow]:
        """Windows around every lesion, and now and then one around tissue without any; adds their files."""
        rows: list[WindowRow] = []
        boxes = [lesion.box for lesion in lesions]
        for number, lesion in enumerate(lesions):
            if not fits_window(lesion.box, seen):
                continue
            for copy in range(self.options.windows):
                rng = np.random.default_rng([self.options.seed, *_seed(planned.name), number, copy])
                aim: Placed | Box = lesion
                if rng.random() < EMPTY_SHARE:
                    aim = empty_box(lesion.box, boxes, seen, rng) or lesion
                name = f"{planned.name}-{number + 1}-{copy + 1}"
                rows.append(self._window(planned, name, read, seen, known, aim, rng, result))
        return rows

    def _window(
        self,
        planned: Planned,
        name: str,
        read: Mammogram,
        seen: Seen,
        known: _Known,
        aim: Placed | Box,
        rng: np.random.Generator,
        result: Result,
    ) -> WindowRow:
        spacing_mm = read.spacing_mm
        assert spacing_mm is not None
        box = aim if isinstance(aim, Box) else aim.box
        frame = window_around(box, seen, spacing_mm, self.options.size, rng)
        pixels = take(read.pixels, seen, frame)
        inside = frame.box(box).clipped(frame.shape)
        assert inside is not None
        framed = None if isinstance(aim, Box) else carry(aim, frame)
        mask = np.zeros(frame.shape, dtype=bool) if framed is None else framed.mask
        kinds = [] if framed is None else [framed.placed.found.kind]
        words = self._words(known, kinds, lesion_words=True)
        marks = () if framed is None else (Lesion(framed.placed.found.kind, framed.box),)
        folder = self.out / WINDOWS
        picture = self._mammogram(pixels, read, frame, known.laterality, words, marks)
        result.pictures.append(Drawing(folder / f"{name}.png", picture))
        result.masks.append((folder / MASKS / f"{name}.png", mask))
        field_mm = frame.field_mm
        assert field_mm is not None
        return WindowRow(
            file_name=f"{name}.png",
            mask_file_name=f"{MASKS}/{name}.png",
            text=caption(words),
            caption=",".join(self.options.caption),
            split=str(planned.split),
            view_of=planned.name,
            patient=self.pseudonyms.name("patient", self.options.source, planned.item.patient),
            vendor=known.vendor or "",
            view=str(known.view or ""),
            density=str(known.density or known.measured_density),
            area=str(known.measured.area),
            lesion="" if framed is None else str(framed.placed.found.kind),
            box=inside if framed is None else framed.box,
            made_from="" if framed is None else str(framed.placed.made_from),
            field_mm=field_mm,
            spacing_mm=frame.spacing_mm(spacing_mm),
            spacing_origin=str(read.spacing_origin),
            sha256=array_hash(pixels_to_uint16(pixels).astype("<u2")),
            mask_sha256=array_hash(mask.astype(np.uint8) * 255),
            frame=frame,
        )

    def _without_path(self, reason: str, item: Item) -> str:
        """A reason that gives away no folder or file name."""
        for text in (f"{item.path}: ", str(item.path), f"{item.path.parent}/", item.path.name):
            reason = reason.replace(text, "")
        return " ".join(reason.split())


@dataclass(frozen=True, slots=True)
class _Known:
    vendor: str | None
    laterality: Laterality
    view: View | None
    density: Density | None
    measured: Measured

    @property
    def area(self) -> Area:
        return self.measured.area

    @property
    def measured_density(self) -> Density:
        return density_class(self.measured.percent_density)


def _agreed(item: Item, read: Mammogram, seen: Seen) -> tuple[Laterality, View | None, list[str]]:
    """(side, view, conflicts): the set's word before the file's, the file's before the picture's."""
    conflicts = list(read.provenance.get("conflicts", ()))
    if item.laterality and read.laterality and item.laterality is not read.laterality:
        conflicts.append(f"laterality: the set says {item.laterality}, the file {read.laterality}")
    view = read.description.view
    if item.view and view and item.view is not view:
        conflicts.append(f"view: the set says {item.view}, the file {view}")
    side = item.laterality or read.laterality or seen.breast.laterality
    if side is not seen.breast.laterality:
        conflicts.append(f"laterality: {side} is said, the picture shows {seen.breast.laterality}")
    return side, item.view or view, conflicts


def _lesions(item: Item, frame: Frame, shape: tuple[int, int]) -> tuple[list[Framed], list[str]]:
    """The lesions that are in the frame, and for the others why not."""
    framed, dropped = [], []
    for number, found in enumerate(item.lesions, start=1):
        try:
            framed.append(carry(place(found, shape), frame))
        except MameError as error:
            dropped.append(f"lesion {number} ({found.finding or found.kind}): {error}")
    return framed, dropped


def array_hash(values: NDArray[Any]) -> str:
    """SHA-256 of an array's shape and bytes."""
    digest = hashlib.sha256(f"{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _seed(name: str) -> tuple[int, int]:
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")


def _healthy(item: Item) -> str:
    if item.lesions or item.healthy is False:
        return "no"
    return "yes" if item.healthy else ""


def _age(text: str) -> str:
    """Whole years, at most MAX_AGE; "" for what is no age."""
    try:
        years = float(text.strip().upper().removesuffix("Y"))
    except ValueError:
        return ""
    return str(min(int(years), MAX_AGE)) if math.isfinite(years) and 0 < years < 130 else ""
