"""Reading attributes and features with the network in the package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mame.assess.attributes.network import CLASSES, EMBEDDING, SIDE, AttributeNetwork
from mame.assess.attributes.weights import unpacked
from mame.errors import MameError

WEIGHTS, CARD = "model.safetensors", "reader.json"
EMBEDDED = Path(__file__).resolve().parents[2] / "weights" / "reader"
AT_ONCE = 16


def shrunk(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture as the network sees it: 256×256, each pixel the mean of what it covers."""
    if pixels.shape == (SIDE, SIDE):
        return pixels
    image = Image.fromarray(np.asarray(pixels, dtype=np.float32))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


@dataclass(frozen=True)
class Reading:
    """What was read. classes: by attribute, the index of the likeliest class of each picture (N); sure: its
    probability (N); embedding: N×64."""

    classes: dict[str, NDArray[np.int64]]
    sure: dict[str, NDArray[np.float64]]
    embedding: NDArray[np.float64]


class AttributeReader:
    """A trained network. Open one with `open_reader`."""

    def __init__(self, network: AttributeNetwork, card: dict[str, Any]) -> None:
        self.network = network.eval()
        self.card = card

    @cached_property
    def key(self) -> str:
        """Of its weights: other weights read other features."""
        import hashlib

        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def embed(self, pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Features N×64 of square pictures in [0, 1], chest wall at the left edge."""
        found = [np.zeros((0, EMBEDDING))]
        for start in range(0, len(pictures), AT_ONCE):
            batch = torch.from_numpy(np.stack([shrunk(one) for one in pictures[start : start + AT_ONCE]]))
            found.append(self.network.embedding(batch[:, None]).double().numpy())
        return np.concatenate(found)

    @torch.inference_mode()
    def read(self, embedding: NDArray[np.float64]) -> Reading:
        """What the network says of pictures with these features."""
        answers = self.network.answers(torch.from_numpy(embedding).float())
        shares = {name: logits.softmax(dim=1).double().numpy() for name, logits in answers.items()}
        return Reading(
            {name: found.argmax(axis=1) for name, found in shares.items()},
            {name: found.max(axis=1) for name, found in shares.items()},
            embedding,
        )


def open_reader(folder: Path | None = None) -> AttributeReader:
    """The reader in the package, or another. Raises MameError where there is none, or of another make."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    place = folder or EMBEDDED
    try:
        state = load_file(place / WEIGHTS)
        card = json.loads((place / CARD).read_text())
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise MameError(f"{place}: is no attribute reader: {error}") from error
    network = AttributeNetwork()
    if {name: list(classes) for name, classes in CLASSES.items()} != card.get("classes"):
        raise MameError(f"{place}: reads other classes than this version; train it with mam-e train attributes")
    try:
        network.load_state_dict(unpacked(state))
    except RuntimeError as error:
        raise MameError(f"{place}: its weights are of another network") from error
    return AttributeReader(network, card)


def names_of(attribute: str, classes: Iterable[int]) -> list[str]:
    """Words for class numbers."""
    return [CLASSES[attribute][int(one)] for one in classes]
