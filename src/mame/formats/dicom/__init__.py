"""DICOM mammograms: any of them read, one kind written (Digital Mammography X-Ray Image, For Presentation)."""

from mame.formats.dicom.read import read_dicom, read_dicom_uncleared, read_header, read_mask_dicom
from mame.formats.dicom.write import write_dicom

__all__ = ["read_dicom", "read_dicom_uncleared", "read_header", "read_mask_dicom", "write_dicom"]
