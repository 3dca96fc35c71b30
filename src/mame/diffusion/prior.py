"""Pictures that the base makes of a class, so that a fine-tune keeps what the base knew: DreamBooth's prior.

They stay latents: the base draws them there, and training reads them there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mame.diffusion.cache import SHARD, LatentCache, Tensors, Words, hash_of, missing_shards, write_shard
from mame.diffusion.config import TrainConfig
from mame.diffusion.device import Compute
from mame.diffusion.folders import ModelCard
from mame.diffusion.model import Model
from mame.diffusion.sample import Order, denoise, embed, noise
from mame.mammogram import Description

STEPS, GUIDANCE = 24, 4.0
AT_ONCE = 8


@torch.no_grad()
def class_latents(
    config: TrainConfig, parts: Any, pictures: LatentCache, root: Path, device: torch.device,
    announce: Callable[[str], None],
) -> LatentCache:  # fmt: skip
    """config.class_images latents that `parts` make of config.class_prompt, cached by the weights that made them.

    A model that paints does so in the regions of `pictures`. To be called before training moves the weights.
    """
    order = Order(config.class_prompt, config.seed, STEPS, GUIDANCE)
    digest = hash_of(parts.unet)
    digest.update(hash_of(parts.text_encoder).digest())
    digest.update(
        f"{order} {pictures.latent_shape} {pictures.folder.name if 'mask' in pictures.names else ''}".encode()
    )
    folder = root / f"class-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    if starts := missing_shards(folder, config.class_images):
        announce(f"the base makes {config.class_images} pictures of {config.class_prompt!r} (dreambooth)")
        parts.unet.to(device)
        parts.text_encoder.to(device)
        model = Model("base", folder, ModelCard(), parts, Compute(device, torch.float32))
        words = Words(Description(), config.class_prompt)
        for start in starts:
            stop = min(start + SHARD, config.class_images)
            made = [
                _made(model, order, pictures, range(i, min(i + AT_ONCE, stop))) for i in range(start, stop, AT_ONCE)
            ]
            tensors = {name: torch.cat([one[name] for one in made]).half() for name in made[0]}
            write_shard(folder, start, tensors, [words] * (stop - start))
            announce(f"  {stop}/{config.class_images} pictures of the class")
    return LatentCache(folder, config.class_images)


def _made(model: Model, order: Order, pictures: LatentCache, numbers: range) -> Tensors:
    started = torch.stack([noise(order.seed, index, pictures.latent_shape) for index in numbers])  # type: ignore[arg-type]
    made: Tensors = {}
    condition = None
    if "mask" in pictures.names:
        shown = pictures.batch([index % len(pictures) for index in numbers])
        made = {name: shown[name] for name in ("masked", "mask", "lesion")}
        condition = torch.cat([shown["mask"], shown["masked"]], dim=1).to(model.compute.device)
    kind = model.compute.device.type
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
        latents = denoise(model, started, embed(model, order), order, condition)
    return {"latents": latents.float().cpu(), **made}
