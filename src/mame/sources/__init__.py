"""Sources: one file a public data set, each of which yields records.

A new one is a module with TITLE, URL, LICENCE, CITATION and `read(root)`, and one line in SOURCES.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from mame.errors import MameError
from mame.sources.record import Source

SOURCES = {
    "cdd-cesm": "mame.sources.cdd_cesm",
    "dicom": "mame.sources.dicom",
    "phantom": "mame.sources.phantom",
}


def open_source(name: str) -> Source:
    """The source of that name. Raises MameError, with all names, where there is none."""
    if name not in SOURCES:
        raise MameError(f"source {name!r} is none of {', '.join(sorted(SOURCES))}")
    return cast(Source, import_module(SOURCES[name]))
