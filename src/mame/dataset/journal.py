"""The journal of a long run: what is done, one line an item, so that a run that was killed goes on where it was."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mame.dataset.layout import UNFINISHED, json_line, write_json
from mame.errors import MameError
from mame.formats.lock import hold_alone

JOURNAL = "journal.jsonl"
ORDER = "order.json"


@dataclass
class Journal:
    """What is done, in the order in which it was: one JSON line an image. places: index -> offset of its line."""

    path: Path
    places: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._file = io.FileIO(self.path, "a+")
        self._hold()
        self._end = 0
        self._read()

    @classmethod
    def open(cls, folder: Path, order: dict[str, Any]) -> Journal:
        """The journal of a folder, read as far as it is whole; a new one where there is none.

        Raises MameError where the folder can't be written to, or another run has it.
        """
        make_folder(folder / UNFINISHED)
        write_json(folder / UNFINISHED / ORDER, order)
        return cls(folder / UNFINISHED / JOURNAL)

    def _hold(self) -> None:
        """For one run at a time: of two that write at once, each cuts off what the other has written."""
        try:
            hold_alone(self._file.fileno(), self.path.parent.parent)
        except MameError:
            self._file.close()
            raise

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

    def entry(self, index: int) -> dict[str, Any]:
        """What became of one item. Raises KeyError for one that is not done."""
        with open(self.path, "rb") as file:
            file.seek(self.places[index])
            return json.loads(file.readline())  # type: ignore[no-any-return]

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it. Raises MameError where that can't be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MameError(f"{folder}: can't be written to: {error.strerror or error}") from None
