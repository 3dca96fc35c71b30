"""Doubling the side and convolving, in one transposed convolution: the same result from 16 products a pixel, not 36.

Of the nine places that a 3×3 kernel sees in a picture doubled by repetition, only four differ. Adding up the weights
that meet the same pixel gives a 4×4 kernel with stride 2 (the sub-pixel identity of Shi et al. 2016, arXiv 1609.05158
and 1609.07009), equal within rounding.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn


class DoubledConvolution(nn.Module):
    """(N, c, h, w) to (N, d, 2h, 2w): what `convolution` makes of the input doubled by repetition."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(doubled_kernel(convolution.weight.detach()), requires_grad=False)
        self.bias = None if convolution.bias is None else nn.Parameter(convolution.bias.detach(), requires_grad=False)

    def forward(self, pixels: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """output_size: what diffusers' U-Net asks for where its input isn't a multiple of all doublings; not known."""
        if output_size is not None:
            raise ValueError(f"doubles its input, and can't make {tuple(output_size)}")
        return nn.functional.conv_transpose2d(pixels, self.weight, self.bias, stride=2, padding=1)


def doubled_kernel(weight: Tensor) -> Tensor:
    """The kernel (c, d, 4, 4) of a transposed convolution for a kernel (d, c, 3, 3): places are sums of 1, 2 or 4."""
    out, into = weight.shape[:2]
    flipped = weight.reshape(out * into, 1, 3, 3).flip(2, 3)
    summed = nn.functional.conv2d(flipped, torch.ones_like(flipped[:1, :, :2, :2]), padding=1)
    return summed.reshape(out, into, 4, 4).transpose(0, 1).contiguous()


def merge_doublings(module: nn.Module) -> int:
    """Replaces every doubling by repetition that a 3×3 convolution follows, in a model that is only run; how many."""
    merged = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Upsample2D) and _is_doubling(child):
                setattr(parent, name, DoubledConvolution(cast(nn.Conv2d, child.conv)))
                merged += 1
        if isinstance(parent, nn.Sequential):
            merged += _merge_neighbours(parent)
    return merged


def _is_doubling(upsampler: Upsample2D) -> bool:
    plain = upsampler.norm is None and upsampler.interpolate and not upsampler.use_conv_transpose
    return plain and _is_mergeable(getattr(upsampler, "conv", None))


def _is_mergeable(module: object) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.padding == (1, 1)
        and module.stride == module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
    )


def _merge_neighbours(layers: nn.Sequential) -> int:
    """As `merge_doublings`, for nn.Upsample with the convolution after it, which AutoencoderTiny has."""
    merged = 0
    for place in range(len(layers) - 1):
        convolution = layers[place + 1]
        if _is_repetition(layers[place]) and _is_mergeable(convolution):
            layers[place], layers[place + 1] = DoubledConvolution(cast(nn.Conv2d, convolution)), nn.Identity()
            merged += 1
    return merged


def _is_repetition(module: nn.Module) -> bool:
    return isinstance(module, nn.Upsample) and module.mode == "nearest" and module.scale_factor in (2, (2, 2))
