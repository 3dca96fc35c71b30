"""`mam-e assess`: ask everything, and write the answers as `report.json` and `report.html`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mame.assess.data import as_json, compare
from mame.assess.page import PAGE, render_page
from mame.assess.run import Order, ask
from mame.assess.verdicts import Verdict, verdicts
from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.formats.folder import HOME, check_folder, next_folder

DATA = "report.json"


@dataclass(frozen=True)
class Report:
    """What was written, and the verdicts."""

    page: Path
    data: Path
    verdicts: tuple[Verdict, ...]


def assess(
    real: Path, synthetic: Path, out: Path | None = None, order: Order | None = None, *, baseline: Path | None = None,
    say: Callable[[str], None] = print, force: bool = False,
) -> Report:  # fmt: skip
    """Whether synthetic pictures are good enough: report.html and report.json in `out` (`mam-e-out/assess-N` if None).

    real: a prepared set, or a folder of plain pictures; synthetic: a cohort, another prepared set, or a folder, with
    or without a manifest. baseline: the report.json of another model, to set beside. Raises MameError for fewer than
    two pictures on a side, pictures of several sizes, weights or a baseline that can't be read, and where `out` holds
    a report and not `force`.
    """
    if out is not None and not force and any((out / name).exists() for name in (DATA, PAGE)):
        raise MameError(f"{out}: holds a report; take another folder with --out, or replace it with --force")
    check_folder(HOME if out is None else out, force=True)
    if baseline is not None:
        compare({}, baseline)  # before the work, not after it
    found = ask(real, synthetic, order, say)
    said = as_json(found)
    compared = compare(said, baseline) if baseline is not None else []
    if compared:
        said["baseline"] = compared
    page = render_page(found, said, compared)
    folder = next_folder("assess") if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((DATA, json.dumps(said, indent=1, ensure_ascii=False) + "\n"), (PAGE, page)):
        with atomic_write(folder / name, force=True) as file:
            file.write(text.encode())
    return Report(folder / PAGE, folder / DATA, tuple(verdicts(said)))
