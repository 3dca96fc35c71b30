"""A judge of texture learns to tell, and pulls a decoder, not the other way round."""

from __future__ import annotations

import torch

from mame.diffusion.judge import Judge, coarsened, judged


def textures(seed: int, scale: float) -> torch.Tensor:
    return 0.1 * scale * torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_it_sees_texture_and_is_blind_to_where_a_decoder_can_not_be_wrong() -> None:
    flat = torch.full((1, 1, 64, 64), 0.3)
    torch.testing.assert_close(coarsened(flat), flat)
    assert coarsened(textures(0, 1.0)).std() < 0.2 * textures(0, 1.0).std()
    assert torch.equal(Judge(3)(flat, flat), Judge(3)(flat, flat))  # one seed decides


def test_it_learns_to_tell() -> None:
    judge = Judge()
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
    scale = torch.zeros(2, 3, 64, 64, requires_grad=True)
    for step in range(60):
        given = scale + 0.2 * textures(step + 100, 1.0).expand(-1, 3, -1, -1)
        loss = given.abs().mean()
        optimizer.zero_grad()
        judged(judge, given, textures(step, 1.0), loss, 0.5).backward()
        optimizer.step()
    nothing = torch.zeros(2, 1, 64, 64)
    assert judge(textures(7, 1.0), nothing).mean() > judge(textures(8, 0.2), nothing).mean() + 1


def test_the_judge_learns_nothing_from_what_the_decoder_owes() -> None:
    judge, wanted = Judge(), textures(0, 1.0)
    given = textures(1, 0.2).expand(-1, 3, -1, -1).clone().requires_grad_()
    judged(judge, given, wanted, given.abs().mean(), 0.5).backward()
    before = [parameter.grad.clone() for parameter in judge.parameters() if parameter.grad is not None]
    pulled = given.grad.norm() if given.grad is not None else torch.zeros(())
    judge.zero_grad()
    given.grad = None
    judged(judge, given, wanted, given.abs().mean(), 50.0).backward()
    after = [parameter.grad for parameter in judge.parameters()]
    assert len(before) == len(after)
    for mine, other in zip(before, after, strict=True):
        torch.testing.assert_close(mine, other)
    assert given.grad is not None
    torch.testing.assert_close(given.grad.norm(), 100 * pulled)
    torch.testing.assert_close(pulled, 0.5 * torch.autograd.grad(given.abs().mean(), given)[0].norm())
