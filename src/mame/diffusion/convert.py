"""Weights of before safetensors (.bin, which are pickles): read as plain tensors, never as code, and kept converted."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from mame.diffusion.folders import assembled, cache_folder
from mame.errors import MameError

NAMES = {"text_encoder": "model.safetensors"}  # what transformers looks for; diffusers looks for
NAME = "diffusion_pytorch_model.safetensors"
NOT = (".fp16.", "non_ema")  # variants beside the weights themselves


def converted(folder: Path, parts: list[str]) -> Path:
    """A folder in the user's cache that is `folder`, with the .bin weights of `parts` as safetensors; made once.

    Raises MameError for a file that holds anything but tensors, or can't be read, and where the cache can't be written.
    """
    sources = {path.name: path for path in folder.resolve().iterdir() if not path.name.startswith(".")}
    for part in parts:
        files = [path for path in sorted((folder / part).glob("*.bin")) if not any(word in path.name for word in NOT)]
        if files:
            sources[f"{part}/{NAMES.get(part, NAME)}"] = _converted(files)
    return assembled(folder.name, sources)


def _converted(files: list[Path]) -> Path:
    """One safetensors file with what is in the pickles of a part (several, where it was cut in shards)."""
    stamp = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    place = cache_folder() / f"converted-{hashlib.sha256(repr(stamp).encode()).hexdigest()[:16]}.safetensors"
    if place.is_file():
        return place
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    for path in files:
        tensors |= _tensors(path)
    beside = place.with_suffix(f".{os.getpid()}")
    try:
        save_file(tensors, beside, metadata={"format": "pt"})
        beside.replace(place)
    except Exception as error:  # safetensors has its own error for a full disk
        beside.unlink(missing_ok=True)
        raise MameError(f"{place}: the converted weights can't be written: {error}") from None
    return place


def _tensors(path: Path) -> dict[str, Any]:
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the unpickler's own errors are of many kinds
        raise MameError(
            f"{path}: is not a plain file of tensors; it may run code when it is opened, and is refused"
        ) from None
    if not isinstance(found, dict) or not all(torch.is_tensor(value) for value in found.values()):
        raise MameError(f"{path}: holds more than named tensors, and is refused")
    return {name: value.contiguous().clone() for name, value in found.items()}  # safetensors takes no shared memory
