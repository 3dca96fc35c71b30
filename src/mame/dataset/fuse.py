"""Joining prepared sets: ids made unique, sides kept, vendors told apart in the captions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mame.dataset.captions import Said, caption, describe, parse_caption
from mame.dataset.card import write_card
from mame.dataset.counts import Counts, Note, write_notes
from mame.dataset.finish import clear_set, file_hashes
from mame.dataset.layout import (
    DATASET,
    FAILURES,
    FORMAT,
    MASKS,
    METADATA,
    UNFINISHED,
    WINDOWS,
    Row,
    Split,
    WindowRow,
    json_line,
    write_json,
)
from mame.dataset.read import PreparedSet, open_set
from mame.dataset.splits import PRECEDENCE
from mame.errors import MameError
from mame.formats.folder import check_folder
from mame.mammogram import Density, LesionKind

Key = tuple[str, str]


def fuse(
    datasets: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    words: str | None = None,
    force: bool = False,
) -> Path:
    """Prepared sets as one, in a folder, which is returned.

    Every image keeps its side. A patient or a picture that is on two sides (sets made from one source) stays on the one
    that must stay clean; what is left out on the other is noted with its reason. words: what captions say, as
    `--caption`; by default what each set's own say, and the vendor, so that the sets can be told apart by their words.
    Raises MameError for fewer than two sets, sets of different sizes, sets of one source whose pseudonyms are under
    different keys (nobody could tell that a patient is in both), and a folder that can't be written to.
    """
    if len(datasets) < 2:
        raise MameError("fuse joins two or more prepared sets")
    sets = [open_set(dataset) for dataset in datasets]
    sizes = {int(found.about["order"].get("size", 0)) for found in sets}
    if len(sizes) > 1:
        said = ", ".join(f"{found.folder} {found.about['order'].get('size')}" for found in sets)
        raise MameError(f"sets of different sizes can't be joined: {said}")
    _check_keys(sets)
    caption_words = None if words is None else parse_caption(words)
    folder = Path(out)
    _open(folder, sets, force)
    joined = _Joined(folder, caption_words)
    keep = _sides(sets)
    with ExitStack() as files:
        joined.open(files)
        for number, found in enumerate(sets):
            joined.add(found, number, keep)
    joined.close(sets)
    return folder


def _check_keys(sets: Sequence[PreparedSet]) -> None:
    known: dict[str, tuple[str, Path]] = {}
    for found in sets:
        for source, key in _keys(found.about["order"]):
            other, where = known.setdefault(source, (key, found.folder))
            if other != key:
                raise MameError(
                    f"{where} and {found.folder} name the patients of {source} with different keys, so that one who is "
                    "in both can't be known; prepare one of them anew with the other's --key"
                )


def _keys(order: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(source, fingerprint of its key) of every set that was joined in an order."""
    if "key" in order:
        yield str(order.get("source")), str(order["key"])
    for joined in order.get("fused", []):
        yield from _keys(joined)


def _open(folder: Path, sets: Sequence[PreparedSet], force: bool) -> None:
    check_folder(folder, force=True)
    if any(folder.resolve() == found.folder.resolve() for found in sets):
        raise MameError(f"{folder}: is one of the sets that are joined; choose another folder")
    if folder.exists() and any(folder.iterdir()):
        if not force and not (folder / UNFINISHED).is_dir():
            raise MameError(f"{folder}: is not empty; choose another folder, or use --force (force=True)")
        clear_set(folder)
    for part in (*Split, WINDOWS):
        (folder / part / MASKS).mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).mkdir(exist_ok=True)


def _sides(sets: Sequence[PreparedSet]) -> tuple[dict[Key, Split], dict[str, tuple[int, str]]]:
    """The side of every patient, and which image of every picture stays (number of the set, file name)."""
    patients: dict[Key, Split] = {}
    pictures: dict[str, tuple[int, int, str]] = {}
    for number, found in enumerate(sets):
        for split in found.splits:
            for row in found.iterate(split):
                before = patients.setdefault((row.source, row.patient), split)
                if PRECEDENCE.index(split) < PRECEDENCE.index(before):
                    patients[row.source, row.patient] = split
                rank = (PRECEDENCE.index(split), number, row.file_name)
                pictures[row.sha256] = min(pictures.get(row.sha256, rank), rank)
    return patients, {sha256: (rank[1], rank[2]) for sha256, rank in pictures.items()}


class _Joined:
    """The set in the making."""

    def __init__(self, folder: Path, words: tuple[Said, ...] | None) -> None:
        self.folder = folder
        self.words = words
        self.counts = Counts()
        self.notes: list[Note] = []
        self.taken: set[str] = set()
        self.lines: dict[str, Any] = {}

    def open(self, files: ExitStack) -> None:
        for part in (*Split, WINDOWS):
            place = self.folder / UNFINISHED / part
            self.lines[part] = files.enter_context(place.open("w", encoding="utf-8"))

    def add(self, found: PreparedSet, number: int, keep: tuple[dict[Key, Split], dict[str, tuple[int, str]]]) -> None:
        """Every row of a set that stays, and its windows."""
        patients, pictures = keep
        added: dict[str, tuple[str, Row]] = {}
        for split in found.splits:
            for row in found.iterate(split):
                subject = f"{row.source} {row.source_id}"
                side = patients[row.source, row.patient]
                if side is not split:
                    self.notes.append(Note(subject, "image", f"in {split}, its patient is in {side} of another set"))
                elif pictures[row.sha256] != (number, row.file_name):
                    self.notes.append(Note(subject, "image", "the same picture is in another set"))
                    self.counts.duplicates += 1
                else:
                    added[Path(row.file_name).stem] = self._add_row(found.folder / split, split, row), row
        for window in found.windows:
            if window.view_of in added:
                self._add_window(found.folder / WINDOWS, window, *added[window.view_of])

    def _add_row(self, place: Path, split: Split, row: Row) -> str:
        stem = Path(row.file_name).stem
        name = self._free(stem, row.source)

        def moved(file: str) -> str:
            target = f"{MASKS}/" * file.startswith(f"{MASKS}/") + name + Path(file).name.removeprefix(stem)
            shutil.copyfile(place / file, self.folder / split / target)
            return target

        masks = {file: moved(file) for file in {row.mask_file_name, *(lesion.mask for lesion in row.lesions)}}
        said = self._said(row.caption)
        kinds = [lesion.kind for lesion in row.lesions]
        text = caption(describe(said, **row.known, measured=Density(row.density_measured), lesions=kinds))
        new = replace(
            row,
            file_name=moved(row.file_name),
            mask_file_name=masks[row.mask_file_name],
            caption=",".join(said),
            text=text,
            lesions=tuple(replace(lesion, mask=masks[lesion.mask]) for lesion in row.lesions),
        )
        self.lines[split].write(json_line(new.to_json()) + "\n")
        self.counts.add(split, new.to_json())
        return name

    def _add_window(self, place: Path, window: WindowRow, name: str, view: Row) -> None:
        file = name + window.file_name.removeprefix(window.view_of)
        shutil.copyfile(place / window.file_name, self.folder / WINDOWS / file)
        shutil.copyfile(place / window.mask_file_name, self.folder / WINDOWS / MASKS / file)
        said = self._said(window.caption)
        if not {Said.LESION, Said.KIND} & set(said):
            said = (*said, Said.KIND)
        kinds = [LesionKind(window.lesion)] if window.lesion else []
        text = caption(describe(said, **window.known, measured=Density(view.density_measured), lesions=kinds))
        new = replace(
            window, file_name=file, mask_file_name=f"{MASKS}/{file}", view_of=name, text=text, caption=",".join(said)
        )
        self.lines[WINDOWS].write(json_line(new.to_json()) + "\n")

    def _said(self, words: str) -> tuple[Said, ...]:
        return self.words or parse_caption(words if words in ("lesion", "kind") else f"{words},{Said.VENDOR}")

    def _free(self, stem: str, source: str) -> str:
        name, number = stem, 1
        while name.lower() in self.taken:
            name = f"{source}-{stem}" if number == 1 else f"{source}-{stem}-{number}"
            number += 1
        self.taken.add(name.lower())
        return name

    def close(self, sets: Sequence[PreparedSet]) -> None:
        """Puts the metadata in their places and writes what the set is."""
        for part in (*Split, WINDOWS):
            lines = self.folder / UNFINISHED / part
            if lines.stat().st_size:
                os.replace(lines, self.folder / part / METADATA)
            else:
                shutil.rmtree(self.folder / part)
        write_notes(self.folder / FAILURES, self.notes)
        write_json(self.folder / DATASET, self._about(sets))
        write_card(self.folder)
        shutil.rmtree(self.folder / UNFINISHED)

    def _about(self, sets: Sequence[PreparedSet]) -> dict[str, Any]:
        def together(name: str) -> str:
            return " + ".join(dict.fromkeys(str(found.about.get(name)) for found in sets if found.about.get(name)))

        steps = [
            {"filter": f"from {found.about['source']}", "images": found.about["counts"]["images"]} for found in sets
        ]
        return {
            "format": FORMAT,
            "source": together("source"),
            "title": together("title"),
            "url": together("url"),
            "licence": together("licence"),
            "citation": together("citation"),
            "order": {"fused": [found.about["order"] for found in sets], "size": sets[0].about["order"]["size"]},
            "selection": steps,
            "counts": self.counts.to_json(),
            "sha256": file_hashes(self.folder),
        }
