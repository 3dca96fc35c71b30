"""Drawing a reader study: balanced, blinded, matched, from a seed; and the order in which each reader sees it.

STUDY/study.json         what a reader may know: the question, the answers, the pictures' names
STUDY/pictures/*.png     16-bit grey, one size, nothing in them but pixels
STUDY/key.json           what each picture is; never served
STUDY/answers.sqlite     see `store`
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ValidationError

from mame.dataset.layout import WINDOWS, Row, Split, WindowRow
from mame.dataset.read import PreparedSet, open_set, read_values
from mame.errors import MameError
from mame.formats.atomic import atomic_write

STUDY, KEY, PICTURES = "study.json", "key.json", "pictures"
GRADES = ("surely real", "probably real", "can't tell", "probably synthetic", "surely synthetic")
"""The paper's five, from the real end: the answer is 1 to 5, and higher means surer that it is synthetic."""


class Kind(StrEnum):
    """What readers are asked."""

    REAL = "real"  # is this mammogram real or synthetic? five grades
    LESION = "lesion"  # is this lesion real or painted? five grades
    CHOICE = "choice"  # which of these two is synthetic?
    MARK = "mark"  # five grades, and where it looks wrong


SIDES = (Split.TEST, Split.VALIDATION, Split.TRAIN)
"""Where real pictures are taken from, first choice first: a generator may have seen the others."""

QUESTIONS = {
    Kind.REAL: "Is this mammogram real or synthetic?",
    Kind.LESION: "Is the lesion in the middle real or painted?",
    Kind.CHOICE: "Which of the two is synthetic?",
    Kind.MARK: "Is this mammogram real or synthetic, and where does it look wrong?",
}


SHARPER = 0.8
"""A picture whose detail is finer than this share of its partner's is shown as coarse as that: sharpness would tell."""


class Case(BaseModel):
    """One question: its picture, or the two of a choice, left first."""

    id: str
    pictures: list[str]


class Study(BaseModel):
    """What `study.json` holds. margin: of equivalence, fixed before anybody read; readers: how many are to read it."""

    format: int = 1
    kind: Kind
    question: str
    grades: list[str]
    seed: int
    margin: float
    readers: int
    repeats: int
    cases: list[Case]

    @property
    def asked(self) -> int:
        """Answers of a complete study."""
        return self.readers * (len(self.cases) + self.repeats)

    def order(self, reader: int) -> list[str]:
        """Case ids as a reader (0, 1, …) sees them: shuffled, the repeats among the second half and never adjacent."""
        rng = np.random.default_rng([self.seed, 7, reader])
        ids = [self.cases[i].id for i in rng.permutation(len(self.cases))]
        again = [ids[i] for i in rng.permutation(max(len(ids) // 2, 1))[: self.repeats]]
        for case in again:
            ids.insert(int(rng.integers(max(3 * len(self.cases) // 4, 1), len(ids) + 1)), case)
        return ids


class Truth(BaseModel):
    """What a case is. synthetic: of each picture; sources: what each is called in its set; matched: on which words."""

    id: str
    synthetic: list[bool]
    sources: list[str]
    matched: list[str]


@dataclass(frozen=True)
class Candidate:
    """A picture that may be drawn. words: what is matched, from the most to the least important; side: of its set.

    detail: pixels of the file that one pixel of its source became, 1 where the source was finer.
    """

    path: Path
    source: str
    patient: str
    words: tuple[tuple[str, str], ...]
    side: Split
    detail: float = 1.0


def new_study(
    real: Path,
    synthetic: Path,
    out: Path,
    *,
    kind: Kind = Kind.REAL,
    images: int = 28,
    repeats: int = 0,
    readers: int = 1,
    seed: int = 0,
    margin: float = 0.1,
    force: bool = False,
) -> Study:
    """Draw a study into a new folder: `images` of each class, no patient twice, real ones matched to synthetic ones.

    real, synthetic: prepared sets (a cohort is one); real pictures come from the test side as far as it goes. repeats:
    cases that every reader sees a second time. Raises MameError where a set has too few patients or pictures, for
    figures out of range, and for a folder that exists already.
    """
    if images < 2:
        raise MameError(f"a study needs at least 2 images of each kind, got {images}")
    if readers < 1 or not 0 < margin < 0.5:
        raise MameError(f"a study needs a reader and a margin between 0 and 0.5, got {readers} and {margin:g}")
    if not 0 <= repeats <= images:
        raise MameError(f"repeats must lie between 0 and the number of images ({images}), got {repeats}")
    if out.exists() and not force:
        raise MameError(f"{out}: exists already; use --force (force=True) to replace it")
    if real.resolve() == synthetic.resolve():
        raise MameError(f"{real}: is given as real and as synthetic; a study needs two sets")
    rng = np.random.default_rng([seed, 6])
    look = _windows if kind is Kind.LESION else _views
    made, there = (list(look(open_set(folder))) for folder in (synthetic, real))
    chosen = _one_a_patient(rng, made, images, synthetic)
    partners = _matched(rng, chosen, there, real)
    pairs = [(a, b) for a, (b, _) in zip(chosen, partners, strict=True)]
    sides = {one.path: min(read_values(one.path).shape) for pair in pairs for one in pair}
    side = min(sides.values())
    matched = [words for _, words in partners]
    cases, key = (_choices if kind is Kind.CHOICE else _singles)(rng, pairs, matched)
    study = Study(
        kind=kind, question=QUESTIONS[kind], grades=list(GRADES), seed=seed, margin=margin, readers=readers,
        repeats=repeats, cases=cases,
    )  # fmt: skip
    looks = {}
    for pair in pairs:
        details = [one.detail * side / sides[one.path] for one in pair]
        for one, detail in zip(pair, details, strict=True):
            looks[one.source] = one.path, max(details) if detail < SHARPER * max(details) else 1.0
    _write(out, study, key, looks, side, force)
    return study


def open_study(folder: Path) -> Study:
    """The study in a folder. Raises MameError where there is none."""
    try:
        return Study.model_validate_json((folder / STUDY).read_text(encoding="utf-8"))
    except OSError:
        raise MameError(f"{folder}: is no reader study (looked for {STUDY})") from None
    except ValidationError as error:
        raise MameError(f"{folder / STUDY}: {error.error_count()} fields are not understood") from None


def read_key(folder: Path) -> dict[str, Truth]:
    """What each case is, by its id. Raises MameError where it can't be read."""
    try:
        said = json.loads((folder / KEY).read_text(encoding="utf-8"))
        return {one["id"]: Truth(**one) for one in said}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MameError(f"{folder / KEY}: {error}") from None


# -- drawing ----------------------------------------------------------------------------------------------------------


def _views(found: PreparedSet) -> Iterable[Candidate]:
    for split in SIDES:
        for row in found.iterate(split):
            known = row.known
            words = (
                ("view", row.view), ("density", str(known["density"] or "")), ("vendor", row.vendor),
                ("side", row.laterality),
            )  # fmt: skip
            source = f"{row.source} {row.source_id}"
            place = found.folder / split / row.file_name
            yield Candidate(place, source, row.patient, words, split, _detail(row))


def _windows(found: PreparedSet) -> Iterable[Candidate]:
    for row in found.windows:
        if row.lesion:
            words = (("lesion", row.lesion), ("view", row.view), ("density", row.density), ("vendor", row.vendor))
            name, place = Path(row.file_name).stem, found.folder / WINDOWS / row.file_name
            yield Candidate(place, f"window {name}", row.patient, words, Split(row.split), _detail(row))


def _detail(row: Row | WindowRow) -> float:
    known = row.frame.source_spacing_mm
    return max(known / row.spacing_mm, 1.0) if known else 1.0


def _one_a_patient(rng: np.random.Generator, candidates: list[Candidate], count: int, folder: Path) -> list[Candidate]:
    order = rng.permutation(len(candidates))
    seen: dict[str, Candidate] = {}
    for index in order:
        seen.setdefault(candidates[index].patient, candidates[index])
    if len(seen) < count:
        raise MameError(f"{folder}: has pictures of {len(seen)} patients, {count} are needed")
    return list(seen.values())[:count]


def _matched(
    rng: np.random.Generator, wanted: list[Candidate], candidates: list[Candidate], folder: Path
) -> list[tuple[Candidate, list[str]]]:
    """For each synthetic picture a real one of another patient each, that shares as many words as can be had.

    Nobody is drawn into whose pictures lesions were painted: a reader would see the same breast twice.
    """
    pool = [candidates[i] for i in rng.permutation(len(candidates))]
    taken = {one.patient for one in wanted}
    found: list[tuple[Candidate, list[str]]] = []
    for one in wanted:
        free = [other for other in pool if other.patient not in taken]
        if not free:
            raise MameError(
                f"{folder}: has pictures of {len(found)} patients who are not in the synthetic ones, "
                f"{len(wanted)} are needed"
            )
        best = max(free, key=lambda other: (_shared(one, other), -SIDES.index(other.side)))
        taken.add(best.patient)
        found.append((best, [name for name, word in one.words if (name, word) in best.words]))
    return found


def _shared(one: Candidate, other: Candidate) -> tuple[bool, ...]:
    """Whether each word agrees, the most important first; compared as a whole."""
    return tuple(pair in other.words for pair in one.words)


def _singles(
    rng: np.random.Generator, pairs: list[tuple[Candidate, Candidate]], matched: list[list[str]]
) -> tuple[list[Case], list[Truth]]:
    flat = [
        (one, synthetic, words)
        for pair, words in zip(pairs, matched, strict=True)
        for one, synthetic in zip(pair, (True, False), strict=True)
    ]
    cases, key = [], []
    for number, index in enumerate(rng.permutation(len(flat)), start=1):
        one, synthetic, words = flat[index]
        name = f"case-{number:03d}"
        cases.append(Case(id=name, pictures=[f"{name}.png"]))
        key.append(Truth(id=name, synthetic=[synthetic], sources=[one.source], matched=words))
    return cases, key


def _choices(
    rng: np.random.Generator, pairs: list[tuple[Candidate, Candidate]], matched: list[list[str]]
) -> tuple[list[Case], list[Truth]]:
    cases, key = [], []
    left = rng.permutation(np.arange(len(pairs)) % 2).astype(bool)  # on each side as often
    for number, index in enumerate(rng.permutation(len(pairs)), start=1):
        one, other = pairs[index]
        first = bool(left[index])
        name = f"case-{number:03d}"
        sources = [one.source, other.source] if first else [other.source, one.source]
        cases.append(Case(id=name, pictures=[f"{name}-left.png", f"{name}-right.png"]))
        key.append(Truth(id=name, synthetic=[first, not first], sources=sources, matched=matched[index]))
    return cases, key


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(
    out: Path, study: Study, key: list[Truth], looks: dict[str, tuple[Path, float]], side: int, force: bool
) -> None:
    """Beside its place first: a study is whole or not there. looks: by source, the picture and its detail."""
    part = out.parent / f".{out.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        (part / PICTURES).mkdir(parents=True)
        for case, truth in zip(study.cases, key, strict=True):
            for name, source in zip(case.pictures, truth.sources, strict=True):
                path, detail = looks[source]
                picture = Image.fromarray(_sized(read_values(path), side, detail))
                with atomic_write(part / PICTURES / name) as file:
                    picture.save(file, "PNG")
        _put(part / STUDY, study.model_dump(mode="json"))
        _put(part / KEY, [one.model_dump(mode="json") for one in key])
        if force and out.exists():
            shutil.rmtree(out)
        part.rename(out)
    except OSError as error:
        raise MameError(f"{out}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(path: Path, said: Any) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(said, indent=1) + "\n").encode())


def _sized(values: NDArray[np.uint16], side: int, detail: float) -> NDArray[np.uint16]:
    """side×side, showing nothing finer than `detail` pixels."""
    if values.shape == (side, side) and detail <= 1:
        return values
    grey = Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BOX)
    if detail > 1:
        small = max(round(side / detail), 2)
        grey = grey.resize((small, small), Image.Resampling.BOX).resize((side, side), Image.Resampling.BICUBIC)
    return np.rint(np.asarray(grey)).clip(0, 65535).astype(np.uint16)
