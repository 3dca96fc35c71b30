"""A model's LoRA for pictures in few steps: merged for use, and laid beside the model that it belongs to."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from mame.diffusion.folders import CARD, FAST, LORA_FILE, FewSteps, read_card
from mame.diffusion.lora import as_peft, merge_adapters
from mame.errors import MameError


def fast_unet(folder: Path) -> Any:
    """The U-Net of a model folder with the LoRA in its `fast/` merged into it, float32 on the CPU.

    Raises MameError where it has none, or one that doesn't fit.
    """
    from diffusers import UNet2DConditionModel
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / FAST / LORA_FILE
    if not path.is_file():
        raise MameError(
            f"{folder.name}: has no weights for few steps ({FAST}/{LORA_FILE}); `mam-e train fast` makes them"
        )
    try:
        unet = UNet2DConditionModel.from_pretrained(
            folder / "unet", use_safetensors=True, local_files_only=True
        ).float()
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
        unet.load_lora_adapter(as_peft(weights), prefix="unet")
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise MameError(f"{path}: can't be laid over the model: {(str(error).splitlines() or [''])[0]}") from None
    if not getattr(unet, "peft_config", None):
        raise MameError(f"{path}: holds nothing for this model")
    merge_adapters(unet)
    return unet.eval()


def save_with_fast(base: Path, lora: Path, few: FewSteps, folder: Path, seen: dict[str, Any]) -> None:
    """Write a model folder that is `base` with a LoRA for few steps beside its parts: whole or absent.

    seen: what its card is to say of the patients that it learned from. Replaces what is there. Raises MameError where
    it can't be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mam-e-", dir=folder.parent) as beside:
            made = Path(beside) / "model"
            shutil.copytree(base, made, ignore=shutil.ignore_patterns(FAST, ".*"))
            (made / FAST).mkdir()
            shutil.copyfile(lora, made / FAST / LORA_FILE)
            card = read_card(base)
            card = card.model_copy(update={"fast": few, "training": card.training | seen})
            (made / CARD).unlink(missing_ok=True)
            (made / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
    except OSError as error:
        raise MameError(f"{folder}: the model can't be written: {error.strerror or error}") from None
