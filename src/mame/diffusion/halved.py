"""mini's decoder in half precision where a machine is fast at it, without its greys becoming coarse.

All layers but the last run in bfloat16; the last adds up sixty-four of their channels in float32, so that a picture
keeps its tens of thousands of greys. Against float32 throughout a picture comes out at 60 dB PSNR
(tests/diffusion/test_halved.py; benchmarks/speed.py says what it gains).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Cast(nn.Module):
    """To a number format, in the layout that convolutions in it are fastest in."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, channels: Tensor) -> Tensor:
        """(N, c, h, w), the same in `dtype`."""
        return channels.to(self.dtype, memory_format=torch.channels_last)


def halve(autoencoder: Any) -> bool:
    """Change the decoder of an AutoencoderTiny, which is only run from then on; False for any other autoencoder."""
    layers = getattr(autoencoder.decoder, "layers", None)
    if not isinstance(layers, nn.Sequential) or not isinstance(layers[-1], nn.Conv2d):
        return False
    inner = layers[:-1].to(torch.bfloat16)
    autoencoder.decoder.layers = nn.Sequential(Cast(torch.bfloat16), *inner, Cast(torch.float32), layers[-1])
    return True
