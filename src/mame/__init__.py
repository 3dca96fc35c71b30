"""MAM-E: mammograms on order.

`mame.load_model("mini").generate(prompt)` makes mammograms, `.inpaint(mammogram, box)` paints a lesion into one;
`mame.read` and `mame.write` are files. Every command of `mam-e` is a function of the same name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mame.assess.cad.study import cad
    from mame.assess.readers.analysis import analyse_study, analyse_table
    from mame.assess.readers.study import new_study
    from mame.dataset.export import export
    from mame.dataset.fuse import fuse
    from mame.dataset.gather import prepare
    from mame.dataset.read import PreparedSet, open_set
    from mame.dataset.verify import verify
    from mame.diffusion.config import Goal, TrainConfig
    from mame.diffusion.folders import ModelCard, ModelEntry, available_models, model_folder
    from mame.diffusion.model import Model, load_model, save_model
    from mame.diffusion.publish import publish
    from mame.diffusion.train import train
    from mame.errors import MameError
    from mame.formats.files import read, write
    from mame.formats.folder import write_folder
    from mame.formats.manifest import read_manifest
    from mame.mammogram import (
        Area,
        Box,
        Density,
        Description,
        Laterality,
        Lesion,
        LesionKind,
        Mammogram,
        SpacingOrigin,
        View,
    )
    from mame.synthesis.cohort.run import foresee, synthesize
    from mame.synthesis.cohort.send import send
    from mame.synthesis.demo import demo
    from mame.synthesis.orders import generate, inpaint
    from mame.synthesis.phantoms import phantom
    from mame.synthesis.plan import Plan, read_plan

_HOMES = {
    "mame.assess.cad.study": ("cad",),
    "mame.assess.readers.analysis": ("analyse_study", "analyse_table"),
    "mame.assess.readers.study": ("new_study",),
    "mame.dataset.export": ("export",),
    "mame.dataset.fuse": ("fuse",),
    "mame.dataset.gather": ("prepare",),
    "mame.dataset.read": ("PreparedSet", "open_set"),
    "mame.dataset.verify": ("verify",),
    "mame.diffusion.config": ("Goal", "TrainConfig"),
    "mame.diffusion.folders": ("ModelCard", "ModelEntry", "available_models", "model_folder"),
    "mame.diffusion.model": ("Model", "load_model", "save_model"),
    "mame.diffusion.publish": ("publish",),
    "mame.diffusion.train": ("train",),
    "mame.errors": ("MameError",),
    "mame.formats.files": ("read", "write"),
    "mame.formats.folder": ("write_folder",),
    "mame.formats.manifest": ("read_manifest",),
    "mame.mammogram": (
        "Area",
        "Box",
        "Density",
        "Description",
        "Laterality",
        "Lesion",
        "LesionKind",
        "Mammogram",
        "SpacingOrigin",
        "View",
    ),
    "mame.synthesis.cohort.run": ("foresee", "synthesize"),
    "mame.synthesis.cohort.send": ("send",),
    "mame.synthesis.demo": ("demo",),
    "mame.synthesis.orders": ("generate", "inpaint"),
    "mame.synthesis.phantoms": ("phantom",),
    "mame.synthesis.plan": ("Plan", "read_plan"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Area",
    "Box",
    "Density",
    "Description",
    "Goal",
    "Laterality",
    "Lesion",
    "LesionKind",
    "MameError",
    "Mammogram",
    "Model",
    "ModelCard",
    "ModelEntry",
    "Plan",
    "PreparedSet",
    "SpacingOrigin",
    "TrainConfig",
    "View",
    "__version__",
    "analyse_study",
    "analyse_table",
    "available_models",
    "cad",
    "demo",
    "export",
    "foresee",
    "fuse",
    "generate",
    "inpaint",
    "load_model",
    "model_folder",
    "models",
    "new_study",
    "open_set",
    "phantom",
    "prepare",
    "publish",
    "read",
    "read_manifest",
    "read_plan",
    "save_model",
    "send",
    "synthesize",
    "train",
    "verify",
    "write",
    "write_folder",
]


def models() -> "list[ModelEntry]":
    """The embedded models of this installation; the same as `available_models`."""
    return import_module("mame.diffusion.folders").available_models()  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    """Names are fetched when they are first asked for: importing mame imports neither torch nor NumPy."""
    if name == "__version__":
        return _version()
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mam-e")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
