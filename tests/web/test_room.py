"""The reading room's server: who sees what, and where answers go."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from mame.assess.readers.store import AnswerStore
from mame.assess.readers.study import PICTURES, new_study
from mame.dataset.read import read_values
from mame.web.room.app import room

LOCAL = "http://127.0.0.1"


class Reader:
    """One window."""

    def __init__(self, client: TestClient, token: str, instead: bool = False) -> None:
        self.client, self.token = client, token
        self.seat = ""
        self.joined = self.post("join", params={"instead": instead})
        self.seat = self.joined.json().get("seat", "")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "X-Seat": self.seat}

    def get(self, path: str, **more):
        return self.client.get(f"/api/{path}", headers=self.headers, **more)

    def post(self, path: str, **more):
        return self.client.post(f"/api/{path}", headers=self.headers, **more)

    def answer(self, case: str, value: int = 3, **more):
        return self.post("answer", json={"case": case, "value": value, "seconds": 1.5, **more})


@pytest.fixture
def study(sets: tuple[Path, Path], tmp_path: Path) -> Path:
    new_study(*sets, tmp_path / "study", images=3, readers=2, seed=1)
    return tmp_path / "study"


@pytest.fixture
def tokens(study: Path) -> list[str]:
    return AnswerStore(study).make_tokens()


@pytest.fixture
def client(study: Path, tokens: list[str]) -> TestClient:
    return TestClient(room(study, "127.0.0.1"), base_url=LOCAL)


def test_a_study_is_read_to_its_end_and_every_answer_is_there(
    study: Path, client: TestClient, tokens: list[str]
) -> None:
    reader = Reader(client, tokens[1])
    state = reader.get("state").json()
    seen = []
    while state["case"]:
        seen.append(state["case"])
        state = reader.answer(state["case"], 1 + len(seen) % 5).json()
    assert len(seen) == len(set(seen)) == state["total"] == state["done"] == 6
    kept = {one.case: one.score for one in AnswerStore(study).answers().answers}
    assert kept == {case: 1 + number % 5 for number, case in enumerate(seen, start=1)}


def test_the_picture_that_is_due_comes_with_every_value_and_no_other_comes(
    study: Path, client: TestClient, tokens: list[str]
) -> None:
    reader = Reader(client, tokens[0])
    state = reader.get("state").json()
    (size,) = state["pictures"]
    box = {"x0": 10, "y0": 20, "x1": 110, "y1": 80, "width": 100, "height": 60}
    sent = reader.get(f"part/{state['case']}/0", params=box)
    values = read_values(study / PICTURES / f"{state['case']}.png")
    assert values.shape == (size["height"], size["width"])
    assert np.array_equal(np.frombuffer(sent.content, "<u2").reshape(60, 100), values[20:80, 10:110])
    others = {case.id for case in AnswerStore(study).study.cases} - {state["case"]}
    assert all(reader.get(f"part/{other}/0", params=box).status_code == 404 for other in others)
    assert reader.get(f"part/{state['case']}/1", params=box).status_code == 404
    outside = reader.get(f"part/{state['case']}/0", params={**box, "x1": 9999})
    assert outside.status_code == 400
    assert "not inside" in outside.json()["error"]


def test_a_reader_sees_no_truth(client: TestClient, tokens: list[str]) -> None:
    state = Reader(client, tokens[0]).get("state").json()
    assert set(state) == {"kind", "question", "done", "answers", "total", "case", "pictures"}
    assert all(set(one) == {"place", "width", "height"} for one in state["pictures"])
    for path in ("key.json", "study.json", "answers.sqlite", "../key.json", "pictures/case-001.png", "%2e%2e/key.json"):
        assert client.get(f"/{path}").status_code == 404, path


def test_an_answer_stays_and_no_case_is_left_out(client: TestClient, tokens: list[str]) -> None:
    reader = Reader(client, tokens[0])
    first = reader.get("state").json()["case"]
    second = reader.answer(first).json()["case"]
    assert "not due" in reader.answer(first, 5).json()["error"]
    assert reader.get("state").json()["case"] == second


@pytest.mark.parametrize("wrong", [{"value": 0}, {"value": 6}, {"seconds": -1}, {"x": 1.5, "y": 0.5}])
def test_an_answer_out_of_range_is_refused(client: TestClient, tokens: list[str], wrong: dict) -> None:
    reader = Reader(client, tokens[0])
    case = reader.get("state").json()["case"]
    told = reader.post("answer", json={"case": case, "value": 3, "seconds": 1.0, **wrong})
    assert told.status_code == 400
    assert told.json()["error"]
    assert reader.get("state").json()["done"] == 0


def test_an_answer_that_is_no_number_is_refused(client: TestClient, tokens: list[str]) -> None:
    reader = Reader(client, tokens[0])
    told = reader.post("answer", json={"case": "case-001", "value": "yes", "seconds": 1.0})
    assert told.status_code == 422
    assert reader.get("state").json()["done"] == 0


def test_without_the_right_token_there_is_nothing(client: TestClient, tokens: list[str]) -> None:
    for token in ("", "guessed", tokens[0][:-1]):
        stranger = Reader(client, token)
        assert stranger.joined.status_code == 401
        assert stranger.get("state").status_code == 401
        assert stranger.answer("case-001").status_code == 401


def test_a_link_opened_twice_reads_in_one_window(client: TestClient, tokens: list[str]) -> None:
    first = Reader(client, tokens[0])
    second = Reader(client, tokens[0])
    assert second.joined.status_code == 423
    assert second.get("state").status_code == 423
    assert first.get("state").status_code == 200
    instead = Reader(client, tokens[0], instead=True)
    assert instead.get("state").status_code == 200
    case = instead.get("state").json()["case"]
    assert first.answer(case).status_code == 423
    assert instead.get("state").json()["done"] == 0
    other = Reader(client, tokens[1])
    assert other.get("state").status_code == 200


def test_a_closed_window_leaves_its_seat(client: TestClient, tokens: list[str]) -> None:
    first = Reader(client, tokens[0])
    first.post("leave")
    assert Reader(client, tokens[0]).joined.status_code == 200


def test_another_site_s_name_for_this_machine_is_refused(study: Path) -> None:
    assert TestClient(room(study, "127.0.0.1"), base_url="http://evil.example").get("/").status_code == 400


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("", "room.js", "room.css", "viewer/viewer.js", "viewer/viewer.css"):
        page = client.get(f"/{path}")
        assert page.status_code == 200
        assert not re.search(r"https?://|src=\"//|@import", page.text)
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert len(client.get("/viewer/bokeh.min.js").content) > 500_000
    assert client.get("/viewer/figure.json").json()["version"]


def test_a_full_disk_is_told_and_the_answer_can_be_given_again(client: TestClient, tokens: list[str]) -> None:
    reader = Reader(client, tokens[0])
    case = reader.get("state").json()["case"]
    store = client.app.state.store
    filling = """
        CREATE TABLE more (x);
        CREATE TRIGGER fills AFTER INSERT ON answers BEGIN INSERT INTO more VALUES (zeroblob(1000000)); END;
    """
    with store._open() as base:  # SQLite itself then says what it says on a full disk
        base.executescript(filling)
        base.execute("PRAGMA max_page_count = 1")
    told = reader.answer(case)
    with store._open() as base:
        base.executescript("DROP TRIGGER fills; PRAGMA max_page_count = 1000000;")
    assert told.status_code == 400
    assert "full" in told.json()["error"]
    assert reader.answer(case).json()["done"] == 1
