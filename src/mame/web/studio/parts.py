"""Parts that several tabs have, so that they look and behave the same everywhere."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mame.web.studio import texts


def html(value: str = "", **more: Any) -> gr.HTML:
    """Markup of our own, without the looks that Gradio gives to prose."""
    return gr.HTML(value, apply_default_css=False, **({"js_on_load": None} | more))


def recipe_box(name: str) -> gr.Textbox:
    """Lines for a shell, to be copied."""
    return gr.Textbox(
        "", label=texts.RECIPE, info=texts.RECIPE_INFO, lines=2, max_lines=8, interactive=False, buttons=["copy"],
        elem_id=name,
    )  # fmt: skip
