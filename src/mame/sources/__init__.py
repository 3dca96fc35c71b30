"""Sources: one file a public data set, each of which yields records.

A new one is a module with TITLE, URL, LICENCE, CITATION and `read(root)`, and one line in SOURCES.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from mame.errors import MameError
from mame.sources.record import Source

SOURCES = {
    "cbis-ddsm": "mame.sources.cbis_ddsm",
    "cdd-cesm": "mame.sources.cdd_cesm",
    "cmmd": "mame.sources.cmmd",
    "csaw-cc": "mame.sources.csaw_cc",
    "dicom": "mame.sources.dicom",
    "embed": "mame.sources.embed",
    "inbreast": "mame.sources.inbreast",
    "mini-mias": "mame.sources.mini_mias",
    "optimam": "mame.sources.optimam",
    "phantom": "mame.sources.phantom",
    "rsna": "mame.sources.rsna",
    "vindr": "mame.sources.vindr",
}


def open_source(name: str) -> Source:
    """The source of that name. Raises MameError, with all names, where there is none."""
    if name not in SOURCES:
        raise MameError(f"source {name!r} is none of {', '.join(sorted(SOURCES))}")
    return cast(Source, import_module(SOURCES[name]))
