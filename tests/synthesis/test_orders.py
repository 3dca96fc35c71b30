"""Orders end to end with small models: what is written, what is refused, what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diffusion.conftest import Folders

from mame.diffusion.model import Model
from mame.errors import MameError
from mame.formats.files import read, write
from mame.formats.manifest import read_manifest
from mame.formats.png import read_mask_png, write_mask_png
from mame.mammogram import Box, Description, Laterality, Mammogram, View
from mame.synthesis.orders import generate, inpaint

CC = "a siemens mammogram in CC view"
BOX = Box(60, 250, 120, 310)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- generate ---------------------------------------------------------------------------------------------------------


def test_generate_writes_what_it_says(tmp_path: Path, folders: Folders) -> None:
    out = generate(
        CC, tmp_path / "out", model=folders.healthy, count=2, seed=3, steps=2, side="R", formats=("png", "dicom")
    )
    assert names(out) == ["0000.dcm", "0000.png", "0001.dcm", "0001.png", "manifest.jsonl"]
    lines = read_manifest(out)
    assert [(line["seed"], line["index"], line["prompt"]) for line in lines] == [(3, 0, CC), (3, 1, CC)]
    assert {line["laterality"] for line in lines} == {"R"}
    assert len(lines[0]["model_hash"]) == 64
    again = read(out / "0001.dcm")
    assert (again.synthetic, again.laterality, again.description.view) == (True, Laterality.R, View.CC)


def test_a_batch_changes_nothing_but_rounding(tmp_path: Path, folders: Folders) -> None:
    one = generate(CC, tmp_path / "one", model=folders.healthy, count=3, steps=2)
    two = generate(CC, tmp_path / "two", model=folders.healthy, count=3, steps=2, batch=2)
    for name in ("0000.png", "0001.png", "0002.png"):
        np.testing.assert_allclose(read(one / name).pixels, read(two / name).pixels, atol=0.02)


def test_progress_counts_every_step(tmp_path: Path, folders: Folders) -> None:
    told: list[tuple[int, int]] = []
    generate(CC, tmp_path, model=folders.healthy, count=3, steps=2, batch=2, progress=lambda *now: told.append(now))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_lesion_model_makes_pictures_through_its_companion(tmp_path: Path, folders: Folders) -> None:
    out = generate(CC, tmp_path, model=folders.lesion, steps=1, formats=("dicom",))
    assert read_manifest(out)[0]["model"] == "healthy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count"),
        ({"batch": 0}, "batch"),
        ({"side": "left"}, "side 'left' is none of L, R"),
        ({"formats": ("jpg",)}, "format 'jpg'"),
        ({"model": "nobody"}, "unknown model 'nobody'"),
        ({"prompt": "something else", "formats": ("dicom",)}, "the view"),
        ({"steps": 0}, "steps"),
        ({"device": "nowhere"}, "device 'nowhere'"),
    ],
)
def test_generate_refuses_and_leaves_nothing(
    tmp_path: Path, folders: Folders, options: dict[str, object], message: str
) -> None:
    asked = {"prompt": CC, "model": folders.healthy, **options}
    with pytest.raises(MameError, match=message):
        generate(out=tmp_path / "new" / "out", **asked)  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_refused_before_the_model_is_opened(tmp_path: Path, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mame.diffusion.model.load_model", lambda *_: pytest.fail("a model was opened"))
    (tmp_path / "0000.png").write_bytes(b"")
    with pytest.raises(MameError, match="--force"):
        generate(CC, tmp_path, model=folders.healthy)
    with pytest.raises(MameError, match="the view"):
        generate("free text", tmp_path / "a", model=folders.healthy, formats=("dicom",))


def test_what_was_finished_before_a_stop_is_kept(
    tmp_path: Path, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Model.generate

    def stopped(self: Model, *args: object, **options: object) -> list[Mammogram]:
        if options["first"] == 2:
            raise KeyboardInterrupt
        return whole(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "generate", stopped)
    with pytest.raises(KeyboardInterrupt):
        generate(CC, tmp_path, model=folders.healthy, count=4, steps=1)
    assert names(tmp_path) == ["0000.png", "0001.png", "manifest.jsonl"]
    assert len(read_manifest(tmp_path)) == 2


# -- inpaint ----------------------------------------------------------------------------------------------------------


def test_inpaint_paints_inside_the_box_only(tmp_path: Path, folders: Folders, film: Path) -> None:
    out = inpaint(film, BOX, tmp_path, model=folders.lesion, steps=2, formats=("png", "dicom"))
    assert names(out) == ["0000-mask.png", "0000.dcm", "0000.png", "manifest.jsonl"]
    before, after = read(film), read(out / "0000.dcm")
    assert before.stored is not None
    assert after.stored is not None
    changed = Box.of_mask(before.stored.values != after.stored.values)
    assert changed is not None
    grown = BOX.grown(10)
    assert (changed.x0, changed.y0) >= (grown.x0, grown.y0)
    assert (changed.x1, changed.y1) <= (grown.x1, grown.y1)
    assert Box.of_mask(read_mask_png(out / "0000-mask.png")) == BOX
    (line,) = read_manifest(out)
    assert line["lesions"][0]["box"] == list(BOX.as_tuple())
    assert "box_measured" in line["lesions"][0]
    assert line["shape"] == [600, 400]
    assert line["source"] == "film.dcm"


def test_a_mask_file_says_where(tmp_path: Path, folders: Folders, film: Path) -> None:
    mask = BOX.to_mask((600, 400))
    mask[250:270, 60:80] = False
    write_mask_png(mask, tmp_path / "mask.png")
    out = inpaint(film, tmp_path / "mask.png", tmp_path / "out", model=folders.lesion, steps=1)
    np.testing.assert_array_equal(read_mask_png(out / "0000-mask.png"), mask)


def test_the_whole_picture_can_be_the_window(tmp_path: Path, folders: Folders, film: Path) -> None:
    out = inpaint(film, BOX, tmp_path, model=folders.lesion, steps=1, window="whole")
    assert names(out) == ["0000-mask.png", "0000.png", "manifest.jsonl"]


def test_spacing_and_view_that_a_picture_lacks(tmp_path: Path, folders: Folders, film: Path) -> None:
    bare = tmp_path / "bare.png"
    write(Mammogram(read(film).pixels, laterality=Laterality.L), bare)
    with pytest.raises(MameError, match="the view"):
        inpaint(bare, BOX, tmp_path / "out", model=folders.lesion, formats=("dicom",))
    prompt = "a mammogram in CC view with a mass"
    options = {"prompt": prompt, "model": folders.lesion, "steps": 1, "formats": ("dicom",)}
    (line,) = read_manifest(inpaint(bare, BOX, tmp_path / "a", **options))  # type: ignore[arg-type]
    assert (line["spacing_mm"], line["spacing_origin"]) == (pytest.approx(0.4), "assumed")
    (line,) = read_manifest(inpaint(bare, BOX, tmp_path / "b", spacing_mm=0.1, **options))  # type: ignore[arg-type]
    assert (line["spacing_mm"], line["spacing_origin"]) == (0.1, "given")
    assert read(tmp_path / "b" / "0000.dcm").description.view is View.CC


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(300, 10, 480, 90), "reaches outside the picture"),
        (Box(330, 10, 390, 70), "lies in air"),
        (Box(60, 250, 62, 252), "too small"),
    ],
)
def test_a_box_that_can_not_be_painted_into(
    tmp_path: Path, folders: Folders, film: Path, box: Box, message: str
) -> None:
    with pytest.raises(MameError, match=message):
        inpaint(film, box, tmp_path / "out", model=folders.lesion)
    assert names(tmp_path) == []


def test_a_mask_that_can_not_be_painted_into(tmp_path: Path, folders: Folders, film: Path) -> None:
    write_mask_png(np.ones((400, 600), bool), tmp_path / "turned.png")
    write_mask_png(np.zeros((600, 400), bool), tmp_path / "empty.png")
    for name, message in (("turned.png", "600 x 400 .* 400 x 600"), ("empty.png", "empty"), ("none.png", "No such")):
        with pytest.raises(MameError, match=f"{name}.*{message}"):
            inpaint(film, tmp_path / name, tmp_path / "out", model=folders.lesion)
    assert names(tmp_path) == ["empty.png", "turned.png"]


def test_calcifications_need_fine_pixels(tmp_path: Path, folders: Folders, film: Path) -> None:
    with pytest.raises(MameError, match=r"0\.35 mm"):
        inpaint(film, BOX, tmp_path / "out", model=folders.lesion, prompt="a mammogram with suspicious calcifications")
    assert names(tmp_path) == []


def test_unknown_windows_are_refused(tmp_path: Path, folders: Folders, film: Path) -> None:
    with pytest.raises(MameError, match="window 'half' is none of auto, whole"):
        inpaint(film, BOX, tmp_path / "out", model=folders.lesion, window="half")


def test_a_description_goes_on(tmp_path: Path, folders: Folders, film: Path) -> None:
    out = inpaint(film, BOX, tmp_path, model=folders.lesion, steps=1)
    assert read(out / "0000.png").description == Description(view=View.CC)
