"""`mam-e synthesize`: a cohort made, batch after batch or many at once, and written as what it is: a prepared data set.

A run keeps a journal, as preparing does: killed at any moment, the same command goes on, makes nothing twice, and ends
with the same bytes as a run that was never stopped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mame.cluster import map_items, usable_workers
from mame.dataset.counts import Counts, Note, write_notes
from mame.dataset.finish import Ended, Telling, clear_set, finish_set
from mame.dataset.journal import ORDER, Journal, make_folder
from mame.dataset.layout import (
    DATASET,
    FAILURES,
    MASKS,
    UNFINISHED,
    WINDOWS,
    Split,
    json_line,
    read_json,
    write_json,
    write_lines,
)
from mame.dataset.pseudonyms import open_key
from mame.diffusion.folders import model_folder
from mame.errors import MameError
from mame.formats import manifest
from mame.formats.atomic import sweep
from mame.formats.folder import check_folder
from mame.formats.labels import LabelledImage, write_coco, write_vindr, write_yolo_names
from mame.synthesis.cohort.deal import Order
from mame.synthesis.cohort.draft import Draft, draft
from mame.synthesis.cohort.forecast import Forecast, bytes_an_image, forecast
from mame.synthesis.cohort.make import Job, Make
from mame.synthesis.cohort.shards import FOLDER as SHARDS
from mame.synthesis.cohort.shards import Packer, shard_name
from mame.synthesis.cohort.write import IMAGES, LABELS, Writer
from mame.synthesis.plan import Accept, Output, Plan, read_plan

VERSION = 1
PLAN = "plan.yaml"
COHORT = "cohort.json"
SENT = "sent.jsonl"  # what archives accepted
LOOSE = "files"  # what waits to be packed into a shard
MARKS = "done"
GPU_BATCH = 8
BASE_BYTES = 1_200_000_000  # of a worker without a model: torch, a full-size picture and its masks
Progress = Callable[[int, int], None]


def synthesize(
    plan: Plan | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    ray: str | None = None,
    shards: int | None = None,
    key: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The cohort that a plan (or its file) orders, in a folder, which is returned.

    workers: processes on this machine, if not given as many as there are cores and memory for; on a CPU each runs on
    one thread, so that pixels do not depend on it. ray: the address of a cluster, or `local`. shards: images to a tar
    file, instead of single files and a prepared set. key: of the pseudonyms of patients of a DICOM folder. progress:
    called with (images done, images in all).
    A folder with the same plan is gone on with, or left as it is where it is finished. Raises MameError for a plan that
    can't be made, for a folder with another plan or of something else (unless `force`, which empties it), with too
    little room or that can't be written to, and where not one image was made.
    """
    if shards is not None and shards < 1:
        raise MameError(f"shards: at least 1 image to a file, not {shards}")
    run = _Run(Path(os.path.abspath(out)), _drafted(plan, key), shards)
    check_folder(run.folder, force=True)
    if not run.is_done(force):
        run.make(workers, ray, device, dtype, progress)
    return Path(out)


def foresee(
    plan: Plan | str | os.PathLike[str],
    *,
    workers: int | None = None,
    key: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> Forecast:
    """What `synthesize` would make of a plan, and the time and disk that it would take; nothing is kept.

    An image is made with a few steps to see how fast this machine is. Raises MameError as `synthesize` does.
    """
    found = _drafted(plan, key)

    def time_one(quick: Plan, order: Order) -> float:
        with TemporaryDirectory(prefix="mam-e-") as folder:
            run = _Run(Path(folder), replace(found, plan=quick, orders=[order]), None)
            make = run.maker(device, dtype)
            began = time.monotonic()
            make([Job(order, found.background(order))])
            return time.monotonic() - began

    first = found.orders[0]
    time_one(found.plan.model_copy(update={"steps": 1, "accept": Accept(tries=1)}), first)  # models are opened
    return forecast(found, workers or _workers(found, _batch(found, device)), time_one)


def read_cohort(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What cohort.json of a finished cohort says. Raises MameError where there is none."""
    place = Path(folder) / COHORT
    if not place.is_file():
        raise MameError(f"{folder}: is not a finished cohort (it has no {COHORT})")
    return read_json(place)


def _drafted(plan: Plan | str | os.PathLike[str], key: str | os.PathLike[str] | None) -> Draft:
    said = plan if isinstance(plan, Plan) else read_plan(plan)
    folder_of_dicom = said.background is not None and said.background.dicom is not None
    return draft(said, open_key(key) if folder_of_dicom else None)


@dataclass
class _Run:
    """One cohort in its folder."""

    folder: Path
    draft: Draft
    shards: int | None

    def __post_init__(self) -> None:
        self.order: dict[str, Any] = {"version": VERSION, "shards": self.shards, **self.draft.facts()}

    @property
    def mark(self) -> str:
        """What tells this cohort's UIDs and patients from those of all others; not how it is packed."""
        facts = {name: value for name, value in self.order.items() if name != "shards"}
        return hashlib.sha256(json_line(facts).encode()).hexdigest()[:12]

    # -- before -------------------------------------------------------------------------------------------------------

    def is_done(self, force: bool) -> bool:
        """Whether the folder holds this cohort. Raises MameError where it holds another one, or something else."""
        begun, ended = self.folder / UNFINISHED / ORDER, self.folder / COHORT
        told = begun if begun.is_file() else ended
        ours = (IMAGES, LABELS, SHARDS, manifest.NAME, DATASET, *Split, WINDOWS)
        if told.is_file():
            said = read_json(told)
            before = said if told is begun else said.get("order")
            if before == self.order and not (force and told is ended):
                if told is ended:
                    shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)  # killed at the very end
                return told is ended
            if not force:
                raise MameError(
                    f"{self.folder}: {_difference(before, self.order)}; choose another folder, or use --force"
                )
        elif not force and any((self.folder / name).exists() for name in ours):
            raise MameError(
                f"{self.folder}: holds something that `mam-e synthesize` did not make; choose another folder"
            )
        if force:
            self._clear()
        return False

    def _clear(self) -> None:
        for name in (COHORT, manifest.NAME, PLAN, SENT):
            (self.folder / name).unlink(missing_ok=True)
        for name in (IMAGES, LABELS, SHARDS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        clear_set(self.folder)

    # -- the work -----------------------------------------------------------------------------------------------------

    def make(
        self, workers: int | None, ray: str | None, device: str | None, dtype: str | None, progress: Progress | None
    ) -> None:
        """Makes what is missing, and then writes what tells of all of it."""
        plan, orders = self.draft.plan, self.draft.orders
        journal = Journal.open(self.folder, self.order)
        try:
            left = [order for order in orders if order.index not in journal.places]
            check_folder(self.folder, True, sum(bytes_an_image(self.draft, order) for order in left))
            make = self.maker(device, dtype)
            write_lines(self.folder / PLAN, plan.to_yaml().splitlines())
            packer = self._packer(journal)
            done = len(journal.places)
            if progress is not None:
                progress(done, len(orders))
            count = workers if workers is not None else _workers(self.draft, make.batch)
            for outcome in map_items(make, self._batches(journal, make.batch), count, ray):
                jobs = self._jobs(outcome.index, make.batch, journal)
                results = outcome.value or [{"failed": outcome.lost}] * len(jobs)
                for job, said in zip(jobs, results, strict=True):
                    index = job.order.index
                    journal.add(index, said)
                    (make.done / f"{index}.json").unlink(missing_ok=True)
                    if packer is not None:
                        packer.done(index)
                done += len(jobs)
                if progress is not None:
                    progress(done, len(orders))
            for place in make.writer.folders:
                sweep(place)  # of workers that were killed, or outlived a killed parent for a while
            self._finish(journal)
        finally:
            journal.close()
        shutil.rmtree(self.folder / UNFINISHED)

    def maker(self, device: str | None, dtype: str | None) -> Make:
        """What the workers run, and the folders that they write to."""
        draft_, unfinished = self.draft, self.folder / UNFINISHED
        base = self.folder if self.shards is None else unfinished / LOOSE
        writer = Writer(draft_.plan, draft_.options, base, self.mark, self.shards is None)
        parts = [*writer.folders, unfinished / MARKS]
        if set(draft_.plan.outputs) - {Output.PNG, Output.DICOM}:
            parts.append(self.folder / LABELS)
        if self.shards is None:
            parts += [self.folder / part / MASKS for part in (*{order.split for order in draft_.orders}, WINDOWS)]
        for part in parts:
            make_folder(part)
        batch = draft_.plan.batch or _batch(draft_, device)
        return Make(draft_.plan, writer, unfinished / MARKS, draft_.maker, draft_.painter, batch, device, dtype)

    def _batches(self, journal: Journal, size: int) -> Iterator[tuple[int, list[Job]]]:
        """(number, jobs) of every batch that misses something. Batches are cut by index, never by what is left."""
        for number in range(-(-len(self.draft.orders) // size)):
            jobs = self._jobs(number, size, journal)
            if jobs:
                yield number, jobs

    def _jobs(self, number: int, size: int, journal: Journal) -> list[Job]:
        orders = self.draft.orders[number * size : (number + 1) * size]
        return [Job(order, self.draft.background(order)) for order in orders if order.index not in journal.places]

    def _packer(self, journal: Journal) -> Packer | None:
        if self.shards is None:
            return None
        make_folder(self.folder / SHARDS)
        loose = self.folder / UNFINISHED / LOOSE
        packer = Packer(
            self.folder, loose, self.shards, len(self.draft.orders), lambda index: journal.entry(index).get("line")
        )
        for index in sorted(journal.places):
            packer.done(index)
        return packer

    # -- the end ------------------------------------------------------------------------------------------------------

    def _finish(self, journal: Journal) -> None:
        """Labels, manifest, the prepared set or what stands for it, and last the file that says that all is there."""
        plan = self.draft.plan
        if Output.COCO in plan.outputs:
            write_coco(_Labels(journal), self.folder / LABELS / "coco.json", about="Synthetic mammograms", force=True)
        if Output.VINDR in plan.outputs:
            write_vindr(_Labels(journal), self.folder / LABELS / "finding_annotations.csv", force=True)
        if Output.YOLO in plan.outputs:
            write_yolo_names(self.folder / LABELS / "yolo.yaml", force=True)
        manifest.write_manifest(self.folder, self._lines(journal))
        tries, reasons = _tries(journal)
        if self.shards is None:
            counts = finish_set(self.folder, self._telling(journal), self._facts(), self._notes())
        else:
            counts = self._finish_shards(journal)
        about = {
            "order": self.order,
            "asked": len(self.draft.orders),
            "made": counts.images,
            "failed": counts.failed,
            "tries": tries,
            "rejected": dict(reasons.most_common()),
            "counts": counts.to_json(),
        }
        write_json(self.folder / COHORT, about)

    def _lines(self, journal: Journal) -> Iterator[dict[str, Any]]:
        for index, said in journal.entries():
            if "line" in said:
                packed = {} if self.shards is None else {"shard": shard_name(index // self.shards)}
                yield said["line"] | packed

    def _telling(self, journal: Journal) -> Telling:
        orders = self.draft.orders

        def ended() -> Iterator[Ended]:
            for index, said in journal.entries():
                yield Ended(index, orders[index].name, orders[index].split, said)

        return ended

    def _facts(self) -> dict[str, Any]:
        options = self.draft.options
        return {
            "source": options.source,
            "title": "A synthetic cohort",
            "url": "",
            "licence": "",
            "citation": "",
            "order": {"size": options.size, "framing": str(options.framing), "cohort": self.order},
            "selection": [{"filter": "ordered", "images": len(self.draft.orders)}],
        }

    def _notes(self) -> list[Note]:
        left_out = self.draft.pool.left_out if self.draft.pool is not None else Counter[str]()
        return [Note(f"{count} backgrounds", "background", reason) for reason, count in left_out.most_common()]

    def _finish_shards(self, journal: Journal) -> Counts:
        counts, notes = Counts(), self._notes()
        for ended in self._telling(journal)():
            if ended.failed:
                counts.failed += 1
                notes.append(Note(ended.name, "image", ended.said["failed"]))
            else:
                counts.images += 1
                counts.lesions += len(ended.said["line"]["lesions"])
        write_notes(self.folder / FAILURES, notes)
        return counts


class _Labels:
    """The labels of all images, read from the journal as often as they are gone through."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def __iter__(self) -> Iterator[LabelledImage]:
        return (LabelledImage.from_json(said["label"]) for _, said in self.journal.entries() if "label" in said)


def _tries(journal: Journal) -> tuple[int, Counter[str]]:
    """How many pictures and lesions were made in all, and why some were thrown away (in a word, with how often)."""
    tries, reasons = 0, Counter[str]()
    for _, said in journal.entries():
        told = said.get("line", said)
        tries += int(told.get("tries", 0))
        for rejected in told.get("rejected", ()):
            reasons.update(
                reason.split(" ")[0] if " instead of " in reason else reason.split(" (")[0]
                for reason in rejected["reasons"]
            )
    return tries, reasons


def _difference(before: Any, order: dict[str, Any]) -> str:
    if not isinstance(before, dict) or before.get("version") != order["version"]:
        return "holds a cohort of another version"
    try:
        told = Plan(**order["plan"]).differences(Plan(**before["plan"]))
    except (ValueError, TypeError, KeyError):
        return "holds a cohort of another version"
    if told:
        return f"holds a cohort of another plan: {'; '.join(told)}"
    if before.get("shards") != order["shards"]:
        return f"was begun with {before.get('shards') or 'no'} images a shard, not {order['shards'] or 'none'}"
    what = "models" if before.get("models") != order["models"] else "backgrounds"
    return f"holds a cohort of the same plan, made with other {what}"


def _batch(found: Draft, device: str | None) -> int:
    """Pictures at once: more than one gains nothing on a CPU. Without a picture to make, jobs are handed out singly."""
    if found.maker is None:
        return 1
    from mame.diffusion.device import choose_compute

    return 1 if choose_compute(device).is_cpu else GPU_BATCH


def _workers(found: Draft, batch: int) -> int:
    """As many as there are cores and memory for; one on a GPU, which one process keeps busy."""
    if found.maker is not None and batch > 1:
        return 1
    weights = sum(
        path.stat().st_size
        for name in {found.maker, found.painter} - {None}
        for path in model_folder(str(name)).rglob("*.safetensors")
    )
    return usable_workers(BASE_BYTES + 3 * weights)
