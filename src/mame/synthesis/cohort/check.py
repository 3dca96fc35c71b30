"""Is a picture what was ordered? It is measured, and what is too far from the order is told in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.dataset.picture import Framing, Measured, Seen, look, measure
from mame.imaging.breast import estimate_view, pectoral_mask
from mame.imaging.density import density_class
from mame.imaging.framing import Frame
from mame.imaging.outline import enlarged
from mame.mammogram import Area, Box, Density, Laterality, Mammogram, View
from mame.synthesis.cohort.deal import Order
from mame.synthesis.plan import Accept


@dataclass(frozen=True)
class Looked:
    """A picture as it was looked at. pectoral: h×w at the reduced size of `seen`."""

    seen: Seen
    pectoral: NDArray[np.bool_]
    view: View
    measured: Measured

    def masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(breast, pectoral muscle) at the picture's size (H, W)."""
        breast = enlarged(self.seen.breast.mask, self.seen.factor, self.seen.shape)
        return breast, enlarged(self.pectoral, self.seen.factor, self.seen.shape)

    def to_json(self) -> dict[str, Any]:
        """What was measured, in values JSON can hold."""
        return {
            "view": self.view,
            "density": density_class(self.measured.percent_density),
            "percent_density": round(self.measured.percent_density, 2),
            "area": self.measured.area,
            "area_cm2": round(self.measured.area_cm2, 2),
        }


def look_at(mammogram: Mammogram, framing: Framing) -> Looked:
    """The picture measured. framing: how the size of the breast is told. Raises MameError where no breast is found."""
    seen = look(mammogram.pixels)
    assert mammogram.spacing_mm is not None
    measured = measure(seen, whole(mammogram), framing, mammogram.spacing_mm, mammogram.description.view)
    return Looked(seen, pectoral_mask(seen.small, seen.breast), estimate_view(seen.small, seen.breast), measured)


def whole(mammogram: Mammogram) -> Frame:
    """The frame that leaves a picture as it is, but for right breasts, which it mirrors to the left."""
    height, width = mammogram.shape
    mirror = mammogram.laterality is Laterality.R
    return Frame((height, width), mirror, (0.0, 0.0, width, height), (height, width), 1.0, mammogram.spacing_mm)


def misses(order: Order, looked: Looked, accept: Accept) -> list[str]:
    """What is too far from the order, each in words."""
    found, asked = [], order.words
    side = looked.seen.breast.laterality
    if accept.side and order.side is not None and side is not order.side:
        found.append(f"side {side} instead of {order.side}")
    if accept.view and asked.view is not None and looked.view is not asked.view:
        found.append(f"view {looked.view} instead of {asked.view}")
    density, area = density_class(looked.measured.percent_density), looked.measured.area
    if asked.density is not None and _is_off(
        list(Density).index(density), list(Density).index(asked.density), accept.density
    ):
        found.append(f"density {density} ({looked.measured.percent_density:.0f} %) instead of {asked.density}")
    if asked.area is not None and _is_off(list(Area).index(area), list(Area).index(asked.area), accept.area):
        found.append(f"area {area} ({looked.measured.area_cm2:.0f} cm²) instead of {asked.area}")
    return found


def _is_off(one: int, other: int, allowed: int | None) -> bool:
    return allowed is not None and abs(one - other) > allowed


def not_visible(painted: Mammogram, asked: Box, least: float | None) -> str:
    """Why the lesion that was painted last is not where it was ordered, or ""."""
    if least is None:
        return ""
    corners = painted.provenance.get("box_measured")
    overlap = asked.iou(Box(*corners)) if corners else 0.0
    return "" if overlap >= least else f"the lesion is not visible where it was ordered (overlap {overlap:.2f})"
