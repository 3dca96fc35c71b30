"""Put the runs of make.sh together as the embedded models: python assemble.py RUNS WEIGHTS

mini takes text encoder and U-Net from healthy-rare, the autoencoder from decoder-texture and its few steps from fast,
which is taught by mini as it is without them; mini-lesion has a U-Net of its own and shares the rest. The model cards
(README.md) are written by hand and kept. A model without its run stays as it is.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from mame.diffusion.folders import FAST, Framing, ModelCard, read_card
from mame.diffusion.model import load_parts, save_model

VENDORS = ("ge", "hologic", "siemens")
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
            training=seen(decoder), fast=read_card(fast).fast if fast.is_dir() else None,
            fibres=read_card(decoder).fibres,
        )  # fmt: skip
        put(parts, options.weights / "mini", card)
        if fast.is_dir():
            shutil.copytree(fast / FAST, options.weights / "mini" / FAST)
    if lesion.is_dir():
        card = ModelCard(
            frame=Framing.FIELD, field_mm=256.0, companion="mini", vendors=VENDORS, lesions=LESIONS, window_tone=True,
            training=seen(decoder),  # a folder of normals names nobody, but its images are in the prepared set, too
        )  # fmt: skip
        put(load_parts(lesion), options.weights / "mini-lesion", card, without=("text_encoder", "tokenizer", "vae"))


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
