"""Preparing a data set: a source's images read, framed and written, one after the other or many at once.

A run keeps a journal of what is done, one line an image, and can be stopped at any point: the same command goes on
where it was, and ends with the same bytes as a run that was never stopped. The metadata are written at the end, in the
order of the source, whatever the order of the work.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mame.cluster import map_items
from mame.dataset.card import write_card
from mame.dataset.counts import Counts, Note, write_notes
from mame.dataset.layout import (
    CARD,
    DATASET,
    FAILURES,
    FORMAT,
    MASKS,
    METADATA,
    UNFINISHED,
    WINDOWS,
    Split,
    json_line,
    read_json,
    write_json,
    write_lines,
)
from mame.dataset.plan import Item, Options, Plan, make_plan
from mame.dataset.pseudonyms import Pseudonyms
from mame.dataset.splits import PRECEDENCE
from mame.dataset.work import Work
from mame.errors import MameError
from mame.formats.folder import check_folder
from mame.formats.record import plain

JOURNAL = "journal.jsonl"
ORDER = "order.json"
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
    plan = make_plan(items, options, pseudonyms)
    order = _order(options, plan, pseudonyms)
    if _is_done(folder, order, force):
        return folder
    journal = _Journal.open(folder, order)
    try:
        _run(plan, Work(options, pseudonyms, folder), journal, workers, ray, progress)
    finally:
        journal.close()
    _finish(folder, plan, journal, order, about or About(), notes)
    return folder


def _run(plan: Plan, work: Work, journal: _Journal, workers: int, ray: str | None, progress: Progress | None) -> None:
    for name in (*plan.sides_used(), WINDOWS):
        _make_folder(work.out / name / MASKS)
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


def clear_set(folder: Path) -> None:
    """Takes a prepared set out of a folder; what else is there stays."""
    for name in (DATASET, FAILURES, CARD):  # first, so that what is left is never taken for a finished set
        (folder / name).unlink(missing_ok=True)
    for part in (UNFINISHED, *Split, WINDOWS):
        shutil.rmtree(folder / part, ignore_errors=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MameError(f"{folder}: can't be written to: {error.strerror or error}") from None


@dataclass
class _Journal:
    """What is done, in the order in which it was: one JSON line an image. places: index -> offset of its line."""

    path: Path
    places: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._file = io.FileIO(self.path, "a+")
        self._end = 0
        self._read()

    @classmethod
    def open(cls, folder: Path, order: dict[str, Any]) -> _Journal:
        """The journal of a folder, read as far as it is whole; a new one where there is none."""
        _make_folder(folder / UNFINISHED)
        write_json(folder / UNFINISHED / ORDER, order)
        return cls(folder / UNFINISHED / JOURNAL)

    def _read(self) -> None:
        """Finds the lines, and cuts off what a killed run had not finished writing."""
        end = 0
        with open(self.path, "rb") as lines:
            for line in lines:
                try:
                    index = json.loads(line)["index"] if line.endswith(b"\n") else None
                except (ValueError, KeyError, TypeError):
                    index = None
                if index is None:
                    break
                self.places[int(index)] = end
                end += len(line)
        self._file.truncate(end)
        self._end = end

    def add(self, index: int, said: dict[str, Any]) -> None:
        """Notes what became of an item."""
        line = (json_line({"index": index} | said) + "\n").encode()
        try:
            written = self._file.write(line)
        except OSError as error:
            raise MameError(f"{self.path}: {error.strerror or error}") from None
        if written != len(line):
            raise MameError(f"{self.path}: no space left on device")
        self.places[index] = self._end
        self._end += len(line)

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(index, what became of it), in the order of the plan, one at a time."""
        with open(self.path, "rb") as file:
            for index in sorted(self.places):
                file.seek(self.places[index])
                yield index, json.loads(file.readline())

    def close(self) -> None:
        """No more lines."""
        self._file.close()


# -- the end --------------------------------------------------------------------------------------------------------


def _finish(
    folder: Path, plan: Plan, journal: _Journal, order: dict[str, Any], about: About, notes: Sequence[Note]
) -> None:
    """Writes the metadata, what was left out and the card, and takes the journal away."""
    repeated = _duplicates(plan, journal)
    found = list(notes)
    counts = Counts()
    for index, said in journal.entries():
        planned = plan[index]
        if "failed" in said:
            found.append(Note(planned.name, "image", said["failed"]))
            counts.failed += 1
        elif index in repeated:
            _remove(folder, planned.split, said)
            original = plan[repeated[index]]
            found.append(Note(planned.name, "image", f"the same picture as {original.name} ({original.split})"))
            counts.duplicates += 1
        else:
            found += [Note(planned.name, "lesion", reason) for reason in said["dropped"]]
            counts.add(planned.split, said["row"])
    if not counts.images:
        reason = next((note.reason for note in found if note.what == "image"), "")
        raise MameError(f"{folder}: none of {len(plan)} images could be prepared; the first: {reason}")
    _write_metadata(folder, plan, journal, repeated)
    write_notes(folder / FAILURES, found)
    _tidy(folder)
    write_json(folder / DATASET, _dataset(plan, order, about, notes, counts, file_hashes(folder)))
    write_card(folder)
    shutil.rmtree(folder / UNFINISHED)


def _duplicates(plan: Plan, journal: _Journal) -> dict[int, int]:
    """Index of every picture that is there twice -> index of the one that stays.

    The one on the side that must stay clean stays, of these the one with more lesions, of these the first.
    """
    best: dict[str, tuple[int, int, int]] = {}
    copies: dict[str, list[int]] = {}
    for index, said in journal.entries():
        if "failed" in said:
            continue
        rank = (PRECEDENCE.index(plan[index].split), -len(said["row"]["lesions"]), index)
        same = said["same"]
        best[same] = min(best.get(same, rank), rank)
        copies.setdefault(same, []).append(index)
    return {index: best[same][2] for same, many in copies.items() for index in many if index != best[same][2]}


def _remove(folder: Path, split: Split, said: dict[str, Any]) -> None:
    row = said["row"]
    files = [folder / split / name for name in (row["file_name"], row["mask_file_name"])]
    files += [folder / split / lesion["mask"] for lesion in row["lesions"]]
    for window in said["windows"]:
        files += [folder / WINDOWS / window["file_name"], folder / WINDOWS / window["mask_file_name"]]
    for file in files:
        file.unlink(missing_ok=True)


def _write_metadata(folder: Path, plan: Plan, journal: _Journal, repeated: dict[int, int]) -> None:
    """Writes every metadata.jsonl, and takes away the folders of sides without an image."""
    kept = {split: False for split in Split}
    any_window = False
    for index, said in journal.entries():
        if "failed" not in said and index not in repeated:
            kept[plan[index].split] = True
            any_window |= bool(said["windows"])

    def rows(split: Split) -> Iterator[str]:
        for index, said in journal.entries():
            if plan.side(index) is split and "failed" not in said and index not in repeated:
                yield json_line(said["row"])

    def windows() -> Iterator[str]:
        for index, said in journal.entries():
            if "failed" not in said and index not in repeated:
                yield from (json_line(window) for window in said["windows"])

    for split in Split:
        if kept[split]:
            write_lines(folder / split / METADATA, rows(split))
        else:
            shutil.rmtree(folder / split, ignore_errors=True)
    if any_window:
        write_lines(folder / WINDOWS / METADATA, windows())
    else:
        shutil.rmtree(folder / WINDOWS, ignore_errors=True)


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every metadata.jsonl of a set."""
    names = [f"{part}/{METADATA}" for part in (*Split, WINDOWS) if (folder / part / METADATA).is_file()]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def _dataset(
    plan: Plan,
    order: dict[str, Any],
    about: About,
    notes: Sequence[Note],
    counts: Counts,
    hashes: dict[str, str],
) -> dict[str, Any]:
    return {
        "format": FORMAT,
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
        "counts": counts.to_json(),
        "sha256": hashes,
    }


def _tidy(folder: Path) -> None:
    """Takes away what a killed run left half written."""
    for part in (*Split, WINDOWS):
        for place in (folder / part, folder / part / MASKS):
            for path in place.glob(".mam-e-*.part"):
                path.unlink(missing_ok=True)
