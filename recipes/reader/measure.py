"""measure.py MODEL SET…: how well a reader reads, on phantoms it never saw and on the held-out patients of real sets.

Writes the figures into MODEL/reader.json and MODEL/README.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mame.assess.attributes.learn import known_of
from mame.assess.attributes.network import CLASSES
from mame.assess.attributes.reader import CARD, AttributeReader, open_reader
from mame.assess.figures import Figure, mean_figure
from mame.dataset.layout import Split
from mame.dataset.prepared import open_views
from mame.dataset.read import open_set
from mame.dataset.regions import Regions
from mame.dataset.simulated import PhantomMarked, PhantomViews
from mame.formats.atomic import atomic_write

PHANTOMS = 200
SEED = 987
SIZE = 512


def main() -> None:
    folder, sets = Path(sys.argv[1]), sys.argv[2:]
    reader = open_reader(folder)
    simulated = [PhantomViews("x", PHANTOMS, SEED, SIZE)[i] for i in range(PHANTOMS)]
    simulated += [PhantomMarked("x", PHANTOMS // 2, SEED, SIZE, Regions.MIXED)[i] for i in range(PHANTOMS // 2)]
    measured = {"phantoms": figures(reader, [(one, "") for one in simulated])}
    real = []
    for name in sets:
        found = open_set(name)
        for split in (Split.VALIDATION, Split.TEST):
            rows = sorted(found.rows(split), key=lambda row: (row.patient, row.file_name))
            views = open_views(name, int(found.about["order"]["size"]), split, healthy=False)
            lesions = [bool(row.lesions) for row in rows]
            for i, row in enumerate(rows):
                labels = {name: value for name, value in known_of(views[i]).items() if name != "lesion"}
                if not row.density:
                    labels.pop("density", None)  # measured, not labelled
                real.append((views[i].pixels, labels | {"lesion": int(lesions[i])}, row.patient))
    measured["real"] = judged(reader, real)
    card = json.loads((folder / CARD).read_text())
    card["measured"] = measured
    with atomic_write(folder / CARD, force=True) as file:
        file.write((json.dumps(card, indent=1) + "\n").encode())
    with atomic_write(folder / "README.md", force=True) as file:
        file.write(text(card, len(real)).encode())
    print(json.dumps(measured, indent=1))


def figures(reader: AttributeReader, examples: list[tuple[Any, str]]) -> dict[str, Any]:
    return judged(reader, [(one.pixels, known_of(one), patient) for one, patient in examples])


def judged(reader: AttributeReader, told: list[tuple[Any, dict[str, int], str]]) -> dict[str, Any]:
    read = reader.read(reader.embed([pixels for pixels, _, _ in told]))
    found: dict[str, Any] = {}
    for name in CLASSES:
        chosen = [i for i, (_, labels, _) in enumerate(told) if name in labels]
        if len(chosen) > 1:
            right = np.array([float(read.classes[name][i] == told[i][1][name]) for i in chosen])
            figure: Figure = mean_figure(right, [told[i][2] for i in chosen], 0)
            found[name] = {"value": round(figure.value, 4), "low": round(figure.low, 4), "high": round(figure.high, 4),
                           "n": figure.n}  # fmt: skip
    return found


def text(card: dict[str, Any], real: int) -> str:
    rows = []
    for name in CLASSES:
        cells = []
        for where in ("phantoms", "real"):
            figure = card["measured"][where].get(name)
            cells.append(
                "–"
                if figure is None
                else f"{figure['value']:.0%} ({figure['low']:.0%} to {figure['high']:.0%}), n = {figure['n']}"
            )
        rows.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return TEXT.format(rows="\n".join(rows), real=real, **card["training"])


TEXT = """# The attribute reader of MAM-E

A small network that reads view, side, density class, area class, vendor look and the presence of a lesion from a
picture of 256×256, and gives 64 features for distances. `mam-e assess` judges synthetic mammograms with it.

Trained with `recipes/reader/make.sh`: {pictures} pictures (simulated ones, with and without a mass, and real ones of
CDD-CESM's training side), {steps} steps, seed {seed}.

How often it is right (95 % interval by patient), on simulated pictures that it never saw and on {real} real ones of
patients it never saw:

| attribute | phantoms | real (CDD-CESM) |
| --- | --- | --- |
{rows}

What to mind. A reader that learned from simulated pictures and judges a model that learned from them proves nothing by
itself: the rules of the imaging code stand beside it in every report. Area of real pictures was measured, not labelled.
All real pictures with a view of MLO have a malignant lesion, and none of the held-out patients is without one, so what
it says of lesions in real pictures is sensitivity only. It is no diagnostic device.

Data: Khaled R. et al., Categorized Digital Database for Low energy and Subtracted Contrast Enhanced Spectral
Mammography images, The Cancer Imaging Archive (2021), DOI 10.7937/29kw-ae92, CC BY 4.0. Weights: Apache-2.0.
"""

if __name__ == "__main__":
    main()
