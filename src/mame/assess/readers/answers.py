"""What readers answered: one line an answer, from a study's own database or from a table made elsewhere."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mame.assess.readers.roc import Floats
from mame.errors import MameError

COLUMNS = ("reader", "case", "truth", "score")
OPTIONAL = ("modality", "seconds")


@dataclass(frozen=True)
class Answer:
    """One answer. truth: true for what is looked for; score: higher for more likely; seconds: None if not timed."""

    reader: str
    case: str
    truth: bool
    score: float
    modality: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Answers:
    """All answers of a study. Where a reader saw a case more than once, the first answer counts for the curves."""

    answers: tuple[Answer, ...]

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(sorted({one.reader for one in self.answers}))

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Their names, sorted; one empty name where the study has none."""
        return tuple(sorted({one.modality for one in self.answers}))

    @cached_property
    def truth(self) -> dict[str, bool]:
        """Of each case, in sorted order."""
        return {one.case: one.truth for one in sorted(self.answers, key=lambda one: one.case)}

    @cached_property
    def first(self) -> dict[tuple[str, str, str], Answer]:
        """The first answer by (modality, reader, case)."""
        found: dict[tuple[str, str, str], Answer] = {}
        for one in self.answers:
            found.setdefault((one.modality, one.reader, one.case), one)
        return found

    @cached_property
    def repeats(self) -> list[tuple[Answer, Answer]]:
        """(first, second) answers of a reader to the same case."""
        seen: dict[tuple[str, str, str], Answer] = {}
        pairs = []
        for one in self.answers:
            key = (one.modality, one.reader, one.case)
            if key in seen:
                pairs.append((seen[key], one))
            seen.setdefault(key, one)
        return pairs

    def cases_of(self, modality: str, reader: str) -> set[str]:
        """The cases that a reader has answered in a modality."""
        return {case for where, who, case in self.first if where == modality and who == reader}

    def scores(self, cases: list[str], places: Iterable[tuple[str, str]]) -> Floats:
        """K×N scores of these cases, a row for each (modality, reader)."""
        rows = [[self.first[modality, reader, case].score for case in cases] for modality, reader in places]
        return np.array(rows, dtype=np.float64)


def read_answers(path: Path) -> Answers:
    """Answers from a CSV file with the columns reader, case, truth (0 or 1), score, and perhaps modality and seconds.

    Raises MameError that names the file and the column or row at fault.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            there = reader.fieldnames or []
            for column in COLUMNS:
                if column not in there:
                    raise MameError(f"{path}: the column {column!r} is missing (it has {', '.join(there) or 'none'})")
            rows = tuple(_answer(path, number, row) for number, row in enumerate(reader, start=2))
    except UnicodeDecodeError:
        raise MameError(f"{path}: is no text file") from None
    if not rows:
        raise MameError(f"{path}: holds no answer")
    truth: dict[str, bool] = {}
    for one in rows:
        if truth.setdefault(one.case, one.truth) != one.truth:
            raise MameError(f"{path}: case {one.case!r} has two truths")
    return Answers(rows)


def _answer(path: Path, number: int, row: dict[str, str]) -> Answer:
    values = {name: (row.get(name) or "").strip() for name in (*COLUMNS, *OPTIONAL)}
    for name in ("reader", "case"):
        if not values[name]:
            raise MameError(f"{path}: row {number} has no {name}")
    if values["truth"] not in ("0", "1"):
        raise MameError(f"{path}: row {number}: truth must be 0 or 1, got {values['truth']!r}")
    numbers: dict[str, float | None] = {}
    for name in ("score", "seconds"):
        if not values[name] and name in OPTIONAL:
            numbers[name] = None
            continue
        try:
            value = float(values[name])
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise MameError(f"{path}: row {number}: {name} must be a number, got {values[name]!r}")
        numbers[name] = value
    score = numbers["score"]
    assert score is not None
    return Answer(
        values["reader"], values["case"], values["truth"] == "1", score, values["modality"], numbers["seconds"]
    )
