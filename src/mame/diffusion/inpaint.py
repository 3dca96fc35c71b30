"""Painting a lesion into a region of a mammogram, at the source's resolution and bit depth.

A window around the region goes through the model; only the change it makes comes back, feathered, into the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mame import prompt as language
from mame.diffusion import latent, sample
from mame.diffusion.folders import Framing
from mame.errors import MameError
from mame.imaging import framing
from mame.imaging.breast import Breast, find_breast
from mame.imaging.extent import fitted, visible_box
from mame.imaging.framing import Frame
from mame.imaging.superpose import superposed
from mame.imaging.tone import tone_of
from mame.mammogram import (
    COARSEST_CALCIFICATION_MM,
    Box,
    Laterality,
    Lesion,
    LesionKind,
    Mammogram,
    SpacingOrigin,
    Stored,
    closed,
)

if TYPE_CHECKING:
    from mame.diffusion.model import Model

SMALLEST_REGION_PX = 4
SMALLEST_SHARE_IN_BREAST = 0.5
TRIES = 3
FITS = 0.5  # intersection over union of the box asked for and the one that changed
FEATHER_SHARE = 0.15  # of the region's shorter side
ROUNDNESS = 5  # exponent of the superellipse that stands for a box
Progress = Callable[[int, int], None]


class Window(StrEnum):
    """What the model sees: a window around the lesion at native resolution, or the whole picture (the paper's way)."""

    LESION = "lesion"
    WHOLE = "whole"


@torch.inference_mode()
def inpaint(
    model: Model,
    mammogram: Mammogram,
    region: Box | NDArray[np.bool_],
    prompt: str = "a mammogram with a mass",
    seed: int = 0,
    steps: int = 24,
    guidance: float = 4.0,
    negative: str = "",
    window: Window | str = Window.LESION,
    index: int = 0,
    progress: Progress | None = None,
    tries: int = TRIES,
) -> Mammogram:
    """The mammogram with what the prompt says painted into a region: a box, or a mask (H×W bool), of its pixels.

    Of a box, a lesion gets the inside without the corners: lesions have none. What was there shows through a lesion.
    The same (seed, index) gives the same lesion. Outside the feathered region, and in air, pixels and stored values
    stay bit-identical. The result has one lesion more: the box asked for and the mask that was painted through; its
    provenance says `asked` and `box_measured` (what changed visibly, None where nothing did).
    tries: a lesion that is not to be seen in half of its box (IoU) is painted again from other noise, so often at most,
    and the one that fits best is taken; provenance["tries"] tells how many there were.
    Raises MameError for a region that is empty, outside the picture or in air, a mask of another size, no breast, a
    kind that the model's card doesn't list, and calcifications where a pixel is unknown or larger than 0.1 mm.
    """
    order = sample.Order(prompt, seed, steps, guidance, negative)
    chosen = closed(Window, window, "window")
    mask, asked = _region(region, mammogram.shape, rounded=adds_lesion(prompt))
    breast = find_breast(mammogram.pixels)
    _check_in_breast(mask, asked, breast)
    kind = lesion_kind(prompt)
    _check_learned(model, kind)
    frame = _frame(model, mammogram, asked, breast, chosen)
    if kind is LesionKind.CALCIFICATIONS:
        _check_resolves_calcifications(mammogram, frame)
    width_px = max(2.0, FEATHER_SHARE * min(asked.width, asked.height))
    alpha = framing.feather(mask, width_px) * breast.mask  # a lesion has no skin of its own: air stays air
    best: tuple[float, NDArray[np.float32], Stored | None, Box | None] | None = None
    for number in range(max(tries, 1) if adds_lesion(prompt) else 1):
        painted = _paint(model, mammogram.pixels, mask, asked, frame, order, (index, number), progress)
        shown, held = _stored(mammogram, framing.paste(mammogram.pixels, painted, frame, alpha), alpha > 0)
        seen = measured_box(mammogram.pixels, shown, asked)
        fits = seen.iou(asked) if seen is not None else 0.0
        if best is None or fits > best[0]:
            best = fits, shown, held, seen
        if fits >= FITS:
            break
    assert best is not None
    _, pixels, stored, measured = best
    said = sample.provenance(model, order, index) | {
        "asked": list(asked.as_tuple()),
        "box_measured": list(measured.as_tuple()) if measured else None,
        "tries": number + 1,
        "frame": frame.to_json(),
        "painted_on": mammogram.provenance,
    }
    return mammogram.with_(
        pixels=pixels,
        stored=stored,
        lesions=(*mammogram.lesions, Lesion(kind, asked, mask)),
        provenance=said,
        synthetic=True,
    )


def lesion_kind(prompt: str) -> LesionKind:
    """What a prompt asks to paint; in free text, by the words mass and calcification."""
    said = language.parse(prompt)
    if said is not None and said.lesion is not None:
        return said.lesion
    if re.search(r"calcif", prompt, re.IGNORECASE):
        return LesionKind.CALCIFICATIONS
    return LesionKind.MASS if re.search(r"\bmass(es)?\b", prompt, re.IGNORECASE) else LesionKind.LESION


def adds_lesion(prompt: str) -> bool:
    """Whether a prompt asks for something more than there was; one of healthy tissue asks for something to go."""
    return re.search(r"\b(mass(es)?|calcif\w*|lesions?)\b", prompt, re.IGNORECASE) is not None


def measured_box(before: NDArray[np.float32], after: NDArray[np.float32], region: Box) -> Box | None:
    """The box around what changed visibly between two pictures (H×W), in or near a region; None where nothing did."""
    near = region.grown(max(region.width, region.height)).rounded().clipped((before.shape[0], before.shape[1]))
    if near is None:
        return None
    cut = near.slices()
    change = np.abs(after[cut].astype(np.float32) - before[cut])
    found = visible_box(change, Box(region.x0 - near.x0, region.y0 - near.y0, region.x1 - near.x0, region.y1 - near.y0))
    if found is None:
        return None
    return Box(found.x0 + near.x0, found.y0 + near.y0, found.x1 + near.x0, found.y1 + near.y0)


# -- checks -----------------------------------------------------------------------------------------------------------


def _region(region: Box | NDArray[np.bool_], shape: tuple[int, int], rounded: bool) -> tuple[NDArray[np.bool_], Box]:
    """(mask, box) of a region, checked against the picture's shape (H, W); rounded: a box loses its corners."""
    if isinstance(region, Box):
        region.check_inside(shape)
        mask, box = region.to_mask(shape), region
        if rounded:
            mask &= _without_corners(box, shape)
    else:
        mask = np.asarray(region)
        if mask.shape != shape:
            raise MameError(f"the mask has the shape {mask.shape}, the picture {shape} (H, W); they must be equal")
        mask = mask.astype(bool)
        found = Box.of_mask(mask)
        if found is None:
            raise MameError("the mask is empty: mark where to paint")
        box = found
    if min(box.width, box.height) < SMALLEST_REGION_PX:
        raise MameError(f"box {box.as_tuple()} is too small to paint into: {SMALLEST_REGION_PX} pixels a side at least")
    return mask, box


def _without_corners(box: Box, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """H×W, true inside the superellipse that fills a box."""
    y, x = (np.arange(size, dtype=np.float32) + 0.5 for size in shape)
    right = np.abs((x - (box.x0 + box.x1) / 2) / (box.width / 2)) ** ROUNDNESS
    down = np.abs((y - (box.y0 + box.y1) / 2) / (box.height / 2)) ** ROUNDNESS
    return np.asarray(right[None, :] + down[:, None] <= 1)


def _check_in_breast(mask: NDArray[np.bool_], asked: Box, breast: Breast) -> None:
    inside = float(breast.mask[mask].mean())
    if inside == 0:
        raise MameError(f"box {asked.as_tuple()} lies in air: no part of it is in the breast")
    if inside < SMALLEST_SHARE_IN_BREAST:
        raise MameError(
            f"box {asked.as_tuple()} lies mostly in air: {inside:.0%} of it is in the breast, half is needed"
        )


def _check_learned(model: Model, kind: LesionKind) -> None:
    learned = model.card.lesions
    if learned and kind is not LesionKind.LESION and kind not in learned:
        raise MameError(f"model {model.name!r} paints {', '.join(learned)}, not {kind}; name another with --model")


def _check_resolves_calcifications(mammogram: Mammogram, frame: Frame) -> None:
    advice = "paint a mass, or use the full-size mammogram"
    if mammogram.spacing_mm is None or mammogram.spacing_origin is SpacingOrigin.ASSUMED:
        raise MameError(
            f"calcifications need pixels of at most {COARSEST_CALCIFICATION_MM} mm, and nobody knows their size here: "
            "give it with --spacing (spacing_mm)"
        )
    if mammogram.spacing_mm > COARSEST_CALCIFICATION_MM:
        raise MameError(
            f"calcifications can't be painted: a pixel is {mammogram.spacing_mm:.3g} mm, "
            f"and at most {COARSEST_CALCIFICATION_MM} mm resolve them; {advice}"
        )
    seen = frame.spacing_mm(mammogram.spacing_mm)
    if seen > COARSEST_CALCIFICATION_MM:
        raise MameError(
            f"calcifications can't be painted: in this window the model's pixel is {seen:.3g} mm, and at most "
            f"{COARSEST_CALCIFICATION_MM} mm resolve them; give a smaller region, in a lesion window"
        )


# -- painting ---------------------------------------------------------------------------------------------------------


def _frame(model: Model, mammogram: Mammogram, asked: Box, breast: Breast, window: Window) -> Frame:
    # what the picture shows decides, not its header: the model has to see the chest wall on its left
    mirror = breast.laterality is Laterality.R
    shape, spacing = mammogram.shape, mammogram.spacing_mm
    if window is Window.LESION:
        return framing.lesion_window(shape, asked, spacing, model.size, model.card.window_factor, mirror)
    if model.card.frame is Framing.CENTER_CROP:
        frame = framing.center_crop(shape, model.size, mirror, spacing)
        seen = frame.box(asked).clipped(frame.shape)
        if seen is None or seen.area < 0.99 * frame.box(asked).area:
            raise MameError(
                f"box {asked.as_tuple()} reaches outside the centre crop this model sees: use window lesion"
            )
        return frame
    if spacing is None:
        raise MameError(f"window whole of model {model.name!r} needs the size of a pixel: give --spacing (spacing_mm)")
    return framing.field(shape, spacing, breast, model.size, model.card.field_mm or framing.FIELD_MM)


def _paint(
    model: Model,
    pixels: NDArray[np.float32],
    mask: NDArray[np.bool_],
    asked: Box,
    frame: Frame,
    order: sample.Order,
    number: tuple[int, int],
    progress: Progress | None,
) -> NDArray[np.float32]:
    """The window (h, w) of a picture (H, W) with the lesion in it, not clipped.

    What the autoencoder can't say (grain, fine edges) is kept from the source: its own round trip is subtracted.
    What is painted as a lesion lies over the tissue and fills the box asked for. number: of picture and of try.
    """
    autoencoder, device = model.parts.autoencoder, model.compute.device
    seen, window_mask = frame.apply(pixels), frame.apply_mask(mask)
    if not window_mask.any():
        raise MameError("the region is smaller than one pixel of what the model sees: use window lesion")
    tone = tone_of(seen, window_mask) if model.card.window_tone else None
    pictures = torch.from_numpy(seen if tone is None else tone.apply(seen))[None].to(device)
    masks = torch.from_numpy(window_mask)[None].to(device)
    source = latent.encode(autoencoder, pictures)
    index, attempt = number
    shape = source.shape[1], source.shape[2], source.shape[3]
    start = sample.noise(order.seed, index, shape, attempt=attempt)[None].to(device)
    condition, keep = None, None
    if model.inpainting:
        condition = latent.inpainting_condition(autoencoder, pictures, masks)
    else:
        keep = _kept_surroundings(model, source, start, masks)
    made = sample.denoise(model, start, sample.embed(model, order), order, condition, keep, progress)
    change = latent.decode(autoencoder, made) - latent.decode(autoencoder, source)
    changed = change[0].cpu().numpy()
    if adds_lesion(order.prompt):
        changed = superposed(pictures[0].cpu().numpy(), changed, window_mask)
        changed = fitted(changed, frame.box(asked))
    return np.asarray(seen + changed if tone is None else tone.lay(seen, changed), dtype=np.float32)


def _kept_surroundings(
    model: Model, source: Tensor, start: Tensor, masks: Tensor
) -> Callable[[Tensor, int | None], Tensor]:
    """For a text-to-image model: after every step, the surroundings are the source with the noise of that time.

    As diffusers' StableDiffusionInpaintPipeline does with a four-channel U-Net.
    """
    paint = latent.latent_mask(masks, (source.shape[-2], source.shape[-1]))
    scheduler = sample.sampler(model)

    def keep(latents: Tensor, time: int | None) -> Tensor:
        known = source
        if time is not None:
            known = scheduler.add_noise(source, start, torch.tensor([time], device=source.device))
        return paint * latents + (1 - paint) * known

    return keep


def _stored(
    mammogram: Mammogram, pixels: NDArray[np.float32], painted: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], Stored | None]:
    """(pixels, stored) where the file's own values follow the paint, and the pixels show what was stored.

    Only pixels whose grey changed get a new value: a flat piece of the map would give an unchanged grey another one.
    """
    stored = mammogram.stored
    if stored is None:
        return pixels, None
    changed = painted & (pixels != mammogram.pixels)
    values = stored.values.copy()
    values[changed] = stored.values_of(pixels[changed])
    shown = pixels.copy()
    shown[changed] = stored.lut[values[changed].astype(np.int64) - stored.first]
    return shown, replace(stored, values=values)
