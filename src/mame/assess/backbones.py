"""Features of networks that are not in the package: Inception as torch-fidelity has it, and any checkpoint by path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame.assess.features import read_pixels
from mame.assess.pictures import Picture
from mame.errors import MameError

Floats = NDArray[np.float64]
AT_ONCE = 8
DOWNLOAD = "download"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def inception_features(pictures: Sequence[Picture], weights: str) -> Floats:
    """2,048 features of each picture, as torch-fidelity computes them for FID, from 8-bit pixels.

    weights: its file (weights-inception-2015-12-05-6726825d.pth), or "download". Raises MameError where the package
    isn't installed, the file isn't there or the download fails.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise MameError("--inception needs torch-fidelity: pip install torch-fidelity") from None
    path = None if weights == DOWNLOAD else weights
    if path is not None and not Path(path).is_file():
        raise MameError(f"{path}: is no file of Inception weights; give one, or the word {DOWNLOAD}")
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=path)
    except Exception as error:  # the download's and torch's own kinds
        raise MameError(f"Inception weights could not be loaded from {weights}: {error}") from error

    def run(batch: NDArray[np.float32]) -> Any:
        import torch

        return network(torch.from_numpy(np.rint(batch * 255).astype(np.uint8)))[0]

    return _features(pictures, run, None)


def checkpoint_features(pictures: Sequence[Picture], path: Path) -> Floats:
    """Features of each picture from a torchvision or timm network, before its last layer.

    path: safetensors whose name begins with the network's (`resnet18.safetensors`, `resnet50-radimagenet.safetensors`).
    Pictures are at 224×224, in the greys of ImageNet. Raises MameError where the file is none, or no network of either
    library has that name or fits.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise MameError(f"{path}: weights come as safetensors; others can hold code")
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise MameError(f"{path}: can't be read as safetensors: {error}") from error
    network = _named(path.stem)
    head = _headless(network)
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state and not name.startswith(head)]
    if missing or any(state[name].shape != wanted[name].shape for name in wanted if name in state and
                      not name.startswith(head)):  # fmt: skip
        raise MameError(f"{path}: does not fit the network its name begins with ({missing[:1] or 'another shape'})")
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith(head)}, strict=False)
    network.eval()
    mean, deviation = (torch.tensor(part).view(1, 3, 1, 1) for part in IMAGENET)

    def run(batch: NDArray[np.float32]) -> Any:
        return network((torch.from_numpy(batch) - mean) / deviation)

    return _features(pictures, run, 224)


def _named(stem: str) -> Any:
    from torchvision import models
    from torchvision.models._api import get_model, list_models

    for name in sorted(list_models(module=models), key=len, reverse=True):
        if stem == name or stem.startswith((f"{name}-", f"{name}.")):
            return get_model(name, weights=None)
    try:
        import timm
    except ImportError:
        raise MameError(f"{stem}: is no network of torchvision; for those of timm, pip install timm") from None
    for name in sorted(timm.list_models(), key=len, reverse=True):
        if stem == name or stem.startswith((f"{name}-", f"{name}.")):
            return timm.create_model(name, pretrained=False)
    raise MameError(f"{stem}: neither torchvision nor timm has a network of that name")


def _headless(network: Any) -> str:
    """Takes the last layer off, and returns the beginning of its weights' names."""
    from torch import nn

    for name in ("fc", "head", "classifier", "heads"):
        if hasattr(network, name):
            setattr(network, name, nn.Identity())
            return f"{name}."
    raise MameError("this network has no last layer under a usual name (fc, head, heads, classifier)")


def _features(pictures: Sequence[Picture], run: Callable[[NDArray[np.float32]], Any], side: int | None) -> Floats:
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(pictures), AT_ONCE):
            batch = []
            for picture in pictures[start : start + AT_ONCE]:
                pixels = read_pixels(picture)
                if side is not None:
                    pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
                batch.append(np.repeat(pixels[None].clip(0, 1), 3, axis=0))
            found.append(run(np.stack(batch).astype(np.float32)).double().flatten(1).numpy())
    return np.concatenate(found)
