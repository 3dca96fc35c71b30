"""The vocabulary: what a mammogram is, in the words and units every room shares."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mame.errors import MameError

E = TypeVar("E", bound=StrEnum)


class View(StrEnum):
    """Projection: craniocaudal or mediolateral oblique."""

    CC = "CC"
    MLO = "MLO"


class Laterality(StrEnum):
    """Which breast: the patient's left or right."""

    L = "L"
    R = "R"


class Density(StrEnum):
    """BI-RADS breast composition, from almost entirely fat (A) to extremely dense (D)."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"


class Area(StrEnum):
    """Size of the projected breast; the limits are in :func:`area_from_cm2` and :func:`area_from_share`."""

    SMALL = "small"
    MEDIUM = "medium"
    BIG = "big"


class LesionKind(StrEnum):
    """What kind of finding; LESION where the kind was not recorded."""

    LESION = "lesion"
    MASS = "mass"
    CALCIFICATIONS = "calcifications"


class SpacingOrigin(StrEnum):
    """Where a pixel spacing comes from."""

    FILE = "file"
    GIVEN = "given"
    ASSUMED = "assumed"
    MODEL = "model"  # the frame of the model or simulator that made the picture


COARSEST_CALCIFICATION_MM = 0.1  # the largest pixel that still resolves calcifications
AREA_LIMITS_CM2 = (130.0, 195.0)
AREA_LIMITS_SHARE = (0.4, 0.6)


def area_from_cm2(area_cm2: float) -> Area:
    """Class of a breast's projected area in cm²: small < 130, medium < 195, big above.

    The limits are the paper's shares (0.4 and 0.6) of a square of 18 cm.
    """
    return _area(area_cm2, AREA_LIMITS_CM2)


def area_from_share(share: float) -> Area:
    """Class of the breast's share (0 to 1) of the paper's centre crop: small < 0.4, medium < 0.6, big above."""
    return _area(share, AREA_LIMITS_SHARE)


def _area(value: float, limits: tuple[float, float]) -> Area:
    if value < limits[0]:
        return Area.SMALL
    return Area.MEDIUM if value < limits[1] else Area.BIG


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned box in pixels, half-open: it holds x with x0 <= x < x1; x to the right, y down.

    Raises MameError where it is empty, reversed or not finite.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in self.as_tuple()):
            raise MameError(f"box {self.as_tuple()} has a coordinate that is not a finite number")
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise MameError(f"box {self.as_tuple()} is empty or reversed: it must have x0 < x1 and y0 < y1")

    @property
    def width(self) -> float:
        """x1 - x0, pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """y1 - y0, pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Width times height, square pixels."""
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def as_tuple(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        return self.x0, self.y0, self.x1, self.y1

    def rounded(self) -> Box:
        """The smallest box with whole-number edges that holds this one."""
        return Box(math.floor(self.x0), math.floor(self.y0), math.ceil(self.x1), math.ceil(self.y1))

    def check_inside(self, shape: tuple[int, int]) -> None:
        """Raises MameError where the box reaches outside a picture of that shape (H, W)."""
        if self.x0 < 0 or self.y0 < 0 or self.x1 > shape[1] or self.y1 > shape[0]:
            raise MameError(
                f"box {self.as_tuple()} reaches outside the picture of {shape[1]} x {shape[0]} pixels (W x H)"
            )

    def clipped(self, shape: tuple[int, int]) -> Box | None:
        """The part inside an image of shape (H, W), or None where nothing is inside."""
        x0, y0 = max(self.x0, 0), max(self.y0, 0)
        x1, y1 = min(self.x1, shape[1]), min(self.y1, shape[0])
        return Box(x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def grown(self, margin: float) -> Box:
        """The box with `margin` pixels more on every side."""
        return Box(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def mirrored(self, width: float) -> Box:
        """The box in the left-right mirrored image of that width."""
        return Box(width - self.x1, self.y0, width - self.x0, self.y1)

    def iou(self, other: Box) -> float:
        """Intersection over union with another box, 0 to 1."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        common = max(w, 0.0) * max(h, 0.0)
        return common / (self.area + other.area - common)

    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) of a box with whole-number edges."""
        return slice(int(self.y0), int(self.y1)), slice(int(self.x0), int(self.x1))

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> Box | None:
        """The tight box around the true pixels of an H×W mask, or None where there are none."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            return None
        return cls(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

    def to_mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """H×W mask, true inside the box (its rounded, clipped edges)."""
        mask = np.zeros(shape, dtype=bool)
        inside = self.rounded().clipped(shape)
        if inside is not None:
            mask[inside.slices()] = True
        return mask


@dataclass(frozen=True, slots=True)
class Lesion:
    """One finding. `box` is in pixels of the record's image; `mask` (H×W bool) where an outline is known."""

    kind: LesionKind
    box: Box
    mask: NDArray[np.bool_] | None = None
    birads: str | None = None
    pathology: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", closed(LesionKind, self.kind, "lesion kind"))


@dataclass(frozen=True, slots=True)
class Description:
    """What a prompt can say. Every field may be None: not said."""

    vendor: str | None = None
    view: View | None = None
    density: Density | None = None
    area: Area | None = None
    lesion: LesionKind | None = None

    def __post_init__(self) -> None:
        closed_fields = {"view": View, "density": Density, "area": Area, "lesion": LesionKind}
        for name, kind in closed_fields.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, closed(kind, value, name))
        if self.vendor is not None and (self.vendor != self.vendor.lower() or not self.vendor.strip()):
            raise MameError(f"vendor {self.vendor!r} must be a lower-case word such as 'siemens' or 'hologic'")


@dataclass(frozen=True, slots=True)
class Stored:
    """The values a file held, and the monotone map between them and [0, 1].

    values: H×W integers as stored. lut: float32, lut[v - first] is the grey of stored value v, in [0, 1], rising or
    falling throughout (MONOCHROME1). bits: how many bits a value may use. presentation: what a writer needs to say
    the same map again, in the words of the format that was read (for DICOM: keyword -> value).
    """

    values: NDArray[np.integer[Any]]
    lut: NDArray[np.float32]
    first: int
    bits: int
    presentation: dict[str, Any] = field(default_factory=dict)

    def greys(self) -> NDArray[np.float32]:
        """H×W float32 in [0, 1]: every stored value through the map."""
        return self.lut[self.values.astype(np.int64) - self.first]

    def values_of(self, greys: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The stored values whose greys are nearest to `greys` (any shape, [0, 1])."""
        lut = self.lut if self.lut[-1] >= self.lut[0] else self.lut[::-1]
        steps = np.concatenate(([True], np.diff(lut) > 0))  # a flat piece is entered at its first value
        knots = np.flatnonzero(steps)
        index = np.rint(np.interp(greys, lut[knots], knots)).astype(np.int64)
        if lut is not self.lut:
            index = len(lut) - 1 - index
        return (index + self.first).astype(self.values.dtype)


@dataclass(frozen=True, slots=True)
class Mammogram:
    """One mammogram: the one currency between rooms.

    pixels: float32, H×W, in [0, 1], presentation-ready (bright = dense), air exactly 0.
    spacing_mm: size of a pixel in the plane of the detector, or None where nobody knows.
    source: where it came from, in words a user recognises (a path, "mini", "phantom").
    provenance: how it was made (prompt, seed, model, …), in values JSON can hold.
    """

    pixels: NDArray[np.float32]
    spacing_mm: float | None = None
    laterality: Laterality | None = None
    description: Description = field(default_factory=Description)
    lesions: tuple[Lesion, ...] = ()
    patient: str | None = None
    source: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    spacing_origin: SpacingOrigin = SpacingOrigin.FILE
    synthetic: bool = False
    stored: Stored | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.float32:
            raise MameError(
                f"pixels must be a two-dimensional float32 array, not {self.pixels.dtype} of shape {self.pixels.shape}"
            )
        if self.laterality is not None:
            object.__setattr__(self, "laterality", closed(Laterality, self.laterality, "laterality"))

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def with_(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)


def closed(kind: type[E], value: object, name: str) -> E:
    """`value` as a member of a closed vocabulary; raises MameError that lists the members."""
    try:
        return kind(str(value))
    except ValueError:
        raise MameError(f"{name} {value!r} is none of {', '.join(kind)}") from None
