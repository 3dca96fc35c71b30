"""A labelled data set from the simulator: full-matrix DICOM with exact truth, or smaller pictures, made sooner.

A folder of it holds `phantom.json` (what it was ordered with), `images/0000.dcm`, `masks/0000-breast.png` (and -dense,
-pectoral, -lesion), `labels/0000.json`, and `manifest.jsonl`, the labels line by line. A label is written last, so an
image with a label is whole, and the same order given again goes on where it was stopped.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.errors import MameError
from mame.formats import manifest, record
from mame.formats.atomic import atomic_write
from mame.formats.dicom import write_dicom
from mame.formats.folder import check_folder, manifest_line
from mame.formats.png import write_mask_png
from mame.imaging import phantom as simulator
from mame.imaging.framing import FIELD_MM
from mame.imaging.phantom import Picture
from mame.mammogram import COARSEST_CALCIFICATION_MM, LesionKind

ORDER = "phantom.json"
FOLDERS = ("images", "masks", "labels")
MASS_SHARE = 0.7  # of the lesions; the others are calcifications
STREAM = 3  # keeps these phantoms apart from those that models are trained on with the same seed
BYTES_AN_IMAGE = 28_000_000  # of the largest matrix, masks included
BYTES_A_PIXEL = 3
SIZES = (64, 4096)  # pixels a side
_OURS = re.compile(r"\d{4,}(-\w+)?\.(dcm|png|json)")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What decides how image i looks, whatever the count. Raises MameError for a value out of its range.

    size: pixels a side of the field of 256 mm; None for the machine's full matrix.
    """

    seed: int
    lesion_share: float
    size: int | None = None
    simulator: int = simulator.VERSION

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise MameError(f"seed must be 0 or more, not {self.seed}")
        if not 0 <= self.lesion_share <= 1:
            raise MameError(f"the share with lesions must be 0 to 1, not {self.lesion_share}")
        if self.size is not None and not SIZES[0] <= self.size <= SIZES[1]:
            raise MameError(f"size must be {SIZES[0]} to {SIZES[1]} pixels, not {self.size}")

    @property
    def resolves_calcifications(self) -> bool:
        """Whether its pixels are small enough to show them."""
        return self.size is None or FIELD_MM / self.size <= COARSEST_CALCIFICATION_MM


def phantom(
    out: str | os.PathLike[str],
    count: int,
    seed: int = 0,
    *,
    lesion_share: float = 0.5,
    size: int | None = None,
    workers: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """`count` simulated mammograms with exact truth in a folder, which is returned.

    Image i comes from (seed, i) alone: its breast, side, view, density, machine, and whether it has a lesion.
    lesion_share: how many of them have one, 0 to 1 (a breast with no room for it stays healthy, and its label says so).
    size: pixels a side of the 256 mm field, where that is enough; the machine's full matrix otherwise. Pixels too large
    to show calcifications have masses only.
    A folder that was ordered with the same options is completed, finished images stay; one that was ordered otherwise
    is refused, and made anew with `force`. progress: called with (images done, images in all).
    Raises MameError for a value out of its range and a folder that can't be written to or has too little room.
    """
    if count < 1 or workers < 1:
        raise MameError(f"count and workers must be at least 1, not {count if count < 1 else workers}")
    order, folder = Order(seed, lesion_share, size), Path(out)
    check_folder(folder, force=True)
    _open(folder, order, force)
    try:
        missing = [index for index in range(count) if not _label_path(folder, index).exists()]
        check_folder(folder, True, len(missing) * (BYTES_AN_IMAGE if size is None else BYTES_A_PIXEL * size**2))
        before = count - len(missing)
        if progress is not None:
            progress(before, count)
        for done, _ in enumerate(_made(folder, order, missing, workers), 1):
            if progress is not None:
                progress(before + done, count)
    finally:
        _close(folder)
    return folder


def draw(order: Order, index: int) -> Picture:
    """Phantom number `index` at its machine's full matrix, or at the size ordered, with its truth."""
    rng = np.random.default_rng([order.seed, index, STREAM])
    wanted, kind, right = rng.random() < order.lesion_share, rng.random(), rng.random() < 0.5
    only_masses = not order.resolves_calcifications
    lesion = LesionKind.MASS if kind < MASS_SHARE or only_masses else LesionKind.CALCIFICATIONS
    drawn = simulator.draw((order.seed, index, STREAM), lesion=lesion if wanted else None, fine=not only_masses)
    picture = drawn.render(drawn.matrix_grid() if order.size is None else drawn.field_grid(order.size))
    return picture.mirrored() if right else picture


def write(folder: Path, order: Order, index: int) -> None:
    """Draws phantom number `index` and writes its image, masks and, last, its label: all of them, or none."""
    picture = draw(order, index)
    made = {"model": f"phantom {order.simulator}", "seed": order.seed, "index": index, "phantom": asdict(order)}
    mammogram, name = picture.mammogram.with_(provenance=made), f"{index:04d}"
    image, masks = f"images/{name}.dcm", _masks(picture)
    mask_files = {part: f"masks/{name}-{part}.png" for part in masks}
    healthy = "" if mammogram.lesions else " healthy"
    try:
        smaller = "" if order.size is None else f" {order.size}"
        uids = f"phantom {order.simulator} {order.seed} {index}{healthy}{smaller}"
        write_dicom(mammogram, folder / image, seed=uids, force=True)
        for part, mask in masks.items():
            write_mask_png(mask, folder / mask_files[part], force=True)
        label = manifest_line(mammogram, [image]) | {"masks": mask_files} | _said(picture)
        _write_json(_label_path(folder, index), label)
    except BaseException:  # a signal can come after the label was written, too: then it goes first
        for file in (_label_path(folder, index), *(folder / name for name in (image, *mask_files.values()))):
            file.unlink(missing_ok=True)
        raise


def _masks(picture: Picture) -> dict[str, NDArray[np.bool_]]:
    truth = picture.truth
    lesions = [lesion.mask for lesion in picture.mammogram.lesions if lesion.mask is not None]
    masks = {"breast": truth.breast, "dense": truth.dense, "pectoral": truth.pectoral}
    return masks | ({"lesion": np.logical_or.reduce(lesions)} if lesions else {})


def _said(picture: Picture) -> dict[str, Any]:
    """What is known exactly, for a label."""
    truth, words = picture.truth, picture.mammogram.description
    return {
        "view": words.view,
        "vendor": words.vendor,
        "density": words.density,
        "percent_density": round(truth.percent_density, 2),
        "gland_fraction": round(truth.gland_fraction, 4),
        "area": words.area,
        "area_cm2": round(truth.area_cm2, 2),
    }


def _made(folder: Path, order: Order, missing: list[int], workers: int) -> Iterator[None]:
    """Writes the missing images, one after the other or several at a time, and yields after each."""
    work = partial(write, folder, order)
    if workers == 1 or len(missing) < 2:
        yield from map(work, missing)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_leave_stopping_to_parent) as pool:
        try:
            for future in as_completed([pool.submit(work, index) for index in missing]):
                yield future.result()
        except BrokenProcessPool:
            raise MameError(
                f"{folder}: a worker was killed, perhaps for memory; the same command with fewer --workers continues"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _leave_stopping_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _open(folder: Path, order: Order, force: bool) -> None:
    """Makes the folder or checks that it was ordered in the same way; with `force`, one that was not is emptied."""
    told = folder / ORDER
    before = {"size": None, **_read_json(told)} if told.exists() else None  # folders of before had no size
    if before != asdict(order):
        used = before is not None or any((folder / name).exists() for name in (*FOLDERS, manifest.NAME))
        if used and not force:
            other = f"ordered with {before}" if before else "not made by this command"
            raise MameError(f"{folder}: holds images {other}; choose another folder, or use --force (force=True)")
        if used:
            _clear(folder)
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MameError(f"{folder}: can't be written to: {error.strerror or error}") from None
    _write_json(told, asdict(order))


def _close(folder: Path) -> None:
    """Writes the manifest; where there is nothing to write of, takes away what `_open` made."""
    labels = _labels(folder)
    if labels:
        manifest.write_manifest(folder, labels)
        return
    for name in (ORDER, manifest.NAME):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # a folder that holds something stays
        for path in (*(folder / name for name in FOLDERS), folder):
            path.rmdir()


def _clear(folder: Path) -> None:
    (folder / manifest.NAME).unlink(missing_ok=True)
    for name in ("labels", "masks", "images"):  # labels first: an image without one is not counted
        for path in (folder / name).glob("*"):
            if _OURS.fullmatch(path.name):
                path.unlink()


def _labels(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "labels").glob("*.json"), key=lambda path: (len(path.stem), path.stem))
    return [_read_json(path) for path in paths if _OURS.fullmatch(path.name)]


def _label_path(folder: Path, index: int) -> Path:
    return folder / "labels" / f"{index:04d}.json"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MameError(f"{path}: can't be read: {error}") from None
    if not isinstance(said, dict):
        raise MameError(f"{path}: is not a JSON object")
    return said


def _write_json(path: Path, said: dict[str, Any]) -> None:
    with atomic_write(path, force=True) as file:
        file.write((json.dumps(said, indent=2, allow_nan=False, default=record.plain) + "\n").encode())
