"""Real mammograms to paint into: which there are, which are healthy by their label, and which one each order gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mame.dataset.layout import Row, Split
from mame.dataset.picture import Framing
from mame.dataset.pseudonyms import Pseudonyms
from mame.dataset.read import PreparedSet, open_set
from mame.errors import MameError
from mame.formats.dicom import read_header
from mame.mammogram import COARSEST_CALCIFICATION_MM, Area, Density, Description, Laterality, LesionKind, View
from mame.sources import dicom as folder_of_dicom
from mame.sources.record import Problem, Record
from mame.synthesis.cohort.deal import Order, Stream
from mame.synthesis.plan import Background as Where
from mame.synthesis.plan import Plan

NOT_HEALTHY_BIRADS = ("0", "3", "4", "5", "6")
HEALTHY_WORDS = ("", "normal", "benign", "no finding", "none", "benign_without_callback")


@dataclass(frozen=True, slots=True)
class Background:
    """A real mammogram. name, patient, study: without identity. row: its line where it is of a prepared set.

    shape: (H, W) of the file; spacing_mm: None where nobody knows it.
    """

    path: Path
    source: str
    name: str
    patient: str
    study: str
    side: Laterality | None
    words: Description
    spacing_mm: float | None
    shape: tuple[int, int]
    row: Row | None = None


@dataclass
class Pool:
    """The backgrounds of a plan, and how many were left out for which reason.

    size, framing: of the prepared pictures: those of the set, or what full-size ones become.
    """

    found: list[Background] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    size: int = 512
    framing: Framing = Framing.FIELD

    def __len__(self) -> int:
        return len(self.found)


def open_pool(where: Where, pseudonyms: Pseudonyms | None) -> Pool:
    """The healthy mammograms of a place. pseudonyms: for the patients of a DICOM folder.

    Raises MameError where the place is none, or no healthy mammogram is there.
    """
    pool = Pool()
    if where.set is not None:
        place = where.set
        found = open_set(where.set)
        order = found.about["order"]
        pool.size, pool.framing = int(order["size"]), Framing(order.get("framing", Framing.FIELD))
        _add_set(pool, found, Split(where.side))
    else:
        assert where.dicom is not None
        assert pseudonyms is not None
        place = where.dicom
        _add_dicom(pool, where.dicom, pseudonyms, where.spacing_mm)
    if not pool.found:
        reasons = "; ".join(f"{count} {reason}" for reason, count in pool.left_out.most_common()) or "no image is there"
        raise MameError(f"{place}: has no healthy mammogram to paint into ({reasons})")
    return pool


def _add_set(pool: Pool, found: PreparedSet, side: Split) -> None:
    for row in found.iterate(side):
        reason = _illness(row.birads, row.pathology, bool(row.lesions or row.dropped), row.healthy == "no")
        if reason:
            pool.left_out[reason] += 1
            continue
        words = Description(**row.known)
        pool.found.append(
            Background(
                found.folder / side / row.file_name,
                row.source,
                row.source_id,
                row.patient,
                row.study,
                row.side,
                words,
                row.spacing_mm,
                row.frame.shape,
                row,
            )
        )


def _add_dicom(pool: Pool, folder: Path, pseudonyms: Pseudonyms, spacing_mm: float | None) -> None:
    for record in folder_of_dicom.read(folder):
        if isinstance(record, Problem):
            if record.what == "image":
                pool.left_out["can't be read"] += 1
            continue
        reason = _illness(record.birads, record.pathology, bool(record.findings), record.healthy is False)
        if reason:
            pool.left_out[reason] += 1
        else:
            pool.found.append(_of_record(record, pseudonyms, spacing_mm))


def _of_record(record: Record, pseudonyms: Pseudonyms, spacing_mm: float | None) -> Background:
    header, source = read_header(record.path), "dicom"
    return Background(
        record.path,
        source,
        pseudonyms.name("picture", source, record.source_id),
        pseudonyms.name("patient", source, record.patient),
        pseudonyms.name("study", source, record.study) if record.study else "",
        record.laterality,
        Description(record.vendor, record.view, record.density),
        spacing_mm or record.spacing_mm,
        (int(header.get("Rows") or 0), int(header.get("Columns") or 0)),
    )


def _illness(birads: str, pathology: str, lesion: bool, suspicious: bool) -> str:
    """Why a picture is not healthy by its label, or ""."""
    if lesion:
        return "with a lesion by their label"
    if birads.strip() in NOT_HEALTHY_BIRADS:
        return f"of BI-RADS {birads.strip()} by their label"
    if pathology.strip().lower() not in HEALTHY_WORDS:
        return f"{pathology.strip().lower()} by their label"
    return "suspicious by their label" if suspicious else ""


# -- who gets which ---------------------------------------------------------------------------------------------------


def give_out(plan: Plan, orders: Sequence[Order], pool: Pool) -> list[Order]:
    """The orders with a background each: one that is all that was ordered of it, the least used first.

    An image that gets no lesion is its background as it is, so these are never used twice. The order's words and side
    become the background's own. Raises MameError where none fits, and for calcifications where all are too coarse.
    """
    rng = np.random.default_rng([plan.seed, Stream.BACKGROUND])
    ranks = rng.permutation(len(pool))  # a rank grows by the size of the pool with every use
    taken = np.zeros(len(pool), dtype=bool)
    fitting: dict[tuple[Description, Laterality | None, bool], NDArray[np.intp]] = {}
    given: dict[int, Order] = {}
    for order in sorted(orders, key=lambda order: (bool(order.lesions), order.index)):
        fine = any(lesion.kind is LesionKind.CALCIFICATIONS for lesion in order.lesions)
        key = order.words, order.side, fine
        if key not in fitting:
            fitting[key] = _fitting(order, fine, pool)
        fits = fitting[key]
        free = fits if order.lesions else fits[~taken[fits]]
        if not free.size:
            raise MameError(_none_fits(order, int(fits.size), pool))
        chosen = int(free[np.argmin(ranks[free])])
        ranks[chosen] += len(pool)
        taken[chosen] |= not order.lesions
        found = pool.found[chosen]
        given[order.index] = replace(order, words=found.words, side=found.side, background=chosen)
    return [given[order.index] for order in orders]


def _fitting(order: Order, fine: bool, pool: Pool) -> NDArray[np.intp]:
    return np.array(
        [
            number
            for number, background in enumerate(pool.found)
            if _is(order, background) and (not fine or _is_fine(background))
        ],
        dtype=np.intp,
    )


def _is(order: Order, background: Background) -> bool:
    asked: list[str | View | Density | Area | Laterality | None] = [order.words.vendor, order.words.view]
    asked += [order.words.density, order.words.area, order.side]
    words = background.words
    known = [words.vendor, words.view, words.density, words.area, background.side]
    return all(wanted is None or wanted == have for wanted, have in zip(asked, known, strict=True))


def _is_fine(background: Background) -> bool:
    return background.spacing_mm is not None and background.spacing_mm <= COARSEST_CALCIFICATION_MM


def _none_fits(order: Order, fitting: int, pool: Pool) -> str:
    words = order.words
    said = ", ".join(str(word) for word in (words.vendor, words.view, words.density, words.area, order.side) if word)
    if fitting:
        return (
            f"background: only {fitting} of {len(pool)} healthy mammograms are {said or 'there'}, and each can stay "
            "without a lesion once; order fewer, or a larger lesions.share"
        )
    if any(lesion.kind is LesionKind.CALCIFICATIONS for lesion in order.lesions):
        return coarse(min((one.spacing_mm for one in pool.found if one.spacing_mm), default=None), said)
    return f"background: none of {len(pool)} healthy mammograms is {said}"


def coarse(spacing_mm: float | None, said: str = "") -> str:
    """Why calcifications can't be ordered."""
    beside = f" for {said}" if said else ""
    size = "nobody knows the size of a pixel" if spacing_mm is None else f"a pixel is {spacing_mm:.3g} mm at best"
    return (
        f"lesions.kinds: calcifications can't be painted{beside}: {size}, and at most {COARSEST_CALCIFICATION_MM} mm "
        "resolve them; order masses, or give full-size DICOMs as background"
    )
