"""What several sources need: reading a table with checked columns, and the words that tables have for things."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from mame.errors import MameError
from mame.mammogram import Density, LesionKind
from mame.sources.record import Problem

E = TypeVar("E", bound=StrEnum)
Row = dict[str, str]


def read_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = (), delimiter: str = ",") -> Iterator[Row]:
    """The rows of a CSV file, one at a time: these columns only, stripped; an optional column that isn't there is "".

    Raises MameError that names the file, and the column that is missing.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            names = {(name or "").strip(): name for name in reader.fieldnames or []}
            missing = [column for column in columns if column not in names]
            if missing:
                raise MameError(f"{path}: the column {missing[0]!r} is missing (it has {', '.join(names)})")
            wanted = {column: names.get(column) for column in (*columns, *optional)}
            for row in reader:
                yield {column: (row.get(name) or "").strip() if name else "" for column, name in wanted.items()}
    except UnicodeDecodeError:
        raise MameError(f"{path}: is no text file") from None
    except csv.Error as error:
        raise MameError(f"{path}: line {reader.line_num}: is no CSV ({error})") from None
    except OSError as error:
        raise MameError(f"{path}: {error.strerror or error}") from None


def column_names(path: Path, delimiter: str = ",") -> list[str]:
    """What the columns of a CSV file are called. Raises MameError as `read_rows` does."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
    except UnicodeDecodeError:
        raise MameError(f"{path}: is no text file") from None
    except csv.Error as error:
        raise MameError(f"{path}: is no CSV ({error})") from None
    except OSError as error:
        raise MameError(f"{path}: {error.strerror or error}") from None


def one_of(kind: type[E], word: str | None) -> E | None:
    """The member that a word is, in any case; None for any other."""
    said = (word or "").strip().upper()
    return kind(said) if said in tuple(kind) else None


def density_of(word: str, subject: str) -> tuple[Density | None, list[Problem]]:
    """BI-RADS density from A-D or 1-4, also behind a word (`DENSITY C`); 0 and nothing are no label.

    Anything else is kept as unknown, with a problem that says so.
    """
    last = word.strip().upper().split(" ")[-1]
    last = last.removesuffix(".0")
    if last in ("", "0", "NAN", "NONE"):
        return None, []
    if last in ("1", "2", "3", "4"):
        return list(Density)[int(last) - 1], []
    found = one_of(Density, last)
    return found, [] if found else [Problem(subject, "density", f"{word!r} is no density; kept as unknown")]


def known(kind: type[E], word: str, what: str, subject: str) -> tuple[E | None, list[Problem]]:
    """As `one_of`, with a problem for a word that is there and not understood."""
    found = one_of(kind, word)
    if found or not word.strip():
        return found, []
    return None, [Problem(subject, what, f"{word!r} is no {what}; kept as unknown")]


def lesion_kind(words: str) -> LesionKind:
    """The kind that a set's words for a finding mean: a mass with calcifications is a mass; LESION for other words."""
    said = words.lower()
    if "mass" in said:
        return LesionKind.MASS
    return LesionKind.CALCIFICATIONS if "calc" in said else LesionKind.LESION


def unused_files(files: Iterator[Path], used: set[Path], root: Path, why: str) -> Iterator[Problem]:
    """A problem for every file that no row names."""
    for path in sorted(files):
        if path not in used:
            yield Problem(path.relative_to(root).as_posix(), "image", why)
