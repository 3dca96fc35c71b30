"""What is measured of each picture, once: read, measured in parallel, and kept by the hash of its file."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame.assess.likeness import THUMBNAIL, detail, thumbnail
from mame.assess.pictures import Picture
from mame.cluster import map_items
from mame.dataset.picture import look
from mame.dataset.read import read_picture
from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.mammogram import Area, Laterality, View, area_from_cm2, area_from_share

Floats = NDArray[np.float64]
Say = Callable[[str], None]
VERSION = 6  # of what is measured: another number, another cache
CLEARED = 0.05  # of a picture that is exactly 0: somebody has cleared its air, which is left as it is
CACHE = "MAM_E_CACHE"
AT_ONCE = 8
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises of a file's header


@dataclass(frozen=True)
class Traits:
    """What copies of N pictures are known by, in their order.

    embedding: N×64, of the attribute reader; detail: N×128×128, of `likeness.detail`, chest wall at the left.
    """

    embedding: Floats
    detail: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.embedding)


@dataclass(frozen=True)
class Measures(Traits):
    """All that is measured of N pictures.

    radiomic: N×F; slope: N; greys: N×6 as in `spectrum.GREYS`; view, percent (0 to 100), area, side: by rules, from the
    picture; shape: N×2.
    """

    radiomic: Floats
    slope: Floats
    greys: Floats
    view: tuple[View, ...]
    percent: Floats
    area: tuple[Area, ...]
    side: tuple[Laterality, ...]
    shape: NDArray[np.int64]


T = TypeVar("T", bound=Traits, covariant=True)


@dataclass(frozen=True)
class Looked(Generic[T]):
    """Measures of the pictures that could be measured, which those are, and why the others couldn't."""

    measures: T
    pictures: tuple[Picture, ...]
    left_out: tuple[tuple[str, str], ...]


def cache_folder() -> Path:
    """Where measures are kept: $MAM_E_CACHE, or mam-e in the user's cache folder."""
    told = os.environ.get(CACHE)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(told) if told else home / "mam-e") / "measures"


def measure(
    pictures: Sequence[Picture], *, workers: int = 1, say: Say = print, what: str = "pictures"
) -> Looked[Measures]:
    """Measures of pictures.

    Pictures that can't be read, or show no breast, are left out with the reason. Raises MameError where fewer than two
    are left of two or more.
    """
    found, kept, left_out = _each(pictures, True, workers, say, what)
    return Looked(stacked(found), kept, left_out)


def glimpse(
    pictures: Sequence[Picture], *, workers: int = 1, say: Say = print, what: str = "pictures"
) -> Looked[Traits]:
    """What copies are known by, in a tenth of the time of `measure`, and as it does otherwise."""
    found, kept, left_out = _each(pictures, False, workers, say, what)
    return Looked(Traits(*_traits(found)), kept, left_out)


def _each(
    pictures: Sequence[Picture], whole: bool, workers: int, say: Say, what: str
) -> tuple[list[dict[str, Any]], tuple[Picture, ...], tuple[tuple[str, str], ...]]:
    each: list[dict[str, Any] | str] = [""] * len(pictures)
    run = partial(_kept_or_measured, whole=whole, folder=cache_folder())
    done = map_items(run, enumerate(pictures), min(workers, -(-len(pictures) // AT_ONCE)) or 1)
    for number, outcome in enumerate(done, 1):
        each[outcome.index] = outcome.lost or outcome.value or ""
        if number % 100 == 0:
            say(f"{what}: {number}/{len(pictures)} measured")
    both = list(zip(pictures, each, strict=True))
    found = [one for one in each if isinstance(one, dict)]
    left_out = tuple((picture.id, one) for picture, one in both if isinstance(one, str))
    if len(pictures) >= 2 and len(found) < 2:
        raise MameError(f"{pictures[0].file.parent}: no two pictures could be measured: {left_out[0][1]}")
    return found, tuple(picture for picture, one in both if isinstance(one, dict)), left_out


def _kept_or_measured(picture: Picture, whole: bool, folder: Path) -> dict[str, Any] | str:
    try:
        data = picture.file.read_bytes()
        kept = folder / f"{_key(picture, data)}{'' if whole else '-light'}.npz"
        fuller = folder / f"{_key(picture, data)}.npz"
        for path in (fuller, kept):
            if (one := opened(path)) is not None:
                return one
        one = measure_pixels(read_pixels(picture), picture.spacing_mm, whole=whole)
    except MameError as error:
        return str(error)
    except OSError as error:
        return f"{picture.file}: can't be read: {error.strerror}"
    keep(kept, one)
    return one


def keep(path: Path, values: dict[str, Any]) -> None:
    """Puts values into the cache; where it can't be written to, they are measured anew next time."""
    store = BytesIO()
    np.savez(store, **values)
    with suppress(OSError, MameError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, force=True) as file:
            file.write(store.getvalue())


def _key(picture: Picture, data: bytes) -> str:
    said = f"{VERSION} {reader().key} {picture.spacing_mm} {picture.facing}".encode()
    return hashlib.sha256(hashlib.sha256(data).digest() + said).hexdigest()[:40]


def opened(path: Path) -> dict[str, Any] | None:
    """What `keep` put there; None where it is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, AttributeError, BadZipFile, zlib.error):
        return None


@lru_cache(maxsize=1)
def reader() -> Any:
    """The attribute reader in the package, opened once a process."""
    from mame.assess.attributes.reader import open_reader

    return open_reader()


def read_pixels(picture: Picture) -> NDArray[np.float32]:
    """A picture in [0, 1] with the chest wall at the left. Raises MameError where it can't be read."""
    from mame.formats.files import read, read_uncleared

    if picture.facing is not None:
        pixels = read_picture(picture.file) if _is_master(picture.file) else read(picture.file).pixels
        return pixels if picture.facing is Laterality.L else np.ascontiguousarray(pixels[:, ::-1])
    pixels = read_uncleared(picture.file).pixels
    if (pixels == 0).mean() < CLEARED:
        pixels = read(picture.file).pixels
    right = pixels.min() < pixels.max() and look(pixels).mirrored
    return np.ascontiguousarray(pixels[:, ::-1]) if right else pixels


def _is_master(file: Path) -> bool:
    """Whether a file is a 16-bit grey PNG, as this project writes them."""
    if file.suffix.lower() != ".png":
        return False
    with suppress(*UNREADABLE), Image.open(file, formats=("PNG",)) as image:
        return image.mode.startswith("I")
    return True  # damaged: to be told so


def measure_pixels(
    pixels: NDArray[np.float32], spacing_mm: float | None = None, *, whole: bool = True
) -> dict[str, Any]:
    """What is measured of one picture, by name. whole: all of `Measures`, not only `Traits`.

    Raises MameError where it has no contrast or shows no breast.
    """
    from mame.assess.radiomics import radiomic_features
    from mame.assess.spectrum import grey_levels, spectrum_slope
    from mame.imaging.breast import breast_area_cm2, breast_share, estimate_view, pectoral_mask
    from mame.imaging.density import percent_density
    from mame.imaging.outline import enlarged

    if not np.isfinite(pixels).all() or float(pixels.min()) == float(pixels.max()):
        raise MameError("all pixels are the same, or some are no numbers")
    traits = {"embedding": reader().embed([pixels])[0], "detail": detail(thumbnail(pixels))}
    if not whole:
        return traits
    seen = look(pixels)
    view = estimate_view(seen.small, seen.breast)
    muscle = None if view is View.CC else pectoral_mask(seen.small, seen.breast)
    breast = enlarged(seen.breast.mask, seen.factor, seen.shape)
    if spacing_mm:
        area = area_from_cm2(breast_area_cm2(seen.breast.mask, spacing_mm * seen.factor))
    else:
        area = area_from_share(breast_share(seen.breast.mask))
    # in the 256 greys of the reference, whose pictures are of 8 bits; the features don't hang on the unit
    radiomic = list(radiomic_features(np.rint(pixels * 255)).values())
    return traits | {
        "radiomic": np.array(radiomic, dtype=np.float64),
        "slope": np.float64(spectrum_slope(pixels, breast)),
        "greys": grey_levels(pixels, breast),
        "view": np.array(str(view)),
        "percent": np.float64(percent_density(seen.small, seen.breast.mask, muscle)),
        "area": np.array(str(area)),
        "side": np.array(str(Laterality.R if seen.mirrored else Laterality.L)),
        "shape": np.array(pixels.shape),
    }


def stacked(each: Iterable[dict[str, Any]]) -> Measures:
    """The measures of single pictures, together."""
    found = list(each)
    return Measures(
        *_traits(found),
        _rows(found, "radiomic", 0).astype(np.float64), _rows(found, "slope").astype(np.float64),
        _rows(found, "greys", 6).astype(np.float64), tuple(View(str(one["view"])) for one in found),
        _rows(found, "percent").astype(np.float64), tuple(Area(str(one["area"])) for one in found),
        tuple(Laterality(str(one["side"])) for one in found), _rows(found, "shape", 2).astype(np.int64),
    )  # fmt: skip


def _traits(found: Sequence[dict[str, Any]]) -> tuple[Floats, NDArray[np.float16]]:
    detail = _rows(found, "detail", THUMBNAIL, THUMBNAIL).astype(np.float16, copy=False)
    return _rows(found, "embedding", 64).astype(np.float64), detail


def _rows(found: Sequence[dict[str, Any]], name: str, *shape: int) -> Any:
    return np.stack([one[name] for one in found]) if found else np.zeros((0, *shape))
