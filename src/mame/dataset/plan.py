"""The plan of a preparation: which images of a source are taken, on which side each goes, and under which name."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from mame.dataset.captions import EVERYTHING, LESION_ONLY, Said
from mame.dataset.counts import Note
from mame.dataset.layout import Split
from mame.dataset.picture import Found, Framing
from mame.dataset.pseudonyms import PICTURE, Pseudonyms
from mame.dataset.splits import PatientFacts, Shares, assign, own_split
from mame.errors import MameError
from mame.formats.record import MAX_SPACING_MM
from mame.mammogram import Density, Laterality, View, closed

# what `datasets` takes for the name of a side where it stands alone in a file's name
_SIDE_WORD = re.compile(
    r"(^|[^a-z0-9])(train|training|valid|validation|val|dev|test|testing|eval|evaluation)($|[^a-z])"
)


class Only(StrEnum):
    """Which images: without any lesion, or with one that is marked."""

    HEALTHY = "healthy"
    LESIONS = "lesions"


class Recipe(StrEnum):
    """The paper's selections (Sensors 2024, 24(7), 2076)."""

    PAPER_OMI = "paper-omi"
    PAPER_VINDR = "paper-vindr"


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source, as its tables describe it; None and "" where they are silent.

    source_id: the image's name in the set; private: whether it may say who the patient is, so that a pseudonym stands
    in. healthy: whether the set says, or leaves no doubt, that nothing suspicious is in the picture.
    matrix_rows, screening: what the paper's selection looks at.
    """

    path: Path
    source_id: str
    patient: str
    study: str = ""
    private: bool = False
    laterality: Laterality | None = None
    view: View | None = None
    vendor: str | None = None
    model: str = ""
    density: Density | None = None
    spacing_mm: float | None = None
    birads: str = ""
    pathology: str = ""
    age: str = ""
    own_split: str | None = None
    healthy: bool | None = None
    lesions: tuple[Found, ...] = ()
    implants: bool = False
    magnification: bool = False
    screening: bool | None = None
    matrix_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What decides how a prepared set looks. Raises MameError for a value out of its range."""

    source: str
    size: int = 512
    framing: Framing = Framing.FIELD
    only: Only | None = None
    vendors: tuple[str, ...] = ()
    view: View | None = None
    findings: tuple[str, ...] = ()
    no_implants: bool = False
    no_magnification: bool = False
    recipe: Recipe | None = None
    caption: tuple[Said, ...] = EVERYTHING
    shares: Shares = field(default_factory=Shares)
    seed: int = 0
    windows: int = 1
    spacing_mm: float | None = None

    def __post_init__(self) -> None:
        for name, kind in (("framing", Framing), ("only", Only), ("view", View), ("recipe", Recipe)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, closed(kind, value, name))  # type: ignore[type-var]
        if not 32 <= self.size <= 4096:
            raise MameError(f"size {self.size}: an image is 32 to 4096 pixels a side")
        if self.seed < 0 or self.windows < 0:
            raise MameError(f"seed and windows must be 0 or more, not {min(self.seed, self.windows)}")
        if self.spacing_mm is not None and not 0 < self.spacing_mm < MAX_SPACING_MM:
            raise MameError(f"pixel spacing {self.spacing_mm} mm: it must be between 0 and {MAX_SPACING_MM:g} mm")

    def to_json(self) -> dict[str, Any]:
        """In values JSON can hold."""
        return {
            "source": self.source,
            "size": self.size,
            "framing": self.framing,
            "only": self.only,
            "vendor": list(self.vendors),
            "view": self.view,
            "finding": list(self.findings),
            "no_implants": self.no_implants,
            "no_magnification": self.no_magnification,
            "recipe": self.recipe,
            "caption": ",".join(self.caption),
            "split": [self.shares.train, self.shares.validation, self.shares.test],
            "seed": self.seed,
            "windows": self.windows,
            "spacing_mm": self.spacing_mm,
        }


def with_recipe(options: dict[str, Any]) -> dict[str, Any]:
    """Options as a user gave them, with what the recipe says where the user said nothing (None)."""
    recipe = options.get("recipe")
    said = dict(options)
    if recipe is not None:
        recipe = closed(Recipe, recipe, "recipe")
        lesions = said.get("only") == Only.LESIONS
        words = {Recipe.PAPER_OMI: (Said.VIEW, Said.AREA), Recipe.PAPER_VINDR: (Said.VIEW, Said.DENSITY)}[recipe]
        defaults: dict[str, Any] = {
            "framing": Framing.CENTER_CROP,
            "only": Only.HEALTHY,
            "caption": LESION_ONLY if lesions else words,
        }
        said |= {name: value for name, value in defaults.items() if said.get(name) is None}
    return {name: value for name, value in said.items() if value is not None}


# -- selection ------------------------------------------------------------------------------------------------------

Filter = tuple[str, Callable[[Item], bool]]


def filters(options: Options) -> list[Filter]:
    """(what it is called, which items pass) of every filter, in the order in which they are applied."""
    chosen: list[Filter] = []
    if options.recipe is Recipe.PAPER_OMI:
        chosen += _PAPER_OMI
    if options.recipe is Recipe.PAPER_VINDR:
        chosen += [("vendor siemens", lambda item: item.vendor == "siemens")]
    if options.vendors:
        chosen.append((f"vendor {', '.join(options.vendors)}", lambda item: item.vendor in options.vendors))
    if options.view is not None:
        chosen.append((f"view {options.view}", lambda item: item.view is options.view))
    if options.no_implants:
        chosen.append(_NO_IMPLANTS)
    if options.no_magnification:
        chosen.append(_NO_MAGNIFICATION)
    if options.findings:
        wanted = {_word(finding) for finding in options.findings}
        chosen.append((f"finding {', '.join(options.findings)}", lambda item: not wanted.isdisjoint(_findings(item))))
    if options.only is Only.HEALTHY:
        chosen.append(("only healthy", lambda item: item.healthy is True and not item.lesions))
    if options.only is Only.LESIONS:
        chosen.append(("only lesions", lambda item: bool(item.lesions)))
        if options.recipe is Recipe.PAPER_VINDR:
            chosen.append(("masses, with or without calcifications", _paper_vindr_lesion))
    return chosen


_NO_IMPLANTS: Filter = ("no implants", lambda item: not item.implants)
_NO_MAGNIFICATION: Filter = ("no magnification", lambda item: not item.magnification)
_PAPER_OMI: list[Filter] = [
    ("vendor hologic", lambda item: item.vendor == "hologic"),
    _NO_IMPLANTS,
    _NO_MAGNIFICATION,
    ("3328 or 4096 rows", lambda item: item.matrix_rows in (3328, 4096)),
    ("view CC or MLO", lambda item: item.view is not None),
    ("screening", lambda item: item.screening is not False),
    ("0.07 or 0.065 mm a pixel", lambda item: _near(item.spacing_mm, 0.07) or _near(item.spacing_mm, 0.065)),
]


def _near(value: float | None, wanted: float) -> bool:
    return value is not None and abs(value - wanted) < 5e-4


def _word(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())


def _findings(item: Item) -> set[str]:
    """What an image's findings are called: the set's words, each of a list, and the kind."""
    found = {_word(str(lesion.kind)) for lesion in item.lesions}
    for lesion in item.lesions:
        found |= {_word(lesion.finding), *(_word(part) for part in re.split(r"[;,|]", lesion.finding))}
    return found


def _paper_vindr_lesion(item: Item) -> bool:
    allowed = {"mass", "suspicious calcification"}
    said = [{_word(part) for part in re.split(r"[;,|]", lesion.finding)} for lesion in item.lesions]
    return any("mass" in words and words <= allowed for words in said)


# -- the plan -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Planned:
    """An item that is to be prepared: its side and the name of its files."""

    index: int
    item: Item
    split: Split
    name: str


@dataclass(slots=True)
class Plan:
    """What is to be prepared. Items wait pickled, which takes a fraction of the memory.

    steps: [what was looked at, images left] after every filter, the first being the whole source. fingerprint: of all
    of it, so that a run that goes on is known to be the same.
    """

    items: list[bytes] = field(default_factory=list)
    sides: dict[str, Split] = field(default_factory=dict)
    steps: list[tuple[str, int]] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.items)

    def sides_used(self) -> list[Split]:
        """The sides that have an item."""
        used = {planned.split for planned in self}
        return [split for split in Split if split in used]

    def __iter__(self) -> Iterator[Planned]:
        return (self[index] for index in range(len(self.items)))

    def __getitem__(self, index: int) -> Planned:
        item, name = pickle.loads(self.items[index])  # our own bytes, from this process
        return Planned(index, item, self.sides[item.patient], name)


def make_plan(items: Iterable[Item], options: Options, pseudonyms: Pseudonyms, notes: Sequence[Note] = ()) -> Plan:
    """The plan for a source's items. Raises MameError where nothing is left of them.

    notes: what the source had to say, once all items were taken: it may be why there are none.
    """
    plan, chosen = Plan(), filters(options)
    left = [0] * (len(chosen) + 1)
    patients: dict[str, PatientFacts] = {}
    names: set[str] = set()
    digest = hashlib.sha256(pseudonyms.fingerprint.encode())
    for item in items:
        left[0] += 1
        _note_patient(patients, item)
        passed = next((n for n, (_, passes) in enumerate(chosen) if not passes(item)), len(chosen))
        for step in range(passed):
            left[step + 1] += 1
        if passed < len(chosen):
            continue
        plan.unknown.update(word for word in ("laterality", "view", "vendor", "density") if not getattr(item, word))
        name = _name(item, options.source, pseudonyms, names)
        packed = pickle.dumps((item, name), protocol=5)
        digest.update(_facts(item, name))
        plan.items.append(packed)
    plan.steps = [("in the source", left[0]), *((name, n) for (name, _), n in zip(chosen, left[1:], strict=True))]
    if not plan.items:
        said = "; ".join(f"{name}: {count}" for name, count in plan.steps)
        if notes and not left[0]:
            said += f"; left out: {len(notes)}, the first: {notes[0].subject}: {notes[0].reason}"
        raise MameError(f"{options.source}: no image is left ({said})")
    plan.moved = sum(len(facts.own) > 1 for facts in patients.values())
    plan.sides = assign(patients, options.shares, options.seed)
    plan.fingerprint = digest.hexdigest()[:16]
    return plan


def _note_patient(patients: dict[str, PatientFacts], item: Item) -> None:
    facts = patients.setdefault(item.patient, PatientFacts(set()))
    own = own_split(item.own_split)
    if own is not None:
        facts.own.add(own)
    facts.lesion |= bool(item.lesions)


def _facts(item: Item, name: str) -> bytes:
    """What a change of the source would change; a lesion's outline counts by its place in the list."""
    lesions = [(lesion.kind, lesion.box, lesion.finding) for lesion in item.lesions]
    facts = (str(item.path), name, item.patient, item.own_split, item.view, item.laterality, item.density, lesions)
    return repr(facts).encode("utf-8", "surrogateescape")


def _name(item: Item, source: str, pseudonyms: Pseudonyms, taken: set[str]) -> str:
    """A file name of an item: its id in the set, or a pseudonym where that may tell who it is; never one twice."""
    if item.private:
        name = pseudonyms.name(PICTURE, source, item.source_id)
    else:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", item.source_id).strip(".-")[:120]
        if not name or _SIDE_WORD.search(name):
            name = hashlib.sha256(item.source_id.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    free, number = name, 1
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.lower())
    return free
