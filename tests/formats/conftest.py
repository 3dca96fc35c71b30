"""A small breast, and DICOM files made around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)
from scipy import ndimage

from mame.mammogram import Density, Description, Laterality, Mammogram, View

SHAPE = (600, 400)

MakeDicom = Callable[..., Path]


def make_breast(shape: tuple[int, int] = SHAPE, seed: int = 0) -> NDArray[np.float32]:
    """H×W float32 in [0, 1]: half an ellipse against the left edge with texture; air exactly 0."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = ((rows / shape[0] - 0.5) / 0.42) ** 2 + (columns / shape[1] / 0.7) ** 2
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    greys = 0.45 + 0.15 * texture / texture.std() * np.clip(1 - distance, 0, 1)
    fade = np.clip((1 - distance) * 8, 0, 1)
    return np.where(distance < 1, np.clip(greys * (0.3 + 0.7 * fade), 0.02, 1), 0).astype(np.float32)


@pytest.fixture(scope="session")
def breast() -> NDArray[np.float32]:
    """The small breast."""
    return make_breast()


@pytest.fixture
def generated(breast: NDArray[np.float32]) -> Mammogram:
    """A record as a model hands it over."""
    return Mammogram(
        breast,
        spacing_mm=0.5,
        laterality=Laterality.L,
        description=Description(vendor="siemens", view=View.MLO, density=Density.C),
        source="mini",
        synthetic=True,
        provenance={
            "prompt": "a siemens mammogram in MLO view with high density",
            "model": "mini",
            "model_hash": "abc",
            "seed": 7,
            "fast": True,
        },
    )


def mg_dataset(values: NDArray[Any], **attributes: Any) -> Dataset:
    """An MG object around H×W stored values; `attributes` replace or (None) remove elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bits = values.dtype.itemsize * 8
    signed = values.dtype.kind == "i"
    elements: dict[str, Any] = {
        "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "Modality": "MG",
        "PresentationIntentType": "FOR PRESENTATION",
        "Manufacturer": "SIEMENS",
        "PatientName": "Secret^Identity",
        "PatientID": "HOSPITAL-4711",
        "PatientBirthDate": "19600102",
        "InstitutionName": "Secret Hospital",
        "ImageLaterality": "L",
        "ViewPosition": "CC",
        "ImagerPixelSpacing": ["0.085", "0.085"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(signed),
    } | attributes
    elements.setdefault("HighBit", elements["BitsStored"] - 1)
    dataset.set_original_encoding(False, True)
    for keyword, value in elements.items():
        if value is not None:
            setattr(dataset, keyword, value)
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", "OW" if bits == 16 else "OB", data + b"\0" * (len(data) % 2))
    return dataset


@pytest.fixture
def make_dicom(tmp_path: Path) -> MakeDicom:
    """make_dicom(values, name="in.dcm", **attributes) -> path of an MG object."""

    def make(values: NDArray[Any], name: str = "in.dcm", **attributes: Any) -> Path:
        path = tmp_path / name
        dcmwrite(path, mg_dataset(values, **attributes), enforce_file_format=True)
        return path

    return make


def stored_12_bits(breast: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The small breast in 12 bits, 200 (air) to 3200."""
    return np.rint(200 + 3000 * breast).astype(np.uint16)
