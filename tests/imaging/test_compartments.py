import numpy as np
import pytest

from mame.imaging.phantom.compartments import LATTICE, draw_compartments


def _every_point(net):
    """All points of the lattice and its eight copies, in mm."""
    row, column = np.mgrid[-LATTICE : 2 * LATTICE, -LATTICE : 2 * LATTICE]
    u = (column + np.tile(net.u, (3, 3))) * net.size[0]
    v = (row + np.tile(net.v, (3, 3))) * net.size[1]
    return np.column_stack([u.ravel() / net.size[0], v.ravel() / net.size[1]])


@pytest.mark.parametrize("size", [(6.0, 6.0), (28.0, 11.0)])
def test_sheets_lie_half_way_between_neighbouring_points(size):
    net = draw_compartments(np.random.default_rng(0), size)
    points = _every_point(net)
    points = points[(points > -3).all(1) & (points < 35).all(1)]
    rng = np.random.default_rng(1)
    at = rng.uniform(0, 32, (1500, 2))
    gap, strength, inward = net.sheets((at[:, 0] * size[0]).astype(np.float32), (at[:, 1] * size[1]).astype(np.float32))
    squares = ((points[None] - at[:, None]) ** 2).sum(-1)
    own = squares.argmin(1)
    normal = points[None] - points[own][:, None]
    length = np.sqrt(((normal / np.array(size)) ** 2).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        every = 0.5 * (squares - squares.min(1)[:, None]) / length
    every[np.arange(1500), own] = np.inf
    exact = every.min(1)
    assert (gap >= exact - 1e-3).all()
    # two sheets are looked at; what is drawn, the lines themselves, is nearly always one of them
    near = exact < 0.6
    assert near.sum() > 40
    assert np.mean(gap[near] < exact[near] + 1e-2) > 0.97
    assert (inward[gap < 1e-3] < 0.05).all()
    assert np.corrcoef(gap, inward)[0, 1] > 0.8
    assert ((strength >= 0) & (strength <= 1)).all()


def test_the_pattern_repeats_at_its_period():
    net = draw_compartments(np.random.default_rng(3), (5.0, 4.0))
    u = np.linspace(-3.0, 3.0, 50, dtype=np.float32)
    v = np.full(50, 7.0, np.float32)
    here, _, _ = net.sheets(u, v)
    there, _, _ = net.sheets(u + LATTICE * 5.0, v - LATTICE * 4.0)
    assert here == pytest.approx(there, abs=2e-3)
