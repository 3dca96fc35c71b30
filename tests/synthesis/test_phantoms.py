"""The simulator's data set: exact, the same whatever the count, and continued where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mame.errors import MameError
from mame.formats.dicom import read_header
from mame.formats.files import read
from mame.formats.manifest import read_manifest
from mame.formats.png import read_mask_png
from mame.imaging.phantom import Grid, Phantom
from mame.mammogram import Box, area_from_cm2
from mame.synthesis import phantoms
from mame.synthesis.phantoms import phantom


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full matrices take ten seconds each; a coarse one has the same truth."""

    def grid(self: Phantom) -> Grid:
        return self.field_grid(160)

    monkeypatch.setattr(Phantom, "matrix_grid", grid)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.usefixtures("coarse")
def test_labels_say_what_the_images_and_masks_hold(tmp_path: Path) -> None:
    out = phantom(tmp_path / "out", 4, seed=2, lesion_share=1.0)
    lines = read_manifest(out)
    assert [line["file"] for line in lines] == [f"images/000{i}.dcm" for i in range(4)]
    for line in lines:
        image = read(out / line["file"])
        masks = {part: read_mask_png(out / file) for part, file in line["masks"].items()}
        assert image.synthetic
        assert list(image.shape) == line["shape"]
        assert image.laterality == line["laterality"]
        assert (image.description.view, image.description.vendor) == (line["view"], line["vendor"])
        assert line["spacing_mm"] == pytest.approx(image.spacing_mm)
        np.testing.assert_array_equal(image.pixels > 0, masks["breast"])
        assert masks["pectoral"].any() == (line["view"] == "MLO")
        free = masks["breast"] & ~masks["pectoral"]
        assert line["percent_density"] == pytest.approx(100 * masks["dense"].sum() / free.sum(), abs=0.01)
        area_cm2 = masks["breast"].sum() * (line["spacing_mm"] / 10) ** 2
        assert line["area_cm2"] == pytest.approx(area_cm2, abs=0.02)
        assert line["area"] == area_from_cm2(area_cm2)
        assert [Box(*lesion["box"]) for lesion in line["lesions"]] == [Box.of_mask(masks["lesion"])]
    assert {line["laterality"] for line in lines} == {"L", "R"}


@pytest.mark.usefixtures("coarse")
def test_an_image_does_not_depend_on_the_count(tmp_path: Path) -> None:
    few, more = contents(phantom(tmp_path / "few", 1, seed=3)), contents(phantom(tmp_path / "more", 2, seed=3))
    same = [name for name in few if name != "manifest.jsonl"]
    assert len(same) >= 6
    assert all(few[name] == more[name] for name in same)
    other = contents(phantom(tmp_path / "other", 1, seed=4))
    assert other["images/0000.dcm"] != few["images/0000.dcm"]


@pytest.mark.usefixtures("coarse")
def test_none_and_all_have_lesions(tmp_path: Path) -> None:
    healthy = read_manifest(phantom(tmp_path / "healthy", 2, lesion_share=0))
    assert all(not line["lesions"] and "lesion" not in line["masks"] for line in healthy)
    ill = read_manifest(phantom(tmp_path / "ill", 2, lesion_share=1))
    assert all(line["lesions"] for line in ill)


@pytest.mark.usefixtures("coarse")
def test_a_stopped_run_goes_on_and_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, draw = contents(phantom(tmp_path / "whole", 3)), phantoms.draw

    def stopped(order: phantoms.Order, index: int) -> phantoms.Picture:
        if index == 1:
            raise KeyboardInterrupt
        return draw(order, index)

    with monkeypatch.context() as patch:
        patch.setattr(phantoms, "draw", stopped)
        with pytest.raises(KeyboardInterrupt):
            phantom(tmp_path / "out", 3)
    assert len(read_manifest(tmp_path / "out")) == 1
    stamp = (tmp_path / "out" / "images" / "0000.dcm").stat().st_mtime_ns
    told: list[tuple[int, int]] = []
    phantom(tmp_path / "out", 3, progress=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (tmp_path / "out" / "images" / "0000.dcm").stat().st_mtime_ns == stamp
    assert contents(tmp_path / "out") == whole


@pytest.mark.usefixtures("coarse")
def test_of_an_image_that_fails_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MameError("No space left on device")

    monkeypatch.setattr(phantoms, "write_mask_png", full)
    with pytest.raises(MameError, match="No space"):
        phantom(tmp_path / "out", 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("coarse")
def test_another_order_needs_force(tmp_path: Path) -> None:
    phantom(tmp_path, 2, seed=1)
    before = contents(tmp_path)
    with pytest.raises(MameError, match=r"holds images ordered with .*--force"):
        phantom(tmp_path, 2, seed=2)
    assert contents(tmp_path) == before
    phantom(tmp_path, 1, seed=2, force=True)
    assert len(read_manifest(tmp_path)) == 1
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["0000.dcm"]


def test_somebody_elses_folder_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.dcm").write_bytes(b"mine")
    with pytest.raises(MameError, match="not made by this command"):
        phantom(tmp_path, 1)
    assert contents(tmp_path) == {"images/mine.dcm": b"mine"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count"),
        ({"count": 1, "workers": 0}, "workers"),
        ({"count": 1, "seed": -1}, "seed"),
        ({"count": 1, "lesion_share": 1.5}, "share"),
    ],
)
def test_values_out_of_range(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(MameError, match=message):
        phantom(tmp_path / "out", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(MameError, match="is a file"):
        phantom(tmp_path / "taken", 1)


@pytest.mark.slow
def test_full_matrices_by_several_workers(tmp_path: Path) -> None:
    out = phantom(tmp_path, 2, seed=5, workers=2)
    for line in read_manifest(out):
        header = read_header(out / line["file"])
        assert header.SyntheticData == "YES"
        assert header.PresentationIntentType == "FOR PRESENTATION"
        assert (header.Rows, header.Columns) in [(3328, 2560), (4096, 3328), (3518, 2800)]
        assert header.PatientID.startswith("SYNTHETIC-")


def test_a_smaller_size_is_the_field_with_masses_only(tmp_path: Path) -> None:
    out = phantom(tmp_path / "out", 5, seed=2, lesion_share=1.0, size=160)
    lines = read_manifest(out)
    assert all(line["shape"] == [160, 160] for line in lines)
    assert {lesion["kind"] for line in lines for lesion in line["lesions"]} == {"mass"}
    assert min(line["spacing_mm"] for line in lines) == pytest.approx(1.6)
    with pytest.raises(MameError, match="ordered with"):
        phantom(out, 5, seed=2, lesion_share=1.0, size=128)
    with pytest.raises(MameError, match="size must be 64 to 4096 pixels, not 8"):
        phantom(tmp_path / "other", 1, size=8)


@pytest.mark.usefixtures("coarse")
def test_a_folder_of_before_there_were_sizes_is_completed(tmp_path: Path) -> None:
    out = phantom(tmp_path / "out", 1, seed=2)
    place = out / "phantom.json"
    said = json.loads(place.read_text())
    del said["size"]
    place.write_text(json.dumps(said))
    phantom(out, 2, seed=2)
    assert len(read_manifest(out)) == 2
