"""What every label format says of one image: its file, its size, whose it is, and its lesions, masks as run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from mame.mammogram import Box, Density, Laterality, LesionKind, Mammogram, View

KINDS: Sequence[LesionKind] = tuple(LesionKind)  # the classes of every file: always all, so that cohorts can be joined


@dataclass(frozen=True, slots=True)
class Finding:
    """A lesion. box: in pixels of the image file; counts: its mask as COCO's compressed run lengths, "" without one."""

    kind: LesionKind
    box: Box
    counts: str = ""
    birads: str = ""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image file and its lesions. shape: (H, W); study, series: UIDs or names; split: training, validation or test.

    view, laterality and density are None where nobody knows.
    """

    image_id: str
    file: str
    shape: tuple[int, int]
    study: str
    series: str
    laterality: Laterality | None
    view: View | None
    density: Density | None
    split: str
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """In values JSON can hold."""
        words = ("image_id", "file", "study", "series", "laterality", "view", "density", "split")
        lesions = [
            {"kind": found.kind, "box": list(found.box.as_tuple()), "counts": found.counts, "birads": found.birads}
            for found in self.findings
        ]
        return {word: getattr(self, word) for word in words} | {"shape": list(self.shape), "findings": lesions}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_json`; raises KeyError, ValueError, TypeError or MameError."""
        words = {word: said[word] for word in ("image_id", "file", "study", "series", "split")}
        kinds = {"laterality": Laterality, "view": View, "density": Density}
        known = {name: kind(said[name]) if said[name] else None for name, kind in kinds.items()}
        findings = tuple(
            Finding(LesionKind(one["kind"]), Box(*one["box"]), one["counts"], one["birads"]) for one in said["findings"]
        )
        return cls(**words, **known, shape=tuple(said["shape"]), findings=findings)  # type: ignore[arg-type]


def labelled(
    mammogram: Mammogram, image_id: str, file: str, *, study: str = "", series: str = "", split: str = "training"
) -> LabelledImage:
    """What label files say of a mammogram that is written as `file`; every box is clipped to the image."""
    found = []
    for lesion in mammogram.lesions:
        box = lesion.box.clipped(mammogram.shape)
        if box is not None:
            counts = "" if lesion.mask is None else encode(lesion.mask)
            found.append(Finding(lesion.kind, box, counts, lesion.birads or ""))
    said = mammogram.description
    return LabelledImage(
        image_id,
        file,
        mammogram.shape,
        study or image_id,
        series or image_id,
        mammogram.laterality,
        said.view,
        said.density,
        split,
        tuple(found),
    )


def encode(mask: NDArray[np.bool_]) -> str:
    """A mask (H, W) as COCO's compressed run lengths."""
    return str(run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode("ascii"))


def decode(counts: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The inverse of :func:`encode` for a mask of shape (H, W)."""
    return np.asarray(run_lengths.decode({"size": list(shape), "counts": counts.encode()}), dtype=np.bool_)
