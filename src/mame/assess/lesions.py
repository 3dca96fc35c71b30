"""Do painted lesions look like real ones? Their texture, contrast and sharpness, and a seam around them, if any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_gradient_magnitude

from mame.assess.copies import Copies, copies, mirrored, noisy
from mame.assess.distances import frechet
from mame.assess.features import reader
from mame.assess.fidelity import apart, distance, kid
from mame.assess.figures import Figure
from mame.assess.likeness import THUMBNAIL, Details, detail
from mame.assess.pictures import Patch
from mame.assess.radiomics import frechet_radiomics, in_units_of, radiomic_features
from mame.assess.told_apart import separated
from mame.dataset.read import read_mask, read_picture
from mame.errors import MameError
from mame.mammogram import Box

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
MOST = 300
"""Patches of a side that are looked at, drawn at random where there are more."""
FEWEST = 8
CONTROLS = 40
ROOM = 1.6
"""Side of the crop that is compared, over the longer side of the lesion."""
RING = 0.35
"""Width of the tissue around a lesion that it is compared with, over the lesion's radius."""
EDGE, BESIDE = 1.5, (4.0, 10.0)
"""Pixels from the outline: where a seam would be, and where it isn't."""


@dataclass(frozen=True)
class Patches:
    """Of N lesions. crop: N×128×128; radiomic: N×F; embedding: N×64; contrast, sharpness, seam: N."""

    crop: NDArray[np.float32]
    radiomic: Floats
    embedding: Floats
    contrast: Floats
    sharpness: Floats
    seam: Floats
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.crop)


@dataclass(frozen=True)
class Lesions:
    """figures by name; pasted: the seam score of lesions that were only copied and pasted, the bad control.

    plane: the first two principal components of all features, real and painted (N×2, M×2).
    """

    figures: dict[str, Figure]
    pasted: Figure
    copied: Copies | None
    plane: tuple[Floats, Floats]
    real: Patches
    painted: Patches


def lesions(real: Sequence[Patch], painted: Sequence[Patch], trained_on: Sequence[Patch], seed: int) -> Lesions:
    """All of it. Raises MameError where one side has fewer than 8 lesions with a window."""
    sides = [measure_patches(_drawn([p for p in part if p.lesion], seed)) for part in (real, painted)]
    for part, name in zip(sides, ("real", "painted"), strict=True):
        if len(part) < FEWEST:
            raise MameError(f"{len(part)} {name} lesions with a window are too few to compare; {FEWEST} are needed")
    a, b = sides
    whose = a.patients, b.patients
    scaled = [np.concatenate(parts, axis=1) for parts in zip(
        in_units_of(a.radiomic, b.radiomic), in_units_of(a.embedding, b.embedding), strict=True
    )]  # fmt: skip
    figures = {
        "frd": distance(frechet_radiomics, a.radiomic, b.radiomic, whose, seed),
        "frechet_mammogram": distance(frechet, a.embedding, b.embedding, whose, seed),
        "kid_mammogram": kid(a.embedding, b.embedding, whose, seed),
        "told_apart": separated(scaled[0], scaled[1], whose, seed),
        "contrast": apart(a.contrast, b.contrast, whose, seed),
        "sharpness": apart(a.sharpness, b.sharpness, whose, seed),
        "seam": apart(a.seam, b.seam, whose, seed),
    }
    pasted = pasted_seams(_drawn([p for p in real if p.lesion], seed), seed)
    control = apart(a.seam, pasted, (a.patients, [""] * len(pasted)), seed)
    known = measure_patches(_drawn([p for p in trained_on if p.lesion], seed, 10 * MOST), whole=False)
    copied = _copied(b, known, a, seed) if len(known) > 1 else None
    return Lesions(figures, control, copied, _plane(*scaled), a, b)


def _copied(painted: Patches, known: Patches, held_out: Patches, seed: int) -> Copies:
    def details(crops: Iterable[NDArray[np.float32]]) -> Details:
        return np.stack([detail(crop) for crop in crops])

    rng = np.random.default_rng([seed, 77])
    chosen = rng.permutation(len(known))[:CONTROLS]
    same = details(known.crop[chosen])
    controls = {
        "exact": same,
        "mirrored": mirrored(same),
        "noise 5 %": details([noisy(crop, rng) for crop in known.crop[chosen]]),
    }
    parts = [details(part.crop) for part in (painted, known, held_out)]
    return copies(parts[0], parts[1], parts[2], (painted.patients, known.patients, held_out.patients), seed, controls)


def measure_patches(patches: Sequence[Patch], *, whole: bool = True) -> Patches:
    """What is measured of windows around lesions; those whose lesion is a point are left out. whole: all of it."""
    crops, radiomic, embedding, numbers, patients = [], [], [], [], []
    for patch in patches:
        pixels, mask = read_picture(patch.file), read_mask(patch.mask)
        box = Box.of_mask(mask)
        if box is None or min(box.width, box.height) < 4:
            continue
        crop = cropped(pixels, box)
        if crop.min() == crop.max():
            continue
        crops.append(crop)
        patients.append(patch.patient)
        if whole:
            radiomic.append(list(radiomic_features(np.rint(crop * 255)).values()))
            embedding.append(reader().embed([np.asarray(Image.fromarray(crop).resize((256, 256)))])[0])
            numbers.append((contrast(pixels, mask), sharpness(pixels, mask), seam_score(pixels, mask)))
    told = np.array(numbers, dtype=np.float64).reshape(-1, 3)
    return Patches(
        np.array(crops, dtype=np.float32).reshape(-1, THUMBNAIL, THUMBNAIL),
        np.array(radiomic, dtype=np.float64), np.array(embedding, dtype=np.float64),
        told[:, 0], told[:, 1], told[:, 2], tuple(patients),
    )  # fmt: skip


def cropped(pixels: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """The square around a lesion, 1.6 times its longer side, at 128×128."""
    half = ROOM * max(box.width, box.height) / 2
    x, y = box.centre
    image = Image.fromarray(np.pad(pixels, round(half) + 1, mode="reflect" if half < min(pixels.shape) else "edge"))
    shift = round(half) + 1
    window = (x - half + shift, y - half + shift, x + half + shift, y + half + shift)
    return np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, box=window)).clip(0, 1)


def contrast(pixels: NDArray[np.float32], mask: Bools) -> float:
    """Mean of a lesion less mean of the tissue around it, in [-1, 1]; NaN where there is no tissue around it."""
    ring = _ring(mask) & (pixels > 0)
    return float(pixels[mask].mean() - pixels[ring].mean()) if ring.any() else float("nan")


def sharpness(pixels: NDArray[np.float32], mask: Bools) -> float:
    """Mean gradient at the outline, over the deviation of greys in and around the lesion, per pixel."""
    steep = gaussian_gradient_magnitude(pixels.astype(np.float64), 1.5)
    around = mask | _ring(mask)
    spread = float(pixels[around].std())
    return float(steep[_at(mask)].mean() / spread) if spread else float("nan")


def seam_score(pixels: NDArray[np.float32], mask: Bools) -> float:
    """Gradient on a lesion's outline over that a few pixels beside it, inside and outside: 1 without a seam."""
    steep = gaussian_gradient_magnitude(pixels.astype(np.float64), 0.7)
    away = np.where(mask, distance_transform_edt(mask) - 0.5, distance_transform_edt(~mask) - 0.5)
    beside = (away >= BESIDE[0]) & (away <= BESIDE[1]) & (pixels > 0)
    usual = float(steep[beside].mean()) if beside.any() else 0.0
    return float(steep[away <= EDGE].mean() / usual) if usual else float("nan")


def pasted_seams(patches: Sequence[Patch], seed: int) -> Floats:
    """Seam scores of lesions that were cut out along their outline and pasted into another patient's window."""
    rng = np.random.default_rng([seed, 73])
    found = []
    for index, patch in enumerate(patches):
        others = [other for other in patches if other.patient != patch.patient]
        if not others:
            continue
        mask = read_mask(patch.mask)
        under = read_picture(others[int(rng.integers(len(others)))].file)
        if not mask.any() or under.shape != mask.shape:
            continue
        found.append(seam_score(np.where(mask, read_picture(patches[index].file), under), mask))
    return np.array(found)


def _ring(mask: Bools) -> Bools:
    width = max(3.0, RING * float(np.sqrt(mask.sum() / np.pi)))
    return np.asarray(~mask & (distance_transform_edt(~mask) <= width))


def _at(mask: Bools) -> Bools:
    inside = mask & (distance_transform_edt(mask) <= EDGE)
    return np.asarray(inside | (~mask & (distance_transform_edt(~mask) <= EDGE)))


def _drawn(patches: Sequence[Patch], seed: int, most: int = MOST) -> list[Patch]:
    order = np.random.default_rng([seed, 74]).permutation(len(patches))[:most]
    return [patches[i] for i in sorted(order)]


def _plane(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """First two principal components of both together."""
    from sklearn.decomposition import PCA

    spread = np.concatenate([a, b]).clip(-6, 6)
    found = PCA(2, random_state=0).fit_transform(spread)
    return found[: len(a)], found[len(a) :]
