"""The studio without a browser: forms, desks, the engine, files and recipes."""

from __future__ import annotations

import shlex
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diffusion.conftest import Folders
from starlette.testclient import TestClient
from typer.testing import CliRunner

from mame.cli.app import app as commands
from mame.errors import MameError
from mame.formats.files import read
from mame.web.studio import forms
from mame.web.studio.desk import KEPT_S, MOST_PIECES, Desk, Desks, Piece
from mame.web.studio.engine import Engine, Making
from mame.web.studio.work import Studio, file_name

ASKED = Making("a siemens mammogram in CC view with high density", "", 4.0, 2, 3, 1, "R")


@pytest.fixture
def studio(folders: Folders, tmp_path: Path) -> Iterator[Studio]:
    engine, desks = Engine(), Desks(tmp_path / "desks")
    yield Studio(engine, desks, str(folders.healthy))
    engine.close()
    desks.close()


def finished(work) -> Piece:
    while True:
        try:
            next(work)
        except StopIteration as ended:
            return ended.value


@pytest.mark.parametrize(
    ("said", "told"),
    [("abc", "not a whole number"), ("", "not a whole number"), ("-1", "not a whole"), ("1.5", "not a whole"),
     ("9" * 30, "outside")],
)  # fmt: skip
def test_a_seed_that_is_none_is_told(said: str, told: str) -> None:
    with pytest.raises(MameError, match=told):
        forms.seed_of(said)


def test_words_make_the_papers_prompt() -> None:
    assert forms.built_prompt("siemens", "MLO", "C", "small", "area") == (
        "a siemens mammogram in MLO view with small area and high density"
    )
    assert forms.built_prompt("any", "CC", "any", "big", "density") == "a mammogram in CC view with big area"


def test_one_word_is_varied_and_the_others_stay() -> None:
    row = forms.varied("a mammogram in CC view with big area and low density", "density", ())
    assert [word for word, _ in row] == ["very low", "low", "high", "very high"]
    assert row[2][1] == "a mammogram in CC view with big area and high density"
    with pytest.raises(MameError, match="free text"):
        forms.varied("something else", "view", ())


NAMES = [("../../etc/passwd", "passwd"), ("C:\\x\\a b.dcm", "a b.dcm"), ("..", "mammogram"), ("a;b$.png", "a_b_.png")]


@pytest.mark.parametrize(("said", "kept"), NAMES)
def test_a_file_keeps_its_name_and_no_path(said: str, kept: str) -> None:
    assert file_name(said) == kept


def test_a_picture_of_the_studio_is_the_commands_picture(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = finished(studio.make(studio.desks.of("a"), studio.model, ASKED))
    monkeypatch.chdir(tmp_path)
    (line,) = piece.commands
    done = CliRunner().invoke(commands, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    assert np.array_equal(read(piece.file).pixels, read("made/0000.png").pixels)
    assert np.array_equal(read(piece.folder / "made" / "0000.dcm").stored.values, read("made/0000.dcm").stored.values)
    assert read(piece.file).laterality == "R"


def test_news_come_with_a_picture_and_work_that_nobody_waits_for_ends(studio: Studio) -> None:
    work = studio.make(studio.desks.of("a"), studio.model, replace(ASKED, steps=50))
    told = next(work)
    assert told.done >= 1
    assert told.total == 50
    assert told.seen is not None
    assert told.seen.ndim == 2
    work.close()
    assert finished(studio.make(studio.desks.of("a"), studio.model, replace(ASKED, steps=1))).file.is_file()


def test_another_model_takes_the_place_of_the_last(studio: Studio, folders: Folders) -> None:
    desk = studio.desks.of("a")
    finished(studio.make(desk, studio.model, replace(ASKED, steps=1)))
    before = weakref.ref(studio.engine._model)
    assert before() is not None
    finished(studio.make(desk, str(folders.lesion), replace(ASKED, steps=1)))
    assert before() is None


def test_folders_of_the_server_are_not_for_guests(studio: Studio, tmp_path: Path) -> None:
    studio.local = False
    assert studio.check_model(studio.model)
    with pytest.raises(MameError, match="shared with other machines"):
        studio.check_model(str(tmp_path))
    studio.local = True
    with pytest.raises(MameError, match="not a diffusers model folder"):
        studio.check_model(str(tmp_path))


def test_no_two_users_share_a_desk_and_it_goes_with_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desks = Desks(tmp_path / "desks")
    mine, other = desks.of("a"), desks.of("b")
    piece = mine.put(_piece(mine))
    assert desks.find(piece.id) is piece
    with pytest.raises(MameError, match="no longer on the desk"):
        other.piece(piece.id)
    desks.leave("a")
    assert desks.of("a").piece(piece.id) is piece  # a page that comes back in time finds its things
    desks.leave("a")
    now = __import__("time").monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + KEPT_S + 1)
    desks.of("b")
    assert desks.find(piece.id) is None
    assert not piece.folder.exists()
    desks.close()
    assert not list((tmp_path / "desks").iterdir())


def test_a_full_desk_loses_its_oldest(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    pieces = [desk.put(_piece(desk)) for _ in range(MOST_PIECES + 2)]
    assert len(desk.pieces) == MOST_PIECES
    assert not pieces[0].folder.exists()
    assert pieces[-1].folder.exists()


def _piece(desk: Desk) -> Piece:
    key, folder = desk.new_folder()
    return Piece(key, folder, "x.png", folder / "x.png", {"dicom": False})


@pytest.fixture
def page(folders: Folders) -> Iterator[TestClient]:
    pytest.importorskip("gradio")
    from mame.web.studio.app import app, private_folder

    with private_folder() as folder:
        server = app(folder, "127.0.0.1", str(folders.healthy))
        with TestClient(server, base_url="http://127.0.0.1") as client:
            yield client


def test_the_page_comes_with_its_policy_and_strangers_get_nothing(page: TestClient) -> None:
    got = page.get("/")
    assert got.status_code == 200
    assert "connect-src 'self'" in got.headers["content-security-policy"]
    assert "fonts.googleapis" not in page.get("/theme.css").text
    part = "part?x0=0&y0=0&x1=1&y1=1&width=1&height=1"
    for path in (*(f"/pieces/guessed/{name}" for name in ("thumb.png", "file.png", part)), "/studio/page.py"):
        assert page.get(path).status_code == 404, path
    assert page.get("/", headers={"host": "evil.example"}).status_code == 400


def test_other_machines_need_a_word(tmp_path: Path) -> None:
    for arguments, told in (
        (["--host", "0.0.0.0"], "--auth NAME:PASSWORD, or --no-auth"),
        (["--auth", "name"], "NAME:PASSWORD"),
        (["--port", "70000"], "another --port"),
    ):
        done = CliRunner().invoke(commands, ["studio", *arguments])
        assert done.exit_code == 2
        assert told in done.output
        assert len(done.output.splitlines()) == 1
