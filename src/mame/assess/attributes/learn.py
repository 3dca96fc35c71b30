"""Training the attribute reader: pictures at its size, what is known of them, and a schedule."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mame.assess.attributes.network import CLASSES, SIDE, AttributeNetwork
from mame.assess.attributes.reader import CARD, WEIGHTS, shrunk
from mame.assess.attributes.weights import packed
from mame.dataset.examples import Example, Examples, folders_behind, open_examples
from mame.errors import MameError
from mame.formats.atomic import atomic_write

Say = Callable[[str], None]
STEPS = 1600
BATCH = 32
RATE = 2e-3
UNKNOWN = -1
SIZE = 512  # of the pictures that are shrunk
TELL = 100  # steps
LEVELLED = 512  # pictures that the embedding's size is measured on


@dataclass(frozen=True)
class Lesson:
    """Pictures uint16 N×256×256 with the chest wall at the left edge, and by attribute the class of each, or -1."""

    pictures: NDArray[np.uint16]
    classes: dict[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.pictures)


def train_attributes(dataset: str, out: Path, steps: int = STEPS, seed: int = 0, say: Say = print) -> Path:
    """Train a reader on a source of examples and return its folder, `out`/model.

    dataset: as for `mam-e train`; whole pictures, with and without lesions, on its training side. Raises MameError
    where `out` is in use or the source has no whole pictures.
    """
    folder = out / "model"
    if folder.exists():
        raise MameError(f"{folder}: is there already; take another folder")
    out.mkdir(parents=True, exist_ok=True)
    lesson = _lesson(dataset, out / "pictures.npz", say)
    torch.manual_seed(seed)
    network = AttributeNetwork().to(memory_format=torch.channels_last)
    began = time.monotonic()
    fit(network, lesson, steps, seed, say)
    told = {
        "mame": version("mam-e"),
        "dataset": _without_folders(dataset),
        "pictures": len(lesson),
        "steps": steps,
        "seed": seed,
        "seconds": round(time.monotonic() - began),
    }
    level(network, lesson)
    save(network, folder, told)
    return folder


def fit(network: AttributeNetwork, lesson: Lesson, steps: int, seed: int, say: Say = print) -> None:
    """AdamW, one cycle; each step's pictures and changes hang on (seed, step) alone."""
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    network.train()
    began = time.monotonic()
    for step in range(steps):
        rng = np.random.default_rng([seed, 51, step])
        chosen = rng.integers(0, len(lesson), BATCH)
        pictures, mirrored = changed(torch.from_numpy(lesson.pictures[chosen].astype(np.float32) / 65535.0), rng)
        wanted = {name: torch.from_numpy(classes[chosen]) for name, classes in lesson.classes.items()}
        wanted["side"] = mirrored
        loss = loss_of(network(pictures.contiguous(memory_format=torch.channels_last)), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % TELL == 0 or step + 1 == steps:
            left = (time.monotonic() - began) / (step + 1) * (steps - step - 1)
            say(f"step {step + 1}/{steps}  loss {loss.item():.3f}  {left / 60:.0f} min left")
    network.eval()


@torch.inference_mode()
def level(network: AttributeNetwork, lesson: Lesson) -> None:
    """Brings the embedding's numbers to a mean square of 1, so that distances are of readable size.

    The answers stay what they were: a ReLU doesn't mind a positive factor, which the heads take back.
    """
    some = torch.from_numpy(lesson.pictures[:: max(1, len(lesson) // LEVELLED)].astype(np.float32) / 65535.0)
    found = torch.cat([network.embedding(part[:, None]) for part in some.split(BATCH)])
    factor = float(1 / (found - found.mean(dim=0)).square().mean().sqrt())
    for part in network.embed.parameters():
        part.mul_(factor)
    for head in network.heads.values():
        dict(head.named_parameters())["weight"].div_(factor)


def loss_of(answers: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
    """Sum over attributes of the cross entropy, over the pictures of which the attribute is known."""
    losses = []
    for name, logits in answers.items():
        known = wanted[name] != UNKNOWN
        if known.any():
            losses.append(nn.functional.cross_entropy(logits[known], wanted[name][known], label_smoothing=0.02))
    return torch.stack(losses).sum()


def changed(pictures: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures N×H×W as N×1×H×W, mirrored or not (which is the answer for `side`), moved, toned and noised a little.

    Blur and compression are left out on purpose: they are what the embedding must notice.
    """
    count = len(pictures)
    mirrored = torch.from_numpy(rng.integers(0, 2, count))
    moved = torch.from_numpy(rng.normal(0, 1, (count, 5)).astype(np.float32))
    theta = torch.zeros(count, 2, 3)
    turn, scale = moved[:, 0] * 0.03, 1 + moved[:, 1] * 0.03
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, 0, 1], theta[:, 1, 0] = -turn, turn
    theta[:, 0, 2], theta[:, 1, 2] = moved[:, 2].abs() * 0.02, moved[:, 3] * 0.04
    grid = nn.functional.affine_grid(theta, [count, 1, *pictures.shape[1:]], align_corners=False)
    seen = nn.functional.grid_sample(pictures[:, None], grid, align_corners=False)
    seen = seen.clamp(1e-4, 1) ** (1 + 0.05 * moved[:, 4]).view(-1, 1, 1, 1)
    seen = torch.where(mirrored.view(-1, 1, 1, 1) == 1, seen.flip(3), seen)
    noise = torch.from_numpy(rng.normal(0, 0.003, seen.shape).astype(np.float32))
    return (seen + noise * (seen > 1e-3)).clamp(0, 1), mirrored


def save(network: AttributeNetwork, folder: Path, told: dict[str, Any]) -> None:
    """Packed weights and what is known of them, as the reader opens them."""
    from safetensors.torch import save as written

    folder.mkdir(parents=True)
    with atomic_write(folder / WEIGHTS) as file:
        file.write(written(packed(network.state_dict())))
    with atomic_write(folder / CARD) as file:
        file.write((json.dumps({"classes": CLASSES, "training": told}, indent=1) + "\n").encode())


def _lesson(dataset: str, store: Path, say: Say) -> Lesson:
    if store.is_file():
        with np.load(store) as kept:
            if str(kept["dataset"]) == dataset:
                return Lesson(kept["pictures"], {name: kept[name] for name in CLASSES})
    sources = [open_examples(dataset, kind, SIZE) for kind in ("all", "marked")]
    total = sum(len(source) for source in sources)
    pictures = np.zeros((total, SIDE, SIDE), np.uint16)
    classes = {name: np.full(total, UNKNOWN, np.int64) for name in CLASSES}
    for index, example in enumerate(_each(sources)):
        pictures[index] = np.rint(shrunk(example.pixels) * 65535)
        for name, value in known_of(example).items():
            classes[name][index] = value
        if (index + 1) % 500 == 0 or index + 1 == total:
            say(f"{index + 1}/{total} pictures")
    with atomic_write(store, force=True) as file:
        np.savez(file, pictures=pictures, dataset=np.array(dataset), **classes)  # type: ignore[arg-type]
    return Lesson(pictures, classes)


def _without_folders(dataset: str) -> str:
    """The source with each folder as its name: a card travels, and a path says where somebody works."""
    for folder in folders_behind(dataset):
        dataset = dataset.replace(str(folder), folder.name)
    return dataset


def known_of(example: Example) -> dict[str, int]:
    """The class of each attribute that is known of an example."""
    said = example.description
    told = {"view": said.view, "density": said.density, "area": said.area, "vendor": said.vendor}
    told["lesion"] = "yes" if example.lesion is not None and example.lesion.any() else "no"
    return {name: CLASSES[name].index(value) for name, value in told.items() if value in CLASSES[name]}


def _each(sources: list[Examples]) -> Iterator[Example]:
    for source in sources:
        for index in range(len(source)):
            yield source[index]
