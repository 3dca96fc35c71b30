"""A physical phantom: compressed breasts drawn from a seed, looked at through a simulated mammography machine.

`draw` decides everything about one breast; `Phantom.render` looks at it on any grid: the whole field at 512 pixels, a
machine's full matrix, or a small window. The same phantom looks the same on all of them.
"""

from mame.imaging.phantom.grid import Grid
from mame.imaging.phantom.looks import LOOKS
from mame.imaging.phantom.scene import Phantom, Picture, Truth, draw

VERSION = 2
"""Rises when the same seed gives another picture, so that nothing cached before is taken for it."""

__all__ = ["LOOKS", "VERSION", "Grid", "Phantom", "Picture", "Truth", "draw"]
