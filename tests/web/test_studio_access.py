"""Whether everybody can use the studio: axe-core looks at each tab, at the width of a desk and of a telephone."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from web.conftest import Served

pytestmark = pytest.mark.slow
AXE = "axe-core@4.10.3"
TABS = ("Generate", "Paint a lesion", "Cohort", "Assess", "Read")
PATIENCE_MS = 300_000


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm: tests alone need Node.js, users never."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm (axe-core comes from there)")
    folder = tmp_path_factory.mktemp("axe")
    got = subprocess.run([npm, "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True, timeout=300)
    if got.returncode != 0:
        pytest.skip(f"npm can't give {AXE}: {got.stderr[-200:]}")
    with tarfile.open(folder / got.stdout.strip()) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    server = Served("studio")
    yield server
    server.stop()


def open_tab(page: Any, name: str) -> None:
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() == 0 or not tab.first.is_visible():  # on a narrow screen the last ones are in a menu
        page.locator(".overflow-menu > button").click()
        page.locator(".overflow-dropdown button", has_text=name).click()
    else:
        tab.first.click()
    page.wait_for_timeout(1500)


def faults(page: Any) -> list[str]:
    """Serious and critical ones: what is wrong, and where."""
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [f"{one['id']}: {', '.join(str(node['target']) for node in one['nodes'])}"
            for one in found if one["impact"] in ("serious", "critical")]  # fmt: skip


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(browser: Any, served: Served, axe: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 1000})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"http://127.0.0.1:{served.port}/")
    page.wait_for_selector("#make")
    page.wait_for_timeout(1500)
    page.evaluate(axe)
    assert page.evaluate("axe.version") == AXE.partition("@")[2]
    for tab in TABS:
        open_tab(page, tab)
        assert faults(page) == [], tab
        wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wider <= 0, f"{tab}: {wider} pixels have to be scrolled to the side"


def test_axe_would_see_a_fault(browser: Any, served: Served, axe: str) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"http://127.0.0.1:{served.port}/")
    page.wait_for_selector("#make")
    page.evaluate(axe)
    page.evaluate("document.querySelector('main, body').insertAdjacentHTML('beforeend', '<button></button>')")
    assert any(fault.startswith("button-name") for fault in faults(page))
