"""Do healthy pictures of the real look show cancers? Every real picture with a marked lesion that mini saw had one.

    python benchmarks/healthy.py WORK [--data ../shared/data/cdd-cesm] [--json FILE]

WORK is a folder of `benchmarks/mini.py` (part `distances`), whose pictures are judged. The classifier of
`painted_lesions.py` learns masses against tissue from the training side of the prepared set, and then looks at every
place of a picture, in three sizes; its highest score is the picture's. A picture is suspect above the score that a
tenth of the real held-out pictures reach with their marked lesions left out. Intervals are bootstraps over pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mini import real
from painted_lesions import (
    EMPTY,
    LESION,
    TISSUE,
    Case,
    interval,
    learned,
    lesions_of,
    long_mm,
    places,
    stacked,
    varied,
    window,
)

from mame.dataset.read import PreparedSet, open_set
from mame.formats.files import read
from mame.imaging.breast import find_breast, pectoral_mask
from mame.imaging.framing import FIELD_MM
from mame.mammogram import Box, Mammogram

SIZE = 512  # of the pictures of `mini.py`, in pixels
SIDES_MM = (12.0, 20.0, 32.0)
STRIDE = 0.5  # of a side
INSIDE = 0.9  # share of a place that has to be breast without muscle
EPOCHS = 40
ALARMS = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cdd-cesm"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the rates here, too")
    options = parser.parse_args()
    found = open_set(real(options))
    model = classifier(found, options.seed)
    beside, whole = [], []
    for row in found.rows("test"):
        seen = scored(model, found.mammogram("test", row))
        beside.append(highest(seen, [lesion.box for lesion in row.lesions]))
        if row.lesions:
            whole.append(highest(seen))
    threshold = float(np.quantile(beside, 1 - ALARMS))
    kinds = {
        "real, held out, their lesions left out (sets the threshold)": np.array(beside),
        "the same with their lesions": np.array(whole),
    }
    for name, folder in (("`ge`, healthy as asked", "real-look"), ("phantoms, healthy", "phantoms")):
        files = sorted((options.work / folder).glob("*.png"))
        records = (read(file).with_(spacing_mm=FIELD_MM / SIZE) for file in files)
        kinds[name] = np.array([highest(scored(model, record)) for record in records])
        print(f"{folder} judged", file=sys.stderr)
    print("\n| pictures | count | suspect |\n| --- | --- | --- |")
    rates = {}
    for name, scores in kinds.items():
        suspect = scores > threshold
        rate = float(suspect.mean())
        low, high = interval(suspect, np.arange(len(suspect)), options.seed)
        rates[name] = {"suspect": rate, "low": low, "high": high, "n": len(scores)}
        print(f"| {name} | {len(scores)} | {rate:.0%} ({low:.0%} to {high:.0%}) |")
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1))


def classifier(found: PreparedSet, seed: int) -> torch.nn.Module:
    """A classifier of masses against tissue, of the training side."""
    rows = found.rows("train")
    sizes = np.array([long_mm(box, row) for row in rows for box in lesions_of(row)])
    cases = []
    for number, row in enumerate(rows):
        record, rng = found.mammogram("train", row), np.random.default_rng([seed, number])
        cases += [Case(row.patient, LESION, window(record, box)) for box in lesions_of(row)]
        taken = [lesion.box for lesion in row.lesions]
        cases += [Case(row.patient, TISSUE, window(record, box)) for box in places(record, sizes, rng, EMPTY, taken)]
    return learned(cases, seed, EPOCHS)


def scored(model: torch.nn.Module, record: Mammogram) -> list[tuple[Box, float]]:
    """A picture's places, and how much of a mass each looks."""
    boxes = grid(record)
    if not boxes:
        return []
    windows = stacked([Case("", TISSUE, window(record, box)) for box in boxes])
    with torch.no_grad():
        looks = [model(varied(windows, torch.Generator().manual_seed(n), 0.5 * (n > 0)))[:, 0] for n in range(3)]
    return list(zip(boxes, torch.stack(looks).mean(0).tolist(), strict=True))


def highest(seen: list[tuple[Box, float]], taken: Sequence[Box] = ()) -> float:
    """The highest score, places aside that touch a box of `taken`."""
    return max((score for box, score in seen if not any(box.iou(other) > 0 for other in taken)), default=-np.inf)


def grid(record: Mammogram) -> list[Box]:
    """Boxes of the sizes looked for, all over the breast but its muscle."""
    breast = find_breast(record.pixels)
    muscle = pectoral_mask(record.pixels, breast)
    inside = np.pad((breast.mask & ~muscle).astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    assert record.spacing_mm is not None
    found = []
    for mm in SIDES_MM:
        side = round(mm / record.spacing_mm)
        step = max(1, round(STRIDE * side))
        for y in range(0, record.shape[0] - side, step):
            for x in range(0, record.shape[1] - side, step):
                covered = inside[y + side, x + side] - inside[y, x + side] - inside[y + side, x] + inside[y, x]
                if covered >= INSIDE * side * side:
                    found.append(Box(x, y, x + side, y + side))
    return found


if __name__ == "__main__":
    main()
