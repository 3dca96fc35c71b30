"""Networks cut over the processes of a run (FSDP2): each keeps its share of weights, gradients, averages and optimiser.

A tensor that is cut is a DTensor. What is here lets the rest of the trainer treat cut and whole tensors alike.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

NETWORKS = ("unet", "text_encoder")
ASKED = "ACCELERATE_USE_FSDP"


def asked_by_launcher() -> bool:
    """Whether `accelerate launch --use_fsdp` started this; asked once: the cutting is done here, not there."""
    return os.environ.pop(ASKED, "false").lower() == "true"


def cut(objective: Any) -> dict[str, Any]:
    """Cut an objective's trained networks over all processes, block by block; returns whole copies, on the CPU.

    To be called in every process, before the optimiser is made. Frozen weights stay whole.
    """
    from torch.distributed.fsdp import fully_shard

    whole = {name: copy.deepcopy(getattr(objective, name)).cpu() for name in NETWORKS}
    frozen = {parameter for parameter in objective.parameters() if not parameter.requires_grad}
    unet = objective.unet
    for block in (*unet.down_blocks, *unet.up_blocks, unet.mid_block):
        fully_shard(block, ignored_params=frozen)
    fully_shard(objective, ignored_params=frozen, reshard_after_forward=True)  # else its parameters stay whole
    return whole


def put_together(parts: Any, objective: Any, whole: Mapping[str, Any]) -> None:
    """Give `parts` the whole copies that `cut` made, with the weights the objective has now. In every process."""
    tensors = {name: full(parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad}
    for name, network in whole.items():
        network.load_state_dict({key.removeprefix(f"{name}."): v for key, v in tensors.items()}, strict=False)
        setattr(parts, name, network.eval())


def is_cut(tensor: Tensor) -> bool:
    """Whether this process has but a share of it."""
    return hasattr(tensor, "full_tensor")


def full(tensor: Tensor) -> Tensor:
    """The whole tensor, detached; every process has to ask for it at the same time."""
    whole: Any = tensor.detach()
    return whole.full_tensor() if is_cut(tensor) else whole


def share(tensor: Tensor) -> Tensor:
    """The part of it that this process keeps; writing into it writes into the tensor."""
    mine: Any = tensor.detach()
    return mine.to_local() if is_cut(tensor) else mine


def cut_like(tensor: Tensor, other: Any) -> Tensor:
    """A whole tensor, which every process has, placed and laid out as `other` of the same shape is."""
    if is_cut(other):
        from torch.distributed.tensor import distribute_tensor

        placed: Tensor = distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)
        return placed
    return torch.empty_like(other, dtype=tensor.dtype).copy_(tensor)
