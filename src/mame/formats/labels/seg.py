"""DICOM Segmentation (PS3.3 A.51): a binary frame a lesion, at the size of the image."""

from __future__ import annotations

import os
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from mame.errors import MameError
from mame.formats.dicom.write import software_version
from mame.formats.labels.dicom import CATEGORY, FINDINGS, MANUFACTURER, algorithm, check_lesions, own_uid, save
from mame.mammogram import Mammogram

SERIES_NUMBER = 2


def write_seg(mammogram: Mammogram, image: Dataset, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Writes the masks of a mammogram's lesions as one Segmentation, a segment a lesion.

    image: the DICOM object that the mammogram was written as (`to_dataset`; its pixels are not looked at). A lesion
    without a mask is its box. Raises MameError for no lesion, an image of another size, an existing file without
    `force`, and a folder that can't be written to. The file is whole or absent.
    """
    place = Path(path)
    check_lesions(mammogram, place)
    if mammogram.shape != (image.Rows, image.Columns):
        raise MameError(f"{place}: the masks are of shape {mammogram.shape}, the image {image.Rows} × {image.Columns}")
    masks = [
        lesion.box.to_mask(mammogram.shape) if lesion.mask is None else lesion.mask for lesion in mammogram.lesions
    ]
    made = hd.seg.Segmentation(
        source_images=[image],
        pixel_array=np.stack(masks, axis=-1)[None],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=f"{lesion.kind} {number}",
                segmented_property_category=CATEGORY,
                segmented_property_type=FINDINGS[lesion.kind],
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm(),
            )
            for number, lesion in enumerate(mammogram.lesions, start=1)
        ],
        series_instance_uid=own_uid(image, "seg series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=own_uid(image, "seg"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="mam-e",
        software_versions=software_version(),
        device_serial_number="1",
        content_label="LESIONS",
        content_description="Lesions of a synthetic mammogram",
        omit_empty_frames=False,
    )
    dimensions = own_uid(image, "seg dimensions")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    made.PatientOrientation = image.PatientOrientation  # type 2C: there is no frame of reference to say it
    save(made, image, place, force)
