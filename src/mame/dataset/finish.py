"""The end of a long run: what its journal tells becomes a prepared set, with what was left out and its card."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    write_json,
    write_lines,
)
from mame.dataset.splits import PRECEDENCE
from mame.errors import MameError
from mame.formats.atomic import sweep


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of an item: its name, its side, and what the journal says of it.

    said: `row`, `windows`, `same` (a hash of the source's pixels) and `dropped`; or `failed`, the reason.
    """

    index: int
    name: str
    split: Split
    said: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether there is no image of it."""
        return "failed" in self.said


Telling = Callable[[], Iterator[Ended]]  # all of them from the first on, each time it is called


def finish_set(folder: Path, ended: Telling, facts: Mapping[str, Any], notes: Sequence[Note]) -> Counts:
    """Writes the metadata, what was left out, dataset.json and the card; returns the counts.

    facts: of dataset.json, to which its format, counts and hashes are added. A picture that is there twice is kept
    once. Raises MameError where not one image was made.
    """
    repeated = _duplicates(ended)
    found = list(notes)
    counts = Counts()
    for item in ended():
        if item.failed:
            found.append(Note(item.name, "image", item.said["failed"]))
            counts.failed += 1
        elif item.index in repeated:
            _remove(folder, item)
            found.append(Note(item.name, "image", f"the same picture as {repeated[item.index]}"))
            counts.duplicates += 1
        else:
            found += [Note(item.name, "lesion", reason) for reason in item.said["dropped"]]
            counts.add(item.split, item.said["row"])
    if not counts.images:
        reason = next((note.reason for note in found if note.what == "image"), "")
        raise MameError(f"{folder}: none of {counts.failed} images could be made; the first: {reason}")
    _write_metadata(folder, lambda: (item for item in ended() if not item.failed and item.index not in repeated))
    write_notes(folder / FAILURES, found)
    for part in (*Split, WINDOWS):
        for place in (folder / part, folder / part / MASKS):
            sweep(place)  # what a killed run left half written
    about = {"format": FORMAT, **facts, "counts": counts.to_json(), "sha256": file_hashes(folder)}
    write_json(folder / DATASET, about)
    write_card(folder)
    return counts


def _duplicates(ended: Telling) -> dict[int, str]:
    """Index of every picture that is there twice -> name and side of the one that stays.

    The one on the side that must stay clean stays, of these the one with more lesions, of these the first.
    """
    best: dict[str, tuple[int, int, int, str]] = {}
    copies: dict[str, list[int]] = {}
    for item in ended():
        if item.failed:
            continue
        said = item.said
        told = f"{item.name} ({item.split})"
        rank = (PRECEDENCE.index(item.split), -len(said["row"]["lesions"]), item.index, told)
        best[said["same"]] = min(best.get(said["same"], rank), rank)
        copies.setdefault(said["same"], []).append(item.index)
    return {index: best[same][3] for same, many in copies.items() for index in many if index != best[same][2]}


def _remove(folder: Path, item: Ended) -> None:
    row = item.said["row"]
    files = [folder / item.split / name for name in (row["file_name"], row["mask_file_name"])]
    files += [folder / item.split / lesion["mask"] for lesion in row["lesions"]]
    for window in item.said["windows"]:
        files += [folder / WINDOWS / window["file_name"], folder / WINDOWS / window["mask_file_name"]]
    for file in files:
        file.unlink(missing_ok=True)


def _write_metadata(folder: Path, kept: Telling) -> None:
    """Writes every metadata.jsonl, and takes away the folders of sides without an image."""
    used = {item.split for item in kept()}

    def rows(split: Split) -> Iterator[str]:
        return (json_line(item.said["row"]) for item in kept() if item.split is split)

    for split in Split:
        if split in used:
            write_lines(folder / split / METADATA, rows(split))
        else:
            shutil.rmtree(folder / split, ignore_errors=True)
    if any(item.said["windows"] for item in kept()):
        write_lines(
            folder / WINDOWS / METADATA, (json_line(window) for item in kept() for window in item.said["windows"])
        )
    else:
        shutil.rmtree(folder / WINDOWS, ignore_errors=True)


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every metadata.jsonl of a set."""
    names = [f"{part}/{METADATA}" for part in (*Split, WINDOWS) if (folder / part / METADATA).is_file()]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def clear_set(folder: Path) -> None:
    """Takes a prepared set out of a folder; what else is there stays."""
    for name in (DATASET, FAILURES, CARD):  # first, so that what is left is never taken for a finished set
        (folder / name).unlink(missing_ok=True)
    for part in (UNFINISHED, *Split, WINDOWS):
        shutil.rmtree(folder / part, ignore_errors=True)
