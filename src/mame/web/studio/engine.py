"""The model that works for everybody: one at a time in memory, on one thread, watched and stopped between its steps."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mame.diffusion.glimpse import Glimpse
    from mame.diffusion.model import Model
    from mame.mammogram import Box, Mammogram

T = TypeVar("T")


class StoppedError(Exception):
    """Nobody waits for this work any more."""


@dataclass(frozen=True, slots=True)
class Told:
    """Where the work is: steps done of all, and what the picture looks like so far (h×w greys in [0, 1])."""

    done: int
    total: int
    seen: NDArray[np.float32] | None = None


Tell = Callable[[Told], None]


@dataclass(frozen=True, slots=True)
class Making:
    """One picture to make."""

    prompt: str
    negative: str
    guidance: float
    steps: int
    seed: int
    index: int
    side: str


@dataclass(frozen=True, slots=True)
class Painting:
    """One lesion to paint."""

    prompt: str
    guidance: float
    steps: int
    seed: int


class Engine:
    """Runs one piece of work after the other; `run` gives news until the result is there.

    All torch work is done on one thread: it then has one set of threads of its own, and memory stays flat. device and
    dtype: as in `mame.load_model`.
    """

    def __init__(self, device: str | None = None, dtype: str | None = None) -> None:
        self._device, self._dtype = device, dtype
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._name = ""
        self._model: Model | None = None
        self._glimpse: Glimpse | None = None

    def warm(self, name: str) -> Future[None]:
        """Open a model in the background, so that the first picture need not wait for it."""

        def work() -> None:
            model = self._open(name)
            both = model.card.companion is not None
            if both or not model.inpainting:
                self._glimpse_of(model.for_task(inpainting=False))
            if both:
                model.for_task(inpainting=True)

        return self._thread.submit(work)

    def make(self, name: str, asked: Making) -> Generator[Told, None, Mammogram]:
        """One picture, the same as `mam-e generate` makes. Raises MameError as `mame.load_model` and `generate` do."""

        def work(model: Model, tell: Tell) -> Mammogram:
            from mame.diffusion.sample import Order, Step, Wanted, generate_each
            from mame.mammogram import Laterality

            maker = model.for_task(inpainting=False)
            glimpse = self._glimpse_of(maker)

            def watch(step: Step) -> None:
                seen = glimpse.look(step.expected[0].float().cpu().numpy())
                tell(Told(step.done, step.total, seen if asked.side == "L" else seen[:, ::-1]))

            order = Order(asked.prompt, asked.seed, asked.steps, asked.guidance, asked.negative)
            return generate_each(maker, [Wanted(order, asked.index, Laterality(asked.side))], 1, watch)[0]

        return self._run(name, work)

    def paint(
        self, name: str, mammogram: Mammogram, region: Box | NDArray[np.bool_], asked: Painting
    ) -> Generator[Told, None, Mammogram]:
        """A lesion painted, the same as `mam-e inpaint` does. Raises MameError as `Model.inpaint` does."""

        def work(model: Model, tell: Tell) -> Mammogram:
            return model.inpaint(
                mammogram, region, asked.prompt, asked.seed, asked.steps, asked.guidance,
                progress=lambda done, total: tell(Told(done, total)),
            )  # fmt: skip

        return self._run(name, work)

    def close(self) -> None:
        """Give the model back, once what is under way has ended."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._drop()

    def _run(self, name: str, work: Callable[[Model, Tell], T]) -> Generator[Told, None, T]:
        """News of work on the thread, and its result. Where the generator is closed, work ends at its next step."""
        news: SimpleQueue[Told | None] = SimpleQueue()
        left = threading.Event()

        def tell(told: Told) -> None:
            if left.is_set():
                raise StoppedError
            news.put(told)

        def whole() -> T:
            if left.is_set():
                raise StoppedError
            return work(self._open(name), tell)

        future = self._thread.submit(whole)
        future.add_done_callback(lambda _: news.put(None))
        try:
            while (told := news.get()) is not None:
                yield told
            return future.result()
        finally:
            left.set()

    def _open(self, name: str) -> Model:
        """The model of that name; the one before goes first, so that there are never two in memory."""
        if self._model is None or self._name != name:
            from mame.diffusion.model import load_model

            self._drop()
            self._model = load_model(name, self._device, self._dtype)
            self._name = name
        return self._model

    def _glimpse_of(self, maker: Model) -> Glimpse:
        if self._glimpse is None:
            from mame.diffusion.glimpse import Glimpse

            self._glimpse = Glimpse.of(maker)
        return self._glimpse

    def _drop(self) -> None:
        if self._model is None:
            return
        self._model = self._glimpse = None
        self._name = ""
        gc.collect()
        torch = sys.modules["torch"]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        with suppress(OSError, AttributeError):  # glibc keeps what was freed until it is told
            ctypes.CDLL(None).malloc_trim(0)
