"""DICOM Structured Report (Comprehensive SR, template TID 1500): a measurement group a lesion, its box as a region."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from mame.formats.labels.dicom import CATEGORY, FINDINGS, MANUFACTURER, check_lesions, own_uid, save
from mame.mammogram import Laterality, Lesion, Mammogram

SERIES_NUMBER = 3
_SIDES = {Laterality.L: codes.SCT.Left, Laterality.R: codes.SCT.Right}


def write_sr(mammogram: Mammogram, image: Dataset, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Writes the boxes of a mammogram's lesions as a report on `image`, the object that it was written as.

    Coordinates are those of DICOM's pixel grid, (0, 0) at the upper left corner of the first pixel. Raises MameError
    for no lesion, an existing file without `force`, and a folder that can't be written to. The file is whole or absent.
    """
    place = Path(path)
    check_lesions(mammogram, place)
    groups = [_group(mammogram, lesion, number, image) for number, lesion in enumerate(mammogram.lesions, start=1)]
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=own_uid(image, "sr observer"), name="mam-e", manufacturer_name=MANUFACTURER
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.Mammography,
        imaging_measurements=groups,
    )
    made = sr.ComprehensiveSR(
        evidence=[image],
        content=report,
        series_instance_uid=own_uid(image, "sr series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=own_uid(image, "sr"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=True,
    )
    save(made, image, place, force)


def _group(
    mammogram: Mammogram, lesion: Lesion, number: int, image: Dataset
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    x0, y0, x1, y1 = lesion.box.as_tuple()
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], dtype=np.float64)
    side = None if mammogram.laterality is None else _SIDES[mammogram.laterality]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=own_uid(image, f"lesion {number}"), identifier=f"{lesion.kind} {number}"
        ),
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=corners,
            source_image=sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
        ),
        finding_type=FINDINGS[lesion.kind],
        finding_category=CATEGORY,
        finding_sites=[sr.FindingSite(codes.SCT.Breast, laterality=side)],
    )
