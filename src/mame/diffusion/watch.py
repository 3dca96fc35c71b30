"""Watching a run: metrics.jsonl, a tracker's curves and pictures, lines or a bar for whoever is looking."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mame.diffusion.config import Tracker, TrainConfig
from mame.errors import MameError

EVERY_STEPS = 20
LINE_EVERY_S = 10.0
Announce = Callable[[str], None]
Progress = Callable[[int, int, str], None]  # (steps done, steps in all, loss and rate)


def check_tracker(config: TrainConfig) -> None:
    """Raises MameError where the tracker asked for is not installed."""
    name = str(config.tracker)
    if config.tracker is not Tracker.NONE and find_spec(name) is None:
        raise MameError(f"tracker {name}: not installed; `pip install {name}`, or take another (tracker: none)")


class Watch:
    """What is told of a run, by its main process alone; the others' calls do nothing."""

    def __init__(
        self, config: TrainConfig, run: Path, accelerator: Any, announce: Announce, progress: Progress | None,
        first: int,
    ) -> None:  # fmt: skip
        self.config = config
        self.run = run
        self.accelerator = accelerator
        self.speaks = accelerator.is_main_process
        self.announce = announce
        self.progress = progress
        self.first = first
        self._began = self._line = time.monotonic()
        self._losses: list[torch.Tensor] = []
        if config.tracker is not Tracker.NONE:
            project = "tensorboard" if config.tracker is Tracker.TENSORBOARD else "mam-e"
            told = {
                key: value
                for key, value in config.model_dump(mode="json").items()
                if isinstance(value, int | float | str)
            }
            try:
                accelerator.init_trackers(project, config=told)
            except Exception as error:  # each tracker has its own: not logged in, no server, no room
                raise MameError(
                    f"tracker {config.tracker}: can't be started ({_reason(error)}); set it up, or take another"
                ) from error

    def step(self, step: int, loss: torch.Tensor, rate: float) -> float | None:
        """Take note of a finished step's loss; every now and then, and at the end, tell it (and return it)."""
        self._losses.append(loss)
        if step % EVERY_STEPS and step != self.config.steps:
            return None
        mean = float(torch.stack(self._losses).mean())
        self._losses.clear()
        images_s = (step - self.first) * self.config.step_images / (time.monotonic() - self._began)
        self.log(step, loss=mean, images_s=round(images_s, 2), lr=rate, memory_gb=round(peak_memory_gb(), 2))
        left_s = (self.config.steps - step) * self.config.step_images / images_s
        said = f"loss {mean:.4f}  {images_s:.1f} images/s"
        if self.speaks and self.progress is not None:
            self.progress(step, self.config.steps, said)
        elif step == self.config.steps or time.monotonic() - self._line > LINE_EVERY_S or step <= EVERY_STEPS:
            self._line = time.monotonic()
            self.say(f"step {step}/{self.config.steps}  {said}  {left_s / 60:.0f} min left")
        return mean

    def log(self, step: int, **facts: Any) -> None:
        """Facts of a step to metrics.jsonl, and the numbers among them to the tracker."""
        if not self.speaks:
            return
        with (self.run / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1), "step": step, **facts}) + "\n")
        if numbers := {name: value for name, value in facts.items() if isinstance(value, int | float)}:
            with self._tracking():
                self.accelerator.log(numbers, step=step)

    def show(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """A picture (H×W grey) to the tracker, where it takes pictures."""
        for tracker in self._trackers():
            with self._tracking():
                if tracker.name == Tracker.TENSORBOARD:
                    tracker.writer.add_image(name, picture, global_step=step, dataformats="HW")
                elif hasattr(tracker, "log_images"):
                    tracker.log_images({name: [picture]}, step=step)

    def say(self, text: str) -> None:
        """A line for whoever is looking."""
        if self.speaks:
            self.announce(text)

    def end(self) -> None:
        """Close the tracker."""
        for tracker in self._trackers():
            with self._tracking():
                tracker.finish()

    def _trackers(self) -> list[Any]:
        return list(self.accelerator.trackers) if self.speaks else []

    @contextmanager
    def _tracking(self) -> Iterator[None]:
        """Goes on without a tracker that fails: a server that is gone must not cost hours of training."""
        try:
            yield
        except Exception as error:
            self.accelerator.trackers = []
            self.announce(
                f"tracker {self.config.tracker}: {_reason(error)}; it gets no more, metrics.jsonl holds everything"
            )


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def peak_memory_gb() -> float:
    """The most that was held so far: of the GPU where one is used, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
