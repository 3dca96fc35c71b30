"""`mam-e models`: which models are in this installation."""

from __future__ import annotations

from mame.cli import options, output


def models(json: options.Json = False) -> None:
    """List the embedded models. --model also takes a folder in diffusers layout or a hub name."""
    from mame.diffusion.folders import available_models

    entries = available_models()
    if json:
        output.show_json(
            [
                {"name": entry.name, "inpainting": entry.inpainting, "bytes": entry.bytes, "folder": str(entry.folder)}
                | entry.card.model_dump(mode="json")
                for entry in entries
            ]
        )
        return
    if not entries:
        output.announce("no embedded model is in this installation; --model takes a folder or a hub name")
    for entry in entries:
        does = "paints lesions into a mammogram" if entry.inpainting else "makes healthy mammograms"
        knows = ", ".join((*entry.card.vendors, *entry.card.lesions))
        print(f"{entry.name:<12} {does:<32} {entry.bytes / 1e6:4.0f} MB  {knows}")
