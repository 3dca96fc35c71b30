"""The reader's weights as they lie in the package: convolutions and layers in 8 bits, a scale for each output."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".scale"
LEVELS = 127


def packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's state at half the size of float16.

    Weights of two dimensions or more become int8, with a float32 scale for each output (Jacob 2018, arXiv 1712.05877,
    symmetric); other floats become float16.
    """
    small: dict[str, Tensor] = {}
    for name, value in state.items():
        if not value.is_floating_point():
            small[name] = value.contiguous()
        elif value.dim() < 2:
            small[name] = value.half().contiguous()
        else:
            scale = (value.abs().flatten(1).amax(dim=1) / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
            small[name] = (value / scale.view(-1, *[1] * (value.dim() - 1))).round().to(torch.int8).contiguous()
            small[name + SCALE] = scale.float()
    return small


def unpacked(small: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state in float32 again, of what `packed` gave or of plain floats."""
    state: dict[str, Tensor] = {}
    for name, value in small.items():
        if name.endswith(SCALE):
            continue
        if (scale := small.get(name + SCALE)) is not None:
            state[name] = value.float() * scale.view(-1, *[1] * (value.dim() - 1))
        else:
            state[name] = value.float() if value.is_floating_point() else value
    return state
