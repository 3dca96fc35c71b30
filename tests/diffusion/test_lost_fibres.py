"""The fibres that a decoder loses: measured where an autoencoder is trained, drawn where pictures are made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mame.diffusion import sample
from mame.diffusion.config import TrainConfig
from mame.diffusion.folders import CARD, read_card
from mame.diffusion.model import Model, load_autoencoder, save_model
from mame.diffusion.start import lost_fibres, save_result
from mame.errors import MameError
from mame.imaging.fibres import with_fibres

from .small_mini import small_parts

PROMPT = "a hologic mammogram in MLO view"
STRENGTHS = ((-9.0, 0.0, 0.0, 0.0, 0.0), (-9.0, 0.0, 0.0, 0.0, 0.0))


@pytest.fixture
def fibrous(healthy: Model) -> Model:
    card = healthy.card.model_copy(update={"fibres": STRENGTHS})
    return Model(healthy.name, healthy.folder, card, healthy.parts, healthy.compute)


def test_pictures_get_the_fibres_of_their_card(healthy: Model, fibrous: Model) -> None:
    plain = healthy.generate(PROMPT, 2, seed=5, steps=2)
    given = fibrous.generate(PROMPT, 2, seed=5, steps=2)
    for index, (without, made) in enumerate(zip(plain, given, strict=True)):
        rng = np.random.default_rng([5, index, sample.FIBRES])
        np.testing.assert_array_equal(made.pixels, with_fibres(without.pixels, STRENGTHS, rng))
        assert not np.array_equal(made.pixels, without.pixels)
        assert made.provenance["fibres"] == STRENGTHS
        assert without.provenance["fibres"] is None


def test_they_are_the_pictures_own_however_a_run_is_cut(fibrous: Model) -> None:
    third = fibrous.generate(PROMPT, 3, seed=5, steps=2)[2]
    np.testing.assert_array_equal(third.pixels, fibrous.generate(PROMPT, 1, seed=5, steps=2, first=2)[0].pixels)
    (mirrored,) = fibrous.generate(PROMPT, 1, seed=5, steps=2, first=2, laterality="R")
    np.testing.assert_array_equal(third.pixels, mirrored.pixels[:, ::-1])


def test_they_are_measured_in_the_whole_pictures_of_a_data_set() -> None:
    found = lost_fibres(load_autoencoder("mini"), "phantom:4:3", 256)
    assert found is not None
    assert np.shape(found) == (2, 5)
    again = lost_fibres(load_autoencoder("mini"), "phantom:4:3", 256)
    assert again == found


@pytest.mark.parametrize("goal", ["autoencoder", "healthy"])
def test_the_card_of_a_trained_decoder_tells_them_and_others_keep_those_of_their_base(
    goal: str, fibrous: Model, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    save_model(small_parts(False), base, fibrous.card)
    config = TrainConfig(goal=goal, base=str(base), dataset="phantom:4:5", size=256, out=tmp_path / "run")
    told = read_card(save_result(small_parts(False), config)).fibres
    assert told is not None
    assert (told == STRENGTHS) == (goal == "healthy")


def test_a_card_with_other_numbers_is_refused(healthy: Model, tmp_path: Path) -> None:
    said = healthy.card.model_dump(mode="json") | {"fibres": [[1.0, 2.0], [3.0]]}
    (tmp_path / CARD).write_text(json.dumps(said))
    with pytest.raises(MameError, match="not a model card"):
        read_card(tmp_path)
