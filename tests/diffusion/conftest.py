"""Models for the tests of this floor, made once a session."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mame.diffusion.folders import Framing, ModelCard
from mame.diffusion.model import Model, load_model, save_model
from mame.mammogram import Laterality, Mammogram

from .small_mini import breast_picture, small_parts

CARD = ModelCard(frame=Framing.FIELD, field_mm=256.0, vendors=("siemens",), lesions=("mass", "calcifications"))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small pictures gain nothing from threads, and lose much where tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Folders:
    healthy: Path
    lesion: Path


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("models")
    found = Folders(root / "healthy", root / "lesion")
    save_model(small_parts(False), found.healthy, CARD.model_copy(update={"companion": str(found.lesion)}))
    save_model(small_parts(True), found.lesion, CARD.model_copy(update={"companion": str(found.healthy)}))
    return found


@pytest.fixture(scope="session")
def healthy(folders: Folders) -> Model:
    return load_model(folders.healthy, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def lesion(folders: Folders) -> Model:
    return load_model(folders.lesion, device="cpu", dtype="float32")


@pytest.fixture
def left_breast() -> Mammogram:
    return Mammogram(breast_picture((320, 256)), spacing_mm=0.09, laterality=Laterality.L)
