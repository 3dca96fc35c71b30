"""A glimpse of latents without the decoder: a small grey picture in no time, for those who watch.

Greys are nearly a linear function of Stable Diffusion's latents; which one is found once for a model, by least squares
on a phantom that goes through its encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mame.diffusion import latent
from mame.imaging import phantom

if TYPE_CHECKING:
    from mame.diffusion.model import Model

FINE = 4  # pixels of a glimpse to one latent, along each side


@dataclass(frozen=True, slots=True)
class Glimpse:
    """weights: (c + 1, FINE²) greys of a latent's pixels, row by row, as a sum over its channels and 1."""

    weights: NDArray[np.float32]

    @classmethod
    @torch.inference_mode()
    def of(cls, model: Model) -> Glimpse:
        """For a model's latents."""
        side = model.size
        pattern = phantom.draw(0)
        pixels = pattern.render(pattern.field_grid(side)).mammogram.pixels
        encoded = latent.encode(model.parts.autoencoder, torch.from_numpy(pixels)[None].to(model.compute.device))
        latents = encoded[0].float().cpu().numpy()
        rows = latents.shape[1]
        fine = pixels.reshape(rows * FINE, side // rows // FINE, rows * FINE, -1).mean(axis=(1, 3))
        weights, *_ = np.linalg.lstsq(_with_one(latents), _tiles(fine), rcond=None)
        return cls(weights.astype(np.float32))

    def look(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """The greys (FINE·h, FINE·w), in [0, 1], of latents (c, h, w)."""
        _, height, width = latents.shape
        tiles = (_with_one(latents) @ self.weights).reshape(height, width, FINE, FINE)
        return np.clip(tiles.transpose(0, 2, 1, 3).reshape(height * FINE, width * FINE), 0.0, 1.0)


def _with_one(latents: NDArray[np.float32]) -> NDArray[np.float32]:
    """(c, h, w) as (h·w, c + 1)."""
    flat = latents.reshape(len(latents), -1).T
    return np.concatenate([flat, np.ones((len(flat), 1), np.float32)], axis=1)


def _tiles(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(FINE·h, FINE·w) as (h·w, FINE²)."""
    height, width = picture.shape[0] // FINE, picture.shape[1] // FINE
    return picture.reshape(height, FINE, width, FINE).transpose(0, 2, 1, 3).reshape(-1, FINE**2)
