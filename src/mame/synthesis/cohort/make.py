"""One batch of orders made: pictures, lesions, checks, and every file of them. This is what a worker does.

On a CPU everything runs on one thread, whatever the machine, so that the same order gives the same pixels however many
workers there are; several workers use several cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mame import prompt as language
from mame.dataset.layout import read_json, write_json
from mame.errors import MameError
from mame.formats import files
from mame.formats.spacing import assume_spacing
from mame.mammogram import Box, Description, Laterality, Mammogram
from mame.synthesis.cohort.backgrounds import Background
from mame.synthesis.cohort.check import Looked, look_at, misses, not_visible
from mame.synthesis.cohort.deal import Order, Stream, seed_of
from mame.synthesis.cohort.write import Made, Writer
from mame.synthesis.place import Room, find_place
from mame.synthesis.plan import Plan

if TYPE_CHECKING:
    from mame.diffusion.model import Model

LESION_TRIES = 3  # lesions painted for one order into one picture


@dataclass(frozen=True)
class Job:
    """An order, and the real mammogram that it is painted into, if any."""

    order: Order
    background: Background | None = None


Picture = tuple[Mammogram, Looked]


@dataclass
class _State:
    """How far an order has come. tries: pictures and lesions made; rejected: of these, each with the reasons.

    real: the background, read.
    """

    job: Job
    tries: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    made: Made | None = None
    real: Picture | None = None

    def reject(self, reasons: list[str], **what: Any) -> None:
        """Notes why something was thrown away."""
        self.rejected.append({**what, "reasons": reasons})


@dataclass(frozen=True)
class Make:
    """Makes batches of jobs; picklable. done: the folder of marks, one for every image that is finished.

    maker, painter: names of the models, None for one that isn't needed. batch: pictures made at once.
    """

    plan: Plan
    writer: Writer
    done: Path
    maker: str | None
    painter: str | None
    batch: int
    device: str | None = None
    dtype: str | None = None

    def __call__(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """What the journal keeps of each; an image that has its mark is not made again."""
        marks = [self.done / f"{job.order.index}.json" for job in jobs]
        missing = [job for job, mark in zip(jobs, marks, strict=True) if not mark.exists()]
        for job, said in zip(missing, self._made(missing) if missing else (), strict=True):
            write_json(self.done / f"{job.order.index}.json", said)
        return [read_json(mark) for mark in marks]

    def _made(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        states = [_State(job) for job in jobs]
        with one_thread(self):
            for attempt in range(self.plan.accept.tries):
                pending = [state for state in states if state.made is None]
                if not pending:
                    break
                for state, picture in zip(pending, self._pictures(pending, attempt), strict=True):
                    if picture is not None:
                        state.made = self._finished(state, picture, attempt)
        return [
            self.writer.write(state.made, state.tries, state.rejected) if state.made else _failed(state)
            for state in states
        ]

    # -- pictures -----------------------------------------------------------------------------------------------------

    def _pictures(self, states: Sequence[_State], attempt: int) -> list[Picture | None]:
        """For each a picture to paint into, or None where this one is not what was ordered."""
        if self.plan.background is not None:
            return [self._real(state) for state in states]
        from mame.diffusion import sample

        wanted = []
        for state in states:
            order = state.job.order
            seed = seed_of(self.plan, order.index, Stream.PICTURE, attempt)
            asked = sample.Order(
                language.write(order.words), seed, self.plan.steps, self.plan.guidance, self.plan.negative
            )
            wanted.append(sample.Wanted(asked, side=order.side or Laterality.L))
        pictures = sample.generate_each(self._opened(self.maker), wanted, self.batch)
        return [self._checked(state, assume_spacing(one)) for state, one in zip(states, pictures, strict=True)]

    def _checked(self, state: _State, picture: Mammogram) -> Picture | None:
        state.tries += 1
        try:
            looked = look_at(picture, self.writer.options.framing)
            reasons = misses(state.job.order, looked, self.plan.accept)
        except MameError as error:
            reasons = [str(error)]
        if reasons:
            state.reject(reasons, seed=picture.provenance["seed"])
            return None
        return picture, looked

    def _real(self, state: _State) -> Picture | None:
        background = state.job.background
        assert background is not None
        if state.real is None and not state.rejected:  # what can't be read once can't be read later
            try:
                picture = assume_spacing(_read(background))
                state.real = picture, look_at(picture, self.writer.options.framing)
            except MameError as error:
                state.reject([str(error).replace(f"{background.path}: ", "")])
        return state.real

    # -- lesions ------------------------------------------------------------------------------------------------------

    def _finished(self, state: _State, picture: Picture, attempt: int) -> Made | None:
        """The picture with all lesions that were ordered, or None where one could not be painted."""
        current, looked = picture
        room = Room.look(current.pixels, *looked.masks()) if state.job.order.lesions else None
        boxes: list[Box] = []
        for number in range(len(state.job.order.lesions)):
            assert room is not None
            painted = self._painted(state, current, room, boxes, number, attempt)
            if painted is None:
                return None
            current = painted
            boxes.append(painted.lesions[-1].box)
        return Made(state.job.order, current, looked, state.job.background)

    def _painted(
        self, state: _State, current: Mammogram, room: Room, boxes: list[Box], number: int, attempt: int
    ) -> Mammogram | None:
        """The picture with one lesion more, or None where none became what was ordered."""
        order, asked = state.job.order, self.plan.lesions
        lesion = order.lesions[number]
        assert current.spacing_mm is not None
        for painting in range(attempt * LESION_TRIES, (attempt + 1) * LESION_TRIES):
            seed = seed_of(self.plan, order.index, Stream.PAINT, painting, number)
            rng = np.random.default_rng([self.plan.seed, order.index, Stream.PLACE, painting, number])
            try:
                place = find_place(
                    room, lesion.size_mm, current.spacing_mm, rng, shape=asked.shape, prior=asked.prior, lesions=boxes
                )
                prompt = language.write(Description(lesion=lesion.kind))
                painted = self._opened(self.painter).inpaint(
                    current, place.region, prompt, seed, asked.steps, asked.guidance, tries=1
                )
            except MameError as error:
                state.reject([str(error)], seed=seed, lesion=number + 1)
                return None  # another place in the same picture is no larger
            state.tries += 1
            reason = not_visible(painted, place.box, self.plan.accept.visible)
            if not reason:
                return painted
            state.reject([reason], seed=seed, lesion=number + 1)
        return None

    def _opened(self, name: str | None) -> Model:
        assert name is not None
        return _model(name, self.device, self.dtype)


@lru_cache(maxsize=4)
def _model(name: str, device: str | None, dtype: str | None) -> Model:
    """A model, opened once in every process."""
    from mame.diffusion.model import load_model

    return load_model(name, device, dtype)


@contextmanager
def one_thread(make: Make) -> Iterator[None]:
    """Everything inside runs on one thread of the CPU; the models are opened before, as that sets the threads anew."""
    import torch

    for name in (make.maker, make.painter):
        if name is not None:
            _model(name, make.device, make.dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read(background: Background) -> Mammogram:
    """The picture in its file. A right breast of a prepared set, which is mirrored there, is turned back."""
    found = files.read(background.path, background.spacing_mm)
    if background.row is not None and background.side is Laterality.R:
        assert found.stored is not None
        stored = replace(found.stored, values=np.ascontiguousarray(found.stored.values[:, ::-1]))
        found = found.with_(pixels=np.ascontiguousarray(found.pixels[:, ::-1]), stored=stored)
    return found.with_(
        laterality=background.side or found.laterality,
        description=background.words,
        lesions=(),
        patient=None,
        source=f"{background.source} {background.name}",
        provenance={},
    )


def _failed(state: _State) -> dict[str, Any]:
    last = state.rejected[-1]["reasons"][-1] if state.rejected else "nothing was made"
    return {"failed": f"{state.tries} tries; the last: {last}", "rejected": state.rejected}
