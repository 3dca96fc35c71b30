"""What is written is a valid For Presentation object, says that it is synthetic, and reads back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from mame.errors import MameError
from mame.formats.dicom import read_dicom, write_dicom
from mame.formats.dicom.write import PRIVATE_CREATOR, PRIVATE_GROUP, PRIVATE_RECORD
from mame.imaging.intensity import pixels_to_uint16, uint16_to_pixels
from mame.mammogram import Box, Laterality, Lesion, LesionKind, Mammogram, View

from .conftest import MakeDicom, stored_12_bits
from .standard import dciodvfy, iod_faults
from .test_dicom_read import WINDOW, code

IOD = "digital-mammography-x-ray-image"
OBJECT = "MammographyImageForPresentation"


@pytest.fixture
def written(generated: Mammogram, tmp_path: Path) -> Path:
    path = tmp_path / "out.dcm"
    write_dicom(generated, path, seed="study 1 image 0")
    return path


def test_the_module_tables_find_no_fault(written: Path) -> None:
    dataset = pydicom.dcmread(written)
    assert iod_faults(dataset, IOD) == []
    # the tables do find faults
    del dataset.PositionerType
    dataset.ImageLaterality = None
    dataset.ViewCodeSequence[0].CodeMeaning = None
    del dataset.ViewCodeSequence[0].ViewModifierCodeSequence
    assert {fault.split(" ")[2] for fault in iod_faults(dataset, IOD)} == {
        "PositionerType",
        "ImageLaterality",
        "ViewCodeSequence/CodeMeaning",
        "ViewCodeSequence/ViewModifierCodeSequence",
    }


def test_what_the_standard_fixes_for_this_object(written: Path) -> None:
    dataset = pydicom.dcmread(written)
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert dataset.SyntheticData == "YES"
    assert list(dataset.ImageType)[:2] == ["DERIVED", "PRIMARY"]
    assert (dataset.Modality, dataset.PresentationIntentType) == ("MG", "FOR PRESENTATION")
    assert (dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType) == (0, 1, "US")
    assert (dataset.PhotometricInterpretation, dataset.PresentationLUTShape) == ("MONOCHROME2", "IDENTITY")
    assert (dataset.PixelRepresentation, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (0, 16, 16, 15)
    assert (dataset.BurnedInAnnotation, dataset.LossyImageCompression) == ("NO", "00")
    assert (dataset.PositionerType, dataset.OrganExposed) == ("MAMMOGRAPHIC", "BREAST")
    assert list(dataset.ImagerPixelSpacing) == [0.5, 0.5]
    assert list(dataset.PatientOrientation) == ["A", "FR"]
    assert dataset.ViewCodeSequence[0].CodeValue == "399368009"
    assert dataset.AnatomicRegionSequence[0].CodeValue == "76752008"
    purpose = dataset.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0]
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109100", "DCM")
    assert "'mini'" in dataset.DerivationDescription
    assert "a siemens mammogram in MLO view" in dataset.DerivationDescription
    assert dataset.PatientID.startswith("SYNTHETIC-")


@pytest.mark.parametrize(
    ("side", "view", "orientation"),
    [("L", "CC", ["A", "R"]), ("R", "CC", ["P", "L"]), ("L", "MLO", ["A", "FR"]), ("R", "MLO", ["P", "FL"])],
)
def test_patient_orientation(
    generated: Mammogram, tmp_path: Path, side: str, view: str, orientation: list[str]
) -> None:
    pixels = generated.pixels if side == "L" else np.ascontiguousarray(generated.pixels[:, ::-1])
    described = generated.with_(
        pixels=pixels,
        laterality=Laterality(side),
        description=type(generated.description)(view=View(view)),
    )
    write_dicom(described, tmp_path / "o.dcm")
    assert list(pydicom.dcmread(tmp_path / "o.dcm").PatientOrientation) == orientation
    found = read_dicom(tmp_path / "o.dcm")
    assert (found.laterality, found.description.view) == (side, view)
    assert "conflicts" not in found.provenance


def test_dciodvfy_finds_no_fault(written: Path) -> None:
    assert dciodvfy(written, OBJECT) == []


def test_dciodvfy_finds_no_fault_in_painted_images(
    make_dicom: MakeDicom, breast: NDArray[np.float32], tmp_path: Path
) -> None:
    item = Dataset()
    item.LUTDescriptor = [3001, 200, 12]
    item.add_new("LUTData", "OW", np.linspace(0, 4095, 3001).astype("<u2").tobytes())
    sources: list[dict[str, Any]] = [
        {**WINDOW, "PhotometricInterpretation": "MONOCHROME1", "WindowCenter": "2395"},
        {"BitsStored": 12, "VOILUTSequence": [item]},
        {"BitsStored": 12},
    ]
    for number, source in enumerate(sources):
        values = 4095 - stored_12_bits(breast) if number == 0 else stored_12_bits(breast)
        found = read_dicom(make_dicom(values, f"{number}.dcm", **source)).with_(synthetic=True)
        out = tmp_path / f"out-{number}.dcm"
        write_dicom(found, out)
        assert dciodvfy(out, OBJECT) == []


def test_generated_pixels_come_back(written: Path, generated: Mammogram) -> None:
    found = read_dicom(written)
    np.testing.assert_array_equal(found.pixels, uint16_to_pixels(pixels_to_uint16(generated.pixels)))
    assert found.synthetic
    assert found.spacing_mm == generated.spacing_mm
    assert found.description == generated.description
    assert found.laterality is Laterality.L
    assert {key: found.provenance[key] for key in generated.provenance} == generated.provenance


def test_the_window_alone_gives_the_pixels(written: Path, generated: Mammogram) -> None:
    """For every other reader: through pydicom's own VOI, without the private record."""
    dataset = pydicom.dcmread(written)
    shown = pydicom.pixels.apply_voi_lut(dataset.pixel_array, dataset) / 65535
    np.testing.assert_allclose(shown, generated.pixels, atol=1e-5)


def maps(breast: NDArray[np.float32]) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
    values = stored_12_bits(breast)
    signed = (values.astype(np.int16) - 2048).astype(np.int16)
    item = Dataset()
    item.LUTDescriptor = [3001, 200, 12]
    item.add_new("LUTData", "OW", np.rint(np.sqrt(np.linspace(0, 1, 3001)) * 4095).astype("<u2").tobytes())
    shifted = Dataset()
    shifted.LUTDescriptor = [3001, 100, 12]
    shifted.add_new("LUTData", "OW", item.LUTData)
    table = {"BitsStored": 12, "VOILUTSequence": [item]}
    scale = {"RescaleSlope": "2", "RescaleIntercept": "-100", "WindowCenter": "3300", "WindowWidth": "6000"}
    turned = {**WINDOW, "PhotometricInterpretation": "MONOCHROME1", "WindowCenter": "2395"}
    return {
        "exact window": (values, WINDOW),
        "linear window": (values, {**WINDOW, "VOILUTFunction": "LINEAR"}),
        "sigmoid": (values, {**WINDOW, "VOILUTFunction": "SIGMOID"}),
        "rescaled": (values, {**WINDOW, **scale}),
        "rescaled linear": (values, {**WINDOW, **scale, "VOILUTFunction": "LINEAR"}),
        "monochrome1": (4095 - values, turned),
        "voi lut": (values, table),
        "voi lut after rescale": (
            values,
            {"BitsStored": 12, "RescaleSlope": "1", "RescaleIntercept": "-100", "VOILUTSequence": [shifted]},
        ),
        "voi lut after scale": (
            values,
            {"BitsStored": 12, "RescaleSlope": "0.5", "RescaleIntercept": "150", "VOILUTSequence": [item]},
        ),
        "monochrome1 voi lut": (4095 - values, {**table, "PhotometricInterpretation": "MONOCHROME1"}),
        "percentiles": (values, {"BitsStored": 12}),
        "padding": (values, {**WINDOW, "PixelPaddingValue": 200}),
        "signed": (signed, {**WINDOW, "WindowCenter": "-348"}),
        "for processing": (
            np.rint(3900 * np.exp(-3 * breast)).astype(np.uint16),
            {
                "BitsStored": 12,
                "PresentationIntentType": "FOR PROCESSING",
                "PixelIntensityRelationship": "LIN",
                "PixelIntensityRelationshipSign": 1,
            },
        ),
        "8 bits": (np.rint(breast * 255).astype(np.uint8), {"WindowCenter": 128, "WindowWidth": 256}),
        "odd number of bytes": (
            np.rint(breast[:599, :399] * 255).astype(np.uint8),
            {"WindowCenter": 128, "WindowWidth": 256},
        ),
    }


@pytest.mark.parametrize("name", maps(np.zeros((600, 400), np.float32)))
def test_stored_values_and_greys_survive(
    make_dicom: MakeDicom, breast: NDArray[np.float32], tmp_path: Path, name: str
) -> None:
    values, attributes = maps(breast)[name]
    source = read_dicom(make_dicom(values, **attributes))
    write_dicom(source, tmp_path / "out.dcm")
    found = read_dicom(tmp_path / "out.dcm")
    assert found.stored is not None
    np.testing.assert_array_equal(found.stored.values, values)
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "out.dcm").pixel_array, values)
    # a table the file could not say itself is written with 16 bits
    exact = name not in ("voi lut after scale", "for processing")
    np.testing.assert_allclose(found.pixels, source.pixels, atol=1e-6 if exact else 1.0 / 65535)
    assert iod_faults(pydicom.dcmread(tmp_path / "out.dcm"), IOD) == []


@pytest.mark.parametrize("name", ["exact window", "monochrome1", "voi lut", "signed", "sigmoid"])
def test_paint_changes_only_what_was_painted(
    make_dicom: MakeDicom, breast: NDArray[np.float32], tmp_path: Path, name: str
) -> None:
    values, attributes = maps(breast)[name]
    source = read_dicom(make_dicom(values, **attributes))
    painted = source.pixels.copy()
    painted[250:300, 100:160] = 0.5 * painted[250:300, 100:160] + 0.4
    box = Box(100, 250, 160, 300)
    lesion = Lesion(LesionKind.MASS, box)
    write_dicom(source.with_(pixels=painted, lesions=(lesion,), synthetic=True), tmp_path / "out.dcm")
    found = read_dicom(tmp_path / "out.dcm")
    assert found.stored is not None
    outside = ~box.to_mask(found.shape)
    np.testing.assert_array_equal(found.stored.values[outside], values[outside])
    assert (found.stored.values[~outside] != values[~outside]).mean() > 0.9
    # a square root is steep near black; elsewhere the greys are those painted to one stored value
    step = 8 / 4095 if name == "voi lut" else 1 / 3000
    np.testing.assert_allclose(found.pixels[box.slices()], painted[box.slices()], atol=step)
    assert found.lesions == (lesion,)
    assert found.synthetic


def test_no_identity_carries_over(make_dicom: MakeDicom, breast: NDArray[np.float32], tmp_path: Path) -> None:
    path = make_dicom(stored_12_bits(breast), "Secret-name.dcm", **WINDOW)
    original = pydicom.dcmread(path)
    write_dicom(read_dicom(path).with_(synthetic=True), tmp_path / "out.dcm")
    data = (tmp_path / "out.dcm").read_bytes()
    for secret in (b"Secret", b"HOSPITAL", b"19600102", b"SIEMENS", original.StudyInstanceUID.encode()):
        assert secret not in data, secret
    written = pydicom.dcmread(tmp_path / "out.dcm")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert written[keyword].value != original[keyword].value


def test_a_copy_of_a_real_image_does_not_say_it_is_synthetic(
    make_dicom: MakeDicom, breast: NDArray[np.float32], tmp_path: Path
) -> None:
    write_dicom(read_dicom(make_dicom(stored_12_bits(breast), **WINDOW)), tmp_path / "out.dcm")
    written = pydicom.dcmread(tmp_path / "out.dcm")
    assert written.SyntheticData == "NO"
    assert written.PatientID.startswith("ANONYMOUS-")
    assert "ContributingEquipmentSequence" not in written


def test_lossy_stays_lossy(make_dicom: MakeDicom, breast: NDArray[np.float32], tmp_path: Path) -> None:
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"}
    write_dicom(read_dicom(make_dicom(stored_12_bits(breast), **WINDOW, **lossy)), tmp_path / "out.dcm")
    written = pydicom.dcmread(tmp_path / "out.dcm")
    assert (written.LossyImageCompression, written.LossyImageCompressionRatio) == ("01", 12.5)


def test_a_view_without_a_word_is_written_again(
    make_dicom: MakeDicom, breast: NDArray[np.float32], tmp_path: Path
) -> None:
    source = {**WINDOW, "ViewPosition": "ML", "ViewCodeSequence": [code("399260004")]}
    write_dicom(read_dicom(make_dicom(stored_12_bits(breast), **source)), tmp_path / "out.dcm")
    written = pydicom.dcmread(tmp_path / "out.dcm")
    assert written.ViewCodeSequence[0].CodeValue == "399260004"
    assert iod_faults(written, IOD) == []


def test_the_same_seed_makes_the_same_file(generated: Mammogram, tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        write_dicom(generated, tmp_path / name, seed="s")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    in_provenance = generated.with_(provenance={**generated.provenance, "uid_seed": "s"})
    write_dicom(in_provenance, tmp_path / "c.dcm")
    write_dicom(generated, tmp_path / "d.dcm", seed="t")
    write_dicom(generated, tmp_path / "e.dcm")
    write_dicom(generated, tmp_path / "f.dcm")
    uids = [pydicom.dcmread(tmp_path / f"{name}.dcm").SOPInstanceUID for name in "acdef"]
    assert uids[0] == uids[1]
    assert len(set(uids)) == 4
    assert all(uid.is_valid and len(uid) <= 64 for uid in uids)


def test_images_of_one_study(generated: Mammogram, tmp_path: Path) -> None:
    for number in range(2):
        made = generated.with_(provenance={"uid_seed": f"image {number}", "uid_study": "case 1", "model": "mini"})
        write_dicom(made, tmp_path / f"{number}.dcm")
    first, second = (pydicom.dcmread(tmp_path / f"{number}.dcm") for number in range(2))
    assert (first.PatientID, first.StudyInstanceUID) == (second.PatientID, second.StudyInstanceUID)
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_rle(generated: Mammogram, tmp_path: Path) -> None:
    write_dicom(generated, tmp_path / "r.dcm", transfer_syntax=RLELossless)
    assert pydicom.dcmread(tmp_path / "r.dcm").file_meta.TransferSyntaxUID == RLELossless
    np.testing.assert_allclose(read_dicom(tmp_path / "r.dcm").pixels, generated.pixels, atol=1e-5)


def test_the_private_record(written: Path) -> None:
    value = pydicom.dcmread(written).private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[PRIVATE_RECORD].value
    record = json.loads(value)
    assert record["synthetic"] is True
    assert record["made_by"]["seed"] == 7


def test_a_broken_private_record_is_ignored(written: Path, tmp_path: Path) -> None:
    for text in (
        "{",
        "[1]",
        '{"mam-e": 1, "spacing_mm": -3, "lesions": [{"box": [1]}], "description": 3}',
        "[" * 10000,
    ):
        dataset = pydicom.dcmread(written)
        dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[PRIVATE_RECORD].value = text
        dataset.save_as(tmp_path / "broken.dcm")
        found = read_dicom(tmp_path / "broken.dcm")
        assert found.spacing_mm == 0.5
        assert found.lesions == ()
        assert found.description.view is View.MLO


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"spacing_mm": None}, "--spacing"), ({"description": type(Mammogram)}, "the view")],
)
def test_what_dicom_needs(generated: Mammogram, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    if "description" in changes:
        changes = {"description": type(generated.description)()}
    with pytest.raises(MameError, match=words):
        write_dicom(generated.with_(**changes), tmp_path / "x.dcm")
    assert list(tmp_path.iterdir()) == []


def test_text_from_anywhere_fits_its_elements(generated: Mammogram, tmp_path: Path) -> None:
    wild = {"model": "C:\\models\\" + "x" * 300, "prompt": "ü\\\n" * 2000, "seed": 2**63}
    write_dicom(generated.with_(provenance=wild), tmp_path / "w.dcm")
    found = pydicom.dcmread(tmp_path / "w.dcm")
    assert len(found.DerivationDescription) <= 1024
    assert isinstance(found.ContributingEquipmentSequence[0].ManufacturerModelName, str)
    assert read_dicom(tmp_path / "w.dcm").provenance["prompt"] == wild["prompt"]
