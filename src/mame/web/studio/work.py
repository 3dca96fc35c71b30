"""What the studio does, for the page and for programs alike: make, open, paint; each result is a piece on a desk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mame.dataset.picture import Framing
from mame.diffusion.folders import EMBEDDED, ModelCard, is_hub_name, is_inpainting, model_folder, read_card
from mame.errors import MameError
from mame.formats.png import write_mask_png
from mame.imaging.breast import find_breast
from mame.imaging.outline import reduced
from mame.mammogram import Box, Lesion, Mammogram
from mame.synthesis.cohort.check import look_at
from mame.synthesis.orders import read_source
from mame.web.studio import recipe, texts
from mame.web.studio.bundle import IMAGES, formats_of, thumbnail, write_bundle
from mame.web.studio.desk import Desk, Desks, Piece, shown
from mame.web.studio.engine import Engine, Making, Painting, Told

THUMB = 512
LEAST_IN_BREAST = 0.5
LEAST_SIDE = 4
LONGEST_NAME = 100
UPLOAD_LIMIT_MB = 200


@dataclass
class Studio:
    """The rooms behind the page. local: whether only this machine can reach it; model: the one it was started with."""

    engine: Engine
    desks: Desks
    model: str
    local: bool = True

    # -- models

    def check_model(self, name: str) -> str:
        """The name of a model that may be used here. Raises MameError for one that is not, or is none."""
        wanted = str(name or "").strip() or self.model
        known = wanted in EMBEDDED or wanted == self.model
        if not known and not self.local and not (is_hub_name(wanted) and not os.path.lexists(wanted)):
            raise MameError(texts.MODEL_ON_SERVER.format(name=wanted))  # folders of the server are not for its guests
        model_folder(wanted)
        return wanted

    def card(self, name: str) -> tuple[ModelCard, bool]:
        """(card, whether it paints) of a model."""
        folder = model_folder(name)
        return read_card(folder), is_inpainting(folder)

    # -- healthy mammograms

    def make(self, desk: Desk, model: str, asked: Making) -> Generator[Told, None, Piece]:
        """One picture, laid on a desk. Raises MameError as `Engine.make` does."""
        made = yield from self.engine.make(model, asked)
        key, folder = desk.new_folder()
        kinds = formats_of(made)
        command = recipe.generated(model, asked, IMAGES, ",".join(kinds))
        write_bundle(folder, made, [command])
        facts = {
            "prompt": asked.prompt, "seed": asked.seed, "index": asked.index, "side": asked.side, "model": model,
            "negative": asked.negative, "guidance": asked.guidance, "steps": asked.steps,
            "asked": _asked(made), "measured": measured(made, self.card(model)[0]), "dicom": len(kinds) > 1,
        }  # fmt: skip
        name = f"seed-{asked.seed}-{asked.index}.png"
        piece = Piece(key, folder, name, folder / IMAGES / "0000.png", facts, (command,), thumb=thumbnail(made, THUMB))
        return desk.put(piece)

    # -- lesions

    def open(self, desk: Desk, path: Path, name: str, spacing_mm: float | None, move: bool = False) -> Piece:
        """A file laid on a desk, to be painted into. Raises MameError for what is no mammogram."""
        key, folder = desk.new_folder()
        clean = file_name(name)
        own = folder / clean
        try:
            (shutil.move if move else shutil.copyfile)(path, own)
            source = _told_of(read_source(own, spacing_mm=spacing_mm), clean)
            piece = Piece(key, folder, clean, own, {"dicom": _is_dicom(source)}, (), given_mm=spacing_mm)
            self._show(piece, source)
        except MameError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise MameError(str(error).replace(str(own), clean)) from None
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise MameError(f"{clean}: {error.strerror or error}") from None
        return desk.put(piece)

    def take(self, made: Piece) -> Piece:
        """A picture that was made here, ready to be painted into."""
        if made.pyramid is None:
            self._show(made, read_source(made.wait()))
        return made

    def check_region(self, piece: Piece, region: Box | NDArray[np.bool_]) -> tuple[Box, float]:
        """(its box, the share of it that lies in the breast). Raises MameError where too little of it does."""
        assert piece.pyramid is not None
        assert piece.breast is not None
        mask = region.to_mask(piece.pyramid.shape) if isinstance(region, Box) else region
        box = Box.of_mask(mask)
        if box is None:
            raise MameError(texts.NO_MASK)
        if min(box.width, box.height) < LEAST_SIDE:
            raise MameError(texts.TOO_SMALL)
        rows, columns = box.slices()
        inside = _enlarged(piece.breast, piece.pyramid.shape, rows, columns)
        share = float(inside[mask[rows, columns]].mean())
        if share == 0:
            raise MameError(texts.OUTSIDE)
        if share < LEAST_IN_BREAST:
            raise MameError(texts.MOSTLY_OUTSIDE.format(share=share))
        return box, share

    def paint(
        self, desk: Desk, model: str, onto: Piece, region: Box | NDArray[np.bool_], asked: Painting
    ) -> Generator[Told, None, Piece]:
        """A lesion painted into a piece, laid on a desk as one more. Raises MameError as `Engine.paint` does."""
        self.check_region(onto, region)
        file = onto.wait()
        source = read_source(file, asked.prompt, onto.given_mm)
        key, folder = desk.new_folder()
        masks = [Path(shutil.copyfile(mask, folder / mask.name)) for mask in onto.masks]
        if not isinstance(region, Box):
            masks.append(folder / f"region-{len(masks) + 1}.png")
            write_mask_png(region, masks[-1], force=True)
        try:
            painted = yield from self.engine.paint(model, source, region, asked)
        except MameError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise MameError(str(error).replace(str(file), onto.name)) from None
        whole = painted.with_(lesions=(*_with_masks(painted.lesions[:-1], onto.lesions), painted.lesions[-1]))
        native = "0000.dcm" if source.stored is not None and _is_dicom(source) else "0000.png"
        place = region if isinstance(region, Box) else masks[-1]
        commands = _chain(onto, model, place, asked, onto.given_mm, ",".join(formats_of(painted)))
        facts = {
            "seed": asked.seed, "prompt": asked.prompt, "kind": str(painted.lesions[-1].kind), "model": model,
            "box": list(painted.lesions[-1].box.as_tuple()), "box_measured": painted.provenance["box_measured"],
            "dicom": len(formats_of(painted)) > 1, "guidance": asked.guidance, "steps": asked.steps,
        }  # fmt: skip
        piece = Piece(
            key, folder, onto.first.name, folder / IMAGES / native, facts, commands, onto, masks=masks,
            given_mm=onto.given_mm, lesions=whole.lesions,
        )  # fmt: skip
        self._show(piece, whole)
        piece.written = self.desks.writers.submit(write_bundle, folder, whole, commands)
        return desk.put(piece)

    def _show(self, piece: Piece, mammogram: Mammogram) -> None:
        piece.pyramid = shown(piece.folder, mammogram)
        piece.spacing_mm = mammogram.spacing_mm
        small, _ = reduced(mammogram.pixels)
        piece.breast = find_breast(small).mask
        piece.facts |= {
            "spacing_origin": str(mammogram.spacing_origin),
            "view": mammogram.description.view,
            "laterality": mammogram.laterality,
        }
        if not piece.thumb:
            piece.thumb = thumbnail(mammogram, THUMB)


def measured(mammogram: Mammogram, card: ModelCard) -> dict[str, Any] | None:
    """View, density and area as they are found in a picture; None where there is no breast in it."""
    try:
        if mammogram.spacing_mm is None:
            nominal = mammogram.with_(spacing_mm=1.0)  # the size is told by the share of the square, not in cm²
            found = look_at(nominal, Framing.CENTER_CROP).to_json()
            return found | {"area_cm2": None}
        return look_at(mammogram, Framing(card.frame)).to_json()
    except MameError:
        return None


def file_name(name: str) -> str:
    """The last part of a name that somebody else chose, without what is no letter of a name."""
    plain = PurePosixPath(name.replace("\\", "/")).name
    clean = "".join(char if char.isalnum() or char in "._- " else "_" for char in plain).strip(" .")
    return clean[-LONGEST_NAME:] or "mammogram"


def _chain(
    onto: Piece, model: str, place: Box | Path, asked: Painting, spacing_mm: float | None, formats: str
) -> tuple[str, ...]:
    """The lines before, writing to folders of their own, and the one that paints this lesion."""
    if onto.before is None and not onto.commands:
        return (recipe.painted(model, onto.name, place, asked, spacing_mm, IMAGES, formats),)
    number = len(onto.commands)
    before = [*onto.commands[:-1], onto.commands[-1].removesuffix(f"--out {IMAGES}") + f"--out step-{number}"]
    image = f"step-{number}/{onto.file.name}"
    return (*before, recipe.painted(model, image, place, asked, spacing_mm, IMAGES, formats))


def _with_masks(lesions: tuple[Lesion, ...], known: tuple[Lesion, ...]) -> tuple[Lesion, ...]:
    """Lesions read back from a file, with the masks that files have no room for."""
    masks = {lesion.box.as_tuple(): lesion.mask for lesion in known}
    return tuple(replace(lesion, mask=masks.get(lesion.box.as_tuple(), lesion.mask)) for lesion in lesions)


def _told_of(mammogram: Mammogram, name: str) -> Mammogram:
    return mammogram.with_(source=name)


def _is_dicom(mammogram: Mammogram) -> bool:
    return mammogram.stored is not None and "format" not in mammogram.stored.presentation


def _asked(mammogram: Mammogram) -> dict[str, str]:
    said = mammogram.description
    words = {"view": said.view, "density": said.density, "area": said.area}
    return {name: str(value) for name, value in words.items() if value is not None}


def _enlarged(small: NDArray[np.bool_], shape: tuple[int, int], rows: slice, columns: slice) -> NDArray[np.bool_]:
    """The part of a reduced mask that stands for rows and columns of the picture."""
    y = np.minimum(np.arange(rows.start, rows.stop) * small.shape[0] // shape[0], small.shape[0] - 1)
    x = np.minimum(np.arange(columns.start, columns.stop) * small.shape[1] // shape[1], small.shape[1] - 1)
    return np.asarray(small[y[:, None], x[None, :]])
