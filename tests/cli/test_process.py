"""The command line as a process: how fast it answers, what it imports, and how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from diffusion.conftest import Folders

import mame
from mame.formats.files import read
from mame.formats.manifest import read_manifest

MAME = (sys.executable, "-m", "mame.cli")
CC = "a siemens mammogram in CC view"


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*(name for name in sys.modules if '.' not in name))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_the_library_imports_nothing_heavy() -> None:
    loaded = imported_by("import mame, mame.cli; assert mame.__all__; mame.MameError; mame.__version__")
    assert not {"torch", "numpy", "pydicom", "diffusers"} & loaded


def test_naming_what_needs_no_torch_imports_none() -> None:
    names = "mame.read, mame.write, mame.Box, mame.available_models, mame.generate, mame.phantom"
    assert "torch" not in imported_by(f"import mame; {names}")


def test_every_public_name_is_there() -> None:
    assert all(getattr(mame, name) is not None for name in mame.__all__)
    assert set(mame.__all__) <= set(dir(mame))
    with pytest.raises(AttributeError, match="nonsense"):
        mame.nonsense  # noqa: B018


def test_it_is_called_mam_e_however_it_is_started() -> None:
    told = subprocess.run([*MAME, "--help"], capture_output=True, text=True)
    assert told.returncode == 0
    assert told.stdout.startswith("Usage: mam-e ")


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MAME, "inpaint", "none.dcm", "--box", "9,9,1,1"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "reversed" in done.stderr


def test_a_reader_that_leaves_early_is_no_mistake() -> None:
    with subprocess.Popen([*MAME, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def _heed_ctrl_c() -> None:
    """Shells start background jobs with SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_on_the_way(tmp_path: Path, folders: Folders, number: signal.Signals, code: int) -> None:
    out = tmp_path / "out"
    asked = ["generate", CC, "--model", str(folders.healthy), "--count", "5000", "--steps", "4", "--out", str(out)]
    with subprocess.Popen(
        [*MAME, *asked],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=_heed_ctrl_c,
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not (out / "0001.png").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()  # one that doesn't heed the signal must not outlive the test
    assert process.returncode == code
    assert said == ("mam-e: stopped; what was finished is kept\n" if code == 130 else "")
    lines = read_manifest(out)
    assert sorted(path.name for path in out.iterdir()) == sorted([*(line["file"] for line in lines), "manifest.jsonl"])
    assert all(read(out / line["file"]).synthetic for line in lines)
