"""What can go wrong in a training, and what is left then: stops, divergence, the end of memory and of the disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.accelerator import Accelerator
from safetensors.torch import load_file

from mame.diffusion import checkpoints, train, watch
from mame.diffusion.config import Optimizer, Precision, TrainConfig
from mame.diffusion.device import Compute
from mame.diffusion.machine import Settled, settle
from mame.diffusion.model import load_parts
from mame.diffusion.objectives import Denoise
from mame.errors import MameError

from .tiny_sd import write_tiny_sd

OPTIONS: dict[str, Any] = {
    "goal": "healthy", "dataset": "phantom:16:5", "size": 64, "batch": 4, "steps": 6, "learning_rate": 1e-4,
    "warmup_steps": 0, "precision": "fp32", "validation_examples": 4, "validate_every": 2, "checkpoint_every": 2,
    "workers": 1, "tracker": "none", "ema_decay": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd(tmp_path_factory.mktemp("base") / "sd")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def told(tmp_path: Path, cache: Path, base: Path) -> Any:
    def config(**options: Any) -> TrainConfig:
        return TrainConfig.read(
            None, **{**OPTIONS, "out": tmp_path / "run", "cache": cache, "base": str(base), **options}
        )

    return config


def run(config: TrainConfig, resume: bool = False) -> list[str]:
    lines: list[str] = []
    train.train(config, resume, lines.append)
    return lines


def metrics(config: TrainConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]


# -- stops ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_after_the_step_with_a_checkpoint(
    told: Any, tmp_path: Path, number: int, code: int, processes: int
) -> None:
    config = told(steps=100_000, processes=processes)
    (tmp_path / "told.yaml").write_text(config.to_yaml())
    command = [
        sys.executable, "-m", "mame.cli", "train", "healthy", "phantom:16:5", str(config.out),
        "--config", str(tmp_path / "told.yaml"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while checkpoints.newest(config.out / "checkpoints") is None:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    out, told_lines = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert "goes on with --resume" in told_lines
    assert "Traceback" not in told_lines
    assert not (config.out / "model").exists()
    found = checkpoints.newest(config.out / "checkpoints")
    assert found is not None
    assert not list((config.out / "checkpoints").glob(".*"))
    step = json.loads((found / "state.json").read_text())["step"]
    lines = [*told_lines.splitlines()]
    more = run(told(steps=step + 2, processes=processes), resume=True)
    assert f"resumed from {found.name}" in more, lines
    assert (config.out / "model" / "model_index.json").exists()


# -- divergence -----------------------------------------------------------------------------------------------------


def test_a_rising_validation_loss_ends_it_and_the_best_stays(told: Any) -> None:
    with pytest.raises(train.DivergenceError, match=r"the validation loss is .* lower learning_rate"):
        run(told(learning_rate=0.5, steps=20, stop_above=2))
    config = told()
    said = [line["validation_loss"] for line in metrics(config) if "validation_loss" in line]
    assert checkpoints.best_facts(config.out / "checkpoints") == {"step": 0, "validation_loss": min(said)}
    assert not (config.out / "model").exists()


def test_a_number_that_is_none_ends_it_and_the_last_checkpoint_stays(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(100))
    whole = Denoise.forward

    def breaks(self: Denoise, batch: Any) -> torch.Tensor:
        loss = whole(self, batch)
        return loss * float("nan") if self.training and next(steps) == 3 else loss

    monkeypatch.setattr(Denoise, "forward", breaks)
    with pytest.raises(train.DivergenceError, match=r"the loss is nan .* at step 4"):
        run(told())
    kept = checkpoints.newest(told().out / "checkpoints")
    assert kept is not None
    assert kept.name == "step-0000002"
    assert all(value.isfinite().all() for value in load_file(kept / "weights.safetensors").values())


# -- memory and disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_the_end_of_memory_is_answered_with_what_to_lower(
    told: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def out_of_memory(*_: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(Denoise, "forward", out_of_memory)
    with pytest.raises(MameError, match="batch 2 with accumulate 2") as caught:
        run(told())
    for word in ("gradient_checkpointing: true", "adamw8bit", "lora", "size 32"):
        assert word in str(caught.value)


def test_other_errors_stay_what_they_are(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> torch.Tensor:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Denoise, "forward", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        run(told())


def test_a_cache_that_can_not_be_written_is_told(told: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MameError, match="the latent cache can't be made"):
        run(told(cache=tmp_path / "file"))


def test_a_damaged_checkpoint_is_told(told: Any) -> None:
    run(told(steps=2))
    (told().out / "checkpoints" / "step-0000002" / "optimizer.safetensors").write_bytes(b"junk")
    with pytest.raises(MameError, match="the checkpoint can't be read"):
        run(told(steps=4), resume=True)


# -- what the machine can't do --------------------------------------------------------------------------------------


def test_a_machine_says_in_one_line_what_it_does_instead(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mame.diffusion.machine.choose_compute", lambda: Compute(torch.device("cpu"), torch.float32))
    settled = settle(told(precision="fp16", optimizer="adamw8bit"))
    assert settled.instead == "no GPU here: fp32 rather than fp16, AdamW in 32 bits rather than 8"
    assert (settled.precision, settled.optimizer, settled.compiled) == ("fp32", "adamw", False)
    assert settle(told()).instead == ""
    assert settle(told(precision="bf16")).instead == "no fast units for bf16 here: fp32 rather than bf16"
    assert settle(told(precision="auto")).precision == "fp32"
    lines = run(told(precision="fp16", optimizer="adamw8bit", steps=1))
    assert lines.count(settled.instead) == 1
    assert lines.count("trains on the processor, fp32, adamw") == 1


def test_pictures_lie_in_memory_as_the_precision_wants_it(told: Any) -> None:
    places = {"cpu": torch.device("cpu"), "cuda": torch.device("cuda")}
    layouts = {
        (place, precision): Settled(device, precision, Optimizer.ADAMW, False).memory_format
        for place, device in places.items()
        for precision in (Precision.FP32, Precision.BF16)
    }
    last = [key for key, layout in layouts.items() if layout is torch.channels_last]
    assert last == [("cpu", "bf16"), ("cuda", "fp32"), ("cuda", "bf16")]


def test_a_gpu_without_8_bit_adam_says_so(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mame.diffusion.machine.choose_compute", lambda: Compute(torch.device("cuda"), torch.float16))
    monkeypatch.setattr("mame.diffusion.machine.find_spec", lambda name: None)
    settled = settle(told(precision="fp16", optimizer="adamw8bit", steps=1000))
    assert settled.instead == "no bitsandbytes (pip install 'mam-e[gpu]') here: AdamW in 32 bits rather than 8"
    assert (settled.precision, settled.compiled) == ("fp16", True)


# -- watching -------------------------------------------------------------------------------------------------------


def test_tensorboard_gets_curves_and_pictures(told: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = told(tracker="tensorboard", steps=4, sample_every=2, sample_prompts=("a mammogram",))
    run(config)
    events = EventAccumulator(str(config.out / "tensorboard"))
    events.Reload()
    assert {"loss", "lr", "images_s", "validation_loss"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("validation_loss")] == [0, 2, 4]
    assert [event.step for event in events.Images("samples")] == [0, 2, 4]


def test_a_tracker_that_is_not_installed_is_told_before_anything_is_made(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    with pytest.raises(MameError, match="pip install wandb"):
        run(told(tracker="wandb"))
    assert not told().out.exists()


def test_a_tracker_that_cannot_start_is_told(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("no API key\nmore")

    monkeypatch.setattr(Accelerator, "init_trackers", fails)
    with pytest.raises(MameError, match=r"tracker tensorboard: can't be started \(no API key\)"):
        run(told(tracker="tensorboard"))


def test_a_tracker_that_fails_on_the_way_costs_nothing_but_itself(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fails(self: Accelerator, values: Any, step: int, **_: Any) -> None:
        if self.trackers:
            calls.append(step)
            raise ConnectionError("the server is gone")

    monkeypatch.setattr(Accelerator, "log", fails)
    lines = run(told(tracker="tensorboard", steps=4))
    assert calls == [0]
    assert sum("the server is gone; it gets no more" in line for line in lines) == 1
    assert [line["step"] for line in metrics(told()) if "validation_loss" in line] == [0, 2, 4]
    assert (told().out / "model" / "model_index.json").is_file()


def test_the_best_step_becomes_the_model(told: Any) -> None:
    run(told(result="best", learning_rate=3e-3, steps=12))
    config = told()
    said = {line["step"]: line["validation_loss"] for line in metrics(config) if "validation_loss" in line}
    best = checkpoints.best_facts(config.out / "checkpoints")
    assert said[best["step"]] == min(said.values())
    kept = load_file(config.out / "checkpoints" / "best" / "weights.safetensors")
    made = load_parts(config.out / "model").unet.state_dict()
    assert all(
        torch.equal(made[n.removeprefix("unet.")], v.half().float()) for n, v in kept.items() if n[:5] == "unet."
    )


def test_the_validation_loss_of_the_same_weights_is_the_same_at_every_step(told: Any) -> None:
    run(told(learning_rate=1e-12))
    said = [line["validation_loss"] for line in metrics(told()) if "validation_loss" in line]
    assert len(said) == 4
    assert max(said) - min(said) < 1e-6
