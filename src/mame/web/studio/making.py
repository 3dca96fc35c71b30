"""The first tab: from attributes to mammograms."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from mame import prompt as language
from mame.errors import MameError
from mame.imaging.density import density_class
from mame.mammogram import Area, Density, Description, Laterality, Mammogram, View
from mame.web.studio import texts
from mame.web.studio.engine import Engine, Row
from mame.web.studio.saving import Saving, save_tab
from mame.web.studio.session import Made, Session, Shown
from mame.web.studio.words import for_programs, in_words, whole_number

MOST = 16
DENSITIES = [(f"{density} ({words})", str(density)) for density, words in language.DENSITY_WORDS.items()]
ATTRIBUTES = ("vendor", "view", "density", "area")
Choice = str | None


def generate_tab(engine: Engine, shown: Shown, session: gr.State, model: gr.Textbox) -> gr.Gallery:
    """Builds the tab; returns its gallery."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            with gr.Row():
                vendor = gr.Dropdown(_choices(list(texts.VENDORS)), value=texts.VENDORS[0], label=texts.VENDOR,
                                     allow_custom_value=True)  # fmt: skip
                view = gr.Dropdown(_choices(list(View)), value="MLO", label=texts.VIEW)
            with gr.Row():
                density = gr.Dropdown([(texts.ANY, ""), *DENSITIES], value="C", label=texts.DENSITY)
                area = gr.Dropdown(_choices(list(Area)), value="medium", label=texts.AREA)
            with gr.Row():
                priority = gr.Dropdown(list(language.Priority), value="density", label=texts.PRIORITY,
                                       info=texts.PRIORITY_INFO)  # fmt: skip
                side = gr.Radio(list(Laterality), value="L", label=texts.SIDE)
            said = gr.Textbox(_prompt(texts.VENDORS[0], "MLO", "C", "medium", "density"), label=texts.PROMPT, lines=2,
                              info=texts.PROMPT_INFO, max_length=500)  # fmt: skip
            with gr.Row(equal_height=True):
                count = gr.Slider(1, MOST, 1, step=1, label=texts.COUNT, scale=3, min_width=120)
                seed = gr.Textbox("0", label=texts.SEED, max_length=12, scale=2, min_width=90)
                dice = gr.Button(texts.DICE, scale=2, min_width=90, elem_id="dice")
            with gr.Row():
                make = gr.Button(texts.MAKE, variant="primary", elem_id="make")
                stop = gr.Button(texts.STOP, variant="stop", elem_id="stop")
            status = gr.Markdown("", elem_id="status", elem_classes="mame-status", buttons=[])
            with gr.Row():
                sketch = gr.Button(texts.SKETCH, min_width=90, elem_id="sketch")
                more = gr.Button(texts.MORE, min_width=90, elem_id="more")
                vary = gr.Button(texts.VARY, min_width=90, elem_id="vary")
            vary_by = gr.Radio(list(ATTRIBUTES), value="density", label=texts.VARY_BY)
            negative = gr.Textbox("", label=texts.NEGATIVE, info=texts.NEGATIVE_INFO, max_length=500)
            with gr.Row():
                steps = gr.Slider(4, 60, 24, step=1, label=texts.STEPS)
                guidance = gr.Slider(1, 12, 4, step=0.5, label=texts.GUIDANCE)
        with gr.Column(scale=3, min_width=300):
            preview = gr.Image(label=texts.PREVIEW, height=260, interactive=False, visible=False, buttons=[],
                               elem_id="preview")  # fmt: skip
            gallery = gr.Gallery(label=texts.GALLERY, columns=3, object_fit="contain", height="auto", format="png",
                                 buttons=["fullscreen"], elem_id="gallery")  # fmt: skip
            facts = gr.Markdown("", elem_id="facts", buttons=[])
            saving = save_tab(shown, session, _chosen, "save")

    words = [vendor, view, density, area]
    for choice in (*words, priority):
        choice.change(_prompt, [*words, priority], said, queue=False, show_progress="hidden", api_visibility="private")
    dice.click(lambda: str(secrets.randbelow(1 << 31)), None, seed, queue=False, api_visibility="private")
    asked = [model, said, negative, count, seed, steps, guidance, side]
    outputs = [session, gallery, facts, preview, status, saving.files, saving.recipe]
    queue: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}

    def run(state: Session, model: str, said: str, negative: str, count: float, seed: Any, steps: float,
            guidance: float, side: str) -> Iterator[Any]:  # fmt: skip
        row = _row(said, negative, count, seed, steps, guidance, side)
        yield from _rows(engine, state, model, [row], saving)

    def further(state: Session, *rest: Any) -> Iterator[Any]:
        model, said, negative, count, seed, steps, guidance, side = rest
        row = _row(said, negative, count, str(whole_number(seed, texts.SEED) + 1), steps, guidance, side)
        yield from _rows(engine, state, model, [row], saving, seed=str(row.seed))

    def varied(state: Session, vendor: str, view: str, density: str, area: str, priority: str, attribute: str,
               *rest: Any) -> Iterator[Any]:  # fmt: skip
        model, _, negative, _, seed, steps, guidance, side = rest
        chosen = {"vendor": vendor, "view": view, "density": density, "area": area}
        known = {"vendor": engine.open(model).card.vendors or texts.VENDORS, "view": list(View),
                 "density": list(Density), "area": list(Area)}  # fmt: skip
        told = _says(priority, attribute)
        prompts = [_prompt(**(chosen | {attribute: str(value)}), priority=told) for value in known[attribute]]
        rows = [_row(said, negative, 1, seed, steps, guidance, side) for said in prompts]
        yield from _rows(engine, state, model, rows, saving)

    def sketched(model: str, said: str, negative: str, count: float, seed: Any, steps: float, guidance: float,
                 side: str) -> Iterator[Any]:  # fmt: skip
        began = time.monotonic()
        yield gr.skip(), texts.QUEUED
        for step in engine.sketch(model, _row(said, negative, count, seed, steps, guidance, side)):
            seen = step.made[0].pixels if step.made else step.preview
            told = texts.WORKING.format(number=1, count=1, step=step.step, steps=step.steps)
            yield gr.skip() if seen is None else gr.update(value=_eight(seen), visible=True), told
        yield gr.skip(), texts.SKETCHED.format(seconds=time.monotonic() - began)

    quick = sketch.click(in_words(sketched, status), asked, [preview, status], api_visibility="private", **queue)
    made = make.click(in_words(run, status), [session, *asked], outputs, api_visibility="private", **queue)
    again = more.click(in_words(further, status), [session, *asked], [*outputs, seed], api_visibility="private",
                       **queue)  # fmt: skip
    others = vary.click(in_words(varied, status), [session, *words, priority, vary_by, *asked], outputs,
                        api_visibility="private", **queue)  # fmt: skip
    gr.Button(visible=False).click(for_programs(run), [session, *asked], outputs, api_name="generate", **queue)

    def stopped(state: Session) -> list[Any]:
        told = saving.told(state.made[0]) if state.made else ""
        return [_gallery(state.made), _facts(state.made), gr.update(visible=False),
                texts.STOPPED.format(count=len(state.made)), told]  # fmt: skip

    stop.click(stopped, session, [gallery, facts, preview, status, saving.recipe], cancels=[quick, made, again, others],
               queue=False, api_visibility="private")  # fmt: skip

    def choose(state: Session, event: gr.SelectData) -> Any:
        state.chosen = int(event.index) if isinstance(event.index, int) else 0
        return state, saving.told(state.made[state.chosen]) if state.made else "", []

    gallery.select(choose, session, [session, saving.recipe, saving.files], queue=False, api_visibility="private")
    return gallery


def _rows(
    engine: Engine, state: Session, model: str, rows: list[Row], saving: Saving, **more: Any
) -> Iterator[list[Any]]:
    """Makes rows one after the other, showing each step."""
    began = time.monotonic()
    total = sum(row.count for row in rows)
    made: list[Made] = []
    extra = list(more.values())
    state.made, state.chosen = [], 0
    yield [state, [], "", gr.update(), texts.QUEUED, [], "", *extra]
    for row in rows:
        finished: list[Made] = []
        for step in engine.generate(model, row):
            finished = [Made(one, row, index, model, engine.device) for index, one in enumerate(step.made)]
            status = texts.WORKING.format(number=len(made) + step.number, count=total, step=step.step, steps=step.steps)
            seen = gr.update() if step.preview is None else gr.update(value=_eight(step.preview), visible=True)
            state.made = [*made, *finished]
            pictures = _gallery(state.made) if step.step == step.steps else gr.skip()
            yield [state, pictures, gr.skip(), seen, status, gr.skip(), gr.skip(), *extra]
        made += finished
    state.made = made
    spent = texts.DONE.format(count=len(made), seconds=time.monotonic() - began)
    told = saving.told(made[0]) if made else ""
    yield [state, _gallery(made), _facts(made), gr.update(visible=False), spent, [], told, *extra]


def measured(mammogram: Mammogram) -> str:
    """What the rules of the imaging code see in a picture, in words."""
    from mame.dataset.picture import Framing, look, measure
    from mame.imaging.breast import estimate_view
    from mame.imaging.framing import Frame

    height, width = mammogram.shape
    spacing = mammogram.spacing_mm or 0.5
    try:
        seen = look(mammogram.pixels)
        mirror = mammogram.laterality is Laterality.R
        frame = Frame((height, width), mirror, (0.0, 0.0, width, height), (height, width), 1.0, spacing)
        framing = Framing.FIELD if mammogram.spacing_mm else Framing.CENTER_CROP
        found = measure(seen, frame, framing, spacing, mammogram.description.view)
        view = estimate_view(seen.small, seen.breast)
    except MameError:
        return texts.UNMEASURED
    return texts.MEASURED.format(view=view, density=density_class(found.percent_density),
                                 percent=found.percent_density, area=found.area, cm2=found.area_cm2)  # fmt: skip


def _gallery(made: list[Made]) -> list[tuple[Any, str]]:
    return [(_eight(one.mammogram.pixels), measured(one.mammogram)) for one in made]


def _facts(made: list[Made]) -> str:
    """A line for each picture: what was asked, and what was measured."""
    return "\n".join(
        texts.FACT.format(number=number, asked=one.row.prompt, measured=measured(one.mammogram))
        for number, one in enumerate(made, 1)
    )


def _eight(pixels: Any) -> Any:
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _row(said: str, negative: str, count: float, seed: Any, steps: float, guidance: float, side: str) -> Row:
    count = min(max(int(count), 1), MOST)
    return Row(said.strip(), count, whole_number(seed, texts.SEED), int(steps), float(guidance), negative.strip(),
               Laterality(side))  # fmt: skip


def _prompt(vendor: Choice, view: Choice, density: Choice, area: Choice, priority: str) -> str:
    try:
        words = Description(
            vendor=(vendor or "").strip().lower() or None,
            view=View(view) if view else None,
            density=Density(density) if density else None,
            area=Area(area) if area else None,
        )
        return language.write(words, language.Priority(priority))
    except MameError as error:
        gr.Warning(str(error))
        return language.write(Description())


def _says(priority: str, attribute: str) -> str:
    """A priority that does not leave out the word that is varied."""
    return {"only density": "density", "only area": "area"}.get(priority, priority) if attribute in (
        "density", "area") else priority  # fmt: skip


def _choices(words: list[Any]) -> list[tuple[str, str]]:
    return [(texts.ANY, ""), *[(str(word), str(word)) for word in words]]


def _chosen(state: Session) -> Made | None:
    return state.made[min(state.chosen, len(state.made) - 1)] if state.made else None
