"""`mam-e assess`: all questions asked of two sides of pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame.assess import adherence as adhering
from mame.assess import copies as copying
from mame.assess import fidelity as looking
from mame.assess.backbones import Backbone, features_of, open_checkpoint, open_inception
from mame.assess.features import (
    UNREADABLE,
    Looked,
    Measures,
    Traits,
    glimpse,
    measure,
    measure_pixels,
    read_pixels,
    reader,
    stacked,
)
from mame.assess.figures import Figure
from mame.assess.lesions import Lesions, lesions
from mame.assess.likeness import detail, thumbnail
from mame.assess.pictures import Picture, Side, Sides, contents, open_sides
from mame.assess.told_apart import Told, told_apart
from mame.assess.variety import Variety, variety
from mame.errors import MameError
from mame.formats.png import OPENERS

Say = Callable[[str], None]
PHANTOMS = 60
PHANTOM_SEED = 50311
CONTROL_PICTURES = 40
MADE, STRIDE = 512, 8
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
    real: Looked[Measures]
    synthetic: Looked[Measures]
    trained_on: Looked[Traits]
    held_out: Looked[Traits]
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
    embedded_controls: dict[str, float]
    identical: int
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
    backbones = _backbones(order, untested)
    _same_size([*sides.real.pictures, *sides.synthetic.pictures])
    a, b = (
        measure(side.pictures, workers=order.workers, say=say, what=name)
        for name, side in (("real", sides.real), ("synthetic", sides.synthetic))
    )
    _same_shape(a, b)
    training, held_out = (
        glimpse(side.pictures, workers=order.workers, say=say, what=name)
        for name, side in (("training", sides.trained_on), ("held out", sides.held_out))
    )
    identical = _identical(b, training)
    notes += _overlap(a, b, identical)
    whose = _whose(a), _whose(b)
    seed = order.seed
    say("fidelity")
    extras = _extras(backbones, a, b, say)
    found = looking.fidelity(a.measures, b.measures, whose, seed, extras)
    say("told apart")
    told = told_apart(a.measures, b.measures, _phantoms(a.measures, say), whose, seed)
    if _is_simulated(sides.real):
        notes.append("The real pictures are phantoms themselves: the classifier's control shows nothing here.")
    say("variety")
    varied = variety((a.measures, a.pictures), (b.measures, b.pictures), seed)
    say("adherence")
    known = {adhering.words_of(picture) for picture in sides.trained_on.pictures}
    of_real = adhering.adherence(a.measures, a.pictures, None, seed)
    judged = adhering.adherence(
        b.measures, b.pictures, known if sides.real.prepared else None, seed,
        {(one.attribute, one.judge): one.accuracy.value for one in of_real},
    )  # fmt: skip
    rank = adhering.rank_correlation(a.measures, a.pictures, seed).value
    if not judged:
        untested.append("Prompt adherence: nothing is known of what was asked (no manifest, no labels).")
    say("copies")
    copied, embedded = None, (Figure(float("nan")), dict[str, float]())
    if len(training.pictures) > 1:
        copied, embedded = _copies(b, training, held_out, seed, untested)
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
        sides, order, a, b, training, held_out, found,
        {"real": looking.means(a.measures, whose[0], seed), "synthetic": looking.means(b.measures, whose[1], seed)},
        looking.moved_most(a.measures, b.measures, feature_names()), told, varied, judged,
        adhering.density_by_class(
            b.measures, b.pictures, seed, adhering.density_by_class(a.measures, a.pictures, seed)
        ),
        adhering.rank_correlation(b.measures, b.pictures, seed, rank),
        {} if _is_simulated(sides.real) else {
            one.attribute: one.accuracy for one in of_real if one.judge == adhering.NETWORK
        },
        copied, *embedded, identical, of_lesions, notes, untested, time.monotonic() - began,
    )  # fmt: skip


def _same_size(pictures: Sequence[Picture]) -> None:
    """By the headers of the files that say it there, before hours of work."""
    sizes: dict[tuple[int, int], Picture] = {}
    for picture in pictures:
        with suppress(*UNREADABLE), Image.open(picture.file, formats=OPENERS) as image:
            sizes.setdefault((image.height, image.width), picture)
    _one_of(sizes)


def _same_shape(a: Looked[Measures], b: Looked[Measures]) -> None:
    """Of what was read, DICOMs included."""
    sizes: dict[tuple[int, int], Picture] = {}
    for looked in (a, b):
        for shape, picture in zip(looked.measures.shape.tolist(), looked.pictures, strict=True):
            sizes.setdefault((shape[0], shape[1]), picture)
    _one_of(sizes)


def _one_of(sizes: dict[tuple[int, int], Picture]) -> None:
    if len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        raise MameError(
            f"pictures of several sizes can't be compared: {first.file} is {one[1]}x{one[0]}, {second.file} is "
            f"{other[1]}x{other[0]}; prepare both sides with the same --size"
        )


def _identical(b: Looked[Measures], training: Looked[Traits]) -> int:
    """How many synthetic pictures are training pictures, by the contents of the files."""
    known = {contents(picture) for picture in training.pictures}
    return sum(contents(picture) in known for picture in b.pictures)


def _overlap(a: Looked[Measures], b: Looked[Measures], identical: int) -> list[str]:
    """What the sides have in common, by the contents of the files."""
    real = {contents(picture) for picture in a.pictures}
    both = sum(contents(picture) in real for picture in b.pictures)
    notes = []
    if both:
        notes.append(f"{both} of {len(b.pictures)} synthetic pictures are, to the byte, real ones of this report.")
    if identical:
        notes.append(f"{identical} of {len(b.pictures)} synthetic pictures are, to the byte, training pictures.")
    return notes


def _whose(looked: Looked[Traits]) -> list[str]:
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
    b: Looked[Measures], training: Looked[Traits], held_out: Looked[Traits], seed: int, untested: list[str]
) -> tuple[copying.Copies, tuple[Figure, dict[str, float]]]:
    chosen = np.random.default_rng([seed, 75]).permutation(len(training.pictures))[:CONTROL_PICTURES]
    same, embeddings = training.measures.detail[chosen], training.measures.embedding[chosen]
    changes = changed([training.pictures[i] for i in chosen], seed)
    controls = {"exact": same, "mirrored": copying.mirrored(same)}
    found = copying.copies(
        b.measures.detail, training.measures.detail, held_out.measures.detail,
        (_whose(b), _whose(training), _whose(held_out)), seed,
        controls | {name: traits.detail for name, traits in changes.items()},
    )  # fmt: skip
    embedded = copying.embedded(
        b.measures.embedding, training.measures.embedding, held_out.measures.embedding, (_whose(b), _whose(held_out)),
        seed, {"exact": embeddings} | {name: traits.embedding for name, traits in changes.items()},
    )  # fmt: skip
    if found.among_themselves:
        untested.append(
            "Copies against held-out patients: there are none; the threshold is what training pictures reach among "
            "themselves."
        )
    return found, embedded


def changed(pictures: Sequence[Picture], seed: int) -> dict[str, Traits]:
    """Traits of pictures changed at 512 pixels or less: noise of 5 %, and through mini's autoencoder and back.

    Air is cleared behind the autoencoder as it is in every picture that a model makes.
    """
    import torch

    from mame.diffusion.latent import decode, encode_signed, patchwise
    from mame.diffusion.model import load_autoencoder
    from mame.diffusion.sample import clear_air

    autoencoder = load_autoencoder("mini")
    encoded = patchwise(autoencoder) or partial(encode_signed, autoencoder)
    found: dict[str, list[NDArray[np.float32]]] = {"noise 5 %": [], "autoencoder": []}
    rng = np.random.default_rng([seed, 76])
    with torch.inference_mode():
        for picture in pictures:
            pixels = _made_size(read_pixels(picture))
            found["noise 5 %"].append(copying.noisy(pixels, rng))
            latents = encoded(torch.from_numpy(pixels * 2 - 1)[None])
            found["autoencoder"].append(clear_air(decode(autoencoder, latents)[0].numpy()))
    return {
        name: Traits(reader().embed(part), np.array([detail(thumbnail(one)) for one in part]))
        for name, part in found.items()
    }


def _made_size(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture whose longer side is no more than what mini makes, and whose sides its autoencoder can halve."""
    factor = min(1.0, MADE / max(pixels.shape))
    height, width = (max(STRIDE, round(side * factor / STRIDE) * STRIDE) for side in pixels.shape)
    if (height, width) == pixels.shape:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX), dtype=np.float32)


def _backbones(order: Order, untested: list[str]) -> list[Backbone]:
    """Opened before the work, so that a file that can't be used is told at once."""
    found = []
    if order.inception is not None:
        found.append(open_inception(order.inception))
    else:
        untested.append("Inception features (FID): give torch-fidelity's weights with --inception FILE or download.")
    return found + [open_checkpoint(path) for path in order.networks]


def _extras(backbones: Sequence[Backbone], a: Looked[Measures], b: Looked[Measures], say: Say) -> list[looking.Extra]:
    extras = []
    for backbone in backbones:
        say(backbone.name)
        extras.append(looking.Extra(backbone.name, *(features_of(side.pictures, backbone) for side in (a, b))))
    return extras
