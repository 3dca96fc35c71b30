"""The command line in this process, small models, and a small mammogram in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from diffusion.conftest import Folders, folders, one_thread  # noqa: F401
from synthesis.conftest import film  # noqa: F401
from typer.testing import CliRunner, Result

from mame.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `mam-e ARGUMENTS` in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(one) for one in arguments])

    return call
