"""Many users of one studio at once, for three minutes; and one who leaves in the middle of a long row."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio_client")

pytestmark = pytest.mark.slow
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "studio.py"
PATIENCE_MS = 300_000
GROWTH_MB = 100.0


def test_eight_users_get_their_own_pictures_for_three_minutes_in_flat_memory() -> None:
    command = [sys.executable, str(BENCHMARK), "--users", "8", "--seconds", "180"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert found["troubles"] == []
    assert found["mixed up"] == 0
    assert found["different pictures"] == 8
    fewest, most = found["fewest and most of a user"]
    assert fewest >= 2
    assert most - fewest <= 2  # in turn
    memory = found["memory_mb"]
    assert memory["second half"] - memory["first half"] < GROWTH_MB


def test_a_user_who_leaves_frees_the_queue(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    from mame.web.server import free_port
    from mame.web.studio import app as page_of
    from mame.web.studio.engine import Engine, Step

    steps: list[int] = []
    kept = Engine._watched

    def counted(self: Engine, *arguments: Any) -> Any:
        for step in kept(self, *arguments):
            assert isinstance(step, Step)
            steps.append(step.steps)
            yield step

    monkeypatch.setattr(Engine, "_watched", counted)
    port = free_port("127.0.0.1", 0)
    with page_of.studio(page_of.Access(), port=port) as app:
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
        threading.Thread(target=server.run, daemon=True).start()
        leaving, staying = (browser.new_context().new_page() for _ in range(2))
        for window in (leaving, staying):
            window.set_default_timeout(PATIENCE_MS)
        while not server.started:
            staying.wait_for_timeout(50)
        for window, rows, count in ((leaving, 60, 16), (staying, 4, 1)):
            window.goto(f"http://127.0.0.1:{port}/")
            window.wait_for_selector("#make")
            for label, value in (("Pictures", count), ("Steps", rows)):
                box = window.get_by_role("spinbutton", name=re.compile(label)).locator("visible=true").first
                box.fill(str(value))
                box.press("Tab")
        leaving.click("#make")
        leaving.wait_for_function("() => /step 2 of 60/.test(document.querySelector('#status').innerText)")
        staying.click("#make")
        staying.get_by_text("queue: 1/1").first.wait_for()  # its place is shown
        leaving.context.close()
        staying.wait_for_function("() => /1 made in/.test(document.querySelector('#status').innerText)")
        server.should_exit = True
    assert steps.count(60) < 200  # of 960
