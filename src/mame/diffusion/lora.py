"""LoRA (Hu 2021, arXiv 2106.09685): small matrices beside the attention layers, in the files that diffusers loads."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mame.errors import MameError

UNET_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj"]
EVERY_LAYER = [  # of a U-Net but its first and last: what LCM-LoRA (arXiv 2311.05556) changes
    *UNET_LAYERS, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut",
    "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv",
]  # fmt: skip


def add_adapters(
    unet: Any, text_encoder: Any | None, rank: int, seed: int, unet_layers: Sequence[str] = tuple(UNET_LAYERS)
) -> None:
    """Freeze both and add trainable matrices of that rank to some of their layers; at first they change nothing.

    text_encoder: None leaves it as it is. unet_layers: names of layers, or how those end. The same seed gives the same
    matrices.
    """
    from peft import LoraConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module, layers in ((unet, unet_layers), (text_encoder, TEXT_LAYERS)):
            if module is not None:
                module.requires_grad_(False)
                module.add_adapter(
                    LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(layers))
                )


def save_adapters(unet: Any, text_encoder: Any, folder: Path) -> None:
    """Write `pytorch_lora_weights.safetensors` for stock load_lora_weights, in float16: whole or absent."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
    from peft import get_peft_model_state_dict

    def layers(module: Any) -> Any:
        if not _adapted(module):
            return None
        found = convert_state_dict_to_diffusers(get_peft_model_state_dict(module))
        return {_named(name, ".lora.down.", ".lora.up."): tensor.half().contiguous() for name, tensor in found.items()}

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mam-e-", dir=folder) as beside:
        try:
            StableDiffusionPipeline.save_lora_weights(  # type: ignore[no-untyped-call]
                beside, unet_lora_layers=layers(unet), text_encoder_lora_layers=layers(text_encoder)
            )
            for file in Path(beside).iterdir():
                file.replace(folder / file.name)
        except OSError as error:
            raise MameError(f"{folder}: the LoRA can't be written: {error.strerror or error}") from None


def as_peft(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A U-Net's LoRA with the names of peft throughout, whichever of the two ways each of its layers is named.

    Stock loading asks the first name alone which way it is, and leaves out, with a warning, what is named otherwise.
    Raises ValueError for a name of neither way.
    """
    renamed = {_named(name, ".lora_A.", ".lora_B."): tensor for name, tensor in weights.items()}
    if strange := [name for name in renamed if not name.endswith((".lora_A.weight", ".lora_B.weight"))]:
        raise ValueError(f"{strange[0]} is no name of a LoRA's matrix")
    return renamed


def _named(name: str, down: str, up: str) -> str:
    """The name of a layer's matrix, with these words for the one into the low rank and the one out of it."""
    for either in (".lora_A.", ".lora.down."):
        name = name.replace(either, down)
    for either in (".lora_B.", ".lora.up."):
        name = name.replace(either, up)
    return name


def merge_adapters(*modules: Any) -> None:
    """Add each module's matrices to the weights they stand beside, and make plain layers of them again."""
    for module in modules:
        _made_plain(module, merge=True)


def without_adapters(module: Any) -> Any:
    """A copy of a module as it was before matrices were laid beside its weights."""
    made = copy.deepcopy(module)
    _made_plain(made, merge=False)
    return made


def _made_plain(module: Any, merge: bool) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(module.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            if merge:
                layer.merge()  # type: ignore[no-untyped-call]
            parent = module.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
    module.peft_config = {}
    module._hf_peft_config_loaded = False


def _adapted(module: Any) -> bool:
    return bool(getattr(module, "peft_config", None))
