"""Mammograms as pictures: 16-bit grey PNG that says how it was made; any grey PNG or JPEG read. Masks as PNG."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from mame.errors import MameError
from mame.formats import record
from mame.formats.atomic import atomic_write
from mame.formats.stored import greys_of, stored_values
from mame.imaging.breast import find_breast
from mame.imaging.intensity import clear_air, pixels_to_uint16
from mame.mammogram import Mammogram, Stored

MAX_PIXELS = 120_000_000  # more is refused before it is decompressed
RECORD_CHUNK = "mam-e"
FORMATS = ("PNG", "JPEG", "MPO", "PPM")  # what a picture that was read can be
OPENERS = ("PNG", "JPEG", "PPM")  # of Pillow; that for JPEG opens MPO as well
# noise does not compress: level 2 costs a third of level 6's time for about 2 % more bytes
COMPRESS_LEVEL = 2


def write_png(mammogram: Mammogram, path: str | os.PathLike[str], force: bool = False) -> None:
    """Writes the pixels as 16-bit grey PNG, 0 to 65535, with the record of `mame.formats.record` in text chunks.

    A record that was read from a PNG or JPEG is written with its own values and bits, so that every value that was
    not painted is bit-identical. Chunks: Software, Description (the prompt), Comment (synthetic or not), mam-e (JSON);
    pHYs holds the pixel spacing. Raises MameError for an existing file without `force` and a folder that can't be
    written to. The file is whole or absent.
    """
    stored = mammogram.stored
    own_values = stored is not None and stored.presentation.get("format") in FORMATS
    if own_values and stored is not None:
        values: NDArray[Any] = stored_values(mammogram, stored)
    else:
        values = pixels_to_uint16(mammogram.pixels)
    info = PngInfo()
    info.add_text("Software", f"MAM-E {_version()}")
    prompt = mammogram.provenance.get("prompt")
    if prompt:
        info.add_itxt("Description", str(prompt))
    if record.is_synthetic(mammogram):
        info.add_text("Comment", "Synthetic mammogram: made by MAM-E, not for diagnosis")
    info.add_text(RECORD_CHUNK, record.to_json(mammogram, air_is_zero=not own_values))
    spacing = mammogram.spacing_mm
    options: dict[str, Any] = {"dpi": (25.4 / spacing, 25.4 / spacing)} if spacing is not None else {}
    with atomic_write(path, force) as file:
        Image.fromarray(values).save(file, "PNG", pnginfo=info, compress_level=COMPRESS_LEVEL, **options)


def read_png(path: str | os.PathLike[str]) -> Mammogram:
    """The mammogram in a PNG or JPEG: 8- or 16-bit grey, or RGB, which is made grey.

    A file of this project is read with all it says about itself. Another one gives pixels, side (from the picture)
    and no spacing: its resolution tag is usually the screen's. 16-bit values of which the upper quarter is never
    used are taken as having fewer bits (12-bit data in 16-bit files). `stored` keeps the values.
    Raises MameError that names the file: not found, not a picture, damaged, too large, no breast found.
    """
    place = Path(path)
    found, own = _uncleared(place)
    if own is not None and own.get("air_is_zero") is True:
        return record.apply(own, found)
    try:
        breast = find_breast(found.pixels)
    except MameError as error:
        raise MameError(f"{place}: {error}") from error
    found = found.with_(pixels=clear_air(found.pixels, breast.mask), laterality=breast.laterality)
    return record.apply(own, found) if own is not None else found


def read_png_uncleared(path: str | os.PathLike[str]) -> Mammogram:
    """The same as :func:`read_png`, for callers that look for the breast themselves: no side, air as it was."""
    found, own = _uncleared(Path(path))
    return record.apply(own, found) if own is not None else found


def _uncleared(place: Path) -> tuple[Mammogram, dict[str, Any] | None]:
    """The mammogram with air as it is, and the record that this project wrote into the file."""
    with _opened(place) as image:
        own = record.from_json(_text(image, RECORD_CHUNK)) if image.format == "PNG" else None
        values, kind = _grey_values(image), str(image.format)
    bits = values.dtype.itemsize * 8
    if own is None and bits == 16:
        bits = _bits_used(values)
    container_bits = values.dtype.itemsize * 8
    stored = Stored(values, _lut(bits, container_bits), 0, container_bits, _presentation(place, kind, values, bits))
    return Mammogram(greys_of(stored), source=str(place), stored=stored), own


def write_mask_png(mask: NDArray[np.bool_], path: str | os.PathLike[str], force: bool = False) -> None:
    """Writes an H×W mask as 8-bit grey PNG: 255 inside, 0 outside. Raises MameError as `write_png` does."""
    if mask.ndim != 2:
        raise MameError(f"{path}: a mask must be two-dimensional, not of shape {mask.shape}")
    with atomic_write(path, force) as file:
        Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")


def read_mask_png(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """H×W mask in a PNG or JPEG: true where a pixel is brighter than half of the brightest; all false if none is.

    Raises MameError that names the file: not found, not a picture, damaged, too large.
    """
    with _opened(Path(path)) as image:
        values = _grey_values(image)
    return np.asarray(values > int(values.max()) // 2)


@contextmanager
def _opened(place: Path) -> Iterator[Image.Image]:
    """The picture in a file; whatever fails inside the block becomes a MameError that names the file."""
    try:
        with open(place, "rb") as file, Image.open(file, formats=OPENERS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise MameError(f"{image.height} × {image.width} pixels are more than a mammogram has")
            yield image
    except MameError as error:
        raise MameError(f"{place}: {error}") from error
    except UnidentifiedImageError as error:
        raise MameError(f"{place}: is not a PNG or JPEG picture") from error
    except Image.DecompressionBombError as error:
        raise MameError(f"{place}: has more pixels than a mammogram has") from error
    except OSError as error:  # Pillow's decoders raise it too, without an errno
        raise MameError(f"{place}: {error.strerror or f'damaged or truncated ({error})'}") from error
    except (ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise MameError(f"{place}: damaged ({error})") from error


def _grey_values(image: Image.Image) -> NDArray[Any]:
    """H×W uint8 or uint16."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise MameError("has values beyond 16 bits")
        return values.astype(np.uint16)
    if image.mode in ("L", "LA"):
        return np.array(image.getchannel(0))
    colours = np.asarray(image.convert("RGB"))
    if np.array_equal(colours[..., 0], colours[..., 1]) and np.array_equal(colours[..., 0], colours[..., 2]):
        return np.ascontiguousarray(colours[..., 0])
    return np.array(ImageOps.grayscale(Image.fromarray(colours)))


def _text(image: Image.Image, name: str) -> str | None:
    value = image.info.get(name)
    return value if isinstance(value, str) else None


def _bits_used(values: NDArray[np.uint16]) -> int:
    used = max(int(values.max()).bit_length(), 8)
    return used if used <= 14 else 16


def _lut(bits: int, container_bits: int) -> NDArray[np.float32]:
    """float32 grey of every value of the container: value / (2^bits - 1), at most 1."""
    scale = np.arange(1 << container_bits, dtype=np.float64) / ((1 << bits) - 1)
    return np.minimum(scale, 1.0).astype(np.float32)


def _presentation(place: Path, kind: str, values: NDArray[Any], bits: int) -> dict[str, Any]:
    """The same map in DICOM's words: this LINEAR window maps v to v / (2^bits - 1) exactly (PS3.3 C.11.2.1.2)."""
    said: dict[str, Any] = {"format": kind, "PhotometricInterpretation": "MONOCHROME2"}
    said |= {"WindowCenter": float(1 << bits - 1), "WindowWidth": float(1 << bits), "VOILUTFunction": "LINEAR"}
    if kind != "PNG":
        said["LossyImageCompression"], said["LossyImageCompressionMethod"] = "01", ["ISO_10918_1"]
        said["LossyImageCompressionRatio"] = [f"{max(values.nbytes / place.stat().st_size, 1.0):.2f}"]
    return said


def _version() -> str:
    try:
        return metadata.version("mam-e")
    except metadata.PackageNotFoundError:
        return "unknown"
