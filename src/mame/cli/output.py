"""What commands print: results on stdout, progress on stderr where somebody is looking."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int], None] | None]:
    """A callback (done, total) that moves a bar on the terminal; None where stderr is not one."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


@contextmanager
def training() -> Iterator[tuple[Callable[[str], None], Callable[[int, int, str], None] | None]]:
    """Lines, and on a terminal a bar below them: a callback (done, total, what is said beside it)."""
    if not sys.stderr.isatty():
        yield announce, None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("training", total=None, said="")
        yield console.print, lambda done, total, said: bars.update(bar, completed=done, total=total, said=said)


def announce(text: str) -> None:
    """A line about what is being done."""
    print(text, file=sys.stderr, flush=True)


def show_images(folder: Path, as_json: bool) -> None:
    """The folder that was written: its path, or as JSON with the lines of its manifest."""
    if not as_json:
        print(folder)
        return
    from mame.formats.manifest import read_manifest

    show_json({"folder": str(folder), "images": read_manifest(folder)})


def show_json(said: dict[str, Any] | list[dict[str, Any]]) -> None:
    """A value as JSON."""
    print(json.dumps(said, indent=2, ensure_ascii=False))
