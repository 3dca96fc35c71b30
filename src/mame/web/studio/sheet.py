"""The pictures that were made, as the page shows them: what was asked beside what is measured; and news of the work."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame.mammogram import Density
from mame.prompt import DENSITY_WORDS
from mame.web.studio import texts
from mame.web.studio.desk import Piece
from mame.web.studio.engine import Told

ROWS = ("view", "density", "area")
PREVIEW_SIDE = 384


def sheet(pieces: Sequence[Piece], chosen: str = "") -> str:
    """HTML of a row of pictures, each a button that chooses it."""
    if not pieces:
        return f'<p class="mame-quiet">{escape(texts.WAITING_EMPTY)}</p>'
    figures = (_figure(number, piece, piece.id == chosen) for number, piece in enumerate(pieces, start=1))
    return f'<div class="mame-sheet">{"".join(figures)}</div>'


def _figure(number: int, piece: Piece, pressed: bool) -> str:
    facts = piece.facts
    alt = texts.PICTURE_ALT.format(number=number, prompt=facts["prompt"], seed=facts["seed"])
    where = texts.NUMBER.format(seed=facts["seed"], index=facts["index"])
    return (
        f'<figure><button type="button" class="mame-pick" data-piece="{piece.id}" '
        f'aria-pressed="{str(pressed).lower()}">'
        f'<img src="pieces/{piece.id}/thumb.png" alt="{escape(alt)}" width="512" height="512" loading="lazy"></button>'
        f"<figcaption>{_table(facts)}<small>{escape(where)}{_varied(facts)}</small></figcaption></figure>"
    )


def _varied(facts: dict[str, Any]) -> str:
    return f" · <b>{escape(str(facts['word']))}</b>" if facts.get("word") else ""


def _table(facts: dict[str, Any]) -> str:
    found = facts["measured"]
    if found is None:
        return f"<p>{escape(texts.NO_BREAST)}</p>"
    rows = "".join(_row(name, facts["asked"].get(name), found) for name in ROWS)
    return (
        f"<table><thead><tr><td></td><th scope=col>{texts.ASKED}</th><th scope=col>{texts.MEASURED}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _row(name: str, asked: str | None, found: dict[str, Any]) -> str:
    said, seen = asked or "–", str(found[name])
    mark = "" if asked is None else ' class="same"' if asked == seen else ' class="other"'
    if name == "density":
        seen = f"{DENSITY_WORDS[Density(seen)]} ({found['percent_density']:.0f} %)"
        said = DENSITY_WORDS[Density(asked)] if asked else "–"
    elif name == "area" and found["area_cm2"] is not None:
        seen = f"{seen} ({found['area_cm2']:.0f} cm²)"
    return f"<tr><th scope=row>{name}</th><td>{escape(said)}</td><td{mark}>{escape(seen)}</td></tr>"


def news(text: str, told: Told | None = None, share: float = 0.0) -> str:
    """HTML of where the work is: a bar, and the picture as far as it can be seen."""
    picture = "" if told is None or told.seen is None else _preview(told.seen)
    percent = round(100 * min(max(share, 0.0), 1.0))
    return (
        f'<div class="mame-news"><div class="mame-bar" role="progressbar" aria-label="{escape(text)}" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}"><span style="width:{percent}%"></span></div>'
        f"<p>{escape(text)}</p>{picture}</div>"
    )


def said(text: str) -> str:
    """HTML of a sentence."""
    return f'<p class="mame-said">{escape(text)}</p>' if text else ""


def mistake(error: Exception | str) -> str:
    """HTML of what went wrong, where it happened."""
    text = " ".join(str(error).split())
    return f'<p class="mame-mistake" role="alert">{escape(text[:1].upper() + text[1:])}</p>'


def recipe(commands: Sequence[str]) -> str:
    """Lines for a shell."""
    return "\n".join(commands)


def _preview(greys: NDArray[np.float32]) -> str:
    image = Image.fromarray(np.rint(greys * 255).astype(np.uint8))
    image = image.resize((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img class="mame-preview" alt="{escape(texts.PREVIEW_ALT)}" src="data:image/jpeg;base64,{data}">'


def links(piece: Piece) -> str:
    """Where a piece can be taken from."""
    names = [
        (texts.SAVE_PNG, "png"),
        *([(texts.SAVE_DICOM, "dcm")] if piece.facts["dicom"] else []),
        (texts.SAVE_ALL, "zip"),
    ]
    parts = "".join(
        f'<a class="mame-save" data-save="{end}" href="pieces/{piece.id}/file.{end}" download>{escape(label)}</a>'
        for label, end in names
    )
    why = "" if piece.facts["dicom"] else f'<small class="mame-quiet">{escape(texts.DICOM_NEEDS_VIEW)}</small>'
    return f'<nav class="mame-saves" aria-label="{escape(texts.EXPORT)}">{parts}{why}</nav>'
