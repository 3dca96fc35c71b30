"""Small models, and a small mammogram in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusion.conftest import Folders, folders, one_thread  # noqa: F401
from formats.conftest import make_breast

from mame.formats.files import write
from mame.mammogram import Description, Laterality, Mammogram, View


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A left breast of 600 × 400 pixels of 0.35 mm, as DICOM."""
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    breast = Mammogram(make_breast(), 0.35, Laterality.L, Description(view=View.CC))
    write(breast, path)
    return path
