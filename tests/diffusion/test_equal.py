"""The same step however it is cut: accumulated, on two processes, cached or not, in one go or resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mame.diffusion import checkpoints, train
from mame.diffusion.config import TrainConfig
from mame.diffusion.data import open_data
from mame.diffusion.feed import Feed
from mame.diffusion.model import load_parts
from mame.diffusion.objectives import Denoise
from mame.diffusion.start import choose_trainable, starting_parts

from .tiny_sd import write_tiny_sd

CPU = torch.device("cpu")
OPTIONS: dict[str, Any] = {
    "goal": "healthy", "dataset": "phantom:24:5", "size": 64, "batch": 4, "steps": 4, "learning_rate": 1e-4,
    "warmup_steps": 0, "precision": "fp32", "validation_examples": 6, "validate_every": 2, "checkpoint_every": 2,
    "workers": 1, "tracker": "none", "ema_decay": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd(tmp_path_factory.mktemp("base") / "sd")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def told(folder: Path, cache: Path, base: Path, **options: Any) -> TrainConfig:
    return TrainConfig.read(None, **{**OPTIONS, "out": folder, "cache": cache, "base": str(base), **options})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = checkpoints.newest(folder / "checkpoints")
    assert found is not None
    return load_file(found / "weights.safetensors") | {
        f"average {name}": value for name, value in load_file(found / "average.safetensors").items()
    }


def validation(folder: Path) -> list[float]:
    import json

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["validation_loss"] for line in lines if "validation_loss" in line]


def assert_same(one: Path, other: Path, tolerance: float) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=tolerance)


def test_accumulated_batches_make_the_step_of_one(tmp_path: Path, cache: Path, base: Path) -> None:
    for name, options in (
        ("one", {"batch": 4}),
        ("two", {"batch": 2, "accumulate": 2}),
        ("four", {"batch": 1, "accumulate": 4}),
    ):
        train.train(told(tmp_path / name, cache, base, **options), announce=lambda _: None)
    assert_same(tmp_path / "one", tmp_path / "two", 2e-5)
    assert_same(tmp_path / "one", tmp_path / "four", 2e-5)


@pytest.mark.parametrize("goal", ["healthy", "lesion"])
def test_the_cached_loss_is_the_uncached_one(tmp_path: Path, cache: Path, base: Path, goal: str) -> None:
    """For the same drawn variation, place in the distribution, noise and caption."""
    config = told(
        tmp_path / "run", cache, base, goal=goal, dataset="phantom:16:5", size=128, batch=8, augment=2,
        train_text_encoder=False,
    )  # fmt: skip
    parts = starting_parts(config, lambda _: None)
    choose_trainable(parts, config)
    data = open_data(config, parts, CPU, lambda _: None)
    objective = Denoise(parts.unet, parts.text_encoder, parts.tokenizer, parts.scheduler, config)
    feed = Feed(data, objective, config, 0, CPU)
    (batch,) = feed.step(0)

    from mame.dataset.augmented import AugmentedViews, AugmentedWindows
    from mame.diffusion.data import examples_of
    from mame.diffusion.feed import order
    from mame.diffusion.latent import encode_signed, latent_mask

    rows = order(data.count, 0, 8, config.seed)
    examples = examples_of(config)
    sources = [examples] + [
        AugmentedWindows(examples, k, config.regions) if goal == "lesion" else AugmentedViews(examples, k)
        for k in (1, 2)
    ]
    cached = [cache.batch(rows) for cache in data.variants]
    uncached = dict(batch)
    used = []
    for place, row in enumerate(rows):
        (variant,) = [k for k in range(3) if torch.equal(cached[k]["latents"][place], batch["latents"][place])]
        used.append(variant)
        example = sources[variant][int(row)]
        pixels = torch.from_numpy(example.pixels)[None] * 2 - 1
        with torch.no_grad():
            said = parts.autoencoder.encode(pixels[:, None].expand(-1, 3, -1, -1)).latent_dist
        scale = parts.autoencoder.config.scaling_factor
        uncached["latents"][place], uncached["deviation"][place] = said.mean[0] * scale, said.std[0] * scale
        if goal == "lesion":
            region = torch.from_numpy(example.region)[None]
            with torch.no_grad():
                uncached["masked"][place] = encode_signed(parts.autoencoder, pixels * ~region)[0]
            uncached["mask"][place] = latent_mask(region, (16, 16))[0]
    assert len(set(used)) > 1
    with torch.no_grad():
        assert float(objective(batch)) == pytest.approx(float(objective(uncached)), abs=1e-5)


def test_a_variation_is_drawn_for_every_picture_and_pass(tmp_path: Path, cache: Path, base: Path) -> None:
    config = told(tmp_path / "run", cache, base, dataset="phantom:8:5", validation_examples=0, augment=1, batch=8)
    parts = starting_parts(config, lambda _: None)
    data = open_data(config, parts, CPU, lambda _: None)
    objective = Denoise(parts.unet, parts.text_encoder, parts.tokenizer, parts.scheduler, config)
    feed = Feed(data, objective, config, 0, CPU)
    plain, varied = (cache.batch(range(8))["latents"] for cache in data.variants)
    seen = np.zeros((8, 2), int)
    for step in range(12):
        for latent in feed.step(step)[0]["latents"]:
            for row in range(8):
                seen[row] += [torch.equal(latent, plain[row]), torch.equal(latent, varied[row])]
    assert (seen.sum(axis=1) == 12).all()
    assert (seen > 0).all()


def test_a_pass_draws_rare_words_as_often_as_balance_says(tmp_path: Path, cache: Path, base: Path) -> None:
    config = told(tmp_path / "run", cache, base, dataset="phantom:8:5", validation_examples=0, batch=1, balance=3)
    parts = starting_parts(config, lambda _: None)
    data = open_data(config, parts, CPU, lambda _: None)
    objective = Denoise(parts.unet, parts.text_encoder, parts.tokenizer, parts.scheduler, config)
    feed = Feed(replace(data, turns=np.array([0, 1, 1, 1, 2])), objective, config, 0, CPU)
    latents = data.variants[0].batch(range(8))["latents"]
    drawn = [
        next(row for row in range(8) if torch.equal(latents[row], feed.step(n)[0]["latents"][0])) for n in range(10)
    ]
    assert np.bincount(drawn).tolist() == [2, 6, 2]


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["healthy", "lesion"])
def test_two_processes_are_one_with_the_doubled_batch(tmp_path: Path, cache: Path, base: Path, goal: str) -> None:
    lines: list[str] = []
    train.train(told(tmp_path / "one", cache, base, goal=goal), announce=lambda _: None)
    two = told(tmp_path / "two", cache, base, goal=goal, batch=2, processes=2)
    assert train.train(two, announce=lines.append) == tmp_path / "two" / "model"
    assert_same(tmp_path / "one", tmp_path / "two", 1e-4)
    # their batches of two are cut elsewhere than the one's of four, so the losses are of other draws
    assert len(validation(tmp_path / "two")) == 3
    assert sum("validation loss" in line for line in lines) == 3
    # and they go on
    train.train(two.model_copy(update={"steps": 6}), resume=True, announce=lines.append)
    train.train(told(tmp_path / "one", cache, base, goal=goal, steps=6), resume=True, announce=lambda _: None)
    assert "resumed from step-0000004" in lines
    assert_same(tmp_path / "one", tmp_path / "two", 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("text_encoder", [True, False])
def test_two_processes_with_cut_weights_are_one(tmp_path: Path, cache: Path, base: Path, text_encoder: bool) -> None:
    options = {"train_text_encoder": text_encoder, "result": "best", "validation_examples": 5}
    train.train(told(tmp_path / "one", cache, base, **options), announce=lambda _: None)
    two = told(tmp_path / "two", cache, base, batch=2, processes=2, shard=True, **options)
    lines: list[str] = []
    train.train(two, announce=lines.append)
    assert_same(tmp_path / "one", tmp_path / "two", 1e-4)
    before = load_parts(base).unet.state_dict()
    moved = {name.removeprefix("unet."): value for name, value in weights(tmp_path / "two").items()}
    assert max(float((moved[name] - value).abs().max()) for name, value in before.items() if name in moved) > 3e-4
    train.train(two.model_copy(update={"steps": 6}), resume=True, announce=lines.append)
    train.train(told(tmp_path / "one", cache, base, steps=6, **options), resume=True, announce=lambda _: None)
    assert "resumed from step-0000004" in lines
    assert_same(tmp_path / "one", tmp_path / "two", 1e-4)
    kept = load_file(tmp_path / "two" / "checkpoints" / "best" / "weights.safetensors")
    made = load_parts(tmp_path / "two" / "model")
    for name, value in kept.items():
        part, _, rest = name.partition(".")
        assert torch.equal(getattr(made, part).state_dict()[rest], value.half().float())


@pytest.mark.slow
def test_accelerate_launch_does_the_same(tmp_path: Path, cache: Path, base: Path) -> None:
    train.train(told(tmp_path / "one", cache, base), announce=lambda _: None)
    config = tmp_path / "two.yaml"
    config.write_text(told(tmp_path / "two", cache, base, batch=2, processes=2).to_yaml())
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", "1", "--main_process_port", "0"),
        *("-m", "mame.cli", "train", "healthy", "phantom:24:5", str(tmp_path / "two"), "--config", str(config)),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "ACCELERATE_USE_CPU": "true"})
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "one", tmp_path / "two", 1e-4)


@pytest.mark.slow
def test_killed_at_50_and_resumed_is_uninterrupted_at_100(tmp_path: Path, cache: Path, base: Path) -> None:
    options = {"steps": 100, "checkpoint_every": 10, "validate_every": 50}
    train.train(told(tmp_path / "whole", cache, base, **options), announce=lambda _: None)
    config = tmp_path / "parts.yaml"
    config.write_text(told(tmp_path / "parts", cache, base, **options).to_yaml())
    command = [
        sys.executable, "-m", "mame.cli", "train", "healthy", "phantom:24:5", str(tmp_path / "parts"), "--config",
        str(config),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "parts" / "checkpoints" / "step-0000050").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    stopped_at = checkpoints.newest(tmp_path / "parts" / "checkpoints")
    assert stopped_at is not None
    assert "step-0000050" <= stopped_at.name < "step-0000100"
    assert subprocess.run([*command, "--resume"], capture_output=True).returncode == 0
    assert_same(tmp_path / "whole", tmp_path / "parts", 1e-6)
    assert validation(tmp_path / "whole")[-1] == pytest.approx(validation(tmp_path / "parts")[-1], abs=1e-6)
