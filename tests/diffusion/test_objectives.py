"""The loss of a step, against the formulas it is meant to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mame.diffusion.cache import Words
from mame.diffusion.config import TrainConfig
from mame.diffusion.model import load_parts
from mame.diffusion.objectives import Denoise, caption
from mame.diffusion.schedule import changed_as_asked, load_scheduler, snr_weights
from mame.mammogram import Description, LesionKind

from .tiny_sd import write_tiny_sd

SHAPE = (4, 8, 8)
WORDS = [Words(Description("siemens", "MLO", "C", "small")), Words(Description("hologic", "CC", "A", "big"))]


def told(**options: Any) -> TrainConfig:
    return TrainConfig(goal="healthy", dataset="phantom:4", out=Path("x"), **options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {kind: write_tiny_sd(root / kind, prediction=kind) for kind in ("epsilon", "v_prediction")}


def objective_of(folder: Path, config: TrainConfig) -> Denoise:
    parts = load_parts(folder)
    parts.text_encoder.requires_grad_(config.train_text_encoder)
    scheduler, _ = changed_as_asked(load_scheduler(folder), config)
    return Denoise(parts.unet, parts.text_encoder, parts.tokenizer, scheduler, config)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_loss_is_the_weighted_squared_error_of_what_the_base_predicts(folders: dict[str, Path], kind: str) -> None:
    config = told(min_snr_gamma=5.0)
    objective = objective_of(folders[kind], config)
    batch = objective.draw(SHAPE, WORDS, np.random.default_rng(0)) | {"latents": torch.randn(2, *SHAPE)}
    kept = objective.scheduler.alphas_cumprod[batch["timesteps"]].view(-1, 1, 1, 1)
    noisy = objective.scheduler.add_noise(batch["latents"], batch["noise"], batch["timesteps"])
    with torch.no_grad():
        guess = objective.unet(noisy, batch["timesteps"], objective.text_encoder(batch["tokens"])[0]).sample
        velocity = kept.sqrt() * batch["noise"] - (1 - kept).sqrt() * batch["latents"]
        wanted = velocity if kind == "v_prediction" else batch["noise"]
        snr = (kept / (1 - kept)).flatten()
        weight = snr.clamp(max=5) / (snr + 1 if kind == "v_prediction" else snr)
        expected = ((guess - wanted).pow(2).mean(dim=(1, 2, 3)) * weight).mean()
        torch.testing.assert_close(objective(batch), expected, rtol=1e-4, atol=1e-6)


def test_a_frozen_text_encoder_says_the_same_from_memory(folders: dict[str, Path]) -> None:
    trained, frozen = (objective_of(folders["epsilon"], told(train_text_encoder=on)) for on in (True, False))
    latents = {"latents": torch.randn(2, *SHAPE)}
    with torch.no_grad():
        first = trained(trained.draw(SHAPE, WORDS, np.random.default_rng(3)) | latents)
        drawn = frozen.draw(SHAPE, WORDS, np.random.default_rng(3)) | latents
        assert "tokens" not in drawn
        torch.testing.assert_close(frozen(drawn), first)
        frozen.text_encoder = None  # not needed again for captions that were heard
        torch.testing.assert_close(frozen(frozen.draw(SHAPE, WORDS, np.random.default_rng(3)) | latents), first)


def test_offset_noise_moves_whole_channels(folders: dict[str, Path]) -> None:
    spread = []
    for strength in (0.0, 0.5):
        objective = objective_of(folders["epsilon"], told(offset_noise=strength))
        drawn = [objective.draw((4, 32, 32), WORDS, np.random.default_rng(i))["noise"] for i in range(100)]
        spread.append(float(torch.cat(drawn).mean(dim=(2, 3)).std()))
    assert spread[0] == pytest.approx(1 / 32, rel=0.15)
    assert spread[1] == pytest.approx(0.5, rel=0.15)


def test_zero_terminal_snr_weighs_pure_noise_without_infinities(folders: dict[str, Path]) -> None:
    objective = objective_of(folders["v_prediction"], told(zero_terminal_snr=True, min_snr_gamma=5.0))
    weights = snr_weights(objective.scheduler, torch.tensor([0, 500, 999]), 5.0)
    assert weights.isfinite().all()
    assert float(objective.signal[-1]) < 1e-3


class Guess(torch.nn.Module):
    """A model whose answer is the noise, and something off."""

    def __init__(self, noise: torch.Tensor, off: torch.Tensor) -> None:
        super().__init__()
        self.answer = noise + off

    def forward(self, seen: torch.Tensor, *_: Any) -> Any:
        return type("Said", (), {"sample": self.answer})


def test_the_region_weighs_more_and_the_mean_stays(folders: dict[str, Path]) -> None:
    objective = objective_of(folders["epsilon"], told(region_weight=3.0))
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1.0
    batch = objective.draw(SHAPE, WORDS[:1], np.random.default_rng(0))
    batch |= {"latents": torch.zeros(1, *SHAPE), "mask": mask}
    inside = torch.where(mask > 0, 1.0, 0.0)

    losses = []
    for off in (inside, 1 - inside, torch.ones_like(inside)):
        objective.unet = Guess(batch["noise"], off)
        losses.append(float(objective(batch)))
    assert losses == pytest.approx([0.8, 0.2, 1.0])  # 4 to 1, of equal halves


def test_a_lesion_in_a_healthy_models_picture_weighs_little(folders: dict[str, Path]) -> None:
    objective = objective_of(folders["epsilon"], told(lesion_weight=0.1))
    lesion = torch.zeros(1, 1, 8, 8)
    lesion[..., :4] = 1.0
    batch = objective.draw(SHAPE, WORDS[:1], np.random.default_rng(0))
    batch |= {"latents": torch.zeros(1, *SHAPE), "lesion": lesion}
    objective.unet = Guess(batch["noise"], lesion)
    assert float(objective(batch)) == pytest.approx(0.05)
    objective.unet = Guess(batch["noise"], 1 - lesion)
    assert float(objective(batch)) == pytest.approx(0.5)


def test_fixed_captions_are_the_data_sets_own_and_free_ones_are_kept() -> None:
    rng = np.random.default_rng(0)
    config = told(captions="fixed", caption_dropout=0.0)
    words = Words(Description("siemens", "MLO", "C", None, LesionKind.MASS))
    said = {caption(words, rng, config) for _ in range(20)}
    assert said == {"a siemens mammogram in MLO view with high density and a mass"}
    free = Words(Description("siemens"), "two clips")
    assert {caption(free, rng, told(caption_dropout=0.0)) for _ in range(20)} == {"two clips"}
    orders = {caption(WORDS[0], rng, told(field_dropout=0.0, caption_dropout=0.0)) for _ in range(40)}
    assert orders == {
        "a siemens mammogram in MLO view with high density and small area",
        "a siemens mammogram in MLO view with small area and high density",
    }
