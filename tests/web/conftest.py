"""Studies to read, and a browser to read them in."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from assess.readers.sets import make_set

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(real, synthetic)"""
    folder = tmp_path_factory.mktemp("sets")
    return make_set(folder, 0, 10, 192), make_set(folder, 20, 8, 192)


@pytest.fixture
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("no Chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        window = play.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield window
        window.close()


class Served:
    """A `mam-e … serve` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.lines: list[str] = []
        self.port = 0
        self.start()

    def start(self, *more: str) -> None:
        """Start it, at the same port as the last time, and wait until it answers."""
        command = [sys.executable, "-m", "mame.cli", *self.arguments, "--port", str(self.port or 0), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        lines = []
        while self.process.poll() is None and not (lines and self._answers()):
            line = self.process.stdout.readline()
            lines.append(line)
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
            self.port = int(found[1]) if found else self.port
            for _ in range(100):
                if self._answers():
                    break
                time.sleep(0.1)
        assert self.process.poll() is None, "".join(lines)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.lines = [*lines, *(self.process.stdout.readlines() or [])]

    def _answers(self) -> bool:
        import socket

        with socket.socket() as trial:
            trial.settimeout(1)
            return self.port > 0 and trial.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def links(self) -> list[str]:
        """Of the readers."""
        return re.findall(r"http://\S+#\S+", "".join(self.lines))

    def kill(self) -> None:
        """As a power cut does it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """As Ctrl-C does it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)
