"""mini's decoder in half precision."""

from __future__ import annotations

import copy

import numpy as np
import torch

from mame.dataset.examples import open_examples
from mame.diffusion import latent
from mame.diffusion.device import Compute, place
from mame.diffusion.halved import halve
from mame.diffusion.model import load_autoencoder, load_parts

from .tiny_sd import write_tiny_sd


def test_a_picture_is_the_same_at_sixty_decibels_and_keeps_its_greys() -> None:
    plain = load_autoencoder("mini")
    halved = copy.deepcopy(plain)
    assert halve(halved)
    examples = open_examples("phantom:2:61", "views", 512)
    pictures = torch.from_numpy(np.stack([examples[n].pixels for n in range(2)]))
    with torch.inference_mode():
        latents = latent.encode(plain, pictures)
        wanted, made = (latent.decode(each, latents).clamp(0, 1) for each in (plain, halved))
    assert made.dtype == torch.float32
    noise = float((made - wanted).square().mean())
    assert 0 < noise < 10 ** (-57 / 10)
    for picture in made:
        assert len(torch.unique((picture * 65535).round())) > 10_000


def test_another_autoencoder_stays_in_float32(tmp_path: object) -> None:
    parts = load_parts(write_tiny_sd(tmp_path / "sd"))  # type: ignore[operator]
    place(parts, Compute(torch.device("cpu"), torch.bfloat16))
    assert {tensor.dtype for tensor in parts.autoencoder.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in parts.unet.parameters()} == {torch.bfloat16}
