"""What a user can do wrong: one line on stderr that says what and where, exit code 2, and nothing left behind."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from diffusion.conftest import Folders
from PIL import Image
from pydicom import dcmread
from typer.testing import Result

from mame.errors import MameError
from mame.formats.png import write_mask_png

from .conftest import Run

BOX = ("--box", "60,250,120,310")


def assert_told(done: Result, *words: str) -> None:
    """One line with these words, exit code 2, nothing on stdout, and an empty folder."""
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("mam-e: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert list(Path().iterdir()) == []


# -- the image --------------------------------------------------------------------------------------------------------


def test_not_a_dicom(run: Run, folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "notes.dcm").write_text("not an image")
    asked = ("inpaint", tmp_path / "notes.dcm", *BOX, "--model", folders.lesion)
    assert_told(run(*asked), "notes.dcm", "is not a DICOM")


def test_no_such_image(run: Run, folders: Folders) -> None:
    assert_told(run("inpaint", "none.dcm", *BOX, "--model", folders.lesion), "none.dcm", "No such file")


def test_truncated_pixel_data(run: Run, folders: Folders, film: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.dcm").write_bytes(film.read_bytes()[:200_000])
    assert_told(run("inpaint", tmp_path / "cut.dcm", *BOX, "--model", folders.lesion), "cut.dcm", "truncated")


def test_another_modality(run: Run, folders: Folders, film: Path, tmp_path: Path) -> None:
    dataset = dcmread(film)
    dataset.Modality = "CT"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.save_as(tmp_path / "ct.dcm")
    assert_told(run("inpaint", tmp_path / "ct.dcm", *BOX, "--model", folders.lesion), "ct.dcm", "CT")


def test_no_breast(run: Run, folders: Folders, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 400), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert_told(run("inpaint", tmp_path / "noise.png", *BOX, "--model", folders.lesion), "noise.png", "no breast")


# -- the region -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "word"),
    [
        ("120,250,60,310", "reversed"),
        ("60,250,60,310", "empty"),
        ("60,250,460,310", "outside the picture"),
        ("330,10,390,70", "air"),
        ("60,250,120", "four numbers"),
        ("a,b,c,d", "four numbers"),
        ("nan,0,9,9", "finite"),
    ],
)
def test_a_box_that_can_not_be(run: Run, folders: Folders, film: Path, box: str, word: str) -> None:
    assert_told(run("inpaint", film, "--box", box, "--model", folders.lesion), word)


def test_a_mask_of_another_size(run: Run, folders: Folders, film: Path, tmp_path: Path) -> None:
    write_mask_png(np.ones((300, 200), bool), tmp_path / "mask.png")
    asked = ("inpaint", film, "--mask", tmp_path / "mask.png", "--model", folders.lesion)
    assert_told(run(*asked), "mask.png", "200 x 300", "400 x 600")


def test_neither_or_both_regions(run: Run, folders: Folders, film: Path) -> None:
    asked = ("inpaint", film, "--model", folders.lesion)
    assert_told(run(*asked), "--box", "--mask")
    assert_told(run(*asked, *BOX, "--mask", "mask.png"), "one of them")


# -- models and words -------------------------------------------------------------------------------------------------


def test_an_unknown_model(run: Run, film: Path) -> None:
    for asked in (("generate", "x"), ("inpaint", film, *BOX), ("demo",)):
        assert_told(run(*asked, "--model", "nobody"), "nobody")


def test_a_folder_that_is_no_model(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_told(run("generate", "x", "--model", tmp_path / "empty"), "empty", "model_index.json")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nonsense",), "nonsense"),
        (("generate",), "PROMPT"),
        (("generate", "x", "--nonsense"), "--nonsense"),
        (("generate", "x", "--seed", "a"), "--seed"),
        (("generate", "x", "--format", "jpg"), "png, dicom"),
        (("phantom", "out", "--count", "0"), "count"),
        (("train", "everything", "phantom:8", "out"), "goal"),
        (("train", "healthy", "phantom:8", "out", "--config", "none.yaml"), "none.yaml"),
        (("train", "healthy", "phantom:8", "out", "--precision", "fp1"), "precision"),
    ],
)
def test_a_wrong_word(run: Run, arguments: tuple[str, ...], word: str) -> None:
    done = run(*arguments)
    assert_told(done)
    assert word.lower() in done.stderr.lower()


def test_a_format_lacks_something(run: Run, folders: Folders) -> None:
    assert_told(run("generate", "free text", "--model", folders.healthy, "--format", "dicom"), "view")


# -- the output -------------------------------------------------------------------------------------------------------


def test_an_output_folder_that_can_not_be(run: Run, folders: Folders, film: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/mam-e"):
        assert_told(run("generate", "x", "--model", folders.healthy, "--out", out), str(out))
        assert_told(run("inpaint", film, *BOX, "--model", folders.lesion, "--out", out), str(out))
        assert_told(run("phantom", out, "--count", 1), str(out))


def test_a_disk_that_fills_up(run: Run, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out/0000.png")

    monkeypatch.setattr("mame.formats.folder.write", full)
    asked = ("generate", "x", "--model", folders.healthy, "--steps", 1, "--out", "out")
    assert_told(run(*asked), "out/0000.png: No space left on device")


def test_a_message_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise MameError("one\nand another")

    monkeypatch.setattr("mame.synthesis.orders.generate", wrong)
    assert_told(run("generate", "x"), "mam-e: one and another")


def test_stopping(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mame.synthesis.orders.generate", stopped)
    done = run("generate", "x")
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr == "mam-e: stopped; what was finished is kept\n"
