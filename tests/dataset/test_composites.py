"""Simulated lesions in other people's tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mame.dataset.examples import open_examples
from mame.errors import MameError
from mame.formats.files import write
from mame.imaging import phantom
from mame.mammogram import Description, LesionKind, View

COUNT, SIZE = 40, 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mammograms")
    for number in range(2):
        drawn = phantom.draw(number, Description(view=View.CC))
        write(drawn.render().mammogram, place / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def examples(folder: Path) -> object:
    return open_examples(f"composite:{COUNT}:3:{folder}", "windows", SIZE)


def test_examples_are_windows_with_a_region_that_holds_the_lesion(examples) -> None:
    for one in (examples[i] for i in range(COUNT)):
        assert one.pixels.shape == one.region.shape == (SIZE, SIZE)
        assert one.pixels.dtype == np.float32
        assert 0 <= one.pixels.min() <= one.pixels.max() <= 1
        assert (one.region & one.lesion).sum() > 0.5 * one.lesion.sum()


def test_example_i_is_the_same_in_any_order(examples) -> None:
    forwards = [examples[i].pixels for i in (0, 17, 5)]
    backwards = [examples[i].pixels for i in (5, 17, 0)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_masses_are_brighter_than_what_was_there_and_empty_regions_stay(folder: Path) -> None:
    from dataclasses import replace

    with_lesion = open_examples(f"composite:{COUNT}:3:{folder}", "windows", SIZE)
    without = replace(with_lesion, empty_share=1.0)
    kinds = set()
    for i in range(COUNT):
        one, plain = replace(with_lesion, empty_share=0.0)[i], without[i]
        assert plain.description.lesion is None
        changed = one.pixels != plain.pixels
        if one.description.lesion is LesionKind.MASS:
            inner = one.lesion & (plain.pixels > 0)
            assert one.pixels[inner].mean() > plain.pixels[inner].mean() + 0.02
        assert not changed[plain.pixels == 0].any()  # air stays air
        kinds.add(one.description.lesion)
    assert kinds == {LesionKind.MASS, LesionKind.CALCIFICATIONS}


def test_the_key_changes_with_the_files_and_not_with_the_count(folder: Path, tmp_path: Path) -> None:
    one = open_examples(f"composite:5:3:{folder}", "windows", SIZE)
    assert one.key == open_examples(f"composite:9:3:{folder}", "windows", SIZE).key
    assert one.key != open_examples(f"composite:5:4:{folder}", "windows", SIZE).key
    write(phantom.draw(5).render().mammogram, tmp_path / "a.png")
    assert one.key != open_examples(f"composite:5:3:{tmp_path}", "windows", SIZE).key


@pytest.mark.parametrize("source", ["composite:5", "composite:a:1:x", "nowhere", "phantom:x"])
def test_a_wrong_source_is_told(source: str) -> None:
    with pytest.raises(MameError, match="write"):
        open_examples(source, "windows", SIZE)


def test_a_folder_without_mammograms_is_told(tmp_path: Path) -> None:
    with pytest.raises(MameError, match="holds no mammograms"):
        open_examples(f"composite:5:1:{tmp_path}", "windows", SIZE)[0]
