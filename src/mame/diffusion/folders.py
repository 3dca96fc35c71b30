"""Where models lie on disk, and what a model folder says about itself. No torch: listing models is instant.

The embedded models share their parts in the package; `model_folder` gives each as one complete diffusers folder.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mame.errors import MameError

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
EMBEDDED = {"mini": None, "mini-lesion": "mini"}  # name -> the model it takes its missing parts from
PARTS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
CARD = "mam-e.json"
INDEX = "model_index.json"
PIPELINES = ("StableDiffusionPipeline", "StableDiffusionInpaintPipeline")
FAST = "fast"  # beside the parts, where a model has one: the LoRA for few steps
LORA_FILE = "pytorch_lora_weights.safetensors"
HUB_FILES = (
    INDEX,
    CARD,
    "README.md",
    *(f"{part}/*{end}" for part in PARTS for end in (".json", ".txt", ".safetensors")),
    f"{FAST}/{LORA_FILE}",
)
WEIGHED = ("text_encoder", "unet", "vae")  # the parts with weights
HUB_NOT = ("*.fp16.*", "*non_ema*")


class Framing(StrEnum):
    """The frame a model's pictures are in (imaging/framing.py)."""

    FIELD = "field"
    CENTER_CROP = "center_crop"


_Row = tuple[float, float, float, float, float]
Fibres = tuple[_Row, _Row]  # the Coefficients of imaging/fibres.py, which takes a second to import


class FewSteps(BaseModel):
    """How the LoRA in a model's folder `fast` is used: its pictures take `steps`, and one pass a step.

    guidance: of the teacher, which is in the LoRA. of: how many steps the teacher took for as far a way; the student's
    times are some of its.
    """

    model_config = ConfigDict(extra="ignore")

    steps: int = Field(default=4, ge=1)
    guidance: float = Field(default=4.0, ge=1)
    of: int = Field(default=24, ge=1)


class ModelCard(BaseModel):
    """What diffusers has no place for: the file `mam-e.json` in a model folder.

    A folder without one is somebody else's Stable Diffusion: its pictures are centre crops of unknown spacing.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    frame: Framing = Framing.CENTER_CROP
    field_mm: float | None = Field(default=None, gt=0)  # width of the whole picture, in the field frame
    window_factor: float = Field(default=3.0, ge=1)  # side of a lesion window over the longer side of the lesion
    window_tone: bool = False  # learned from windows brought to one tone (imaging/tone.py)
    guidance_rescale: float = Field(default=0.0, ge=0, le=1)  # arXiv 2305.08891 §3.4
    guidance_until: int = Field(default=0, ge=0)  # time step below which nothing is guided (arXiv 2404.07724)
    companion: str | None = None  # the model that does what this one can't: paints lesions, or makes whole pictures
    vendors: tuple[str, ...] = ()
    lesions: tuple[str, ...] = ()
    fast: FewSteps | None = None
    fibres: Fibres | None = None  # how strong those are that its decoder loses, which are drawn anew then
    training: dict[str, Any] = Field(default_factory=dict)  # command, seed, data, time

    def spacing_mm(self, size: int) -> float | None:
        """Size of a pixel of a whole picture `size` pixels wide, or None where nobody knows."""
        return self.field_mm / size if self.frame is Framing.FIELD and self.field_mm else None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One line of `mam-e models`."""

    name: str
    folder: Path
    inpainting: bool
    bytes: int
    card: ModelCard


def available_models() -> list[ModelEntry]:
    """The embedded models that are in this installation."""
    entries = []
    for name in EMBEDDED:
        folder = WEIGHTS / name
        if (folder / INDEX).is_file():
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            entries.append(ModelEntry(name, folder, is_inpainting(folder), size, read_card(folder)))
    return entries


def model_folder(name: str | os.PathLike[str]) -> Path:
    """The complete diffusers folder of a model: an embedded name, a folder, or a hub name (`owner/name`).

    What takes its parts from another model is put together in the user's cache first (links, or copies where links
    can't be made), and weights of before safetensors (.bin) are converted there. A hub model is fetched into the hub's
    cache.
    Raises MameError for an unknown model, a folder that holds no Stable Diffusion model, and an unreachable hub.
    """
    text = os.fspath(name)
    if text in EMBEDDED:
        folder = _embedded(text)
    elif Path(text).is_dir():
        folder = Path(text)
    elif is_hub_name(text):
        folder = _from_hub(text, HUB_FILES)
        if old := _unsafe_parts(folder):
            folder = _from_hub(text, (*HUB_FILES, *(f"{part}/*.bin" for part in old)))
    else:
        raise MameError(
            f"unknown model {text!r}: give {_names()}, a folder in diffusers layout, or a hub name such as owner/name"
        )
    if any(any((folder / part).glob("*.bin")) for part in _unsafe_parts(folder)):
        from mame.diffusion.convert import converted

        folder = converted(folder, _unsafe_parts(folder))
    check_folder(folder)
    return folder


def _unsafe_parts(folder: Path) -> list[str]:
    return [part for part in WEIGHED if not any((folder / part).glob("*.safetensors"))]


def check_folder(folder: Path) -> None:
    """Raises MameError, in one line, where a folder is not a Stable Diffusion model with safetensors weights."""
    index = _read_index(folder)
    if index.get("_class_name") not in PIPELINES:
        raise MameError(f"{folder / INDEX}: a {index.get('_class_name')!r}; MAM-E runs {' and '.join(PIPELINES)}")
    for part in PARTS:
        if not (folder / part).is_dir():
            raise MameError(f"{folder}: the folder {part}/ is missing")
    for part in _unsafe_parts(folder):
        raise MameError(
            f"{folder / part}: no .safetensors weights, nor a .bin to convert (.ckpt and other pickles can run code "
            "when they are opened, and are refused)"
        )


def is_inpainting(folder: Path) -> bool:
    """Whether a model folder paints into a given picture (rather than making whole ones)."""
    return _read_index(folder).get("_class_name") == PIPELINES[1]


def read_card(folder: Path) -> ModelCard:
    """The card in a model folder, or the defaults where there is none. Raises MameError for one that can't be read."""
    path = folder / CARD
    if not path.is_file():
        return ModelCard()
    try:
        return ModelCard.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise MameError(f"{path}: not a model card: {reason}") from None


def picture_size(folder: Path) -> int:
    """Side in pixels of the pictures of a model folder. Raises MameError where its configuration can't be read."""
    try:
        unet = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        autoencoder = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))
        stages = autoencoder.get("encoder_block_out_channels") or autoencoder["block_out_channels"]
        return int(unet["sample_size"] * 2 ** (len(stages) - 1))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MameError(f"{folder}: the model's configuration can't be read: {error}") from None


def weights_hash(folder: Path) -> str:
    """SHA-256 (hex) over the names and bytes of a folder's .safetensors files, in the order of their names."""
    files = sorted(folder.glob("*/*.safetensors"), key=lambda path: path.relative_to(folder).as_posix())
    return _hash(folder, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=32)
def _hash(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, size, _ in files:  # size and time are there so that a changed file is read again
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MameError(f"{folder}: not a diffusers model folder: it has no {INDEX}") from None
    except (OSError, ValueError) as error:
        raise MameError(f"{path}: can't be read: {error}") from None
    if not isinstance(index, dict):
        raise MameError(f"{path}: not a diffusers index")
    return index


def _names() -> str:
    present = [entry.name for entry in available_models()]
    return " or ".join(present) if present else "a folder (no model is embedded in this installation)"


# -- embedded ---------------------------------------------------------------------------------------------------------


def _embedded(name: str) -> Path:
    own, base = WEIGHTS / name, EMBEDDED[name]
    if not (own / INDEX).is_file():
        raise MameError(f"the embedded model {name!r} is not in this installation; give {_names()}")
    missing = [part for part in PARTS if not (own / part).is_dir()]
    if not missing:
        return own
    if base is None:
        raise MameError(f"the embedded model {name!r} is incomplete: {', '.join(missing)}; reinstall mam-e")
    sources = {path.name: path for path in own.iterdir() if not path.name.startswith(".")}
    sources |= {part: WEIGHTS / base / part for part in missing}
    return assembled(name, sources)


def assembled(name: str, sources: dict[str, Path]) -> Path:
    """A folder with those files and folders under those names, made once and kept while the sources stay the same."""
    files = {f"{top}/{relative}" if relative else top: path for top, relative, path in _walk(sources)}
    stamp = [
        (target, str(path), path.stat().st_size, path.stat().st_mtime_ns) for target, path in sorted(files.items())
    ]
    key = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:16]
    folder = cache_folder() / f"{name}-{key}"
    if all((folder / target).is_file() for target in files):
        return folder
    beside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    for target, path in files.items():
        place = beside / target
        place.parent.mkdir(parents=True, exist_ok=True)
        _link(path, place)
    beside.chmod(0o755)
    if folder.exists():  # an old one whose links broke
        shutil.rmtree(folder, ignore_errors=True)
    try:
        beside.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _walk(sources: dict[str, Path]) -> Iterator[tuple[str, str, Path]]:
    for top, source in sources.items():
        if source.is_file():
            yield top, "", source
        for path in sorted(source.rglob("*")) if source.is_dir() else ():
            if path.is_file():
                yield top, path.relative_to(source).as_posix(), path


def _link(path: Path, place: Path) -> None:
    try:
        place.symlink_to(path)
    except OSError:  # Windows without the right, some network shares
        shutil.copyfile(path, place)


def cache_folder() -> Path:
    """The user's cache folder for models; where the home can't be written, a private one for this process."""
    roots = [os.environ.get("XDG_CACHE_HOME"), os.environ.get("LOCALAPPDATA")]
    root = next((Path(root) for root in roots if root), None)
    with suppress(OSError, RuntimeError):
        folder = (root or Path.home() / ".cache") / "mam-e" / "models"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return _private_cache()


@lru_cache(maxsize=1)
def _private_cache() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mam-e-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# -- hub --------------------------------------------------------------------------------------------------------------


def is_hub_name(text: str) -> bool:
    """Whether a name has the form owner/name."""
    owner, slash, name = text.partition("/")
    return bool(slash and owner and name) and "/" not in name and not text.startswith((".", "/", "~"))


def _from_hub(name: str, files: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(files), ignore_patterns=list(HUB_NOT)))
    except Exception as error:  # the hub's client raises a dozen kinds: offline, not found, gated, timed out, disk
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MameError(
            f"model {name!r} is no folder here and can't be fetched from the hub ({reason}); "
            "check the name, or download it on another machine and pass its folder"
        ) from None
