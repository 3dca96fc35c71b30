"""The network of the attribute reader: one trunk, a 64-number embedding, and an answer for each attribute."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from mame.mammogram import Area, Density, Laterality, View

SIDE = 256  # pixels of what it sees
WIDTHS = (24, 48, 96, 128, 160)
EMBEDDING = 64
CLASSES: dict[str, tuple[str, ...]] = {
    "view": tuple(View),
    "side": tuple(Laterality),  # which way the breast points: L has the chest wall at the left edge
    "density": tuple(Density),
    "area": tuple(Area),
    "vendor": ("ge", "hologic", "siemens"),
    "lesion": ("no", "yes"),
}
"""What each answer may be, in the order of its logits."""


class _Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He 2016, arXiv 1603.05027)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        stride = 2 if inside != outside else 1
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.last = nn.BatchNorm2d(outside)
        self.short = nn.Conv2d(inside, outside, 1, stride, bias=False) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W, at half the size where the width changes."""
        y = self.norm(self.first(x)).relu()
        out: Tensor = (self.short(x) + self.last(self.second(y))).relu()
        return out


class AttributeNetwork(nn.Module):
    """Pictures N×1×256×256 in [0, 1] to an embedding N×64 and, by attribute, logits N×classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, WIDTHS[0], 5, 2, 2, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.trunk = nn.Sequential(*[_Block(a, b) for a, b in pairwise(WIDTHS)])
        self.embed = nn.Linear(2 * WIDTHS[-1], EMBEDDING)
        self.heads = nn.ModuleDict({name: nn.Linear(EMBEDDING, len(classes)) for name, classes in CLASSES.items()})

    def embedding(self, pictures: Tensor) -> Tensor:
        """Mean and largest answer of each channel, brought to 64 numbers."""
        found = self.trunk(self.stem(pictures * 2 - 1))
        out: Tensor = self.embed(torch.cat([found.mean(dim=(2, 3)), found.amax(dim=(2, 3))], dim=1))
        return out

    def answers(self, embedding: Tensor) -> dict[str, Tensor]:
        """Logits by attribute."""
        active = embedding.relu()
        return {name: head(active) for name, head in self.heads.items()}

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Logits by attribute."""
        return self.answers(self.embedding(pictures))
