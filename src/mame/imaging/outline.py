"""Outlining the breast at a reduced size: air, skin, film borders, letters, and which side the chest wall is on.

The steps behind `breast.find_breast`; pictures are h×w greys at the working size unless a docstring says otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import (
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    label,
    maximum_filter,
    median_filter,
)

from mame.errors import MameError
from mame.imaging.resampling import strips
from mame.mammogram import Laterality

WORKING_SIDE = 512
AIR_SHARE = 0.01  # of all pixels: what a histogram peak must hold to be called air
SKIN_CONTRAST = 0.04  # of the way from air to tissue: where the skin line is drawn
NOISE_SIGMAS = 4.0
HILL_FLANK = 2  # bins: how far a noiseless peak of the smoothed histogram reaches
RINGING = 0.2  # of the brightest grey within two pixels
OPENING_SHARE = 0.025  # of the longer side: half the width of what is too thin to be breast
SPECK_PIXELS = 40  # at the working size
STRIP_SHARE = 0.25  # of the breast's width: what is wider is no strip of glow
SMALLEST_SHARE = 0.02  # of the picture: a smaller component is not a breast
BORDER_SHARE = 0.12  # of a side: how far a film border may reach in
MIN_COHERENCE = 0.25  # standard deviation of the blurred picture over that of the picture; white noise has < 0.1


def reduced(pixels: NDArray[np.float32] | NDArray[np.bool_]) -> tuple[NDArray[np.float32], int]:
    """(picture or mask H×W averaged over factor × factor pixels, factor): about WORKING_SIDE on the longest side."""
    factor = max(1, round(max(pixels.shape) / WORKING_SIDE))
    if factor == 1:
        return np.nan_to_num(pixels.astype(np.float32)), factor
    parts = []
    for rows in strips(pixels.shape[0], pixels.shape[1], factor):
        image = Image.fromarray(np.ascontiguousarray(pixels[rows], dtype=np.float32))
        parts.append(np.asarray(image.reduce(factor)))
    return np.nan_to_num(np.concatenate(parts)), factor


def enlarged(mask: NDArray[np.bool_], factor: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask at the working size (see :func:`reduced`) back at its full shape (H, W), its steps smoothed."""
    if factor == 1:
        return mask
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    box = (0.0, 0.0, shape[1] / factor, shape[0] / factor)
    large = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(large) >= 128


def segment(small: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The breast in a picture at the working size, h×w bool. Raises MameError where there is none."""
    smooth = gaussian_filter(small, 0.7)
    _check_picture(small)
    inner = _without_borders(smooth)
    smooth = smooth[inner]
    tissue = smooth > _skin_threshold(smooth)
    # JPEG ringing beside a sharp edge (the chest wall of a padded picture) is dim next to what rings.
    tissue &= smooth > RINGING * maximum_filter(smooth, 5)
    mask = np.zeros(small.shape, dtype=bool)
    mask[inner] = _largest_blob(tissue)
    if np.count_nonzero(mask) < SMALLEST_SHARE * mask.size:
        raise MameError("no breast found: nothing in the picture is large enough")
    return mask


def _check_picture(small: NDArray[np.float32]) -> None:
    spread = float(small.std())
    if float(small.max() - small.min()) < 1e-4 or spread < 1e-5:
        raise MameError("no breast found: the picture is blank")
    if float(gaussian_filter(small, 6.0).std()) < MIN_COHERENCE * spread:
        raise MameError("no breast found: the picture is noise")


def _without_borders(smooth: NDArray[np.float32]) -> tuple[slice, slice]:
    """(rows, columns) left when bright film borders are peeled off the four sides."""
    bright = smooth >= 0.85 * float(np.percentile(smooth, 99.8))
    rows = _peeled(bright.mean(axis=1))
    columns = _peeled(bright[rows].mean(axis=0))
    return rows, columns


def _peeled(share: NDArray[np.floating[Any]]) -> slice:
    """The lines of a side between the last border line at its start and the first at its end.

    share: of each line, how much is nearly as bright as the brightest. A border is bright along most of the line;
    tissue never is.
    """
    limit = max(1, round(BORDER_SHARE * share.size))
    head, tail = np.flatnonzero(share[:limit] > 0.6), np.flatnonzero(share[-limit:] > 0.6)
    blur = 3  # lines: the working picture smears a border's edge
    start = int(head[-1]) + 1 + blur if head.size else 0
    stop = share.size - limit + int(tail[0]) - blur if tail.size else share.size
    return slice(start, stop)


def _skin_threshold(smooth: NDArray[np.float32]) -> float:
    """The grey between air and skin: a small step above the darkest peak of the histogram."""
    low, high = float(smooth.min()), float(np.percentile(smooth, 99.5))
    counts, edges = np.histogram(smooth, bins=256, range=(low, max(high, low + 1e-6)))
    air_bins = np.flatnonzero(counts >= AIR_SHARE * smooth.size)
    peak = int(air_bins[0]) if air_bins.size else 0
    # Climb to the top of the peak: noise makes it wider than one bin, and ragged.
    hill = gaussian_filter(counts.astype(np.float32), 1.5, mode="reflect")
    while peak + 1 < counts.size and hill[peak + 1] > hill[peak]:
        peak += 1
    air = float(edges[peak])
    middle = (air + high) / 2
    tissue = float(np.median(smooth[smooth > air + 0.15 * (high - air)]))
    below = smooth[smooth <= air]
    noise = float(np.sqrt(np.mean((below - air) ** 2))) if below.size else 0.0
    # Noise that was clipped at black has no lower flank: its upper one, down to half the peak, is 1.18 sigma wide.
    flank = int(np.argmax(np.append(hill[peak:] < hill[peak] / 2, True))) - HILL_FLANK
    noise = max(noise, flank * float(edges[1] - edges[0]) / 1.18)
    return min(air + max(SKIN_CONTRAST * (tissue - air), NOISE_SIGMAS * noise), middle)


def _largest_blob(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece, without what hangs on by a thin bridge (letters, border remains), holes filled."""
    radius = max(2, round(OPENING_SHARE * max(mask.shape)))
    mask = _closed(_without_specks(mask), radius / 2)
    # Outside the picture counts as air, so that thin strips along its edges go as well.
    core = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] > radius
    if not core.any():
        return np.zeros_like(mask)
    # One radius more than the opening gives back the nipple, the corners and the tips it cut off.
    near = distance_transform_edt(~_largest_piece(core)) <= 2.0 * radius
    return _largest_piece(np.asarray(binary_fill_holes(near & mask)))


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without pieces of a few pixels: dust and markers beside the skin line, which closing would tie to it."""
    labels, _ = label(mask)
    large = np.bincount(labels.ravel()) > SPECK_PIXELS
    large[0] = False
    return np.asarray(large[labels])


def _closed(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Gaps narrower than two radii filled: skin folds, and tissue that was windowed to black."""
    grown = distance_transform_edt(~mask) <= radius
    return np.asarray((distance_transform_edt(grown) > radius) | mask)


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(np.argmax(sizes)))


def tidied(mask: NDArray[np.bool_], side: Laterality) -> NDArray[np.bool_]:
    """The mask filled up to the chest wall, without a strip of glow along the film's edge above or below."""
    seen = mask[:, ::-1] if side is Laterality.R else mask
    columns = np.flatnonzero(seen.any(axis=0))
    wall = int(columns[0])
    # The rightmost true pixel of every row, so that tissue windowed to black at the chest wall is breast too.
    outer = np.where(seen.any(axis=1), seen.shape[1] - np.argmax(seen[:, ::-1], axis=1), wall)
    outer = median_filter(outer, 9, mode="nearest")  # specks of dust on the skin line
    widths = outer - wall
    inside = np.arange(seen.shape[1])[None, :]
    filled = (inside >= wall) & (inside < outer[:, None])
    rows = np.flatnonzero(widths)
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    extent = widths[top:bottom]
    filled[top : top + _strip(extent)] = False
    filled[bottom - _strip(extent[::-1]) : bottom] = False
    return np.asarray(filled[:, ::-1] if side is Laterality.R else filled)


def _strip(widths: NDArray[np.integer[Any]]) -> int:
    """How many rows at the start are a strip: narrow and of one width for long. A breast's tip is never both."""
    narrow = widths < STRIP_SHARE * int(widths.max())
    end = int(np.argmin(narrow))
    if end < 0.04 * widths.size:
        return 0
    usual = float(np.median(widths[:end]))
    constant = np.abs(widths[:end] - usual) <= max(2.0, 0.15 * usual)
    if constant.mean() < 0.6:
        return 0
    return int(np.flatnonzero(constant)[-1]) + 1


# -- side -----------------------------------------------------------------------------------------------------------


def side_of(mask: NDArray[np.bool_]) -> Laterality:
    """The chest wall is the long straight side: there, columns are tallest and most rows begin."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    edge = max(1, cut.shape[1] // 10)
    tall = float(cut[:, :edge].mean() - cut[:, -edge:].mean())
    edge = max(1, cut.shape[1] // 50)
    straight = float(cut[:, :edge].any(axis=1).mean() - cut[:, -edge:].any(axis=1).mean())
    return Laterality.L if tall + straight >= 0 else Laterality.R
