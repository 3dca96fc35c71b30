"""`mam-e send`: a cohort to an archive."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mame.cli import datasets, options, output

SHORT = 1  # exit code where the archive did not take everything


def send(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="A cohort with DICOM.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="https://HOST/PATH, dicom://TITLE@HOST:PORT or dicoms://…")],
    retries: Annotated[int, typer.Option(help="More tries for an object that gets no answer.")] = 4,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for an answer.")] = 60.0,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE.pem", help="Authority to trust.  [default: the system's]", show_default=False),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="This side's certificate, with --key.", show_default=False)
    ] = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Send a cohort's DICOM objects to an archive: DICOMweb (STOW-RS) or DIMSE (C-STORE).

    MAM_E_PACS_USER and MAM_E_PACS_PASSWORD, or MAM_E_PACS_TOKEN, say who sends. What was accepted stands in the
    cohort's sent.jsonl and is not sent again. The exit code is 1 where the archive did not take an object.
    """
    from mame.synthesis.cohort import send as sending

    with datasets.progress("sending", "objects") as report:
        sent = sending.send(
            cohort, url, retries=retries, timeout_s=timeout, authority=ca, certificate=certificate, key=key,
            progress=report,
        )  # fmt: skip
    missing = sent.refused | sent.lost
    if json:
        output.show_json(asdict(sent))
    else:
        for name, reason in missing.items():
            print(f"{name}: {reason}", file=sys.stderr)
        print(f"{sent.accepted} accepted, {sent.before} before, {len(missing)} not")
    if missing:
        raise typer.Exit(SHORT)
