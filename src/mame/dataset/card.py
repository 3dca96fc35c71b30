"""The data card: what a prepared set holds, as a page to look at. One file, nothing fetched."""

from __future__ import annotations

import base64
import csv
import io
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mame.dataset.layout import CARD, DATASET, FAILURES, Row, Split, read_json, write_lines
from mame.dataset.read import PreparedSet, read_picture
from mame.errors import MameError
from mame.mammogram import Box

SHOWN = 24  # pictures of the montage
COUNTED = 200  # pictures of the histogram
BINS = 64
THUMB = 160
LEFT_OUT = 200  # lines of what was left out
FACTS = ("split", "vendor", "view", "laterality", "density", "density_measured", "area", "healthy", "lesion", "finding")
LESION_COLOUR = (255, 196, 0)


def write_card(folder: Path) -> Path:
    """Writes index.html into a prepared folder and returns its path. The same set gives the same bytes."""
    found = PreparedSet(folder, read_json(folder / DATASET))
    total = int(found.about["counts"]["images"])
    counts: dict[str, Counter[str]] = {name: Counter() for name in FACTS}
    shown: list[dict[str, str]] = []
    greys: dict[str, NDArray[np.int64]] = {}
    for number, (split, row) in enumerate(_rows(found)):
        _count(counts, split, row)
        picture = None
        if number % max(1, total // COUNTED) == 0:
            picture = read_picture(folder / split / row.file_name)
            _add_greys(greys, row.vendor or "unknown vendor", picture)
        if number % max(1, total // SHOWN) == 0 and len(shown) < SHOWN:
            picture = read_picture(folder / split / row.file_name) if picture is None else picture
            shown.append(
                {"picture": _thumb(picture, row), "says": row.text, "split": str(split), "name": row.source_id}
            )
    text = (
        Environment(loader=PackageLoader("mame.dataset"), autoescape=True)
        .get_template("card.html.j2")
        .render(
            about=found.about,
            counts=[(name.replace("_", " "), _bars(counter)) for name, counter in counts.items() if counter],
            shown=shown,
            curves=_curves(greys),
            left_out=_left_out(folder),
            limit=LEFT_OUT,
        )
    )
    write_lines(folder / CARD, text.splitlines())
    return folder / CARD


def _rows(found: PreparedSet) -> Iterator[tuple[Split, Row]]:
    for split in found.splits:
        for row in found.iterate(split):
            yield split, row


def _count(counts: dict[str, Counter[str]], split: Split, row: Row) -> None:
    counts["split"][split] += 1
    for name in ("vendor", "view", "laterality", "density", "density_measured", "area", "healthy"):
        counts[name][getattr(row, name) or "unknown"] += 1
    counts["lesion"].update([str(lesion.kind) for lesion in row.lesions] or ["none"])
    counts["finding"].update(lesion.finding for lesion in row.lesions if lesion.finding)


def _bars(counter: Counter[str]) -> list[dict[str, Any]]:
    most = max(counter.values())
    ordered = sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))[:20]
    return [
        {"word": textwrap.shorten(word, 80, placeholder=" …"), "count": count, "percent": round(100 * count / most, 1)}
        for word, count in ordered
    ]


def _thumb(pixels: NDArray[np.float32], row: Row) -> str:
    """A JPEG of the picture with its lesions boxed, as a data URI."""
    grey = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    image = grey.resize((THUMB, THUMB), Image.Resampling.LANCZOS).convert("RGB")
    draw, scale = ImageDraw.Draw(image), THUMB / pixels.shape[0]
    for lesion in row.lesions:
        box = Box(*(value * scale for value in lesion.box.as_tuple())).grown(2)
        draw.rectangle(box.as_tuple(), outline=LESION_COLOUR)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _add_greys(greys: dict[str, NDArray[np.int64]], vendor: str, pixels: NDArray[np.float32]) -> None:
    inside = pixels[pixels > 0]
    counted, _ = np.histogram(inside, bins=BINS, range=(0.0, 1.0))
    greys[vendor] = greys.get(vendor, np.zeros(BINS, dtype=np.int64)) + counted


def _curves(greys: dict[str, NDArray[np.int64]]) -> list[dict[str, str]]:
    """SVG polylines, 640 × 160, of the share of the breast's pixels at each grey."""
    shares = {vendor: counts / max(int(counts.sum()), 1) for vendor, counts in sorted(greys.items())}
    highest = max((float(share.max()) for share in shares.values()), default=1.0) or 1.0
    curves = []
    for number, (vendor, share) in enumerate(shares.items()):
        points = (f"{640 * (i + 0.5) / BINS:.1f},{160 - 150 * value / highest:.1f}" for i, value in enumerate(share))
        colour = f"hsl({number * 137 % 360} 70% 55%)"
        curves.append({"vendor": vendor, "points": " ".join(points), "colour": colour})
    return curves


def _left_out(folder: Path) -> list[dict[str, str]]:
    try:
        with open(folder / FAILURES, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise MameError(f"{folder / FAILURES}: {error.strerror or error}") from None
