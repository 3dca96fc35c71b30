"""Pictures for a page: mammograms at a reduced size with what was found drawn over them, and close-ups with boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, label
from skimage.measure import find_contours

from mame.mammogram import Box

OUTLINE = (64, 196, 255)
MUSCLE = (255, 176, 32)
LETTERS = (255, 92, 122)
ASKED = (64, 196, 255)
MEASURED = (255, 176, 32)
LETTER_GREY = 0.35  # of the way from the film's black to its white
LETTERS_APART = 0.012  # of the picture's longer side: nearer ones are one inscription


def reduced(pixels: NDArray[np.float32], height: int) -> Image.Image:
    """An 8-bit RGB picture `height` pixels high (or less, where the source has less) of greys in [0, 1]."""
    grey = Image.fromarray(pixels, mode="F") if pixels.shape[0] <= height else _resized(pixels, height)
    return Image.fromarray(np.rint(np.clip(np.asarray(grey), 0, 1) * 255).astype(np.uint8)).convert("RGB")


def draw_outline(picture: Image.Image, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    """Draws the border of a mask (H×W at any size) over a picture of the same aspect."""
    height = picture.height
    small = np.asarray(_resized(mask.astype(np.float32), height)) if mask.shape[0] > height else mask.astype(np.float32)
    scale = picture.width / small.shape[1]
    pen = ImageDraw.Draw(picture)
    for line in find_contours(np.pad(small, 1), 0.5):
        pen.line([((x - 0.5) * scale, (y - 0.5) * scale) for y, x in line], fill=colour, width=2)


def draw_box(picture: Image.Image, box: Box, scale: float, colour: tuple[int, int, int], dashed: bool = False) -> None:
    """Draws the border of a box given in source pixels, `scale` picture pixels to each."""
    x0, y0, x1, y1 = (value * scale for value in box.as_tuple())
    pen = ImageDraw.Draw(picture)
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        for a, b in _dashes(start, end) if dashed else ((start, end),):
            pen.line([a, b], fill=colour, width=2)


def surroundings(box: Box, shape: tuple[int, int], factor: float = 3.0) -> Box:
    """A square `factor` times as wide as a box around it, inside an image of shape (H, W) where there is room."""
    height, width = shape
    side = min(factor * max(box.width, box.height), height, width)
    x0 = min(max(box.centre[0] - side / 2, 0.0), width - side)
    y0 = min(max(box.centre[1] - side / 2, 0.0), height - side)
    return Box(x0, y0, x0 + side, y0 + side)


def moved(box: Box, square: Box) -> Box:
    """A box in pixels from the corner of a square that it lies in."""
    return Box(box.x0 - square.x0, box.y0 - square.y0, box.x1 - square.x0, box.y1 - square.y0)


def cut(
    pixels: NDArray[np.float32], square: Box, side: int = 384, greys: tuple[float, float] = (0.0, 1.0)
) -> Image.Image:
    """The part of a picture H×W in [0, 1] inside a square, as 8-bit RGB, side×side; greys: what is black and white."""
    kernel = Image.Resampling.BICUBIC if square.width < side else Image.Resampling.BOX
    part = np.asarray(Image.fromarray(pixels).resize((side, side), kernel, box=square.as_tuple()))
    shown = np.clip((part - greys[0]) / (greys[1] - greys[0]), 0, 1)
    return Image.fromarray(np.rint(shown * 255).astype(np.uint8)).convert("RGB")


def spread(pixels: NDArray[np.float32], square: Box) -> tuple[float, float]:
    """Black and white for :func:`cut`, between which nearly all greys of a picture in a square lie with some room."""
    part = pixels[square.rounded().slices()]
    low, high = (float(value) for value in np.quantile(part, [0.005, 0.995]))
    room = 0.15 * max(high - low, 0.05)
    return max(low - room, 0.0), min(high + room, 1.0)


def letters(greys: NDArray[np.float32], breast: NDArray[np.bool_]) -> list[Box]:
    """Boxes around what is bright outside the breast and not the film's border: burnt-in letters and markers.

    greys: H×W in [0, 1] with air as the file has it.
    """
    factor = max(1, round(max(greys.shape) / 768))
    small = np.asarray(Image.fromarray(greys).reduce(factor))
    near = max(1, round(LETTERS_APART * max(small.shape)))
    inside = np.asarray(Image.fromarray(breast.astype(np.float32)).reduce(factor)) > 0
    outside = ~binary_dilation(inside, iterations=3 * near)  # what touches the breast is glow or a skin fold
    low, high = (float(value) for value in np.quantile(small, [0.02, 0.995]))
    bright = _without_borders(outside & (small > low + LETTER_GREY * (high - low)))
    groups, count = label(binary_dilation(bright, iterations=near))
    found = []
    for number in range(1, count + 1):
        box = Box.of_mask(bright & (groups == number))
        if box is not None and _is_inscription(box, small.shape):
            found.append(Box(*(value * factor for value in box.as_tuple())).clipped((greys.shape[0], greys.shape[1])))
    return [box for box in found if box is not None]


def _without_borders(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without pieces that are as long as a side of the picture."""
    pieces, count = label(bright)
    kept = bright.copy()
    for number in range(1, count + 1):
        box = Box.of_mask(pieces == number)
        if box is not None and (box.height > 0.4 * bright.shape[0] or box.width > 0.4 * bright.shape[1]):
            kept[pieces == number] = False
    return kept


def _is_inscription(box: Box, shape: tuple[int, ...]) -> bool:
    """Large enough to be read, and small enough not to be a film's border."""
    height, width = shape[0], shape[1]
    return 0.015 * height < box.height < 0.3 * height and 0.015 * width < box.width < 0.35 * width


def _resized(pixels: NDArray[np.float32], height: int) -> Image.Image:
    width = max(1, round(pixels.shape[1] * height / pixels.shape[0]))
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)


def _dashes(
    start: tuple[float, float], end: tuple[float, float], length: float = 7.0
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    span = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    steps = np.arange(0.0, span, 2 * length)

    def at(distance: float) -> tuple[float, float]:
        share = min(distance / span, 1.0)
        return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])

    return [(at(float(step)), at(float(step) + length)) for step in steps]
