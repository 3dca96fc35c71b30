"""The first tab: choose the words, generate, look at what came out, and go on from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from mame.errors import MameError
from mame.mammogram import Area, Density, View
from mame.prompt import DENSITY_WORDS, Priority
from mame.web.studio import forms, sheet, texts
from mame.web.studio.desk import Desk, Piece
from mame.web.studio.engine import Making, Told
from mame.web.studio.parts import html, recipe_box
from mame.web.studio.work import Studio

MODEL_WORK = "model"  # the line in which everything that needs the model waits
VARIED = ("density", "area", "view", "vendor")
PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-piece]');
  if (button) trigger('picked', { piece: button.dataset.piece });
});
"""
News = tuple[str, str]  # the sheet, and where the work is


class GenerateTab:
    """Components that other parts of the page refer to. sheet_ids: what lies on the sheet, for this page alone."""

    def __init__(self, studio: Studio, model: gr.Dropdown) -> None:
        self.studio = studio
        self.sheet_ids = gr.State([])
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self._form()
            with gr.Column(scale=5, min_width=320):
                self.news = html(elem_id="generate-news", elem_classes="mame-live")
                self.sheet = html(sheet.sheet([]), elem_id="sheet", js_on_load=PICK)
                self._choice()
        self._connect(model)

    # -- what is on it

    def _form(self) -> None:
        card, _ = self.studio.card(self.studio.model)
        vendors = [texts.LEFT_TO_MODEL, *card.vendors]
        words = {
            texts.DENSITY_LETTERS.format(word=word, letter=letter): letter for letter, word in DENSITY_WORDS.items()
        }
        densities = [(texts.LEFT_TO_MODEL, texts.LEFT_TO_MODEL), *((shown, str(one)) for shown, one in words.items())]
        with gr.Row():
            self.vendor = gr.Dropdown(vendors, value=vendors[-1], label=texts.VENDOR, min_width=120, elem_id="vendor")
            self.view = gr.Dropdown(
                [texts.LEFT_TO_MODEL, *map(str, View)], value="MLO", label=texts.VIEW, min_width=120, elem_id="view"
            )
        with gr.Row():
            self.density = gr.Dropdown(
                densities, value=str(Density.C), label=texts.DENSITY, min_width=120, elem_id="density"
            )
            self.area = gr.Dropdown(
                [texts.LEFT_TO_MODEL, *map(str, Area)], value="medium", label=texts.AREA, min_width=120, elem_id="area"
            )
        self.side = gr.Radio(list(texts.RIGHT_LEFT), value="L", label=texts.SIDE, elem_id="side")
        first = forms.built_prompt(vendors[-1], "MLO", str(Density.C), "medium", Priority.DENSITY)
        self.prompt = gr.Textbox(
            first, label=texts.PROMPT, info=texts.PROMPT_INFO, lines=2, max_lines=4, elem_id="prompt"
        )
        with gr.Row():
            self.seed = gr.Textbox("1", label=texts.SEED, info=texts.SEED_INFO, min_width=120, elem_id="seed")
            self.count = gr.Slider(
                1, forms.MOST_PICTURES, value=1, step=1, label=texts.COUNT, min_width=140, elem_id="count"
            )
        self.dice = gr.Button(texts.DICE, size="sm", elem_id="dice")
        with gr.Row():
            self.go = gr.Button(texts.GENERATE, variant="primary", elem_id="generate", min_width=140)
            self.stop = gr.Button(texts.STOP, variant="stop", elem_id="generate-stop", min_width=80)
        with gr.Accordion(texts.MORE_SETTINGS, open=False):
            self.priority = gr.Dropdown(
                [str(one) for one in Priority], value=str(Priority.DENSITY), label=texts.PRIORITY,
                info=texts.PRIORITY_INFO, elem_id="priority",
            )  # fmt: skip
            self.negative = gr.Textbox(label=texts.NEGATIVE, info=texts.NEGATIVE_INFO, elem_id="negative")
            self.guidance = gr.Slider(
                0, forms.MOST_GUIDANCE, value=4, step=0.5, label=texts.GUIDANCE, info=texts.GUIDANCE_INFO,
                elem_id="guidance",
            )  # fmt: skip
            self.steps = gr.Slider(
                1, forms.MOST_STEPS, value=24, step=1, label=texts.STEPS, info=texts.STEPS_INFO, elem_id="steps"
            )

    def _choice(self) -> None:
        self.chosen = gr.Textbox(visible="hidden", elem_id="chosen")
        self.told = html(sheet.said(texts.CHOSEN_NONE), elem_id="chosen-told")
        with gr.Group(visible=False) as self.actions:
            with gr.Row():
                self.more = gr.Button(texts.MORE, elem_id="more", min_width=140)
                self.paint_into = gr.Button(texts.PAINT_INTO, elem_id="paint-into", min_width=140)
            with gr.Row(equal_height=True):
                self.vary_what = gr.Dropdown(list(VARIED), value="density", label=texts.VARY_WHAT, elem_id="vary-what")
                self.vary = gr.Button(texts.VARY, elem_id="vary", min_width=140)
            self.links = html(elem_id="generate-links")
            self.recipe = recipe_box("recipe")

    # -- what it does

    def _connect(self, model: gr.Dropdown) -> None:
        words = [self.vendor, self.view, self.density, self.area, self.priority]
        gr.on(
            [word.input for word in words], forms.built_prompt, words, self.prompt,
            show_progress="hidden", queue=False, api_visibility="private",
        )  # fmt: skip
        self.dice.click(forms.new_seed, None, self.seed, queue=False, show_progress="hidden", api_visibility="private")
        form = [self.prompt, self.negative, self.side, self.guidance, self.steps, self.seed, self.count, model]
        outputs = [self.sheet_ids, self.sheet, self.news, self.chosen]
        run: dict[str, Any] = {
            "concurrency_id": MODEL_WORK, "concurrency_limit": 1, "api_visibility": "private",
            "show_progress": "full", "show_progress_on": [self.news], "trigger_mode": "once",
        }  # fmt: skip
        made: list[Any] = [
            self.go.click(self.generate, form, outputs, **run),
            self.more.click(self.more_like_this, [self.chosen, self.sheet_ids, self.count, model], outputs, **run),
            self.vary.click(self.other_words, [self.chosen, self.sheet_ids, self.vary_what, model], outputs, **run),
        ]
        self.stop.click(
            lambda: sheet.said(texts.STOPPED), None, self.news, cancels=made, queue=False, api_visibility="private"
        )
        shown = [self.chosen, self.sheet, self.told, self.actions, self.links, self.recipe]
        self.sheet.picked(
            self.pick, self.sheet_ids, shown, queue=False, show_progress="hidden", api_visibility="private"
        )
        self.chosen.change(
            self.show_choice, [self.chosen, self.sheet_ids], shown[1:], queue=False, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip

    def generate(
        self, prompt: str, negative: str, side: str, guidance: float, steps: float, seed: str, count: float, model: str,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Pictures from the form."""
        try:
            asked = making(prompt, negative, side, guidance, steps, seed)
            number = forms.whole_of(texts.COUNT, count, 1, forms.MOST_PICTURES)
            name = self.studio.check_model(model)
        except MameError as error:
            yield gr.skip(), gr.skip(), sheet.mistake(error), gr.skip()
            return
        row = [replace(asked, index=index) for index in range(number)]
        yield from self._make(request, name, [(one, "") for one in row], [])

    def more_like_this(
        self, chosen: str, ids: list[str], count: float, model: str, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """The next pictures of the chosen one's row, behind those that are there."""
        desk = self.studio.desks.of(request.session_hash)
        try:
            like = making_of(desk.piece(chosen))
            name = self.studio.check_model(model)
        except MameError as error:
            yield gr.skip(), gr.skip(), sheet.mistake(error), gr.skip()
            return
        there = [making_of(piece) for piece in _pieces(desk, ids)]
        same = [one.index for one in there if replace(one, index=0) == replace(like, index=0)]
        first = max(same, default=like.index) + 1
        row = [(replace(like, index=first + i), "") for i in range(int(count))]
        yield from self._make(request, name, row, ids)

    def other_words(
        self, chosen: str, ids: list[str], what: str, model: str, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """The chosen picture once for every word of an attribute."""
        desk = self.studio.desks.of(request.session_hash)
        try:
            like = making_of(desk.piece(chosen))
            name = self.studio.check_model(model)
            words = forms.varied(like.prompt, what, self.studio.card(name)[0].vendors)
        except MameError as error:
            yield gr.skip(), gr.skip(), sheet.mistake(error), gr.skip()
            return
        yield from self._make(request, name, [(replace(like, prompt=text), word) for word, text in words], [])

    def _make(
        self, request: gr.Request, model: str, row: Sequence[tuple[Making, str]], before: list[str]
    ) -> Iterator[tuple[Any, ...]]:
        desk, began, ids = self.studio.desks.of(request.session_hash), time.monotonic(), list(before)
        yield gr.skip(), gr.skip(), sheet.news(texts.LOADING), gr.skip()
        try:
            for number, (asked, word) in enumerate(row, start=1):
                work = self.studio.make(desk, model, asked)
                piece = yield from telling(work, number, len(row), texts.MAKING, _news)
                piece.facts["word"] = word
                ids.append(piece.id)
                yield ids, sheet.sheet(_pieces(desk, ids), ids[-1]), gr.skip(), ids[-1]
        except MameError as error:
            yield ids, gr.skip(), sheet.mistake(error), gr.skip()
            return
        took = time.monotonic() - began
        yield ids, gr.skip(), sheet.said(texts.MADE.format(count=len(row), seconds=took)), gr.skip()

    def pick(self, ids: list[str], event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """A picture was chosen on the sheet."""
        key = str(event._data.get("piece", ""))
        return key, *self.show_choice(key, ids, request)

    def show_choice(self, key: str, ids: list[str], request: gr.Request) -> tuple[Any, ...]:
        """What can be done with the chosen picture."""
        desk = self.studio.desks.of(request.session_hash)
        pieces = _pieces(desk, ids)
        piece = desk.pieces.get(key)
        if piece is None:
            return sheet.sheet(pieces), sheet.said(texts.CHOSEN_NONE), gr.Group(visible=False), "", ""
        number = ids.index(key) + 1 if key in ids else 1
        told = sheet.said(texts.CHOSEN.format(number=number, prompt=piece.facts["prompt"]))
        return (
            sheet.sheet(pieces, key), told, gr.Group(visible=True), sheet.links(piece), sheet.recipe(piece.commands)
        )  # fmt: skip


def making(prompt: str, negative: str, side: str, guidance: float, steps: float, seed: str | int) -> Making:
    """What a form asks for. Raises MameError in plain words."""
    return Making(
        forms.prompt_of(prompt),
        " ".join(str(negative or "").split())[: forms.LONGEST_TEXT],
        forms.number_of(texts.GUIDANCE, guidance, 0, forms.MOST_GUIDANCE),
        forms.whole_of(texts.STEPS, steps, 1, forms.MOST_STEPS),
        forms.seed_of(seed),
        0,
        forms.one_of(texts.SIDE, side, ("L", "R")),
    )


def making_of(piece: Piece) -> Making:
    """What a picture was made from."""
    said = piece.facts
    return Making(
        said["prompt"], said["negative"], said["guidance"], said["steps"], said["seed"], said["index"], said["side"]
    )


def _pieces(desk: Desk, ids: Sequence[str]) -> list[Piece]:
    return [desk.pieces[key] for key in ids if key in desk.pieces]


def _news(html: str) -> tuple[Any, ...]:
    return gr.skip(), gr.skip(), html, gr.skip()


def telling(
    work: Generator[Told, None, Piece], number: int, count: int, text: str, show: Callable[[str], tuple[Any, ...]]
) -> Generator[tuple[Any, ...], None, Piece]:
    """News of one piece of work of several, for the page; its result."""
    try:
        while True:
            try:
                told = next(work)
            except StopIteration as ended:
                made: Piece = ended.value
                return made
            share = (number - 1 + told.done / told.total) / count
            line = text.format(number=number, count=count, done=told.done, total=told.total)
            yield show(sheet.news(line, told, share))
    finally:
        work.close()  # where the page was closed or stopped: the model is then free at its next step
