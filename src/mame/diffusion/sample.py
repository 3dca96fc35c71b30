"""From a prompt to mammograms: DPM-Solver++ with classifier-free guidance over any Stable Diffusion's parts."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from numpy.typing import NDArray
from torch import Tensor

from mame import prompt as language
from mame.diffusion import latent
from mame.errors import MameError
from mame.imaging.breast import find_breast
from mame.imaging.fibres import with_fibres
from mame.mammogram import Description, Laterality, Mammogram, SpacingOrigin, closed

if TYPE_CHECKING:
    from mame.diffusion.model import Model

GPU_BATCH = 8
TINY_GREY = 2 / 255  # where no breast is found: what is darker is taken for air
FIBRES = 1001  # in the place of a step, beyond any: what a picture's fibres are drawn from
KEPT_TEXTS = 64  # embeddings of so many are kept of a model
_EMBEDDED: WeakKeyDictionary[Model, OrderedDict[tuple[str, ...], Tensor]] = WeakKeyDictionary()
_SHORT_OF_MEMORY: WeakSet[Model] = WeakSet()  # on a GPU that holds no guided pass in one
logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
Watch = Callable[[Tensor], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a model, apart from which picture of the row. Raises MameError for a value out of its range."""

    prompt: str
    seed: int = 0
    steps: int = 24
    guidance: float = 4.0
    negative: str = ""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise MameError(f"seed must be 0 or more, not {self.seed}")
        if not 1 <= self.steps <= 1000:
            raise MameError(f"steps must be 1 to 1000, not {self.steps}")
        if not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise MameError(f"guidance must be 0 or more, not {self.guidance}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One picture: number `index` of the endless row that (model, order) names, as a left or right breast."""

    order: Order
    index: int = 0
    side: Laterality = Laterality.L


@torch.inference_mode()
def generate(
    model: Model,
    prompt: str,
    count: int = 1,
    seed: int = 0,
    steps: int = 24,
    guidance: float = 4.0,
    negative: str = "",
    batch: int | None = None,
    laterality: Laterality | str | None = None,
    first: int = 0,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> list[Mammogram]:
    """Mammograms number `first` to `first + count - 1` of the endless row that (model, prompt, seed, …) names.

    Picture i starts from (seed, i) alone. Batches are cut at multiples of `batch` and always full (what was not asked
    for is thrown away), so that a picture is identical however a run is cut, at the same batch size and thread count,
    and the same within rounding otherwise. batch: if not given, 1 on a CPU, where more gains nothing, and up to 8 on a
    GPU. laterality: R mirrors the finished picture; models make left breasts. progress: called with (steps done,
    steps in all); watch: with what the latents (N, c, h, w) are going to be, after each step. What either raises ends
    the work. Raises MameError for a value out of its range and for a model that only paints into pictures.
    """
    order = Order(prompt, seed, steps, guidance, negative)
    side = closed(Laterality, laterality, "laterality") if laterality is not None else Laterality.L
    if count < 1 or first < 0 or (batch is not None and batch < 1):
        raise MameError(f"count and batch must be at least 1 and first 0 or more, not {count}, {batch} and {first}")
    if model.inpainting:
        raise MameError(f"model {model.name!r} paints lesions into a mammogram; it can't make one from a prompt alone")
    size = batch or (1 if model.compute.is_cpu else min(count, GPU_BATCH))
    starts = range(first - first % size, first + count, size)
    made: list[Mammogram] = []
    for number, start in enumerate(starts):
        row = [Wanted(order, index, side) for index in range(start, start + size)]
        kept = slice(max(start, first) - start, min(start + size, first + count) - start)
        made += _batch(model, row, kept, _part_of(progress, number * steps, len(starts) * steps), watch)
    return made


@torch.inference_mode()
def generate_each(model: Model, wanted: Sequence[Wanted], batch: int) -> list[Mammogram]:
    """One mammogram for each, `batch` at once, whatever their prompts; the same as :func:`generate` at that batch.

    Every batch is full: the last is filled up with pictures that are thrown away. Raises MameError where steps or
    guidance are not the same for all, and for a model that only paints into pictures.
    """
    if len({(one.order.steps, one.order.guidance) for one in wanted}) > 1:
        raise MameError("pictures that are made together need the same steps and guidance")
    made: list[Mammogram] = []
    for start in range(0, len(wanted), batch):
        row = list(wanted[start : start + batch])
        made += _batch(model, row + row[-1:] * (batch - len(row)), slice(0, len(row)))
    return made


def _batch(
    model: Model, row: Sequence[Wanted], kept: slice, progress: Progress | None = None, watch: Watch | None = None
) -> list[Mammogram]:
    """The pictures of a row at once, of which those in `kept` are decoded."""
    latents = torch.stack([noise(one.order.seed, one.index, _latent_shape(model)) for one in row])
    text = embed(model, *(one.order for one in row))
    latents = denoise(model, latents, text, row[0].order, progress=progress, watch=watch)
    greys = latent.decode(model.parts.autoencoder, latents[kept]).cpu().numpy()
    return [_mammogram(model, grey, one) for one, grey in zip(row[kept], greys, strict=True)]


def noise(seed: int, index: int, shape: tuple[int, int, int], attempt: int = 0) -> Tensor:
    """Standard normal noise (c, h, w), float32, on the CPU, from (seed, index) alone, the same on every device.

    attempt: 0, or a later one where what the first made wasn't good enough.
    """
    later = [0, attempt] if attempt else []  # the 0 keeps later attempts of old seeds as they were
    generator = np.random.default_rng(np.random.SeedSequence([seed, index, *later]))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def embed(model: Model, *orders: Order) -> Tensor:
    """Text embeddings (2, N, tokens, width) of N orders: negative prompts, then prompts; these alone at guidance 1.

    Those of the last texts are kept, as the pictures of a row or a cohort share them.
    """
    prompts, negatives = [order.prompt for order in orders], [order.negative for order in orders]
    texts = (*([] if orders[0].guidance == 1 else negatives), *prompts)
    kept = _EMBEDDED.setdefault(model, OrderedDict())
    if texts not in kept:
        kept[texts] = _embedded(model, list(texts)).unflatten(0, (-1, len(orders)))
    kept.move_to_end(texts)
    while len(kept) > KEPT_TEXTS:
        kept.popitem(last=False)
    return kept[texts]


def _embedded(model: Model, texts: list[str]) -> Tensor:
    tokenizer, encoder = model.parts.tokenizer, model.parts.text_encoder
    tokens = tokenizer(
        texts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    for text in dict.fromkeys(texts):
        _tell_lost_words(tokenizer, text)
    masked = getattr(encoder.config, "use_attention_mask", False)
    mask = tokens.attention_mask.to(model.compute.device) if masked else None
    embeddings: Tensor = encoder(tokens.input_ids.to(model.compute.device), attention_mask=mask)[0]
    return embeddings.to(model.compute.dtype)


def _tell_lost_words(tokenizer: Any, text: str) -> None:
    room = tokenizer.model_max_length
    length = len(tokenizer(text, truncation=False, verbose=False).input_ids)
    if length > room:
        logger.warning("%r is %d tokens long and the model reads %d: its end is not heard", text, length, room)


def _predicted(model: Model, seen: Tensor, time: int, text: Tensor, guided: bool) -> Tensor:
    """What the U-Net says, float32; a guided pass is cut in two where both at once don't fit into memory."""
    halves = 2 if guided and model in _SHORT_OF_MEMORY else 1
    parts = zip(seen.chunk(halves), text.chunk(halves), strict=True)
    try:
        said = [model.parts.unet(one, time, encoder_hidden_states=words, return_dict=False)[0] for one, words in parts]
    except torch.OutOfMemoryError:
        if not guided or halves == 2:
            raise
        said = []
    if not said:  # outside of the handler, whose error holds on to what was computed
        _SHORT_OF_MEMORY.add(model)
        return _predicted(model, seen, time, text, guided)
    return torch.cat(said).float()


def denoise(
    model: Model,
    latents: Tensor,
    embeddings: Tensor,
    order: Order,
    condition: Tensor | None = None,
    after_step: Callable[[Tensor, int | None], Tensor] | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Noise (N, c, h, w), standard normal, to clean latents of the same shape, float32.

    embeddings: of N prompts, or of one for all, as :func:`embed` gives them; of `order` only steps and guidance count.
    Guidance is rescaled as the model's card says, and left out from the time step on that it names.
    condition: further U-Net channels (N, k, h, w). after_step: called with the latents and the time step they are now
    at (None at the end), and returns the latents to go on with. watch: called with the clean latents that the model
    now expects. Raises MameError where the model gives no numbers.
    """
    scheduler = sampler(model)
    scheduler.set_timesteps(order.steps if model.few is None else model.few.of, device=model.compute.device)
    if model.few is not None:
        scheduler.set_timesteps(timesteps=few_times(scheduler, order.steps), device=model.compute.device)
    latents = latents.to(model.compute.device) * scheduler.init_noise_sigma
    texts = embeddings.expand(-1, len(latents), -1, -1)
    times: list[int] = scheduler.timesteps.tolist()
    for number, time in enumerate(times):
        guided = len(texts) == 2 and time >= model.card.guidance_until
        text = texts.flatten(0, 1) if guided else texts[-1]
        seen = scheduler.scale_model_input(latents, time)
        if condition is not None:
            seen = torch.cat([seen, condition.to(seen)], dim=1)
        seen = torch.cat([seen, seen]) if guided else seen
        seen = seen.to(model.compute.dtype, memory_format=torch.channels_last)
        said = _predicted(model, seen, time, text, guided)
        if guided:
            without, with_prompt = said.chunk(2)
            said = guide(without, with_prompt, order.guidance, model.card.guidance_rescale)
        latents = scheduler.step(said, scheduler.timesteps[number], latents).prev_sample
        if after_step is not None:
            latents = after_step(latents, times[number + 1] if number + 1 < len(times) else None)
        if watch is not None:
            watch(scheduler.model_outputs[-1])  # DPM-Solver++ predicts the data
        if progress is not None:
            progress(number + 1, order.steps)
    if not torch.isfinite(latents).all():
        raise MameError(f"model {model.name!r} gave values that are not numbers: try dtype float32, or lower guidance")
    return latents


def guide(without: Tensor, with_prompt: Tensor, guidance: float, rescale: float) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598) of predictions N×C×h×w, rescaled (arXiv 2305.08891 §3.4)."""
    guided = without + guidance * (with_prompt - without)
    if rescale:
        ratio = with_prompt.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
        guided = guided * (rescale * ratio + 1 - rescale)
    return guided


def sampler(model: Model) -> Any:
    """A fresh DPM-Solver++ (arXiv 2211.01095) with the model's own noise schedule and prediction type.

    Of second order, and of first for a model in few steps: there each step is a whole one (DDIM, arXiv 2010.02502).
    """
    return DPMSolverMultistepScheduler.from_config(  # type: ignore[no-untyped-call]
        model.parts.scheduler.config,
        algorithm_type="dpmsolver++",
        solver_order=2 if model.few is None else 1,
        final_sigmas_type="zero",
    )


def few_times(scheduler: Any, steps: int) -> list[int]:
    """Of the time steps that a scheduler goes through so many, evenly spread, from the first on."""
    times: list[int] = scheduler.timesteps.tolist()
    return [times[len(times) * number // steps] for number in range(steps)]


def provenance(model: Model, order: Order, index: int) -> dict[str, Any]:
    """How picture number `index` was made, in values JSON can hold."""
    return {
        **asdict(order),
        "index": index,
        "guidance_until": 0 if model.few is not None else model.card.guidance_until,
        "fast": model.few is not None,
        "fibres": None if model.inpainting else model.card.fibres,
        "scheduler": type(sampler(model)).__name__,
        "device": model.compute.name,
        "dtype": str(model.compute.dtype).removeprefix("torch."),
        "model": model.name,
        "model_hash": model.hash,
        "software": software(),
    }


def software() -> str:
    """This program and its version."""
    try:
        return f"mam-e {version('mam-e')}"
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "mam-e"


def clear_air(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """A generated picture (H, W), clipped to [0, 1], with everything outside the breast exactly 0.

    Where no breast can be found, only what is nearly black is cleared.
    """
    pixels = np.clip(grey, 0.0, 1.0).astype(np.float32)
    try:
        air = ~find_breast(pixels).mask
    except MameError:
        air = pixels < TINY_GREY
    pixels[air] = 0.0
    return pixels


def _mammogram(model: Model, grey: NDArray[np.float32], wanted: Wanted) -> Mammogram:
    pixels, order, side = clear_air(grey), wanted.order, wanted.side
    if model.card.fibres is not None:
        pixels = with_fibres(pixels, model.card.fibres, np.random.default_rng([order.seed, wanted.index, FIBRES]))
    return Mammogram(
        pixels=np.ascontiguousarray(pixels[:, ::-1]) if side is Laterality.R else pixels,
        spacing_mm=model.card.spacing_mm(model.size),
        spacing_origin=SpacingOrigin.MODEL,
        laterality=side,
        description=language.parse(order.prompt) or Description(),
        source=model.name,
        provenance=provenance(model, order, wanted.index),
        synthetic=True,
    )


def _latent_shape(model: Model) -> tuple[int, int, int]:
    config = model.parts.unet.config
    return int(config.out_channels), int(config.sample_size), int(config.sample_size)


def _part_of(progress: Progress | None, done: int, total: int) -> Progress | None:
    return None if progress is None else lambda step, _: progress(done + step, total)
