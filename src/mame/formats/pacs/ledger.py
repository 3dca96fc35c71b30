"""The ledger of what an archive was sent: one JSON line an answer, so that a run that was cut off goes on."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Self

from mame.errors import MameError

ACCEPTED, REFUSED = "accepted", "refused"


class Ledger:
    """What became of every object at one archive. The last answer counts; lines about other archives are kept."""

    def __init__(self, path: Path, archive: str) -> None:
        self.path, self.archive = path, archive
        self.answers: dict[str, str] = {}
        try:
            self._file = io.FileIO(path, "a+")
            self._read()
        except OSError as error:
            raise MameError(f"{path}: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self) -> None:
        """Takes in every whole line, and cuts off what a killed run had not finished writing."""
        end = 0
        with open(self.path, "rb") as lines:
            for line in lines:
                try:
                    if not line.endswith(b"\n"):
                        break
                    said = json.loads(line)
                    if said["archive"] == self.archive:
                        self.answers[str(said["object"])] = str(said["answer"])
                except (ValueError, KeyError, TypeError):
                    break
                end += len(line)
        self._file.truncate(end)

    def is_accepted(self, name: str) -> bool:
        """Whether the archive has it."""
        return self.answers.get(name) == ACCEPTED

    def note(self, name: str, uid: str, reason: str = "") -> None:
        """Notes an answer, on the disk before this returns: accepted, or refused for a reason."""
        answer = REFUSED if reason else ACCEPTED
        said = {"archive": self.archive, "object": name, "sop_instance_uid": uid, "answer": answer}
        line = (json.dumps(said | ({"reason": reason} if reason else {})) + "\n").encode()
        try:
            written = self._file.write(line)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise MameError(f"{self.path}: {error.strerror or error}") from None
        if written != len(line):
            raise MameError(f"{self.path}: no space left on device")
        self.answers[name] = answer
