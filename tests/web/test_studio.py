"""The studio's parts, without a browser: who may use it, what it refuses, and that its recipes are true."""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from diffusion.tiny_sd import write_tiny_sd
from typer.testing import CliRunner

pytest.importorskip("gradio")

import gradio as gr

from mame.cli import app as commands
from mame.dataset.read import read_values
from mame.errors import MameError
from mame.formats.files import read, write
from mame.mammogram import Box, Description, Laterality, Mammogram, View
from mame.synthesis.plan import read_plan
from mame.web.studio import texts
from mame.web.studio.app import Access, studio
from mame.web.studio.engine import Engine, Row
from mame.web.studio.making import _prompt, measured
from mame.web.studio.ordering import _plan
from mame.web.studio.painting import _as_a_shell_sees_it, _begin, _keep, _numbers, _outside, _region, _stroke
from mame.web.studio.recipes import Origin, painted_by
from mame.web.studio.saving import recipe, written
from mame.web.studio.session import Made, Session, Shown
from mame.web.studio.words import for_programs, in_words, whole_number

PROMPT = "a siemens mammogram in MLO view with high density and medium area"
QUICK = Row(PROMPT, 1, 5, steps=2, guidance=2.0)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu")


@pytest.fixture(scope="module")
def made(engine: Engine) -> Made:
    (*_, last) = engine.generate("mini", QUICK)
    return Made(last.made[0], QUICK, 0, "mini")


def test_others_are_let_in_only_when_somebody_said_so() -> None:
    Access().check()
    Access("localhost").check()
    Access("0.0.0.0", "anna:secret").check()
    Access("0.0.0.0", everybody=True).check()
    for access in (Access("0.0.0.0"), Access("192.168.1.4"), Access("0.0.0.0", "anna"), Access(password="anna:")):
        with pytest.raises(MameError):
            access.check()
    result = CliRunner().invoke(commands, ["studio", "--host", "0.0.0.0"])
    assert result.exit_code == 2
    assert "--auth" in result.output
    result = CliRunner().invoke(commands, ["studio", "--model", "/nowhere/at/all", "--port", "0"])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_steps_are_told_with_previews_and_stopping_ends_the_work(engine: Engine) -> None:
    steps = []
    row = Row(PROMPT, 3, 5, steps=2, guidance=1.0)
    running = engine.generate("mini", row)
    for step in running:
        steps.append(step)
        if step.number == 2:
            break
    running.close()
    assert [step.step for step in steps] == [1, 2, 1]
    assert steps[0].preview is not None
    assert steps[0].preview.shape == (256, 256)
    assert len(steps[-1].made) == 1
    (*_, last) = engine.generate("mini", QUICK)  # the model is free again
    assert len(last.made) == 1


def test_a_preview_looks_like_what_it_becomes(engine: Engine) -> None:
    from PIL import Image

    *_, before, last = engine.generate("mini", Row(PROMPT, 1, 5, steps=6))
    small = Image.fromarray(last.made[0].pixels).resize((256, 256), Image.Resampling.BOX)
    assert before.preview is not None
    assert np.corrcoef(before.preview.ravel(), np.asarray(small).ravel())[0, 1] > 0.95


def test_a_quick_preview_takes_few_steps_and_says_where_a_model_cannot(engine: Engine, tmp_path: Path) -> None:
    steps = list(engine.sketch("mini", Row(PROMPT, 3, 5, steps=60, negative="a mass")))
    assert [step.step for step in steps] == [1, 2, 3, 4, 60]
    assert steps[0].preview is not None
    (made,) = steps[-1].made
    assert made.provenance["fast"] is True
    assert made.provenance["seed"] == 5
    with pytest.raises(MameError, match="has no weights for few steps"):
        list(engine.sketch(str(write_tiny_sd(tmp_path / "sd")), QUICK))


def test_an_unknown_model_leaves_the_last_one_open(engine: Engine) -> None:
    kept = engine.open("mini")
    with pytest.raises(MameError):
        engine.open("/nowhere/at/all")
    assert engine.open("mini") is kept
    assert engine.open("mini-lesion") is not kept


def test_the_recipe_makes_the_same_pixels(made: Made, tmp_path: Path) -> None:
    words = shlex.split(recipe(made))
    assert words[0] == "mam-e"
    words[words.index("--out") + 1] = str(tmp_path / "made")
    result = CliRunner().invoke(commands, words[1:])
    assert result.exit_code == 0, result.output
    (tmp_path / "saved").mkdir()
    saved = {path.name: path for path in written(made.mammogram, tmp_path / "saved")}
    assert np.array_equal(read_values(tmp_path / "made" / "0000.png"), read_values(saved["0000.png"]))


def test_recipes_ask_for_what_can_be_written(made: Made) -> None:
    assert "--format png,dicom" in recipe(made)
    unknown = replace(made, mammogram=made.mammogram.with_(description=Description()), device="cpu")
    assert "--format png --out" in recipe(unknown)  # a DICOM needs the view
    assert "--device cpu" in recipe(unknown)


@pytest.mark.slow
def test_lesions_painted_one_after_the_other_have_a_recipe_that_makes_them(engine: Engine, tmp_path: Path) -> None:
    ground = read(_a_film(tmp_path / "my film.png"))
    state = Session()
    _begin(state, Shown(tmp_path), ground, Origin("my film.png"))
    box, outline = Box(150, 200, 190, 240), [(100.0, 300.0), (150.0, 300.0), (140.0, 345.0), (98.0, 340.0)]
    for seed, region in enumerate((box, outline)):
        state.region = region
        mask = state.mask()
        assert mask is not None
        under = _as_a_shell_sees_it(state, state.layers[-1], tmp_path)
        (*_, last) = engine.paint("mini", under, mask, last_row(seed))
        _keep(state, Shown(tmp_path), last.made[0], _stroke(region, last_row(seed), "mini", last.made[0], None))
    (tmp_path / "saved").mkdir()
    saved = {path.name: path for path in written(state.layers[-1], tmp_path / "saved")}
    assert {"0000-mask.png", "0000-mask-1.png", "0000-mask-2.png"} <= set(saved)
    lines = painted_by(state.origin, state.strokes).splitlines()
    assert lines[0].startswith("mam-e inpaint 'my film.png' --box 150,200,190,240 ")
    assert "painted-1/0000.png --mask 0000-mask-2.png" in lines[1]
    with contextlib.chdir(tmp_path):
        (tmp_path / "0000-mask-2.png").write_bytes(saved["0000-mask-2.png"].read_bytes())
        for line in lines:
            result = CliRunner().invoke(commands, shlex.split(line)[1:])
            assert result.exit_code == 0, result.output
    assert np.array_equal(read_values(tmp_path / "painted-2" / "0000.png"), read_values(saved["0000.png"]))


def last_row(seed: int) -> Row:
    return Row("a mammogram with a mass", 1, seed)


def _a_film(path: Path) -> Path:
    """A breast of noise, 16 bits, of pixels of 0.2 mm."""
    pixels = session_of(512).layers[0].pixels
    grain = np.random.default_rng(0).normal(0, 0.03, pixels.shape).astype(np.float32)
    write(Mammogram(np.where(pixels > 0, pixels + grain, 0).clip(0, 1), 0.2, Laterality.L), path)
    return path


def test_files_of_a_picture_are_whole_and_say_synthetic(made: Made, tmp_path: Path) -> None:
    files = {path.name: path for path in written(made.mammogram, tmp_path)}
    assert set(files) == {"0000.png", "0000.dcm", "labels.json"}
    assert json.loads(files["labels.json"].read_text())["synthetic"] is True
    back = read(files["0000.dcm"])
    assert back.synthetic
    assert np.abs(back.pixels - made.mammogram.pixels).max() < 2e-3
    assert len(written(made.mammogram, tmp_path)) == 3  # again, beside the first


def test_what_was_measured_is_said(made: Made) -> None:
    assert measured(made.mammogram).startswith("MLO, ")
    assert measured(Mammogram(np.zeros((64, 64), np.float32), 0.5)) == texts.UNMEASURED


def test_prompts_are_built_from_choices() -> None:
    assert _prompt("siemens", "MLO", "C", "medium", "density") == PROMPT
    assert _prompt("", "", "", "", "density") == "a mammogram"
    assert _prompt("hologic", "CC", "D", "small", "only area") == "a hologic mammogram in CC view with small area"


def test_numbers_are_checked_and_errors_are_plain() -> None:
    assert whole_number(" 12 ", "Seed") == 12
    for wrong in ("-1", "1.5", "", "twelve", None):
        with pytest.raises(MameError, match="Seed"):
            whole_number(wrong, "Seed")

    def once(value: str) -> int:
        return whole_number(value, "Seed")

    def each(value: str) -> Any:
        yield whole_number(value, "Seed")

    def broken(value: str) -> int:
        raise KeyError(value)

    with gr.Blocks():
        status = gr.Markdown()
    for wrap in (for_programs, lambda run: in_words(run, status)):
        assert wrap(once)("3") == 3
        assert list(wrap(each)("3")) == [3]
    for call in (lambda: for_programs(once)("x"), lambda: list(for_programs(each)("x"))):
        with pytest.raises(gr.Error, match="not a whole number"):
            call()
    for said in (in_words(once, status)("<b>"), *in_words(each, status)("<b>")):
        assert "&lt;b&gt;&#x27; is not a whole number" in said[status]
    assert "KeyError" in in_words(broken, status)("3")[status]


def session_of(size: int = 400) -> Session:
    pixels = np.zeros((size, size), np.float32)
    y, x = np.mgrid[:size, :size]
    pixels[(x / (size * 0.6)) ** 2 + ((y - size / 2) / (size * 0.45)) ** 2 < 1] = 0.5
    state = Session()
    state.layers = [Mammogram(pixels, 0.2, Laterality.L, description=Description(view=View.CC))]
    return state


def test_regions_are_boxes_outlines_or_clicks_and_stay_in_the_breast() -> None:
    state = session_of()
    mammogram = state.layers[0]
    assert _region({"box": [50, 180, 90, 220]}, mammogram, 10) == Box(50, 180, 90, 220)
    clicked = _region({"point": [100, 200]}, mammogram, 10)
    assert clicked == Box(75, 175, 125, 225)  # 10 mm of 0.2 mm
    state.region = clicked
    assert _outside(state) == 0.0
    state.region = _region({"box": [300, 20, 390, 80]}, mammogram, 10)
    assert _outside(state) > 0.9
    state.region = _region({"path": [[60, 180], [120, 180], [90, 230]]}, mammogram, 10)
    mask = state.mask()
    assert isinstance(mask, np.ndarray)
    assert mask[190, 90]
    assert 1000 < mask.sum() < 2000
    assert _numbers(" 1, 2,3.5 ,9") == [1, 2, 3.5, 9]
    for wrong in ("", "1,2,3", "a,b,c,d", "9,9,1,1", "nan,0,1,1", "free hand"):
        with pytest.raises(MameError, match="Region"):
            _numbers(wrong)
    with pytest.raises(MameError):
        _region({"box": [-50, -50, -10, -10]}, mammogram, 10)


def test_sliders_make_a_plan_that_can_be_read(tmp_path: Path) -> None:
    vendors = ["ge", "siemens", "hologic"]
    (tmp_path / "plan.yaml").write_text(_plan(20, vendors, 0.5, 0.4, 0.3, 8, 25, ["png", "coco"], "3"))
    plan = read_plan(tmp_path / "plan.yaml")
    assert plan.count == 20
    assert plan.seed == 3
    said = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    assert sum(said["density"].values()) == pytest.approx(1.0)
    assert sum(said["vendor"].values()) == pytest.approx(1.0)
    assert not {"lesions", "vendor"} & set(yaml.safe_load(_plan(20, [], 0.0, 1.0, 0.0, 8, 25, ["png"], "3")))
    with pytest.raises(MameError):
        _plan(20, vendors, 0.5, 0.4, 0.3, 30, 8, ["png"], "3")


def test_pictures_are_shown_under_words_that_nobody_can_guess(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    with studio(Access()) as app:
        client = TestClient(app, base_url="http://127.0.0.1")
        answer = client.get("/")
        assert answer.status_code == 200
        assert "connect-src 'self'" in answer.headers["content-security-policy"]
        assert client.get("/studio/part/guess?x0=0&y0=0&x1=1&y1=1&width=1&height=1").status_code == 404
        assert client.get("/studio/static/painting.js").status_code == 200
        assert client.get("/studio/static/../app.py").status_code == 404
        assert TestClient(app, base_url="http://evil.example").get("/").status_code == 400
    shown, state = Shown(tmp_path), session_of()
    shown.replace(state, state.layers[0])
    first = state.token
    assert shown.get(first) is not None
    shown.replace(state, state.layers[0])
    assert shown.get(first) is None
    folder = shown.folder_of(state)
    shown.forget(state)
    assert shown.get(state.token) is None
    assert not folder.exists()
