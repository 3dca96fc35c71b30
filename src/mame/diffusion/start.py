"""What a training run starts from and what it leaves: parts of a model in, a model folder out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mame.dataset.examples import bare, open_examples, unsimulated
from mame.diffusion.config import NEW, Goal, Method, TrainConfig
from mame.diffusion.data import Data, examples_of, toned
from mame.diffusion.distill import few_steps
from mame.diffusion.fast import save_with_fast
from mame.diffusion.folders import LORA_FILE, Framing, ModelCard, model_folder, read_card
from mame.diffusion.latent import decode, encode
from mame.diffusion.lora import EVERY_LAYER, UNET_LAYERS, add_adapters, merge_adapters, save_adapters
from mame.diffusion.mini import Parts, linear_encoder_weights, new_mini, set_linear_encoder
from mame.diffusion.model import load_parts, save_model
from mame.diffusion.recipes import SD_1_5, SD_1_5_INPAINTING, SD_2_BASE
from mame.diffusion.schedule import changed_as_asked, has_zero_snr, load_scheduler, prediction_of
from mame.errors import MameError
from mame.imaging.fibres import Coefficients, fitted
from mame.imaging.framing import FIELD_MM

ENCODER_PICTURES = 96
FIBRE_PICTURES = 120
LATENT_SCALE = 8  # pixels to a latent, of every Stable Diffusion
KNOWN_LICENCES = {  # where a base's own folder doesn't say
    SD_1_5: "creativeml-openrail-m",
    SD_1_5_INPAINTING: "creativeml-openrail-m",
    SD_2_BASE: "openrail++",
    "mini-lesion": "apache-2.0",
}
FOLDERS = re.compile(r"[^\s:+*]*/")  # in the name of a data set: a card says nothing of where files lay


def starting_parts(config: TrainConfig, announce: Callable[[str], None] = print) -> Parts:
    """The parts that `config.base` names, ready for `config.goal`, and a line about them.

    "new" is mini with random weights, its encoder fitted to pictures of the data set; anything else is opened as a
    model, with the scheduler that it has. A lesion model is made from a four-channel base by widening its first
    convolution with zeros: at step 0 it equals its base. Raises MameError for an unknown base, for parts that don't fit
    each other or the goal, and for a schedule that can't be what was asked.
    """
    lesion = config.paints
    if config.base == NEW:
        parts = new_mini(inpainting=lesion, seed=config.seed)
        set_linear_encoder(parts.autoencoder, *linear_encoder_weights(_some_pictures(config)))
        _set_size(parts, config)
        return parts
    folder = model_folder(config.base)
    scheduler = load_scheduler(folder)
    parts = load_parts(folder)
    parts.scheduler, changes = changed_as_asked(scheduler, config)
    check_parts(parts, config)
    announce(f"base {config.base}: {describe(parts)}")
    for line in changes:
        announce(line)
    if lesion and not _paints(parts.unet):
        widen(parts.unet)
        announce("the base makes whole pictures: its first layer gets five more inputs, which weigh nothing at first")
    if (before := _set_size(parts, config)) != config.size:
        announce(f"the base makes pictures of {before} pixels a side, this model will make {config.size}")
    return parts


def _set_size(parts: Parts, config: TrainConfig) -> int:
    """Note in the U-Net which size it is trained at, so that it makes such pictures; returns what it was before."""
    if config.goal is Goal.AUTOENCODER:
        return config.size
    before = int(parts.unet.config.sample_size) * LATENT_SCALE
    parts.unet.register_to_config(sample_size=config.size // LATENT_SCALE)
    return before


def describe(parts: Parts) -> str:
    """What a model is, in one line: size, what it predicts, with which scheduler and autoencoder."""
    millions = sum(p.numel() for p in parts.unet.parameters()) / 1e6
    zero = " with zero terminal SNR" if has_zero_snr(parts.scheduler) else ""
    return (
        f"U-Net of {millions:,.0f} million weights, {parts.unet.config.in_channels} channels in, predicts "
        f"{prediction_of(parts.scheduler)}; {type(parts.scheduler).__name__}{zero}; {type(parts.autoencoder).__name__}"
    )


def check_parts(parts: Parts, config: TrainConfig) -> None:
    """Raises MameError where a model's parts don't fit each other, or the goal, the method or the size."""
    unet, base = parts.unet.config, config.base
    latents, hears = parts.autoencoder.config.latent_channels, parts.text_encoder.config.hidden_size
    if unet.out_channels != latents:
        raise MameError(f"base {base!r}: its U-Net makes {unet.out_channels} channels, its autoencoder reads {latents}")
    if unet.in_channels not in (latents, 2 * latents + 1):
        raise MameError(
            f"base {base!r}: its U-Net takes {unet.in_channels} channels; {latents} (pictures) or {2 * latents + 1} "
            "(painting) can be trained"
        )
    if unet.cross_attention_dim != hears:
        raise MameError(
            f"base {base!r}: its U-Net hears {unet.cross_attention_dim} numbers a word, its text encoder says {hears}"
        )
    if getattr(parts.text_encoder.config, "use_attention_mask", False):
        raise MameError(f"base {base!r}: its text encoder asks for an attention mask, which the trainer does not give")
    if config.goal is Goal.HEALTHY and _paints(parts.unet):
        raise MameError(f"base {base!r} paints into pictures; whole ones need a base with {latents} input channels")
    if config.goal is Goal.LESION and config.method is Method.LORA and not _paints(parts.unet):
        raise MameError(
            f"base {base!r} makes whole pictures: its new inputs for painting can't be kept in a LoRA; name an "
            "inpainting base (such as mini-lesion), or method full"
        )
    scale = 2 ** (len(parts.unet.config.block_out_channels) - 1) * LATENT_SCALE
    if config.goal is not Goal.AUTOENCODER and config.size % scale:
        raise MameError(f"size {config.size}: base {base!r} needs a multiple of {scale}")


def _paints(unet: Any) -> bool:
    return bool(unet.config.in_channels > unet.config.out_channels)


def widen(unet: Any) -> None:
    """Give a text-to-image U-Net the inputs of an inpainting one (mask, masked latents), with weights of zero."""
    old = unet.conv_in
    latents = old.in_channels
    new = torch.nn.Conv2d(2 * latents + 1, old.out_channels, old.kernel_size, padding=old.padding)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, :latents] = old.weight
        assert new.bias is not None
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=2 * latents + 1)


def choose_trainable(parts: Parts, config: TrainConfig) -> None:
    """Freeze what the method does not train: by `requires_grad`, and LoRA's matrices added."""
    if config.method is Method.LORA:
        parts.text_encoder.requires_grad_(False)
        text_encoder = parts.text_encoder if config.train_text_encoder and config.goal is not Goal.FAST else None
        layers = EVERY_LAYER if config.goal is Goal.FAST else UNET_LAYERS
        add_adapters(parts.unet, text_encoder, config.lora_rank, config.seed, layers)
    else:
        parts.unet.requires_grad_(True)
        parts.text_encoder.requires_grad_(config.train_text_encoder)


def save_result(parts: Parts, config: TrainConfig, data: Data | None = None) -> Path:
    """Write the trained model to `config.out/model` and return that folder; a LoRA also alone, to `config.out/lora`.

    A LoRA for few steps is not merged: its model is the base as it was, with the LoRA beside it.
    """
    folder = config.out / "model"
    if config.method is Method.LORA:
        save_adapters(parts.unet, parts.text_encoder, config.out / "lora")
    if config.goal is Goal.FAST:
        few = few_steps(config)
        base = model_folder(config.base)
        save_with_fast(base, config.out / "lora" / LORA_FILE, few, folder, _seen(config.dataset, read_card(base)))
        return folder
    if config.method is Method.LORA:
        merge_adapters(parts.unet, parts.text_encoder)
    card = _card(config, data)
    if config.goal is Goal.AUTOENCODER:
        card = card.model_copy(update={"fibres": lost_fibres(parts.autoencoder, config.dataset, config.size)})
    save_model(parts, folder, card, force=True)
    return folder


@torch.inference_mode()
def lost_fibres(autoencoder: Any, dataset: str, size: int) -> Coefficients | None:
    """How strong the fibres are that an autoencoder loses in the whole pictures of a data set, by what is left.

    Of a mixture with phantoms the other pictures count alone: more is lost of a phantom's texture than of a breast's
    that leaves the same. None where the data set has no whole pictures.
    """
    try:
        whole = open_examples(unsimulated(dataset), "all", size)
    except MameError:
        return None
    place = next(autoencoder.parameters()).device

    def pairs() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        for number in np.linspace(0, len(whole) - 1, min(FIBRE_PICTURES, len(whole))).astype(int):
            true = whole[int(number)].pixels
            back = decode(autoencoder, encode(autoencoder, torch.from_numpy(true)[None].to(place)))[0]
            yield back.clamp(0, 1).cpu().numpy() * (true > 0), true

    return fitted(pairs())


def _card(config: TrainConfig, data: Data | None) -> ModelCard:
    base = ModelCard() if config.base == NEW else read_card(model_folder(config.base))
    told = config.model_dump(mode="json", exclude={"out", "cache", "workers", "tracker", "sample_prompts"})
    told["dataset"] = FOLDERS.sub("", config.dataset)
    told["base"] = Path(config.base).name if Path(config.base).is_dir() else config.base
    told["data"] = _data_facts(config, data)
    told["base_licence"] = licence_of(config.base)
    told |= _seen(config.dataset, None if config.base == NEW else base)
    changes: dict[str, Any] = {"training": told, "companion": None, "window_tone": toned(config)}
    if config.goal is not Goal.AUTOENCODER:
        changes |= _framing(config)
    if data is not None:
        words = [one.description for one in data.variants[0].words]
        vendors, lesions = {w.vendor for w in words if w.vendor}, {str(w.lesion) for w in words if w.lesion}
        changes |= {"vendors": tuple(sorted(vendors)), "lesions": tuple(sorted(lesions))}
    return base.model_copy(update=changes)


def licence_of(base: str) -> str:
    """The licence of a base as its model card names it (an identifier of the hub), or "unknown"."""
    if base == NEW:
        return "apache-2.0"
    folder = model_folder(base)
    told = folder / "README.md"
    head = told.read_text(encoding="utf-8", errors="replace").split("---") if told.is_file() else []
    found = re.search(r"^license:\s*(\S+)", head[1], re.MULTILINE) if len(head) > 2 else None
    return found[1] if found else KNOWN_LICENCES.get(base, "unknown")


def _data_facts(config: TrainConfig, data: Data | None) -> dict[str, Any]:
    """What was learnt from: the set's own words about itself, and how many of its pictures."""
    count = {} if data is None else {"pictures": data.count, "variations": len(data.variants) - 1}
    folder = Path(bare(config.dataset))
    if not folder.is_dir():
        return {"title": FOLDERS.sub("", config.dataset), "licence": "", **count}
    from mame.dataset.read import open_set

    about = open_set(folder).about
    return {name: about.get(name, "") for name in ("title", "url", "licence", "citation")} | count


def _seen(dataset: str, base: ModelCard | None) -> dict[str, Any]:
    """Of whom the model has seen pictures, its base included: a study with it must test on others.

    patients: hashes of them, none for simulations; keys: fingerprints of the keys of their pseudonyms, as hashes under
    different keys can't be compared. patients is None where a plain folder of pictures, which names nobody, was among
    them; patients_of_base: whether the base's card says whom the base saw.
    """
    from mame.dataset.examples import folders_behind
    from mame.dataset.layout import DATASET, Split
    from mame.dataset.pseudonyms import patient_hash
    from mame.dataset.read import open_set

    nobody: dict[str, Any] = {"patients": [], "patients_of_base": True}
    before = base.training if base is not None else nobody
    seen, keys = set(before.get("patients") or []), set(before.get("keys") or [])
    known = before.get("patients") is not None and bool(before.get("patients_of_base"))
    for folder in folders_behind(dataset):
        if not (folder / DATASET).is_file():
            return {"patients": None, "keys": sorted(keys), "patients_of_base": known}
        found = open_set(folder)
        keys |= found.keys
        for split in (Split.TRAIN, Split.VALIDATION):
            if split in found.splits:
                seen |= {patient_hash(row.source, row.patient) for row in found.iterate(split)}
    return {"patients": sorted(seen), "keys": sorted(keys), "patients_of_base": known}


def _framing(config: TrainConfig) -> dict[str, Any]:
    """The frame that the pictures of the data set are in, which the model's will be in."""
    folder = Path(bare(config.dataset))
    if folder.is_dir():
        from mame.dataset.read import open_set

        framing = Framing(open_set(folder).framing or Framing.CENTER_CROP)
    else:
        framing = Framing.FIELD  # what the simulator draws
    return {"frame": framing, "field_mm": FIELD_MM if framing is Framing.FIELD else None}


def _some_pictures(config: TrainConfig) -> Any:
    examples = examples_of(config)
    return np.stack([examples[i].pixels for i in range(min(ENCODER_PICTURES, len(examples)))])
