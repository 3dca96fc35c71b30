"""The training loop: one for every goal, from top to bottom.

Batch number s of a run is cut by index from the shuffled examples, and what is random in it comes from (seed, s), so a
run that was stopped goes on exactly where it was.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.accelerator import Accelerator

from mame.dataset.examples import open_examples
from mame.diffusion.cache import LatentCache, build_cache
from mame.diffusion.checkpoints import Average, load_checkpoint, newest, save_checkpoint
from mame.diffusion.config import Goal, Precision, TrainConfig
from mame.diffusion.device import choose_compute
from mame.diffusion.objectives import Decode, Denoise
from mame.diffusion.start import save_result, starting_parts
from mame.errors import MameError

KINDS = {Goal.HEALTHY: "views", Goal.LESION: "windows", Goal.AUTOENCODER: "crops"}  # of examples, by goal
VALIDATION_SEED = 20_240_329  # never the seed of a run


class DivergenceError(MameError):
    """The loss is no longer a number."""


def train(config: TrainConfig, resume: bool = False, announce: Callable[[str], None] = print) -> Path:
    """Train what `config` asks for and return the folder of the finished model (`out/model`).

    Raises MameError for a base that can't be trained so, and what `fit` raises.
    """
    open_examples(config.dataset, KINDS[config.goal], config.size)  # a wrong name must not leave a run behind
    parts = starting_parts(config)
    run = _open_run(config, resume)
    fit(config, parts, run, announce)
    return save_result(parts, config)


def fit(config: TrainConfig, parts: Any, run: Path, announce: Callable[[str], None] = print) -> None:
    """Train `parts` (a model's tokenizer, text_encoder, autoencoder, unet, scheduler) in place, to their averages.

    Goes on from the newest checkpoint in `run`, writes metrics.jsonl, checkpoints/ and samples/. SIGINT and SIGTERM end
    it after the step at hand, with a checkpoint. Raises MameError where the loss stops being finite; the last good
    checkpoint is kept.
    """
    accelerator = Accelerator(
        mixed_precision={"fp32": "no"}.get(precision_of(config), precision_of(config)),
        gradient_accumulation_steps=config.accumulate,
        cpu=not torch.cuda.is_available(),
    )
    cache = _open_cache(config, parts, announce)
    objective: Any = (
        Decode(parts.autoencoder, config)
        if config.goal is Goal.AUTOENCODER
        else Denoise(parts.unet, parts.text_encoder, parts.tokenizer, parts.scheduler, config)
    )
    objective.train().to(accelerator.device, memory_format=torch.channels_last)
    trainable = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99), fused=True
    )
    average = Average(objective, config.ema_decay)
    step = 0
    found = newest(run / "checkpoints")
    if found is not None:
        step = int(load_checkpoint(found, objective, average, optimizer)["step"])
        announce(f"resumed from {found.name}")
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    held_out = min(config.validation_examples, len(cache) // 4)
    stop = _Stop()
    began, seen = time.monotonic(), 0
    losses: list[float] = []
    while step < config.steps and not stop.asked:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        for part in range(config.accumulate):
            batch = _batch(
                cache, objective, config, step * config.accumulate + part, len(cache) - held_out, accelerator
            )
            with accelerator.autocast():
                loss = wrapped(batch)
            accelerator.backward(loss / config.accumulate)
            losses.append(float(loss.detach()))
        norm = float(accelerator.clip_grad_norm_(trainable, config.max_grad_norm))
        if not (math.isfinite(losses[-1]) and math.isfinite(norm)):
            raise DivergenceError(
                f"{run}: the loss is {losses[-1]} at step {step + 1}; the last checkpoint is kept: lower learning_rate"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        seen += config.batch * config.accumulate
        average.update(objective, step)
        last = step == config.steps or stop.asked
        if step % 20 == 0 or last:
            rate = seen / (time.monotonic() - began)
            _log(run, step=step, loss=float(np.mean(losses)), images_s=round(rate, 2), lr=learning_rate(config, step))
            left = (config.steps - step) * config.batch * config.accumulate / rate
            announce(
                f"step {step}/{config.steps}  loss {np.mean(losses):.4f}  {rate:.1f} images/s  {left / 60:.0f} min left"
            )
            losses.clear()
        if held_out and (step % config.validate_every == 0 or last):
            value = _validate(cache, objective, average, config, range(len(cache) - held_out, len(cache)), accelerator)
            _log(run, step=step, validation_loss=value)
            announce(f"step {step}  validation loss {value:.4f}")
        if step % config.checkpoint_every == 0 or last:
            save_checkpoint(run / "checkpoints", step, objective, average, optimizer, config.keep_checkpoints, {})
        if config.sample_every and (step % config.sample_every == 0 or last) and config.goal is not Goal.AUTOENCODER:
            _sample(run, step, objective, average, parts, config)
    average.swap(objective)
    stop.restore()


def precision_of(config: TrainConfig) -> str:
    """The precision that AUTO stands for on this machine, else the one asked for."""
    if config.precision is not Precision.AUTO:
        return str(config.precision)
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(choose_compute().dtype, "fp32")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine from learning_rate to final_learning_rate (constant where that is 0)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.final_learning_rate == 0.0:
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    fall = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * fall


def order(count: int, position: int, batch: int, seed: int) -> np.ndarray:
    """Numbers of the examples in batch `position`; each pass over the `count` examples is shuffled anew."""
    places = np.arange(position * batch, (position + 1) * batch)
    chosen = np.empty(batch, dtype=np.int64)
    for epoch in np.unique(places // count):
        here = places // count == epoch
        chosen[here] = np.random.default_rng([seed, int(epoch)]).permutation(count)[places[here] % count]
    return chosen


def _batch(
    cache: LatentCache, objective: Any, config: TrainConfig, position: int, count: int, accelerator: Accelerator
) -> dict[str, torch.Tensor]:
    rows = order(count, position, config.batch * accelerator.num_processes, config.seed)
    return _prepared(cache, objective, rows, np.random.default_rng([config.seed, position, 7]), accelerator)


def _prepared(
    cache: LatentCache, objective: Any, rows: np.ndarray, rng: np.random.Generator, accelerator: Accelerator
) -> dict[str, torch.Tensor]:
    """The whole batch is drawn by every process and cut by index, so that two processes see what one would."""
    batch = objective.prepare(cache.batch(rows), [cache.descriptions[i] for i in rows], rng)
    share = len(rows) // accelerator.num_processes
    mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    return {name: value[mine].to(accelerator.device) for name, value in batch.items()}


@torch.no_grad()
def _validate(
    cache: LatentCache, objective: Any, average: Average, config: TrainConfig, rows: range, accelerator: Accelerator
) -> float:
    """Loss of the averaged weights on held-out examples, at the same captions, timesteps and noise every time."""
    average.swap(objective)
    objective.eval()
    losses = []
    for start in range(0, len(rows), config.batch):
        some = np.asarray(rows[start : start + config.batch])
        batch = _prepared(cache, objective, some, np.random.default_rng([VALIDATION_SEED, start]), accelerator)
        with accelerator.autocast():
            losses.append(float(objective(batch)))
    objective.train()
    average.swap(objective)
    return float(np.mean(losses))


def _open_run(config: TrainConfig, resume: bool) -> Path:
    run = config.out
    told = run / "config.yaml"
    if told.exists():
        if not resume:
            raise MameError(f"{run} holds a run already: --resume continues it, or choose another folder")
        changed = config.differences(TrainConfig.read(told))
        if changed:
            raise MameError(f"{run} was started with other options: {', '.join(changed)}")
    try:
        run.mkdir(parents=True, exist_ok=True)
        told.write_text(config.to_yaml(), encoding="utf-8")
    except OSError as error:
        raise MameError(f"{run}: cannot be written: {error.strerror}") from error
    return run


def _open_cache(config: TrainConfig, parts: Any, announce: Callable[[str], None]) -> LatentCache:
    examples = open_examples(config.dataset, KINDS[config.goal], config.size)
    root = config.cache or config.out / "cache"
    return build_cache(
        examples, parts.autoencoder, root, size=config.size, workers=config.workers, announce=announce,
        with_pixels=config.goal is Goal.AUTOENCODER,
    )  # fmt: skip


def _log(run: Path, **facts: Any) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": round(time.time(), 1), **facts}) + "\n")


def _sample(run: Path, step: int, objective: Any, average: Average, parts: Any, config: TrainConfig) -> None:
    from mame.diffusion.preview import sample_grid

    average.swap(objective)
    objective.eval()
    try:
        sample_grid(parts, config, run / "samples" / f"step-{step:07d}.png")
    finally:
        objective.train()
        average.swap(objective)


class _Stop:
    """Remembers that SIGINT or SIGTERM came, so that the step at hand can be finished."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not in the main thread: whoever runs us there stops us in another way
                break

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
