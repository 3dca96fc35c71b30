"""Preparing a data set: a source's images read, framed and written, one after the other or many at once.

A run keeps a journal of what is done, one line an image, and can be stopped at any point: the same command goes on
where it was, and ends with the same bytes as a run that was never stopped. The metadata are written at the end, in the
order of the source, whatever the order of the work.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mame.cluster import map_items
from mame.dataset.counts import Note
from mame.dataset.finish import Ended, Telling, clear_set, finish_set
from mame.dataset.journal import ORDER, Journal, make_folder
from mame.dataset.layout import DATASET, FAILURES, MASKS, UNFINISHED, WINDOWS, Split, read_json
from mame.dataset.plan import Item, Options, Plan, make_plan
from mame.dataset.pseudonyms import Pseudonyms
from mame.dataset.work import Work
from mame.errors import MameError
from mame.formats.folder import check_folder
from mame.formats.record import plain

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class About:
    """What a set is: its name for people, where it is from, and under which licence."""

    title: str = ""
    url: str = ""
    licence: str = ""
    citation: str = ""


def prepare_items(
    items: Iterable[Item],
    options: Options,
    out: str | os.PathLike[str],
    pseudonyms: Pseudonyms,
    *,
    about: About | None = None,
    notes: Sequence[Note] = (),
    workers: int = 1,
    ray: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The items of a source as a prepared set in a folder, which is returned.

    A folder with the same order is gone on with, or left as it is where it is finished; one with another order is
    refused, or with `force` emptied. progress: called with (images done, images in all).
    Raises MameError for a folder that can't be used or written to, and where no image could be prepared.
    """
    folder = Path(out)
    check_folder(folder, force=True)
    plan = make_plan(items, options, pseudonyms, notes)
    order = _order(options, plan, pseudonyms)
    if _is_done(folder, order, force):
        return folder
    journal = Journal.open(folder, order)
    try:
        _run(plan, Work(options, pseudonyms, folder), journal, workers, ray, progress)
    finally:
        journal.close()
    finish_set(folder, _telling(plan, journal), _facts(plan, order, about or About(), notes), notes)
    shutil.rmtree(folder / UNFINISHED)
    return folder


def _run(plan: Plan, work: Work, journal: Journal, workers: int, ray: str | None, progress: Progress | None) -> None:
    for name in (*plan.sides_used(), WINDOWS):
        make_folder(work.out / name / MASKS)
    done = len(journal.places)
    if progress is not None:
        progress(done, len(plan))
    missing = ((planned.index, planned) for planned in plan if planned.index not in journal.places)
    for outcome in map_items(work, missing, workers, ray):
        said = {"failed": outcome.lost} if outcome.value is None else outcome.value
        journal.add(outcome.index, said)
        done += 1
        if progress is not None:
            progress(done, len(plan))


def _telling(plan: Plan, journal: Journal) -> Telling:
    def ended() -> Iterator[Ended]:
        for index, said in journal.entries():
            planned = plan[index]
            yield Ended(index, planned.name, planned.split, said)

    return ended


def _facts(plan: Plan, order: dict[str, Any], about: About, notes: Sequence[Note]) -> dict[str, Any]:
    return {
        "source": order["source"],
        "title": about.title,
        "url": about.url,
        "licence": about.licence,
        "citation": about.citation,
        "order": order,
        "selection": [{"filter": name, "images": count} for name, count in plan.steps],
        "unknown": dict(sorted(plan.unknown.items())),
        "patients_on_two_sides_moved": plan.moved,
        "left_out_by_the_source": dict(sorted(Counter(note.what for note in notes).items())),
    }


# -- the folder and the journal -------------------------------------------------------------------------------------


def _order(options: Options, plan: Plan, pseudonyms: Pseudonyms) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    said = options.to_json() | {"key": pseudonyms.fingerprint, "images": len(plan), "plan": plan.fingerprint}
    return json.loads(json.dumps(said, default=plain))  # type: ignore[no-any-return]


def _is_done(folder: Path, order: dict[str, Any], force: bool) -> bool:
    """Whether the folder holds the finished result of this order. Raises MameError where it holds something else."""
    told = folder / UNFINISHED / ORDER
    place = told if told.is_file() else folder / DATASET
    if not place.is_file():
        ours = (*Split, WINDOWS, FAILURES)
        if any((folder / name).exists() for name in ours) and not force:
            raise MameError(f"{folder}: holds something that `mam-e prepare` did not make; choose another folder")
        before = None
    else:
        before = read_json(place) if place is told else read_json(place).get("order")
    done = place.name == DATASET
    if before == order and not (force and done):
        if done:
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)  # a run that was killed at its very end
        return done
    if before is not None and not force:
        raise MameError(f"{folder}: {_difference(before, order)}; choose another folder, or use --force (force=True)")
    if force:
        clear_set(folder)
    return False


def _difference(before: Any, order: dict[str, Any]) -> str:
    if not isinstance(before, dict):
        return "was made by another version"
    names = [name for name in order if before.get(name) != order[name]]
    told = [name for name in names if name not in ("plan", "images", "key")]
    if told:
        said = ", ".join(f"{name} {_shown(before.get(name))} instead of {_shown(order[name])}" for name in told)
        return f"was prepared with {said}"
    if "key" in names:
        return "was prepared with another key of pseudonyms"
    return f"the source has changed since ({before.get('images')} images then, {order['images']} now)"


def _shown(value: Any) -> str:
    return "none" if value in (None, [], "", False) else str(value)
