"""Files in and out: DICOM, PNG, labels."""
