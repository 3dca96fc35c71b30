"""One order at a time: from a prompt, or an image and a region, to a folder of images.

What can be refused is refused before a model is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mame import prompt as language
from mame.diffusion.folders import is_inpainting, model_folder, picture_size, read_card
from mame.errors import MameError
from mame.formats import files
from mame.formats.folder import Format, check_writable, image_folder
from mame.formats.png import read_mask_png
from mame.formats.spacing import assume_spacing
from mame.mammogram import Box, Description, Laterality, Mammogram, closed

Progress = Callable[[int, int], None]
PICTURE_PIXELS = 512 * 512  # of a generated picture, for the room that is needed
BYTES_A_PIXEL = 2
PROMPT = "a mammogram with a mass"


class Window(StrEnum):
    """What the model sees of an image that is painted into: the lesion's surroundings, or all of it."""

    AUTO = "auto"
    WHOLE = "whole"


def generate(
    prompt: str,
    out: str | os.PathLike[str] | None = None,
    *,
    model: str | os.PathLike[str] = "mini",
    count: int = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str = "",
    fast: bool = False,
    side: Laterality | str | None = None,
    formats: Iterable[Format | str] = (Format.PNG,),
    batch: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Mammograms from a prompt, written to a folder (`mam-e-out/generate-N` if not given), which is returned.

    The options are those of `Model.generate`. Images are written as they are made: where a run is stopped, those that
    were finished are there, with their lines of the manifest. progress: called with (steps done, steps in all).
    Raises MameError before any work for a folder that can't be written to or holds images (without `force`), an
    unknown model, and what a format needs and won't have.
    """
    kinds = _formats(formats)
    laterality = closed(Laterality, side, "side") if side is not None else None
    if count < 1 or (batch is not None and batch < 1):
        raise MameError(f"count and batch must be at least 1, not {count if count < 1 else batch}")
    with image_folder(out, "generate", kinds, force, count * PICTURE_PIXELS * BYTES_A_PIXEL * len(kinds)) as folder:
        check_writable(_expected(model, prompt), kinds)
        from mame.diffusion.model import load_model
        from mame.diffusion.sample import GPU_BATCH

        opened = load_model(model, device, dtype)
        size = batch or (1 if opened.compute.is_cpu else min(count, GPU_BATCH))
        starts = range(0, count, size)
        total = len(starts) * opened.steps(steps, fast)
        for number, first in enumerate(starts):
            pictures = opened.generate(
                prompt,
                count=min(size, count - first),
                seed=seed,
                steps=steps,
                guidance=guidance,
                negative=negative,
                fast=fast,
                batch=size,
                laterality=laterality,
                first=first,
                progress=_part_of(progress, number * total // len(starts), total),
            )
            for picture in pictures:
                folder.add(picture)
    return folder.path


def inpaint(
    image: str | os.PathLike[str],
    region: Box | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    prompt: str = PROMPT,
    model: str | os.PathLike[str] = "mini-lesion",
    window: Window | str = Window.AUTO,
    spacing_mm: float | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    negative: str = "",
    fast: bool = False,
    formats: Iterable[Format | str] = (Format.PNG,),
    device: str | None = None,
    dtype: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """An image file with a lesion painted into a region, written to a folder (`mam-e-out/inpaint-N` if not given).

    region: a box in the image's pixels, or the file of a mask of its size. Writes 0000.png and/or 0000.dcm at the
    image's own size, 0000-mask.png and the manifest; returns the folder. spacing_mm: size of a pixel where the file
    does not say it; a 24 cm film is assumed otherwise. Other options as in `Model.inpaint`.
    Raises MameError as `mame.read` and `Model.inpaint` do, and before any work for a folder that can't be written to
    or holds images (without `force`), and an unknown model.
    """
    kinds = _formats(formats)
    seen = {Window.AUTO: "lesion", Window.WHOLE: "whole"}[closed(Window, window, "window")]
    model_folder(model)
    source = _with_view(assume_spacing(files.read(image, spacing_mm)), prompt)
    mask = _read_region(region, source)
    check_writable(source, kinds)
    with image_folder(out, "inpaint", kinds, force, source.pixels.size * BYTES_A_PIXEL * len(kinds)) as folder:
        from mame.diffusion.model import load_model

        painted = load_model(model, device, dtype).inpaint(
            source, mask, prompt, seed, steps, guidance, negative, seen, progress=progress, fast=fast
        )
        folder.add(painted, painted.lesions[-1].mask)
    return folder.path


def _formats(formats: Iterable[Format | str]) -> tuple[Format, ...]:
    return tuple(dict.fromkeys(closed(Format, kind, "format") for kind in formats))


def _expected(model: str | os.PathLike[str], prompt: str) -> Mammogram:
    """A blank record that has and lacks what the model's pictures will: view and spacing."""
    folder = model_folder(model)
    card = read_card(folder)
    if is_inpainting(folder) and card.companion is not None:
        folder = model_folder(card.companion)
        card = read_card(folder)
    blank = np.zeros((1, 1), dtype=np.float32)
    return Mammogram(blank, card.spacing_mm(picture_size(folder)), description=language.parse(prompt) or Description())


def _with_view(source: Mammogram, prompt: str) -> Mammogram:
    """The record with the view that the prompt says, where its file says none."""
    said = language.parse(prompt)
    if source.description.view is not None or said is None or said.view is None:
        return source
    words = source.description
    return source.with_(description=Description(words.vendor, said.view, words.density, words.area, words.lesion))


def _read_region(region: Box | str | os.PathLike[str], source: Mammogram) -> Box | NDArray[np.bool_]:
    if isinstance(region, Box):
        region.check_inside(source.shape)
        return region
    mask = read_mask_png(region)
    if mask.shape != source.shape:
        height, width = source.shape
        raise MameError(
            f"{Path(region)}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels and the image {width} x {height} "
            "(W x H); they must be equal"
        )
    if not mask.any():
        raise MameError(f"{Path(region)}: the mask is empty: mark where to paint")
    return mask


def _part_of(progress: Progress | None, done: int, total: int) -> Progress | None:
    return None if progress is None else lambda step, _: progress(done + step, total)
