"""What this machine does of what a recipe asks for, and what a run does where memory ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from mame.diffusion.config import Goal, Method, Optimizer, Precision, TrainConfig
from mame.diffusion.device import choose_compute
from mame.errors import MameError

COMPILE_STEPS = 500  # compiling takes minutes: what shorter runs would not win back
FORMATS = {torch.bfloat16: Precision.BF16, torch.float16: Precision.FP16, torch.float32: Precision.FP32}


@dataclass(frozen=True, slots=True)
class Settled:
    """How a run computes here. instead: what is done rather than what was asked for, in one line, or ""."""

    device: torch.device
    precision: Precision
    optimizer: Optimizer
    compiled: bool
    instead: str = ""

    @property
    def memory_format(self) -> torch.memory_format:
        """How pictures lie in memory while convolutions train.

        Channels last suits 16-bit units; on a processor in float32 it costs time (backward loses more than
        forward gains). It hangs on the precision alone, so that a resumed run rounds as it did before.
        """
        plain = self.device.type == "cpu" and self.precision is Precision.FP32
        return torch.contiguous_format if plain else torch.channels_last

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "the processor"
        return f"{name}, {self.precision}, {self.optimizer}{', compiled' if self.compiled else ''}"


def settle(config: TrainConfig) -> Settled:
    """What is done of `config` on this machine."""
    compute = choose_compute()
    device = compute.device
    fastest = FORMATS[compute.dtype]
    precision, optimizer = config.precision, config.optimizer
    instead = []
    if precision is Precision.AUTO:
        precision = fastest
    elif (precision is Precision.FP16 and device.type == "cpu") or (
        precision is Precision.BF16 and fastest is not Precision.BF16
    ):
        instead.append(f"{fastest} rather than {precision}")
        precision = fastest
    if optimizer is Optimizer.ADAMW_8BIT and (
        device.type != "cuda" or find_spec("bitsandbytes") is None or config.shard
    ):
        optimizer = Optimizer.ADAMW
        instead.append("AdamW in 32 bits rather than 8")
    lacks = "no bitsandbytes (pip install 'mam-e[gpu]')"
    if config.precision is Precision.BF16 and precision is not Precision.BF16:
        lacks = "no fast units for bf16"
    elif device.type == "cpu":
        lacks = "no GPU"
    elif config.shard and find_spec("bitsandbytes") is not None:
        lacks = "no 8-bit Adam for cut weights"
    said = f"{lacks} here: {', '.join(instead)}" if instead else ""
    compiled = config.compile_unet
    if compiled is None:
        compiled = device.type == "cuda" and config.steps >= COMPILE_STEPS and config.goal is not Goal.AUTOENCODER
    return Settled(device, precision, optimizer, compiled, said)


def make_optimizer(parameters: list[torch.nn.Parameter], config: TrainConfig, settled: Settled) -> Any:
    """AdamW over the parameters, fused, or with 8-bit state where that was settled."""
    options: dict[str, Any] = {
        "lr": config.learning_rate, "weight_decay": config.weight_decay, "betas": (0.9, config.beta2),
    }  # fmt: skip
    if settled.optimizer is Optimizer.ADAMW_8BIT:
        import bitsandbytes  # type: ignore[import-not-found]

        return bitsandbytes.optim.AdamW8bit(parameters, **options)
    return torch.optim.AdamW(parameters, fused=True, **options)


def save_memory_and_time(objective: Any, config: TrainConfig, settled: Settled) -> None:
    """Gradient checkpointing and compilation of the networks inside an objective, as settled."""
    if config.goal is Goal.AUTOENCODER:
        return
    if config.gradient_checkpointing:
        objective.unet.enable_gradient_checkpointing()
        if objective.encodes_text:
            encoder = objective.text_encoder  # transformers 5 has another word for it
            getattr(encoder, "activation_checkpointing_enable", encoder.gradient_checkpointing_enable)()
    if settled.compiled:
        objective.unet.compile()


@contextmanager
def memory_end_told(config: TrainConfig) -> Iterator[None]:
    """Answers the end of memory with what to lower."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MameError(_what_to_lower(config)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "CUDA out of memory" not in str(error):
            raise
        raise MameError(_what_to_lower(config)) from error


def _what_to_lower(config: TrainConfig) -> str:
    advice = []
    if config.batch > 1:
        advice.append(f"batch {config.batch // 2} with accumulate {config.accumulate * 2} (the same steps)")
    if not config.gradient_checkpointing:
        advice.append("gradient_checkpointing: true")
    if config.optimizer is Optimizer.ADAMW:
        advice.append("optimizer: adamw8bit")
    if config.method is not Method.LORA:
        advice.append("method lora")
    if config.ema_decay:
        advice.append("ema_decay: 0")
    advice.append(f"size {config.size // 2}")
    return f"out of memory at batch {config.batch} and size {config.size}: try {'; '.join(advice)}"
