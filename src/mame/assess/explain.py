"""Where a classifier looks: saliency on real and painted lesions, scored against the lesion and against the seam."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mame.assess.cad import networks
from mame.assess.cad.scenes import PATCH, Patches
from mame.assess.cad.scores import holm
from mame.formats.atomic import atomic_write

MOST = 40  # lesions of each kind that are explained
RIM = 0.12  # of the lesion's side: how far the rim reaches in and out
PANELS = 8  # lesions in a picture of maps
OUTLINE = (0.25, 0.75, 1.0)
OCCLUDED = 12  # pixels a side
Maps = NDArray[np.float64]


def methods(model: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """Grad-CAM and occlusion by MONAI, integrated gradients by captum: each from N×3×64×64 to N×64×64, 0 or more."""
    from captum.attr import IntegratedGradients
    from monai.visualize.class_activation_maps import GradCAM
    from monai.visualize.occlusion_sensitivity import OcclusionSensitivity

    # MONAI's own normaliser turns maps over (its largest is 0), and its softmax of one answer is always 1
    grad_cam = GradCAM(nn_module=model, target_layers="layer3", postprocessing=lambda maps: maps)
    occlusion = OcclusionSensitivity(
        nn_module=model, mask_size=OCCLUDED, n_batch=64, overlap=0.34, activate=False, verbose=False
    )
    integrated: Any = IntegratedGradients(model)

    def occluded(batch: Tensor) -> Tensor:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI indexes in a way that newer versions of torch warn of
            whole = model(batch)[:, 0]
            maps = torch.cat([occlusion(one[None])[0][:, 0] for one in batch])
        return (whole[:, None, None] - maps).clamp(min=0)

    return {
        "Grad-CAM": lambda batch: grad_cam(batch)[:, 0],
        "occlusion": occluded,
        "integrated gradients": lambda batch: integrated.attribute(batch, target=0, n_steps=16).abs().sum(1),
    }


@dataclass(frozen=True)
class Looks:
    """Where N maps lie. hits: whether the peak is in the lesion; inside, rim: the energy's shares in it and on its rim.

    excess: the rim's share over the share of area that it has; 1 is no preference.
    """

    hits: NDArray[np.bool_]
    inside: NDArray[np.float64]
    rim: NDArray[np.float64]
    excess: NDArray[np.float64]

    def means(self) -> dict[str, float]:
        """What a report shows: pointing game, energy inside, energy on the rim."""
        if not len(self.hits):
            return {"n": 0}
        return {
            "n": len(self.hits), "pointing": float(self.hits.mean()), "inside": float(self.inside.mean()),
            "rim": float(self.rim.mean()), "rim_excess": float(self.excess.mean()),
        }  # fmt: skip


def scored(maps: Maps, boxes: Sequence[tuple[float, float, float, float]]) -> Looks:
    """Looks of N maps (N×64×64) at lesions, whose boxes are in their pixels. A map of zeros has no say.

    Of a painted lesion the box is the region that was painted: outside it, but for a feather on the rim, no pixel
    changed, so that the rim is where a seam would be.
    """
    found = []
    y, x = (grid + 0.5 for grid in np.mgrid[0:PATCH, 0:PATCH])
    for one, (x0, y0, x1, y1) in zip(maps, boxes, strict=True):
        total = float(one.sum())
        if total <= 0 or x1 <= x0 or y1 <= y0:
            continue
        lesion = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        reach = RIM * max(x1 - x0, y1 - y0)
        outer = (x >= x0 - reach) & (x < x1 + reach) & (y >= y0 - reach) & (y < y1 + reach)
        inner = (x >= x0 + reach) & (x < x1 - reach) & (y >= y0 + reach) & (y < y1 - reach)
        rim = outer & ~inner
        on_rim = float(one[rim].sum()) / total
        hit = bool(lesion.ravel()[int(one.argmax())])
        found.append((hit, float(one[lesion].sum()) / total, on_rim, on_rim / float(rim.mean())))
    columns = np.array(found, dtype=np.float64).reshape(-1, 4).T
    return Looks(columns[0].astype(bool), *columns[1:])


def seam(real: Looks, painted: Looks, key: int = 0) -> dict[str, float]:
    """Whether a classifier looks at the rim of painted lesions more than of real ones: one-sided, by 999 permutations.

    difference: of the mean rim excess. p is at least 0.001, and 1 where either has fewer than 2 lesions.
    """
    sets = real.excess, painted.excess
    if min(map(len, sets)) < 2:
        return {"difference": float("nan"), "p": 1.0}
    both, count = np.concatenate(sets), len(real.excess)
    seen = float(sets[1].mean() - sets[0].mean())
    rng = np.random.default_rng([key, 67])
    drawn = [
        float(mixed[count:].mean() - mixed[:count].mean()) for mixed in (rng.permutation(both) for _ in range(999))
    ]
    return {"difference": seen, "p": (1 + sum(value >= seen for value in drawn)) / 1000}


def two_sample(first: NDArray[np.float64], second: NDArray[np.float64], key: int = 0) -> dict[str, float]:
    """Whether two sets of features (N×F, M×F) differ: energy distance with a permutation test of 999 draws.

    Székely and Rizzo, J. Stat. Plan. Inference 2013. `p` is at least 0.001.
    """
    both = np.concatenate([first, second])
    both = (both - both.mean(0)) / np.maximum(both.std(0), 1e-9)
    distance = np.sqrt(np.maximum(((both[:, None] - both[None]) ** 2).sum(-1), 0))

    def energy(order: NDArray[np.intp]) -> float:
        a, b = order[: len(first)], order[len(first) :]
        cross = distance[np.ix_(a, b)].mean()
        return float(2 * cross - distance[np.ix_(a, a)].mean() - distance[np.ix_(b, b)].mean())

    rng = np.random.default_rng([key, 61])
    seen = energy(np.arange(len(both)))
    drawn = [energy(rng.permutation(len(both))) for _ in range(999)]
    return {"energy": seen, "p": float((1 + sum(value >= seen for value in drawn)) / 1000)}


def features(model: nn.Module, patches: Patches) -> NDArray[np.float64]:
    """The classifier's last features of N patches, N×512."""
    body = nn.Sequential(*list(model.children())[:-1], nn.Flatten())
    with torch.inference_mode():
        return np.asarray(body(_batch(patches)).double().numpy())


def explain(models: Path, real: Patches, painted: Patches, panels: Path) -> dict[str, Any] | None:
    """Explains the classifiers that a CAD study kept, on its real test lesions and its painted ones.

    Returns, by arm: each method's scores on both; the seam test of each method, corrected after Holm; and a test
    whether the features of the two differ, with a two-dimensional picture of them (t-SNE). None where no model was
    kept. Writes pictures of the maps into `panels`: a column a lesion, the patch above, then a row a method, brighter
    where the map is.
    """
    panels.mkdir(exist_ok=True)
    found: dict[str, Any] = {}
    lesions = {"real": _lesions(real), "painted": _lesions(painted)}
    for path in sorted(models.glob("classifier-*.safetensors")):
        model = networks.classifier(0)
        model.load_state_dict(networks.load_weights(path))
        model.eval()
        looks: dict[str, list[Looks]] = {}
        lines = []
        for what, patches in lesions.items():
            drawn = {}
            for name, run in methods(model).items():
                drawn[name] = np.maximum(run(_batch(patches)).detach().double().numpy(), 0)
                looks.setdefault(name, []).append(scored(drawn[name], patches.boxes))
                lines.append({"method": name, "lesions": what, **looks[name][-1].means()})
            _write_panel(patches, list(drawn.values()), panels / f"{path.stem}-{what}.png")
        seams = {name: seam(real, painted) for name, (real, painted) in looks.items()}
        corrected = holm([one["p"] for one in seams.values()])
        tests = [{"method": name, **seams[name], "p_holm": p} for name, p in zip(seams, corrected, strict=True)]
        sets = [features(model, patches) for patches in lesions.values()]
        found[path.stem] = {
            "maps": lines, "seam": tests, "features": {**two_sample(sets[0], sets[1]), "points": _flat(sets)},
        }  # fmt: skip
    return found or None


def _write_panel(patches: Patches, maps: list[Maps], path: Path) -> None:
    """Patches above, each method's maps below, over the darkened patches; lesions outlined."""
    count = min(PANELS, len(patches))
    if not count:
        return
    rows = []
    for number in range(-1, len(maps)):
        row = []
        for index in range(count):
            grey = np.clip((patches.pixels[index] + 2) / 5, 0, 1)
            picture = np.repeat(grey[..., None], 3, axis=2)
            if number >= 0:
                heat = maps[number][index] / max(float(maps[number][index].max()), 1e-12)
                picture = 0.6 * picture * (1 - heat[..., None]) + heat[..., None] * np.array([1.0, 0.65, 0.15])
            row.append(_outlined(picture, patches.boxes[index]))
        rows.append(np.hstack(row))
    image = Image.fromarray((np.vstack(rows) * 255).astype(np.uint8))
    with atomic_write(path, force=True) as file:
        image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST).save(file, "PNG")


def _outlined(picture: NDArray[np.float64], box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    x0, y0, x1, y1 = (min(max(round(value), 0), PATCH - 1) for value in box)
    picture[[y0, y1], x0 : x1 + 1] = OUTLINE
    picture[y0 : y1 + 1, [x0, x1]] = OUTLINE
    return picture


def _lesions(patches: Patches) -> Patches:
    return patches.only(np.flatnonzero(patches.lesion)[:MOST])


def _batch(patches: Patches) -> Tensor:
    return torch.from_numpy(patches.pixels)[:, None].expand(-1, 3, -1, -1).contiguous()


def _flat(sets: list[NDArray[np.float64]]) -> list[list[list[float]]]:
    """Points in two dimensions for each set."""
    from sklearn.manifold import TSNE

    both = np.concatenate(sets)
    if len(both) < 5:
        return []
    points = TSNE(2, perplexity=min(15.0, (len(both) - 1) / 3), random_state=0, init="pca").fit_transform(both)
    return [points[: len(sets[0])].round(2).tolist(), points[len(sets[0]) :].round(2).tolist()]
