"""Writing a mammogram as DICOM: Digital Mammography X-Ray Image, For Presentation (PS3.3 A.27).

No attribute is copied from a source object but those that describe the pixels, so that no identity carries over.

A private block holds the record of `mame.formats.record` (prompt, model, seed, lesions, …):
(0029,xx00 + reservation) creator `MAM-E`; (0029,xx01) UT: the record as JSON.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import uuid
from collections.abc import Sequence as SequenceOf
from importlib import metadata
from pathlib import Path
from typing import Any

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    RLELossless,
)

from mame.errors import MameError
from mame.formats import record
from mame.formats.atomic import atomic_write
from mame.formats.dicom.grey import decimal, describe_pixels
from mame.formats.dicom.header import OWN_MANUFACTURER, orientation
from mame.imaging.breast import find_breast
from mame.mammogram import Laterality, Mammogram, View

PRIVATE_GROUP = 0x0029
PRIVATE_CREATOR = "MAM-E"
PRIVATE_RECORD = 0x01
LONGEST_TEXT = 1024  # characters of an ST (PS3.5 6.2)

_VIEW_CODES = {
    View.CC: ("399162004", "SCT", "cranio-caudal"),
    View.MLO: ("399368009", "SCT", "medio-lateral oblique"),
}
_BREAST = ("76752008", "SCT", "Breast")
_SYNTHESIZING = ("109100", "DCM", "Synthesizing Equipment")
_SYNTAXES = (ExplicitVRLittleEndian, RLELossless)


def write_dicom(
    mammogram: Mammogram,
    path: str | os.PathLike[str],
    *,
    seed: str | None = None,
    force: bool = False,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> None:
    """Writes a mammogram as a Digital Mammography X-Ray Image – For Presentation object.

    A record with `stored` is written with its stored values and its own grey map, so that every value that was not
    painted is bit-identical; another one with 16-bit greys under a window that is the identity.
    seed: what the UIDs and the PatientID are made from, so that the same call writes the same file; by default
    provenance["uid_seed"], else they are new. Images with the same provenance["uid_study"] share patient,
    study and series, in which provenance["instance_number"] tells them apart.
    transfer_syntax: Explicit VR Little Endian or RLE Lossless.
    Raises MameError for a record without spacing or view, for an existing file without `force`, and for a folder
    that can't be written to. The file is whole or absent.
    """
    place = Path(path)
    try:
        if transfer_syntax not in _SYNTAXES:
            raise MameError(f"transfer syntax {transfer_syntax} is not written; Explicit VR Little Endian and RLE are")
        dataset = to_dataset(mammogram, seed=seed)
    except MameError as error:
        raise MameError(f"{place}: {error}") from error
    if transfer_syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    save_dataset(dataset, place, force)


def save_dataset(dataset: Dataset, path: Path, force: bool = False) -> None:
    """Writes what `to_dataset` made to a file that is whole or absent. Raises MameError as `atomic_write` does."""
    with atomic_write(path, force) as file:
        dcmwrite(file, dataset, enforce_file_format=True)


def to_dataset(mammogram: Mammogram, *, seed: str | None = None) -> Dataset:
    """The object that `write_dicom` writes, uncompressed, with its file meta information."""
    if mammogram.spacing_mm is None:
        raise MameError("DICOM needs the pixel spacing, which is not known; give it with --spacing (spacing_mm=…)")
    seed = seed if seed is not None else mammogram.provenance.get("uid_seed")
    laterality = mammogram.laterality or find_breast(mammogram.pixels).laterality
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    _add_patient_and_study(dataset, mammogram, seed)
    _add_series(dataset, mammogram, seed)
    _add_equipment(dataset, mammogram)
    _add_image(dataset, mammogram, seed)
    _add_anatomy(dataset, mammogram, laterality, mammogram.spacing_mm)
    describe_pixels(dataset, mammogram)
    _add_record(dataset, mammogram)
    dataset.file_meta = _file_meta(dataset)
    return dataset


def _add_patient_and_study(dataset: Dataset, mammogram: Mammogram, seed: str | None) -> None:
    synthetic = record.is_synthetic(mammogram)
    study = mammogram.provenance.get("uid_study", seed)
    digest = hashlib.sha256(f"patient {study if study is not None else uuid.uuid4()}".encode()).hexdigest()[:12]
    word = "SYNTHETIC" if synthetic else "ANONYMOUS"
    dataset.PatientID = f"{word}-{digest.upper()}"
    dataset.PatientName = f"{word}^{digest.upper()}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    if mammogram.stored is not None:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "MAM-E: only pixels, side, view and pixel spacing were taken over"
    dataset.StudyInstanceUID = derived_uid("study", study)
    dataset.StudyDate, dataset.StudyTime = dataset.ContentDate, dataset.ContentTime = _moment(mammogram, seed)
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"


def _moment(mammogram: Mammogram, seed: str | None) -> tuple[str, str]:
    """(YYYYMMDD, HHMMSS) of provenance["created"] (ISO 8601), else of now; empty with a seed."""
    try:
        moment = datetime.datetime.fromisoformat(str(mammogram.provenance["created"]))
    except (KeyError, ValueError):
        if seed is not None:
            return "", ""
        moment = datetime.datetime.now()
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


def _add_series(dataset: Dataset, mammogram: Mammogram, seed: str | None) -> None:
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.SeriesInstanceUID = derived_uid("series", mammogram.provenance.get("uid_study", seed))
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "Synthetic mammogram" if record.is_synthetic(mammogram) else "Mammogram"
    dataset.BodyPartExamined = "BREAST"


def _add_equipment(dataset: Dataset, mammogram: Mammogram) -> None:
    dataset.Manufacturer = OWN_MANUFACTURER
    dataset.ManufacturerModelName = "mam-e"
    dataset.SoftwareVersions = software_version()
    if not record.is_synthetic(mammogram):
        return
    equipment = Dataset()
    equipment.Manufacturer = OWN_MANUFACTURER
    equipment.ManufacturerModelName = _short(mammogram.provenance.get("model") or "mam-e")
    equipment.SoftwareVersions = software_version()
    equipment.ContributionDescription = "Made the pixels, or the painted part of them, with a generative model"
    equipment.PurposeOfReferenceCodeSequence = [_code(_SYNTHESIZING)]
    dataset.ContributingEquipmentSequence = [equipment]


def _add_image(dataset: Dataset, mammogram: Mammogram, seed: str | None) -> None:
    synthetic = record.is_synthetic(mammogram)
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = derived_uid("instance", seed)
    dataset.SyntheticData = "YES" if synthetic else "NO"
    dataset.InstanceNumber = int(mammogram.provenance.get("instance_number", 1))
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.DerivationDescription = _derivation(mammogram)
    dataset.AcquisitionContextSequence = []
    if synthetic:
        dataset.ImageComments = "Synthetic: made by MAM-E, not for diagnosis"


def _derivation(mammogram: Mammogram) -> str:
    if not record.is_synthetic(mammogram):
        return "Written by MAM-E from the pixels of another object"
    steps = []
    how: Any = record.made_by(mammogram)
    while how:
        words = ", ".join(f"{key} {str(how[key])!r}" for key in ("model", "prompt", "seed") if key in how)
        painted = mammogram.stored is not None or "asked" in how
        steps.append(f"{'lesion painted into an image' if painted else 'image generated'}: {words}")
        how = how.get("painted_on")
    said = f"MAM-E {software_version()}; {'; '.join(reversed(steps))}"
    return said if len(said) <= LONGEST_TEXT else said[: LONGEST_TEXT - 1] + "…"


def _add_anatomy(dataset: Dataset, mammogram: Mammogram, laterality: Laterality, spacing_mm: float) -> None:
    dataset.ImageLaterality = str(laterality)
    dataset.AnatomicRegionSequence = [_code(_BREAST)]
    dataset.OrganExposed = "BREAST"
    dataset.PositionerType = "MAMMOGRAPHIC"
    dataset.DetectorType = ""
    dataset.ImagerPixelSpacing = [decimal(spacing_mm)] * 2
    view = mammogram.description.view
    source = mammogram.stored.presentation if mammogram.stored is not None else {}
    code = _VIEW_CODES[view] if view is not None else source.get("ViewCode")
    if code is None:
        raise MameError("DICOM needs the view (CC or MLO), which is not known; say it in the prompt ('in MLO view')")
    item = _code(code)
    item.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [item]
    if view is not None:
        dataset.ViewPosition = str(view)
    dataset.PatientOrientation = source.get("PatientOrientation") or orientation(laterality, view, laterality)


def _add_record(dataset: Dataset, mammogram: Mammogram) -> None:
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(PRIVATE_RECORD, "UT", record.to_json(mammogram, air_is_zero=mammogram.stored is None))


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"MAM-E {software_version()}"[:16]
    return meta


def derived_uid(role: str, seed: str | None) -> UID:
    """A UID under 2.25 (PS3.5 B.2): the same for the same seed and role, new without a seed."""
    number = uuid.uuid4() if seed is None else uuid.uuid5(uuid.NAMESPACE_URL, f"mam-e {role} {seed}")
    return UID(f"2.25.{number.int}")


def _code(concept: SequenceOf[str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = concept
    return item


def _short(value: Any) -> str:
    """A value that fits an LO element: 64 characters, without the backslash that would make it two values."""
    return str(value).replace("\\", "/")[-64:]


def software_version() -> str:
    """The version of this program, for an attribute that needs one."""
    try:
        return metadata.version("mam-e")
    except metadata.PackageNotFoundError:
        return "unknown"
