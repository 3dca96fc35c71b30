"""The second tab: a lesion into a chosen region of a mammogram, at its full size and depth."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
from mame.web.studio.saving import save_tab
from mame.web.studio.session import Made, Session, Shown
from mame.web.studio.words import plain_error, whole_number

MOST_MB = 200
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

    viewer: gr.HTML
    status: gr.Markdown
    slider: gr.ImageSlider
    variants: gr.Gallery
    recipe: gr.Code
    files: gr.File

    @property
    def all(self) -> list[Any]:
        """In the order of `_outputs`."""
        return [self.viewer, self.status, self.slider, self.variants, self.recipe, self.files]


def paint_tab(engine: Engine, shown: Shown, session: gr.State, model: gr.Textbox) -> None:
    """Builds the tab."""
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            viewer = gr.HTML("", html_template=_template(), js_on_load=WAIT.format(start=START), elem_id="viewer",
                             label=texts.PAINT)  # fmt: skip
            status = gr.Markdown(texts.NO_IMAGE, elem_id="paint-status", buttons=[])
        with gr.Column(scale=2, min_width=300):
            upload = gr.File(label=texts.OPEN, file_count="single", type="filepath", elem_id="open", height=110)
            gr.Markdown(texts.OPEN_INFO.format(most=MOST_MB))
            take = gr.Button(texts.FROM_GALLERY, elem_id="take")
            with gr.Row():
                kind = gr.Dropdown([(str(kind), words) for kind, words in LESION_WORDS.items()], value="a mass",
                                   label=texts.KIND)  # fmt: skip
                size = gr.Slider(4, 60, 14, step=1, label=texts.SIZE_MM, info=texts.SIZE_INFO)
            with gr.Row():
                seed = gr.Textbox("0", label=texts.SEED, max_length=12)
                count = gr.Slider(1, 4, 1, step=1, label=texts.VARIANTS)
            with gr.Row():
                paint = gr.Button(texts.PAINT_IT, variant="primary", elem_id="paint")
                stop = gr.Button(texts.STOP, variant="stop", elem_id="paint-stop")
            with gr.Row():
                undo = gr.Button(texts.UNDO, elem_id="undo")
                clear = gr.Button(texts.CLEAR, elem_id="clear")
            variants = gr.Gallery(label=texts.CHOOSE_VARIANT, columns=4, height="auto", visible=False, format="png",
                                  buttons=[], elem_id="variants")  # fmt: skip
            slider = gr.ImageSlider(label=texts.BEFORE_AFTER, interactive=False, elem_id="before-after",
                                    format="png", buttons=["fullscreen"])  # fmt: skip
            saving = save_tab(shown, session, _current)
    tab = Tab(viewer, status, slider, variants, saving.recipe, saving.files)
    outputs = [session, *tab.all]
    quick: dict[str, Any] = {"queue": True, "api_visibility": "private", "show_progress": "hidden"}

    def opened(state: Session, path: str | None) -> list[Any]:
        if path is None:
            return _outputs(state, gr.skip(), texts.NO_IMAGE)
        if Path(path).stat().st_size > MOST_MB * 1_000_000:
            raise MameError(texts.TOO_LARGE.format(most=MOST_MB))
        mammogram = assume_spacing(_read(Path(path)))
        _begin(state, shown, mammogram, Path(path).name)
        return _outputs(state, _view(state, fresh=True), _about(mammogram))

    def taken(state: Session) -> list[Any]:
        if not state.made:
            raise MameError(texts.NO_GALLERY)
        made = state.made[min(state.chosen, len(state.made) - 1)]
        _begin(state, shown, made.mammogram, f"made/{made.index:04d}.png")
        return _outputs(state, _view(state, fresh=True), _about(made.mammogram))

    def marked(state: Session, size_mm: float, event: gr.EventData) -> list[Any]:
        mammogram = state.painted_on
        if mammogram is None:
            raise MameError(texts.NO_IMAGE)
        said: dict[str, Any] = event._data if isinstance(event._data, dict) else {}
        state.region = _region(said, mammogram, float(size_mm))
        share = _outside(state)
        return _outputs(state, _view(state), texts.OUTSIDE.format(share=share) if share > 0.5 else "")

    def painted(state: Session, model: str, kind: str, seed: Any, count: float) -> Iterator[list[Any]]:
        mammogram, region = state.painted_on, state.mask()
        if mammogram is None:
            raise MameError(texts.NO_IMAGE)
        if region is None:
            raise MameError(texts.NO_REGION)
        if (share := _outside(state)) > 0.5:
            raise MameError(texts.OUTSIDE.format(share=share))
        row = Row(f"a mammogram with {kind}", min(max(int(count), 1), 4), whole_number(seed, texts.SEED))
        began = time.monotonic()
        yield _outputs(state, gr.skip(), texts.QUEUED)
        made: tuple[Mammogram, ...] = ()
        for step in engine.paint(model, mammogram, region, row):
            made = step.made
            told = texts.WORKING.format(number=step.number, count=step.count, step=step.step, steps=step.steps)
            yield _outputs(state, gr.skip(), told)
        state.variants = list(made)
        _keep(state, shown, made[0], _stroke(state, row, model, 0))
        spent = texts.DONE.format(count=len(made), seconds=time.monotonic() - began)
        yield _outputs(state, _view(state), f"{_result(made[0])} {spent}", True)

    def choose(state: Session, model: str, kind: str, seed: Any, event: gr.SelectData) -> list[Any]:
        number = int(event.index) if isinstance(event.index, int) else 0
        if not state.variants or number >= len(state.variants):
            return _outputs(state, gr.skip(), gr.skip())
        _drop(state)
        row = Row(f"a mammogram with {kind}", 1, whole_number(seed, texts.SEED))
        _keep(state, shown, state.variants[number], _stroke(state, row, model, number))
        return _outputs(state, _view(state), texts.KEPT_VARIANT.format(number=number + 1), True)

    def undone(state: Session) -> list[Any]:
        if len(state.layers) < 2:
            raise MameError(texts.NOTHING_TO_UNDO)
        _drop(state)
        _show(state, shown)
        return _outputs(state, _view(state), texts.UNDONE, True)

    def cleared(state: Session) -> list[Any]:
        state.region = None
        return _outputs(state, _view(state), "")

    upload.change(plain_error(opened), [session, upload], outputs, **quick)
    take.click(plain_error(taken), session, outputs, **quick)
    viewer.select(plain_event(marked), [session, size], outputs, **quick)
    work = paint.click(plain_error(painted), [session, model, kind, seed, count], outputs, concurrency_id="model",
                       concurrency_limit=1, api_visibility="private")  # fmt: skip
    stop.click(lambda: texts.STOPPED.format(count=0), None, status, cancels=[work], queue=False,
               api_visibility="private")  # fmt: skip
    variants.select(plain_event(choose), [session, model, kind, seed], outputs, **quick)
    undo.click(plain_error(undone), session, outputs, **quick)
    clear.click(plain_error(cleared), session, outputs, **quick)


def _read(path: Path) -> Mammogram:
    """An upload; errors name the file as its owner knows it, not where this server keeps it."""
    try:
        return files.read(path)
    except MameError as error:
        raise MameError(str(error).replace(str(path), path.name)) from None


def plain_event(run: Any) -> Any:
    """As `plain_error`, for handlers that Gradio gives an event by the type it reads from their signature."""
    import functools

    @functools.wraps(run)
    def once(*arguments: Any) -> Any:
        try:
            return run(*arguments)
        except MameError as error:
            raise gr.Error(str(error), print_exception=False, duration=None) from None

    return once


def _template() -> str:
    tools = "".join(
        f'<button type="button" data-tool="{tool}" aria-pressed="{str(tool == "pan").lower()}">{name}</button>'
        for name, tool in texts.TOOLS.items()
    )
    more = "".join(
        f'<button type="button" data-do="{key}">{name}</button>' for name, key in texts.VIEWER_BUTTONS.items()
    )
    return VIEWER.format(tool=texts.TOOL, buttons=tools + more, label=texts.VIEWER_LABEL, help=texts.VIEWER_HELP)


def _begin(state: Session, shown: Shown, mammogram: Mammogram, origin: str) -> None:
    state.layers, state.strokes, state.variants, state.region = [mammogram], [], [], None
    state.origin = origin
    _show(state, shown)


def _keep(state: Session, shown: Shown, made: Mammogram, stroke: str) -> None:
    state.layers.append(made)
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


def _stroke(state: Session, row: Row, model: str, number: int) -> str:
    """The command for the lesion that is painted next."""
    source = shlex.quote(state.origin) if not state.strokes else "painted/0000.png"
    if isinstance(state.region, Box):
        where = f"--box {','.join(f'{value:g}' for value in state.region.as_tuple())}"
    else:
        where = "--mask 0000-mask.png"
    name = "" if model.strip() in ("", "mini") else f" --model {shlex.quote(model)}"
    return (
        f"mam-e inpaint {source} {where} --prompt {shlex.quote(row.prompt)}{name} --seed {row.seed + number} "
        "--format png,dicom --out painted"
    )


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


def _outputs(state: Session, view: Any, status: Any, changed: bool = False) -> list[Any]:
    if not changed:
        fresh = not state.strokes and isinstance(view, str) and view
        more = [None, gr.update(value=[], visible=False), "", []] if fresh else [gr.skip()] * 4
        return [state, view, status, *more]
    after = state.layers[-1]
    if len(state.layers) < 2:
        return [state, view, status, None, gr.update(value=[], visible=False), "", []]
    before = state.layers[-2]
    box = after.lesions[-1].box
    pair = [_cut(one, box) for one in (before, after)]
    low, high = float(pair[0].min()), max(float(pair[0].max()), float(pair[1].max()), 1e-3)
    shown = tuple(np.rint((one - low) / max(high - low, 1e-3) * 255).clip(0, 255).astype(np.uint8) for one in pair)
    several = len(state.variants) > 1
    pictures = [(np.rint(_cut(one, box) / high * 255).clip(0, 255).astype(np.uint8), str(number + 1))
                for number, one in enumerate(state.variants)] if several else []  # fmt: skip
    return [state, view, status, shown, gr.update(value=pictures, visible=several), "\n".join(state.strokes), []]
