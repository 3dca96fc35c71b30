"""Checkpoints that continue exactly: weights, their moving average, the optimiser, and where the run was.

All tensors are safetensors; a checkpoint is a folder that appears by rename, so a kill or a full disk leaves the last.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mame.errors import MameError


class Average:
    """Exponential moving average of trainable parameters; young averages forget faster ((1 + n)/(10 + n))."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: torch.nn.Module, step: int) -> None:
        """Move towards the parameters after step number `step` (from 1)."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            if name in self.values:
                self.values[name].lerp_(parameter.detach(), weight)

    def swap(self, module: torch.nn.Module) -> None:
        """Exchange the average and the parameters; a second call undoes it."""
        for name, parameter in module.named_parameters():
            if name in self.values:
                kept = parameter.data
                parameter.data = self.values[name]
                self.values[name] = kept


def save_checkpoint(
    folder: Path, step: int, module: torch.nn.Module, average: Average, optimizer: torch.optim.Optimizer, keep: int,
    facts: dict[str, Any],
) -> Path:  # fmt: skip
    """Write `folder/step-NNNNNNN` and remove all but the newest `keep`. Raises MameError on a full disk."""
    path = folder / f"step-{step:07d}"
    beside = folder / f".{path.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        save_file(_trainable(module), beside / "weights.safetensors")
        save_file({n: v.contiguous() for n, v in average.values.items()}, beside / "average.safetensors")
        tensors, scalars = _flatten(optimizer.state_dict()["state"])
        save_file(tensors, beside / "optimizer.safetensors")
        (beside / "state.json").write_text(json.dumps({"step": step, "optimizer": scalars, **facts}), encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)
        beside.rename(path)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise MameError(f"{path}: cannot write the checkpoint ({error.strerror}); the last one is intact") from error
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def newest(folder: Path) -> Path | None:
    """The latest finished checkpoint of a run, or None."""
    found = sorted(folder.glob("step-*"))
    return found[-1] if found else None


def load_checkpoint(
    path: Path, module: torch.nn.Module, average: Average, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint back; returns what `save_checkpoint` was given as facts, and the step."""
    facts: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    weights = load_file(path / "weights.safetensors")
    missing = set(_trainable(module)) - set(weights)
    if missing:
        raise MameError(f"{path}: not a checkpoint of this model: no {sorted(missing)[0]}")
    module.load_state_dict(weights, strict=False)
    for name, value in load_file(path / "average.safetensors").items():
        average.values[name].copy_(value)
    whole = optimizer.state_dict()
    whole["state"] = _unflatten(load_file(path / "optimizer.safetensors"), facts.pop("optimizer"))
    optimizer.load_state_dict(whole)
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                # the fused optimisers walk memory, so a slot must lie as its parameter does (channels last)
                slots[name] = torch.empty_like(parameter).copy_(value)
    return facts


def _trainable(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().contiguous() for n, p in module.named_parameters() if p.requires_grad}


def _flatten(state: dict[int, dict[str, Any]]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, scalars = {}, {}
    for index, slots in state.items():
        for name, value in slots.items():
            if torch.is_tensor(value):
                tensors[f"{index}/{name}"] = value.contiguous()
            else:
                scalars[f"{index}/{name}"] = value
    return tensors, scalars


def _unflatten(tensors: dict[str, torch.Tensor], scalars: dict[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **scalars}.items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = value
    return state
