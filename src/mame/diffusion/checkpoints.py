"""Checkpoints that continue exactly: weights, their moving average, the optimiser, and where the run was.

All tensors are safetensors; a checkpoint is a folder that appears by rename, so a kill or a full disk leaves the last.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mame.diffusion.shard import cut_like, full, share
from mame.errors import MameError

BEST = "best"
Tensors = dict[str, torch.Tensor]


class Average:
    """Exponential moving average of trainable parameters; young averages forget faster ((1 + n)/(10 + n)).

    With a decay of 0 there is none: nothing is kept, and the parameters stand for it.
    """

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        kept = [(n, p) for n, p in module.named_parameters() if p.requires_grad] if decay else []
        self.values = {name: parameter.detach().clone() for name, parameter in kept}

    @torch.no_grad()
    def update(self, module: torch.nn.Module, step: int) -> None:
        """Move towards the parameters after step number `step` (from 1)."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        here = {name: share(p) for name, p in module.named_parameters() if name in self.values}
        if here:
            torch._foreach_lerp_([share(self.values[name]) for name in here], list(here.values()), weight)

    @torch.no_grad()
    def swap(self, module: torch.nn.Module) -> None:
        """Exchange the average and the parameters; a second call undoes it."""
        for name, parameter in module.named_parameters():
            if name in self.values:
                mine, kept = share(parameter), share(self.values[name])
                before = mine.clone()
                mine.copy_(kept)
                kept.copy_(before)

    @contextmanager
    def in_place(self, module: torch.nn.Module) -> Iterator[None]:
        """The average in the parameters' place, and the module in evaluation mode."""
        self.swap(module)
        module.eval()
        try:
            yield
        finally:
            module.train()
            self.swap(module)


@dataclass(frozen=True)
class Kept:
    """What a checkpoint holds, as whole tensors: by file, and the optimiser's plain numbers."""

    files: dict[str, Tensors]
    scalars: dict[str, Any]


def collect(module: torch.nn.Module, average: Average, optimizer: torch.optim.Optimizer) -> Kept:
    """All that a run needs to go on. Where it is cut over processes, each of them has to call this."""
    tensors, scalars = _flatten(optimizer.state_dict()["state"])
    files = {"weights": trainable(module), "optimizer": tensors}
    if average.values:
        files["average"] = {name: full(value).contiguous() for name, value in average.values.items()}
    return Kept(files, scalars)


def save_checkpoint(folder: Path, step: int, kept: Kept, keep: int, facts: dict[str, Any]) -> Path:
    """Write `folder/step-NNNNNNN` and remove all but the newest `keep`. Raises MameError on a full disk."""
    path = folder / f"step-{step:07d}"
    _write(path, kept.files, {"step": step, "optimizer": kept.scalars, **facts})
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def save_best(folder: Path, weights: Tensors, facts: dict[str, Any]) -> None:
    """Write weights to `folder/best`, in place of older ones."""
    _write(folder / BEST, {"weights": weights}, facts)


def best_facts(folder: Path) -> dict[str, Any]:
    """What `save_best` was given, or nothing where there is no best yet."""
    path = folder / BEST / "state.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def load_best(folder: Path, module: torch.nn.Module) -> None:
    """Put the weights of `folder/best` into a module."""
    _put(dict(module.named_parameters()), _read(folder / BEST / "weights.safetensors"))


def _write(path: Path, files: dict[str, Tensors], facts: dict[str, Any]) -> None:
    beside = path.parent / f".{path.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        for name, tensors in files.items():
            save_file(tensors, beside / f"{name}.safetensors")
        (beside / "state.json").write_text(json.dumps(facts), encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)
        beside.rename(path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise MameError(f"{path}: cannot write the checkpoint ({reason}); the last one is intact") from error


def newest(folder: Path) -> Path | None:
    """The latest finished checkpoint of a run, or None."""
    found = sorted(folder.glob("step-*"))
    return found[-1] if found else None


def load_checkpoint(
    path: Path, module: torch.nn.Module, average: Average, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint back; returns what `save_checkpoint` was given as facts, and the step.

    Raises MameError for a checkpoint of another model and for one that can't be read.
    """
    try:
        facts: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MameError(f"{path}: the checkpoint can't be read: {error}") from error
    weights = _read(path / "weights.safetensors")
    wanted = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    missing = set(wanted) - set(weights)
    if missing:
        raise MameError(f"{path}: not a checkpoint of this model: no {sorted(missing)[0]}")
    _put(wanted, weights)
    if average.values:
        _put(average.values, _read(path / "average.safetensors"))
    whole = optimizer.state_dict()
    whole["state"] = _unflatten(_read(path / "optimizer.safetensors"), facts.pop("optimizer"))
    optimizer.load_state_dict(whole)
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                # the fused optimisers walk memory, so a slot must lie as its parameter does (channels last)
                slots[name] = cut_like(value, parameter)
    return facts


@torch.no_grad()
def _put(places: Mapping[str, torch.Tensor], tensors: Tensors) -> None:
    """Write tensors into those of the same name."""
    for name, value in tensors.items():
        if name in places:
            share(places[name]).copy_(share(cut_like(value, places[name])))


def _read(path: Path) -> Tensors:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise MameError(f"{path}: the checkpoint can't be read: {error}") from error


def trainable(module: torch.nn.Module) -> Tensors:
    """The parameters that are trained, by name; where they are cut, each process has to ask at the same time."""
    return {n: full(p).contiguous() for n, p in module.named_parameters() if p.requires_grad}


def _flatten(state: dict[int, dict[str, Any]]) -> tuple[Tensors, dict[str, Any]]:
    tensors, scalars = {}, {}
    seen: set[int] = set()
    for index, slots in state.items():
        for name, value in slots.items():
            if torch.is_tensor(value):
                value = full(value)
                shared = value.numel() > 0 and value.data_ptr() in seen  # 8-bit optimisers share their tables
                seen.add(value.data_ptr())
                tensors[f"{index}/{name}"] = value.clone() if shared else value.contiguous()
            else:
                scalars[f"{index}/{name}"] = value
    return tensors, scalars


def _unflatten(tensors: Tensors, scalars: dict[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **scalars}.items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = value
    return state
