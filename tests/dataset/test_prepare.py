"""A prepared set: pixel-exact, nothing lost silently, the same bytes however it was made."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mame.dataset import work as working
from mame.dataset.captions import Said
from mame.dataset.journal import Journal
from mame.dataset.layout import DATASET, METADATA, UNFINISHED, Split
from mame.dataset.picture import Found, Framing, frame_of, look, part, take
from mame.dataset.plan import Item, Only, Options, Recipe, with_recipe
from mame.dataset.prepare import prepare_items
from mame.dataset.pseudonyms import Pseudonyms, open_key
from mame.dataset.read import open_set
from mame.dataset.verify import verify
from mame.errors import MameError
from mame.formats.files import read
from mame.imaging.framing import center_crop
from mame.mammogram import Box, Density, LesionKind, View

from .conftest import KEY, SHAPE, SPACING_MM, disc, picture, write_item

SMALL = Options("test", size=256)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a set by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in folder.glob(f"*/{METADATA}") for line in path.read_text().splitlines()
            if path.parent.name != "windows"]  # fmt: skip


@pytest.fixture(scope="session")
def prepared(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_items(items, SMALL, tmp_path_factory.mktemp("prepared") / "set", KEY)


# -- what is in it --------------------------------------------------------------------------------------------------


def test_everything_of_the_source_is_there_and_nothing_else(prepared: Path, items: list[Item]) -> None:
    found = open_set(prepared)
    rows = [row for split in found.splits for row in found.rows(split)]
    assert sorted(row.source_id for row in rows) == sorted(item.source_id for item in items)
    lesions = {item.source_id: len(item.lesions) for item in items}
    assert {row.source_id: len(row.lesions) for row in rows} == lesions
    counts = found.about["counts"]
    assert (counts["images"], counts["lesions"]) == (12, sum(lesions.values()))
    assert counts["images"] == sum(counts["images_by_split"].values()) == found.about["selection"][0]["images"]
    assert verify(prepared) == []


def test_every_mask_is_where_the_lesion_is(prepared: Path, items: list[Item]) -> None:
    truth = {item.source_id: item for item in items}
    found, seen = open_set(prepared), 0
    for split in found.splits:
        for row, mammogram in found.mammograms(split):
            assert mammogram.pixels[:, 0].max() > 0  # the chest wall is on the left
            for told, lesion in zip(truth[row.source_id].lesions, mammogram.lesions, strict=True):
                assert lesion.mask is not None
                if told.draw is not None:
                    back = row.frame.restore_mask(lesion.mask)
                    mask = told.draw(SHAPE)
                    assert (back & mask).sum() / (back | mask).sum() > 0.9
                else:
                    assert told.box is not None
                    assert row.frame.box_back(lesion.box).iou(told.box) > 0.99
                bright = mammogram.pixels[lesion.mask].mean()
                assert bright > 0.75  # lesions are painted at 0.95; the corners of a box are not
                seen += 1
    assert seen == sum(len(item.lesions) for item in items)


def test_pictures_are_16_bits_and_of_known_size(prepared: Path, items: list[Item]) -> None:
    row = next(row for row in rows_of(prepared) if row["laterality"] == "R")
    place = next(prepared.glob(f"*/{row['file_name']}"))
    with Image.open(place) as image:
        assert image.mode == "I;16"
        assert len(np.unique(np.asarray(image))) > 1000
    assert row["spacing_mm"] == pytest.approx(256 / 256)
    assert row["frame"]["mirror"] is True
    source = read(next(item.path for item in items if item.source_id == row["source_id"]))
    assert row["area_cm2"] == pytest.approx((source.pixels > 0).sum() * SPACING_MM**2 / 100, rel=0.06)


def test_the_default_prompt_says_what_is_known(prepared: Path) -> None:
    for row in rows_of(prepared):
        density = row["density"] or row["density_measured"]
        word = {"A": "very low", "B": "low", "C": "high", "D": "very high"}[density]
        expected = f"a siemens mammogram in CC view with {word} density and {row['area']} area"
        assert row["text"] == expected + (" and a mass" if row["lesions"] else "")
        assert row["density"] in ("C", "")
        assert row["density_measured"] in tuple("ABCD")


def test_datasets_reads_every_side_as_its_own(prepared: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(prepared), cache_dir=str(tmp_path))
    assert {name: len(part) for name, part in loaded.items()} == open_set(prepared).about["counts"]["images_by_split"]
    first = loaded["train"][0]
    assert first["image"].size == first["mask"].size == (256, 256)
    assert first["text"].startswith("a siemens mammogram")


def test_a_patient_is_on_one_side_and_nowhere_by_name(prepared: Path, items: list[Item]) -> None:
    found = open_set(prepared)
    sides = [{row.patient for row in found.rows(split)} for split in found.splits]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 6
    everything = b"".join(files_of(prepared).values())
    for item in items:
        assert item.patient.encode() not in everything
        assert item.path.name.encode() not in everything


# -- the same bytes however it was made -----------------------------------------------------------------------------


def test_two_workers_make_the_same_bytes(prepared: Path, items: list[Item], tmp_path: Path) -> None:
    other = prepare_items(items, SMALL, tmp_path / "two", KEY, workers=2)
    assert files_of(other) == files_of(prepared)


def test_a_stopped_run_goes_on_and_makes_the_same_bytes(prepared: Path, items: list[Item], tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise StopError

    with pytest.raises(StopError):
        prepare_items(items, SMALL, tmp_path / "set", KEY, progress=stop)
    with pytest.raises(MameError, match="not finished"):
        open_set(tmp_path / "set")
    journal = tmp_path / "set" / UNFINISHED / "journal.jsonl"
    with open(journal, "ab") as file:  # killed in the middle of a line
        file.write(b'{"index": 5, "row": {"file')
    (tmp_path / "set" / "train" / ".mam-e-0123.part").write_bytes(b"half")
    seen: list[int] = []
    prepare_items(items, SMALL, tmp_path / "set", KEY, progress=lambda done, _: seen.append(done))
    assert seen[0] == 5
    assert files_of(tmp_path / "set") == files_of(prepared)


def test_two_runs_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    order = {"what": "a set"}
    first = Journal.open(tmp_path / "set", order)
    first.add(0, {"kept": True})
    with pytest.raises(MameError, match="another run is writing here"):
        Journal.open(tmp_path / "set", order)
    first.add(1, {"kept": False})  # the first goes on, undisturbed
    first.close()
    again = Journal.open(tmp_path / "set", order)
    assert dict(again.entries()) == {0: {"index": 0, "kept": True}, 1: {"index": 1, "kept": False}}
    again.close()


def test_a_finished_set_is_left_as_it_is(prepared: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working.Work, "__call__", None)
    assert prepare_items(items, SMALL, prepared, KEY) == prepared


@pytest.mark.parametrize(
    ("options", "said"),
    [(replace(SMALL, size=128), "size 256 instead of 128"), (replace(SMALL, only=Only.HEALTHY), "only none instead")],
)
def test_a_folder_of_other_options_is_refused(prepared: Path, items: list[Item], options: Options, said: str) -> None:
    with pytest.raises(MameError, match=said):
        prepare_items(items, options, prepared, KEY)


def test_a_source_that_changed_is_refused(prepared: Path, items: list[Item]) -> None:
    with pytest.raises(MameError, match="12 images then, 11 now"):
        prepare_items(items[1:], SMALL, prepared, KEY)
    with pytest.raises(MameError, match="another key"):
        prepare_items(items, SMALL, prepared, Pseudonyms(bytes(32)))


def test_a_folder_with_something_else_in_it_is_refused(items: list[Item], tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(MameError, match="did not make"):
        prepare_items(items, SMALL, tmp_path, KEY)
    assert (tmp_path / "index.html").read_text() == "mine"


# -- what can't be used ---------------------------------------------------------------------------------------------


def failures(folder: Path) -> list[dict[str, str]]:
    with open(folder / "failures.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_file_that_cant_be_read_is_told_and_the_run_goes_on(items: list[Item], tmp_path: Path) -> None:
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(items[1].path.read_bytes()[:4000])
    bad = [replace(items[0], path=cut), replace(items[1], path=tmp_path / "SECRET_NAME.dcm"), *items[2:]]
    folder = prepare_items(bad, SMALL, tmp_path / "set", KEY)
    told = failures(folder)
    assert [(line["subject"], line["what"]) for line in told] == [("image-0", "image"), ("image-1", "image")]
    assert "truncated" in told[0]["reason"]
    assert "No such file" in told[1]["reason"]
    assert "SECRET" not in (folder / "failures.csv").read_text()
    counts = open_set(folder).about["counts"]
    assert (counts["images"], counts["images_failed"]) == (10, 2)


def test_where_nothing_can_be_read_it_is_an_error(items: list[Item], tmp_path: Path) -> None:
    gone = [replace(item, path=tmp_path / "gone") for item in items[:2]]
    with pytest.raises(MameError, match="none of 2 images"):
        prepare_items(gone, SMALL, tmp_path / "set", KEY)


def test_lesions_outside_are_dropped_with_a_reason(items: list[Item], tmp_path: Path) -> None:
    outside = Found(LesionKind.MASS, Box(5000, 10, 5010, 20))
    partly = Found(LesionKind.CALCIFICATIONS, Box(-30, 300, 40, 350))
    one = replace(items[1], lesions=(outside, partly))
    folder = prepare_items([one, *items[2:]], SMALL, tmp_path / "set", KEY)
    row = next(row for row in rows_of(folder) if row["source_id"] == one.source_id)
    assert [lesion["kind"] for lesion in row["lesions"]] == ["calcifications"]
    assert row["lesions"][0]["box"][0] == 0.0
    assert "outside the image" in row["dropped"]
    assert open_set(folder).about["counts"]["lesions_dropped"] == 1
    assert any(line["what"] == "lesion" for line in failures(folder))
    assert verify(folder) == []


def test_a_centre_crop_drops_what_it_cuts_off(tmp_path: Path) -> None:
    item = write_item(tmp_path, 0, lesions=1)
    far = Found(LesionKind.MASS, Box(20, 2, 40, 30))
    options = replace(SMALL, framing=Framing.CENTER_CROP)
    folder = prepare_items([replace(item, lesions=(*item.lesions, far))], options, tmp_path / "set", KEY)
    (row,) = rows_of(folder)
    assert len(row["lesions"]) == 1
    assert "outside the frame" in row["dropped"]


def test_the_same_picture_is_on_one_side_only(items: list[Item], tmp_path: Path) -> None:
    copy = tmp_path / "copy.dcm"
    shutil.copy(items[4].path, copy)
    twin = replace(items[4], path=copy, source_id="twin", patient="another", own_split="train")
    own = [replace(item, own_split="test" if item is items[4] else "training") for item in (*items[2:4], *items[4:])]
    folder = prepare_items([twin, *own], SMALL, tmp_path / "set", KEY)
    assert [(line["subject"], line["reason"]) for line in failures(folder)] == [
        ("twin", "the same picture as image-4 (test)")
    ]
    assert not list(folder.rglob("twin*"))
    assert verify(folder) == []


def test_contradictions_are_told(tmp_path: Path) -> None:
    item = write_item(tmp_path, 0, right=True, laterality="L", view=View.MLO)
    (row,) = rows_of(prepare_items([item, write_item(tmp_path, 2)], SMALL, tmp_path / "set", KEY))[:1] or [None]
    row = next(row for row in rows_of(tmp_path / "set") if row["source_id"] == "image 0")
    assert "the set says L, the file R" in row["conflicts"]
    assert "the set says MLO, the file CC" in row["conflicts"]
    assert "L is said, the picture shows R" in row["conflicts"]
    assert row["frame"]["mirror"] is True  # the chest wall is on the left all the same


def test_a_full_disk_is_one_line(items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MameError("x.png: No space left on device")

    monkeypatch.setattr(working, "write_png", full)
    with pytest.raises(MameError, match="No space left"):
        prepare_items(items, SMALL, tmp_path / "set", KEY)


# -- selection ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"only": Only.HEALTHY}, 6),
        ({"only": Only.LESIONS}, 6),
        ({"vendors": ("siemens",)}, 12),
        ({"findings": ("mass",)}, 6),
        ({"view": View.CC, "no_implants": True}, 12),
    ],
)
def test_selections_are_counted(items: list[Item], tmp_path: Path, options: dict[str, Any], count: int) -> None:
    chosen = replace(SMALL, size=64, windows=0, **options)
    about = open_set(prepare_items(items, chosen, tmp_path / "set", KEY)).about
    assert about["counts"]["images"] == count == about["selection"][-1]["images"]
    assert about["selection"][0] == {"filter": "in the source", "images": 12}


def test_nothing_left_says_after_which_filter(items: list[Item], tmp_path: Path) -> None:
    with pytest.raises(MameError, match="in the source: 12; vendor ge: 0"):
        prepare_items(items, replace(SMALL, vendors=("ge",)), tmp_path / "set", KEY)


def test_the_papers_prompts_word_for_word(some: Callable[..., list[Item]], tmp_path: Path) -> None:
    screened = some(vendor="hologic", matrix_rows=3328, spacing_mm=0.07, screening=True)
    screened[2] = replace(screened[2], implants=True)
    screened[6] = replace(screened[6], matrix_rows=2294)
    options = Options(**with_recipe({"source": "optimam", "recipe": Recipe.PAPER_OMI, "size": 64}))
    folder = prepare_items(screened, options, tmp_path / "omi", KEY)
    assert {row["text"] for row in rows_of(folder)} <= {
        f"a mammogram in CC view with {area} area" for area in ("small", "medium", "big")
    }
    steps = {step["filter"]: step["images"] for step in open_set(folder).about["selection"]}
    assert (steps["no implants"], steps["3328 or 4096 rows"], steps["only healthy"]) == (11, 10, 4)
    siemens = some(density=Density.B)
    options = Options(**with_recipe({"source": "vindr", "recipe": Recipe.PAPER_VINDR, "size": 64}))
    folder = prepare_items(siemens, options, tmp_path / "vindr", KEY)
    assert {row["text"] for row in rows_of(folder)} == {"a mammogram in CC view with low density"}
    options = Options(**with_recipe({"source": "v", "recipe": "paper-vindr", "size": 64, "only": Only.LESIONS}))
    folder = prepare_items(siemens, options, tmp_path / "lesions", KEY)
    assert {row["text"] for row in rows_of(folder)} == {"a mammogram with a lesion"}


def test_captions_can_leave_words_out(items: list[Item], tmp_path: Path) -> None:
    options = replace(SMALL, size=64, windows=0, caption=(Said.VENDOR, Said.VIEW, Said.AREA))
    for row in rows_of(prepare_items(items, options, tmp_path / "set", KEY)):
        assert row["text"] == f"a siemens mammogram in CC view with {row['area']} area"


# -- frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [False, True])
def test_only_where_the_breast_is_gives_the_same_picture(right: bool) -> None:
    pixels = picture(3, (disc((100, 300), 30),), right)[:, ::-1] if right else picture(3, (disc((100, 300), 30),))
    pixels = np.ascontiguousarray(pixels[:, ::-1]) if right else pixels
    seen = look(pixels)
    frame = frame_of(seen, Framing.FIELD, 200, SPACING_MM)
    np.testing.assert_allclose(take(pixels, seen, frame), frame.apply(pixels), atol=0.02)
    whole = frame.apply(pixels)
    box = Box(10, 20, 90, 120)
    np.testing.assert_allclose(part(frame, box).apply(pixels), whole[box.slices()], atol=1e-5)


@pytest.mark.parametrize("shape", [(3328, 2560), (700, 420), (2601, 1999)])
def test_the_centre_crop_is_pillows(shape: tuple[int, int]) -> None:
    base = picture(1)
    pixels = np.asarray(Image.fromarray(base).resize(shape[::-1], Image.Resampling.BICUBIC)).clip(0, 1)
    seen = look(pixels)
    found = take(pixels, seen, center_crop(shape, 512, seen.mirrored, 0.07))
    scale = 512 / min(shape)
    image = Image.fromarray(pixels * 255).resize(
        (round(shape[1] * scale), round(shape[0] * scale)), Image.Resampling.BILINEAR
    )
    left, top = (image.width - 512) // 2, (image.height - 512) // 2
    expected = np.asarray(image.crop((left, top, left + 512, top + 512)))
    assert np.abs(found * 255 - expected).max() <= 1.0


# -- pseudonyms -----------------------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAM_E_KEY", str(tmp_path / "deep" / "key"))
    first = open_key()
    assert open_key() == first
    assert os.stat(tmp_path / "deep" / "key").st_mode & 0o077 == 0
    assert first.name("patient", "vindr", "1") != first.name("patient", "rsna", "1")
    assert first.name("patient", "vindr", "1") != KEY.name("patient", "vindr", "1")
    (tmp_path / "bad").write_text("not a key")
    with pytest.raises(MameError, match="is no key"):
        open_key(tmp_path / "bad")
    assert first.key.hex() not in repr(first)


def test_private_ids_become_pseudonyms(items: list[Item], tmp_path: Path) -> None:
    private = [replace(item, private=True, source_id=f"DOE^JANE/{n}") for n, item in enumerate(items[:4])]
    folder = prepare_items(private, replace(SMALL, size=64), tmp_path / "set", KEY)
    assert b"DOE^JANE" not in b"".join(files_of(folder).values())  # three letters would turn up by chance in pixels
    assert not [name for name in files_of(folder) if "DOE" in name]
    assert verify(folder) == []


def test_the_set_says_what_it_is(prepared: Path) -> None:
    about = json.loads((prepared / DATASET).read_text())
    assert about["order"]["framing"] == "field"
    assert set(about["sha256"]) >= {f"{Split.TRAIN}/{METADATA}", f"windows/{METADATA}"}
    card = (prepared / "index.html").read_text()
    assert "12 images, 9 lesions" in card
    assert card.count("<img") == 12
