"""How alike two pictures are: the correlation of their detail under mirroring and shifts; and the nearest of many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter

Pictures = NDArray[np.float32]
Details = NDArray[np.float16]
Floats = NDArray[np.float64]

THUMBNAIL = 128
"""Pixels a side of the small pictures that are compared."""
COARSE = 32
"""Pixels a side at which all pairs are compared."""
KEPT = 4
"""Of the nearest at that size, how many are compared at full size."""
SKIN = 4
"""Pixels of the small picture that are left out along the outline."""
REACH = 12
"""Pixels of the small picture by which one may be shifted against the other."""
FLIPS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
CHUNK = 4096
NONE = np.float32(-2)
"""Likeness where there is nothing to compare with: less than any."""
Barred = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Nearest:
    """Of each picture: the number of the training picture that is most like it, and the likeness, -1 to 1."""

    index: NDArray[np.int64]
    likeness: Floats


def thumbnail(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture at 128×128, each pixel the mean of what it covers."""
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), dtype=np.float32)


class Index:
    """Details of training pictures, N×128×128 (see `detail`), made ready to be searched."""

    def __init__(self, details: Details) -> None:
        self.full = details
        parts = [_unit(_reduced(details[i : i + CHUNK])) for i in range(0, len(details), CHUNK)]
        self.coarse = np.concatenate(parts) if parts else np.zeros((0, COARSE**2), dtype=np.float32)

    def search(self, details: Details, barred: Barred | None = None) -> Nearest:
        """The nearest of each picture; all pairs at 32 pixels, the best few of them at 128.

        barred: owners of these pictures and of the index's; none is compared with one of the same owner. -1 where
        nothing is left to compare with.
        """
        if not len(details) or not len(self.full):
            return Nearest(np.zeros(len(details), dtype=np.int64), np.full(len(details), -1.0))
        values, found, flips = self._candidates(details, barred)
        each = [self._exactly(details, found[:, rank], flips[:, rank]) for rank in range(found.shape[1])]
        likeness = np.where(values > -1.5, np.stack(each, axis=1), -1.0)
        best = likeness.argmax(axis=1)
        rows = np.arange(len(details))
        return Nearest(found[rows, best], likeness[rows, best])

    def _candidates(
        self, full: Details, barred: Barred | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """N×4 likenesses at the coarse size (less than -1: none), with whom, and in which flip of the picture."""
        kept = min(KEPT, len(self.coarse))
        best = np.full((len(full), kept), NONE, dtype=np.float32)
        index = np.zeros((len(full), kept), dtype=np.int64)
        flip = np.zeros((len(full), kept), dtype=np.int64)
        rows = np.arange(len(full))[:, None]
        small = _reduced(full)
        for number, (down, right) in enumerate(FLIPS):
            for dy, dx in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
                asked = _unit(np.roll(small[:, ::down, ::right], (dy, dx), axis=(1, 2)))
                for start in range(0, len(self.coarse), CHUNK):
                    like = asked @ self.coarse[start : start + CHUNK].T
                    if barred is not None:
                        like[barred[0][:, None] == barred[1][None, start : start + CHUNK]] = NONE
                    top = np.argpartition(-like, min(kept, like.shape[1]) - 1, axis=1)[:, :kept]
                    values = np.concatenate([best, like[rows, top]], axis=1)
                    numbers = np.concatenate([index, top + start], axis=1)
                    flips = np.concatenate([flip, np.full(top.shape, number)], axis=1)
                    order = np.argsort(-_once(values, numbers, flips), axis=1, kind="stable")[:, :kept]
                    best, index, flip = values[rows, order], numbers[rows, order], flips[rows, order]
        return best, index, flip

    def _exactly(self, full: Details, numbers: NDArray[np.int64], flips: NDArray[np.int64]) -> Floats:
        """Largest correlation over shifts of up to 12 pixels, of each picture with the one of that number."""
        found = np.empty(len(full))
        near = np.r_[0 : REACH + 1, THUMBNAIL - REACH : THUMBNAIL]
        for row, (number, flip) in enumerate(zip(numbers, flips, strict=True)):
            down, right = FLIPS[flip]
            a = full[row, ::down, ::right].astype(np.float32)
            b = self.full[number].astype(np.float32)
            spectrum = np.fft.rfft2(a) * np.conj(np.fft.rfft2(b))
            shifted = np.fft.irfft2(spectrum, s=a.shape)[np.ix_(near, near)]
            size = float(np.sqrt((a**2).sum() * (b**2).sum()))
            found[row] = shifted.max() / size if size else 0.0
        return found


def detail(picture: Pictures) -> Details:
    """What is finer than a sixteenth of a picture, in units of the local contrast of tissue, 0 in air and on the skin.

    picture: 128×128 in [0, 1]. The skin is left out because breasts of one shape are no copies of each other.
    """
    wide = THUMBNAIL / 16
    inside = binary_erosion(picture > 0, iterations=SKIN).astype(np.float32)
    weight = np.maximum(gaussian_filter(inside, wide), 1e-3)
    fine = (gaussian_filter(picture, 0.8) - gaussian_filter(picture * inside, wide) / weight) * inside
    contrast = np.sqrt(gaussian_filter(fine**2, wide) / weight)
    return (fine / (contrast + 0.01)).astype(np.float16)


def _reduced(full: Details) -> Pictures:
    step = THUMBNAIL // COARSE
    blocks = full.reshape(len(full), COARSE, step, COARSE, step)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32))


def _unit(pictures: Pictures) -> NDArray[np.float32]:
    flat = pictures.reshape(len(pictures), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _once(values: NDArray[np.float32], numbers: NDArray[np.int64], flips: NDArray[np.int64]) -> NDArray[np.float32]:
    """The values, but -3 where the same training picture in the same flip stands further left with a larger one."""
    same = (numbers[:, :, None] == numbers[:, None, :]) & (flips[:, :, None] == flips[:, None, :])
    larger = values[:, None, :] > values[:, :, None]
    tie = (values[:, None, :] == values[:, :, None]) & np.tri(values.shape[1], k=-1, dtype=bool)[None]
    return np.where((same & (larger | tie)).any(axis=2), np.float32(-3), values)
