"""The commands that make the same pictures in a shell, pixel for pixel."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from mame.errors import MameError
from mame.formats.folder import Format, check_writable
from mame.mammogram import Box, Mammogram
from mame.web.studio.engine import Row


@dataclass(frozen=True)
class Origin:
    """What was painted on first: the name of its file, and the commands that make it where it was made here."""

    name: str = "FILE.dcm"
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stroke:
    """How one lesion was painted. region: a box, or None where a mask was drawn.

    number: its place among the lesions of the picture, from 1. formats: what the result could be written as.
    """

    region: Box | None
    prompt: str
    seed: int
    model: str
    number: int
    formats: tuple[Format, ...]
    device: str | None = None


def formats_of(mammogram: Mammogram) -> tuple[Format, ...]:
    """PNG, and DICOM where enough is known for one."""
    both = (Format.PNG, Format.DICOM)
    try:
        check_writable(mammogram, both)
    except MameError:
        return (Format.PNG,)
    return both


def mask_name(number: int, several: bool) -> str:
    """The file of one lesion's mask. several: whether the picture has more than one lesion."""
    return f"0000-mask-{number}.png" if several else "0000-mask.png"


def made_by(row: Row, index: int, model: str, device: str | None, formats: tuple[Format, ...]) -> str:
    """The command whose picture number `index` (from 0000) is this one."""
    words = [
        "mam-e", "generate", row.prompt, "--model", model.strip() or "mini", "--count", str(index + 1),
        "--seed", str(row.seed), "--steps", str(row.steps), "--guidance", f"{row.guidance:g}", "--side", str(row.side),
        "--batch", "1",
    ]  # fmt: skip
    if row.negative:
        words += ["--negative", row.negative]
    return _written(words, device, formats, "made")


def painted_by(origin: Origin, strokes: list[Stroke]) -> str:
    """The commands that paint all lesions, a line each; each goes on with the file that the one before wrote."""
    lines = list(origin.commands)
    source = origin.name
    several = bool(strokes) and strokes[-1].number > 1
    for place, stroke in enumerate(strokes, 1):
        if stroke.region is None:
            where = ["--mask", mask_name(stroke.number, several)]
        else:
            where = ["--box", ",".join(f"{value:g}" for value in stroke.region.as_tuple())]
        words = ["mam-e", "inpaint", source, *where, "--prompt", stroke.prompt, "--seed", str(stroke.seed)]
        if stroke.model not in ("", "mini"):
            words += ["--model", stroke.model]
        out = "painted" if len(strokes) == 1 else f"painted-{place}"
        lines.append(_written(words, stroke.device, stroke.formats, out))
        source = f"{out}/0000{stroke.formats[-1].suffix}"
    return "\n".join(lines)


def _written(words: list[str], device: str | None, formats: tuple[Format, ...], out: str) -> str:
    if device:
        words = [*words, "--device", device]
    return shlex.join([*words, "--format", ",".join(formats), "--out", out])
