"""What the DICOM labels, SEG and SR, have in common: the image they belong to, the codes of findings, fixed moments.

highdicom stamps what it makes with the clock and new UIDs; here both come from the image, so that the same call gives
the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from highdicom import AlgorithmIdentificationSequence
from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mame.errors import MameError
from mame.formats.atomic import atomic_write
from mame.formats.dicom.header import OWN_MANUFACTURER
from mame.formats.dicom.write import derived_uid, software_version
from mame.mammogram import LesionKind, Mammogram

FINDINGS: dict[LesionKind, Code] = {
    LesionKind.LESION: codes.SCT.Lesion,
    LesionKind.MASS: codes.SCT.Mass,
    LesionKind.CALCIFICATIONS: codes.SCT.CalcificationCluster,
}
CATEGORY: Code = codes.SCT.MorphologicallyAbnormalStructure
UNKNOWN_DATE, UNKNOWN_TIME = "19000101", "000000"  # an SR and a SEG must have a moment even where the image has none


def check_lesions(mammogram: Mammogram, path: Path) -> None:
    """Raises MameError where there is nothing to say."""
    if not mammogram.lesions:
        raise MameError(f"{path}: the image has no lesion; DICOM has no way to say that in such an object")


def algorithm() -> AlgorithmIdentificationSequence:
    """What put the lesion where it is."""
    return AlgorithmIdentificationSequence("mam-e", codes.DCM.ArtificialIntelligence, software_version())


def save(made: SOPClass, source: Dataset, path: Path, force: bool) -> None:
    """Writes an object with the moment of its image and without a trace of the clock."""
    date, time = source.StudyDate or UNKNOWN_DATE, source.StudyTime or UNKNOWN_TIME
    for word in ("Content", "InstanceCreation"):
        setattr(made, f"{word}Date", date)
        setattr(made, f"{word}Time", time)
    made.ReferringPhysicianName = ""
    for equipment in made.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = f"{date}{time}"
    made.SyntheticData = source.SyntheticData
    with atomic_write(path, force) as file:
        made.save_as(file)


def own_uid(source: Dataset, role: str) -> str:
    """A UID that depends on the image and the role alone."""
    return str(derived_uid(role, str(source.SOPInstanceUID)))


MANUFACTURER = OWN_MANUFACTURER
