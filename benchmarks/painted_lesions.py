"""Is what mini-lesion paints found by a classifier that learned from real lesions? And does it stay in its region?

    python benchmarks/painted_lesions.py --data ../shared/data/cdd-cesm [--paint 60] [--work FOLDER]

Real mammograms (CDD-CESM) are prepared with `mam-e prepare`. A small convolutional classifier learns real lesions
against tissue without one, in five folds by patient; images of unknown patients are only learned from. In each fold's
held-out patients it then judges the real lesions, untouched places of the same sizes, and some of those places again
after a lesion was painted there. Found means: above the score that a tenth of the other untouched places reach.
Intervals are bootstraps over patients. The second table is of phantoms: what changed in the region, and outside.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

import mame
from mame.assess.readers.roc import delong
from mame.dataset.read import PreparedSet, open_set
from mame.errors import MameError
from mame.imaging import framing, phantom
from mame.imaging.breast import find_breast, pectoral_mask
from mame.mammogram import Box, LesionKind, Mammogram
from mame.synthesis.place import Room, find_place
from mame.synthesis.plan import Prior, Shape

SIZE = 1024  # of the prepared pictures: a quarter of a millimetre a pixel
SEEN, WIDE = 64, 96  # pixels of what the classifier sees (three times the lesion), and of what that is cut from
SIZES_MM = (6.0, 60.0)  # longer outlines mark regions of thickening rather than masses
EMPTY = 3  # untouched places in a picture
FOLDS = 5
EPOCHS = 40
ALARMS = 0.1
UNKNOWN = "IM"  # in the name of an image whose patient isn't known
PROMPT = "a mammogram with a mass"
TISSUE, LESION, PLACE, PAINTED = "tissue", "lesion", "place", "painted"


@dataclass(frozen=True)
class Case:
    """One window: whose it is, what it shows (TISSUE, LESION, PLACE before and PAINTED after painting), its greys."""

    patient: str
    kind: str
    window: NDArray[np.float32]
    known: bool = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cdd-cesm"))
    parser.add_argument("--model", default="mini-lesion")
    parser.add_argument("--paint", type=int, default=60)
    parser.add_argument("--phantoms", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keep the prepared set here")
    parser.add_argument("--json", type=Path, help="write the rates here, too")
    options = parser.parse_args()
    model = mame.load_model(options.model)
    with tempfile.TemporaryDirectory() as place:
        work = options.work or Path(place)
        if not (work / "set" / "dataset.json").is_file():
            command = (sys.executable, "-m", "mame.cli", "prepare", "cdd-cesm", options.data, work / "set")
            subprocess.run([*command, "--size", str(SIZE), "--windows", "0"], check=True, stdout=subprocess.DEVNULL)
        cases = gathered(open_set(work / "set"), model, options)
    scores, threshold_passed = judged(cases, options)
    rates = report(cases, scores, threshold_passed, options.seed)
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1))
    on_phantoms(model, options)


# -- real mammograms --------------------------------------------------------------------------------------------------


def gathered(found: PreparedSet, model: mame.Model, options: argparse.Namespace) -> list[Case]:
    """Lesions, untouched tissue, and places before and after painting, from all sides of a prepared set."""
    rows = [(split, row) for split in found.splits for row in found.rows(split)]
    sizes = np.array([size for split, row in rows for box in lesions_of(row) if (size := long_mm(box, row)) > 0])
    cases: list[Case] = []
    rng = np.random.default_rng(options.seed)
    detailed = [
        n for n, (_, row) in enumerate(rows) if row.source_id.startswith("full") and UNKNOWN not in row.source_id
    ]
    painted_in = set(rng.permutation(detailed)[: options.paint].tolist())
    for number, (split, row) in enumerate(rows):
        record = found.mammogram(split, row)
        rng = np.random.default_rng([options.seed, number])
        known = UNKNOWN not in row.source_id
        boxes = lesions_of(row)
        cases += [Case(row.patient, LESION, window(record, box), known) for box in boxes]
        taken = [lesion.box for lesion in row.lesions]
        for place in places(record, sizes, rng, EMPTY, taken):
            cases.append(Case(row.patient, TISSUE, window(record, place), known))
        if number in painted_in:
            for place in places(record, sizes, rng, 1, taken):
                try:
                    painted = model.inpaint(record.with_(lesions=()), place, PROMPT, seed=options.seed, index=number)
                except MameError:
                    continue
                cases.append(Case(row.patient, PLACE, window(record, place)))
                cases.append(Case(row.patient, PAINTED, window(painted, place)))
    return cases


def lesions_of(row: object) -> list[Box]:
    """Boxes of the lesions in a row that are masses by kind, size and shape."""
    return [
        lesion.box
        for lesion in row.lesions  # type: ignore[attr-defined]
        if lesion.kind is not LesionKind.CALCIFICATIONS
        and SIZES_MM[0] <= long_mm(lesion.box, row) <= SIZES_MM[1]
        and max(lesion.box.width, lesion.box.height) < 2.5 * min(lesion.box.width, lesion.box.height)
    ]


def long_mm(box: Box, row: object) -> float:
    """The longer side of a box in a row's picture."""
    return max(box.width, box.height) * row.spacing_mm  # type: ignore[attr-defined]


def places(
    record: Mammogram, sizes: NDArray[np.float64], rng: np.random.Generator, count: int, taken: list[Box]
) -> list[Box]:
    """Boxes without a lesion, of sizes that lesions have, apart from each other; fewer where there is no room."""
    breast = find_breast(record.pixels)
    room = Room.look(record.pixels, breast.mask, pectoral_mask(record.pixels, breast))
    assert record.spacing_mm is not None
    found: list[Box] = []
    for _ in range(count):
        size = float(rng.choice(sizes))
        while size > SIZES_MM[0]:
            try:
                place = find_place(
                    room, size, record.spacing_mm, rng, shape=Shape.BOX, prior=Prior.DENSE, lesions=[*taken, *found]
                )
            except MameError:
                size *= 0.8
                continue
            found.append(place.box)
            break
    return found


def window(record: Mammogram, box: Box) -> NDArray[np.float32]:
    """WIDE×WIDE greys around a box, so that its middle SEEN×SEEN show three times the box."""
    frame = framing.lesion_window(record.shape, box, record.spacing_mm, WIDE, 3.0 * WIDE / SEEN)
    return frame.apply(record.pixels)


# -- the classifier ---------------------------------------------------------------------------------------------------


def network() -> torch.nn.Module:
    """Five convolutions with pooling, the mean over the picture, one number."""
    layers: list[torch.nn.Module] = []
    widths = (1, 16, 32, 64, 96, 128)
    for before, after in itertools.pairwise(widths):
        layers += [
            torch.nn.Conv2d(before, after, 3, padding=1), torch.nn.BatchNorm2d(after), torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
        ]  # fmt: skip
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Dropout(0.4), torch.nn.Linear(128 * 4, 1))


def varied(windows: torch.Tensor, generator: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """The middle of N×1×WIDE×WIDE windows, turned, zoomed, shifted and mirrored, at one mean and contrast."""
    count = len(windows)
    turn = (torch.rand(count, generator=generator) * 2 - 1) * torch.pi * strength
    zoom = SEEN / WIDE * (1 + strength * 0.15 * (torch.rand(count, generator=generator) * 2 - 1))
    flip = torch.where(torch.rand(count, generator=generator) < 0.5 * strength, -1.0, 1.0)
    shift = strength * 0.06 * (torch.rand(count, 2, generator=generator) * 2 - 1)
    cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
    matrix = torch.stack(
        [torch.stack([cos * flip, -sin, shift[:, 0]], 1), torch.stack([sin * flip, cos, shift[:, 1]], 1)], 1
    )
    grid = F.affine_grid(matrix, [count, 1, SEEN, SEEN], align_corners=False)
    cut = F.grid_sample(windows, grid, align_corners=False, padding_mode="border")
    return (cut - cut.mean((2, 3), keepdim=True)) / (cut.std((2, 3), keepdim=True) + 0.02)


def learned(cases: list[Case], seed: int, epochs: int) -> torch.nn.Module:
    """A classifier of lesions against tissue, each half of every batch."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    sides = [stacked([case for case in cases if case.kind == kind]) for kind in (TISSUE, LESION)]
    model, batch = network(), 32
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = epochs * max(1, len(sides[1]) // (batch // 2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    wanted = torch.cat([torch.zeros(batch // 2), torch.ones(batch // 2)])
    model.train()
    for _ in range(steps):
        some = [side[torch.randint(len(side), (batch // 2,), generator=generator)] for side in sides]
        guess = model(varied(torch.cat(some), generator))[:, 0]
        loss = F.binary_cross_entropy_with_logits(guess, 0.05 + 0.9 * wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def scored(model: torch.nn.Module, cases: list[Case]) -> NDArray[np.float64]:
    """The mean score of eight mildly varied looks at each window."""
    generator = torch.Generator().manual_seed(0)
    windows = stacked(cases)
    looks = [model(varied(windows, generator, 0.0 if n == 0 else 0.5))[:, 0] for n in range(8)]
    return torch.stack(looks).mean(0).double().numpy()


def stacked(cases: list[Case]) -> torch.Tensor:
    """N×1×WIDE×WIDE."""
    return torch.from_numpy(np.stack([case.window for case in cases]))[:, None]


def judged(cases: list[Case], options: argparse.Namespace) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Score of every case by a classifier that knows nothing of its patient, and whether that is found.

    nan and False for unknown patients.
    """
    patients = sorted({case.patient for case in cases if case.known})
    rng = np.random.default_rng(options.seed)
    fold_of = {patient: n % FOLDS for n, patient in enumerate(rng.permutation(patients))}
    scores, found = np.full(len(cases), np.nan), np.zeros(len(cases), bool)
    for fold in range(FOLDS):
        held = [n for n, case in enumerate(cases) if case.known and fold_of[case.patient] == fold]
        hidden = {cases[n].patient for n in held}
        model = learned([case for case in cases if case.patient not in hidden], options.seed + fold, options.epochs)
        scores[held] = scored(model, [cases[n] for n in held])
        threshold = np.quantile([scores[n] for n in held if cases[n].kind == TISSUE], 1 - ALARMS)
        found[held] = scores[held] > threshold
        print(f"fold {fold + 1} of {FOLDS} done", file=sys.stderr)
    return scores, found


def report(
    cases: list[Case], scores: NDArray[np.float64], found: NDArray[np.bool_], seed: int
) -> dict[str, dict[str, float]]:
    """The table: how often each kind is found, and how well it is told from untouched tissue. Returns the rates."""
    rates: dict[str, dict[str, float]] = {}
    held = [n for n, case in enumerate(cases) if case.known]
    kinds = np.array([cases[n].kind for n in held])
    patients = np.array([cases[n].patient for n in held])
    print("\n| what | windows | patients | found | area under the curve against untouched tissue |")
    print("| --- | --- | --- | --- | --- |")
    told = {
        LESION: "real lesions, held out", PAINTED: "the same places after painting",
        PLACE: "places before painting", TISSUE: "other untouched tissue (sets the threshold)",
    }  # fmt: skip
    for kind in (LESION, TISSUE, PLACE, PAINTED):
        chosen = kinds == kind
        rate = found[held][chosen].mean()
        low, high = interval(found[held][chosen], patients[chosen], seed)
        rates[kind] = {"found": float(rate), "low": low, "high": high, "n": int(chosen.sum())}
        area = ""
        if kind in (LESION, PAINTED):
            tissue = kinds == TISSUE
            both = delong(
                [True] * chosen.sum() + [False] * tissue.sum(), np.r_[scores[held][chosen], scores[held][tissue]]
            )
            told_area = both.estimate()
            area = f"{told_area.value:.2f} ({told_area.low:.2f} to {told_area.high:.2f})"
        print(
            f"| {told[kind]} | {chosen.sum()} | {len(set(patients[chosen]))} | {100 * rate:.0f} % "
            f"({100 * low:.0f} to {100 * high:.0f}) | {area} |"
        )
    return rates


def interval(found: NDArray[np.bool_], patients: NDArray[Any], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of a rate, patients drawn with replacement."""
    rng = np.random.default_rng(seed)
    groups = [found[patients == patient] for patient in sorted(set(patients))]
    rates = []
    for _ in range(2000):
        drawn = [groups[n] for n in rng.integers(len(groups), size=len(groups))]
        rates.append(np.concatenate(drawn).mean())
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


# -- phantoms ---------------------------------------------------------------------------------------------------------


def on_phantoms(model: mame.Model, options: argparse.Namespace) -> None:
    """What painting changes in phantoms that no model saw: inside the region, and outside."""
    inside, outside, share, overlap, quiet = [], [], [], [], []
    for index in range(options.phantoms):
        rng = np.random.default_rng([options.seed, index, 9])
        drawn = phantom.draw((990, index))
        record = drawn.render(drawn.field_grid(SIZE)).mammogram
        boxes = places(record, np.array([8.0, 12.0, 16.0, 20.0]), rng, 1, [])
        if not boxes:
            continue
        box = boxes[0]
        painted = model.inpaint(record, box, PROMPT, seed=options.seed, index=index)
        change = painted.pixels - record.pixels
        region = box.to_mask(record.shape)
        near = framing.feather(region, max(2.0, 0.15 * min(box.width, box.height))) > 0
        inside.append(100 * change[region].mean())
        outside.append(100 * np.abs(change[~near]).max())
        share.append(100 * np.abs(change[region]).sum() / np.abs(change).sum())
        measured = painted.provenance["box_measured"]
        overlap.append(Box(*measured).iou(box) if measured else 0.0)
        calm = model.inpaint(record, box, "a mammogram", seed=options.seed, index=index)
        quiet.append(100 * np.abs(calm.pixels - record.pixels)[region].mean())
    print(f"\n| {len(inside)} phantoms, in % of the grey scale | median | range |\n| --- | --- | --- |")
    for what, values in (
        ("mean change inside the box, asked for a mass", inside),
        ("largest change outside the box and its feathered edge", outside),
        ("share of all change that lies inside the box", share),
        ("mean absolute change inside, asked for no lesion", quiet),
        ("overlap (IoU) of what changed visibly with the box", overlap),
    ):
        print(f"| {what} | {np.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")


if __name__ == "__main__":
    main()
