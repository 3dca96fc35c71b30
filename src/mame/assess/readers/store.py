"""Answers of a study, safe on disk before the next picture is shown: one SQLite file with a write-ahead log.

Every answer is a line that is written once; readers are known by tokens, of which only a hash is kept.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mame.assess.readers.answers import Answer, Answers
from mame.assess.readers.study import Kind, Study, open_study, read_key
from mame.errors import MameError

DATABASE = "answers.sqlite"
TABLES = """
CREATE TABLE IF NOT EXISTS readers (number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS answers (
  reader INTEGER NOT NULL, place INTEGER NOT NULL, case_id TEXT NOT NULL, value INTEGER NOT NULL,
  x REAL, y REAL, seconds REAL NOT NULL, at REAL NOT NULL, PRIMARY KEY (reader, place)
);
"""
LONGEST_WAIT_S = 60.0  # for another process that writes


@dataclass(frozen=True)
class Given:
    """An answer as it comes in. value: 1 to 5, or 1 (left) and 2 (right) of a choice; x, y: a mark, 0 to 1."""

    value: int
    seconds: float
    x: float | None = None
    y: float | None = None


class AnswerStore:
    """The answers of one study. Safe for several threads, which take turns, and for several processes.

    One connection stays open as long as the store: were each call to open its own, the last one to close would fold
    the log into the file and delete it each time, and twenty readers at once would wait for that longer than SQLite
    waits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._turn = threading.Lock()
        self._base: sqlite3.Connection | None = None
        self.study: Study = open_study(folder)
        self.orders = [self.study.order(reader) for reader in range(self.study.readers)]

    def make_tokens(self) -> list[str]:
        """New tokens, one a reader, which nobody can read out of the study again. Old ones end."""
        tokens = [secrets.token_urlsafe(18) for _ in self.orders]
        with self._open() as base:
            base.execute("BEGIN IMMEDIATE")
            base.execute("DELETE FROM readers")
            base.executemany("INSERT INTO readers VALUES (?, ?)", list(enumerate(map(_hash, tokens))))
        return tokens

    def has_tokens(self) -> bool:
        """Whether tokens were made, and so links given out."""
        with self._open() as base:
            return bool(base.execute("SELECT count(*) FROM readers").fetchone()[0])

    def reader(self, token: str) -> int:
        """The number (0, 1, …) of the reader with a token. Raises MameError for a token that isn't one."""
        with self._open() as base:
            found = base.execute("SELECT number FROM readers WHERE token = ?", (_hash(token),)).fetchone()
        if found is None:
            raise MameError("this link is not one of the study's")
        return int(found[0])

    def done(self, reader: int) -> int:
        """How many answers a reader has given."""
        with self._open() as base:
            return int(base.execute("SELECT count(*) FROM answers WHERE reader = ?", (reader,)).fetchone()[0])

    def next_case(self, reader: int) -> str | None:
        """The case that a reader is to see now; None at the end."""
        done, order = self.done(reader), self.orders[reader]
        return order[done] if done < len(order) else None

    def save(self, reader: int, case: str, given: Given) -> None:
        """Keep an answer to the case that is due. On return it is on the disk.

        Raises MameError for another case (an answer given once stays), a value out of range and a full disk.
        """
        self._check(given)
        with self._open() as base:
            base.execute("BEGIN IMMEDIATE")
            done = int(base.execute("SELECT count(*) FROM answers WHERE reader = ?", (reader,)).fetchone()[0])
            order = self.orders[reader]
            if done >= len(order):
                raise MameError("all cases are answered")
            if order[done] != case:
                raise MameError(f"{case} is not due: an answer can't be changed, nor a case left out")
            base.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (reader, done, case, given.value, given.x, given.y, given.seconds, time.time()),
            )

    def answers(self) -> Answers:
        """All answers with their truth, first looks before second ones.

        Of a choice, the case is true where the right one is synthetic, and the score is 1 where right was chosen.
        """
        key = read_key(self.folder)
        choice = self.study.kind is Kind.CHOICE
        with self._open() as base:
            rows = base.execute("SELECT reader, case_id, value, seconds FROM answers ORDER BY reader, place").fetchall()
        return Answers(
            tuple(
                Answer(
                    f"reader {reader + 1}",
                    case,
                    key[case].synthetic[-1],
                    float(value - 1 if choice else value),
                    seconds=seconds,
                )
                for reader, case, value, seconds in rows
            )
        )

    def marks(self) -> dict[str, list[tuple[str, float, float]]]:
        """Where readers clicked, by case: (reader, x, y), shares of the picture's width and height."""
        with self._open() as base:
            rows = base.execute(
                "SELECT case_id, reader, x, y FROM answers WHERE x IS NOT NULL AND y IS NOT NULL ORDER BY reader, place"
            ).fetchall()
        found: dict[str, list[tuple[str, float, float]]] = {}
        for case, reader, x, y in rows:
            found.setdefault(case, []).append((f"reader {reader + 1}", x, y))
        return found

    def _check(self, given: Given) -> None:
        highest = 2 if self.study.kind is Kind.CHOICE else len(self.study.grades)
        if not 1 <= given.value <= highest:
            raise MameError(f"an answer is 1 to {highest}, got {given.value}")
        if not 0 <= given.seconds < 86_400:
            raise MameError(f"a reading time of {given.seconds} s can't be")
        if any(at is not None and not 0 <= at <= 1 for at in (given.x, given.y)):
            raise MameError("a mark lies outside the picture")

    def close(self) -> None:
        """Fold the log into the file and let go of it. The next call opens it again."""
        with self._turn:
            if self._base is not None:
                self._base.close()
                self._base = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        path = self.folder / DATABASE
        with self._turn:
            try:
                if self._base is None:
                    self._base = _connect(path)
                yield self._base
                if self._base.in_transaction:
                    self._base.execute("COMMIT")
            except sqlite3.Error as error:
                raise MameError(f"{path}: {error}") from None
            finally:
                if self._base is not None and self._base.in_transaction:
                    self._base.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=LONGEST_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = FULL")  # a transaction that returned survives a power cut
        base.executescript(TABLES)
    except sqlite3.Error:
        base.close()
        raise
    return base


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
