"""The manifest of a folder of images: `manifest.jsonl`, one JSON object a line, one line an image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.formats.record import plain

NAME = "manifest.jsonl"


def write_manifest(folder: str | os.PathLike[str], lines: Iterable[Mapping[str, Any]]) -> Path:
    """Writes `manifest.jsonl` in a folder, replacing an older one in one step; returns its path.

    A box becomes [x0, y0, x1, y1]. Raises MameError for values JSON can't hold and for a folder that can't be
    written to.
    """
    path = Path(folder) / NAME
    text = "".join(f"{_line(path, line)}\n" for line in lines)
    with atomic_write(path, force=True) as file:
        file.write(text.encode())
    return path


def append_manifest(folder: str | os.PathLike[str], lines: Iterable[Mapping[str, Any]]) -> Path:
    """Adds lines to the manifest of a folder, or begins one; the file on disk is at every moment a whole one.

    For one writer at a time: of two that append at once, the lines of one are lost.
    """
    path = Path(folder) / NAME
    before = read_manifest(folder) if path.exists() else []
    return write_manifest(folder, [*before, *lines])


def read_manifest(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a folder's manifest. Raises MameError that names file and line where one is not a JSON object."""
    path = Path(folder) / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MameError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise MameError(f"{path}: is not UTF-8 text") from error
    found = []
    # not splitlines(): JSON text may hold U+2028, which that takes for the end of a line
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            item = None
        if not isinstance(item, dict):
            raise MameError(f"{path}: line {number} is not a JSON object")
        found.append(item)
    return found


def _line(path: Path, line: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(line), ensure_ascii=False, allow_nan=False, default=plain)
    except (TypeError, ValueError) as error:
        raise MameError(f"{path}: {error}") from error
