"""The fourth and fifth tab: a report on two folders, and reader studies."""

from __future__ import annotations

import html
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from mame.errors import MameError
from mame.web.studio import texts
from mame.web.studio.running import told_by
from mame.web.studio.session import Session, Shown
from mame.web.studio.words import in_words

FRAME = '<iframe class="mame-report" srcdoc="{page}" sandbox="" title="{title}"></iframe>'
HOST = "127.0.0.1"


def assess_tab(shown: Shown, session: gr.State) -> None:
    """Builds the tab of reports."""
    with gr.Row():
        real = gr.Textbox(label=texts.REAL_FOLDER, info=texts.FOLDER_INFO, elem_id="real-folder")
        synthetic = gr.Textbox(label=texts.SYNTHETIC_FOLDER, info=texts.FOLDER_INFO, elem_id="synthetic-folder")
    with gr.Row():
        start = gr.Button(texts.START_ASSESS, variant="primary", elem_id="assess")
        stop = gr.Button(texts.STOP, variant="stop")
    status = gr.Markdown("", elem_id="assess-status", elem_classes="mame-status", buttons=[])
    files = gr.File(label=texts.FILES, file_count="multiple", interactive=False)
    report = gr.HTML("", elem_id="report", label=texts.REPORT)

    def assessed(state: Session, real: str, synthetic: str) -> Iterator[list[Any]]:
        sides = [_folder(real), _folder(synthetic)]
        out = shown.folder_of(state) / "report"
        shutil.rmtree(out, ignore_errors=True)

        def work(tell: Callable[[str], None]) -> None:
            from mame.assess.report import assess
            from mame.assess.run import Order

            assess(sides[0], sides[1], out, Order(), say=tell)

        for said in told_by(work):
            yield [said, "", []]
        page = FRAME.format(page=html.escape((out / "report.html").read_text()), title=texts.REPORT)
        yield ["", page, [str(out / "report.html"), str(out / "report.json")]]

    work = start.click(in_words(assessed, status), [session, real, synthetic], [status, report, files],
                       api_visibility="private", concurrency_limit=1)  # fmt: skip
    stop.click(lambda: texts.STOPPED_SHORT, None, status, cancels=[work], queue=False, api_visibility="private")


def read_tab() -> None:
    """Builds the tab of reader studies. The reading room is a server of its own, on this computer."""
    study = gr.Textbox(label=texts.STUDY_FOLDER, info=texts.STUDY_INFO, elem_id="study-folder")
    with gr.Accordion(texts.NEW_STUDY, open=False):
        with gr.Row():
            real = gr.Textbox(label=texts.REAL_FOLDER, info=texts.FOLDER_INFO)
            synthetic = gr.Textbox(label=texts.SYNTHETIC_FOLDER, info=texts.FOLDER_INFO)
        with gr.Row():
            images = gr.Slider(4, 200, 28, step=1, label=texts.STUDY_IMAGES)
            readers = gr.Slider(1, 20, 1, step=1, label=texts.STUDY_READERS)
        draw = gr.Button(texts.NEW_STUDY, elem_id="draw-study")
    afresh = gr.Checkbox(False, label=texts.NEW_LINKS, info=texts.NEW_LINKS_INFO)
    serve = gr.Button(texts.SERVE_STUDY, variant="primary", elem_id="serve-study")
    links = gr.Markdown("", elem_id="links", elem_classes="mame-status", buttons=[])

    def drawn(study: str, real: str, synthetic: str, images: float, readers: float) -> str:
        from mame.assess.readers.study import Kind, new_study

        new_study(_folder(real), _folder(synthetic), Path(study.strip()), kind=Kind.REAL, images=int(images),
                  repeats=0, readers=int(readers), seed=0, margin=0.1, force=False)  # fmt: skip
        return texts.STUDY_DRAWN.format(folder=study.strip())

    rooms: dict[Path, str] = {}
    opening = threading.Lock()

    def served(study: str, afresh: bool) -> str:
        from mame.assess.readers.store import AnswerStore

        folder = _folder(study).resolve()
        store = AnswerStore(folder)
        with opening:  # a study has one room, however often it is opened
            if folder not in rooms:
                rooms[folder] = _open_room(folder)
            address = rooms[folder]
            if store.has_tokens() and not afresh:
                return texts.LINKS_HOLD.format(address=address)
            links = [f"{address}#{token}" for token in store.make_tokens()]
        return "\n".join([texts.READING_AT, *[f"- [{link}]({link})" for link in links]])

    draw.click(in_words(drawn, links), [study, real, synthetic, images, readers], links, api_visibility="private")
    serve.click(in_words(served, links), [study, afresh], links, api_visibility="private")


def _open_room(folder: Path) -> str:
    """Starts the reading room of a study on this computer; returns its address."""
    from mame.web.room.app import room
    from mame.web.server import address_of, free_port, run

    app = room(folder, HOST)
    port = free_port(HOST, 0)
    threading.Thread(target=run, args=(app, HOST, port), daemon=True).start()
    return address_of(HOST, port)


def _folder(text: str) -> Path:
    path = Path(text.strip()).expanduser()
    if not text.strip() or not path.is_dir():
        raise MameError(texts.NO_FOLDER.format(folder=text.strip()) if text.strip() else texts.WHICH_FOLDER)
    return path
