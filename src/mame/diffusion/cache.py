"""Latents of a data set on disk, so that training never waits for pictures to be drawn, read or encoded.

A cache is a folder of shards (safetensors, written beside and renamed); each is made once and can be shared by runs.
Its name holds a hash of the examples, the picture size and the autoencoder, so that another model gets another cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from mame.dataset.examples import Example, Examples
from mame.diffusion import latent
from mame.errors import MameError
from mame.mammogram import Description

SHARD = 128
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Words:
    """What is known of a picture in words. text: a caption in free words, used as it is."""

    description: Description
    text: str | None = None


class LatentCache:
    """Cached items by number, memory-mapped, all float16.

    `latents` C×h×w, and where the autoencoder gives a distribution its `deviation`; where lesions are known `lesion`
    1×h×w, for lesion models also `masked` C×h×w and `mask` 1×h×w; for decoders `pixels` 1×H×W.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        self._shards: list[Any] = []
        self.words: list[Words] = []
        for start in range(0, count, SHARD):
            handle = safe_open(shard_path(folder, start), framework="pt")
            self._shards.append(handle)
            said = handle.metadata()
            texts = json.loads(said["texts"]) if "texts" in said else [None] * SHARD
            told = json.loads(said["descriptions"])[: count - start]
            self.words += [Words(Description(**one), text) for one, text in zip(told, texts, strict=False)]

    def __len__(self) -> int:
        return self.count

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors each item has."""
        return tuple(self._shards[0].keys())

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """C, h, w."""
        return tuple(self._shards[0].get_slice("latents").get_shape()[1:])

    def batch(self, indices: NDArray[np.integer[Any]] | Sequence[int]) -> Tensors:
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MameError(f"{folder}: the latent cache can't be made: {error.strerror}") from error
    if starts := missing_shards(folder, len(examples)):
        _fill(examples, autoencoder, folder, starts, workers, with_pixels, announce)
    return LatentCache(folder, len(examples))


def _fill(
    examples: Examples, autoencoder: Any, folder: Path, starts: list[int], workers: int, with_pixels: bool,
    announce: Callable[[str], None],
) -> None:  # fmt: skip
    began = time.monotonic()
    done = 0
    quick = latent.patchwise(autoencoder)
    for number, (start, shard) in enumerate(_shards(examples, starts, workers), 1):
        tensors = encode(shard, autoencoder, quick)
        if with_pixels:
            stored = np.stack([np.rint(example.pixels * 65535) for example in shard]).astype(np.uint16)
            tensors["pixels"] = torch.from_numpy(stored)[:, None]
        if number == 1:
            megabytes = sum(tensor[0].nbytes for tensor in tensors.values()) * len(examples) / 1e6
            announce(f"caching latents of {len(examples)} examples in {folder} (about {megabytes:,.0f} MB)")
        write_shard(folder, start, tensors, [Words(example.description, example.text) for example in shard])
        done += len(shard)
        announce(f"  {number}/{len(starts)} shards, {done / (time.monotonic() - began):.1f} examples/s")


def write_shard(folder: Path, start: int, tensors: Tensors, words: list[Words]) -> None:
    """Write the shard that begins at number `start`: whole or absent. Raises MameError on a full disk."""
    path = shard_path(folder, start)
    beside = path.with_suffix(f".{os.getpid()}.part")  # runs that share the cache may write the same shard at once
    said = {"descriptions": json.dumps([asdict(one.description) for one in words])}
    if any(one.text is not None for one in words):
        said["texts"] = json.dumps([one.text for one in words])
    try:
        save_file(tensors, beside, metadata=said)
        beside.replace(path)
    except Exception as error:  # safetensors has its own error for a full disk
        beside.unlink(missing_ok=True)
        raise MameError(
            f"{path}: cannot write the latent cache: {getattr(error, 'strerror', None) or error}"
        ) from error


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
def encode(
    examples: list[Example], autoencoder: Any, quick: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> Tensors:
    """Latents (float16) of examples; with a region also the latents of the picture without it, and the mask there.

    quick: what `latent.patchwise` found.
    """
    place = next(autoencoder.parameters()).device
    pixels = torch.from_numpy(np.stack([example.pixels for example in examples])).to(place) * 2 - 1
    mean, deviation = (quick(pixels), None) if quick else latent.moments(autoencoder, pixels)
    tensors = {"latents": mean}
    if deviation is not None:
        tensors["deviation"] = deviation
    small = (mean.shape[-2], mean.shape[-1])
    regions = [example.region for example in examples if example.region is not None]
    if regions:
        region = torch.from_numpy(np.stack(regions)).to(place)
        masked = torch.where(region, 0.0, pixels)
        tensors["masked"] = quick(masked) if quick else latent.encode_signed(autoencoder, masked)
        tensors["mask"] = latent.latent_mask(region, small)
    if regions or any(example.lesion is not None for example in examples):
        lesion = np.stack([np.zeros(e.pixels.shape, bool) if e.lesion is None else e.lesion for e in examples])
        covered = torch.from_numpy(lesion)[:, None].float()
        tensors["lesion"] = torch.nn.functional.adaptive_avg_pool2d(covered, small)
    return {name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}


def _key(examples: Examples, autoencoder: Any, with_pixels: bool) -> str:
    digest = hash_of(autoencoder.encoder)
    if hasattr(autoencoder, "quant_conv") and autoencoder.quant_conv is not None:
        digest.update(hash_of(autoencoder.quant_conv).digest())
    digest.update(f"{examples.key} {with_pixels}".encode())
    return digest.hexdigest()[:16]


def hash_of(module: torch.nn.Module) -> Any:
    """SHA-256 over the names and float32 values of a module's tensors, to be updated with what else matters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().cpu().numpy().tobytes())
    return digest


def missing_shards(folder: Path, count: int) -> list[int]:
    """Where the shards begin that are not there, or stem from a time when fewer examples were asked for."""
    return [start for start in range(0, count, SHARD) if _length(folder, start) < min(SHARD, count - start)]


def _length(folder: Path, start: int) -> int:
    path = shard_path(folder, start)
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as shard:
        return int(shard.get_slice("latents").get_shape()[0])


def shard_path(folder: Path, start: int) -> Path:
    """The file of the shard that begins at number `start`."""
    return folder / f"{start:07d}.safetensors"
