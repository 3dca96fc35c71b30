"""The strength of texture, against textures of known strength."""

from __future__ import annotations

import pytest
import torch

from mame.diffusion.texture import strengths, texture_loss


def noise(seed: int, side: int = 128) -> torch.Tensor:
    return torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(seed))


def test_strength_is_in_the_unit_of_the_picture_and_blind_to_its_level() -> None:
    one, three, raised = (strengths(noise(0) * factor + level) for factor, level in ((1, 0), (3, 0), (1, 7)))
    for band, stronger, higher in zip(one, three, raised, strict=True):
        torch.testing.assert_close(stronger, 3 * band, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(higher, band, rtol=1e-3, atol=1e-4)
    assert one[0].mean().item() < 1  # some of the power of white noise is in coarser bands
    assert sum(band.mean().item() ** 2 for band in one) == pytest.approx(1, abs=0.1)
    assert one[1].mean() < 0.55 * one[0].mean()


def test_another_texture_of_the_same_strength_costs_little_and_a_smooth_one_much() -> None:
    wanted, other = noise(0), noise(1)
    smooth = torch.nn.functional.avg_pool2d(wanted, 5, 1, 2)
    assert texture_loss(wanted, wanted).item() == 0.0
    assert texture_loss(other, wanted) < 0.25 * texture_loss(smooth, wanted)


@pytest.mark.parametrize(("factor", "sign"), [(0.5, -1), (2.0, 1)])
def test_it_pushes_towards_the_right_strength(factor: float, sign: int) -> None:
    scale = torch.tensor(factor, requires_grad=True)
    texture_loss(noise(1) * scale, noise(0)).backward()
    assert scale.grad is not None
    assert scale.grad.item() * sign > 0
