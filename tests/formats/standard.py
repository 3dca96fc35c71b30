"""What the standard asks of an object: highdicom's tables of modules and attributes, and dciodvfy's opinion."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map
from pydicom.dataset import Dataset

# What dciodvfy of 2021 (dicom3tools) says for lack of knowledge, not for a fault of the file
KNOWN_MESSAGES = (
    "(0x0008,0x001c)",  # Synthetic Data came into the standard in 2023 (CP 2198)
    "(0x0029,0x1001)",  # the private record
    "Unrecognized defined term <MLO>",  # View Position: what every vendor writes, see VinDr-Mammo, INbreast
    "Unrecognized defined term <CC>",
    "this is a Standard Extended SOP Class",  # follows from the first
    "needed to build DICOMDIR - Study",  # date and time are empty where a seed was given
)


# The tables list the macros of functional groups without saying that each is in the shared or in the per-frame part,
# and that some are for objects with a frame of reference only; these two every segmentation has.
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
MANDATORY_GROUPS = {"FrameContentSequence", "SegmentIdentificationSequence"}
# They also list the attributes of content items of all value types as if every item had them all.
CONTENT = "ContentSequence"
BY_VALUE_TYPE = {
    "MeasuredValueSequence": "NUM",
    "ConceptCodeSequence": "CODE",
    "ReferencedSOPSequence": "IMAGE COMPOSITE WAVEFORM",
    "ContinuityOfContent": "CONTAINER",
    "TemporalRangeType": "TCOORD",
    "TabulatedValuesSequence": "TABLE",
    "GraphicData": "SCOORD SCOORD3D",
    "GraphicType": "SCOORD SCOORD3D",
    "ReferencedFrameOfReferenceUID": "SCOORD3D",
    "TextValue": "TEXT",
    "UID": "UIDREF",
}


def iod_faults(dataset: Dataset, iod: str) -> list[str]:
    """Type 1 attributes that are absent or empty, type 2 that are absent, in the mandatory modules of an IOD."""
    modules, attributes = get_iod_module_map()[iod], get_module_attribute_map()
    faults: list[str] = []
    for module in modules:
        if module["usage"] == "M":
            _check_level(dataset, attributes[module["key"]], [], faults)
    return faults + _missing_groups(dataset)


def _check_level(dataset: Dataset, table: list[dict[str, Any]], path: list[str], faults: list[str]) -> None:
    """Type 1 there and not empty, type 2 there, in this data set and in every item of the sequences it has."""
    for attribute in (attribute for attribute in table if list(attribute["path"]) == path):
        keyword, kind = attribute["keyword"], attribute["type"]
        name = "/".join([*path, keyword])
        if kind in ("1", "2") and keyword not in dataset and _is_due(dataset, keyword, path):
            faults.append(f"type {kind} {name} is missing")
        elif kind == "1" and keyword in dataset and dataset[keyword].VM == 0:
            faults.append(f"type 1 {name} is empty")
        elif kind == "1C" and keyword in dataset and dataset[keyword].VM == 0 and dataset[keyword].VR != "SQ":
            faults.append(f"type 1C {name} is there and empty")
        if keyword in dataset and dataset[keyword].VR == "SQ" and len(path) < 4:
            for item in dataset[keyword].value:
                _check_level(item, table, [*path, keyword], faults)
    if path == [CONTENT]:  # the tables show one level of a tree
        for item in dataset.get(CONTENT, ()):
            _check_level(item, table, path, faults)


def _is_due(dataset: Dataset, keyword: str, path: list[str]) -> bool:
    if len(path) == 1 and path[0] in GROUPS:
        return False
    if "ValueType" in dataset and keyword in BY_VALUE_TYPE:
        return dataset.ValueType in BY_VALUE_TYPE[keyword].split()
    return True


def _missing_groups(dataset: Dataset) -> list[str]:
    if GROUPS[0] not in dataset:
        return []
    shared = {element.keyword for item in dataset[GROUPS[0]] for element in item}
    return [
        f"functional group {name} is missing in frame {number}"
        for number, frame in enumerate(dataset[GROUPS[1]], start=1)
        for name in sorted(MANDATORY_GROUPS - shared - {element.keyword for element in frame})
    ]


def dciodvfy(path: Path, name: str) -> list[str]:
    """Its errors and warnings but the known ones. name: of the kind of object that it must take the file for."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed: the written object was NOT validated")
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr.splitlines()
    assert any(name in line for line in told)
    found = [line for line in told if "Error" in line or "Warning" in line]
    return [line for line in found if not any(known in line for known in KNOWN_MESSAGES)]
