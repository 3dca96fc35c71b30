"""OpenVINO in torch's place."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mame.diffusion.model import load_model
from mame.errors import MameError

from .tiny_sd import write_tiny_sd

PROMPT = "a mammogram in CC view"


def test_openvino_makes_the_same_picture_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="LOUD: openvino is not installed, and was not tried")
    telemetry = pytest.importorskip("openvino_telemetry")
    told: list[object] = []
    for name in ("start_session", "send_event", "send_error"):
        monkeypatch.setattr(telemetry.Telemetry, name, lambda *said, **_: told.append(said))
    folder = write_tiny_sd(tmp_path / "sd")
    plain = load_model(folder, "cpu", "float32")
    other = load_model(folder, "openvino", "float32")
    for asked in ({"count": 2, "steps": 3}, {"count": 1, "steps": 2, "guidance": 1.0}):
        wanted, made = (model.generate(PROMPT, seed=3, **asked) for model in (plain, other))  # type: ignore[arg-type]
        for one, same in zip(wanted, made, strict=True):
            assert np.abs(one.pixels - same.pixels).max() < 1e-3
            assert (one.provenance["device"], same.provenance["device"]) == ("cpu", "openvino")
    assert not told


def test_half_precision_that_openvino_lacks_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="LOUD: openvino is not installed, and was not tried")
    with pytest.raises(MameError, match="bfloat16 or float32"):
        load_model(write_tiny_sd(tmp_path / "sd"), "openvino", "float16")


def test_without_openvino_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MameError, match=r"pip install 'mam-e\[openvino\]'"):
        load_model(write_tiny_sd(tmp_path / "sd"), "openvino")
