"""The command lines that make the same picture."""

from __future__ import annotations

import shlex
from pathlib import Path

from mame.mammogram import Box
from mame.web.studio.engine import Making, Painting

MAKER, PAINTER = "mini", "mini-lesion"
GUIDANCE, STEPS, SIDE = 4.0, 24, "L"


def generated(model: str, asked: Making, out: str, formats: str) -> str:
    """The line that makes a picture."""
    words = ["mam-e", "generate", asked.prompt, "--seed", str(asked.seed)]
    words += ["--first", str(asked.index)] if asked.index else []
    words += ["--model", model] if model != MAKER else []
    words += ["--negative", asked.negative] if asked.negative else []
    words += ["--side", asked.side] if asked.side != SIDE else []
    return _line([*words, *_sampling(asked.steps, asked.guidance), "--batch", "1", "--format", formats, "--out", out])


def painted(
    model: str, image: str, region: Box | Path, asked: Painting, spacing_mm: float | None, out: str, formats: str
) -> str:
    """The line that paints a lesion into a file; region: a box, or the file of a mask."""
    words = ["mam-e", "inpaint", image]
    if isinstance(region, Box):
        words += ["--box", ",".join(f"{value:g}" for value in region.as_tuple())]
    else:
        words += ["--mask", region.name]
    words += ["--prompt", asked.prompt, "--seed", str(asked.seed)]
    words += ["--model", model] if model not in (MAKER, PAINTER) else []
    words += ["--spacing", f"{spacing_mm:g}"] if spacing_mm is not None else []
    return _line([*words, *_sampling(asked.steps, asked.guidance), "--format", formats, "--out", out])


def _sampling(steps: int, guidance: float) -> list[str]:
    words = ["--steps", str(steps)] if steps != STEPS else []
    return words + (["--guidance", f"{guidance:g}"] if guidance != GUIDANCE else [])


def _line(words: list[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)
