"""The second tab: a lesion into a chosen region of a mammogram, at its full size and depth."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from mame.errors import MameError
from mame.formats import files
from mame.formats.spacing import assume_spacing
from mame.imaging.breast import find_breast
from mame.mammogram import Box, Mammogram
from mame.prompt import LESION_WORDS
from mame.web.studio import texts
from mame.web.studio.engine import Engine, Row
from mame.web.studio.recipes import Origin, Stroke, formats_of, painted_by
from mame.web.studio.saving import recipe, save_tab
from mame.web.studio.session import Made, Session, Shown
from mame.web.studio.words import in_words, whole_number

MOST_MB = 200
MOST_UNDO = 10
"""Lesions that can be taken back: each costs the memory of a whole mammogram."""
AROUND = 2.2
"""Side of the cut-out before and after, over the region's longer side."""
VIEWER = """<div class="mame-tools" role="toolbar" aria-label="{tool}">{buttons}</div>
<div class="mame-viewer" tabindex="0" role="application" aria-label="{label}"></div>
<p class="mame-help">{help}</p>"""
START = "MamePainting.start(element, props, trigger, watch)"
WAIT = "const go = () => window.MamePainting ? {start} : setTimeout(go, 40); go();"


@dataclass(frozen=True)
class Tab:
    """The components that several handlers write to."""

    session: gr.State
    viewer: gr.HTML
    about: gr.Markdown
    corners: gr.Textbox
    status: gr.Markdown
    slider: gr.ImageSlider
    variants: gr.Gallery
    recipe: gr.Code
    files: gr.File

    def now(self, state: Session, status: Any, fresh: bool = False) -> dict[Any, Any]:
        """What the tab shows of a session: the mammogram, its region, and what is said. fresh: the view starts anew."""
        return {
            self.session: state,
            self.viewer: _view(state, fresh),
            self.corners: _written_region(state.region),
            self.status: status,
        }

    def changed(self, state: Session, status: Any) -> dict[Any, Any]:
        """The same after a lesion came or went, with before and after, the variants and the commands."""
        several = len(state.variants) > 1
        return self.now(state, status) | {
            self.slider: _before_and_after(state),
            self.variants: gr.update(value=_thumbnails(state) if several else [], visible=several),
            self.recipe: painted_by(state.origin, state.strokes) if state.strokes else "",
            self.files: [],
        }

    def begun(self, state: Session, told: str) -> dict[Any, Any]:
        """The same for another mammogram."""
        return self.changed(state, "") | self.now(state, "", fresh=True) | {self.about: told}


def paint_tab(engine: Engine, shown: Shown, session: gr.State, model: gr.Textbox) -> None:
    """Builds the tab."""
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            viewer = gr.HTML("", html_template=_template(), js_on_load=WAIT.format(start=START), elem_id="viewer",
                             label=texts.PAINT)  # fmt: skip
            about = gr.Markdown("", elem_id="about", buttons=[])
        with gr.Column(scale=2, min_width=300):
            upload = gr.File(label=texts.OPEN, file_count="single", type="filepath", elem_id="open", height=110)
            gr.Markdown(texts.OPEN_INFO.format(most=MOST_MB))
            take = gr.Button(texts.FROM_GALLERY, elem_id="take")
            with gr.Row():
                kind = gr.Dropdown([(str(kind), words) for kind, words in LESION_WORDS.items()], value="a mass",
                                   label=texts.KIND)  # fmt: skip
                size = gr.Slider(4, 60, 14, step=1, label=texts.SIZE_MM, info=texts.SIZE_INFO)
            corners = gr.Textbox(label=texts.CORNERS, info=texts.CORNERS_INFO, max_length=60, elem_id="corners")
            with gr.Row():
                seed = gr.Textbox("0", label=texts.SEED, max_length=12)
                count = gr.Slider(1, 4, 1, step=1, label=texts.VARIANTS)
            with gr.Row():
                paint = gr.Button(texts.PAINT_IT, variant="primary", elem_id="paint")
                stop = gr.Button(texts.STOP, variant="stop", elem_id="paint-stop")
            status = gr.Markdown(texts.NO_IMAGE, elem_id="paint-status", elem_classes="mame-status", buttons=[])
            with gr.Row():
                undo = gr.Button(texts.UNDO, elem_id="undo")
                clear = gr.Button(texts.CLEAR, elem_id="clear")
            variants = gr.Gallery(label=texts.CHOOSE_VARIANT, columns=4, height="auto", visible=False, format="png",
                                  buttons=[], elem_id="variants")  # fmt: skip
            slider = gr.ImageSlider(label=texts.BEFORE_AFTER, interactive=False, elem_id="before-after",
                                    format="png", buttons=["fullscreen"])  # fmt: skip
            saving = save_tab(shown, session, _current)
    tab = Tab(session, viewer, about, corners, status, slider, variants, saving.recipe, saving.files)
    outputs = [session, viewer, about, corners, status, slider, variants, saving.recipe, saving.files]
    quick: dict[str, Any] = {"queue": True, "api_visibility": "private", "show_progress": "hidden"}

    def opened(state: Session, path: str | None) -> dict[Any, Any]:
        if path is None:  # the file was taken out of its box; the mammogram stays
            return {status: ""}
        if Path(path).stat().st_size > MOST_MB * 1_000_000:
            raise MameError(texts.TOO_LARGE.format(most=MOST_MB))
        mammogram = assume_spacing(_read(Path(path)))
        _begin(state, shown, mammogram, Origin(Path(path).name))
        return tab.begun(state, _about(mammogram))

    def taken(state: Session) -> dict[Any, Any]:
        if not state.made:
            raise MameError(texts.NO_GALLERY)
        made = state.made[min(state.chosen, len(state.made) - 1)]
        name = f"{made.index:04d}.png"
        mammogram = _as_written(made.mammogram, shown.folder_of(state) / f"taken-{name}")
        _begin(state, shown, mammogram, Origin(f"made/{name}", (recipe(made),)))
        return tab.begun(state, _about(mammogram))

    def marked(state: Session, size_mm: float, event: gr.EventData) -> dict[Any, Any]:
        said: dict[str, Any] = event._data if isinstance(event._data, dict) else {}
        return mark(state, said, float(size_mm))

    def typed(state: Session, corners: str, size_mm: float) -> dict[Any, Any]:
        return mark(state, {"box": _numbers(corners)}, float(size_mm))

    def mark(state: Session, said: dict[str, Any], size_mm: float) -> dict[Any, Any]:
        mammogram = state.painted_on
        if mammogram is None:
            raise MameError(texts.NO_IMAGE)
        state.region = None
        state.region = _region(said, mammogram, size_mm)
        share = _outside(state)
        told = texts.OUTSIDE.format(share=share) if share > 0.5 else _extent(state.region, mammogram)
        return tab.now(state, told)

    def painted(state: Session, model: str, kind: str, seed: Any, count: float) -> Iterator[dict[Any, Any]]:
        mammogram, region, mask = state.painted_on, state.region, state.mask()
        if mammogram is None:
            raise MameError(texts.NO_IMAGE)
        if region is None or mask is None:
            raise MameError(texts.NO_REGION)
        if (share := _outside(state)) > 0.5:
            raise MameError(texts.OUTSIDE.format(share=share))
        row = Row(f"a mammogram with {kind}", min(max(int(count), 1), 4), whole_number(seed, texts.SEED))
        began = time.monotonic()
        yield {status: texts.QUEUED}
        made: tuple[Mammogram, ...] = ()
        ground = _as_a_shell_sees_it(state, mammogram, shown.folder_of(state))
        for step in engine.paint(model, ground, mask, row):
            made = step.made
            told = texts.WORKING.format(number=step.number, count=step.count, step=step.step, steps=step.steps)
            yield {status: told}
        if state.painted_on is not mammogram:
            raise MameError(texts.MOVED_ON)
        stroke = _stroke(region, row, model.strip(), made[0], engine.device)
        state.variants = [(one, replace(stroke, seed=row.seed + number)) for number, one in enumerate(made)]
        _keep(state, shown, *state.variants[0])
        spent = texts.DONE.format(count=len(made), seconds=time.monotonic() - began)
        yield tab.changed(state, f"{_result(made[0])} {spent}")

    def choose(state: Session, event: gr.SelectData) -> dict[Any, Any]:
        number = int(event.index) if isinstance(event.index, int) else 0
        if number >= len(state.variants):
            return {}
        _drop(state)
        _keep(state, shown, *state.variants[number])
        return tab.changed(state, texts.KEPT_VARIANT.format(number=number + 1))

    def undone(state: Session) -> dict[Any, Any]:
        if not state.strokes:
            raise MameError(texts.NOTHING_TO_UNDO)
        if len(state.layers) < 2:
            raise MameError(texts.TOO_LONG_AGO.format(most=MOST_UNDO))
        _drop(state)
        state.variants = []
        _show(state, shown)
        return tab.changed(state, texts.UNDONE)

    def cleared(state: Session) -> dict[Any, Any]:
        state.region = None
        return tab.now(state, "")

    upload.change(in_words(opened, status), [session, upload], outputs, **quick)
    take.click(in_words(taken, status), session, outputs, **quick)
    viewer.select(in_words(marked, status), [session, size], outputs, **quick)
    corners.submit(in_words(typed, status), [session, corners, size], outputs, **quick)
    work = paint.click(in_words(painted, status), [session, model, kind, seed, count], outputs, concurrency_id="model",
                       concurrency_limit=1, api_visibility="private")  # fmt: skip
    stop.click(lambda: texts.STOPPED_SHORT, None, status, cancels=[work], queue=False, api_visibility="private")
    variants.select(in_words(choose, status), session, outputs, **quick)
    undo.click(in_words(undone, status), session, outputs, **quick)
    clear.click(in_words(cleared, status), session, outputs, **quick)


def _read(path: Path) -> Mammogram:
    """An upload; errors name the file as its owner knows it, not where this server keeps it."""
    try:
        return files.read(path)
    except MameError as error:
        raise MameError(str(error).replace(str(path), path.name)) from None


def _template() -> str:
    tools = "".join(
        f'<button type="button" data-tool="{tool}" aria-pressed="{str(tool == "pan").lower()}">{name}</button>'
        for name, tool in texts.TOOLS.items()
    )
    more = "".join(
        f'<button type="button" data-do="{key}">{name}</button>' for name, key in texts.VIEWER_BUTTONS.items()
    )
    return VIEWER.format(tool=texts.TOOL, buttons=tools + more, label=texts.VIEWER_LABEL, help=texts.VIEWER_HELP)


def _as_a_shell_sees_it(state: Session, mammogram: Mammogram, folder: Path) -> Mammogram:
    """The mammogram as the file of the lesion before holds it, on which the recipe goes on: where air begins is looked
    for again when a file is read. What the file doesn't hold of the lesions is kept."""
    if not state.strokes:
        return mammogram
    read = _as_written(mammogram, folder / f"ground{state.strokes[-1].formats[-1].suffix}")
    return read.with_(lesions=mammogram.lesions, provenance=mammogram.provenance)


def _as_written(mammogram: Mammogram, path: Path) -> Mammogram:
    """What a shell would paint on: a picture as its 16-bit file holds it."""
    files.write(mammogram, path, force=True)
    try:
        return assume_spacing(files.read(path))
    finally:
        path.unlink()


def _begin(state: Session, shown: Shown, mammogram: Mammogram, origin: Origin) -> None:
    state.layers, state.strokes, state.variants, state.region = [mammogram], [], [], None
    state.origin = origin
    _show(state, shown)


def _keep(state: Session, shown: Shown, made: Mammogram, stroke: Stroke) -> None:
    state.layers = [*state.layers, made][-MOST_UNDO - 1 :]
    state.strokes.append(stroke)
    _show(state, shown)


def _drop(state: Session) -> None:
    state.layers.pop()
    state.strokes.pop()


def _show(state: Session, shown: Shown) -> None:
    if state.painted_on is not None:
        shown.replace(state, state.painted_on)


def _view(state: Session, fresh: bool = False) -> str:
    mammogram = state.painted_on
    if mammogram is None:
        return ""
    height, width = mammogram.shape
    seen = np.rint(mammogram.pixels[mammogram.pixels > 0] * 65535)
    high = float(np.percentile(seen[:: max(1, seen.size // 100_000)], 99.8)) if seen.size else 65535.0
    region = state.region
    return json.dumps({
        "token": state.token, "width": width, "height": height, "low": 0, "high": high, "fresh": fresh,
        "boxes": [list(region.as_tuple())] if isinstance(region, Box) else [],
        "paths": [region] if isinstance(region, list) else [],
    })  # fmt: skip


def _region(said: dict[str, Any], mammogram: Mammogram, size_mm: float) -> Box | list[tuple[float, float]]:
    """What was drawn, or a box of the size asked for around a click. Raises MameError where it is outside."""
    height, width = mammogram.shape
    if said.get("path"):
        return [(float(x), float(y)) for x, y in said["path"][:5000]]
    if said.get("box"):
        x0, y0, x1, y1 = (float(value) for value in said["box"])
        box = Box(x0, y0, x1, y1)
    else:
        x, y = (float(value) for value in said.get("point", (0, 0)))
        half = size_mm / (mammogram.spacing_mm or 0.1) / 2
        box = Box(x - half, y - half, x + half, y + half)
    inside = box.rounded().clipped((height, width))
    if inside is None:
        raise MameError(texts.NO_REGION)
    return inside


def _outside(state: Session) -> float:
    """Share of the region that is not breast."""
    mammogram, region = state.painted_on, state.mask()
    if mammogram is None or region is None:
        return 0.0
    breast = find_breast(mammogram.pixels).mask
    inside = breast[region.slices()] if isinstance(region, Box) else breast[region]
    return 1.0 - float(inside.mean()) if inside.size else 1.0


def _about(mammogram: Mammogram) -> str:
    height, width = mammogram.shape
    words = mammogram.description
    known = [word for word in (words.vendor, mammogram.laterality, words.view) if word]
    return texts.ABOUT.format(width=width, height=height, spacing=mammogram.spacing_mm or 0, origin=" ".join(known))


def _result(made: Mammogram) -> str:
    measured = made.provenance.get("box_measured")
    if not measured:
        return texts.UNCHANGED
    return texts.PAINTED.format(asked=_corners(made.provenance["asked"]), measured=_corners(measured))


def _corners(box: Any) -> str:
    return ", ".join(f"{value:.0f}" for value in box)


def _stroke(
    region: Box | list[tuple[float, float]], row: Row, model: str, made: Mammogram, device: str | None
) -> Stroke:
    box = region if isinstance(region, Box) else None
    return Stroke(box, row.prompt, row.seed, model, len(made.lesions), formats_of(made), device)


def _numbers(text: str) -> list[float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
        Box(x0, y0, x1, y1)
    except (ValueError, MameError):
        raise MameError(texts.NOT_CORNERS.format(value=text[:60])) from None
    return [x0, y0, x1, y1]


def _written_region(region: Box | list[tuple[float, float]] | None) -> str:
    if isinstance(region, Box):
        return _corners(region.as_tuple())
    return texts.FREE_HAND if region else ""


def _extent(region: Box | list[tuple[float, float]], mammogram: Mammogram) -> str:
    x, y = np.array(region.as_tuple() if isinstance(region, Box) else region).reshape(-1, 2).T
    width, height = np.ptp(x), np.ptp(y)
    mm = mammogram.spacing_mm or 0.0
    return texts.EXTENT.format(width=width, height=height, wide=width * mm, tall=height * mm)


def _current(state: Session) -> Made | None:
    if state.painted_on is None:
        return None
    return Made(state.painted_on, Row(""), 0, "")


def _cut(mammogram: Mammogram, box: Box) -> Any:
    half = AROUND * max(box.width, box.height) / 2
    x, y = box.centre
    around = Box(x - half, y - half, x + half, y + half).rounded().clipped(mammogram.shape)
    assert around is not None
    return mammogram.pixels[around.slices()]


def _before_and_after(state: Session) -> tuple[Any, Any] | None:
    """The last lesion's surroundings without it and with it, in one window."""
    if len(state.layers) < 2:
        return None
    before, after = state.layers[-2:]
    pair = [_cut(one, after.lesions[-1].box) for one in (before, after)]
    low, high = float(pair[0].min()), max(float(pair[0].max()), float(pair[1].max()), 1e-3)
    first, second = (_grey((one - low) / max(high - low, 1e-3)) for one in pair)
    return first, second


def _thumbnails(state: Session) -> list[tuple[Any, str]]:
    cuts = [_cut(one, one.lesions[-1].box) for one, _ in state.variants]
    high = max(float(cut.max()) for cut in cuts) or 1.0
    return [(_grey(cut / high), str(number)) for number, cut in enumerate(cuts, 1)]


def _grey(pixels: Any) -> Any:
    return np.rint(pixels * 255).clip(0, 255).astype(np.uint8)
