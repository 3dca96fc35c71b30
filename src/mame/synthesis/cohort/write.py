"""Every file of a finished image: pictures, DICOM, labels, and its line in the prepared set that a cohort is.

OUT/images/0000.png, 0000.dcm, 0000-mask.png     as ordered, right breasts on the right, at full size
OUT/labels/yolo/0000.txt, seg/0000.dcm, sr/…      labels in the pixels of these
OUT/train/0000.png, masks/, windows/              the prepared set, as `mam-e prepare` makes it
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mame.dataset.layout import Split
from mame.dataset.picture import Found, frame_of
from mame.dataset.plan import Item, Options, Planned
from mame.dataset.pseudonyms import Pseudonyms
from mame.dataset.work import Work
from mame.formats.dicom.write import save_dataset, to_dataset
from mame.formats.folder import manifest_line
from mame.formats.labels import labelled, write_seg, write_sr, write_yolo
from mame.formats.png import write_mask_png, write_png
from mame.mammogram import Lesion, Mammogram
from mame.synthesis.cohort.backgrounds import Background
from mame.synthesis.cohort.check import Looked, whole
from mame.synthesis.cohort.deal import Order
from mame.synthesis.plan import Output, Plan

IMAGES = "images"
LABELS = "labels"
SOURCE = "synthetic"
VINDR_SPLITS = {Split.TRAIN: "training", Split.VALIDATION: "training", Split.TEST: "test"}


@dataclass(frozen=True)
class Made:
    """A finished image, as it is written, and what was measured in the picture that it was made from."""

    order: Order
    mammogram: Mammogram
    looked: Looked
    background: Background | None


@dataclass(frozen=True)
class Drawn:
    """A mask that is known already, as a lesion's outline; called with the picture's shape."""

    mask: NDArray[np.bool_]

    def __call__(self, _: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask (H, W)."""
        return self.mask


@dataclass(frozen=True)
class Writer:
    """Writes images; picklable. out: the cohort's folder; mark: what UIDs and patients are made from.

    prepared: whether the prepared set is written, too.
    """

    plan: Plan
    options: Options
    out: Path
    mark: str
    prepared: bool = True

    @property
    def folders(self) -> list[Path]:
        """Every folder that has to be there, but for those of the prepared set."""
        parts = {Output.YOLO: "yolo", Output.SEG: "seg", Output.SR: "sr"}
        return [self.out / IMAGES, *(self.out / LABELS / parts[one] for one in self.plan.outputs if one in parts)]

    def write(self, made: Made, tries: int, rejected: list[dict[str, Any]]) -> dict[str, Any]:
        """Writes every file of an image, replacing older ones; returns what the journal keeps of it."""
        order, outputs = made.order, self.plan.outputs
        mammogram = made.mammogram.with_(provenance=made.mammogram.provenance | self._provenance(order))
        stored: list[str] = []
        mask_file = None
        if Output.PNG in outputs:
            stored.append(f"{order.name}.png")
            write_png(mammogram, self.out / IMAGES / stored[-1], force=True)
            if mammogram.lesions:
                mask_file = f"{order.name}-mask.png"
                write_mask_png(_together(mammogram.lesions), self.out / IMAGES / mask_file, force=True)
        dataset = self._write_dicom(mammogram, order, stored) if Output.DICOM in outputs else None
        uids = _uids(dataset)
        label = labelled(
            mammogram,
            order.name,
            stored[0],
            study=uids.get("study_instance_uid", f"{self.mark}-{order.case}"),
            series=uids.get("series_instance_uid", ""),
            split=VINDR_SPLITS[order.split],
        )
        labels = {}
        if Output.YOLO in outputs:
            labels["yolo"] = f"{LABELS}/yolo/{order.name}.txt"
            write_yolo(label, self.out / labels["yolo"], force=True)
        if dataset is not None and mammogram.lesions:
            labels |= self._write_dicom_labels(mammogram, dataset, order)
        files = [f"{IMAGES}/{name}" for name in stored]
        line = manifest_line(mammogram, files, None if mask_file is None else f"{IMAGES}/{mask_file}")
        line |= {
            "labels": labels,
            "order": _order(order),
            "tries": tries,
            "rejected": rejected,
            "measured": made.looked.to_json(),
            **uids,
        }
        if made.background is not None:
            line["background"] = {"source": made.background.source, "name": made.background.name}
        said = {"name": order.name, "split": order.split, "line": line, "label": label.to_json()}
        return said | (self._prepare(made, mammogram) if self.prepared else {})

    def _provenance(self, order: Order) -> dict[str, Any]:
        return {
            "uid_seed": f"cohort {self.mark} image {order.index}",
            "uid_study": f"cohort {self.mark} case {order.case}",
            "instance_number": order.number,
            "created": self.plan.date.isoformat(),
        }

    def _write_dicom(self, mammogram: Mammogram, order: Order, stored: list[str]) -> Dataset:
        stored.append(f"{order.name}.dcm")
        dataset = to_dataset(mammogram)
        save_dataset(dataset, self.out / IMAGES / stored[-1], force=True)
        return dataset

    def _write_dicom_labels(self, mammogram: Mammogram, dataset: Dataset, order: Order) -> dict[str, str]:
        """Writes SEG and SR where they are wanted; returns their names."""
        written = {}
        for output, write in ((Output.SEG, write_seg), (Output.SR, write_sr)):
            if output in self.plan.outputs:
                written[str(output)] = f"{LABELS}/{output}/{order.name}.dcm"
                write(mammogram, dataset, self.out / written[str(output)], force=True)
        return written

    # -- the prepared set ---------------------------------------------------------------------------------------------

    def _prepare(self, made: Made, mammogram: Mammogram) -> dict[str, Any]:
        """Writes the image as one of a prepared set; returns its row and windows."""
        order, background = made.order, made.background
        item = Item(
            Path(order.name),
            order.name if background is None else background.name,
            f"{self.mark}-{order.case}",
            f"{self.mark}-{order.case}",
            laterality=mammogram.laterality,
            view=mammogram.description.view,
            vendor=mammogram.description.vendor,
            density=mammogram.description.density,
            healthy=not mammogram.lesions,
            lesions=tuple(_found(lesion) for lesion in mammogram.lesions),
        )
        own = background is None or background.row is not None
        assert mammogram.spacing_mm is not None
        options, seen = self.options, made.looked.seen
        frame = whole(mammogram) if own else frame_of(seen, options.framing, options.size, mammogram.spacing_mm)
        work = Work(options, cohort_pseudonyms(), self.out)
        said = work.framed(Planned(order.index, item, order.split, order.name), mammogram, seen, frame).write()
        if background is not None:  # whose patients have their pseudonyms already, and are to be known by them
            said["row"] |= {"source": background.source, "patient": background.patient, "study": background.study}
            for window in said["windows"]:
                window["patient"] = background.patient
        return said


def cohort_pseudonyms() -> Pseudonyms:
    """Names for patients that never were: no secret is needed, and the same plan gives the same names."""
    return Pseudonyms(b"mam-e: these patients never were")


def _found(lesion: Lesion) -> Found:
    mask = lesion.mask
    outlined = mask is not None and not np.array_equal(mask, lesion.box.to_mask((mask.shape[0], mask.shape[1])))
    return Found(
        lesion.kind,
        lesion.box,
        Drawn(mask) if mask is not None and outlined else None,
        lesion.birads or "",
        lesion.pathology or "",
        str(lesion.kind),
    )


def _together(lesions: tuple[Lesion, ...]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_or.reduce([lesion.mask for lesion in lesions if lesion.mask is not None]))


def _order(order: Order) -> dict[str, Any]:
    said = order.to_json()
    words = {name: value for name, value in asdict(order.words).items() if value is not None}
    return {name: said[name] for name in ("index", "case", "number", "side", "lesions", "split")} | {"words": words}


def _uids(dataset: Dataset | None) -> dict[str, str]:
    if dataset is None:
        return {}
    return {
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "series_instance_uid": str(dataset.SeriesInstanceUID),
        "study_instance_uid": str(dataset.StudyInstanceUID),
    }
