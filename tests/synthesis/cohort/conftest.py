"""Cohorts small enough for tests: models of 64 pixels, one step, and every picture taken as it comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diffusion.conftest import Folders
from formats.conftest import make_breast

from mame.formats.dicom import write_dicom
from mame.mammogram import Description, Laterality, Mammogram, View
from mame.synthesis.cohort.run import synthesize
from mame.synthesis.plan import Plan

MakePlan = Callable[..., Plan]
ANYTHING: dict[str, Any] = {"tries": 20, "view": False, "density": None, "area": None, "visible": None}
OUTPUTS = ["png", "dicom", "coco", "yolo", "vindr", "seg", "sr"]


@pytest.fixture(scope="session")
def make_plan(folders: Folders) -> MakePlan:
    """A plan for the small models; what is given goes before what is here."""

    def make(**changes: Any) -> Plan:
        said: dict[str, Any] = {
            "count": 8,
            "seed": 1,
            "model": str(folders.healthy),
            "steps": 1,
            "lesions": {"share": 0.5, "size_mm": [22, 30], "steps": 1},
            "accept": ANYTHING,
            "outputs": OUTPUTS,
        }
        return Plan(**(said | changes))

    return make


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory, make_plan: MakePlan) -> Path:
    """A finished cohort of eight images, four with a lesion. Not to be changed."""
    return synthesize(make_plan(), tmp_path_factory.mktemp("cohort") / "whole", workers=1)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six DICOMs of small breasts, half of them right ones, that says nothing of their health."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(6):
        pixels = make_breast(seed=number)
        side = Laterality.R if number % 2 else Laterality.L
        picture = Mammogram(
            pixels if side is Laterality.L else pixels[:, ::-1].copy(),
            0.3,
            side,
            Description(vendor="siemens", view=View.CC if number < 3 else View.MLO),
            provenance={"uid_study": f"patient {number // 2}"},
        )
        write_dicom(picture, folder / f"{number}.dcm", seed=f"image {number}")
    return folder


def contents(folder: Path, *without: str) -> dict[str, bytes]:
    """Every file of a folder, but those with one of these names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without
    }
