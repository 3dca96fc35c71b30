"""Every command as a user gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from diffusion.conftest import Folders

import mame
from mame.formats.manifest import read_manifest
from mame.imaging.phantom import Phantom
from mame.mammogram import Box

from .conftest import Run

CC = "a siemens mammogram in CC view"
COMMANDS = (
    "demo",
    "generate",
    "inpaint",
    "phantom",
    "prepare",
    "fuse",
    "verify",
    "export",
    "train",
    "models",
    "synthesize",
    "send",
)


def test_help_names_every_command(run: Run) -> None:
    told = run("--help")
    assert told.exit_code == 0
    assert all(f"  {name} " in told.stdout for name in COMMANDS)
    assert run().stdout == told.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_is_in_the_library(run: Run, command: str) -> None:
    assert run(command, "-h").stdout.startswith(f"Usage: mam-e {command}")
    assert callable(getattr(mame, command))


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"mam-e {mame.__version__}\n"


def test_generate(run: Run, folders: Folders) -> None:
    asked = ("generate", CC, "--model", folders.healthy, "--steps", 1, "--count", 2, "--format", "png,dicom")
    done = run(*asked)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "mam-e-out/generate-1\n"
    assert len(list(Path("mam-e-out/generate-1").iterdir())) == 5
    assert run(*asked, "--seed", 1).stdout == "mam-e-out/generate-2\n"


def test_generate_as_json(run: Run, folders: Folders) -> None:
    done = run("generate", CC, "--model", folders.healthy, "--steps", 1, "--side", "R", "--out", "out", "--json")
    said = json.loads(done.stdout)
    assert said["folder"] == "out"
    assert said["images"] == read_manifest("out")
    assert said["images"][0]["laterality"] == "R"


def test_existing_output_needs_force(run: Run, folders: Folders) -> None:
    asked = ("generate", CC, "--model", folders.healthy, "--steps", 1, "--out", "out")
    assert run(*asked, "--count", 2).exit_code == 0
    refused = run(*asked)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert run(*asked, "--force").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["0000.png", "manifest.jsonl"]


def test_inpaint(run: Run, folders: Folders, film: Path) -> None:
    done = run("inpaint", film, "--box", "60,250,120,310", "--model", folders.lesion, "--steps", 1, "--format", "dicom")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "mam-e-out/inpaint-1\n", "")
    names = sorted(path.name for path in Path("mam-e-out/inpaint-1").iterdir())
    assert names == ["0000-mask.png", "0000.dcm", "manifest.jsonl"]
    done = run(
        "inpaint", film, "--mask", "mam-e-out/inpaint-1/0000-mask.png", "--model", folders.lesion, "--steps", 1,
        "--window", "whole", "--spacing", "0.4", "--json",
    )  # fmt: skip
    (line,) = json.loads(done.stdout)["images"]
    assert Box(*line["lesions"][0]["box"]) == Box(60, 250, 120, 310)
    assert (line["spacing_mm"], line["spacing_origin"]) == (0.4, "given")


def test_phantom(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Phantom, "matrix_grid", lambda self: self.field_grid(160))
    done = run("phantom", "out", "--count", 2, "--seed", 3, "--lesions", 1)
    assert (done.exit_code, done.stdout) == (0, "out\n")
    again = run("phantom", "out", "--count", 2, "--seed", 3, "--lesions", 1, "--json")
    assert len(json.loads(again.stdout)["images"]) == 2


def test_models(run: Run) -> None:
    listed = json.loads(run("models", "--json").stdout)
    assert [entry["name"] for entry in listed] == [entry.name for entry in mame.models()]
    told = run("models")
    assert told.exit_code == 0
    assert all(entry["name"] in told.stdout for entry in listed)


def test_demo(run: Run, folders: Folders, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mame.synthesis.demo.real_mammograms", lambda: [film])
    done = run("demo", "--model", folders.healthy, "--lesion-model", folders.lesion, "--out", "out")
    assert (done.exit_code, done.stdout) == (0, "out/index.html\n")
    assert Path("out/index.html").is_file()
    assert "looking at" in done.stderr


def test_train_options_reach_the_trainer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[mame.TrainConfig, bool]] = []

    def train(config: mame.TrainConfig, resume: bool, *_: object) -> Path:
        seen.append((config, resume))
        return config.out / "model"

    monkeypatch.setattr("mame.diffusion.train.train", train)
    Path("more.yaml").write_text("steps: 5\nbatch: 3\n")
    done = run("train", "lesion", "phantom:8", "out", "--steps", 7, "--config", "more.yaml", "--resume")
    assert done.stdout == "out/model\n"
    ((config, resume),) = seen
    assert (config.goal, config.dataset, config.steps, config.batch, resume) == ("lesion", "phantom:8", 7, 3, True)
    assert (config.recipe, config.base) == (None, "new")
    assert json.loads(run("train", "healthy", "phantom:8", "out", "--json").stdout) == {"model": "out/model"}
    assert (seen[1][0].recipe, seen[1][0].base) == ("default", "mini")
    run("train", "healthy", "phantom:8", "out", "--recipe", "paper-vindr", "--batch", 4, "--accumulate", 64)
    assert (seen[2][0].steps, seen[2][0].batch, seen[2][0].accumulate) == (2500, 4, 64)
    run("train", "healthy", "phantom:8", "out", "--base", "new")
    assert seen[3][0].recipe is None
