"""What the documentation shows works: Python blocks run, commands and their options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from mame.diffusion.folders import available_models

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    found = []
    for page in PAGES:
        parts = [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]
        if parts:
            found.append(pytest.param(parts, id=str(page.relative_to(ROOT))))
    return found


@pytest.mark.parametrize("parts", blocks("python"))
def test_python_examples_run(parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other in one namespace, as a reader would paste them."""
    if any('"mini"' in part for part in parts) and not available_models():
        pytest.skip("the embedded models are not in this checkout")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for part in parts:
        exec(compile(part, "example", "exec"), names)


@pytest.mark.parametrize("parts", blocks("sh"))
def test_commands_shown_exist(parts: list[str]) -> None:
    from mame.cli.app import app

    known = typer.main.get_command(app)
    for line in "".join(parts).splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] != "mam-e":
            continue
        command = known.commands.get(words[1])  # type: ignore[attr-defined]
        assert command is not None, line
        # parsing only: nothing runs, but unknown options and missing arguments are errors
        with command.make_context("mam-e", list(words[2:])):
            pass


def test_every_page_is_in_the_navigation() -> None:
    told = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    shown = set(re.findall(r"[\w/-]+\.md", str(told)))
    assert shown == {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}


def test_every_command_has_a_page() -> None:
    from mame.cli.app import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {page.stem for page in (ROOT / "docs" / "commands").glob("*.md")} == set(known)
