"""mini-MIAS in miniature: PGM pictures, the origin at the bottom left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mame.mammogram import Laterality, LesionKind, View

from .miniature import Truth, breast, check, failures, prepare, refused, rows_by_id

MASS = LesionKind.MASS
SIDE = 1024


def film(number: int, centre: tuple[int, int, int] | None) -> Truth:
    """A picture of 1,024 pixels a side and a round lesion at (x, y from the bottom, radius)."""
    side = Laterality.L if number % 2 == 0 else Laterality.R
    small = breast(80 + number, str(side), "MLO", "B")
    pixels = np.asarray(Image.fromarray(small.pixels).resize((SIDE, SIDE)))
    lesions = ()
    if centre is not None:
        y, x = np.mgrid[:SIDE, :SIDE] + 0.5
        lesions = ((MASS, (x - centre[0]) ** 2 + (y - (SIDE - centre[1])) ** 2 <= centre[2] ** 2),)
    return Truth(pixels, side, View.MLO, small.density, lesions)


TRUTHS = {
    "mdb001": film(1, (SIDE - 150, 500, 60)),
    "mdb002": film(2, (140, 420, 69)),
    "mdb003": film(3, None),
    "mdb004": film(4, None),
}
INFO = f"""\
MIAS database
mdb001 G CIRC B {SIDE - 150} 500 60
mdb002 G SPIC M 140 420 69
mdb003 D NORM
mdb004 F NORM
"""


def build(root: Path, info: str = INFO) -> None:
    root.mkdir()
    (root / "Info.txt").write_text(info)
    for name, truth in TRUTHS.items():
        Image.fromarray(np.rint(truth.pixels * 255).astype(np.uint8)).save(root / f"{name}.pgm")


def test_every_lesion_comes_out_where_it_was(tmp_path: Path) -> None:
    build(tmp_path / "set")
    found = prepare("mini-mias", tmp_path / "set", tmp_path / "out")
    rows = check(found, TRUTHS)
    assert rows["mdb002"].lesions[0].finding == "spiculated mass"
    assert (rows["mdb001"].pathology, rows["mdb002"].pathology) == ("benign", "malignant")
    assert rows["mdb001"].patient == rows["mdb002"].patient != rows["mdb003"].patient
    assert {row.density for row in rows.values()} == {""}  # fatty, glandular and dense are no BI-RADS classes
    assert failures(found) == []


def test_only_films_without_a_finding_are_healthy(tmp_path: Path) -> None:
    build(tmp_path / "set")
    found = prepare("mini-mias", tmp_path / "set", tmp_path / "out", "--only", "healthy")
    assert set(rows_by_id(found)) == {"mdb003", "mdb004"}


def test_lines_without_a_place_and_files_without_a_line_are_told(tmp_path: Path) -> None:
    info = INFO.replace("mdb003 D NORM", "mdb003 F CIRC B *NOTE 3*") + "mdb001 G CALC M 870 500 30\nmdb009 D NORM\n"
    build(tmp_path / "set", info.replace("mdb004 F NORM", ""))
    found = prepare("mini-mias", tmp_path / "set", tmp_path / "out")
    rows = rows_by_id(found)
    assert set(rows) == {"mdb001", "mdb002", "mdb003"}
    assert sorted(lesion.kind for lesion in rows["mdb001"].lesions) == ["calcifications", "mass"]
    assert rows["mdb001"].pathology == "malignant"
    assert rows["mdb003"].lesions == ()
    assert sorted(what for what, _ in failures(found)) == ["image", "outline", "row"]


def test_a_wrong_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "looked for Info.txt" in refused("mini-mias", tmp_path / "empty", tmp_path / "out")
