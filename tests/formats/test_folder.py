"""Folders of images: whole images only, nothing replaced unasked, nothing left of what failed."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mame.errors import MameError
from mame.formats import folder as folders
from mame.formats.files import read
from mame.formats.folder import (
    Format,
    check_folder,
    check_writable,
    image_folder,
    manifest_line,
    next_folder,
    parse_formats,
    write_folder,
)
from mame.formats.manifest import read_manifest, write_manifest
from mame.mammogram import Box, Description, Lesion, LesionKind, Mammogram

BOTH = (Format.PNG, Format.DICOM)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def painted(mammogram: Mammogram, asked: Box, measured: Box | None) -> Mammogram:
    mask = asked.to_mask(mammogram.shape)
    how = {
        "prompt": "a mammogram with a mass",
        "model": "mini-lesion",
        "asked": list(asked.as_tuple()),
        "box_measured": list(measured.as_tuple()) if measured else None,
        "painted_on": mammogram.provenance,
    }
    lesion = Lesion(LesionKind.MASS, asked, mask)
    return mammogram.with_(lesions=(*mammogram.lesions, lesion), provenance=how)


# -- writing ----------------------------------------------------------------------------------------------------------


def test_images_are_numbered_and_told_in_the_manifest(tmp_path: Path, generated: Mammogram) -> None:
    out = write_folder([generated, generated], tmp_path / "new" / "out", BOTH)
    assert names(out) == ["0000.dcm", "0000.png", "0001.dcm", "0001.png", "manifest.jsonl"]
    first, second = read_manifest(out)
    assert first["file"] == "0000.png"
    assert second["files"] == ["0001.png", "0001.dcm"]
    assert first["prompt"] == generated.provenance["prompt"]
    assert (first["model"], first["model_hash"], first["seed"]) == ("mini", "abc", 7)
    assert (first["spacing_mm"], first["laterality"]) == (0.5, "L")
    assert first["description"] == {"vendor": "siemens", "view": "MLO", "density": "C"}
    assert first["synthetic"] is True


def test_the_files_are_what_was_handed_in(tmp_path: Path, generated: Mammogram) -> None:
    out = write_folder([generated], tmp_path, BOTH)
    for name in ("0000.png", "0000.dcm"):
        again = read(out / name)
        np.testing.assert_allclose(again.pixels, generated.pixels, atol=1 / 65535)
        assert again.laterality is generated.laterality
        assert again.spacing_mm == pytest.approx(0.5)


def test_a_lesion_has_the_box_asked_for_and_the_box_measured(tmp_path: Path, generated: Mammogram) -> None:
    first = painted(generated, Box(10, 20, 60, 70), Box(12, 22, 58, 71))
    second = painted(first, Box(100, 200, 140, 240), None)
    with image_folder(tmp_path / "out", "inpaint") as images:
        line = images.add(second, second.lesions[-1].mask)
    assert line == read_manifest(images.path)[0]
    assert line["mask_file"] == "0000-mask.png"
    assert line["lesions"] == [
        {"kind": "mass", "box": [10, 20, 60, 70], "box_measured": [12, 22, 58, 71]},
        {"kind": "mass", "box": [100, 200, 140, 240], "box_measured": None},
    ]
    assert "asked" not in line
    assert "box_measured" not in line


def test_a_known_lesion_has_no_measured_box(generated: Mammogram) -> None:
    known = generated.with_(lesions=(Lesion(LesionKind.MASS, Box(1, 2, 30, 40), birads="4"),))
    assert manifest_line(known, ["0000.png"])["lesions"] == [{"kind": "mass", "box": [1, 2, 30, 40], "birads": "4"}]


def test_the_manifest_holds_no_path(generated: Mammogram) -> None:
    line = manifest_line(generated.with_(source="/home/somebody/study/image.dcm"), ["0000.png"])
    assert line["source"] == "image.dcm"


# -- what is refused --------------------------------------------------------------------------------------------------


def test_existing_images_are_not_replaced_unasked(tmp_path: Path, generated: Mammogram) -> None:
    write_folder([generated], tmp_path)
    before = (tmp_path / "0000.png").read_bytes()
    with pytest.raises(MameError, match="holds images already; use --force"):
        write_folder([generated.with_(pixels=generated.pixels / 2)], tmp_path)
    assert (tmp_path / "0000.png").read_bytes() == before


def test_force_replaces_and_leaves_nothing_of_the_run_before(tmp_path: Path, generated: Mammogram) -> None:
    write_folder([generated] * 3, tmp_path, BOTH)
    (tmp_path / "notes.txt").write_text("mine")
    write_folder([generated], tmp_path, force=True)
    assert names(tmp_path) == ["0000.png", "manifest.jsonl", "notes.txt"]
    assert len(read_manifest(tmp_path)) == 1


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, generated: Mammogram) -> None:
    outside = tmp_path / "0001.png"
    outside.write_bytes(b"mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.jsonl").write_text(
        '{"file": "x", "files": ["../0001.png", "..", 7], "mask_file": "/etc/passwd"}\n'
    )
    write_folder([generated], out, force=True)
    assert outside.read_bytes() == b"mine"


def test_foreign_files_are_no_output(tmp_path: Path, generated: Mammogram) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_folder([generated], tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(MameError, match="is a file, not a folder"):
        check_folder(tmp_path / "taken")
    with pytest.raises(MameError, match="can't be written to"):
        check_folder(tmp_path / "taken" / "below")


def test_too_little_room_is_told_beforehand(tmp_path: Path) -> None:
    with pytest.raises(MameError, match="not enough room"), image_folder(tmp_path / "out", "x", needed_bytes=1 << 60):
        pytest.fail("the folder was opened")
    assert names(tmp_path) == []


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", needed_bytes=1)
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ["", ",", "jpg", "png,gif"])
def test_unknown_formats_are_refused(text: str) -> None:
    with pytest.raises(MameError, match="png, dicom"):
        parse_formats(text)


def test_formats_are_read_once_and_in_order() -> None:
    assert parse_formats("DICOM, png,dicom") == (Format.DICOM, Format.PNG)


def test_what_dicom_lacks_is_told_beforehand(generated: Mammogram) -> None:
    check_writable(generated, BOTH)
    without_view = generated.with_(description=Description())
    check_writable(without_view, (Format.PNG,))
    with pytest.raises(MameError, match="the view"):
        check_writable(without_view, BOTH)
    with pytest.raises(MameError, match="--spacing"):
        check_writable(generated.with_(spacing_mm=None), BOTH)


# -- what is left -----------------------------------------------------------------------------------------------------


def test_a_folder_that_stays_empty_is_removed(tmp_path: Path) -> None:
    def work() -> None:
        with image_folder(tmp_path / "a" / "b", "x"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert names(tmp_path) == []


def test_of_an_image_that_fails_nothing_is_left(
    tmp_path: Path, generated: Mammogram, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_view = generated.with_(description=Description())

    def work() -> None:
        with image_folder(tmp_path / "out", "x", BOTH) as images:
            images.add(generated)
            images.add(without_view)  # its PNG is written, its DICOM can't be

    with pytest.raises(MameError, match="view"):
        work()
    assert names(tmp_path / "out") == ["0000.dcm", "0000.png", "manifest.jsonl"]
    assert len(read_manifest(tmp_path / "out")) == 1


def test_what_the_manifest_names_stays_when_a_signal_comes_right_then(
    tmp_path: Path, generated: Mammogram, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*told) -> None:
        write_manifest(*told)
        if len(told[1]) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(folders.manifest, "write_manifest", interrupted)
    with image_folder(tmp_path / "out", "generate", BOTH) as images:
        images.add(generated, np.ones(generated.shape, dtype=bool))
        with pytest.raises(KeyboardInterrupt):
            images.add(generated, np.ones(generated.shape, dtype=bool))
    assert [line["file"] for line in read_manifest(tmp_path / "out")] == ["0000.png", "0001.png"]
    whole = [f"{number}{end}" for number in ("0000", "0001") for end in ("-mask.png", ".dcm", ".png")]
    assert names(tmp_path / "out") == [*whole, "manifest.jsonl"]


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, generated: Mammogram, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders.manifest, "write_manifest", full)
    with pytest.raises(OSError, match="No space left"):
        write_folder([generated], tmp_path / "out", BOTH)
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a file system can be mounted by root only")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_full_at_once_or_on_the_way(small_disk: Path, generated: Mammogram) -> None:
    with pytest.raises(MameError, match=r"0000\.dcm.*No space left on device"):
        write_folder([generated], small_disk / "out", (Format.DICOM,))
    assert names(small_disk) == []
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "fill").write_bytes(bytes(300_000))
    with pytest.raises(MameError, match="can't be written to: No space left on device"):
        check_folder(small_disk / "out")


# -- folders that nobody named ----------------------------------------------------------------------------------------


def test_unnamed_folders_count_up(tmp_path: Path, generated: Mammogram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mam-e-out" / "generate-7").mkdir(parents=True)
    (tmp_path / "mam-e-out" / "generate-last").mkdir()
    with image_folder(None, "generate") as images:
        images.add(generated)
    assert images.path == Path("mam-e-out/generate-8")
    assert next_folder("inpaint") == Path("mam-e-out/inpaint-1")
    assert next_folder("inpaint") == Path("mam-e-out/inpaint-2")


def test_an_unnamed_folder_that_stays_empty_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with image_folder(None, "generate") as images:
        assert images.path.is_dir()
    assert names(tmp_path) == []
