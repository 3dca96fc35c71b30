"""Framing: invertible maps between the pixels of a source image and the pixels a model sees.

Coordinates are continuous and pixels half-open: pixel i spans [i, i + 1). Every map is mirror, then crop or
pad, then resize.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from mame.errors import MameError
from mame.imaging.breast import Breast
from mame.imaging.resampling import covered, cut_resized, reach, resized, support
from mame.mammogram import Box, Laterality, closed

FIELD_MM = 256.0  # a side of the field frame: what of a detector the models see
MAX_ANISOTROPY = 0.005
FIELD_MARGIN_MM = 2.0


class Enlarging(StrEnum):
    """The kernel of a frame that enlarges; shrinking is always antialiased bilinear."""

    BICUBIC = "bicubic"
    BILINEAR = "bilinear"


_KERNELS = {Enlarging.BICUBIC: Image.Resampling.BICUBIC, Enlarging.BILINEAR: Image.Resampling.BILINEAR}


@dataclass(frozen=True, slots=True)
class Frame:
    """One invertible map from source pixels to model pixels.

    source_shape: (H, W) of the source. mirror: whether the source is mirrored left-right first.
    window: (x0, y0, x1, y1) in source pixels after mirroring; what reaches outside the source is padded with zeros.
    shape: (h, w) of the model image. shrink: factor <= 1 by which a fixed physical field had to be scaled down to
    hold the breast. source_spacing_mm: size of a source pixel, or None where nobody knows.

    Raises MameError for an empty window or shape, and for a window whose two scales differ by more than 0.5 %
    and more than one model pixel.
    """

    source_shape: tuple[int, int]
    mirror: bool
    window: tuple[float, float, float, float]
    shape: tuple[int, int]
    shrink: float = 1.0
    source_spacing_mm: float | None = None
    enlarging: Enlarging = Enlarging.BICUBIC

    def __post_init__(self) -> None:
        object.__setattr__(self, "enlarging", closed(Enlarging, self.enlarging, "enlarging"))
        if min(self.source_shape) < 1 or min(self.shape) < 1:
            raise MameError(f"a frame from {self.source_shape} to {self.shape} pixels is empty")
        Box(*self.window)
        x_scale, y_scale = self._scales
        # One pixel of rounding is more than 0.5 % of a very small image.
        allowed = max(MAX_ANISOTROPY, 1 / min(self.shape))
        if abs(x_scale / y_scale - 1) > allowed:
            raise MameError(f"frame window {self.window} and shape {self.shape} would distort the picture")

    @property
    def _scales(self) -> tuple[float, float]:
        """(x, y) model pixels per source pixel."""
        x0, y0, x1, y1 = self.window
        return self.shape[1] / (x1 - x0), self.shape[0] / (y1 - y0)

    @property
    def scale(self) -> float:
        """Model pixels per source pixel (the geometric mean of both axes, so that areas scale by its square)."""
        x_scale, y_scale = self._scales
        return math.sqrt(x_scale * y_scale)

    @property
    def field_mm(self) -> float | None:
        """Width of the window in mm, or None where the source's spacing is unknown."""
        if self.source_spacing_mm is None:
            return None
        return (self.window[2] - self.window[0]) * self.source_spacing_mm

    def spacing_mm(self, source_spacing_mm: float) -> float:
        """Size in mm of a model pixel, given that of a source pixel."""
        return source_spacing_mm / self.scale

    # -- points and boxes ------------------------------------------------------------------------------------------

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A point of the source in model pixels; it may lie outside the model image."""
        if self.mirror:
            x = self.source_shape[1] - x
        x_scale, y_scale = self._scales
        return (x - self.window[0]) * x_scale, (y - self.window[1]) * y_scale

    def point_back(self, x: float, y: float) -> tuple[float, float]:
        """A point of the model image in source pixels: the inverse of :meth:`point`."""
        x_scale, y_scale = self._scales
        x, y = x / x_scale + self.window[0], y / y_scale + self.window[1]
        return (self.source_shape[1] - x if self.mirror else x), y

    def box(self, box: Box) -> Box:
        """A box of the source in model pixels, not clipped."""
        return _box_of(self.point(box.x0, box.y0), self.point(box.x1, box.y1))

    def box_back(self, box: Box) -> Box:
        """A box of the model image in source pixels, not clipped: the inverse of :meth:`box`."""
        return _box_of(self.point_back(box.x0, box.y0), self.point_back(box.x1, box.y1))

    # -- pictures --------------------------------------------------------------------------------------------------

    def apply(self, pixels: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The model image, float32 (h, w) in [0, 1], of a source (H, W) in [0, 1].

        Antialiased bilinear where it shrinks, `enlarging` where it enlarges. Raises MameError for another shape.
        """
        return np.clip(self._apply(pixels, self._kernel(self.scale)), 0.0, 1.0)

    def apply_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The (h, w) mask of a source (H, W) mask: true where at least half of a model pixel's area is."""
        kernel = Image.Resampling.BOX if self.scale < 1 else Image.Resampling.BILINEAR
        return self._apply(mask, kernel) >= 0.5

    def restore(self, model_pixels: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """A model image (h, w) back at the source's resolution: float32 (H, W) in [0, 1], zero outside the window."""
        return self._restore_full(np.asarray(model_pixels, dtype=np.float32), self._kernel(1 / self.scale))

    def restore_mask(self, model_mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A model mask (h, w) back at the source's resolution: (H, W), false outside the window."""
        kernel = Image.Resampling.BOX if self.scale > 1 else Image.Resampling.BILINEAR
        return self._restore_full(np.asarray(model_mask, dtype=np.float32), kernel) >= 0.5

    def source_slices(self) -> tuple[slice, slice]:
        """(rows, columns) of the source pixels, not mirrored, whose centres lie inside the window."""
        height, width = self.source_shape
        x0, y0, x1, y1 = self.window
        columns = covered(x0, x1, width)
        if self.mirror:
            columns = slice(width - columns.stop, width - columns.start)
        return covered(y0, y1, height), columns

    def restore_window(self, model_pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The part of a restored model image (h, w) that :meth:`source_slices` names, not clipped.

        Linear in its input, so that differences of model images can be restored too.
        """
        return self._restore(model_pixels, self._kernel(1 / self.scale))

    # -- JSON ------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The frame in values JSON can hold."""
        said = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()} | {
            "enlarging": self.enlarging.value
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """The frame that :meth:`to_json` wrote. Raises MameError where a field is missing or unknown."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
        try:
            return cls(**fields)
        except TypeError as error:
            raise MameError(f"not a frame: {error}") from None

    # -- how -------------------------------------------------------------------------------------------------------

    def _kernel(self, scale: float) -> Image.Resampling:
        return Image.Resampling.BILINEAR if scale <= 1 else _KERNELS[self.enlarging]

    def _apply(self, pixels: NDArray[Any], kernel: Image.Resampling) -> NDArray[np.float32]:
        if pixels.shape != self.source_shape:
            raise MameError(f"this frame is for pixels of shape {self.source_shape}, not {pixels.shape}")
        mirrored = pixels[:, ::-1] if self.mirror else pixels
        x_scale, y_scale = self._scales
        x0, y0, x1, y1 = self.window
        top, bottom = reach(y0, y1, pixels.shape[0], support(y_scale))
        left, right = reach(x0, x1, pixels.shape[1], support(x_scale))
        box = (x0 - left, y0 - top, x1 - left, y1 - top)
        return cut_resized(mirrored, (top, bottom, left, right), self.shape, box, kernel)

    def _restore(self, model: NDArray[np.float32], kernel: Image.Resampling) -> NDArray[np.float32]:
        if model.shape != self.shape:
            raise MameError(f"this frame gives model pixels of shape {self.shape}, not {model.shape}")
        rows, columns = covered(self.window[1], self.window[3], self.source_shape[0]), self._mirrored_columns()
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return np.zeros((max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)), dtype=np.float32)
        x_scale, y_scale = self._scales
        # Half a source pixel at the window's edge may reach outside the model image.
        margin = math.ceil(max(x_scale, y_scale)) + 2
        padded = np.pad(np.asarray(model, dtype=np.float32), margin, mode="edge")
        inside = (
            (columns.start - self.window[0]) * x_scale + margin,
            (rows.start - self.window[1]) * y_scale + margin,
            (columns.stop - self.window[0]) * x_scale + margin,
            (rows.stop - self.window[1]) * y_scale + margin,
        )
        patch = resized(padded, (rows.stop - rows.start, columns.stop - columns.start), inside, kernel)
        return patch[:, ::-1] if self.mirror else patch

    def _restore_full(self, model: NDArray[np.float32], kernel: Image.Resampling) -> NDArray[np.float32]:
        source = np.zeros(self.source_shape, dtype=np.float32)
        source[self.source_slices()] = np.clip(self._restore(model, kernel), 0.0, 1.0)
        return source

    def _mirrored_columns(self) -> slice:
        return covered(self.window[0], self.window[2], self.source_shape[1])


# -- the ready-made frames ------------------------------------------------------------------------------------------


def field(
    shape: tuple[int, int], spacing_mm: float, breast: Breast, size: int = 512, field_mm: float = FIELD_MM
) -> Frame:
    """A fixed physical field: chest wall at the left edge, vertically centred on the breast.

    shape: (H, W) of the source, with pixels of spacing_mm. A right breast is mirrored. Where the breast is larger
    than field_mm the window grows until no tissue is lost, and `Frame.shrink` is field_mm over the field it has.
    Raises MameError for a spacing or field that is not positive, and for a breast found in another shape.
    """
    if not (spacing_mm > 0 and field_mm > 0):
        raise MameError(f"pixel spacing ({spacing_mm} mm) and field ({field_mm} mm) must be positive")
    if breast.mask.shape != tuple(shape):
        raise MameError(f"the breast was found in a picture of shape {breast.mask.shape}, not {tuple(shape)}")
    extent = Box.of_mask(breast.mask)
    if extent is None:
        raise MameError("the breast mask is empty: there is nothing to frame")
    mirror = breast.laterality is Laterality.R
    if mirror:
        extent = extent.mirrored(shape[1])
    margin = FIELD_MARGIN_MM / spacing_mm
    wanted = field_mm / spacing_mm
    side = max(wanted, extent.width + margin, extent.height + 2 * margin)
    y0 = extent.centre[1] - side / 2
    window = (extent.x0, y0, extent.x0 + side, y0 + side)
    return Frame(_ints(shape), mirror, window, (size, size), shrink=wanted / side, source_spacing_mm=spacing_mm)


def center_crop(
    shape: tuple[int, int], size: int = 512, mirror: bool = False, spacing_mm: float | None = None
) -> Frame:
    """Short side resized to `size`, then the centre: what the paper's published weights were trained on.

    Within one grey level in 255 of Pillow's `resize(..., BILINEAR)` followed by `crop`.
    """
    height, width = shape
    short = min(height, width)
    resized_h, resized_w = (max(size, round(side * size / short)) for side in (height, width))
    top, left = (resized_h - size) // 2, (resized_w - size) // 2
    x_step, y_step = width / resized_w, height / resized_h
    window = (left * x_step, top * y_step, (left + size) * x_step, (top + size) * y_step)
    return Frame(_ints(shape), mirror, window, (size, size), source_spacing_mm=spacing_mm, enlarging=Enlarging.BILINEAR)


def lesion_window(
    shape: tuple[int, int],
    box: Box,
    spacing_mm: float | None = None,
    size: int = 512,
    factor: float = 3.0,
    mirror: bool = False,
) -> Frame:
    """A square window of `factor` times the longer side of a lesion's box, centred on it.

    box: in source pixels, not mirrored. The window is shifted to stay inside the image where the image is large
    enough; where it is not, the image is centred in it and padded. Raises MameError for a box that does not touch
    the image and a factor below 1.
    """
    if factor < 1:
        raise MameError(f"a lesion window must hold the lesion: factor {factor} is below 1")
    if box.clipped(shape) is None:
        raise MameError(f"box {box.as_tuple()} lies outside the image of {shape[1]} x {shape[0]} pixels (W x H)")
    seen = box.mirrored(shape[1]) if mirror else box
    side = factor * max(seen.width, seen.height)
    x0, y0 = (
        _kept_inside(centre - side / 2, side, length)
        for centre, length in zip(seen.centre, (shape[1], shape[0]), strict=True)
    )
    return Frame(_ints(shape), mirror, (x0, y0, x0 + side, y0 + side), (size, size), source_spacing_mm=spacing_mm)


# -- painting back --------------------------------------------------------------------------------------------------


def feather(mask: NDArray[np.bool_], width_px: float) -> NDArray[np.float32]:
    """Blending weight of a painted region: float32 (H, W), 1 inside the mask, exactly 0 from `width_px` away on.

    mask: (H, W) at the source's resolution (for a box, `box.to_mask(shape)`). Between the two it falls as a
    smoothstep of the Euclidean distance.
    """
    alpha = mask.astype(np.float32)
    extent = Box.of_mask(mask)
    if extent is None or width_px <= 0:
        return alpha
    near = extent.grown(math.ceil(width_px)).clipped((mask.shape[0], mask.shape[1]))
    if near is not None:
        distance = distance_transform_edt(~mask[near.slices()])
        t = np.clip(1.0 - distance / width_px, 0.0, 1.0)
        alpha[near.slices()] = t * t * (3.0 - 2.0 * t)
    return alpha


def paste(
    source: NDArray[np.float32], painted: NDArray[np.float32], frame: Frame, alpha: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The source (H, W) with the change that was painted into its model image (h, w), in [0, 1].

    What is added is alpha · (restore(painted) - restore(apply(source))), so detail of the source that the window
    can't resolve is kept. Where alpha (H, W) is 0, and outside the window, the values stay bit-identical.
    """
    if alpha.shape != source.shape:
        raise MameError(f"alpha of shape {alpha.shape} does not fit a source of shape {source.shape}")
    slices = frame.source_slices()
    change = frame.restore_window(np.asarray(painted, dtype=np.float32) - frame.apply(source))
    weight = alpha[slices]
    result = source.copy()
    before = source[slices]
    result[slices] = np.where(weight > 0, np.clip(before + weight * change, 0.0, 1.0), before)
    return result


# -- helpers --------------------------------------------------------------------------------------------------------


def _ints(shape: tuple[int, int]) -> tuple[int, int]:
    return int(shape[0]), int(shape[1])


def _box_of(a: tuple[float, float], b: tuple[float, float]) -> Box:
    return Box(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))


def _kept_inside(start: float, side: float, length: int) -> float:
    return (length - side) / 2 if side > length else min(max(start, 0.0), length - side)
