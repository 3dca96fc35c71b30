"""A whole study, read by keyboard in a real browser, with the server killed on the way; and twenty readers at once."""

from __future__ import annotations

import io
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mame.assess.readers.store import AnswerStore
from mame.assess.readers.study import new_study
from web.conftest import Served

pytestmark = pytest.mark.slow
DUE = "body[data-state^=case]"


@pytest.fixture
def served(sets: tuple[Path, Path], tmp_path: Path) -> Iterator[tuple[Path, Served]]:
    new_study(*sets, tmp_path / "study", images=6, readers=2, seed=2)
    server = Served("readers", "serve", str(tmp_path / "study"))
    yield tmp_path / "study", server
    server.stop()


def test_two_readers_read_twelve_by_keyboard_and_a_kill_loses_nothing(
    served: tuple[Path, Served], browser: Any
) -> None:
    study, server = served
    windows, troubles, given = [], [], [{}, {}]
    for link in server.links:
        window = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        window.on("pageerror", lambda error: troubles.append(str(error)))
        window.goto(link)
        window.wait_for_selector(DUE)
        assert "#" not in window.url  # the key does not stay in the address line
        windows.append(window)
    for number in range(12):
        if number == 5:
            server.kill()
        for reader, window in enumerate(windows):
            case = window.get_attribute("body", "data-state")
            window.keyboard.press("i")
            window.keyboard.press("]")
            grade = 1 + (number + reader) % 5
            window.keyboard.press(str(grade))
            window.keyboard.press("Enter")
            given[reader][case] = grade
            if number == 5:
                window.wait_for_selector("text=can't be reached")
        if number == 5:
            server.start()
        for reader, window in enumerate(windows):
            last = number == 11
            window.wait_for_selector("body[data-state=finished]" if last else DUE, timeout=20_000)
            if not last:
                window.wait_for_selector(f"{DUE}:not([data-state={list(given[reader])[-1]}])", timeout=20_000)
    kept = AnswerStore(study).answers().answers
    assert len(kept) == 24
    for reader in range(2):
        assert {one.case: one.score for one in kept if one.reader == f"reader {reader + 1}"} == given[reader]
    assert all(0 < one.seconds < 120 for one in kept if one.seconds is not None)
    assert not troubles


def test_window_and_zoom_change_what_is_seen_and_a_mark_is_kept(sets: Any, tmp_path: Path, browser: Any) -> None:
    from mame.assess.readers.study import Kind

    new_study(*sets, tmp_path / "marks", images=2, readers=1, seed=3, kind=Kind.MARK)
    server = Served("readers", "serve", str(tmp_path / "marks"))
    try:
        window = browser.new_page(viewport={"width": 390, "height": 800})
        window.goto(server.links[0])
        window.wait_for_selector(DUE)
        window.wait_for_timeout(500)
        canvas = window.locator(".mame-viewer")

        def look() -> np.ndarray:
            window.wait_for_timeout(400)
            return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"), np.float32)

        looks = [look()]
        for key in ("i", "i", "+", "f", "{", "w"):
            window.keyboard.press(key)
            looks.append(look())
        first, inverted, back, larger, fitted, narrow, reset = looks
        for again in (back, fitted, reset):
            assert np.abs(again - first).mean() < 0.2
        for other in (inverted, larger, narrow):
            assert np.abs(other - first).mean() > 0.25
        box = canvas.bounding_box()
        window.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        window.keyboard.press("5")
        case = window.get_attribute("body", "data-state")
        window.keyboard.press("Enter")
        window.wait_for_selector(f"{DUE}:not([data-state={case}])")
        ((_, x, y),) = AnswerStore(tmp_path / "marks").marks()[case]
        assert (x, y) == pytest.approx((0.5, 0.5), abs=0.02)
    finally:
        server.stop()


def test_twenty_readers_at_once_lose_no_answer(sets: tuple[Path, Path], tmp_path: Path) -> None:
    new_study(*sets, tmp_path / "many", images=6, readers=20, seed=5)
    server = Served("readers", "serve", str(tmp_path / "many"))
    given: dict[int, dict[str, int]] = {number: {} for number in range(20)}
    failures: list[str] = []

    def read(number: int, link: str) -> None:
        base, token = link.split("#")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

        def call(path: str, body: dict[str, Any] | None = None, method: str | None = None) -> bytes:
            data = json.dumps(body).encode() if body is not None else None
            request = urllib.request.Request(base + path, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bytes(answer.read())

        try:
            headers["X-Seat"] = json.loads(call("api/join", method="POST"))["seat"]
            state = json.loads(call("api/state"))
            while state["case"]:
                size = state["pictures"][0]
                values = call(
                    f"api/part/{state['case']}/0?x0=0&y0=0&x1={size['width']}&y1={size['height']}&width=192&height=192"
                )
                assert len(values) == 2 * 192 * 192
                grade = 1 + (number + len(given[number])) % 5
                given[number][state["case"]] = grade
                state = json.loads(call("api/answer", {"case": state["case"], "value": grade, "seconds": 1.0}))
        except Exception as error:
            failures.append(f"reader {number}: {error!r}")

    try:
        threads = [threading.Thread(target=read, args=pair) for pair in enumerate(server.links)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.stop()
    assert not failures
    kept = AnswerStore(tmp_path / "many").answers().answers
    assert len(kept) == 20 * 12
    for number in range(20):
        assert {one.case: one.score for one in kept if one.reader == f"reader {number + 1}"} == given[number]
