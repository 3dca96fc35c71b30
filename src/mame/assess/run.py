"""`mam-e assess`: all questions asked of two sides of pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mame.assess import adherence as adhering
from mame.assess import copies as copying
from mame.assess import fidelity as looking
from mame.assess.features import Looked, Measures, measure, measure_pixels, read_pixels, stacked
from mame.assess.figures import Figure
from mame.assess.lesions import Lesions, lesions
from mame.assess.likeness import detail, thumbnail
from mame.assess.pictures import Picture, Side, Sides, contents, open_sides
from mame.assess.told_apart import Told, told_apart
from mame.assess.variety import Variety, variety
from mame.errors import MameError

Say = Callable[[str], None]
PHANTOMS = 60
PHANTOM_SEED = 50311
CONTROL_PICTURES = 40
SMALL = 50


@dataclass(frozen=True)
class Order:
    """How a report is made. network: a checkpoint for another feature network; inception: torch-fidelity's weights."""

    seed: int = 0
    workers: int = 1
    inception: str | None = None
    networks: tuple[Path, ...] = ()


@dataclass
class Assessed:
    """What was found. Sections are None where they could not be asked; `left_out` says of whom, `untested` of what."""

    sides: Sides
    order: Order
    real: Looked
    synthetic: Looked
    trained_on: Looked
    held_out: Looked
    fidelity: dict[str, Figure]
    means: dict[str, dict[str, Figure]]
    moved: list[tuple[str, float]]
    told: Told
    variety: Variety
    adherence: list[adhering.Judged]
    density: dict[str, Figure]
    rank: Figure
    reader: dict[str, Figure]
    copies: copying.Copies | None
    embedded: Figure
    lesions: Lesions | None
    notes: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)
    seconds: float = 0.0


def ask(real: Path, synthetic: Path, order: Order | None = None, say: Say = print) -> Assessed:
    """Everything that can be asked of two folders.

    real: a prepared set, or a folder of plain pictures; synthetic: a cohort, another prepared set, or a folder.
    Raises MameError for fewer than two pictures on a side, pictures of several sizes, and weights that can't be used.
    """
    order = order or Order()
    began = time.monotonic()
    sides = open_sides(real, synthetic)
    notes: list[str] = list(sides.notes)
    untested: list[str] = []
    looked = {
        name: measure(side.pictures, workers=order.workers, say=say, what=name)
        for name, side in (("real", sides.real), ("synthetic", sides.synthetic))
    }
    a, b = looked["real"], looked["synthetic"]
    _same_size(a, b)
    light = {
        name: measure(side.pictures, whole=False, workers=order.workers, say=say, what=name)
        for name, side in (("training", sides.trained_on), ("held out", sides.held_out))
    }
    notes += _overlap(a, b, light["training"])
    whose = _whose(a), _whose(b)
    seed = order.seed
    say("fidelity")
    extras = _extras(order, a, b, untested, say)
    found = looking.fidelity(a.measures, b.measures, whose, seed, extras)
    say("told apart")
    told = told_apart(a.measures, b.measures, _phantoms(a.measures, say), whose, seed)
    if _is_simulated(sides.real):
        notes.append("The real pictures are phantoms themselves: the classifier's control shows nothing here.")
    say("variety")
    varied = variety((a.measures, a.pictures), (b.measures, b.pictures), seed)
    say("adherence")
    known = {adhering.words_of(picture) for picture in sides.trained_on.pictures}
    judged = adhering.adherence(b.measures, b.pictures, known if sides.real.prepared else None, seed)
    if not judged:
        untested.append("Prompt adherence: nothing is known of what was asked (no manifest, no labels).")
    say("copies")
    copied, embedded = None, Figure(float("nan"))
    if len(light["training"].pictures) > 1:
        copied, embedded = _copies(b, light["training"], light["held out"], whose[1], seed, untested)
    else:
        untested.append("Copies: the real folder has no training side.")
    say("lesions")
    of_lesions = None
    try:
        of_lesions = lesions(sides.real.patches, sides.synthetic.patches, sides.trained_on.patches, seed)
    except MameError as error:
        untested.append(f"Lesions: {error}.")
    untested += [
        "A radiologist's judgement: mam-e readers new sets up a study.",
        "Whether a CAD system gains from these pictures: mam-e cad asks that.",
    ]
    from mame.assess.radiomics import feature_names

    return Assessed(
        sides, order, a, b, light["training"], light["held out"], found,
        {"real": looking.means(a.measures, whose[0], seed), "synthetic": looking.means(b.measures, whose[1], seed)},
        looking.moved_most(a.measures, b.measures, feature_names()), told, varied, judged,
        adhering.density_by_class(b.measures, b.pictures, seed),
        adhering.rank_correlation(b.measures, b.pictures, seed),
        adhering.reader_accuracy(a.measures, a.pictures, seed) if not _is_simulated(sides.real) else {},
        copied, embedded, of_lesions, notes, untested, time.monotonic() - began,
    )  # fmt: skip


def _same_size(a: Looked, b: Looked) -> None:
    sizes: dict[tuple[int, int], Picture] = {}
    for looked in (a, b):
        for shape, picture in zip(looked.measures.shape.tolist(), looked.pictures, strict=True):
            sizes.setdefault((shape[0], shape[1]), picture)
    if len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise MameError(
            f"pictures of several sizes can't be compared: {first.file} is {one[1]}x{one[0]}, {second.file} is "
            f"{other[1]}x{other[0]}; prepare both sides with the same --size"
        )


def _overlap(a: Looked, b: Looked, training: Looked) -> list[str]:
    """What the two sides have in common, by the contents of the files."""
    sums = [{contents(picture): picture.id for picture in looked.pictures} for looked in (a, b, training)]
    both, known = set(sums[0]) & set(sums[1]), set(sums[1]) & set(sums[2])
    notes = []
    if both:
        notes.append(f"{len(both)} of {len(b.pictures)} synthetic pictures are, to the byte, real ones of this report.")
    if known:
        notes.append(f"{len(known)} of {len(b.pictures)} synthetic pictures are, to the byte, training pictures.")
    return notes


def _whose(looked: Looked) -> list[str]:
    return [picture.patient for picture in looked.pictures]


def _is_simulated(side: Side) -> bool:
    return "phantom" in str(side.about.get("sources") or side.about.get("source") or "")


def _phantoms(real: Measures, say: Say) -> Measures:
    """Phantoms in the frame of the real pictures, for the control of the classifier."""
    from mame.dataset.simulated import PhantomViews

    say("phantoms for the control")
    views = PhantomViews("control", PHANTOMS, PHANTOM_SEED, int(real.shape[0, 0]))
    return stacked(measure_pixels(views[i].pixels) for i in range(min(PHANTOMS, max(20, len(real)))))


def _copies(
    b: Looked, training: Looked, held_out: Looked, patients: Sequence[str], seed: int, untested: list[str]
) -> tuple[copying.Copies, Figure]:
    chosen = np.random.default_rng([seed, 75]).permutation(len(training.pictures))[:CONTROL_PICTURES]
    same = training.measures.detail[chosen]
    found = copying.copies(
        b.measures.detail, training.measures.detail, held_out.measures.detail, (patients, _whose(held_out)), seed,
        {"exact": same, "mirrored": copying.mirrored(same)} | changed([training.pictures[i] for i in chosen], seed),
    )  # fmt: skip
    embedded = copying.embedded(
        b.measures.embedding, training.measures.embedding, held_out.measures.embedding, patients, seed
    )
    if not len(held_out.pictures):
        untested.append("Copies against held-out patients: there are none; the threshold is of training pictures.")
    return found, embedded


def changed(pictures: Sequence[Picture], seed: int) -> dict[str, NDArray[np.float16]]:
    """Details of pictures that were changed at full size: noise of 5 %, and through mini's autoencoder and back."""
    import torch

    from mame.diffusion.latent import decode, encode
    from mame.diffusion.model import load_model

    autoencoder = load_model("mini").parts.autoencoder
    noisy, rebuilt = [], []
    rng = np.random.default_rng([seed, 76])
    with torch.inference_mode():
        for picture in pictures:
            pixels = read_pixels(picture)
            noisy.append(detail(thumbnail(copying.noisy(pixels, rng))))
            given = torch.from_numpy(pixels.copy())[None]
            back = decode(autoencoder, encode(autoencoder, given))[0].clamp(0, 1).numpy()
            rebuilt.append(detail(thumbnail(back)))
    return {"noise 5 %": np.array(noisy), "autoencoder": np.array(rebuilt)}


def _extras(order: Order, a: Looked, b: Looked, untested: list[str], say: Say) -> list[looking.Extra]:
    from mame.assess.backbones import checkpoint_features, inception_features

    extras = []
    if order.inception is not None:
        say("inception")
        extras.append(looking.Extra("inception", *(inception_features(x.pictures, order.inception) for x in (a, b))))
    else:
        untested.append("Inception features (FID): give torch-fidelity's weights with --inception FILE or download.")
    for path in order.networks:
        say(path.stem)
        extras.append(looking.Extra(path.stem, *(checkpoint_features(x.pictures, path) for x in (a, b))))
    return extras


def small(found: Assessed) -> bool:
    """Whether either side has few pictures."""
    return min(len(found.real.pictures), len(found.synthetic.pictures)) < SMALL
