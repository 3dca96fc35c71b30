"""A judge of texture: a small network that learns to tell what a decoder draws from what was there (arXiv 2012.09841).

The likeliest picture behind some latents is a soft one. A decoder that also has to pass before a judge draws fibres
with edges instead, wherever they lie exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

COARSE = 8  # pixels over which a picture is averaged to show what its texture lies in
GAIN = 8.0  # of the texture, which is a small part of the grey scale
WIDTHS = (32, 64, 128)


class Judge(nn.Module):
    """From pictures N×1×H×W in [-1, 1] and their coarse ones, of the same shape: N×1×h×w, higher where it looks real.

    Each answer is of a patch of 38 pixels: texture is judged, and not anatomy.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = self._layers()

    @staticmethod
    def _layers() -> nn.Sequential:
        layers: list[nn.Module] = []
        before = 2
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            before = width
        return nn.Sequential(*layers, nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, pictures: Tensor, coarse: Tensor) -> Tensor:
        """See the class."""
        answers: Tensor = self.layers(torch.cat([(pictures - coarse) * GAIN, coarse], dim=1))
        return answers


def coarsened(pictures: Tensor) -> Tensor:
    """Pictures N×1×H×W without their texture, at the same size; H and W multiples of 8."""
    small = F.avg_pool2d(pictures, COARSE)
    return F.interpolate(small, scale_factor=float(COARSE), mode="bilinear", align_corners=False)


def judged(judge: Judge, given: Tensor, wanted: Tensor, loss: Tensor, weight: float) -> Tensor:
    """What is to be added to a decoder's loss of pictures `given`: the judge's own loss, and what the decoder owes it.

    given: N×3×H×W, wanted: N×1×H×W. The judge learns from the first (hinge) and the decoder from the second alone,
    which pulls at its pictures `weight` times as hard as its own loss does.
    """
    coarse, grey = coarsened(wanted), given.mean(dim=1, keepdim=True)
    made = grey.detach()
    learning = F.relu(1 - judge(wanted, coarse)).mean() + F.relu(1 + judge(made, coarse)).mean()
    held = {name: parameter.detach() for name, parameter in judge.named_parameters()}
    owed = -functional_call(judge, held, (grey, coarse)).float().mean()
    (mine,) = torch.autograd.grad(loss, given, retain_graph=True)
    (theirs,) = torch.autograd.grad(owed, given, retain_graph=True)
    pull = (mine.norm() / theirs.norm().clamp(min=1e-8)).detach()
    return learning.float() + weight * pull * owed
