"""The studio's one model at a time: loaded when asked for, freed before the next, and watched while it works."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mame.errors import MameError
from mame.mammogram import Box, Laterality, Mammogram
from mame.web.studio.running import told_by

if TYPE_CHECKING:
    from mame.diffusion.model import Model

Grey = NDArray[np.float32]
Progress = Callable[[int, int], None]
PREVIEW_SIDE = 256


@dataclass(frozen=True)
class Row:
    """A row of pictures to make: one prompt, pictures 0 to count - 1 of the row that the seed names."""

    prompt: str
    count: int = 1
    seed: int = 0
    steps: int = 24
    guidance: float = 4.0
    negative: str = ""
    side: Laterality = Laterality.L


@dataclass(frozen=True)
class Step:
    """One step of work: of picture `number` (from 1) of `count`. preview: H×W in [0, 1]; made: what is finished."""

    number: int
    count: int
    step: int
    steps: int
    preview: Grey | None = None
    made: tuple[Mammogram, ...] = ()


One = Callable[["Model", int, Progress, Callable[[Any], None]], Mammogram]
"""Makes picture number i with an opened model, telling of each step, and of the latents after it."""


@dataclass
class Engine:
    """What all users of one studio share: the model, which one of them has at a time."""

    device: str | None = None
    _model: Model | None = None
    _asked: str = ""
    _sketch: tuple[Any, float] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, name: str) -> Model:
        """The model of that name; the last one's memory is freed first. Raises MameError where it is none."""
        with self._lock:
            return self._opened(name)

    def warm(self, name: str) -> None:
        """Loads what the first picture needs before somebody asks for one."""
        with suppress(MameError):
            for _ in self.generate(name, Row("a mammogram", steps=1)):
                pass

    def generate(self, model: str, row: Row) -> Iterator[Step]:
        """Makes a row, a step at a time, the last with all of it. A caller that stops asking stops the work."""

        def one(opened: Model, index: int, progress: Progress, look: Callable[[Any], None]) -> Mammogram:
            made = opened.generate(
                row.prompt, 1, row.seed, row.steps, row.guidance, row.negative, 1, row.side, index, progress, look
            )
            return made[0]

        yield from self._watched(model, row, one)

    def sketch(self, model: str, row: Row) -> Iterator[Step]:
        """The first picture of a row in few steps, to be looked at and not kept.

        Its steps, guidance and negative prompt are not heard: those of few steps are part of the weights. Raises
        MameError where the model has no such weights.
        """

        def one(opened: Model, index: int, progress: Progress, look: Callable[[Any], None]) -> Mammogram:
            made = opened.generate(row.prompt, 1, row.seed, laterality=row.side, first=index, fast=True,
                                   progress=progress, watch=look)  # fmt: skip
            return made[0]

        yield from self._watched(model, replace(row, count=1), one)

    def paint(self, model: str, mammogram: Mammogram, region: Box | NDArray[np.bool_], row: Row) -> Iterator[Step]:
        """Paints as many variants as the row has pictures, from seed, seed + 1, …; the last step holds them all."""

        def one(opened: Model, index: int, progress: Progress, look: Callable[[Any], None]) -> Mammogram:
            return opened.inpaint(
                mammogram, region, row.prompt, row.seed + index, row.steps, row.guidance, row.negative,
                progress=progress,
            )  # fmt: skip

        yield from self._watched(model, row, one)

    def _opened(self, name: str) -> Model:
        from mame.diffusion.folders import model_folder
        from mame.diffusion.model import load_model

        name = name.strip() or "mini"
        if self._model is None or name != self._asked:
            model_folder(name)  # what can't be opened costs nobody the model that is there
            self._model, self._sketch, self._asked = None, None, ""
            _free()
            self._model = load_model(name, self.device)
            self._asked = name
        return self._model

    def _watched(self, model: str, row: Row, one: One) -> Iterator[Step]:
        """Makes picture after picture in a thread of its own; closing the iterator stops it at its next step."""

        def work(tell: Callable[[Step], None]) -> None:
            with self._lock:
                opened = self._opened(model)
                made: tuple[Mammogram, ...] = ()
                for index in range(row.count):
                    sketch: list[Grey] = []
                    say = partial(_say, tell, row, index, made, sketch)
                    made = (*made, one(opened, index, say, partial(self._look, opened, sketch)))
            tell(Step(row.count, row.count, row.steps, row.steps, None, made))

        yield from told_by(work)

    def _look(self, model: Model, sketch: list[Grey], latents: Any) -> None:
        sketch[:] = [self._preview(model, latents)]

    def _preview(self, model: Model, latents: Any) -> Grey:
        """A sketch of latents (1, c, h, w), without the decoder: each cell's grey as a weighted sum of its channels."""
        import torch
        from PIL import Image

        if self._sketch is None:
            self._sketch = _fit(model)
        weights, offset = self._sketch
        grey = torch.einsum("c,chw->hw", weights, latents[0].float().cpu()) + offset
        image = Image.fromarray(grey.clamp(0, 1).numpy())
        return np.asarray(image.resize((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BICUBIC)).clip(0, 1)


def _say(
    tell: Callable[[Step], None], row: Row, index: int, made: tuple[Mammogram, ...], sketch: list[Grey], step: int,
    steps: int,
) -> None:  # fmt: skip
    tell(Step(index + 1, row.count, step, steps, sketch[-1] if sketch else None, made))


def _fit(model: Model) -> tuple[Any, float]:
    """Least squares from a cell of latents to the mean grey of its pixels, on clouds of every brightness."""
    import torch

    from mame.diffusion.latent import encode

    generator = torch.Generator().manual_seed(0)
    side = 16 * model.latent_scale
    coarse = torch.rand((6, 1, 6, 6), generator=generator)
    clouds = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)[:, 0]
    clouds = (clouds * torch.linspace(0, 1.2, 6).view(-1, 1, 1)).clamp(0, 1)
    with torch.inference_mode():
        latents = encode(model.parts.autoencoder, clouds.to(model.compute.device)).cpu().float()
    cells = (latents.shape[-2], latents.shape[-1])
    wanted = torch.nn.functional.adaptive_avg_pool2d(clouds[:, None], cells)[:, 0].flatten()
    x = torch.cat([latents.permute(0, 2, 3, 1).flatten(0, 2), torch.ones(wanted.numel(), 1)], dim=1)
    found = torch.linalg.lstsq(x, wanted[:, None]).solution[:, 0]
    return found[:-1], float(found[-1])


def _free() -> None:
    """What the last model held goes back to the system."""
    gc.collect()
    try:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    except ImportError as error:  # pragma: no cover
        raise MameError(f"torch is missing: {error}") from None
