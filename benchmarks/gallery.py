"""Uncurated: what mini makes beside real mammograms, and lesions it paints beside real ones, as they come.

    python benchmarks/gallery.py WORK docs/assets [--data ../shared/data/cdd-cesm]

WORK is a folder of `benchmarks/mini.py` (parts `distances` and `lesions`), whose pictures are shown: the first 32 of
the real look, 32 of the test side; 16 places in real mammograms after painting, 16 real lesions. Nothing is chosen by
eye: what is shown is decided by the order in which it was made, and by seed 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mini import real
from numpy.typing import NDArray
from painted_lesions import PROMPT, UNKNOWN, lesions_of, places
from PIL import Image

import mame
from mame.dataset.read import open_set, read_picture
from mame.errors import MameError
from mame.imaging import framing

SIDE, COLUMNS, GAP = 156, 8, 4
WHOLE, LESIONS = 32, 16
AROUND = 3.0  # a window's side over the lesion's
Greys = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cdd-cesm"))
    options = parser.parse_args()
    made = [read_picture(path) for path in sorted((options.work / "real-look").glob("*.png"))[:WHOLE]]
    found = open_set(real(options))
    rows = found.rows("test")
    chosen = np.random.default_rng(0).permutation(len(rows))[:WHOLE]
    save(options.out / "uncurated-made.png", made)
    save(options.out / "uncurated-real.png", [found.mammogram("test", rows[i]).pixels for i in chosen])
    painted, known = lesions(options.work / "lesions" / "set")
    save(options.out / "uncurated-painted.png", painted)
    save(options.out / "uncurated-lesions.png", known)


def lesions(folder: Path) -> tuple[list[Greys], list[Greys]]:
    """Windows around painted lesions, and around real ones, in the mammograms of patients with names."""
    found = open_set(folder)
    model = mame.load_model("mini-lesion")
    rows = [(split, row) for split in found.splits for row in found.rows(split) if UNKNOWN not in row.source_id]
    sizes = np.array([max(box.width, box.height) * (row.spacing_mm or 0) for _, row in rows for box in lesions_of(row)])
    painted: list[Greys] = []
    known: list[Greys] = []
    for number in np.random.default_rng(0).permutation(len(rows)):
        split, row = rows[number]
        record = found.mammogram(split, row)
        if len(known) < LESIONS:
            known += [window(record, box) for box in lesions_of(row)[:1]]
        if len(painted) < LESIONS:
            rng = np.random.default_rng([0, int(number)])
            for box in places(record, sizes, rng, 1, [lesion.box for lesion in row.lesions]):
                try:
                    after = model.inpaint(record.with_(lesions=()), box, PROMPT, seed=0, index=int(number))
                except MameError:
                    continue
                painted.append(window(after, box))
        if len(known) >= LESIONS and len(painted) >= LESIONS:
            break
    return painted, known


def window(record: mame.Mammogram, box: mame.Box) -> Greys:
    """SIDE×SIDE greys around a box."""
    assert record.spacing_mm is not None
    return framing.lesion_window(record.shape, box, record.spacing_mm, SIDE, AROUND).apply(record.pixels)


def save(path: Path, pictures: list[Greys]) -> None:
    """A sheet of them, row by row."""
    lines = -(-len(pictures) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * (SIDE + GAP) - GAP, lines * (SIDE + GAP) - GAP), 90)
    for number, pixels in enumerate(pictures):
        small = Image.fromarray(np.ascontiguousarray(pixels)).resize((SIDE, SIDE), Image.Resampling.BOX)
        greys = (np.clip(np.asarray(small), 0, 1) * 255).round().astype(np.uint8)
        sheet.paste(Image.fromarray(greys), (number % COLUMNS * (SIDE + GAP), number // COLUMNS * (SIDE + GAP)))
    sheet.save(path)
    print(path)


if __name__ == "__main__":
    main()
