"""Every method and goal on a tiny Stable Diffusion: four steps, and what comes out loads in stock diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline
from safetensors.torch import load_file

from mame.diffusion import train
from mame.diffusion.config import TrainConfig
from mame.diffusion.model import load_model, load_parts
from mame.diffusion.start import check_parts, starting_parts
from mame.errors import MameError

from .tiny_sd import write_tiny_sd

OPTIONS: dict[str, Any] = {
    "dataset": "phantom:8:5", "size": 64, "batch": 2, "steps": 4, "learning_rate": 1e-3, "warmup_steps": 0,
    "precision": "fp32", "validation_examples": 2, "validate_every": 2, "checkpoint_every": 2, "workers": 1,
    "tracker": "none", "class_images": 3, "lora_rank": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {
        "pictures": write_tiny_sd(root / "sd1"),
        "v": write_tiny_sd(root / "sd2", prediction="v_prediction"),
        "painting": write_tiny_sd(root / "inpainting", inpainting=True),
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def told(tmp_path: Path, cache: Path, **options: Any) -> TrainConfig:
    return TrainConfig.read(None, **{**OPTIONS, "out": tmp_path / "run", "cache": cache, **options})


def run(config: TrainConfig) -> list[str]:
    lines: list[str] = []
    train.train(config, announce=lines.append)
    return lines


@pytest.mark.parametrize("text_encoder", [True, False])
@pytest.mark.parametrize("method", ["full", "dreambooth", "lora"])
@pytest.mark.parametrize(
    ("goal", "base"), [("healthy", "pictures"), ("healthy", "v"), ("lesion", "painting"), ("lesion", "pictures")]
)
def test_four_steps_of_every_method_and_goal(
    tmp_path: Path, cache: Path, bases: dict[str, Path], goal: str, base: str, method: str, text_encoder: bool
) -> None:
    config = told(
        tmp_path, cache, goal=goal, base=str(bases[base]), method=method, train_text_encoder=text_encoder,
        sample_every=4 if method == "full" else 0, sample_prompts=("a mammogram",),
    )  # fmt: skip
    if goal == "lesion" and base == "pictures" and method == "lora":
        with pytest.raises(MameError, match="can't be kept in a LoRA"):
            run(config)
        assert not config.out.exists()
        return
    run(config)
    kind = StableDiffusionInpaintPipeline if goal == "lesion" else StableDiffusionPipeline
    stock = kind.from_pretrained(config.out / "model")
    before, after = load_parts(bases[base]), load_parts(config.out / "model")
    assert type(stock.scheduler).__name__ == ("DDIMScheduler" if base == "v" else "PNDMScheduler")
    moved = {
        part: any(
            not torch.equal(value.half(), old[name].half())
            for old in [getattr(before, part).state_dict()]
            for name, value in getattr(after, part).state_dict().items()
            if name in old and old[name].shape == value.shape
        )
        for part in ("unet", "text_encoder", "autoencoder")
    }
    assert moved == {"unet": True, "text_encoder": text_encoder, "autoencoder": False}
    if method == "full":
        assert sorted(path.name for path in (config.out / "samples").iterdir()) == [
            "step-0000000.png",
            "step-0000004.png",
        ]
    if method == "lora":
        plain = kind.from_pretrained(bases[base])
        plain.load_lora_weights(config.out / "lora")
        channels = 9 if goal == "lesion" else 4
        seen, words = torch.randn(1, channels, 8, 8), torch.randn(1, 24, 32)
        with torch.no_grad():
            merged = after.unet(seen, 10, words).sample
            beside = plain.unet(seen, 10, words).sample
        torch.testing.assert_close(beside, merged, atol=3e-3, rtol=0)  # the merged one is stored in 16 bits
        layers = load_file(config.out / "lora" / "pytorch_lora_weights.safetensors")
        assert any(name.startswith("text_encoder") for name in layers) == text_encoder


def test_class_pictures_are_the_bases_own_and_made_once(tmp_path: Path, cache: Path, bases: dict[str, Path]) -> None:
    options = {"goal": "healthy", "base": str(bases["pictures"]), "method": "dreambooth", "steps": 1}
    first = run(told(tmp_path / "a", tmp_path / "cache", **options))
    again = run(told(tmp_path / "b", tmp_path / "cache", **options))
    said = "the base makes 3 pictures of 'an x-ray' (dreambooth)"
    assert said in first
    assert said not in again
    (shard,) = (tmp_path / "cache").glob("class-*/*.safetensors")
    assert load_file(shard)["latents"].shape == (3, 4, 8, 8)


def test_the_prior_adds_its_weighted_loss(tmp_path: Path, cache: Path, bases: dict[str, Path]) -> None:
    from mame.diffusion.data import open_data
    from mame.diffusion.feed import Feed
    from mame.diffusion.objectives import Denoise
    from mame.diffusion.start import choose_trainable

    config = told(tmp_path, cache, goal="healthy", base=str(bases["pictures"]), method="dreambooth", prior_weight=0.3)
    parts = starting_parts(config, lambda _: None)
    choose_trainable(parts, config)
    data = open_data(config, parts, torch.device("cpu"), lambda _: None)
    objective = Denoise(parts.unet, parts.text_encoder, parts.tokenizer, parts.scheduler, config)
    (batch,) = Feed(data, objective, config, 0, torch.device("cpu")).step(0)
    assert len(batch["latents"]) == 2 * config.batch
    halves = [{name: value[cut] for name, value in batch.items() if name != "share"} for cut in (slice(2), slice(2, 4))]
    with torch.no_grad():
        whole, own, prior = objective(batch), objective(halves[0]), objective(halves[1])
    torch.testing.assert_close(whole, own + 0.3 * prior)


def test_the_base_and_its_scheduler_are_told_and_kept(tmp_path: Path, cache: Path, bases: dict[str, Path]) -> None:
    for base, words in (("pictures", ("epsilon", "PNDM")), ("v", ("v_prediction", "DDIM"))):
        lines = run(told(tmp_path / base, cache, goal="healthy", base=str(bases[base]), steps=1))
        (line,) = [line for line in lines if line.startswith("base ")]
        assert all(word in line for word in (*words, "AutoencoderKL", "4 channels"))
        files = [
            folder / "scheduler" / "scheduler_config.json" for folder in (bases[base], tmp_path / base / "run/model")
        ]
        before, after = (json.loads(file.read_text()) for file in files)
        assert {k: after[k] for k in before} == before


def test_a_model_makes_pictures_of_the_size_it_was_trained_at(
    tmp_path: Path, cache: Path, bases: dict[str, Path]
) -> None:
    lines = run(told(tmp_path, cache, goal="healthy", base=str(bases["pictures"]), size=96, steps=1))
    assert "the base makes pictures of 64 pixels a side, this model will make 96" in lines
    (made,) = load_model(tmp_path / "run" / "model", device="cpu").generate("a mammogram", steps=1)
    assert made.shape == (96, 96)
    assert StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "model").unet.config.sample_size == 12


def test_zero_terminal_snr_comes_only_when_asked_for_and_only_with_v(
    tmp_path: Path, cache: Path, bases: dict[str, Path]
) -> None:
    options = {"goal": "healthy", "steps": 1, "zero_terminal_snr": True}
    with pytest.raises(MameError, match="predicts epsilon, and zero_terminal_snr needs v_prediction"):
        run(told(tmp_path, cache, base=str(bases["pictures"]), **options))
    asked = told(tmp_path, cache, base=str(bases["pictures"]), prediction="v_prediction", **options)
    lines = run(asked)
    assert any("the base predicted epsilon: it learns v_prediction, as asked" in line for line in lines)
    assert any("PNDMScheduler can't do that" in line for line in lines)
    stock = StableDiffusionPipeline.from_pretrained(asked.out / "model")
    assert stock.scheduler.alphas_cumprod[-1] < 1e-6
    assert stock.scheduler.config.prediction_type == "v_prediction"
    kept = told(tmp_path / "v", cache, base=str(bases["v"]), **options)
    run(kept)
    stock = StableDiffusionPipeline.from_pretrained(kept.out / "model")
    assert type(stock.scheduler).__name__ == "DDIMScheduler"
    assert stock.scheduler.alphas_cumprod[-1] < 1e-6


def test_parts_that_do_not_fit_are_told(tmp_path: Path, cache: Path, bases: dict[str, Path]) -> None:
    healthy = told(tmp_path, cache, goal="healthy", base=str(bases["painting"]))
    with pytest.raises(MameError, match="whole ones need a base with 4 input channels"):
        run(healthy)
    with pytest.raises(MameError, match=r"size 72: base .* needs a multiple of 16"):
        run(told(tmp_path, cache, goal="healthy", base=str(bases["pictures"]), size=72))
    parts = load_parts(bases["pictures"])
    parts.text_encoder.config.hidden_size = 48
    with pytest.raises(MameError, match="hears 32 numbers a word, its text encoder says 48"):
        check_parts(parts, healthy)
    parts = load_parts(bases["pictures"])
    parts.unet.register_to_config(in_channels=5)
    with pytest.raises(MameError, match="takes 5 channels"):
        check_parts(parts, healthy)
    assert not healthy.out.exists()


@pytest.mark.parametrize("change", ["missing", "sample", "unknown"])
def test_a_base_without_a_usable_scheduler_is_refused(tmp_path: Path, cache: Path, change: str) -> None:
    base = write_tiny_sd(tmp_path / "base")
    path = base / "scheduler" / "scheduler_config.json"
    said = json.loads(path.read_text())
    if change == "missing":
        path.unlink()
        word = "is missing"
    elif change == "sample":
        path.write_text(json.dumps(said | {"prediction_type": "sample", "_class_name": "DDIMScheduler"}))
        word = "predicts 'sample'"
    else:
        path.write_text(json.dumps(said | {"_class_name": "NoSuchScheduler"}))
        word = "which diffusers does not have"
    with pytest.raises(MameError, match=word):
        run(told(tmp_path, cache, goal="healthy", base=str(base)))
    assert not (tmp_path / "run").exists()


def test_a_hub_name_without_a_network_says_how_to_pass_a_folder(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(MameError, match="pass its folder"):
        run(told(tmp_path, cache, goal="healthy", base="nobody/nothing"))


def test_moments_are_cached_and_latents_drawn_from_them(tmp_path: Path, cache: Path, bases: dict[str, Path]) -> None:
    from mame.dataset.examples import open_examples
    from mame.diffusion.cache import build_cache

    vae = load_parts(bases["pictures"]).autoencoder
    examples = open_examples("phantom:6:5", "windows", 64)
    cached = build_cache(examples, vae, tmp_path, size=64, announce=lambda _: None)
    batch = cached.batch(np.arange(6))
    for i in range(6):
        pixels = torch.from_numpy(examples[i].pixels).expand(1, 3, -1, -1) * 2 - 1
        with torch.no_grad():
            said = vae.encode(pixels).latent_dist
        scale = vae.config.scaling_factor
        torch.testing.assert_close(batch["latents"][i], said.mean[0] * scale, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(batch["deviation"][i], said.std[0] * scale, atol=1e-3, rtol=1e-3)
    assert "deviation" in cached.names
