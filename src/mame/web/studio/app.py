"""The page as a whole: tabs, the model picker, and what the browser needs from this server."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, HTTPException
from starlette.responses import FileResponse, Response

from mame.errors import MameError
from mame.web.server import guard, is_loopback
from mame.web.studio import texts
from mame.web.studio.engine import Engine
from mame.web.studio.judging import assess_tab, read_tab
from mame.web.studio.making import generate_tab
from mame.web.studio.ordering import cohort_tab
from mame.web.studio.painting import MOST_MB, paint_tab
from mame.web.studio.running import stop_all
from mame.web.studio.session import Session, Shown
from mame.web.studio.words import in_words
from mame.web.viewer.routes import add_viewer, part_response

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; frame-ancestors 'self'; form-action 'self'"
)
"""Nothing from elsewhere; Gradio's page brings scripts of its own inside it, hence 'unsafe-inline' and -eval."""
HEAD = "".join(f'<script src="{name}"></script>' for name in
               ("viewer/bokeh.min.js", "viewer/viewer.js", "studio/static/painting.js",
                "studio/static/page.js"))  # fmt: skip
KEEP_S = 3600
QUEUE = 32


@dataclass(frozen=True)
class Access:
    """Who may use the studio. password: NAME:PASSWORD, or None where everybody who reaches it may."""

    host: str = "127.0.0.1"
    password: str | None = None
    everybody: bool = False

    def check(self) -> None:
        """Raises MameError where others could reach it and nothing was said about who may."""
        if not is_loopback(self.host) and self.password is None and not self.everybody:
            raise MameError(texts.REMOTE.format(host=self.host))
        if self.password is not None and not all(self.password.partition(":")[::2]):
            raise MameError("--auth: write NAME:PASSWORD")

    def pair(self) -> tuple[str, str] | None:
        """Name and password."""
        if self.password is None:
            return None
        name, _, word = self.password.partition(":")
        return name, word


@contextmanager
def studio(access: Access, model: str = "mini", device: str | None = None, port: int = 0) -> Iterator[FastAPI]:
    """The server's application; its folder of uploads and results goes when it ends.

    Raises MameError where access isn't safe, and for a model that isn't there.
    """
    from mame.diffusion.folders import model_folder

    access.check()
    model_folder(model)
    with tempfile.TemporaryDirectory(prefix="mam-e-studio-") as home:
        os.environ["GRADIO_TEMP_DIR"] = home
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        shown, engine = Shown(Path(home) / "sessions"), Engine(device)
        threading.Thread(target=engine.warm, args=(model,), daemon=True).start()
        app = FastAPI(openapi_url=None)
        guard(app, access.host, POLICY)
        add_viewer(app)
        _add_routes(app, shown)
        try:
            yield gr.mount_gradio_app(
                app, page(engine, shown, model), "/", server_name=access.host, server_port=port,
                auth=access.pair(), max_file_size=f"{MOST_MB}mb", show_error=False, ssr_mode=False, footer_links=[],
                theme=_theme(), css_paths=[STATIC / "studio.css"], head=HEAD, js=DARK, enable_monitoring=False,
                allowed_paths=[home], run_history=False,
            )  # fmt: skip
        finally:
            stop_all()


DARK = "() => { document.body.classList.add('dark'); document.documentElement.lang = 'en'; }"


def page(engine: Engine, shown: Shown, model: str) -> gr.Blocks:
    """All tabs."""
    with gr.Blocks(
        title=texts.TITLE, analytics_enabled=False, delete_cache=(KEEP_S, KEEP_S), fill_width=True
    ) as blocks:
        session = gr.State(Session(), time_to_live=4 * KEEP_S, delete_callback=shown.forget)
        gr.Markdown(f"# {texts.TITLE}\n{texts.INTRO} {texts.KEYS}", buttons=[])
        with gr.Accordion(texts.MODEL_NOW.format(name=model), open=False) as picker:
            with gr.Row(equal_height=True):
                name = gr.Textbox(model, label=texts.MODEL, info=texts.MODEL_INFO, max_length=500, scale=4,
                                  elem_id="model")  # fmt: skip
                choose = gr.Button(texts.OPEN_MODEL, scale=1, min_width=120, elem_id="open-model")
            chosen = gr.Markdown("", elem_id="model-status", elem_classes="mame-status", buttons=[])
            card = gr.Markdown(_card(model), buttons=[])
        with gr.Tabs():
            with gr.Tab(texts.GENERATE, id="generate"):
                generate_tab(engine, shown, session, name)
            with gr.Tab(texts.PAINT, id="paint"):
                paint_tab(engine, shown, session, name)
            with gr.Tab(texts.COHORT, id="cohort"):
                cohort_tab(shown, session)
            with gr.Tab(texts.ASSESS, id="assess"):
                assess_tab(shown, session)
            with gr.Tab(texts.READ, id="read"):
                read_tab()

        def opened(name: str) -> list[Any]:
            name = name.strip() or "mini"
            engine.open(name)
            return [_card(name), texts.MODEL_OPENED, gr.update(label=texts.MODEL_NOW.format(name=name))]

        for asked in (name.submit, choose.click):
            asked(in_words(opened, chosen), name, [card, chosen, picker], concurrency_id="model", concurrency_limit=1,
                  api_visibility="private")  # fmt: skip
    blocks.queue(max_size=QUEUE, default_concurrency_limit=4)
    return blocks


def _card(model: str) -> str:
    """What a model folder says of itself, without its front matter."""
    from mame.diffusion.folders import is_inpainting, model_folder, picture_size

    folder = model_folder(model)
    size = picture_size(folder)
    what = texts.PAINTS if is_inpainting(folder) else texts.MAKES
    told = texts.MODEL_LOADED.format(name=model, what=what, size=size)
    readme = folder / "README.md"
    text = readme.read_text(errors="replace")[:8000] if readme.is_file() else ""
    if text.startswith("---"):
        text = text.partition("\n---")[2].lstrip("-\n")
    return f"**{told}**\n\n{text}"


def _add_routes(app: FastAPI, shown: Shown) -> None:
    @app.get("/studio/static/{name}", include_in_schema=False)
    def static(name: str) -> FileResponse:
        if name not in ("painting.js", "page.js", "studio.css"):
            raise HTTPException(404)
        return FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})

    @app.get("/studio/part/{token}", include_in_schema=False)
    def part(token: str, x0: float, y0: float, x1: float, y1: float, width: int, height: int) -> Response:
        pyramid = shown.get(token)
        if pyramid is None:
            raise HTTPException(404)
        try:
            return part_response(pyramid, x0, y0, x1, y1, width, height)
        except MameError as error:
            raise HTTPException(422, str(error)) from None


def _theme() -> Any:
    """Dark and calm; fonts of the system, so that none is fetched."""
    fonts = ("system-ui", "Segoe UI", "Roboto", "sans-serif")
    mono = ("ui-monospace", "Menlo", "Consolas", "monospace")
    return gr.themes.Base(primary_hue="orange", neutral_hue="slate", font=fonts, font_mono=mono).set(
        button_primary_background_fill_dark="*primary_700", button_primary_background_fill_hover_dark="*primary_800",
        link_text_color_dark="*primary_300", link_text_color_hover_dark="*primary_200",
    )  # fmt: skip
