"""The pictures of a run as cached latents: what is trained on, in how many variations, and what is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mame.dataset.augmented import AugmentedViews, AugmentedWindows
from mame.dataset.examples import Examples, Toned, open_examples, open_held_out
from mame.diffusion.cache import LatentCache, build_cache
from mame.diffusion.config import NEW, Goal, LesionField, Method, TrainConfig
from mame.diffusion.folders import model_folder, read_card
from mame.diffusion.prior import class_latents
from mame.errors import MameError
from mame.mammogram import Description

TONED = "toned:"  # before the name of a data set: its windows at one tone
Batch = dict[str, torch.Tensor]
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Data:
    """Cached pictures.

    variants: the same pictures varied in several ways, the first as they are; count: how many of them are trained on;
    held_out: the numbers of those of `validation` that never are; prior: what the base made, to be kept (dreambooth);
    turns: the numbers of those trained on, each as often as it is drawn in one pass over them.
    """

    variants: tuple[LatentCache, ...]
    count: int
    validation: LatentCache
    held_out: NDArray[np.int64]
    turns: NDArray[np.int64]
    prior: LatentCache | None = None


def kind_of(config: TrainConfig) -> str:
    """The kind of examples that a run learns from."""
    if config.goal is Goal.AUTOENCODER:
        return "crops"
    if config.paints:
        return "marked" if config.lesion_field is LesionField.VIEW else "windows"
    return "views" if config.lesion_weight is None else "all"


def toned(config: TrainConfig) -> bool:
    """Whether windows are brought to one tone: where the data set's name says so, or the base learned from such."""
    if not config.paints or config.lesion_field is not LesionField.WINDOW:
        return False
    return TONED in config.dataset or (config.base != NEW and read_card(model_folder(config.base)).window_tone)


def examples_of(config: TrainConfig) -> Examples:
    """The examples to train on. Raises MameError where there are none."""
    examples = open_examples(config.dataset, kind_of(config), config.size, config.regions)
    if len(examples) == 0:
        raise MameError(f"{config.dataset}: holds no picture to train on")
    return _at_tone(examples, config)


def held_out_of(config: TrainConfig) -> tuple[Examples, NDArray[np.int64]]:
    """Examples and the numbers of those that are for validation: of other patients, where a data set keeps some."""
    apart = open_held_out(config.dataset, kind_of(config), config.size, config.regions)
    if apart is not None:
        count = min(config.validation_examples, len(apart))
        return _at_tone(apart, config), np.linspace(0, len(apart) - 1, count).round().astype(np.int64)
    examples = examples_of(config)
    count = min(config.validation_examples, len(examples) // 4)
    return examples, np.arange(len(examples) - count, len(examples))


def _at_tone(examples: Examples, config: TrainConfig) -> Examples:
    return Toned(config.dataset, examples) if toned(config) and TONED not in config.dataset else examples


def open_data(config: TrainConfig, parts: Any, device: torch.device, announce: Announce) -> Data:
    """Encode what is not cached yet, and open it. Raises MameError as `open_examples` and `build_cache` do."""
    examples = examples_of(config)
    validation, held_out = held_out_of(config)
    varied = [_variation(examples, number, config) for number in range(1, config.augment + 1)]
    parts.autoencoder.to(device)

    def cached(source: Examples) -> LatentCache:
        return build_cache(
            source, parts.autoencoder, cache_root(config), size=config.size, workers=config.workers,
            with_pixels=config.goal is Goal.AUTOENCODER, announce=announce,
        )  # fmt: skip

    variants = tuple(cached(source) for source in (examples, *varied))
    apart = validation.key != examples.key
    count = len(examples) if apart else len(examples) - len(held_out)
    turns = turns_of([words.description for words in variants[0].words[:count]], config.balance)
    data = Data(variants, count, cached(validation) if apart else variants[0], held_out, turns)
    if config.goal is not Goal.AUTOENCODER:
        parts.autoencoder.cpu()  # its work is done: the room is better used
    if config.method is Method.DREAMBOOTH and config.class_images and config.prior_weight:
        data = replace(data, prior=class_latents(config, parts, variants[0], cache_root(config), device, announce))
    return data


def turns_of(said: list[Description], most: int) -> NDArray[np.int64]:
    """Numbers of the pictures with these descriptions, each as often as it is drawn in one pass.

    The fewer of its vendor share a picture's view, density and area, the more often: in the ratio to the vendor's most
    frequent such words, but at most `most` times.
    """
    words = [(one.vendor, one.view, one.density, one.area) for one in said]
    frequent = Counter(words)
    highest: dict[Any, int] = {}
    for (vendor, *_), number in frequent.items():
        highest[vendor] = max(number, highest.get(vendor, 0))
    times = [min(most, round(highest[one[0]] / frequent[one])) for one in words]
    return np.repeat(np.arange(len(words)), times)


def cache_root(config: TrainConfig) -> Any:
    """Where caches of this run lie."""
    return config.cache or config.out / "cache"


def _variation(examples: Examples, number: int, config: TrainConfig) -> Examples:
    if config.paints and config.lesion_field is LesionField.WINDOW:
        return AugmentedWindows(examples, number, config.regions)
    return AugmentedViews(examples, number)
