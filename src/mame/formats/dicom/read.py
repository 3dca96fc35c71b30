"""Reading a mammogram from DICOM: MG objects and Secondary Captures, uncompressed or compressed, 8 to 16 bits."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from mame.errors import MameError
from mame.formats import record
from mame.formats.dicom.grey import padding_range, stored_of, windowed_on_breast
from mame.formats.dicom.header import VIEW_CODES, Header, check_mammogram, interpret, orientation, text, values
from mame.formats.dicom.write import PRIVATE_CREATOR, PRIVATE_GROUP, PRIVATE_RECORD
from mame.formats.stored import greys_of
from mame.imaging.breast import Breast, find_breast
from mame.imaging.intensity import clear_air
from mame.mammogram import Description, Laterality, Mammogram, Stored

T = TypeVar("T")

PREAMBLE_BYTES = 128
COARSE_SIDE = 1024
# pydicom's own choice is Pillow, which can't do 12 bits, and a Python loop for RLE (0.24 s instead of 0.10 s a film)
_PLUGINS = {RLELossless: "pylibjpeg"} | dict.fromkeys([*JPEGTransferSyntaxes, *JPEG2000TransferSyntaxes], "pylibjpeg")
_END_OF_IMAGE = b"\xff\xd9"
_FIRST_ELEMENTS = (b"\x00", b"\x01", b"\x05", b"\x08", b"\x12", b"\x13", b"\x14", b"\x16", b"\x18")
# pydicom warns of much that has no consequence; the filters of `warnings` belong to the process, not to a thread
_WARNINGS = threading.Lock()


def read_dicom(path: str | os.PathLike[str]) -> Mammogram:
    """The mammogram in a DICOM file, with its stored values (`stored`) and presentation-ready `pixels`, air 0.

    The first VOI LUT or else the first window gives the greys, else two percentiles; MONOCHROME1 is turned. Nothing
    is mirrored. Side and view come from the tags, the side else from the picture; where they contradict each other,
    provenance["conflicts"] says so. spacing_mm is None where no tag has it.
    Raises MameError that names the file: not found, not DICOM, not a mammogram, several frames, colour, damaged,
    a transfer syntax that can't be decoded, no breast found.
    """
    place = Path(path)
    found, header, own = _uncleared(place)
    if own is None or own.get("air_is_zero") is not True:
        found = _without_air(found, header, place)
    if header.conflicts:
        found = found.with_(provenance={"conflicts": header.conflicts})
    return record.apply(own, found) if own is not None else found


def read_dicom_uncleared(path: str | os.PathLike[str]) -> Mammogram:
    """The same as :func:`read_dicom`, for callers that look for the breast themselves, at half the cost.

    Air keeps its greys, the side is the tags', and provenance["conflicts"] knows only what the tags say.
    """
    found, header, own = _uncleared(Path(path))
    if header.conflicts:
        found = found.with_(provenance={"conflicts": header.conflicts})
    return record.apply(own, found) if own is not None else found


def _uncleared(place: Path) -> tuple[Mammogram, Header, dict[str, Any] | None]:
    """The mammogram with air as it is, what its tags say, and the record that this project wrote into it."""

    def interpreted(dataset: FileDataset) -> tuple[Header, Stored, dict[str, Any] | None, Description]:
        check_mammogram(dataset)
        header = interpret(dataset)
        stored = stored_of(dataset, _decoded(dataset))
        _add_orientation(stored, dataset)
        return header, stored, _own_record(dataset), Description(vendor=header.vendor, view=header.view)

    header, stored, own, description = _in_file(place, interpreted)
    if stored.presentation.get("WindowOrigin") == "percentiles":
        step = max(1, max(stored.values.shape) // COARSE_SIDE)  # a window needs no detail
        coarse = replace(stored, values=stored.values[::step, ::step])
        fitted = windowed_on_breast(coarse, _breast(_greys(coarse), place).mask)
        stored = replace(fitted, values=stored.values)
    found = Mammogram(
        _greys(stored),
        header.spacing_mm,
        header.laterality,
        description,
        patient=header.patient,
        source=str(place),
        stored=stored,
    )
    return found, header, own


def read_mask_dicom(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """The mask (H, W) in a DICOM file: what is brighter than half of its brightest value.

    Raises MameError that names the file where it can't be read, or has no two-dimensional grey picture.
    """

    def decoded(dataset: FileDataset) -> NDArray[np.integer[Any]]:
        check_mammogram(dataset)
        return _decoded(dataset)

    values = _in_file(Path(path), decoded)
    return np.asarray(values > int(values.max()) // 2)


def read_header(path: str | os.PathLike[str]) -> Dataset:
    """The data set of a DICOM file without its pixel data. Raises MameError where it can't be read."""
    return _in_file(Path(path), lambda dataset: dataset, pixels=False)


def is_dicom(start: bytes) -> bool:
    """Whether a file that starts with these (at least 132) bytes is DICOM; old files may lack the preamble."""
    if start[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM":
        return True
    # without a preamble: the first element, little endian, is one of those up to SOPInstanceUID that can come first
    return start[:2] in (b"\x02\x00", b"\x08\x00") and start[2:3] in _FIRST_ELEMENTS and start[3:4] == b"\x00"


def _in_file(place: Path, work: Callable[[FileDataset], T], pixels: bool = True) -> T:
    """What `work` makes of the data set in a file; every failure becomes a MameError that names the file."""
    try:
        with open(place, "rb") as file:
            start = file.read(PREAMBLE_BYTES + 4)
            if not is_dicom(start):
                raise MameError("is not a DICOM file")
            file.seek(0)
            with _quiet():
                dataset = dcmread(file, force=start[PREAMBLE_BYTES:] != b"DICM", stop_before_pixels=not pixels)
                if len(dataset) == 0:  # pydicom's answer to a file that ends within an element, the pixel data too
                    raise MameError("damaged or truncated DICOM file (it ends too early)")
                return work(dataset)
    except MameError as error:
        raise MameError(f"{place}: {error}") from error
    except OSError as error:
        raise MameError(f"{place}: {error.strerror or error}") from error
    except InvalidDicomError as error:
        raise MameError(f"{place}: is not a DICOM file") from error
    except Exception as error:  # what a parser or decoder raises for a damaged file has no common base
        reason = " ".join(str(error).split())[:160]
        raise MameError(f"{place}: damaged or truncated DICOM file ({reason or type(error).__name__})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _decoded(dataset: FileDataset) -> NDArray[np.integer[Any]]:
    """H×W stored values, the bits above BitsStored cleared (or filled with the sign)."""
    syntax = _transfer_syntax(dataset)
    if syntax.is_encapsulated:
        _check_frame(dataset, syntax)
    if syntax in _PLUGINS:
        dataset.pixel_array_options(decoding_plugin=_PLUGINS[syntax])
    array = dataset.pixel_array
    # a data set whose private block was looked at refers to itself: until the garbage collector comes by, the file's
    # bytes and a copy of the array would stay in memory, 48 MB for each picture read since
    del dataset.PixelData
    if array.shape != (dataset.Rows, dataset.Columns):
        raise MameError(f"damaged: the pixel data are of shape {array.shape}, not {dataset.Rows} × {dataset.Columns}")
    return _clean_bits(array, int(dataset.BitsStored), int(dataset.get("HighBit") or dataset.BitsStored - 1))


def _transfer_syntax(dataset: FileDataset) -> UID:
    if "TransferSyntaxUID" not in dataset.file_meta:  # a file without a preamble: as pydicom guessed it
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise MameError(
            f"transfer syntax {syntax.name} can't be decoded; save it uncompressed first (dcmdjpeg, gdcmconv --raw)"
        )
    return syntax


def _check_frame(dataset: FileDataset, syntax: UID) -> None:
    """Decoders fill up what is missing at the end of a JPEG stream with grey, without a word."""
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1), b"")
    jpeg = (*JPEGTransferSyntaxes, *JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes)
    if syntax in jpeg and not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise MameError("the pixel data are truncated (the compressed image has no end)")


def _clean_bits(array: NDArray[np.integer[Any]], bits: int, high_bit: int) -> NDArray[np.integer[Any]]:
    width = array.dtype.itemsize * 8
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if array.dtype.kind == "i" else (0, (1 << bits) - 1)
    if array.min() >= least and array.max() <= most and high_bit == bits - 1:
        return array
    up, down = width - 1 - high_bit, width - bits
    cleaned: NDArray[np.integer[Any]] = (array << up) >> down  # an arithmetic shift: negative values stay negative
    return cleaned


def _add_orientation(stored: Stored, dataset: Dataset) -> None:
    """Keeps PatientOrientation and a view that has no word here (ML, LM, …), so that they can be written again."""
    rows_columns = [str(value) for value in values(dataset, "PatientOrientation")]
    if len(rows_columns) == 2:
        stored.presentation["PatientOrientation"] = rows_columns
    for item in dataset.get("ViewCodeSequence") or []:
        code = [text(item, keyword) for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]
        if all(code) and code[0] not in VIEW_CODES:
            stored.presentation["ViewCode"] = code


def _greys(stored: Stored) -> NDArray[np.float32]:
    """H×W greys; padding is air, whatever its value."""
    pixels = greys_of(stored)
    padding = padding_range(stored.presentation)
    if padding is not None:
        pixels[(stored.values >= padding[0]) & (stored.values <= padding[1])] = 0.0
    return pixels


def _without_air(mammogram: Mammogram, header: Header, place: Path) -> Mammogram:
    """Air exactly 0, and the side where no tag says it."""
    # in the final greys, so that the file written from them gives the same outline when read
    breast = _breast(mammogram.pixels, place)
    side: Laterality = header.laterality or breast.laterality
    if side is not breast.laterality:
        header.conflicts.append(f"laterality: the tags say {side}, the picture shows {breast.laterality}")
    stored = mammogram.stored
    if stored is not None and "PatientOrientation" not in stored.presentation:
        stored.presentation["PatientOrientation"] = orientation(side, header.view, breast.laterality)
    return mammogram.with_(pixels=clear_air(mammogram.pixels, breast.mask), laterality=side)


def _breast(pixels: NDArray[np.float32], place: Path) -> Breast:
    try:
        return find_breast(pixels)
    except MameError as error:
        raise MameError(f"{place}: {error}") from error


def _own_record(dataset: Dataset) -> dict[str, Any] | None:
    try:
        value = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[PRIVATE_RECORD].value
    except KeyError:
        return None
    if isinstance(value, bytes):  # from a file with implicit VR: pydicom doesn't know the private element
        value = value.decode("utf-8", "replace").rstrip("\0 ")
    return record.from_json(value) if isinstance(value, str) else None
