"""Labels of lesions as detectors and hospitals read them: COCO, YOLO, VinDr's table, DICOM SEG and DICOM SR.

All say the same boxes, in the pixels of the image file they belong to.
"""

from mame.formats.labels.coco import write_coco
from mame.formats.labels.labelled import Finding, LabelledImage, labelled
from mame.formats.labels.seg import write_seg
from mame.formats.labels.sr import write_sr
from mame.formats.labels.vindr import write_vindr
from mame.formats.labels.yolo import write_yolo, write_yolo_names

__all__ = [
    "Finding",
    "LabelledImage",
    "labelled",
    "write_coco",
    "write_seg",
    "write_sr",
    "write_vindr",
    "write_yolo",
    "write_yolo_names",
]
