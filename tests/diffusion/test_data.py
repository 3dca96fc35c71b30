"""What a run learns from: prepared folders on both goals, their own validation sides, tones and words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset.conftest import KEY, items, some  # noqa: F401

from mame.dataset.examples import Toned, open_examples
from mame.dataset.layout import Split
from mame.dataset.plan import Item, Options
from mame.dataset.prepare import prepare_items
from mame.dataset.pseudonyms import patient_hash
from mame.dataset.read import open_set
from mame.diffusion import cache, train
from mame.diffusion.cache import SHARD, build_cache
from mame.diffusion.config import TrainConfig
from mame.diffusion.data import examples_of, held_out_of, open_data, turns_of
from mame.diffusion.folders import ModelCard, read_card
from mame.diffusion.model import load_parts, save_model
from mame.diffusion.start import starting_parts
from mame.errors import MameError
from mame.mammogram import Density, Description

from .tiny_sd import write_tiny_sd

OPTIONS: dict[str, Any] = {
    "size": 64, "batch": 2, "steps": 2, "learning_rate": 1e-4, "warmup_steps": 0, "precision": "fp32", "workers": 1,
    "tracker": "none", "augment": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    given = [
        replace(item, own_split="validation" if number in (0, 1) else "train") for number, item in enumerate(items)
    ]
    return prepare_items(given, Options("test", size=128, windows=2), tmp_path_factory.mktemp("sets") / "set", KEY)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd(tmp_path_factory.mktemp("base") / "sd")


@pytest.fixture
def told(prepared: Path, base: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    def config(**options: Any) -> TrainConfig:
        return TrainConfig.read(
            None, **{**OPTIONS, "dataset": str(prepared), "base": str(base), "out": tmp_path / "run", **options}
        )

    return config


@pytest.mark.parametrize(
    ("goal", "options"), [("healthy", {}), ("lesion", {}), ("lesion", {"lesion_field": "view", "regions": "box"})]
)
def test_a_prepared_folder_is_learnt_from_and_its_validation_side_judges(
    told: Callable[..., TrainConfig], prepared: Path, goal: str, options: dict[str, Any]
) -> None:
    config = told(goal=goal, sample_every=2, **options)
    validation, numbers = held_out_of(config)
    trained = examples_of(config)
    ids = {trained[i].id for i in range(len(trained))}
    assert len(numbers) > 0
    assert not ids & {validation[int(i)].id for i in numbers}
    train.train(config, announce=lambda _: None)
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["pictures"] == len(trained)
    assert lines[0]["held_out"] == len(numbers)
    card = read_card(config.out / "model")
    assert (card.frame, card.field_mm, card.vendors) == ("field", 256.0, ("siemens",))
    assert card.training["dataset"] == prepared.name
    rows = [row for split in ("train", "validation") for row in open_set(prepared).rows(split)]
    assert card.training["patients"] == sorted({patient_hash(row.source, row.patient) for row in rows})
    assert card.training["keys"] == [KEY.fingerprint]
    assert card.training["patients_of_base"] is False  # the base has no card
    assert card.lesions == (("mass",) if goal == "lesion" else ())
    assert (config.out / "samples" / "step-0000002.png").exists()


def test_rare_words_are_drawn_more_often_but_no_vendor_is() -> None:
    said = [Description(vendor="ge", density=Density.B)] * 8 + [Description(vendor="ge", density=Density.D)]
    said += [Description(vendor="ge", density=Density.A)] * 3 + [Description(vendor="siemens")] * 2
    assert turns_of(said, 1).tolist() == list(range(14))
    drawn = turns_of(said, 4).tolist()
    assert [drawn.count(number) for number in range(14)] == [1] * 8 + [4] + [3] * 3 + [1] * 2


def test_healthy_regions_are_negatives(told: Callable[..., TrainConfig]) -> None:
    windows = examples_of(told(goal="lesion"))
    said = [windows[i] for i in range(len(windows))]
    negatives = [example for example in said if example.description.lesion is None]
    assert 0 < len(negatives) < len(said)
    assert all(example.region is not None and example.region.any() for example in negatives)


def test_a_base_that_learned_from_toned_windows_is_shown_such(
    told: Callable[..., TrainConfig], base: Path, tmp_path: Path
) -> None:
    before = {"patients": ["0123456789ab"], "keys": ["another"], "patients_of_base": True}
    save_model(load_parts(base), tmp_path / "toned", ModelCard(window_tone=True, training=before))
    config = told(goal="lesion", base=str(tmp_path / "toned"))
    assert isinstance(examples_of(config), Toned)
    assert isinstance(held_out_of(config)[0], Toned)
    assert not isinstance(examples_of(told(goal="healthy", base=str(tmp_path / "toned"))), Toned)
    train.train(config, announce=lambda _: None)
    card = read_card(config.out / "model")
    assert card.window_tone
    assert "0123456789ab" in card.training["patients"]  # whom the base saw, the model has seen
    assert len(card.training["patients"]) > 1
    assert set(card.training["keys"]) == {"another", KEY.fingerprint}
    assert card.training["patients_of_base"] is True
    named = told(goal="lesion", dataset=f"toned:{config.dataset}")
    assert np.array_equal(examples_of(named)[0].pixels, examples_of(config)[0].pixels)


def test_a_cache_is_filled_once_and_a_longer_source_adds_to_it(base: Path, tmp_path: Path) -> None:
    vae = load_parts(base).autoencoder
    said: list[str] = []

    def cached(count: int) -> Any:
        examples = open_examples(f"phantom:{count}:9", "views", 64)
        return build_cache(examples, vae, tmp_path, size=64, announce=said.append)

    assert len(cached(4)) == 4
    assert "caching latents of 4 examples" in said[0]
    before = len(said)
    first = cached(4).batch([2])
    assert len(said) == before
    longer = cached(6)  # the shard that was there held four
    assert len(longer) == len(longer.words) == 6
    assert len(cached(4).words) == 4
    for name, value in longer.batch([2]).items():
        assert torch.equal(value, first[name])
    assert SHARD > 6


def test_runs_that_fill_a_shared_cache_at_once_both_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process, save = [1], cache.save_file
    tensors, words = {"latents": torch.ones(2, 4, 8, 8)}, [cache.Words(Description())] * 2

    def overtaken(*args: Any, **more: Any) -> None:
        save(*args, **more)
        if process == [1]:  # the other writes the same shard while this one is between writing and renaming
            process[0] = 2
            cache.write_shard(tmp_path, 0, tensors, words)
            process[0] = 1

    monkeypatch.setattr("os.getpid", lambda: process[0])
    monkeypatch.setattr(cache, "save_file", overtaken)
    cache.write_shard(tmp_path, 0, tensors, words)
    assert torch.equal(cache.LatentCache(tmp_path, 2).batch([0, 1])["latents"], tensors["latents"])
    assert [path.name for path in tmp_path.iterdir()] == ["0000000.safetensors"]


def test_a_free_caption_reaches_the_model(told: Callable[..., TrainConfig], prepared: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(prepared, tmp_path / "copy")
    table = copy / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in rows:
        row["text"] = "breast with two clips"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = told(goal="healthy", dataset=str(copy), caption_dropout=0.0)
    parts = starting_parts(config, lambda _: None)
    data = open_data(config, parts, torch.device("cpu"), lambda _: None)
    assert {words.text for words in data.variants[0].words} == {"breast with two clips"}
    assert {words.text for words in data.variants[1].words} == {"breast with two clips"}


def test_an_empty_set_and_an_unprepared_folder_are_told(
    told: Callable[..., TrainConfig], prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    for dataset, word in (
        (str(tmp_path / "pictures"), "is not a prepared data set"),
        ("phantom:0", "holds no picture"),
    ):
        config = told(goal="healthy", dataset=dataset)
        with pytest.raises(MameError, match=word):
            train.train(config, announce=lambda _: None)
        assert not config.out.exists()
    with pytest.raises(MameError, match="prepared at 128 pixels, 256 are asked for"):
        train.train(told(goal="healthy", size=256), announce=lambda _: None)
    assert open_set(prepared).rows(Split.VALIDATION)
