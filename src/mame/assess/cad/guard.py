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
    from mame.diffusion.folders import model_folder, read_card

    real, made = open_set(dataset), open_set(cohort)
    tested = patients_of(real, [Split.TEST])
    both = tested & patients_of(made, made.splits)
    if both:
        raise MameError(f"{cohort}: holds {len(both)} of the {len(tested)} test patients of {dataset}")
    if not (cohort / NAME).is_file():
        return [f"{cohort} has no {NAME}: what made its pictures, and from whom, is not known"]
    names = {str(line["model"]) for line in read_manifest(cohort) if line.get("model")}
    notes = []
    for name in sorted(names):
        try:
            folder = Path(name) if Path(name).is_dir() else model_folder(name)
            seen = read_card(folder).training.get("patients")
        except MameError:
            notes.append(f"generator {name!r} is not at hand: which patients it saw is not known")
            continue
        if seen is None:
            notes.append(f"the card of generator {name!r} does not say which patients it saw")
        elif tested & set(seen):
            raise MameError(
                f"{cohort}: its generator {name!r} was trained on {len(tested & set(seen))} of the {len(tested)} test "
                f"patients of {dataset}; train one on the training side"
            )
    return notes
