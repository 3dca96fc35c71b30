"""What a trainer learns from: pictures with what is known of them, by number, from a prepared folder or the phantom.

A source is named in one word: a prepared folder, `phantom:COUNT[:SEED]` for pictures that the simulator draws as they
are asked for, or `composite:COUNT:SEED:FOLDER` for simulated lesions in the mammograms of a folder. Several with " + "
between them are mixed; `3*SOURCE` counts one of them three times, `toned:SOURCE` brings its windows to one tone,
`shrunk:SOURCE` makes its whole views smaller. Example i is the same whenever it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mame.dataset.regions import Regions
from mame.errors import MameError
from mame.imaging.tone import GAIN, MIDDLE, RANGE, tone_of
from mame.mammogram import Description

TIMES = re.compile(r"(\d+)\*(.+)")


@dataclass(frozen=True)
class Example:
    """One picture to learn from. pixels: float32 size×size in [0, 1], chest wall at the left edge in whole views.

    text: a caption that somebody wrote freely, which is then used as it is instead of the description.
    region: bool size×size, where a lesion model is to paint (None for whole healthy views); lesion: bool size×size, the
    lesion itself, or where one could have been.
    """

    id: str
    pixels: NDArray[np.float32]
    description: Description
    region: NDArray[np.bool_] | None = None
    lesion: NDArray[np.bool_] | None = None
    text: str | None = None


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


@lru_cache(maxsize=1)
def _whole(source: Examples, index: int) -> Example:
    """Neighbouring crops come from one picture: it is drawn once for all of them."""
    return source[index]


def open_examples(source: str, kind: str, size: int, regions: Regions = Regions.MIXED) -> Examples:
    """Open a source of examples. size: pixels a side of the whole picture.

    kind: "views" (whole healthy pictures), "all" (those with lesions too, and where), "windows" (around lesions),
    "marked" (whole pictures with lesions in them)
    or "crops" (pieces of views and windows, for autoencoders). regions: what stands for the place to paint.

    Raises MameError for a source that is neither `phantom:COUNT[:SEED]` nor a prepared folder.
    """
    if " + " in source or TIMES.match(source):
        return _mixed(source, kind, size, regions)
    word, _, rest = source.partition(":")
    if word == "toned":
        return Toned(source, open_examples(rest, kind, size, regions))
    if word == "shrunk":
        from mame.dataset.shrunk import Shrunk

        if kind not in ("views", "all", "marked"):
            raise MameError(f"{source!r}: shrunk: is for whole views, and gives no {kind}")
        return Shrunk(source, open_examples(rest, kind, size, regions))
    if word == "phantom":
        from mame.dataset import simulated

        try:
            count, seed = (int(part) for part in [*rest.split(":"), "0"][:2])
        except ValueError:
            raise MameError(f"{source!r} is no phantom source: write phantom:COUNT or phantom:COUNT:SEED") from None
        views = simulated.PhantomViews(source, count, seed, size)
        windows = simulated.PhantomWindows(source, count, seed, size, regions=regions)
        kinds: dict[str, Examples] = {
            "views": views,
            "all": Unmarked(views),
            "windows": windows,
            "marked": simulated.PhantomMarked(source, count, seed, size, regions),
            "crops": Crops(source, (views, windows), count),
        }
        return kinds[kind]
    if word == "composite" and kind == "windows":
        from mame.dataset.composites import CompositeWindows

        try:
            many, start, folder = rest.split(":", 2)
            return CompositeWindows(source, Path(folder), int(many), int(start), size, regions=regions)
        except ValueError:
            raise MameError(f"{source!r} is no source of composites: write composite:COUNT:SEED:FOLDER") from None
    if Path(source).is_dir():
        from mame.dataset.prepared import open_prepared

        return open_prepared(source, kind, size, regions)
    raise MameError(
        f"{source!r} is no source of {kind}: name a prepared folder, or write phantom:COUNT[:SEED], or "
        "composite:COUNT:SEED:FOLDER for windows"
    )


def open_held_out(source: str, kind: str, size: int, regions: Regions = Regions.MIXED) -> Examples | None:
    """The examples of other patients that a prepared folder keeps for validation, or None where a source has none."""
    word, _, rest = source.partition(":")
    if word in ("toned", "shrunk"):
        inner = open_held_out(rest, kind, size, regions)
        return Toned(source, inner) if inner is not None and word == "toned" else inner
    if not Path(source).is_dir():
        return None
    from mame.dataset.prepared import open_validation

    return open_validation(source, kind, size, regions)


def parts_of(source: str) -> list[tuple[int, str]]:
    """(how often it counts, its name) of each of the sources that a mixture names; of one alone where it is none."""
    words = [word.strip() for word in source.split(" + ")]
    return [(int(times[1]), times[2]) if (times := TIMES.match(word)) else (1, word) for word in words]


def folders_behind(source: str) -> list[Path]:
    """The prepared folders that a source takes pictures from, in its order; a folder of normals for composites, too."""
    found = []
    for _, part in parts_of(source):
        name = bare(part)
        if name.startswith("composite:"):
            name = name.split(":", 3)[-1]
        if Path(name).is_dir():
            found.append(Path(name))
    return found


def bare(source: str) -> str:
    """A source's name without what is to be done to its pictures."""
    return source.removeprefix("toned:").removeprefix("shrunk:")


def unsimulated(source: str) -> str:
    """A source without its parts that are simulated; as it is where there are no others."""
    kept = [part for part in parts_of(source) if not bare(part[1]).startswith(("phantom:", "composite:"))]
    return " + ".join(name if times == 1 else f"{times}*{name}" for times, name in kept) or source


def _mixed(source: str, kind: str, size: int, regions: Regions) -> Mixture:
    parts: list[Examples] = []
    for times, name in parts_of(source):
        parts += [open_examples(name, kind, size, regions)] * times
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
class Unmarked:
    """Healthy pictures beside some with lesions: `lesion` says of them that there is none."""

    inner: Examples

    @property
    def name(self) -> str:
        """How the user called the source."""
        return self.inner.name

    @property
    def key(self) -> str:
        """Of what."""
        return f"{self.inner.key} unmarked"

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Example:
        example = self.inner[index]
        return replace(example, lesion=np.zeros(example.pixels.shape, bool))


@dataclass(frozen=True)
class Toned:
    """Windows brought to one tone by what surrounds their regions, as models with `window_tone` see them."""

    name: str
    inner: Examples

    @property
    def key(self) -> str:
        """Of what."""
        return f"toned {MIDDLE} {RANGE} {GAIN} {self.inner.key}"

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Example:
        example = self.inner[index]
        if example.region is None:
            raise MameError(f"{self.name}: has no regions to go by; toned: is for windows")
        return replace(example, pixels=tone_of(example.pixels, example.region).apply(example.pixels))


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
