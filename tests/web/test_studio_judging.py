"""The studio's reader studies: drawn, opened once however often asked for, and links given out once."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

import gradio as gr

from mame.web.studio import texts
from mame.web.studio.judging import read_tab


def handlers() -> dict[str, Any]:
    with gr.Blocks() as blocks:
        read_tab()
    return {one.fn.__name__: one.fn for one in blocks.fns.values()}


def test_a_study_is_drawn_and_its_room_opened_once(sets: tuple[Path, Path], tmp_path: Path) -> None:
    drawn, served = (handlers()[name] for name in ("drawn", "served"))
    study = tmp_path / "study"
    assert drawn(str(study), *map(str, sets), 4, 2) == texts.STUDY_DRAWN.format(folder=study)
    first = served(str(study), False)
    links = re.findall(r"\((http://127\.0\.0\.1:\d+/)#(\S+)\)", first)
    assert len(links) == 2
    address, token = links[0]

    def state(token: str) -> int:
        asked = urllib.request.Request(
            f"{address}api/join?instead=true", method="POST", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            return int(urllib.request.urlopen(asked, timeout=10).status)
        except urllib.error.HTTPError as error:
            return error.code

    for _ in range(100):
        try:
            urllib.request.urlopen(address, timeout=10)
            break
        except OSError:
            time.sleep(0.1)
    assert state(token) == 200
    assert served(str(study), False) == texts.LINKS_HOLD.format(address=address)
    again = re.findall(r"\((http://127\.0\.0\.1:\d+/)#(\S+)\)", served(str(study), True))
    assert {found for found, _ in again} == {address}
    assert state(token) == 401
    assert state(again[0][1]) == 200


def test_what_is_no_folder_or_no_study_is_said_where_it_was_asked(tmp_path: Path) -> None:
    (said,) = handlers()["served"]("  ", False).values()
    assert texts.WHICH_FOLDER in said
    (said,) = handlers()["served"](str(tmp_path / "nowhere"), False).values()
    assert "is no folder" in said
    (said,) = handlers()["served"](str(tmp_path), False).values()
    assert "mame-trouble" in said
    assert list(tmp_path.iterdir()) == []
