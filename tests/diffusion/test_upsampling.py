"""A doubling and its convolution in one: the same numbers as the two after each other, in every model."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from diffusers.models.upsampling import Upsample2D
from torch import nn

from mame.diffusion import latent
from mame.diffusion.folders import model_folder
from mame.diffusion.model import load_model, load_parts
from mame.diffusion.upsampling import DoubledConvolution, merge_doublings

from .conftest import Folders
from .tiny_sd import write_tiny_sd


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_doubling_and_convolving(bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(5, 7, 3, padding=1, bias=bias)
    pixels = torch.randn(2, 5, 6, 9)
    with torch.no_grad():
        wanted = convolution(nn.functional.interpolate(pixels, scale_factor=2.0, mode="nearest"))
        torch.testing.assert_close(DoubledConvolution(convolution)(pixels), wanted, rtol=1e-5, atol=1e-5)


def test_what_is_no_such_pair_stays() -> None:
    layers = nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 1, 3, padding=1),
        nn.Upsample(scale_factor=3, mode="nearest"), nn.Conv2d(1, 1, 3, padding=1),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(1, 1, 1),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.ModuleList([Upsample2D(1, use_conv=False), Upsample2D(1, use_conv_transpose=True)]),
    )  # fmt: skip
    before = [type(layer) for layer in layers.modules()]
    assert merge_doublings(layers) == 0
    assert [type(layer) for layer in layers.modules()] == before


def test_another_size_than_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"can't make \(5, 6\)"):
        DoubledConvolution(nn.Conv2d(1, 1, 3, padding=1))(torch.zeros(1, 1, 3, 3), (5, 6))


@pytest.mark.parametrize("kind", ["mini", "sd"])
def test_models_give_the_same_numbers(folders: Folders, tmp_path: Path, kind: str) -> None:
    """U-Net and decoder of AutoencoderTiny's and AutoencoderKL's kind, as stored and as opened to run."""
    folder = folders.healthy if kind == "mini" else write_tiny_sd(tmp_path / "sd")
    plain, opened = load_parts(folder), load_model(folder, "cpu", "float32").parts
    torch.manual_seed(0)
    latents = torch.randn(2, 4, 8, 8)
    text = torch.randn(2, 3, plain.unet.config.cross_attention_dim)
    with torch.no_grad():
        said = [parts.unet(latents, 500, encoder_hidden_states=text).sample for parts in (plain, opened)]
        pictures = [latent.decode(parts.autoencoder, latents) for parts in (plain, opened)]
    torch.testing.assert_close(said[1], said[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pictures[1], pictures[0], rtol=1e-4, atol=1e-4)
    assert count(opened.unet) == 1
    assert count(opened.autoencoder) == 3
    assert count(plain.unet) == 0


def test_the_embedded_models_are_merged() -> None:
    parts = load_parts(model_folder("mini"))
    decoder = deepcopy(parts.autoencoder.decoder)
    assert merge_doublings(parts.unet) == 3
    assert merge_doublings(parts.autoencoder.decoder) == 3
    torch.manual_seed(0)
    latents = torch.randn(1, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(parts.autoencoder.decoder(latents), decoder(latents), rtol=1e-4, atol=1e-4)


def test_networks_in_halves_are_left_as_they_were(folders: Folders) -> None:
    parts = load_model(folders.healthy, "cpu", "bfloat16").parts
    assert count(parts.unet) == count(parts.autoencoder) == 0


def test_a_size_that_is_not_doubled_all_the_way_still_runs(tmp_path: Path) -> None:
    """Latents of 9×9 become 5×5 and back: there the U-Net is left as it was."""
    folder = write_tiny_sd(tmp_path / "sd")
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace('"sample_size": 8', '"sample_size": 9'))
    (picture,) = load_model(folder, "cpu", "float32").generate("a mammogram in CC view", steps=1)
    assert picture.shape == (72, 72)


def count(module: nn.Module) -> int:
    return sum(isinstance(inner, DoubledConvolution) for inner in module.modules())
