"""Put the runs of make.sh together as the embedded models: python assemble.py RUNS WEIGHTS

mini takes text encoder and U-Net from healthy-512 and the autoencoder from decoder; mini-lesion has a U-Net of its own
and shares the rest. The model cards (README.md) are written by hand and kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mame.diffusion.folders import Framing, ModelCard
from mame.diffusion.model import load_parts, save_model

VENDORS = ("hologic", "siemens")
LESIONS = ("mass",)  # the word for calcifications has been learned, but not to be obeyed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    healthy = load_parts(options.runs / "healthy-512" / "model")
    lesion = load_parts(options.runs / "lesion-toned" / "model")
    healthy.autoencoder = load_parts(options.runs / "decoder" / "model").autoencoder
    card = ModelCard(frame=Framing.FIELD, field_mm=256.0, companion="mini-lesion", vendors=VENDORS)
    put(healthy, options.weights / "mini", card)
    card = ModelCard(
        frame=Framing.FIELD, field_mm=256.0, companion="mini", vendors=VENDORS, lesions=LESIONS, window_tone=True
    )
    put(lesion, options.weights / "mini-lesion", card, without=("text_encoder", "tokenizer", "vae"))


def put(parts: object, folder: Path, card: ModelCard, without: tuple[str, ...] = ()) -> None:
    """Write a model and keep its README.md."""
    told = folder / "README.md"
    kept = told.read_text(encoding="utf-8") if told.exists() else None
    save_model(parts, folder, card, without=without, force=True)  # type: ignore[arg-type]
    if kept is not None:
        told.write_text(kept, encoding="utf-8")


if __name__ == "__main__":
    main()
