"""The page as a whole: its head, the model, the tabs, the keys."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from mame.diffusion.folders import available_models
from mame.errors import MameError
from mame.web.studio import sheet, texts
from mame.web.studio.api import add_api
from mame.web.studio.generate import GenerateTab
from mame.web.studio.parts import html
from mame.web.studio.work import Studio

STATIC = Path(__file__).parent / "static"
CACHE_S = 3600
HEAD = """
<link rel="stylesheet" href="viewer/viewer.css">
<link rel="stylesheet" href="studio/studio.css">
<script src="viewer/viewer.js" defer></script>
<script src="studio/canvas.js" defer></script>
<script src="studio/keys.js" defer></script>
<meta name="color-scheme" content="dark">
"""
DARK = "() => { document.documentElement.lang = 'en'; document.body.classList.add('dark'); }"


def build(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    with gr.Blocks(
        title=texts.TITLE, analytics_enabled=False, fill_width=True, delete_cache=(CACHE_S, CACHE_S)
    ) as page:
        html(f"<header><h1>{texts.TITLE}</h1><p>{escape(texts.SUBTITLE)}</p></header>", elem_id="head")
        model = _model_picker(studio)
        with gr.Tabs(elem_id="tabs"), gr.Tab(texts.TAB_GENERATE, id="generate"):
            GenerateTab(studio, model)
        html(_keys(), elem_id="keys")
        add_api(studio)

        def leave(request: gr.Request) -> None:
            studio.desks.leave(request.session_hash)

        page.unload(leave)
    page.queue(default_concurrency_limit=8, max_size=64)
    return page


def theme() -> Any:
    """Dark, with the fonts that a machine has: none is fetched."""
    fonts = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "Consolas", "monospace"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.amber, neutral_hue=gr.themes.colors.slate, font=fonts, font_mono=mono
    ).set(
        body_background_fill="#0d0f12", body_background_fill_dark="#0d0f12",
        body_text_color="#e4e7ea", body_text_color_dark="#e4e7ea",
        body_text_color_subdued="#a9b0b9", body_text_color_subdued_dark="#a9b0b9",
        block_background_fill="#181b20", block_background_fill_dark="#181b20",
        block_info_text_color="#a9b0b9", block_info_text_color_dark="#a9b0b9",
        block_label_text_color="#c9ced4", block_label_text_color_dark="#c9ced4",
        block_title_text_color="#c9ced4", block_title_text_color_dark="#c9ced4",
        input_background_fill="#0d0f12", input_background_fill_dark="#0d0f12",
        input_placeholder_color="#98a0aa", input_placeholder_color_dark="#98a0aa",
        border_color_primary="#3a4049", border_color_primary_dark="#3a4049",
        button_primary_background_fill="#ffb347", button_primary_background_fill_dark="#ffb347",
        button_primary_background_fill_hover="#ffc56e", button_primary_background_fill_hover_dark="#ffc56e",
        button_primary_text_color="#14161a", button_primary_text_color_dark="#14161a",
        button_secondary_background_fill="#262b32", button_secondary_background_fill_dark="#262b32",
        button_secondary_text_color="#e4e7ea", button_secondary_text_color_dark="#e4e7ea",
        button_cancel_background_fill="#262b32", button_cancel_background_fill_dark="#262b32",
        button_cancel_text_color="#ff9d94", button_cancel_text_color_dark="#ff9d94",
        slider_color="#ffb347", slider_color_dark="#ffb347",
    )  # fmt: skip


def _model_picker(studio: Studio) -> gr.Dropdown:
    names = [entry.name for entry in available_models()]
    names = list(dict.fromkeys([studio.model, *names]))
    with gr.Row(elem_id="model-row", equal_height=False):
        with gr.Column(scale=2, min_width=300):
            model = gr.Dropdown(
                names, value=studio.model, label=texts.MODEL, info=texts.MODEL_INFO, allow_custom_value=True,
                elem_id="model",
            )  # fmt: skip
        with gr.Column(scale=3, min_width=300):
            card = html(_card(studio, studio.model), elem_id="model-card")
    model.change(lambda name: _card(studio, name), model, card, show_progress="hidden", api_visibility="private")
    return model


def _card(studio: Studio, name: str) -> str:
    """What a model says about itself, or why it is none."""
    try:
        wanted = studio.check_model(name)
        card, paints = studio.card(wanted)
    except MameError as error:
        return sheet.mistake(error)
    does = texts.MODEL_PAINTS if paints else texts.MODEL_BOTH if card.companion else texts.MODEL_MAKES
    facts = [
        (texts.CARD_VENDORS, ", ".join(card.vendors)),
        (texts.CARD_LESIONS, ", ".join(card.lesions)),
        (texts.CARD_FRAME, texts.FRAMES[str(card.frame)].format(mm=card.field_mm or 0)),
        (texts.CARD_COMPANION, card.companion or ""),
        (texts.CARD_TRAINING, ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in card.training.items())),
    ]
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts if value)
    return f'<p class="mame-said"><b>{escape(wanted)}</b> {escape(does)}.</p><dl class="mame-card">{rows}</dl>'


def _keys() -> str:
    rows = "".join(f"<dt><kbd>{escape(keys)}</kbd></dt><dd>{escape(what)}</dd>" for keys, what in texts.KEYS_TEXT)
    return f"<details><summary>{texts.KEYS}</summary><dl>{rows}</dl></details>"
