"""The house: floors, instant imports, and files that people can read in one go."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "mame").rglob("*.py"))
LONGEST_FILE = 400
PICKLES_IN_MEMORY = {"dataset/plan.py"}  # its own bytes, made and read in one process, never a file


def test_a_room_knows_only_the_floors_below_it() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout
    assert re.search(r"[1-9]\d* kept, 0 broken", told.stdout)


@pytest.mark.parametrize("start", ["import mame", "import mame.cli", "import mame; dir(mame); mame.MameError"])
def test_start_is_instant(start: str) -> None:
    heavy = ("torch", "diffusers", "transformers", "scipy", "skimage", "pydicom")
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; {start}; print([m for m in {heavy} if m in sys.modules])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == "[]"


def test_files_can_be_read_in_one_go() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert SOURCES
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FILE}


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path) for path in SOURCES if not re.match(r'"""\S', path.read_text(encoding="utf-8"))]
    assert not silent


def test_nothing_loads_pickles() -> None:
    """Weights are safetensors; nothing that is read may run code."""
    unsafe = re.compile(
        r"\bpickle\b|torch\.load\((?![^)]*weights_only=True)|allow_pickle=True|yaml\.load\(|(?<![.\w])(?:eval|exec)\("
    )
    checked = [path for path in SOURCES if path.relative_to(ROOT / "src" / "mame").as_posix() not in PICKLES_IN_MEMORY]
    found = [f"{path}: {m[0]}" for path in checked for m in unsafe.finditer(path.read_text(encoding="utf-8"))]
    assert not found
