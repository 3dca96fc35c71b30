"""Features of networks that are not in the package: Inception as torch-fidelity has it, and any checkpoint by path."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mame.assess.features import cache_folder, keep, opened, read_pixels
from mame.assess.pictures import Picture, contents
from mame.errors import MameError

Floats = NDArray[np.float64]
AT_ONCE = 8
DOWNLOAD = "download"
IMAGENET_SIDE = 224
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Backbone:
    """A network that gives features. run: batch N×3×H×W in [0, 1] to N×F; side: pixels it wants, None for any;
    key: of its kind and weights."""

    name: str
    run: Callable[[NDArray[np.float32]], Any]
    side: int | None
    key: str


def open_inception(weights: str) -> Backbone:
    """2,048 features of a picture, as torch-fidelity computes them for FID, from 8-bit pixels.

    weights: its file (weights-inception-2015-12-05-6726825d.pth), or "download". Raises MameError where the package
    isn't installed, the file isn't there or holds anything but such tensors, or the download fails.
    """
    import torch

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise MameError("--inception needs torch-fidelity: pip install torch-fidelity") from None
    state = _inception_state(weights)
    try:
        # it would unpickle whatever a file holds, so it gets one that was made here of plain tensors
        with tempfile.TemporaryDirectory() as place:
            file = str(Path(place) / "inception.pth")
            torch.save(state, file)
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=file)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise MameError(f"{weights}: are no Inception weights of torch-fidelity: {_first_line(error)}") from error

    def run(batch: NDArray[np.float32]) -> Any:
        return network(torch.from_numpy(np.rint(batch * 255).astype(np.uint8)))[0]

    return Backbone("inception", run, None, _key(network))


def _inception_state(weights: str) -> Any:
    """Plain tensors by name, of a file or the download."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    if weights != DOWNLOAD and not Path(weights).is_file():
        raise MameError(f"{weights}: is no file of Inception weights; give one, or the word {DOWNLOAD}")
    try:
        if weights == DOWNLOAD:
            return torch.hub.load_state_dict_from_url(
                URL_INCEPTION_V3, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice about the file of somebody else
            return torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise MameError(f"Inception weights could not be loaded from {weights}: {_first_line(error)}") from error
    except Exception:  # what the reader of tensors says of anything else
        raise MameError(f"{weights}: holds something else than plain tensors, or is damaged; not opened") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def open_checkpoint(path: Path) -> Backbone:
    """Features of a picture from a torchvision or timm network, before its last layer.

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

    return Backbone(path.stem, run, IMAGENET_SIDE, _key(network))


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


def features_of(pictures: Sequence[Picture], backbone: Backbone) -> Floats:
    """N×F of pictures, kept by the hashes of picture and network."""
    import torch

    found: list[Floats | None] = []
    places = [cache_folder() / f"{contents(one)[:40]}-{one.facing}-{backbone.key}.npz" for one in pictures]
    for place in places:
        kept = opened(place)
        found.append(None if kept is None else kept.get("features"))
    missing = [index for index, one in enumerate(found) if one is None]
    with torch.inference_mode():
        for start in range(0, len(missing), AT_ONCE):
            batch = []
            for index in missing[start : start + AT_ONCE]:
                pixels = read_pixels(pictures[index])
                if backbone.side is not None:
                    size = backbone.side, backbone.side
                    pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
                batch.append(np.repeat(pixels[None].clip(0, 1), 3, axis=0))
            features = backbone.run(np.stack(batch).astype(np.float32)).double().flatten(1).numpy()
            for index, one in zip(missing[start : start + AT_ONCE], features, strict=True):
                found[index] = one
                keep(places[index], {"features": one})
    return np.stack([one for one in found if one is not None])


def _key(network: Any) -> str:
    """Of a network's kind and weights."""
    digest = hashlib.sha256(type(network).__name__.encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
