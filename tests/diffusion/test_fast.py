"""Few steps: what is distilled, the LoRA that comes of it, and pictures made with it."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from mame.diffusion import sample, train
from mame.diffusion.cache import Words
from mame.diffusion.config import TrainConfig
from mame.diffusion.distill import Shortcuts
from mame.diffusion.fast import fast_unet
from mame.diffusion.folders import CARD, FAST, LORA_FILE, ModelCard, read_card
from mame.diffusion.lora import save_adapters
from mame.diffusion.model import load_model, load_parts
from mame.diffusion.sample import Order, denoise, few_times
from mame.diffusion.schedule import clean_and_noise, load_scheduler
from mame.diffusion.start import choose_trainable, save_result, starting_parts
from mame.errors import MameError
from mame.mammogram import Box, Description, Mammogram, View

from .tiny_sd import write_tiny_sd

OPTIONS: dict[str, Any] = {
    "goal": "fast", "method": "lora", "dataset": "phantom:8:5", "size": 64, "batch": 2, "steps": 3,
    "learning_rate": 1e-3, "warmup_steps": 0, "precision": "fp32", "validation_examples": 2, "validate_every": 3,
    "checkpoint_every": 3, "workers": 1, "tracker": "none", "lora_rank": 4, "caption_dropout": 0.0,
    "train_text_encoder": False,
}  # fmt: skip


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd(tmp_path_factory.mktemp("base") / "sd", prediction=request.param)


@pytest.fixture(scope="module")
def taught(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a tiny model that was taught for three steps."""
    out = tmp_path_factory.mktemp("taught") / "run"
    train.train(TrainConfig.read(None, **OPTIONS, base=str(base), out=out), announce=lambda _: None)
    return out


def objective_on(base: Path, tmp_path: Path, **options: Any) -> Shortcuts:
    config = TrainConfig.read(None, **{**OPTIONS, "base": str(base), "out": tmp_path / "run", **options})
    parts = starting_parts(config, lambda _: None)
    choose_trainable(parts, config)
    made = Shortcuts(parts.unet, parts.text_encoder, parts.tokenizer, parts.scheduler, config)
    made.eval()
    return made


def batch_for(objective: Shortcuts, count: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    words = [Words(Description(view=View.CC))] * count
    latents = torch.randn((count, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    return {"latents": latents, **objective.draw((4, 8, 8), words, rng)}


def set_adapters(objective: Shortcuts, value: float) -> None:
    with torch.no_grad():
        for name, parameter in objective.unet.named_parameters():
            if "lora_B" in name:
                parameter.fill_(value)


def test_picture_and_noise_are_found_again_from_what_is_predicted(base: Path) -> None:
    scheduler = load_scheduler(base)
    kind = scheduler.config.prediction_type
    clean, noise = torch.randn(2, 3, 4, 8, 8).unbind(0)
    times = torch.tensor([3, 500, 990])
    kept = scheduler.alphas_cumprod[times].view(-1, 1, 1, 1)
    signal, spread = kept.sqrt(), (1 - kept).sqrt()
    said = signal * noise - spread * clean if kind == "v_prediction" else noise
    found = clean_and_noise(signal * clean + spread * noise, said, signal, spread, kind)
    torch.testing.assert_close(found, (clean, noise), atol=2e-4, rtol=1e-4)


def test_the_teacher_stays_what_it_was_and_only_the_lora_learns(base: Path, tmp_path: Path) -> None:
    objective = objective_on(base, tmp_path)
    batch = batch_for(objective)
    before = objective.way(batch)[1]
    plain = objective(batch)
    set_adapters(objective, 0.05)
    torch.testing.assert_close(objective.way(batch)[1], before)
    assert not torch.allclose(objective(batch), plain)
    objective(batch).backward()
    moved = {name for name, parameter in objective.named_parameters() if parameter.grad is not None}
    assert moved
    assert all("lora_" in name for name in moved)


def test_the_way_is_the_one_that_a_picture_of_the_base_goes(base: Path, tmp_path: Path) -> None:
    objective = objective_on(base, tmp_path)
    batch = batch_for(objective, 2)
    model = load_model(base, device="cpu", dtype="float32")
    order = Order("", steps=24, guidance=4.0)
    at: dict[int | None, torch.Tensor] = {}
    with torch.no_grad():
        made = denoise(
            model, batch["noise"], torch.stack([batch["silence"], batch["text"]]), order,
            after_step=lambda latents, time: at.setdefault(time, latents),
        )  # fmt: skip
    times, points = objective.way(batch)
    torch.testing.assert_close(points[0], batch["noise"])
    for time, point in zip([*times[1:], None], points[1:], strict=True):
        torch.testing.assert_close(point, at[time], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(points[-1], made, atol=1e-4, rtol=1e-3)


def test_a_student_without_loss_goes_from_point_to_point_in_the_sampler(base: Path, tmp_path: Path) -> None:
    """What is learned is what the sampler in few steps does with it, for either prediction."""
    objective = objective_on(base, tmp_path)
    batch = batch_for(objective, 2)
    times, points = objective.way(batch)
    signal, spread = objective.at(torch.tensor(times))
    there = [*zip(signal[1:], spread[1:], strict=True), (1.0, 0.0)]
    answers = {}
    for number, (time, after) in enumerate(zip(times, there, strict=True)):
        a, n = signal[number], spread[number]
        s, z = after
        seen, wanted = points[number], points[number + 1]
        if objective.kind == "v_prediction":
            answers[time] = (wanted - (s * a + z * n) * seen) / (z * a - s * n)
        else:
            answers[time] = (wanted - s / a * seen) / (z - s * n / a)
    objective.predicted = lambda *_: torch.cat([answers[time] for time in times])  # type: ignore[method-assign]
    assert objective(batch) < 1e-4
    model = load_model(base, device="cpu", dtype="float32")
    model.few = objective.few
    with mock.patch.object(sample, "_predicted", lambda _, seen, time, *__: answers[time]):
        made = denoise(model, batch["noise"], batch["text"][None], Order("", steps=4, guidance=1.0))
    torch.testing.assert_close(made, points[-1], atol=2e-3, rtol=1e-3)


def test_the_teacher_is_guided_as_far_as_its_card_says(base: Path, tmp_path: Path) -> None:
    ends = {}
    for until, guidance in ((0, 8.0), (500, 8.0), (1000, 8.0), (0, 1.0)):
        folder = tmp_path / f"sd-{until}-{guidance}"
        shutil.copytree(base, folder)
        (folder / CARD).write_text(ModelCard(guidance_until=until).model_dump_json())
        objective = objective_on(folder, tmp_path / f"run-{until}-{guidance}", guidance=guidance)
        ends[until, guidance] = objective.way(batch_for(objective))[1]
    torch.testing.assert_close(ends[1000, 8.0], ends[0, 1.0])
    torch.testing.assert_close(ends[500, 8.0][1], ends[0, 8.0][1])  # guided as far as here
    for other in ((0, 8.0), (0, 1.0)):
        assert (ends[500, 8.0][-1] - ends[other][-1]).abs().max() > 1e-4


def test_few_times_are_some_of_the_teachers() -> None:
    scheduler = DPMSolverMultistepScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(24)
    assert few_times(scheduler, 4) == [999, 749, 499, 249]
    assert few_times(scheduler, 1) == [999]
    assert few_times(scheduler, 24) == scheduler.timesteps.tolist()


def test_the_run_leaves_the_base_as_it_was_with_a_lora_beside_it(base: Path, taught: Path) -> None:
    before, after = load_parts(base), load_parts(taught / "model")
    for name, value in before.unet.state_dict().items():
        assert torch.equal(value, after.unet.state_dict()[name])
    assert (taught / "model" / FAST / LORA_FILE).read_bytes() == (taught / "lora" / LORA_FILE).read_bytes()
    card = read_card(taught / "model")
    assert card.fast is not None
    assert (card.fast.steps, card.fast.guidance, card.fast.of) == (4, 4.0, 24)
    assert card.training["patients"] == []  # of the phantoms that it learned from
    assert card.training["patients_of_base"] is False


def test_the_merged_weights_are_those_that_stock_diffusers_loads(taught: Path) -> None:
    ours = load_model(taught / "model", device="cpu", dtype="float32").in_few_steps()
    stock = StableDiffusionPipeline.from_pretrained(taught / "model", safety_checker=None)
    stock.load_lora_weights(taught / "lora")
    seen, words = torch.randn(1, 4, 8, 8), torch.randn(1, 24, 32)
    with torch.no_grad():
        theirs = stock.unet(seen, 500, words).sample
        mine = ours.parts.unet(seen, 500, words).sample
        plain = load_parts(taught / "model").unet(seen, 500, words).sample
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(mine, plain, atol=1e-4)


def test_every_matrix_that_was_trained_is_in_the_merged_weights(base: Path, tmp_path: Path) -> None:
    """Attention and convolutions have names of two kinds, and stock loading takes those of one only."""
    objective = objective_on(base, tmp_path)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in objective.unet.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=rng).half() * 0.05)
    shutil.copytree(base, tmp_path / "sd")
    save_adapters(objective.unet, objective.text_encoder, tmp_path / "sd" / FAST)
    seen, words = torch.randn(1, 4, 8, 8), torch.randn(1, 24, 32)
    stock = StableDiffusionPipeline.from_pretrained(tmp_path / "sd", safety_checker=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # peft's, of matrices without a layer and layers without
        stock.load_lora_weights(tmp_path / "sd" / FAST)
        merged = fast_unet(tmp_path / "sd")
    with torch.no_grad():
        true = objective.unet.eval()(seen, 500, words).sample
        for unet in (merged, stock.unet):
            torch.testing.assert_close(unet(seen, 500, words).sample, true, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("alike", [False, True])
def test_a_lora_with_names_of_two_kinds_is_merged_whole(taught: Path, tmp_path: Path, alike: bool) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(taught / "model", folder)
    found = load_file(folder / FAST / LORA_FILE)
    turned = {
        name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")
        if alike or "attn" not in name
        else name: one
        for name, one in found.items()
    }
    assert set(turned) != set(found)
    save_file(turned, folder / FAST / LORA_FILE)
    before, after = fast_unet(taught / "model").state_dict(), fast_unet(folder).state_dict()
    for name, weight in before.items():
        assert torch.equal(after[name], weight)


def test_a_picture_in_few_steps_depends_on_seed_and_number_only(taught: Path) -> None:
    model = load_model(taught / "model", device="cpu", dtype="float32")
    row = model.generate("a mammogram", count=3, seed=5, fast=True)
    (third,) = model.generate("a mammogram", count=1, seed=5, first=2, fast=True)
    assert np.array_equal(row[2].pixels, third.pixels)
    together = model.generate("a mammogram", count=3, seed=5, batch=3, fast=True)
    for one, other in zip(row, together, strict=True):
        np.testing.assert_allclose(one.pixels, other.pixels, atol=1e-3)
    assert not np.array_equal(row[0].pixels, row[1].pixels)
    said = row[0].provenance
    assert (said["fast"], said["steps"], said["scheduler"]) == (True, 4, "DPMSolverMultistepScheduler")
    (sooner,) = model.generate("a mammogram", count=1, seed=5, steps=2, fast=True)
    assert sooner.provenance["steps"] == 2
    assert not np.array_equal(sooner.pixels, row[0].pixels)
    plain = model.generate("a mammogram", seed=5)[0].provenance
    assert (plain["fast"], plain["steps"], plain["guidance"]) == (False, 24, 4.0)


def test_what_few_steps_cannot_do_is_refused(base: Path, taught: Path, tmp_path: Path) -> None:
    model = load_model(taught / "model", device="cpu", dtype="float32")
    with pytest.raises(MameError, match="guidance of 4 is part of the weights"):
        model.generate("a mammogram", guidance=7.0, fast=True)
    with pytest.raises(MameError, match="at most 4, not 8"):
        model.generate("a mammogram", steps=8, fast=True)
    with pytest.raises(MameError, match="no weights for few steps"):
        load_model(base, device="cpu").generate("a mammogram", fast=True)
    with pytest.raises(MameError, match="fast is a LoRA for a base that exists"):
        TrainConfig.read(None, **{**OPTIONS, "out": tmp_path / "no", "base": str(base), "method": "full"})


def test_a_broken_lora_is_told(taught: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(taught / "model", folder)
    (folder / FAST / LORA_FILE).write_bytes(b"no tensors")
    with pytest.raises(MameError, match="can't be laid over the model"):
        load_model(folder, device="cpu").generate("a mammogram", fast=True)
    save_file({"unet.conv_in.bias": torch.zeros(8)}, folder / FAST / LORA_FILE)
    with pytest.raises(MameError, match=r"unet\.conv_in\.bias is no name of a LoRA's matrix"):
        load_model(folder, device="cpu").generate("a mammogram", fast=True)


def test_a_painting_model_is_taught_to_paint_in_few_steps(tmp_path: Path, left_breast: Mammogram) -> None:
    base = write_tiny_sd(tmp_path / "sd", inpainting=True)
    config = TrainConfig.read(
        None, **{**OPTIONS, "base": str(base), "out": tmp_path / "run", "sample_every": 3, "steps": 3}
    )
    assert config.paints
    train.train(config, announce=lambda _: None)
    model = load_model(tmp_path / "run" / "model", device="cpu", dtype="float32")
    height, width = left_breast.shape
    box = Box(width * 0.2, height * 0.4, width * 0.4, height * 0.55).rounded()
    painted = model.inpaint(left_breast, box, seed=2, fast=True)
    assert not np.array_equal(painted.pixels, left_breast.pixels)
    assert np.array_equal(painted.pixels, model.inpaint(left_breast, box, seed=2, fast=True).pixels)
    assert sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())[-1] == "step-0000003.png"


def test_a_model_that_was_saved_again_replaces_the_old_one(base: Path, tmp_path: Path) -> None:
    config = TrainConfig.read(None, **{**OPTIONS, "base": str(base), "out": tmp_path / "run"})
    parts = starting_parts(config, lambda _: None)
    choose_trainable(parts, config)
    first = save_result(parts, config)
    (first / "left-over").touch()
    assert save_result(parts, config) == first
    assert not (first / "left-over").exists()
    assert not list((tmp_path / "run").glob(".mam-e-*"))
