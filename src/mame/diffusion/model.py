"""Models: opening one by name, folder or hub name; what it can do; saving one as a diffusers folder.

Importing this file does not import torch; opening or saving a model does.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mame.diffusion.folders import (
    CARD,
    INDEX,
    PIPELINES,
    FewSteps,
    ModelCard,
    ModelEntry,
    available_models,
    check_folder,
    model_folder,
    read_card,
    weights_hash,
)
from mame.errors import MameError
from mame.mammogram import Box, Laterality, Mammogram

if TYPE_CHECKING:
    from mame.diffusion.device import Compute
    from mame.diffusion.mini import Parts

__all__ = [
    "Model",
    "ModelCard",
    "ModelEntry",
    "available_models",
    "load_model",
    "model_folder",
    "save_model",
]

SHARD_SIZE = "15MB"
STEPS, GUIDANCE = 24, 4.0  # as in the paper
Progress = Callable[[int, int], None]
Watch = Callable[[Any], None]


class Model:
    """A Stable Diffusion model ready to run: the embedded ones and any other go through the same code.

    name: what it was asked for by, without a path. folder: its diffusers folder. card: its `mam-e.json`. few: how few
    steps it was taught to need, where its U-Net was.
    """

    def __init__(
        self, name: str, folder: Path, card: ModelCard, parts: Parts, compute: Compute, few: FewSteps | None = None
    ) -> None:
        self.name = name
        self.folder = folder
        self.card = card
        self.parts = parts
        self.compute = compute
        self.few = few
        self._companion: Model | None = None
        self._fast: Model | None = None

    @property
    def inpainting(self) -> bool:
        """Whether its U-Net takes a mask and a masked picture (nine channels) and so paints into given pictures."""
        return int(self.parts.unet.config.in_channels) > int(self.parts.unet.config.out_channels)

    @property
    def latent_scale(self) -> int:
        """Pixels to one latent, along each side: 8 for Stable Diffusion."""
        config = self.parts.autoencoder.config
        widths = getattr(config, "encoder_block_out_channels", None) or config.block_out_channels
        return int(2 ** (len(widths) - 1))

    @property
    def size(self) -> int:
        """Side of its square pictures, in pixels."""
        return int(self.parts.unet.config.sample_size) * self.latent_scale

    @property
    def hash(self) -> str:
        """SHA-256 of its weights, for the provenance of what it makes."""
        return weights_hash(self.folder)

    def generate(
        self,
        prompt: str,
        count: int = 1,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        negative: str = "",
        batch: int | None = None,
        laterality: Laterality | str | None = None,
        first: int = 0,
        progress: Progress | None = None,
        watch: Watch | None = None,
        fast: bool = False,
    ) -> list[Mammogram]:
        """`count` mammograms from a prompt; see :func:`mame.diffusion.sample.generate`.

        steps, guidance: 24 and 4.0 if not given. fast: in few steps (4 if not given), with the guidance taught.
        Raises MameError for `fast` where the model has no weights for it.
        """
        from mame.diffusion import sample

        model = self._for_task(inpainting=False, fast=fast)
        how = model._how(steps, guidance, negative)
        return sample.generate(model, prompt, count, seed, *how, batch, laterality, first, progress, watch)

    def inpaint(
        self,
        mammogram: Mammogram,
        region: Box | NDArray[np.bool_],
        prompt: str = "a mammogram with a mass",
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        negative: str = "",
        window: str = "lesion",
        index: int = 0,
        progress: Progress | None = None,
        fast: bool = False,
        tries: int = 3,
    ) -> Mammogram:
        """The mammogram with a lesion painted into a region; see :func:`mame.diffusion.inpaint.inpaint`.

        steps, guidance, fast: as :meth:`generate` takes them.
        """
        from mame.diffusion import inpaint

        model = self._for_task(inpainting=True, fast=fast)
        how = model._how(steps, guidance, negative)
        return inpaint.inpaint(model, mammogram, region, prompt, seed, *how, window, index, progress, tries)

    def in_few_steps(self) -> Model:
        """The same model with the weights for few steps that its folder has, made once. Raises MameError without."""
        if self._fast is None:
            from dataclasses import replace

            from mame.diffusion.device import place_unet
            from mame.diffusion.fast import fast_unet

            parts = replace(self.parts, unet=place_unet(fast_unet(self.folder), self.compute))
            few = self.card.fast or FewSteps()
            self._fast = Model(self.name, self.folder, self.card, parts, self.compute, few)
        return self._fast

    def steps(self, given: int | None, fast: bool) -> int:
        """How many steps a picture takes, where `given` or nothing was asked for."""
        usual = (self.few or self.card.fast or FewSteps()).steps if fast else STEPS
        return usual if given is None else given

    def _how(self, steps: int | None, guidance: float | None, negative: str) -> tuple[int, float, str]:
        """Steps, guidance and negative prompt, where what was not given is as the model needs it."""
        if self.few is None:
            return self.steps(steps, fast=False), GUIDANCE if guidance is None else guidance, negative
        if negative or guidance not in (None, self.few.guidance):
            raise MameError(
                f"in few steps the guidance of {self.few.guidance:g} is part of the weights, and a negative prompt is "
                "not heard: leave both away, or leave fast away"
            )
        if steps is not None and steps > self.few.steps:
            raise MameError(f"in few steps there are at most {self.few.steps}, not {steps}")
        return self.steps(steps, fast=True), 1.0, ""

    def _for_task(self, inpainting: bool, fast: bool) -> Model:
        """This model where it can do the task, else the companion its card names; for few steps where asked."""
        model = self._for_pictures(inpainting)
        return model.in_few_steps() if fast else model

    def _for_pictures(self, inpainting: bool) -> Model:
        if self.inpainting == inpainting:
            return self
        if self.card.companion is None:
            if inpainting:
                return self  # any text-to-image model can paint: the surroundings are put back at every step
            raise MameError(
                f"model {self.name!r} paints lesions into a mammogram; it can't make one from a prompt alone"
            )
        if self._companion is None:
            dtype = str(self.compute.dtype).removeprefix("torch.")
            self._companion = load_model(self.card.companion, self.compute.name, dtype)
        return self._companion


def load_model(name: str | os.PathLike[str] = "mini", device: str | None = None, dtype: str | None = None) -> Model:
    """Open a model: "mini", "mini-lesion", a folder in diffusers layout, or a hub name.

    device: a name torch knows, or "openvino"; if not given a GPU where there is one. dtype: of the U-Net, float32,
    bfloat16 or float16; if not given the fastest that the device has units for. Raises MameError
    for an unknown model, a folder that is not one, and weights that don't fit their configuration.
    """
    _share_the_processor()
    from mame.diffusion.device import choose_compute, place, usable_threads

    folder = model_folder(name)
    compute = choose_compute(device, dtype)

    import torch

    if compute.is_cpu:
        torch.set_num_threads(usable_threads())
    parts = place(load_parts(folder), compute)
    return Model(_plain_name(os.fspath(name)), folder, read_card(folder), parts, compute)


def _share_the_processor() -> None:
    """Let OpenMP's threads sleep when they wait long for each other; read once, when torch is imported.

    By default they spin, and on a busy machine (2 cores, one other process) a step takes eight times as long; asleep
    at once, one on a quiet machine takes a quarter longer. libgomp counts its spins, other runtimes just sleep.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "2000")}


def _plain_name(name: str) -> str:
    """A model's name without the folders above it: it goes into files that leave this machine."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def load_parts(folder: Path) -> Parts:
    """The parts of a model folder in float32 on the CPU, whatever precision they were stored in.

    Raises MameError where one can't be read, or its weights don't fit its configuration.
    """
    from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from mame.diffusion.mini import Parts

    check_folder(folder)
    solver: Any = DPMSolverMultistepScheduler  # takes any Stable Diffusion's noise schedule and prediction type
    with _opening(folder):
        return Parts(
            tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
            text_encoder=_open(CLIPTextModel, folder / "text_encoder"),
            autoencoder=_open_autoencoder(folder),
            unet=_open(UNet2DConditionModel, folder / "unet"),
            scheduler=solver.from_pretrained(folder / "scheduler", local_files_only=True),
        )


def load_autoencoder(name: str | os.PathLike[str] = "mini") -> Any:
    """The autoencoder of a model alone, in float32 on the CPU. Raises MameError as `load_model` does."""
    _share_the_processor()
    folder = model_folder(name)
    check_folder(folder)
    with _opening(folder):
        return _open_autoencoder(folder).requires_grad_(False)


def _open_autoencoder(folder: Path) -> Any:
    from diffusers import AutoencoderKL, AutoencoderTiny

    autoencoders = {"AutoencoderTiny": AutoencoderTiny, "AutoencoderKL": AutoencoderKL}
    said = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8")).get("_class_name")
    if said not in autoencoders:
        raise MameError(f"{folder / 'vae'}: an autoencoder of class {said!r}; MAM-E runs {', '.join(autoencoders)}")
    return _open(autoencoders[said], folder / "vae")


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """The libraries' errors in one line, and none of their advice."""
    from safetensors import SafetensorError

    try:
        with _quiet():
            yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = reason.partition(" If you want to")[0]  # the libraries' advice to their own callers
        raise MameError(f"{folder}: the model can't be opened: {reason}") from None


def _open(kind: Any, folder: Path) -> Any:
    module, info = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, output_loading_info=True)
    if missing := sorted(info["missing_keys"]):  # the libraries fill what is missing with noise and go on
        raise MameError(f"{folder}: {len(missing)} weights are missing, {missing[0]} among them: the files don't fit")
    return module.float().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice from the libraries while a model of ours is opened or written."""
    import diffusers.utils.logging
    import transformers.utils.logging

    logs: list[Any] = [diffusers.utils.logging, transformers.utils.logging]
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (level, bar) in zip(logs, before, strict=True):
            log.set_verbosity(level)
            if bar:
                log.enable_progress_bar()


def save_model(
    parts: Parts,
    folder: Path,
    card: ModelCard,
    without: tuple[str, ...] = (),
    half: bool = True,
    force: bool = False,
) -> None:
    """Write a model as a diffusers folder that the stock pipelines load: safetensors in shards of at most 15 MB.

    without: parts not to write (an embedded model takes them from another). half: store weights as float16.
    The folder is whole or absent: it is written beside its place and moved. Raises MameError where it exists, unless
    `force`.
    """
    from safetensors import SafetensorError

    if folder.exists() and not force:
        raise MameError(f"{folder}: exists already; use --force (force=True) to replace it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".mam-e-", dir=folder.parent))
    except OSError as error:
        raise MameError(f"{folder}: the model can't be written: {error.strerror}") from None
    try:
        with _quiet():
            _write(parts, beside, half)
        for part in without:
            shutil.rmtree(beside / part)
        (beside / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _make_readable(beside)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MameError(f"{folder}: the model can't be written: {reason}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _make_readable(folder: Path) -> None:
    """Temporary folders and safetensors files are born private to their maker; a model is for everybody."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _write(parts: Parts, folder: Path, half: bool) -> None:
    import copy

    import diffusers
    import torch

    for part, module in {"text_encoder": parts.text_encoder, "vae": parts.autoencoder, "unet": parts.unet}.items():
        stored = copy.deepcopy(module).to("cpu")
        torch.nn.Module.to(stored, dtype=torch.float16 if half else torch.float32)
        stored.save_pretrained(folder / part, safe_serialization=True, max_shard_size=SHARD_SIZE)
        _tidy(folder / part / "config.json")
    parts.tokenizer.save_pretrained(folder / "tokenizer")
    parts.tokenizer.backend_tokenizer.model.save(str(folder / "tokenizer"))  # vocab.json, merges.txt: transformers 4
    parts.scheduler.save_pretrained(folder / "scheduler")
    inpainting = parts.unet.config.in_channels > parts.unet.config.out_channels
    index = {
        "_class_name": PIPELINES[1] if inpainting else PIPELINES[0],
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", type(parts.scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", type(parts.autoencoder).__name__],
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _tidy(path: Path) -> None:
    """CPUs lack the float16 that loaders would take from a config; where its part was read from is private."""
    said = {key: value for key, value in json.loads(path.read_text("utf-8")).items() if key != "_name_or_path"}
    said |= {"dtype": "float32", "torch_dtype": "float32"} if {"dtype", "torch_dtype"} & said.keys() else {}
    path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
