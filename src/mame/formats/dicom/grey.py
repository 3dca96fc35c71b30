"""The grey map of a DICOM image: from stored values to [0, 1], bright = dense, and back into the words of DICOM.

Modality rescale, then VOI LUT or window (PS3.3 C.11.1, C.11.2), then MONOCHROME1 turned. All three are one table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForProcessing
from pydicom.valuerep import DSfloat

from mame.errors import MameError
from mame.formats.dicom.header import text, values
from mame.formats.stored import stored_values
from mame.imaging.intensity import invert, pixels_to_uint16, table_lut, window_lut
from mame.mammogram import Mammogram, Stored

Range = tuple[int, int]  # lowest and highest stored value

WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
PERCENTILES = (0.1, 99.9)  # where a file says neither window nor LUT: what becomes black and white
BREAST_PERCENTILE = 99.8  # of the breast's own values: white, once the breast is found
MAX_LUT_ENTRIES = 65536
COUNTED_PIXELS = 1_000_000  # enough for a percentile: more would only take time


def stored_of(dataset: Dataset, pixels: NDArray[np.integer[Any]]) -> Stored:
    """The stored values with their map to [0, 1] and what a writer needs to say that map again."""
    bits, signed = int(dataset.BitsStored), bool(dataset.get("PixelRepresentation"))
    first, count = (-(1 << bits - 1) if signed else 0), 1 << bits
    presentation = _pixel_module(dataset)
    if _is_for_processing(dataset):
        lut = _raw_lut(dataset, pixels, first, count)
        # from here on: whether dense tissue has low values, which this tag need not say of raw data
        presentation["PhotometricInterpretation"] = "MONOCHROME1" if lut[0] > lut[-1] else "MONOCHROME2"
        return Stored(pixels, lut, first, bits, presentation)
    voi = _voi_table(dataset) or _voi_window(dataset) or _voi_percentiles(dataset, pixels)
    slope, intercept = rescale(presentation)
    if "LUTData" in voi:
        _, first_mapped, entry_bits = voi["LUTDescriptor"]
        lut = table_lut(first, count, slope, intercept, first_mapped, voi["LUTData"], entry_bits)
        rising = np.maximum.accumulate(lut)
        if not np.array_equal(lut, rising):
            # what is painted needs one way back to stored values; the file's own words can't say this map
            lut, voi = rising, {}
    else:
        lut = window_lut(first, count, slope, intercept, voi["WindowCenter"], voi["WindowWidth"], voi["VOILUTFunction"])
    if presentation["PhotometricInterpretation"] == "MONOCHROME1":
        lut = invert(lut)
    return Stored(pixels, lut, first, bits, presentation | voi)


def windowed_on_breast(stored: Stored, mask: NDArray[np.bool_]) -> Stored:
    """A record whose file says no window, with one that suits the breast (H×W mask): air's median is black.

    White film borders and letters then take no contrast away. Any other record is handed back as it is.
    """
    said = stored.presentation
    if said.get("WindowOrigin") != "percentiles" or mask.all() or not mask.any():
        return stored
    padding = padding_range(said)
    turned = said["PhotometricInterpretation"] == "MONOCHROME1"
    white = 100 - BREAST_PERCENTILE if turned else BREAST_PERCENTILE
    (air,) = _percentiles(stored.values[~mask], [50], padding)
    (tissue,) = _percentiles(stored.values[mask], [white], padding)
    low, high = (tissue, air) if turned else (air, tissue)
    if low >= high:
        return stored
    window = _window_between(low, high, said)
    slope, intercept = rescale(said)
    lut = window_lut(
        stored.first, len(stored.lut), slope, intercept, window["WindowCenter"], window["WindowWidth"], "LINEAR_EXACT"
    )
    rest = {key: value for key, value in said.items() if key != "WindowOrigin"}
    return Stored(stored.values, invert(lut) if turned else lut, stored.first, stored.bits, rest | window)


def padding_range(presentation: dict[str, Any]) -> Range | None:
    """(lowest, highest) stored value that is padding, not picture; None where there is none."""
    value = presentation.get("PixelPaddingValue")
    if value is None:
        return None
    limit = presentation.get("PixelPaddingRangeLimit", value)
    return min(value, limit), max(value, limit)


def rescale(presentation: dict[str, Any]) -> tuple[float, float]:
    """(slope, intercept) of the modality rescale; (1, 0) where the file has none."""
    return presentation.get("RescaleSlope", 1.0), presentation.get("RescaleIntercept", 0.0)


def decimal(value: float) -> DSfloat:
    """A number as a Decimal String, rounded to the 16 characters that it may have."""
    return DSfloat(float(value), auto_format=True)


# -- reading --------------------------------------------------------------------------------------------------------


def _pixel_module(dataset: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {
        "format": "DICOM",
        "PhotometricInterpretation": text(dataset, "PhotometricInterpretation"),
        "BitsAllocated": int(dataset.BitsAllocated),
        "BitsStored": int(dataset.BitsStored),
        "PixelRepresentation": int(dataset.get("PixelRepresentation") or 0),
    }
    slope, intercept = text(dataset, "RescaleSlope"), text(dataset, "RescaleIntercept")
    if slope or intercept:
        found["RescaleSlope"], found["RescaleIntercept"] = float(slope or 1), float(intercept or 0)
        if not (math.isfinite(found["RescaleSlope"]) and found["RescaleSlope"] > 0):
            raise MameError(f"RescaleSlope {slope} is not a positive number")
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if isinstance(dataset.get(keyword), int):
            found[keyword] = int(dataset[keyword].value)
    for keyword in ("LossyImageCompression", "BurnedInAnnotation"):
        if text(dataset, keyword):
            found[keyword] = text(dataset, keyword)
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if values(dataset, keyword):
            found[keyword] = [str(value) for value in values(dataset, keyword)]
    return found


def _voi_table(dataset: Dataset) -> dict[str, Any] | None:
    """The first VOI LUT: LUTDescriptor [entries, first value mapped, bits] and LUTData as a list, or None."""
    sequence = dataset.get("VOILUTSequence")
    if not sequence:
        return None
    descriptor = [int(value) for value in values(sequence[0], "LUTDescriptor")]
    if len(descriptor) != 3:
        raise MameError("damaged: LUTDescriptor of the VOI LUT needs three values")
    entries, first_mapped, bits = descriptor[0] or MAX_LUT_ENTRIES, descriptor[1], descriptor[2]
    # read as unsigned or signed by the VR; only the pixels' representation says which is meant
    if dataset.get("PixelRepresentation") and first_mapped > 0x7FFF:
        first_mapped -= 0x10000
    elif not dataset.get("PixelRepresentation") and first_mapped < 0 and not text(dataset, "RescaleIntercept"):
        first_mapped += 0x10000
    data = sequence[0].get("LUTData")
    if isinstance(data, bytes):
        width = 1 if len(data) in (entries, entries + 1) and bits <= 8 else 2
        data = np.frombuffer(data[: len(data) // width * width], f"<u{width}")
    table = np.asarray(data if data is not None else [], dtype=np.int64).ravel()[:entries]
    if len(table) < entries or not 1 <= bits <= 16:
        raise MameError(f"damaged: the VOI LUT has {len(table)} entries of {bits} bits, LUTDescriptor says {entries}")
    return {"LUTDescriptor": [entries, first_mapped, bits], "LUTData": table.tolist()}


def _voi_window(dataset: Dataset) -> dict[str, Any] | None:
    """The first window, or None where there is none that can be used."""
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    try:
        centre, width = float(text(dataset, "WindowCenter")), float(text(dataset, "WindowWidth"))
    except ValueError:
        return None
    least = 1.0 if function == "LINEAR" else 0.0
    if not (math.isfinite(centre) and math.isfinite(width) and width > least) or function not in WINDOW_FUNCTIONS:
        return None
    return {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}


def _voi_percentiles(dataset: Dataset, pixels: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """A window between two percentiles of the whole picture, padding apart: good enough to find the breast in."""
    presentation = _pixel_module(dataset)
    low, high = _spread(pixels, padding_range(presentation))
    return _window_between(low, high, presentation) | {"WindowOrigin": "percentiles"}


def _window_between(low: int, high: int, presentation: dict[str, Any]) -> dict[str, Any]:
    """The window that maps the stored values low and high (low < high) to 0 and 1."""
    slope, intercept = rescale(presentation)
    centre = slope * (low + high) / 2 + intercept
    return {"WindowCenter": centre, "WindowWidth": slope * (high - low), "VOILUTFunction": "LINEAR_EXACT"}


def _percentiles(pixels: NDArray[np.integer[Any]], percents: Sequence[float], padding: Range | None) -> list[int]:
    """The stored values below which so many percent of the pixels lie, padding apart.

    By counting, which takes a tenth of np.percentile's time, and of a large picture in some rows only.
    """
    pixels = pixels[:: max(1, pixels.size // COUNTED_PIXELS)]
    lowest = int(pixels.min())
    shifted = pixels.ravel() if lowest == 0 and pixels.dtype.kind == "u" else pixels.ravel().astype(np.int32) - lowest
    counts = np.bincount(shifted)
    if padding is not None:
        counts[max(padding[0] - lowest, 0) : max(padding[1] - lowest + 1, 0)] = 0
    shares = np.cumsum(counts) / max(int(counts.sum()), 1)
    return [min(int(np.searchsorted(shares, percent / 100)), len(counts) - 1) + lowest for percent in percents]


def _spread(pixels: NDArray[np.integer[Any]], padding: Range | None) -> tuple[int, int]:
    """Two stored values, low < high, between which nearly all of the picture lies."""
    low, high = _percentiles(pixels, PERCENTILES, padding)
    if high <= low:  # nearly everything is one value: the whole range, then
        low, high = int(pixels.min()), int(pixels.max())
    return low, max(high, low + 1)


def _is_for_processing(dataset: Dataset) -> bool:
    return (
        text(dataset, "PresentationIntentType") == "FOR PROCESSING"
        or text(dataset, "SOPClassUID") == DigitalMammographyXRayImageStorageForProcessing
    )


def _raw_lut(dataset: Dataset, pixels: NDArray[np.integer[Any]], first: int, count: int) -> NDArray[np.float32]:
    """The map of a For Processing image, whose window (if any) is of no use: log exposure between percentiles.

    Values that grow with the exposure (PixelIntensityRelationshipSign 1) are dark where tissue is dense, whatever
    the photometric interpretation.
    """
    presentation = _pixel_module(dataset)
    slope, intercept = rescale(presentation)
    scale = slope * (first + np.arange(count)) + intercept
    if text(dataset, "PixelIntensityRelationship") == "LIN":
        scale = np.log1p(np.maximum(scale, 0.0))
    low, high = (value - first for value in _spread(pixels, padding_range(presentation)))
    span = max(float(scale[min(high, count - 1)] - scale[low]), 1e-6)
    lut: NDArray[np.float32] = np.clip((scale - scale[low]) / span, 0.0, 1.0).astype(np.float32)
    grows_with_exposure = text(dataset, "PixelIntensityRelationshipSign") == "1"
    turned = grows_with_exposure or presentation["PhotometricInterpretation"] == "MONOCHROME1"
    return invert(lut) if turned else lut


# -- writing --------------------------------------------------------------------------------------------------------


def describe_pixels(dataset: Dataset, mammogram: Mammogram) -> None:
    """Adds the pixel data and everything that says how they are to be shown."""
    stored = mammogram.stored if mammogram.stored is not None else _identity(mammogram)
    pixels = stored.values if mammogram.stored is None else stored_values(mammogram, stored)
    said = stored.presentation
    photometric = said.get("PhotometricInterpretation", "MONOCHROME2")
    allocated = 8 if stored.bits <= 8 and stored.first >= 0 else 16
    # Signed values are not allowed here (PS3.3 C.8.11.3), but there are no others that keep a negative value as it is.
    signed = int(pixels.min()) < 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored.bits, stored.bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1 if photometric == "MONOCHROME2" else 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationLUTShape = "IDENTITY" if photometric == "MONOCHROME2" else "INVERSE"
    dataset.BurnedInAnnotation = said.get("BurnedInAnnotation", "NO")
    dataset.LossyImageCompression = said.get("LossyImageCompression", "00")
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if dataset.LossyImageCompression == "01" and said.get(keyword):
            setattr(dataset, keyword, said[keyword])
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if said.get(keyword) is not None:
            dataset.add_new(keyword, "SS" if signed else "US", said[keyword])
    _add_voi(dataset, stored, signed)
    data = pixels.astype(f"<{'i' if signed else 'u'}{allocated // 8}", copy=False).tobytes()
    dataset.add_new("PixelData", "OW" if allocated == 16 else "OB", data + b"\0" * (len(data) % 2))


def _identity(mammogram: Mammogram) -> Stored:
    """A generated picture's greys as 16-bit values; this LINEAR window maps v to v / 65535 (PS3.3 C.11.2.1.2)."""
    lut = np.linspace(0, 1, 65536, dtype=np.float32)
    window = {"WindowCenter": 32768.0, "WindowWidth": 65536.0, "VOILUTFunction": "LINEAR"}
    said = {"PhotometricInterpretation": "MONOCHROME2"} | window
    return Stored(pixels_to_uint16(mammogram.pixels), lut, 0, 16, said)


def _add_voi(dataset: Dataset, stored: Stored, signed: bool) -> None:
    """The window or VOI LUT that says the map of `stored` for rescale slope 1 and intercept 0."""
    said = stored.presentation
    slope, intercept = rescale(said)
    if "WindowWidth" in said:
        _add_window(dataset, said, slope, intercept)
    elif "LUTData" in said and slope == 1 and intercept == int(intercept):
        entries, first_mapped, bits = said["LUTDescriptor"]
        table = np.asarray(said["LUTData"], dtype=np.uint16)
        _add_table(dataset, table, entries, first_mapped - int(intercept), bits, signed)
    else:
        # what DICOM's own words can't say with slope 1 (a log, a scaled LUT): the map itself, to 16 bits
        lut = stored.lut if said.get("PhotometricInterpretation", "MONOCHROME2") == "MONOCHROME2" else 1 - stored.lut
        table = np.rint(lut * 65535.0).astype(np.uint16)
        changing = np.flatnonzero(np.diff(table))
        start, stop = (int(changing[0]), int(changing[-1]) + 2) if changing.size else (0, 2)
        _add_table(dataset, table[start:stop], stop - start, stored.first + start, 16, signed)


def _add_window(dataset: Dataset, said: dict[str, Any], slope: float, intercept: float) -> None:
    """The window on rescaled values as the same window on stored values."""
    centre, width, function = said["WindowCenter"], said["WindowWidth"], said["VOILUTFunction"]
    if function == "LINEAR":  # its half and its one are in the standard's formula
        centre, width = (centre - 0.5 - intercept) / slope + 0.5, (width - 1) / slope + 1
    else:
        centre, width = (centre - intercept) / slope, width / slope
    dataset.WindowCenter, dataset.WindowWidth = decimal(centre), decimal(width)
    dataset.VOILUTFunction = function


def _add_table(
    dataset: Dataset, table: NDArray[np.uint16], entries: int, first_mapped: int, bits: int, signed: bool
) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [_count(entries, signed), first_mapped, bits])
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    dataset.VOILUTSequence = [item]


def _count(entries: int, signed: bool) -> int:
    """The number of entries as the 16 bits of a LUTDescriptor hold it: 65536 as 0, and as SS what they read as."""
    count = entries % MAX_LUT_ENTRIES
    return count - 0x10000 if signed and count > 0x7FFF else count
