"""From a plan to orders: what every image of a cohort is to be, fixed before anything runs.

Counts are exact (largest remainder); which image gets what is drawn from the seed, each property from a stream of its
own, so that a change of one share leaves the other properties where they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mame.dataset.layout import Split, json_line
from mame.dataset.read import open_set
from mame.errors import MameError
from mame.mammogram import Area, Density, Description, Laterality, LesionKind, View
from mame.synthesis.plan import LARGEST_LESION_MM, SMALLEST_LESION_MM, VIEWS_A_CASE, FromSet, Plan, Shares, is_counts

T = TypeVar("T")

VERSION = 1  # of the way in which a plan is dealt out
HALVES: dict[str, Shares] = {"view": {"CC": 0.5, "MLO": 0.5}, "side": {"L": 0.5, "R": 0.5}}
CASE_VIEWS = tuple((view, side) for side in Laterality for view in View)


class Stream(IntEnum):
    """Which random numbers: each property has its own."""

    VENDOR = 1
    VIEW = 2
    SIDE = 3
    DENSITY = 4
    AREA = 5
    LESIONS = 6
    NUMBER = 7
    KIND = 8
    SIZE = 9
    SPLIT = 10
    BACKGROUND = 11
    PICTURE = 12
    PAINT = 13
    PLACE = 14


@dataclass(frozen=True, slots=True)
class LesionOrder:
    """One lesion. size_mm: its longer side."""

    kind: LesionKind
    size_mm: float


@dataclass(frozen=True, slots=True)
class Order:
    """One image. case: number of its study; number: its place there, from 1. background: its number in the list."""

    index: int
    case: int
    number: int
    words: Description
    side: Laterality | None
    lesions: tuple[LesionOrder, ...]
    split: Split
    background: int | None = None

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.index:04d}"

    def to_json(self) -> dict[str, Any]:
        """In values JSON can hold."""
        return asdict(self)


def deal(plan: Plan) -> list[Order]:
    """The orders of a plan, without backgrounds. Raises MameError where a set that sizes are taken from has none."""
    breasts = _cases(plan) if plan.cases else _singles(plan)
    painted = _painted(plan)
    wanted = int(painted.sum())
    lesions = iter(_lesions(plan, wanted // 2, 2) if plan.cases else _lesions(plan, wanted, 1))
    splits = _dealt(plan, "split", plan.split, breasts[-1][0] + 1, Stream.SPLIT)
    return [
        Order(index, case, number, words, side, next(lesions) if painted[index] else (), Split(str(splits[case])))
        for index, (case, number, words, side) in enumerate(breasts)
    ]


Breast = tuple[int, int, Description, Laterality | None]


def _singles(plan: Plan) -> list[Breast]:
    halves = {} if plan.background else HALVES  # real mammograms are what they are, unless something else is asked for
    columns = {
        name: _dealt(plan, name, getattr(plan, name) or halves.get(name), plan.count, stream)
        for name, stream in _PROPERTIES.items()
    }
    return [
        (index, 1, _words(*(columns[name][index] for name in _WORDS)), _side(columns["side"][index]))
        for index in range(plan.count)
    ]


def _cases(plan: Plan) -> list[Breast]:
    cases = plan.count // VIEWS_A_CASE
    columns = {
        name: _dealt(plan, name, getattr(plan, name), cases, _PROPERTIES[name], VIEWS_A_CASE)
        for name in ("vendor", "density", "area")
    }
    return [
        (case, number, _words(columns["vendor"][case], view, columns["density"][case], columns["area"][case]), side)
        for case in range(cases)
        for number, (view, side) in enumerate(CASE_VIEWS, start=1)
    ]


_PROPERTIES = {
    "vendor": Stream.VENDOR,
    "view": Stream.VIEW,
    "side": Stream.SIDE,
    "density": Stream.DENSITY,
    "area": Stream.AREA,
}
_WORDS = ("vendor", "view", "density", "area")


def _words(vendor: str | None, view: str | None, density: str | None, area: str | None) -> Description:
    return Description(
        vendor, View(view) if view else None, Density(density) if density else None, Area(area) if area else None
    )


def _side(word: str | None) -> Laterality | None:
    return Laterality(word) if word else None


def _dealt(
    plan: Plan, name: str, shares: Shares | None, total: int, stream: Stream, each: int = 1
) -> Sequence[str | None]:
    """A word for each of `total` things that hold `each` images; None throughout where nothing is said."""
    if shares is None:
        return [None] * total
    counts = _counts(plan, name, shares, total, each)
    return _shuffled(
        plan.seed, stream, [word for word, count in zip(shares, counts, strict=True) for _ in range(count)]
    )


def _counts(plan: Plan, name: str, shares: Shares, total: int, each: int) -> list[int]:
    if not is_counts(shares, plan.count) or total * each != plan.count:
        return largest_remainder(list(shares.values()), total)
    if any(int(count) % each for count in shares.values()):
        raise MameError(f"{name}: a case has {each} images, so these counts must be multiples of {each}")
    return [int(count) // each for count in shares.values()]


def largest_remainder(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers in these proportions that add up to `total`: rounded down, the rest to the largest remainders."""
    whole = sum(shares)
    exact = [share / whole * total for share in shares]
    counts = [int(value + 1e-9) for value in exact]  # 0.3 of 10 is 3, not 2.9999…
    order = sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])
    for place in order[: total - sum(counts)]:
        counts[place] += 1
    return counts


def _shuffled(seed: int, stream: Stream, values: Sequence[T]) -> list[T]:
    order = np.random.default_rng([seed, stream]).permutation(len(values))
    return [values[place] for place in order]


# -- lesions ----------------------------------------------------------------------------------------------------------


def _painted(plan: Plan) -> NDArray[np.bool_]:
    """Which images have a lesion: exactly the share; in cases, both views of a breast, one breast a case first."""
    share = plan.lesions.share
    if not plan.cases:
        count = largest_remainder([share, 1 - share], plan.count)[0]
        return np.array(
            _shuffled(plan.seed, Stream.LESIONS, [True] * count + [False] * (plan.count - count)), dtype=bool
        )
    cases = plan.count // VIEWS_A_CASE
    count = largest_remainder([share, 1 - share], 2 * cases)[0]
    rng = np.random.default_rng([plan.seed, Stream.LESIONS])
    first = rng.integers(2, size=cases)
    breasts = np.zeros((cases, 2), dtype=bool)
    order = [(case, first[case]) for case in rng.permutation(cases)]
    order += [(case, 1 - first[case]) for case in rng.permutation(cases)]
    for case, side in order[:count]:
        breasts[case, side] = True
    return np.repeat(breasts.ravel(), VIEWS_A_CASE // 2)


def _lesions(plan: Plan, images: int, copies: int) -> list[tuple[LesionOrder, ...]]:
    """The lesions of every image that has any, `copies` times each."""
    asked = plan.lesions
    numbers = [int(word or 1) for word in _dealt(plan, "lesions.number", asked.number, images, Stream.NUMBER)]
    total = sum(numbers)
    kinds = [LesionKind(str(word)) for word in _dealt(plan, "lesions.kinds", asked.kinds, total, Stream.KIND)]
    sizes = _sizes(plan, total)
    found, place = [], 0
    for number in numbers:
        pairs = zip(kinds[place : place + number], sizes[place : place + number], strict=True)
        found += [tuple(LesionOrder(kind, size) for kind, size in pairs)] * copies
        place += number
    return found


def _sizes(plan: Plan, total: int) -> list[float]:
    """Sizes in mm, one from each of `total` equal parts of the distribution, so that small cohorts cover it too."""
    rng = np.random.default_rng([plan.seed, Stream.SIZE])
    parts = (np.arange(total) + rng.random(total)) / max(total, 1)
    rng.shuffle(parts)
    return [round(float(size), 2) for size in _distribution(plan)(parts)]


def _distribution(plan: Plan) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The quantile function of sizes."""
    asked = plan.lesions.size_mm
    if not isinstance(asked, FromSet):
        least, most = asked
        return lambda parts: least + parts * (most - least)
    found = open_set(asked.set)
    known = [
        max(lesion.box.width, lesion.box.height) * row.spacing_mm
        for split in found.splits
        for row in found.iterate(split)
        for lesion in row.lesions
    ]
    known = [size for size in known if SMALLEST_LESION_MM <= size <= LARGEST_LESION_MM]
    if not known:
        raise MameError(
            f"lesions.size_mm: {asked.set} has no lesion of {SMALLEST_LESION_MM:g} to {LARGEST_LESION_MM:g} mm"
        )
    return lambda parts: np.asarray(np.quantile(known, parts))


# -- seeds ------------------------------------------------------------------------------------------------------------


def seed_of(plan: Plan, index: int, stream: Stream, attempt: int, lesion: int = 0) -> int:
    """The seed of one try: 0 to 2³¹ - 1, as `mam-e generate --seed` takes it."""
    sequence = np.random.SeedSequence([plan.seed, index, stream, attempt, lesion])
    return int(sequence.generate_state(1)[0] >> 1)


def fingerprint(orders: Sequence[Order]) -> str:
    """What tells two sets of orders apart."""
    digest = hashlib.sha256(f"{VERSION}".encode())
    for order in orders:
        digest.update(json_line(order.to_json()).encode())
    return digest.hexdigest()[:16]
