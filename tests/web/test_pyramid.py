"""Parts of a picture at every scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mame.errors import MameError
from mame.web.viewer.pyramid import Pyramid


def picture(height: int = 700, width: int = 500) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return (20_000 + 15_000 * np.sin(x / 40) * np.cos(y / 55) + 10 * (x % 7)).astype(np.uint16)


def test_at_its_own_size_a_part_is_the_picture_itself() -> None:
    values = picture()
    found = Pyramid.of(values).part((30, 40, 130, 90), 100, 50)
    assert np.array_equal(found, values[40:90, 30:130])


@pytest.mark.parametrize("shrink", [2, 4, 5.5, 7])
def test_made_smaller_it_keeps_the_means(shrink: float) -> None:
    values = picture()
    height, width = round(700 / shrink), round(500 / shrink)
    found = Pyramid.of(values).part((0, 0, 500, 700), width, height)
    assert found.shape == (height, width)
    assert abs(float(found.mean()) - float(values.mean())) < 20
    blocks = [values[round(i * 700 / height) : round((i + 1) * 700 / height)].mean() for i in range(height)]
    assert np.abs(found.mean(1) - blocks).max() < 250  # of 65,535: neighbours lie up to 300 apart


def test_made_larger_it_lies_where_it_lay() -> None:
    values = np.zeros((64, 64), np.uint16)
    values[20, 30] = 60_000
    found = Pyramid.of(values).part((24, 16, 40, 24), 160, 80)
    assert np.unravel_index(found.argmax(), found.shape) in {(44, 64), (44, 65), (45, 64), (45, 65)}


def test_on_disk_it_is_the_same_and_is_made_once(tmp_path: Path) -> None:
    values, reads = picture(333, 517), []

    def read() -> np.ndarray:
        reads.append(1)
        return values

    first = Pyramid.on_disk(tmp_path / "p.u2", values.shape, read)
    again = Pyramid.on_disk(tmp_path / "p.u2", values.shape, read)
    assert len(reads) == 1
    for a, b, c in zip(Pyramid.of(values).levels, first.levels, again.levels, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


def test_half_a_file_is_made_again(tmp_path: Path) -> None:
    values = picture(300, 300)
    (tmp_path / "p.u2").write_bytes(b"half")
    assert np.array_equal(Pyramid.on_disk(tmp_path / "p.u2", values.shape, lambda: values).levels[0], values)


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 501, 5), (5, 0, 4, 5), (0, float("nan"), 5, 5)])
def test_a_part_outside_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(MameError, match="not inside"):
        Pyramid.of(picture()).part(box, 10, 10)


@pytest.mark.parametrize("size", [(0, 5), (5, 5000), (-1, 2)])
def test_a_size_that_is_none_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(MameError, match="1 to 4096"):
        Pyramid.of(picture()).part((0, 0, 5, 5), *size)
