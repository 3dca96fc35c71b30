"""The third tab: a cohort by sliders, or by its plan."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import yaml

from mame.errors import MameError
from mame.synthesis.plan import Output, read_plan
from mame.web.studio import texts
from mame.web.studio.running import told_by
from mame.web.studio.session import Session, Shown
from mame.web.studio.words import for_programs, in_words, whole_number

MOST = 2000
CHOSEN = ["png", "dicom", "coco", "yolo"]


def cohort_tab(shown: Shown, session: gr.State) -> None:
    """Builds the tab."""
    with gr.Row():
        with gr.Column(min_width=300):
            count = gr.Slider(2, MOST, 20, step=2, label=texts.COHORT_COUNT)
            vendors = gr.CheckboxGroup(list(texts.VENDORS), value=list(texts.VENDORS[:1]), label=texts.VENDORS_EVENLY)
            oblique = gr.Slider(0, 1, 0.5, step=0.1, label=texts.MLO_SHARE)
            dense = gr.Slider(0, 1, 0.5, step=0.1, label=texts.DENSE_SHARE)
            lesions = gr.Slider(0, 1, 0.3, step=0.1, label=texts.LESION_SHARE)
            with gr.Row():
                least = gr.Slider(4, 40, 8, step=1, label=texts.LESION_MM)
                most = gr.Slider(4, 60, 25, step=1, label=texts.LESION_MOST)
            outputs = gr.CheckboxGroup([str(kind) for kind in Output], value=CHOSEN, label=texts.OUTPUTS)
            seed = gr.Textbox("1", label=texts.SEED, max_length=12)
        with gr.Column(min_width=300):
            usual = _plan(20, texts.VENDORS[:1], 0.5, 0.5, 0.3, 8, 25, CHOSEN, "1")
            plan = gr.Code(usual, label=texts.PLAN, language="yaml", elem_id="plan", interactive=True)
            with gr.Row():
                show = gr.Button(texts.SHOW_PLAN, elem_id="show-plan")
                start = gr.Button(texts.START_COHORT, variant="primary", elem_id="start-cohort")
                stop = gr.Button(texts.STOP, variant="stop")
            status = gr.Markdown("", elem_id="cohort-status", elem_classes="mame-status", buttons=[])
            table = gr.Code("", label=texts.FORECAST, language=None, interactive=False, elem_id="forecast")
            done = gr.File(label=texts.DOWNLOAD_COHORT, interactive=False, elem_id="cohort-zip", height=130)
    sliders: list[Any] = [count, vendors, oblique, dense, lesions, least, most, outputs, seed]
    for one in sliders:
        one.change(in_words(lambda *said: [_plan(*said), ""], status), sliders, [plan, status], queue=False,
                   show_progress="hidden", api_visibility="private")  # fmt: skip

    def foreseen(text: str) -> str:
        from mame.synthesis.cohort.run import foresee

        with _file(text) as path:
            return foresee(read_plan(path)).to_text()

    def made(state: Session, text: str) -> Iterator[list[Any]]:
        folder = shown.folder_of(state) / "cohort"
        shutil.rmtree(folder, ignore_errors=True)

        def work(tell: Callable[[str], None]) -> None:
            from mame.synthesis.cohort.run import synthesize

            def progress(done: int, total: int) -> None:
                tell(texts.COHORT_WORKING.format(done=done, total=total))

            with _file(text) as path:
                synthesize(read_plan(path), folder, force=True, progress=progress)

        yield [texts.QUEUED, None]
        for said in told_by(work):
            yield [said, None]
        from mame.synthesis.cohort.run import read_cohort

        packed = shutil.make_archive(str(folder), "zip", folder)
        yield [texts.COHORT_DONE.format(count=read_cohort(folder)["made"]), packed]

    show.click(in_words(lambda text: [foreseen(text), ""], status), plan, [table, status], api_visibility="private")
    gr.Button(visible=False).click(for_programs(foreseen), plan, table, api_name="foresee")
    work = start.click(in_words(made, status), [session, plan], [status, done], concurrency_id="cohort",
                       concurrency_limit=1, api_visibility="private")  # fmt: skip
    stop.click(lambda: texts.STOPPED_SHORT, None, status, cancels=[work], queue=False, api_visibility="private")


def _plan(
    count: float, vendors: Sequence[str], oblique: float, dense: float, lesions: float, least: float, most: float,
    outputs: list[str], seed: str,
) -> str:  # fmt: skip
    def shares(**said: float) -> dict[str, float]:
        return {name: round(value, 3) for name, value in said.items() if value > 0}

    if least > most:
        raise MameError(texts.LESION_RANGE)
    said: dict[str, Any] = {
        "count": int(count), "seed": whole_number(seed, texts.SEED), "model": "mini",
        **({"vendor": _evenly(vendors)} if vendors else {}), "view": shares(CC=1 - oblique, MLO=oblique),
        "density": shares(A=(1 - dense) * 0.2, B=(1 - dense) * 0.8, C=dense * 0.8, D=dense * 0.2),
    }  # fmt: skip
    if lesions > 0:
        said["lesions"] = {"share": lesions, "kinds": {"mass": 1.0}, "size_mm": [int(least), int(most)]}
    said["outputs"] = list(outputs)
    return str(yaml.safe_dump(said, sort_keys=False, default_flow_style=None))


def _evenly(names: Sequence[str]) -> dict[str, float]:
    """Shares of as many, in thousandths, that add up to 1."""
    parts = np.diff(np.linspace(0, 1000, len(names) + 1).round()) / 1000
    return {name: round(float(part), 3) for name, part in zip(names, parts, strict=True)}


@contextmanager
def _file(text: str) -> Iterator[Path]:
    """A plan's text as a file, for as long as it is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        path.write_text(text)
        yield path
