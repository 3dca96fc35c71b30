"""No cohort whose generator saw the test patients: what it paints of them would be found because it was learned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mame.dataset.layout import Split
from mame.dataset.pseudonyms import patient_hash
from mame.dataset.read import PreparedSet, open_set
from mame.errors import MameError
from mame.formats.manifest import NAME, read_manifest


def patients_of(found: PreparedSet, splits: Iterable[Split]) -> set[str]:
    """Hashes of the patients on these sides."""
    return {patient_hash(row.source, row.patient) for split in splits for row in found.iterate(split)}


def check_apart(dataset: Path, cohort: Path) -> list[str]:
    """Raises MameError where the cohort, or a generator of it, holds test patients of the data set.

    Returns notes: what could not be checked, because a card says nothing or isn't at hand.
    """
    real, made = open_set(dataset), open_set(cohort)
    tested = patients_of(real, [Split.TEST])
    learned = tested & patients_of(real, [split for split in real.splits if split is not Split.TEST])
    if learned:
        raise MameError(f"{dataset}: {len(learned)} of its {len(tested)} test patients are on its other sides, too")
    both = tested & patients_of(made, made.splits)
    if both:
        raise MameError(f"{cohort}: holds {len(both)} of the {len(tested)} test patients of {dataset}")
    if not (cohort / NAME).is_file():
        return [f"{cohort} has no {NAME}: what made its pictures, and from whom, is not known"]
    names = {str(line["model"]) for line in read_manifest(cohort) if line.get("model")}
    return [note for name in sorted(names) for note in _check_generator(name, real, tested, cohort)]


def _check_generator(name: str, real: PreparedSet, tested: set[str], cohort: Path) -> list[str]:
    """Notes on a generator; raises MameError where its card names test patients, as its own or its base's."""
    from mame.diffusion.folders import model_folder, read_card

    try:
        told = read_card(Path(name) if Path(name).is_dir() else model_folder(name)).training
    except MameError:
        return [f"generator {name!r} is not at hand: which patients it saw is not known"]
    seen: list[str] | None = told.get("patients")
    if learned := tested & set(seen or ()):
        raise MameError(
            f"{cohort}: its generator {name!r} was trained on {len(learned)} of the {len(tested)} test "
            f"patients of {real.folder}; train one on the training side"
        )
    if seen is None:
        return [f"the card of generator {name!r} does not say which patients it saw"]
    notes = []
    if not told.get("patients_of_base", True):
        notes.append(f"the card of generator {name!r} does not say which patients its base saw")
    keys = set(told.get("keys") or ())
    if keys and real.keys and not keys & real.keys:
        notes.append(
            f"generator {name!r} learned from patients whose pseudonyms were made with another key: "
            "whether they are among the test patients is not known"
        )
    return notes
