"""Taking pictures along: files of full depth, and the command that makes the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from mame.errors import MameError
from mame.formats.folder import manifest_line, write_folder
from mame.formats.png import write_mask_png
from mame.mammogram import Mammogram
from mame.web.studio import texts
from mame.web.studio.recipes import formats_of, made_by, mask_name
from mame.web.studio.session import Made, Session, Shown
from mame.web.studio.words import for_programs, in_words


@dataclass(frozen=True)
class Saving:
    """The part of a tab that saves: where files appear, and where the command stands."""

    files: gr.File
    recipe: gr.Code

    @staticmethod
    def told(made: Made) -> str:
        """The command for one picture."""
        return recipe(made)


def save_tab(
    shown: Shown, session: gr.State, chosen: Callable[[Session], Made | None], api_name: str | None = None
) -> Saving:
    """Builds it. chosen: the picture that is saved. api_name: what programs call it, if they may."""
    with gr.Accordion(texts.EXPORT, open=True):
        gr.Markdown(texts.EXPORT_INFO)
        button = gr.Button(texts.EXPORT_BUTTON, elem_classes="mame-prepare")
        files = gr.File(
            label=texts.FILES, file_count="multiple", interactive=False, elem_classes="mame-files", height=130
        )
        command = gr.Code(
            "", label=texts.RECIPE, language="shell", interactive=False, wrap_lines=True, lines=3, max_lines=8,
            elem_classes="mame-recipe",
        )  # fmt: skip

        trouble = gr.Markdown("", elem_classes="mame-status", buttons=[])

    def prepare(state: Session) -> list[str]:
        made = chosen(state)
        if made is None:
            raise MameError(texts.NOTHING_MADE)
        return [str(path) for path in written(made.mammogram, shown.folder_of(state))]

    button.click(in_words(lambda state: [prepare(state), ""], trouble), session, [files, trouble],
                 api_visibility="private")  # fmt: skip
    if api_name is not None:
        gr.Button(visible=False).click(for_programs(prepare), session, files, api_name=api_name)
    return Saving(files, command)


def written(mammogram: Mammogram, folder: Path) -> list[Path]:
    """16-bit PNG, DICOM where it can be one, masks and labels of a picture, in a new folder inside `folder`.

    One mask of all lesions, and, where there are several, one of each.
    """
    number = len([path for path in folder.iterdir() if path.is_dir()])
    place = folder / f"{number:03d}"
    write_folder([mammogram], place, formats_of(mammogram))
    files = sorted(path for path in place.iterdir() if path.suffix in (".png", ".dcm"))
    masks = {number: lesion.mask for number, lesion in enumerate(mammogram.lesions, 1) if lesion.mask is not None}
    named = {mask_name(0, several=False): np.any(list(masks.values()), axis=0)} if masks else {}
    if len(mammogram.lesions) > 1:
        named |= {mask_name(number, several=True): mask for number, mask in masks.items()}
    for name, mask in named.items():
        write_mask_png(mask, place / name)
        files.append(place / name)
    labels = place / "labels.json"
    line = manifest_line(mammogram, [path.name for path in files], *list(named)[:1])
    labels.write_text(json.dumps(line, indent=1, default=str) + "\n")
    return [*files, labels]


def recipe(made: Made) -> str:
    """The command that makes a generated picture again."""
    return made_by(made.row, made.index, made.model, made.device, formats_of(made.mammogram))
