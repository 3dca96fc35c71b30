"""What a trainer learns from: pictures with what is known of them, by number, from a prepared folder or the phantom.

A source is named in one word: a prepared folder, `phantom:COUNT[:SEED]` for pictures that the simulator draws as they
are asked for, or `composite:COUNT:SEED:FOLDER` for simulated lesions in the mammograms of a folder. Several with " + "
between them are mixed; `3*SOURCE` counts one of them three times. Example i is the same whenever it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mame.dataset.regions import marked_region
from mame.errors import MameError
from mame.imaging import phantom
from mame.imaging.phantom.lesions import MassShape
from mame.mammogram import Area, Density, Description, LesionKind, View

TIMES = re.compile(r"(\d+)\*(.+)")


@dataclass(frozen=True)
class Example:
    """One picture to learn from. pixels: float32 size×size in [0, 1], chest wall at the left edge in whole views.

    region: bool size×size, where a lesion model is to paint (None for whole healthy views); lesion: bool size×size, the
    lesion itself, or where one could have been.
    """

    id: str
    pixels: NDArray[np.float32]
    description: Description
    region: NDArray[np.bool_] | None = None
    lesion: NDArray[np.bool_] | None = None


class Examples(Protocol):
    """Examples by number."""

    @property
    def name(self) -> str:
        """How the user called the source."""
        ...

    @property
    def key(self) -> str:
        """What example i is, whatever their count: a longer run of the same key adds to a cache."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class PhantomViews:
    """Healthy whole views in the field frame, every word of the language as likely as every other."""

    name: str
    count: int
    seed: int
    size: int

    @property
    def key(self) -> str:
        """Which simulator, seed and size."""
        return f"phantom views {phantom.VERSION} {self.seed} {self.size}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self.seed, index, 1])
        asked = Description(
            vendor=str(rng.choice(sorted(phantom.LOOKS))),
            view=View(rng.choice(list(View))),
            density=Density(rng.choice(list(Density))),
            area=Area(rng.choice(list(Area))),
        )
        drawn = phantom.draw((self.seed, index), asked)
        picture = drawn.render(drawn.field_grid(self.size))
        return Example(f"phantom-{self.seed}-{index}", picture.mammogram.pixels, replace(asked, lesion=None))


@dataclass(frozen=True)
class PhantomWindows:
    """Lesion windows: a mass or a cluster in the middle third, or (one in eight) a region with nothing in it."""

    name: str
    count: int
    seed: int
    size: int
    mass_share: float = 0.75
    empty_share: float = 0.125

    @property
    def key(self) -> str:
        """Which simulator, seed, size and mixture."""
        return f"phantom windows {phantom.VERSION} {self.seed} {self.size} {self.mass_share} {self.empty_share}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self.seed, index, 2])
        kind = LesionKind.MASS if rng.random() < self.mass_share else LesionKind.CALCIFICATIONS
        drawn = phantom.draw((self.seed, index, 2), lesion=kind, fine=True)
        while (
            not drawn.lesions
        ):  # a breast with no room for a lesion: draw another (rare, and each draw is independent)
            drawn = phantom.draw((self.seed, index, int(rng.integers(1 << 30))), lesion=kind, fine=True)
        shape = drawn.lesions[0]
        reach = (
            shape.radius_mm
            if isinstance(shape, MassShape)
            else float(np.ptp(shape.grains[:, :2], axis=0).max()) / 2 + 1
        )
        side = 2.0 * reach * float(rng.uniform(2.4, 4.0))
        aim = rng.normal(0.0, 0.06 * side, 2)
        grid = drawn.window_grid((shape.centre[0] + aim[0], shape.centre[1] + aim[1]), side, self.size)
        picture = drawn.render(grid)
        if not picture.mammogram.lesions:
            raise MameError(f"phantom {self.seed}-{index} has a lesion outside its window")
        mask = picture.mammogram.lesions[0].mask
        assert mask is not None
        said = drawn.description
        if rng.random() < self.empty_share:
            picture = drawn.without_lesions().render(grid)
            said = replace(said, lesion=None)
        region = marked_region(rng, mask)
        return Example(f"window-{self.seed}-{index}", picture.mammogram.pixels, said, region, mask)


@lru_cache(maxsize=1)
def _whole(source: Examples, index: int) -> Example:
    """Neighbouring crops come from one picture: it is drawn once for all of them."""
    return source[index]


def open_examples(source: str, kind: str, size: int) -> Examples:
    """Open a source of examples. size: pixels a side of the whole picture.

    kind: "views" (whole pictures), "windows" (around lesions) or "crops" (pieces of both, for autoencoders).

    Raises MameError for a source that is neither `phantom:COUNT[:SEED]` nor a prepared folder.
    """
    if " + " in source or TIMES.match(source):
        return _mixed(source, kind, size)
    word, _, rest = source.partition(":")
    if word == "phantom":
        try:
            count, seed = (int(part) for part in [*rest.split(":"), "0"][:2])
        except ValueError:
            raise MameError(f"{source!r} is no phantom source: write phantom:COUNT or phantom:COUNT:SEED") from None
        views = PhantomViews(source, count, seed, size)
        windows = PhantomWindows(source, count, seed, size)
        kinds: dict[str, Examples] = {
            "views": views,
            "windows": windows,
            "crops": Crops(source, (views, windows), count),
        }
        return kinds[kind]
    if word == "composite" and kind == "windows":
        from mame.dataset.composites import CompositeWindows

        try:
            many, start, folder = rest.split(":", 2)
            return CompositeWindows(source, Path(folder), int(many), int(start), size)
        except ValueError:
            raise MameError(f"{source!r} is no source of composites: write composite:COUNT:SEED:FOLDER") from None
    if Path(source).is_dir():
        from mame.dataset.prepared import open_prepared

        return open_prepared(source, kind, size)
    raise MameError(
        f"{source!r} is no source of {kind}: name a prepared folder, or write phantom:COUNT[:SEED], or "
        "composite:COUNT:SEED:FOLDER for windows"
    )


def _mixed(source: str, kind: str, size: int) -> Mixture:
    parts: list[Examples] = []
    for word in source.split(" + "):
        times = TIMES.match(word.strip())
        name = times[2] if times else word.strip()
        parts += [open_examples(name, kind, size)] * (int(times[1]) if times else 1)
    return Mixture(source, tuple(parts))


@dataclass(frozen=True)
class Mixture:
    """Several sources as one, their examples evenly interleaved: every stretch of it has its share of each."""

    name: str
    parts: tuple[Examples, ...]

    @property
    def key(self) -> str:
        """Of what, and how much of each: where an example comes from hangs on all their lengths."""
        return "mixture of " + " + ".join(f"{len(part)} {part.key}" for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Example:
        part, number = _order(tuple(len(part) for part in self.parts))[index]
        return self.parts[part][int(number)]


@lru_cache(maxsize=8)
def _order(counts: tuple[int, ...]) -> NDArray[np.int64]:
    """(part, number) of each example, N×2, by how far through its part it is."""
    rows = np.concatenate([np.column_stack([np.full(n, part), np.arange(n)]) for part, n in enumerate(counts)])
    through = (rows[:, 1] + 0.5) / np.repeat(counts, counts)
    return rows[np.argsort(through, kind="stable")]


@dataclass(frozen=True)
class Crops:
    """Square pieces of other examples, most of them on tissue: what an autoencoder's decoder learns from."""

    name: str
    sources: tuple[Examples, ...]
    count: int
    side: int = 256
    each: int = 4

    @property
    def key(self) -> str:
        """Of what, and how large."""
        return f"crops {self.side} {self.each} of {[source.key for source in self.sources]}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([index, 3])
        number = index // self.each
        source = self.sources[number % len(self.sources)]
        whole = _whole(source, (number // len(self.sources)) % len(source))
        room = whole.pixels.shape[0] - self.side
        step = 8  # latents see patches of 8 pixels: a crop off that raster would be another picture to them
        for _ in range(8):
            y, x = (int(v) // step * step for v in rng.integers(0, room + 1, 2))
            piece = whole.pixels[y : y + self.side, x : x + self.side]
            if (piece > 0).mean() > 0.4:
                break
        return Example(f"{whole.id}-{y}-{x}", np.ascontiguousarray(piece), whole.description)
