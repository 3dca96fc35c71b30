"""Model cards: what a run was, in words and pictures, and the licence that goes along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from diffusers import StableDiffusionPipeline
from huggingface_hub import ModelCard as HubCard

from mame.diffusion import train
from mame.diffusion.config import TrainConfig
from mame.diffusion.model import load_model
from mame.diffusion.publish import publish
from mame.errors import MameError

from .tiny_sd import write_tiny_sd


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("publish")
    base = write_tiny_sd(root / "base")
    (base / "README.md").write_text("---\nlicense: creativeml-openrail-m\n---\n# base\n")
    config = TrainConfig.read(
        None, goal="healthy", dataset="phantom:12:5", base=str(base), out=root / "run", recipe="default", size=64,
        steps=4, batch=2, validation_examples=2, validate_every=2, sample_every=4, sample_prompts=("a mammogram",),
        tracker="none", workers=1, augment=1,
    )  # fmt: skip
    train.train(config, announce=lambda _: None)
    return config.out


def test_a_card_says_what_the_run_was(run: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"adherence": {"view": 0.97, "area": {"kappa": 0.8, "interval": [0.7, 0.9]}}}))
    assert publish(str(run), str(tmp_path / "given"), report) == str(tmp_path / "given")
    text = (tmp_path / "given" / "README.md").read_text()
    for words in (
        "Not for diagnosis", "phantom:12:5", "| pictures | 10, and 1 variations of each |", "| steps | 4 |",
        "default, method full", "| adherence · view | 0.97 |", "| adherence · area · interval | 0.7 to 0.9 |",
        "CreativeML Open RAIL-M", "Attachment A", "Lowest validation loss", "(curve.svg)", "(samples.png)", "epsilon",
    ):  # fmt: skip
        assert words in text
    assert str(run.parent) not in text
    assert str(tmp_path) not in text
    card = HubCard(text)
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "creativeml-openrail-m", "diffusers", "text-to-image",
    )  # fmt: skip
    assert "polyline" in (tmp_path / "given" / "curve.svg").read_text()
    StableDiffusionPipeline.from_pretrained(tmp_path / "given")
    assert load_model(tmp_path / "given").hash == load_model(run / "model").hash


def test_a_model_without_a_run_says_what_is_not_known(tmp_path: Path) -> None:
    base = write_tiny_sd(tmp_path / "base", inpainting=True)
    publish(str(base), str(tmp_path / "given"))
    text = (tmp_path / "given" / "README.md").read_text()
    assert "not recorded" in text
    assert "licence is 'unknown': read it" in text
    assert "Nothing was measured" in text
    assert "mam-e inpaint" in text


def test_the_hub_gets_the_folder_and_stays_private(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Any]] = []

    class Hub:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
            seen.append((name, private))

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
            seen.append((repo_id, sorted(path.name for path in folder_path.iterdir())))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert publish(str(run), "owner/name") == "https://huggingface.co/owner/name"
    assert seen[0] == ("owner/name", True)
    assert {"README.md", "model_index.json", "unet", "mam-e.json"} <= set(seen[1][1])
    publish(str(run), "owner/name", public=True)
    assert seen[2] == ("owner/name", False)


def test_what_can_not_be_published_is_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(MameError, match="exists already"):
        publish(str(run), str(tmp_path / "there"))
    with pytest.raises(MameError, match="not a report that can be read"):
        publish(str(run), str(tmp_path / "new"), tmp_path / "none.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]

    class Hub:
        def create_repo(self, *_: object, **__: object) -> None:
            raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(MameError, match=r"can't be put on the hub \(no route to host\)"):
        publish(str(run), "owner/name")
