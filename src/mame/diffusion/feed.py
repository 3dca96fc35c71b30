"""What the training loop is fed: batches cut by index from cached latents, the next ones made ready while it works.

Step s draws its pictures and all that is random in them from (seed, s) alone, for all its images at once. Processes and
backward passes each take their slice of that, so the same images make the same step however they are cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mame.diffusion.cache import LatentCache
from mame.diffusion.config import TrainConfig
from mame.diffusion.data import Batch, Data

VALIDATION_SEED = 20_240_329  # never the seed of a run


class Feed:
    """Batches for process number `process` of config.processes, on `device`."""

    def __init__(self, data: Data, objective: Any, config: TrainConfig, process: int, device: torch.device) -> None:
        self.data = data
        self.objective = objective
        self.config = config
        self.process = process
        self.device = device

    def steps(self, first: int, last: int) -> Iterator[list[Batch]]:
        """The batches of steps first, …, last - 1: for each step one batch a backward pass."""
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as helper:
            ahead = helper.submit(self.step, first) if first < last else None
            for step in range(first, last):
                assert ahead is not None
                batches = ahead.result()
                ahead = helper.submit(self.step, step + 1) if step + 1 < last else None
                yield [self._placed(batch) for batch in batches]

    def step(self, step: int) -> list[Batch]:
        """The batches of one step, on the CPU."""
        config, data = self.config, self.data
        rows = data.turns[order(len(data.turns), step, config.step_images, config.seed)]
        rng = np.random.default_rng([config.seed, step, 7])
        drawn = self._drawn(data.variants[0], rows, rng)
        variants = rng.integers(len(data.variants), size=len(rows))
        mine = [self._mine(part) for part in range(config.accumulate)]
        batches = [self._read(data.variants, variants[cut], rows[cut]) | _cut(drawn, cut) for cut in mine]
        if data.prior is None:
            return batches
        kept = order(len(data.prior), step, config.step_images, config.seed + 1)
        beside = self._drawn(data.prior, kept, rng)
        prior = [data.prior.batch(kept[cut]) | _cut(beside, cut) for cut in mine]
        return [self._joined(batch, part) for batch, part in zip(batches, prior, strict=True)]

    def validation(self) -> Iterator[tuple[Batch, int]]:
        """The held-out pictures, this process's share of batches, and how many pictures of each count.

        The same captions, timesteps and noise each time. Every process gets as many batches, because cut networks work
        on them together; what is left over at the end is a batch again that counts for none.
        """
        rows = self.data.held_out
        starts = range(0, len(rows), self.config.batch)
        for first in range(0, len(starts), self.config.processes):
            mine = first + self.process
            start = starts[min(mine, len(starts) - 1)]
            some = rows[start : start + self.config.batch]
            rng = np.random.default_rng([VALIDATION_SEED, start])
            drawn = self._drawn(self.data.validation, some, rng)
            yield self._placed(self.data.validation.batch(some) | drawn), len(some) if mine < len(starts) else 0

    def _mine(self, part: int) -> slice:
        start = (part * self.config.processes + self.process) * self.config.batch
        return slice(start, start + self.config.batch)

    def _drawn(self, cache: LatentCache, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        drawn: Batch = self.objective.draw(cache.latent_shape, [cache.words[i] for i in rows], rng)
        if "deviation" in cache.names:  # where in its distribution each latent lies
            generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
            drawn["within"] = torch.randn((len(rows), *cache.latent_shape), generator=generator)
        return drawn

    def _read(self, caches: tuple[LatentCache, ...], variants: NDArray[np.int64], rows: NDArray[np.int64]) -> Batch:
        if len(caches) == 1:
            return caches[0].batch(rows)
        single = [caches[variant].batch([row]) for variant, row in zip(variants, rows, strict=True)]
        return {name: torch.cat([one[name] for one in single]) for name in single[0]}

    def _joined(self, batch: Batch, prior: Batch) -> Batch:
        """Both in one batch, weighted so that its mean loss is the pictures' + prior_weight × the prior's."""
        joined = {name: torch.cat([batch[name], prior.get(name, torch.zeros_like(batch[name]))]) for name in batch}
        count = self.config.batch
        joined["share"] = torch.cat([torch.full((count,), 2.0), torch.full((count,), 2.0 * self.config.prior_weight)])
        return joined

    def _placed(self, batch: Batch) -> Batch:
        if self.device.type == "cuda":
            return {name: value.pin_memory().to(self.device, non_blocking=True) for name, value in batch.items()}
        return {name: value.to(self.device) for name, value in batch.items()}


def order(count: int, step: int, images: int, seed: int) -> NDArray[np.int64]:
    """Numbers of the `images` examples of a step; each pass over the `count` examples is shuffled anew."""
    places = np.arange(step * images, (step + 1) * images)
    chosen = np.empty(images, dtype=np.int64)
    for epoch in np.unique(places // count):
        here = places // count == epoch
        chosen[here] = _shuffled(count, int(epoch), seed)[places[here] % count]
    return chosen


@lru_cache(maxsize=4)
def _shuffled(count: int, epoch: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _cut(batch: Batch, cut: slice) -> Batch:
    return {name: value[cut] for name, value in batch.items()}
