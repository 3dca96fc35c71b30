"""The report as one page that needs nothing else: figures drawn inline, pictures as data."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray
from PIL import Image

from mame.assess.features import read_pixels
from mame.assess.lesions import Lesions
from mame.assess.pictures import Picture
from mame.assess.run import Assessed
from mame.assess.verdicts import verdicts

PAGE = "report.html"
SHOWN = 6
THUMB = 220  # pixels a side in montages
PLANE = 300


def render_page(found: Assessed, said: dict[str, Any], compared: list[dict[str, Any]]) -> str:
    """The text of `report.html`."""
    environment = Environment(loader=PackageLoader("mame.assess"), autoescape=True, trim_blocks=True)
    environment.filters["figure"] = in_words
    environment.filters["number"] = number
    environment.filters["label"] = label
    environment.filters["shares"] = shares
    environment.filters["accuracies"] = accuracies
    pairs = [] if found.copies is None else _pairs(found, said["copies"]["worst"])
    return environment.get_template("assess.html.j2").render(
        said=said, verdicts=verdicts(said), compared=compared,
        montage={"real": _some(found.real.pictures), "synthetic": _some(found.synthetic.pictures)},
        pairs=pairs, lesions=None if found.lesions is None else _lesion_pictures(found.lesions),
        plane=None if found.lesions is None else _plane(found.lesions), side=PLANE,
        histogram=None if found.copies is None else _histogram(found),
    )  # fmt: skip


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return "–" if value is None else f"{value:.3g}"


def label(name: str) -> str:
    """A figure's name as people write it."""
    words = name.replace("_", " ")
    for short, written in (("ms ssim", "MS-SSIM"), ("frd", "FRD"), ("kid", "KID"), ("frechet", "Fréchet distance,")):
        words = words.replace(short, written)
    return words[:1].upper() + words[1:]


def shares(of: dict[str, float]) -> str:
    """Shares by name."""
    return ", ".join(f"{name} {share:.0%}" for name, share in of.items())


def accuracies(of: dict[str, dict[str, Any]]) -> str:
    """Accuracies by attribute, with their intervals."""
    told = []
    for name, one in of.items():
        between = "" if one.get("low") is None else f" ({one['low']:.0%} to {one['high']:.0%})"
        told.append(f"{name} {one['value']:.0%}{between}")
    return ", ".join(told)


def in_words(figure: dict[str, Any]) -> str:
    """A value with its interval."""
    if figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return number(figure["value"])
    return f"{number(figure['value'])} ({number(figure['low'])} to {number(figure['high'])})"


def _some(pictures: Sequence[Picture]) -> list[dict[str, str]]:
    """Evenly spread over the folder, so that nobody chose them."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(SHOWN, len(pictures))).round().astype(int))
    return [_picture(pictures[i]) for i in chosen]


def _picture(picture: Picture) -> dict[str, str]:
    from mame import prompt

    asked = picture.asked
    words = prompt.write(asked) if any((asked.vendor, asked.view, asked.density, asked.area)) else ""
    return {"image": _data(read_pixels(picture)), "words": words, "id": picture.id}


def _pairs(found: Assessed, worst: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "likeness": pair["likeness"],
            "synthetic": _picture(found.synthetic.pictures[pair["synthetic"]]),
            "training": _picture(found.trained_on.pictures[pair["training"]]),
        }
        for pair in worst
    ]


def _lesion_pictures(found: Lesions) -> dict[str, list[str]]:
    return {
        name: [_data(crop) for crop in part.crop[np.linspace(0, len(part) - 1, min(8, len(part))).round().astype(int)]]
        for name, part in (("real", found.real), ("painted", found.painted))
    }


def _plane(found: Lesions) -> list[list[tuple[float, float]]]:
    every = np.concatenate(found.plane)
    low, span = every.min(axis=0), np.maximum(np.ptp(every, axis=0), 1e-9)
    return [[(float(x), float(y)) for x, y in (part - low) / span * PLANE] for part in found.plane]


def _histogram(found: Assessed) -> dict[str, Any]:
    """Likeness of synthetic pictures and of held-out ones to the nearest training picture, as two outlines."""
    assert found.copies is not None
    edges = np.linspace(0, 1, 41)

    def outline(values: NDArray[np.float64]) -> str:
        counts = np.histogram(np.clip(values, 0, 1), edges)[0] / max(len(values), 1)
        tall = [100 * share / max(highest, 1e-9) for share in counts]
        return " ".join(f"{i * 7.5:.1f},{100 - t:.1f} {(i + 1) * 7.5:.1f},{100 - t:.1f}" for i, t in enumerate(tall))

    both = (found.copies.nearest.likeness, found.copies.of_held_out)
    highest = max((np.histogram(np.clip(v, 0, 1), edges)[0] / len(v)).max() for v in both if len(v))
    return {
        "synthetic": outline(both[0]),
        "held_out": outline(both[1]) if len(both[1]) else "",
        "threshold": 300 * min(max(found.copies.threshold, 0.0), 1.0),
    }


def _data(pixels: NDArray[np.float32]) -> str:
    image = Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    if max(image.size) > THUMB:
        image.thumbnail((THUMB, THUMB), Image.Resampling.BOX)
    store = BytesIO()
    image.save(store, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(store.getvalue()).decode()}"
