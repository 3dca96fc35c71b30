"""Put the runs of make.sh together as the embedded models: python assemble.py RUNS WEIGHTS

mini takes text encoder and U-Net from healthy-rare, the autoencoder from decoder-texture and its few steps from fast;
mini-lesion has a U-Net of its own and shares the rest. The model cards (README.md) are written by hand and kept. A
model without its run stays as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mame.diffusion.folders import FAST, LORA_FILE, Framing, ModelCard, read_card
from mame.diffusion.model import load_parts, save_model

VENDORS = ("ge", "hologic", "siemens")
RANK = 4  # of the few steps' LoRA, which is trained at 8: for more there is no room in the package
UNTIL = 700  # guidance at later times makes skin lines ragged, and its pictures no nearer to real ones
LESIONS = ("mass",)  # the word for calcifications has been learned, but not to be obeyed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    healthy, fast, decoder, lesion = (
        options.runs / name / "model" for name in ("healthy-rare", "fast", "decoder-texture", "lesion-own")
    )
    if healthy.is_dir():
        parts = load_parts(healthy)
        parts.autoencoder = load_parts(decoder).autoencoder
        card = ModelCard(
            frame=Framing.FIELD, field_mm=256.0, guidance_until=UNTIL, companion="mini-lesion", vendors=VENDORS,
            training=seen(decoder), fast=read_card(fast).fast, fibres=read_card(decoder).fibres,
        )  # fmt: skip
        put(parts, options.weights / "mini", card)
        (options.weights / "mini" / FAST).mkdir()
        save_file(
            cut(load_file(fast / FAST / LORA_FILE)),
            options.weights / "mini" / FAST / LORA_FILE,
            metadata={"format": "pt"},
        )
    if lesion.is_dir():
        card = ModelCard(
            frame=Framing.FIELD, field_mm=256.0, companion="mini", vendors=VENDORS, lesions=LESIONS, window_tone=True,
            training=seen(decoder),  # a folder of normals names nobody, but its images are in the prepared set, too
        )  # fmt: skip
        put(load_parts(lesion), options.weights / "mini-lesion", card, without=("text_encoder", "tokenizer", "vae"))


def cut(lora: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A LoRA's matrices (down r×…, up …×r) at RANK, float16: of each product the largest singular values."""
    made = {}
    for name, down in lora.items():
        up_name = name.replace("lora_A", "lora_B").replace("lora.down", "lora.up")
        if up_name == name:
            continue
        up = lora[up_name].float()
        left, values, right = torch.linalg.svd(up.flatten(1) @ down.float().flatten(1), full_matrices=False)
        root = values[:RANK].sqrt()
        made[name] = (root[:, None] * right[:RANK]).reshape(RANK, *down.shape[1:]).half().contiguous()
        made[up_name] = (left[:, :RANK] * root).reshape(up.shape[0], RANK, *up.shape[2:]).half().contiguous()
    return made


def seen(folder: Path) -> dict[str, Any]:
    """What a run's card says of the patients whom it, and its bases, learned from."""
    return {name: said for name, said in read_card(folder).training.items() if name.startswith(("patients", "keys"))}


def put(parts: object, folder: Path, card: ModelCard, without: tuple[str, ...] = ()) -> None:
    """Write a model and keep its README.md."""
    told = folder / "README.md"
    kept = told.read_text(encoding="utf-8") if told.exists() else None
    save_model(parts, folder, card, without=without, force=True)  # type: ignore[arg-type]
    if kept is not None:
        told.write_text(kept, encoding="utf-8")


if __name__ == "__main__":
    main()
