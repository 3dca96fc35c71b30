"""`mam-e send`: every DICOM object of a cohort to an archive, images before what refers to them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from mame.errors import MameError
from mame.formats import manifest
from mame.formats.pacs import Ledger, Sendable, Sent, access_from_environment, open_store, parse_address, send_all
from mame.synthesis.cohort.run import SENT, read_cohort
from mame.synthesis.cohort.shards import members

SUFFIX = ".dcm"


def send(
    cohort: str | os.PathLike[str],
    url: str,
    *,
    retries: int = 4,
    timeout_s: float = 60.0,
    authority: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sent:
    """Sends a finished cohort's images, segmentations and reports, but for those that the archive accepted before.

    url: https://HOST/PATH (STOW-RS), dicom://TITLE@HOST:PORT or dicoms://… (C-STORE). Users, passwords and tokens come
    from MAM_E_PACS_USER, MAM_E_PACS_PASSWORD and MAM_E_PACS_TOKEN. authority, certificate, key: PEM files for TLS.
    retries: of one object without an answer; timeout_s: how long to wait for one. `sent.jsonl` in the cohort keeps
    what was accepted. Raises MameError for a folder that is no cohort or has no DICOM, an address that is none,
    an archive that can't be reached, and one that lets nobody in.
    """
    folder = Path(cohort)
    if retries < 0 or not timeout_s > 0:
        raise MameError(f"retries and timeout can't be {retries} and {timeout_s:g}")
    address = parse_address(url)
    access = access_from_environment(
        *(None if path is None else Path(path) for path in (authority, certificate, key)), environment=os.environ
    )
    read_cohort(folder)
    names = [name for line in manifest.read_manifest(folder) for name in _names(line)]
    if not names:
        raise MameError(f"{folder}: the cohort has no DICOM objects; add dicom to the plan's outputs")
    report = None if progress is None else lambda done: progress(done, len(names))
    store = open_store(address, access, timeout_s)
    try:
        with Ledger(folder / SENT, address.url) as ledger:
            return send_all(store, _objects(folder, ledger), ledger, retries=retries, progress=report)
    finally:
        store.close()


def _names(line: dict[str, Any]) -> list[str]:
    """What the ledger calls the objects of an image, the image first: their files, below the folder or in its shard."""
    inside = f"{line['shard']}/" if "shard" in line else ""
    return [f"{inside}{packed}" if inside else file for file, packed in members(line) if file.endswith(SUFFIX)]


def _objects(folder: Path, ledger: Ledger) -> Iterator[Sendable]:
    """Every object. A shard is opened once, and its members are read where they lie."""
    opened: tuple[str, tarfile.TarFile] | None = None
    for line in manifest.read_manifest(folder):
        for name in _names(line):
            if "shard" not in line:
                yield Sendable(name, partial(_read, folder / name, folder / name))
                continue
            if opened is None or opened[0] != line["shard"]:
                if opened is not None:
                    opened[1].close()
                opened = line["shard"], _tar(folder / line["shard"])
            yield Sendable(name, partial(_member, opened[1], folder / name))
    if opened is not None:
        opened[1].close()


def _tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, mode="r:")
    except (OSError, tarfile.TarError) as error:
        raise MameError(f"{path}: can't be read: {error}") from None


def _member(tar: tarfile.TarFile, path: Path) -> FileDataset:
    try:
        file = tar.extractfile(PurePosixPath(path).name)
        assert file is not None
        return _read(io.BytesIO(file.read()), path)
    except (KeyError, OSError, tarfile.TarError) as error:
        raise MameError(f"{path}: can't be read: {error}") from None


def _read(source: Path | io.BytesIO, path: Path) -> FileDataset:
    try:
        return dcmread(source)
    except (OSError, InvalidDicomError, ValueError) as error:
        raise MameError(f"{path}: can't be read: {' '.join(str(error).split())}") from None
