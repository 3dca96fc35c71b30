"""How often does the network of `mam-e assess` read `ge` in pictures that are, and in what mini makes of the word?

    python benchmarks/vendor_read.py WORK [--data ../shared/data/cdd-cesm]

WORK is a folder of `benchmarks/mini.py` (part `adherence`). Held-out real pictures are read as they are and made
smaller (`shrunk:`), since few real ones are small: what it misses in these it can't be expected to see in mini's.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mini import REAL_LOOK, real
from numpy.typing import NDArray

from mame.assess.attributes.network import CLASSES
from mame.assess.attributes.reader import open_reader
from mame.dataset.examples import Example
from mame.dataset.read import open_set, read_picture
from mame.dataset.shrunk import Shrunk
from mame.formats.manifest import read_manifest
from mame.mammogram import Area, Density, Description

Seen = list[tuple[Description, NDArray[np.float32]]]


@dataclass(frozen=True)
class Held:
    """Held-out pictures as examples."""

    examples: Sequence[Example]
    name: str = "held out"
    key: str = "held out"

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    def __hash__(self) -> int:
        return id(self)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cdd-cesm"))
    options = parser.parse_args()
    found = open_set(real(options))
    held = Held([
        Example(row.source_id, found.mammogram("test", row).pixels,
                Description(REAL_LOOK, density=Density(row.density_measured), area=Area(row.area)))
        for row in found.rows("test")
    ])  # fmt: skip
    smaller = Shrunk("held out, smaller", held)
    folder = options.work / "every-word"
    made = [line for line in read_manifest(folder) if line["description"]["vendor"] == REAL_LOOK]
    words: list[Area | Density] = [*Area, *Density]
    print(f"| read as `{REAL_LOOK}` | all | {' | '.join(words)} |\n| --- |{' --- |' * (1 + len(words))}")
    for name, seen in (
        ("real, held out", [(one.description, one.pixels) for one in held]),
        ("the same made smaller", [(smaller[n].description, smaller[n].pixels) for n in range(len(smaller))]),
        ("mini", [(described(line["description"]), read_picture(folder / line["file"])) for line in made]),
    ):
        print(f"| {name} | {' | '.join(rates(seen, words))} |")


def described(said: dict[str, str]) -> Description:
    """The words of a line of a manifest, by class."""
    return Description(REAL_LOOK, density=Density(said["density"]), area=Area(said["area"]))


def rates(seen: Seen, words: list[Area | Density]) -> list[str]:
    """How many were read as the real look: of all, and of those with each word."""
    network = open_reader()
    read = network.read(network.embed([pixels for _, pixels in seen])).classes["vendor"]
    right = [CLASSES["vendor"][number] == REAL_LOOK for number in read]
    count: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for (description, _), hit in zip(seen, right, strict=True):
        for word in (description.area, description.density, "all"):
            count[str(word)] += 1
            hits[str(word)] += hit
    return [f"{hits[word]} of {count[word]}" if count[word] else "–" for word in ("all", *map(str, words))]


if __name__ == "__main__":
    main()
