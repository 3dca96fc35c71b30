"""Latents of a data set on disk, so that training never waits for pictures to be drawn, read or encoded.

A cache is a folder of shards (safetensors, written beside and renamed); each is made once and can be shared by runs.
Its name holds a hash of the examples, the picture size and the autoencoder, so that another model gets another cache.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mame.dataset.examples import Example, Examples
from mame.errors import MameError
from mame.mammogram import Description

SHARD = 128


class LatentCache:
    """Cached items by number: `latents` C×h×w, and for lesion windows `masked` C×h×w and `mask` 1×h×w, all float16."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        self._shards: list[Any] = []
        self.descriptions: list[Description] = []
        for start in range(0, count, SHARD):
            handle = safe_open(_shard_path(folder, start), framework="pt")
            self._shards.append(handle)
            said = json.loads(handle.metadata()["descriptions"])
            self.descriptions += [Description(**one) for one in said]

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """Stacked float32 tensors of the items with these numbers."""
        rows: dict[str, list[torch.Tensor]] = {}
        for index in indices:
            shard = self._shards[index // SHARD]
            for name in shard.keys():  # noqa: SIM118 (a file handle, not a dict)
                rows.setdefault(name, []).append(shard.get_slice(name)[int(index) % SHARD])
        batch = {name: torch.stack(parts).float() for name, parts in rows.items()}
        if "pixels" in batch:
            batch["pixels"] /= 65535.0
        return batch


def build_cache(
    examples: Examples,
    autoencoder: Any,
    root: Path,
    *,
    size: int,
    workers: int = 1,
    with_pixels: bool = False,
    announce: Callable[[str], None] = print,
) -> LatentCache:
    """Encode every example that is not cached yet and open the cache.

    with_pixels keeps the pictures too (16 bit), for training a decoder. Says beforehand how much disk it will take.
    Can be stopped at any point: finished shards stay.
    """
    folder = root / f"latents-{_key(examples, autoencoder, with_pixels)}"
    folder.mkdir(parents=True, exist_ok=True)
    starts = [start for start in range(0, len(examples), SHARD) if not _shard_path(folder, start).exists()]
    if starts:
        megabytes = len(examples) * 4 * (size // 8) ** 2 * 2 / 1e6
        announce(f"caching latents of {len(examples)} examples in {folder} (about {megabytes:,.0f} MB of latents)")
        _fill(examples, autoencoder, folder, starts, workers, with_pixels, announce)
    return LatentCache(folder, len(examples))


def _fill(
    examples: Examples, autoencoder: Any, folder: Path, starts: list[int], workers: int, with_pixels: bool,
    announce: Callable[[str], None],
) -> None:  # fmt: skip
    began = time.monotonic()
    for done, (start, shard) in enumerate(_shards(examples, starts, workers), 1):
        tensors = encode(shard, autoencoder)
        if with_pixels:
            stored = np.stack([np.rint(example.pixels * 65535) for example in shard]).astype(np.uint16)
            tensors["pixels"] = torch.from_numpy(stored)[:, None]
        said = json.dumps([asdict(example.description) for example in shard])
        path = _shard_path(folder, start)
        beside = path.with_suffix(".part")
        try:
            save_file(tensors, beside, metadata={"descriptions": said})
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise MameError(f"{path}: cannot write the latent cache: {error.strerror or error}") from error
        beside.replace(path)
        rate = done * SHARD / (time.monotonic() - began)
        announce(f"  {done}/{len(starts)} shards, {rate:.1f} examples/s")


def _shards(examples: Examples, starts: list[int], workers: int) -> Iterator[tuple[int, list[Example]]]:
    def indices(start: int) -> range:
        return range(start, min(start + SHARD, len(examples)))

    if workers <= 1:
        for start in starts:
            yield start, [examples[i] for i in indices(start)]
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        ahead = [pool.map(examples.__getitem__, indices(start), chunksize=8) for start in starts[:2]]
        for position, start in enumerate(starts):
            shard = list(ahead.pop(0))
            if position + 2 < len(starts):
                ahead.append(pool.map(examples.__getitem__, indices(starts[position + 2]), chunksize=8))
            yield start, shard


def _one_thread() -> None:
    torch.set_num_threads(1)


@torch.no_grad()
def encode(examples: list[Example], autoencoder: Any) -> dict[str, torch.Tensor]:
    """Latents (float16) of examples; with a region also the latents of the picture without it, and the mask there."""
    pixels = torch.from_numpy(np.stack([example.pixels for example in examples]))[:, None] * 2 - 1
    tensors = {"latents": _latents(autoencoder, pixels)}
    if examples[0].region is not None:
        region = torch.from_numpy(np.stack([example.region for example in examples if example.region is not None]))[
            :, None
        ]
        tensors["masked"] = _latents(autoencoder, torch.where(region, 0.0, pixels))
        small = (tensors["latents"].shape[-2], tensors["latents"].shape[-1])
        # nearest neighbour, as the stock inpainting pipeline shrinks its masks
        tensors["mask"] = torch.nn.functional.interpolate(region.float(), size=small).half()
        lesion = np.stack([np.zeros(e.pixels.shape, bool) if e.lesion is None else e.lesion for e in examples])
        tensors["lesion"] = torch.nn.functional.adaptive_avg_pool2d(
            torch.from_numpy(lesion)[:, None].float(), small
        ).half()
    return tensors


def _latents(autoencoder: Any, pixels: torch.Tensor) -> torch.Tensor:
    parts = []
    for chunk in pixels.split(4):
        encoded = autoencoder.encode(chunk.expand(-1, 3, -1, -1))
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
        parts.append((latents * autoencoder.config.scaling_factor).half())
    return torch.cat(parts).contiguous()


def _key(examples: Examples, autoencoder: Any, with_pixels: bool) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(autoencoder.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().numpy().tobytes())
    digest.update(f"{examples.key} {with_pixels}".encode())
    return digest.hexdigest()[:16]


def _shard_path(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}.safetensors"
