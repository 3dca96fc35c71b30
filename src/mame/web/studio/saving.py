"""Taking pictures along: files of full depth, and the command that makes the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from mame.errors import MameError
from mame.formats.folder import Format, manifest_line, write_folder
from mame.formats.png import write_mask_png
from mame.mammogram import Mammogram
from mame.web.studio import texts
from mame.web.studio.session import Made, Session, Shown
from mame.web.studio.words import plain_error


@dataclass(frozen=True)
class Saving:
    """The part of a tab that saves: where files appear, and where the command stands."""

    files: gr.File
    recipe: gr.Code

    @staticmethod
    def told(made: Made) -> str:
        """The command for one picture."""
        return recipe(made)


def save_tab(shown: Shown, session: gr.State, chosen: Callable[[Session], Made | None]) -> Saving:
    """Builds it. chosen: the picture that is saved."""
    with gr.Accordion(texts.EXPORT, open=True):
        gr.Markdown(texts.EXPORT_INFO)
        button = gr.Button(texts.EXPORT_BUTTON, elem_id="prepare-files")
        files = gr.File(label=texts.FILES, file_count="multiple", interactive=False, elem_id="files")
        command = gr.Code(
            "", label=texts.RECIPE, language="shell", interactive=False, wrap_lines=True, lines=3, max_lines=8,
            elem_id="recipe",
        )  # fmt: skip

    def prepare(state: Session) -> list[str]:
        made = chosen(state)
        if made is None:
            raise MameError(texts.NOTHING_MADE)
        return [str(path) for path in written(made.mammogram, shown.folder_of(state))]

    button.click(plain_error(prepare), session, files, api_name="save")
    return Saving(files, command)


def written(mammogram: Mammogram, folder: Path) -> list[Path]:
    """16-bit PNG, DICOM where it can be one, mask and labels of a picture, in a new folder inside `folder`."""
    number = len([path for path in folder.iterdir() if path.is_dir()])
    place = folder / f"{number:03d}"
    kinds = [Format.PNG, Format.DICOM]
    if mammogram.spacing_mm is None or (mammogram.description.view is None and mammogram.stored is None):
        kinds = [Format.PNG]
    write_folder([mammogram], place, kinds)
    files = sorted(path for path in place.iterdir() if path.suffix in (".png", ".dcm"))
    masks = [lesion.mask for lesion in mammogram.lesions if lesion.mask is not None]
    if masks:
        write_mask_png(np.any(masks, axis=0), place / "0000-mask.png")
        files.append(place / "0000-mask.png")
    labels = place / "labels.json"
    labels.write_text(json.dumps(manifest_line(mammogram, [path.name for path in files]), indent=1, default=str) + "\n")
    return [*files, labels]


def recipe(made: Made) -> str:
    """The command whose picture number `made.index` (from 0000) is this one, pixel for pixel."""
    row = made.row
    words = ["mam-e", "generate", row.prompt, "--model", made.model, "--count", str(made.index + 1), "--seed",
             str(row.seed), "--steps", str(row.steps), "--guidance", f"{row.guidance:g}", "--side", str(row.side),
             "--batch", "1"]  # fmt: skip
    if row.negative:
        words += ["--negative", row.negative]
    return shlex.join([*words, "--format", "png,dicom", "--out", "made"])
