"""What is measured of each picture, once: read, measured in parallel, and kept by the hash of its file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.assess.likeness import THUMBNAIL, detail, thumbnail
from mame.assess.pictures import Picture
from mame.dataset.picture import look
from mame.dataset.read import read_picture
from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.mammogram import Area, Laterality, View, area_from_cm2, area_from_share

Floats = NDArray[np.float64]
Say = Callable[[str], None]
VERSION = 5  # of what is measured: another number, another cache
CLEARED = 0.05  # of a picture that is exactly 0: somebody has cleared its air, which is left as it is
CACHE = "MAM_E_CACHE"
AT_ONCE = 8


@dataclass(frozen=True)
class Measures:
    """Of N pictures, in their order.

    radiomic: N×F (F = 0 where it wasn't wanted); embedding: N×64, of the attribute reader; detail: N×128×128, of
    `likeness.detail`, chest wall at the left; slope: N; greys: N×6 as in `spectrum.GREYS`; view, percent (0 to 100),
    area: by rules, from the picture; shape: N×2.
    """

    radiomic: Floats
    embedding: Floats
    detail: NDArray[np.float16]
    slope: Floats
    greys: Floats
    view: tuple[View, ...]
    percent: Floats
    area: tuple[Area, ...]
    shape: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.embedding)


@dataclass(frozen=True)
class Looked:
    """Measures of the pictures that could be measured, which those are, and why the others couldn't."""

    measures: Measures
    pictures: tuple[Picture, ...]
    left_out: tuple[tuple[str, str], ...]


def cache_folder() -> Path:
    """Where measures are kept: $MAM_E_CACHE, or mam-e in the user's cache folder."""
    told = os.environ.get(CACHE)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(told) if told else home / "mam-e") / "measures"


def measure(
    pictures: Sequence[Picture], *, whole: bool = True, workers: int = 1, say: Say = print, what: str = "pictures"
) -> Looked:
    """Measures of pictures. whole: with radiomic features, which take most of the time.

    Pictures that can't be read, or show no breast, are left out with the reason. Raises MameError where fewer than two
    are left of two or more.
    """
    found: list[dict[str, Any]] = []
    kept, left_out = [], []
    each: Iterator[dict[str, Any] | str] = map(partial(_kept_or_measured, whole=whole, folder=cache_folder()), pictures)
    if workers > 1 and len(pictures) > AT_ONCE:
        each = _spread(pictures, whole, workers)
    for number, (picture, one) in enumerate(zip(pictures, each, strict=True), 1):
        if isinstance(one, str):
            left_out.append((picture.id, one))
        else:
            found.append(one)
            kept.append(picture)
        if number % 100 == 0:
            say(f"{what}: {number}/{len(pictures)} measured")
    if len(pictures) >= 2 and len(found) < 2:
        raise MameError(f"{pictures[0].file.parent}: no two pictures could be measured: {left_out[0][1]}")
    return Looked(stacked(found), tuple(kept), tuple(left_out))


def _spread(pictures: Sequence[Picture], whole: bool, workers: int) -> Iterator[dict[str, Any] | str]:
    run = partial(_kept_or_measured, whole=whole, folder=cache_folder())
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(run, pictures, chunksize=AT_ONCE)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _kept_or_measured(picture: Picture, whole: bool, folder: Path) -> dict[str, Any] | str:
    try:
        data = picture.file.read_bytes()
        kept = folder / f"{_key(picture, data)}{'' if whole else '-light'}.npz"
        fuller = folder / f"{_key(picture, data)}.npz"
        for path in (fuller, kept):
            if (one := _opened(path)) is not None:
                return one
        one = measure_pixels(read_pixels(picture), picture.spacing_mm, whole=whole)
    except MameError as error:
        return str(error)
    except OSError as error:
        return f"{picture.file}: can't be read: {error.strerror}"
    store = BytesIO()
    np.savez(store, **one)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(kept, force=True) as file:
        file.write(store.getvalue())
    return one


def _key(picture: Picture, data: bytes) -> str:
    said = f"{VERSION} {reader().key} {picture.spacing_mm} {picture.facing}".encode()
    return hashlib.sha256(hashlib.sha256(data).digest() + said).hexdigest()[:40]


def _opened(path: Path) -> dict[str, Any] | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError):  # absent or damaged: measured anew
        return None


@lru_cache(maxsize=1)
def reader() -> Any:
    """The attribute reader in the package, opened once a process."""
    from mame.assess.attributes.reader import open_reader

    return open_reader()


def read_pixels(picture: Picture) -> NDArray[np.float32]:
    """A picture in [0, 1] with the chest wall at the left. Raises MameError where it can't be read."""
    if picture.file.suffix.lower() == ".png" and picture.facing is not None:
        pixels = read_picture(picture.file)
        return pixels if picture.facing is Laterality.L else np.ascontiguousarray(pixels[:, ::-1])
    from mame.formats.files import read, read_uncleared

    pixels = read_uncleared(picture.file).pixels
    if (pixels == 0).mean() < CLEARED:
        pixels = read(picture.file).pixels
    right = pixels.min() < pixels.max() and look(pixels).mirrored
    return np.ascontiguousarray(pixels[:, ::-1]) if right else pixels


def measure_pixels(
    pixels: NDArray[np.float32], spacing_mm: float | None = None, *, whole: bool = True
) -> dict[str, Any]:
    """What is measured of one picture, by name. Raises MameError where it has no contrast or shows no breast."""
    from mame.assess.radiomics import radiomic_features
    from mame.assess.spectrum import grey_levels, spectrum_slope
    from mame.imaging.breast import breast_area_cm2, breast_share, estimate_view, pectoral_mask
    from mame.imaging.density import percent_density
    from mame.imaging.outline import enlarged

    if not np.isfinite(pixels).all() or float(pixels.min()) == float(pixels.max()):
        raise MameError("all pixels are the same, or some are no numbers")
    seen = look(pixels)
    view = estimate_view(seen.small, seen.breast)
    muscle = None if view is View.CC else pectoral_mask(seen.small, seen.breast)
    breast = enlarged(seen.breast.mask, seen.factor, seen.shape)
    if spacing_mm:
        area = area_from_cm2(breast_area_cm2(seen.breast.mask, spacing_mm * seen.factor))
    else:
        area = area_from_share(breast_share(seen.breast.mask))
    # in the 256 greys of the reference, whose pictures are of 8 bits; the features don't hang on the unit
    radiomic = list(radiomic_features(np.rint(pixels * 255)).values()) if whole else []
    return {
        "radiomic": np.array(radiomic, dtype=np.float64),
        "embedding": reader().embed([pixels])[0],
        "detail": detail(thumbnail(pixels)),
        "slope": np.float64(spectrum_slope(pixels, breast)),
        "greys": grey_levels(pixels, breast),
        "view": np.array(str(view)),
        "percent": np.float64(percent_density(seen.small, seen.breast.mask, muscle)),
        "area": np.array(str(area)),
        "shape": np.array(pixels.shape),
    }


def stacked(each: Iterable[dict[str, Any]]) -> Measures:
    """The measures of single pictures, together."""
    found = list(each)

    def rows(name: str, *shape: int) -> Any:
        return np.stack([one[name] for one in found]) if found else np.zeros((0, *shape))

    return Measures(
        rows("radiomic", 0).astype(np.float64), rows("embedding", 64).astype(np.float64),
        rows("detail", THUMBNAIL, THUMBNAIL).astype(np.float16), rows("slope").astype(np.float64),
        rows("greys", 6).astype(np.float64), tuple(View(str(one["view"])) for one in found),
        rows("percent").astype(np.float64), tuple(Area(str(one["area"])) for one in found),
        rows("shape", 2).astype(np.int64),
    )  # fmt: skip
