"""Compartments of fat and the sheets of connective tissue between them: a cellular pattern, at any resolution.

Cooper's ligaments enclose lobules of fat; seen from the side their sheets are a net of curved lines. The pattern is
Worley's (SIGGRAPH 1996): one point in each cell of a jittered lattice, the sheets half-way between neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mame.imaging.phantom.grid import Field

LATTICE = 64
"""Cells along each side before the pattern repeats; a power of two."""

AROUND = (-1, 0, 1)
FAR = np.int32(0x7F000000)


@dataclass(frozen=True)
class Compartments:
    """LATTICE×LATTICE points (fractions of their cell) and strengths in [0, 1], for cells of `size` mm (u, v)."""

    u: NDArray[np.float32]
    v: NDArray[np.float32]
    strength: NDArray[np.float32]
    size: tuple[float, float]

    def sheets(self, u_mm: Field, v_mm: Field) -> tuple[Field, Field, Field]:
        """Of the sheet nearest to each point (N): mm to it, its strength in [0, 1]; and mm into the compartment.

        The last is 0 on the sheets and has no steps, unlike the distance, which has some far from a sheet. A sheet is
        as strong as the two compartments it parts: most are faint, some stand out.
        """
        scale_u, scale_v = np.float32(self.size[0]), np.float32(self.size[1])
        at_u, at_v = u_mm / scale_u, v_mm / scale_v
        cell_u, cell_v = np.floor(at_u), np.floor(at_v)
        part_u, part_v = at_u - cell_u, at_v - cell_v
        column, row = cell_u.astype(np.int32), cell_v.astype(np.int32)
        columns = [(column + du) & (LATTICE - 1) for du in AROUND]
        points_u, points_v = self.u.ravel(), self.v.ravel()
        nearest = np.full(at_u.shape, FAR, dtype=np.int32)
        second, third = nearest.copy(), nearest.copy()
        for dv in AROUND:
            first = ((row + dv) & (LATTICE - 1)) * LATTICE
            for du in AROUND:
                index = first + columns[du + 1]
                u = points_u[index] + (np.float32(du) - part_u)
                v = points_v[index] + (np.float32(dv) - part_v)
                # positive floats sort as integers do: the last four bits can say which neighbour it was
                key = ((u * u + v * v).view(np.int32) & ~15) | (3 * (dv + 1) + du + 1)
                farther = np.maximum(nearest, key)
                nearest = np.minimum(nearest, key)
                third = np.minimum(third, np.maximum(second, farther))
                second = np.minimum(second, farther)
        own = self._neighbour(nearest & 15, column, row)
        gap, strength = self._sheet(own, self._neighbour(second & 15, column, row), part_u, part_v)
        # the second nearest point's sheet is not always the nearest sheet: near a corner it is the third's
        gap3, strength3 = self._sheet(own, self._neighbour(third & 15, column, row), part_u, part_v)
        closer = gap3 < gap
        between = np.sqrt((second & ~15).view(np.float32)) - np.sqrt((nearest & ~15).view(np.float32))
        inward = between * np.float32(0.5 * np.sqrt(self.size[0] * self.size[1]))
        return np.where(closer, gap3, gap), np.where(closer, strength3, strength), inward

    def _sheet(
        self, own: tuple[Field, Field, Field], other: tuple[Field, Field, Field], u: Field, v: Field
    ) -> tuple[Field, Field]:
        """Mm from (u, v), in cells, to the sheet between two points, and its strength.

        Half the difference of the squares over the points' distance is the way to the line between them, in cells;
        cells are stretched, so it is turned into mm along the line's normal.
        """
        (u1, v1, strength1), (u2, v2, strength2) = own, other
        squares = (u2 - u) ** 2 + (v2 - v) ** 2 - (u1 - u) ** 2 - (v1 - v) ** 2
        normal = np.sqrt(((u2 - u1) / np.float32(self.size[0])) ** 2 + ((v2 - v1) / np.float32(self.size[1])) ** 2)
        return 0.5 * np.maximum(squares, 0.0) / np.maximum(normal, 1e-6), strength1 * strength2

    def _neighbour(
        self, which: NDArray[np.int32], column: NDArray[np.int32], row: NDArray[np.int32]
    ) -> tuple[Field, Field, Field]:
        """(u, v, strength) of a neighbour's point, measured from the corner of the point's own cell."""
        dv, du = which // 3 - 1, which % 3 - 1
        index = ((row + dv) & (LATTICE - 1)) * LATTICE + ((column + du) & (LATTICE - 1))
        return self.u.ravel()[index] + du, self.v.ravel()[index] + dv, self.strength.ravel()[index]


def draw_compartments(rng: np.random.Generator, size: tuple[float, float], jitter: float = 0.9) -> Compartments:
    """A pattern of cells `size` mm (u, v)."""
    rest = (1.0 - jitter) / 2
    u, v, strength = rng.random((3, LATTICE, LATTICE), dtype=np.float32)
    return Compartments(
        np.float32(rest) + np.float32(jitter) * u, np.float32(rest) + np.float32(jitter) * v, strength, size
    )
