"""How much texture pictures have, by scale and place: what a decoder loses that seeks the likeliest value only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = 3
REACH = 8  # pixels of a scale over which strength is averaged


def strengths(pictures: Tensor) -> list[Tensor]:
    """Root mean square of each band of a Laplacian pyramid (Burt and Adelson 1983), in overlapping squares.

    pictures: N×1×H×W, in any unit; H and W at least 64. Returns the finest band first, in the same unit.
    """
    found = []
    for _ in range(SCALES):
        coarse = F.avg_pool2d(pictures, 2)
        band = pictures - F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        found.append((F.avg_pool2d(band.square(), REACH, REACH // 2) + 1e-8).sqrt())
        pictures = coarse
    return found


def texture_loss(given: Tensor, wanted: Tensor) -> Tensor:
    """How far the strength of texture is off, mean over places, summed over scales; 0 for the same strengths.

    Where a value can't be known from latents the likeliest one is flat; this asks for fibres and grain of the right
    strength instead, wherever they lie exactly.
    """
    pairs = zip(strengths(given), strengths(wanted), strict=True)
    return torch.stack([(ours - theirs).abs().mean() for ours, theirs in pairs]).sum()
