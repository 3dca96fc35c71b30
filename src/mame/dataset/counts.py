"""What a prepared set adds up to, and what was left out of it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mame.dataset.layout import Split, write_lines


@dataclass(frozen=True, slots=True)
class Note:
    """Something of the source that did not become an image. what: image, lesion, row, …"""

    subject: str
    what: str
    reason: str


@dataclass
class Counts:
    """What the rows add up to."""

    failed: int = 0
    duplicates: int = 0
    images: int = 0
    lesions: int = 0
    lesions_dropped: int = 0
    conflicts: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    patients: dict[str, set[str]] = field(default_factory=dict)
    words: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, split: Split, row: dict[str, Any]) -> None:
        """Counts one row."""
        self.images += 1
        self.splits[split] += 1
        self.lesions += len(row["lesions"])
        self.lesions_dropped += len(row["dropped"].split("; ")) if row["dropped"] else 0
        self.conflicts += bool(row["conflicts"])
        self.patients.setdefault(split, set()).add(row["patient"])
        for word in (
            "vendor",
            "view",
            "laterality",
            "density",
            "density_measured",
            "area",
            "healthy",
            "spacing_origin",
        ):
            self.words.setdefault(word, Counter())[row[word] or "unknown"] += 1
        for lesion in row["lesions"]:
            self.words.setdefault("lesion", Counter())[lesion["kind"]] += 1

    def to_json(self) -> dict[str, Any]:
        """In values JSON can hold, the most frequent first."""
        return {
            "images": self.images,
            "images_by_split": {split: self.splits[split] for split in Split if self.splits[split]},
            "patients": {split: len(self.patients[split]) for split in Split if split in self.patients},
            "lesions": self.lesions,
            "images_failed": self.failed,
            "images_duplicate": self.duplicates,
            "lesions_dropped": self.lesions_dropped,
            "images_with_conflicts": self.conflicts,
        } | {word: dict(sorted(counter.items())) for word, counter in sorted(self.words.items())}


def write_notes(path: Path, notes: Sequence[Note]) -> None:
    """Writes failures.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subject", "what", "reason"])
    writer.writerows([note.subject, note.what, " ".join(note.reason.split())] for note in notes)
    write_lines(path, text.getvalue().splitlines())
