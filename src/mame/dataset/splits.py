"""Splits: every patient on one side, the set's own sides where it has them, else drawn from a seed.

The sides are given out over the whole source, before anything is selected from it, so that two selections of one source
have every patient on the same side and can be joined.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mame.dataset.layout import Split
from mame.errors import MameError

OWN_WORDS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "validation": Split.VALIDATION,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
}
# a patient with images on two sides is on the one that must stay clean
PRECEDENCE = (Split.TEST, Split.VALIDATION, Split.TRAIN)


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of the patients on each side; they add up to 1. A set that is only to be tested on has no training part."""

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        parts = (self.train, self.validation, self.test)
        if not all(part >= 0 for part in parts) or abs(sum(parts) - 1) > 1e-6:
            raise MameError(f"split {parts}: give three shares that add up to 1 (or 100)")


def parse_shares(text: str) -> Shares:
    """The shares in a text such as "80,10,10". Raises MameError where it isn't three numbers that add up."""
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) != 3:
        raise MameError(f"--split {text!r}: give three numbers, TRAIN,VALIDATION,TEST, such as 80,10,10")
    total = 100.0 if sum(parts) > 1.5 else 1.0
    return Shares(*(part / total for part in parts))


@dataclass(slots=True)
class PatientFacts:
    """What decides a patient's side: the set's own words for it, and whether an image of the patient has a lesion."""

    own: set[Split]
    lesion: bool = False


def own_split(word: str | None) -> Split | None:
    """The side that a set's own word for it means, or None."""
    return OWN_WORDS.get(word.strip().lower()) if word else None


def assign(patients: Mapping[str, PatientFacts], shares: Shares, seed: int) -> dict[str, Split]:
    """The side of every patient.

    Patients with a side of the set's own keep it; where the set has a test side and no validation side, that is drawn
    from its training side, in the proportion of the shares. The others are drawn by the shares, those with and those
    without a lesion apart, so that every side gets its part of both.
    """
    sides: dict[str, Split] = {}
    drawn: list[str] = []
    for patient, facts in patients.items():
        own = next((side for side in PRECEDENCE if side in facts.own), None)
        if own is None:
            drawn.append(patient)
        else:
            sides[patient] = own
    if Split.TEST in sides.values() and Split.VALIDATION not in sides.values():
        training = [patient for patient, side in sides.items() if side is Split.TRAIN]
        part = shares.validation / max(shares.train + shares.validation, 1e-9)
        sides |= _draw(training, patients, Shares(1 - part, part, 0.0), seed)
    return sides | _draw(drawn, patients, shares, seed)


def _draw(names: Iterable[str], patients: Mapping[str, PatientFacts], shares: Shares, seed: int) -> dict[str, Split]:
    sides: dict[str, Split] = {}
    for lesion in (True, False):
        group = sorted((name for name in names if patients[name].lesion is lesion), key=lambda name: _lot(name, seed))
        validation, test = _counts(len(group), shares)
        for place, name in enumerate(group):
            if place < test:
                sides[name] = Split.TEST
            else:
                sides[name] = Split.VALIDATION if place < test + validation else Split.TRAIN
    return sides


def _counts(total: int, shares: Shares) -> tuple[int, int]:
    """(validation, test) of so many patients: rounded; at least one on each side with a share, if there are 3."""
    if shares.train == 0:
        test = round(total * shares.test)
        return total - test, test
    asked = (shares.validation, shares.test)
    wanted = [max(round(total * share), 1 if share > 0 and total >= 3 else 0) for share in asked]
    while sum(wanted) >= total > 0 and any(wanted):
        wanted[wanted.index(max(wanted))] -= 1
    return wanted[0], wanted[1]


def _lot(patient: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{patient}".encode()).hexdigest()
