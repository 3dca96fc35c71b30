"""What is done with prepared sets: proving, joining, exporting, learning from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mame import prompt
from mame.dataset.captions import Said, caption, describe, parse_caption
from mame.dataset.examples import open_examples, open_held_out
from mame.dataset.export import export
from mame.dataset.fuse import fuse
from mame.dataset.layout import METADATA, Split
from mame.dataset.plan import Item, Only, Options
from mame.dataset.prepare import prepare_items
from mame.dataset.pseudonyms import Pseudonyms
from mame.dataset.read import open_set
from mame.dataset.regions import Regions
from mame.dataset.splits import PatientFacts, Shares, assign, parse_shares
from mame.dataset.verify import verify
from mame.errors import MameError
from mame.mammogram import Density, LesionKind, View

from .conftest import KEY

SMALL = Options("test", size=128, windows=2)


@pytest.fixture(scope="session")
def prepared(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_items(items, SMALL, tmp_path_factory.mktemp("sets") / "set", KEY)


@pytest.fixture
def copied(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "copy"))


def first_row(folder: Path, lesions: bool = True) -> tuple[Path, dict[str, object]]:
    for path in sorted(folder.glob(f"t*/{METADATA}")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if bool(row["lesions"]) == lesions:
                return path.parent, row
    raise AssertionError


# -- verify ---------------------------------------------------------------------------------------------------------


def test_an_untouched_set_has_no_fault(prepared: Path) -> None:
    assert verify(prepared) == []


def damage_truncated(place: Path, row: dict[str, object]) -> str:
    path = place / str(row["file_name"])
    path.write_bytes(path.read_bytes()[:500])
    return "damaged"


def damage_missing(place: Path, row: dict[str, object]) -> str:
    (place / str(row["mask_file_name"])).unlink()
    return "No such file"


def damage_pixel(place: Path, row: dict[str, object]) -> str:
    path = place / str(row["file_name"])
    values = np.asarray(Image.open(path)).copy()
    values[3, 3] += 1
    Image.fromarray(values).save(path)
    return "not those that were prepared"


def damage_mask(place: Path, row: dict[str, object]) -> str:
    path = place / str(row["mask_file_name"])
    Image.fromarray(np.roll(np.asarray(Image.open(path)), 9, axis=1)).save(path)
    return "do not agree|not the union"


def damage_extra(place: Path, row: dict[str, object]) -> str:
    Image.new("I;16", (128, 128)).save(place / "extra.png")
    return "no row names it"


def damage_row(place: Path, row: dict[str, object]) -> str:
    path = place / METADATA
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    return "was changed since|dataset.json counts"


def damage_escape(place: Path, row: dict[str, object]) -> str:
    path = place / METADATA
    path.write_text(path.read_text().replace(f'"{row["file_name"]}"', '"../../secret.png"'))
    return "is not the name of a file"


@pytest.mark.parametrize(
    "damage",
    [damage_truncated, damage_missing, damage_pixel, damage_mask, damage_extra, damage_row, damage_escape],
)
def test_every_damage_is_found(copied: Path, damage: Callable[[Path, dict[str, object]], str]) -> None:
    said = damage(*first_row(copied))
    faults = verify(copied)
    assert any(word in fault for fault in faults for word in said.split("|")), faults


def test_a_patient_on_two_sides_is_found(copied: Path) -> None:
    train = copied / Split.TRAIN / METADATA
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    other = json.loads((copied / Split.TEST / METADATA).read_text().splitlines()[0])
    rows[0]["patient"] = other["patient"]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert any("is in train and in test" in fault for fault in verify(copied))


def test_what_is_no_prepared_set_is_refused(tmp_path: Path) -> None:
    for use in (verify, open_set, lambda path: export(path, tmp_path / "x")):
        with pytest.raises(MameError, match="is not a prepared data set"):
            use(tmp_path)


# -- fuse -----------------------------------------------------------------------------------------------------------


def test_two_selections_of_a_source_are_joined(items: list[Item], prepared: Path, tmp_path: Path) -> None:
    parts = [
        prepare_items(items, replace(SMALL, only=only), tmp_path / only, KEY) for only in (Only.HEALTHY, Only.LESIONS)
    ]
    both = fuse(parts, tmp_path / "both")
    assert verify(both) == []
    mine, whole = open_set(both), open_set(prepared)
    for split in whole.splits:
        assert {row.source_id: row.sha256 for row in mine.rows(split)} == {
            row.source_id: row.sha256 for row in whole.rows(split)
        }
    assert len(mine.windows) == len(whole.windows)


def test_sets_of_one_source_under_two_keys_are_refused(items: list[Item], prepared: Path, tmp_path: Path) -> None:
    other = prepare_items(items[:4], replace(SMALL, size=128, windows=0), tmp_path / "other", Pseudonyms(bytes(32)))
    with pytest.raises(MameError, match="name the patients of test with different keys"):
        fuse([prepared, other], tmp_path / "both")
    apart = prepare_items(items[:4], replace(SMALL, source="another", windows=0), tmp_path / "apart", KEY)
    both = fuse([prepared, apart], tmp_path / "joined")
    with pytest.raises(MameError, match="different keys"):
        fuse([both, other], tmp_path / "three")


def test_ids_are_made_unique_and_vendors_told_apart(
    items: list[Item], some: Callable[..., list[Item]], tmp_path: Path
) -> None:
    a = replace(SMALL, source="one", caption=(Said.VIEW, Said.AREA))
    b = replace(SMALL, source="two", caption=(Said.VIEW, Said.DENSITY))
    other = [replace(item, view=View.CC, vendor="hologic", spacing_mm=0.28) for item in items]
    sets = [prepare_items(items, a, tmp_path / "a", KEY), prepare_items(other, b, tmp_path / "b", KEY)]
    both = open_set(fuse(sets, tmp_path / "both"))
    rows = [row for split in both.splits for row in both.rows(split)]
    assert len(rows) == len({row.file_name for row in rows}) == 24
    assert verify(both.folder) == []
    for row in rows:
        vendor = "siemens" if row.source == "one" else "hologic"
        assert row.text.startswith(f"a {vendor} mammogram in CC view with ")
        assert ("area" in row.text) == (row.source == "one")
        assert ("density" in row.text) == (row.source == "two")
    assert both.about["source"] == "one + two"


def test_the_measured_density_is_said_of_pictures_and_windows_prepared_or_fused(
    items: list[Item], tmp_path: Path
) -> None:
    labelled = [replace(item, density=Density.D) for item in items]
    words = (Said.VIEW, Said.MEASURED)
    new = prepare_items(labelled, replace(SMALL, source="one", windows=1, caption=words), tmp_path / "a", KEY)
    halves = [
        prepare_items(labelled[half::2], replace(SMALL, source=f"half {half}", windows=1), tmp_path / f"{half}", KEY)
        for half in (0, 1)
    ]
    fused = fuse(halves, tmp_path / "joined", words="view,measured")
    for found in (open_set(new), open_set(fused)):
        rows = {Path(row.file_name).stem: row for split in found.splits for row in found.iterate(split)}
        assert {row.density for row in rows.values()} == {"D"} != {row.density_measured for row in rows.values()}
        windows = list(found.windows)
        assert windows
        for row, text in [(row, row.text) for row in rows.values()] + [(rows[w.view_of], w.text) for w in windows]:
            told = prompt.parse(text)
            assert told is not None
            assert told.density == row.density_measured
    assert {window.density for window in open_set(new).windows} == {"D"}  # what is known stays the label


def test_a_patient_on_two_sides_of_two_sets_stays_on_the_clean_one(items: list[Item], tmp_path: Path) -> None:
    def own(sides: str) -> list[Item]:
        return [replace(item, own_split=side) for item, side in zip(items[4:], sides.split() * 4, strict=False)]

    sets = [
        prepare_items(own("train train test test"), SMALL, tmp_path / "a", KEY),
        prepare_items(own("test test train train"), replace(SMALL, framing="center_crop"), tmp_path / "b", KEY),
    ]
    both = open_set(fuse(sets, tmp_path / "both"))
    assert verify(both.folder) == []
    assert "its patient is in test of another set" in (both.folder / "failures.csv").read_text()


def test_sets_that_cant_be_joined_are_refused(items: list[Item], prepared: Path, tmp_path: Path) -> None:
    smaller = prepare_items(items[:2], replace(SMALL, size=64), tmp_path / "s", KEY)
    with pytest.raises(MameError, match="different sizes"):
        fuse([prepared, smaller], tmp_path / "x")
    with pytest.raises(MameError, match="two or more"):
        fuse([prepared], tmp_path / "x")
    with pytest.raises(MameError, match="one of the sets"):
        fuse([prepared, prepared], prepared)


# -- export ---------------------------------------------------------------------------------------------------------


def test_an_export_has_plain_rgb_pictures(prepared: Path, tmp_path: Path) -> None:
    folder = export(prepared, tmp_path / "rgb")
    place, row = first_row(prepared)
    exported = Image.open(folder / place.name / str(row["file_name"]))
    assert exported.mode == "RGB"
    master = np.asarray(Image.open(place / str(row["file_name"]))).astype(float) / 257
    assert np.abs(np.asarray(exported)[..., 1] - master).max() <= 0.5
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    assert sum(len(part) for part in loaded.values()) == 12
    with pytest.raises(MameError, match="only 8"):
        export(prepared, tmp_path / "y", 12)
    with pytest.raises(MameError, match="is not empty"):
        export(prepared, folder)
    assert export(prepared, folder, force=True) == folder


# -- learning from it -----------------------------------------------------------------------------------------------


def test_a_trainer_sees_healthy_views_of_the_training_side(prepared: Path) -> None:
    views = open_examples(str(prepared), "views", 64)
    train = [row for row in open_set(prepared).rows(Split.TRAIN) if not row.lesions]
    assert len(views) == len(train)
    example = views[0]
    assert example.pixels.shape == (64, 64)
    assert example.pixels.dtype == np.float32
    assert example.description.lesion is None
    assert example.description.vendor == "siemens"
    assert open_examples(str(prepared), "views", 128).key != views.key


def test_a_trainer_can_see_pictures_with_lesions_and_where(prepared: Path) -> None:
    every = open_examples(f"{prepared} + phantom:2:5", "all", 64)
    rows = open_set(prepared).rows(Split.TRAIN)
    assert len(every) == len(rows) + 2
    found = [every[index] for index in range(len(every))]
    assert all(one.lesion is not None for one in found)
    assert sum(one.lesion.any() for one in found) == sum(bool(row.lesions) for row in rows)  # type: ignore[union-attr]
    assert all(one.lesion.any() == (one.description.lesion is not None) for one in found)  # type: ignore[union-attr]


def test_a_trainer_sees_windows_with_their_lesions(prepared: Path) -> None:
    windows = open_examples(str(prepared), "windows", 128)
    rows = [row for row in open_set(prepared).windows if row.split == Split.TRAIN]
    assert len(windows) == len(rows)
    kinds = set()
    for index in range(len(windows)):
        example = windows[index]
        assert example.region is not None
        assert example.lesion is not None
        assert not (example.lesion & ~example.region).all()
        kinds.add(example.description.lesion)
        if example.description.lesion is not None:
            assert example.pixels[example.lesion].mean() > 0.6
    assert LesionKind.MASS in kinds
    assert np.array_equal(windows[1].region, windows[1].region)


def test_a_trainer_sees_whole_views_with_every_lesion_marked(prepared: Path) -> None:
    marked = open_examples(str(prepared), "marked", 128, Regions.BOX)
    rows = [row for row in open_set(prepared).rows(Split.TRAIN) if row.lesions]
    rows.sort(key=lambda row: (row.patient, row.file_name))
    assert len(marked) == len(rows)
    for index, row in enumerate(rows):
        example = marked[index]
        assert example.region is not None
        for lesion in row.lesions:
            x, y = lesion.box.centre
            assert example.region[int(y), int(x)]
        assert example.region.sum() <= sum(lesion.box.rounded().area for lesion in row.lesions) * 1.3
    assert max(len(row.lesions) for row in rows) > 1


def test_validation_is_of_other_patients(prepared: Path) -> None:
    kept = open_set(prepared).rows(Split.VALIDATION)
    held_out = open_held_out(str(prepared), "views", 64)
    healthy = {Path(row.file_name).stem for row in kept if not row.lesions}
    assert (held_out is None) == (not healthy)
    if held_out is not None:
        assert {held_out[i].id for i in range(len(held_out))} == healthy
    assert open_held_out("phantom:4:1", "views", 64) is None


def test_captions_in_free_words_are_kept_and_empty_ones_refused(prepared: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(prepared, tmp_path / "copy")
    table = copy / "train" / "metadata.jsonl"
    lines = [json.loads(line) for line in table.read_text().splitlines()]
    healthy = next(line for line in lines if not line["lesions"] and not line["dropped"])
    healthy["text"] = "craniocaudal, scattered density, two clips"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    views = open_examples(str(copy), "views", 64)
    said = {views[i].id: views[i] for i in range(len(views))}
    example = said[Path(healthy["file_name"]).stem]
    assert example.text == healthy["text"]
    assert example.description.vendor == "siemens"
    assert views.key != open_examples(str(prepared), "views", 64).key
    healthy["text"] = " "
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(MameError, match=f"{healthy['file_name']} has no caption"):
        open_examples(str(copy), "views", 64)


def test_crops_come_from_both(prepared: Path) -> None:
    crops = open_examples(str(prepared), "crops", 128)
    assert len(crops) > len(open_examples(str(prepared), "windows", 128))


def test_what_cant_be_learned_from_says_why(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(MameError, match="prepared at 128 pixels, 512 are asked for"):
        open_examples(str(prepared), "views", 512)
    with pytest.raises(MameError, match="is not a prepared data set"):
        open_examples(str(tmp_path), "views", 64)


# -- splits and captions --------------------------------------------------------------------------------------------


def test_shares_are_kept_for_both_kinds_of_patients() -> None:
    patients = {f"p{n}": PatientFacts(set(), lesion=n % 5 == 0) for n in range(200)}
    sides = assign(patients, Shares(0.7, 0.1, 0.2), seed=3)
    assert sides == assign(dict(reversed(patients.items())), Shares(0.7, 0.1, 0.2), seed=3)
    assert sides != assign(patients, Shares(0.7, 0.1, 0.2), seed=4)
    for lesion, total in ((True, 40), (False, 160)):
        group = [sides[name] for name, facts in patients.items() if facts.lesion is lesion]
        assert (group.count(Split.TEST), group.count(Split.VALIDATION)) == (total // 5, total // 10)


def test_a_sets_own_sides_are_kept() -> None:
    patients = {f"p{n}": PatientFacts({Split.TEST if n < 20 else Split.TRAIN}) for n in range(100)}
    patients["both"] = PatientFacts({Split.TRAIN, Split.TEST})
    sides = assign(patients, Shares(), seed=0)
    assert {name for name, side in sides.items() if side is Split.TEST} == {f"p{n}" for n in range(20)} | {"both"}
    assert list(sides.values()).count(Split.VALIDATION) == 9  # a ninth of the training side


@pytest.mark.parametrize("text", ["80,10", "a,b,c", "50,10,10", "-10,60,50"])
def test_wrong_shares_are_refused(text: str) -> None:
    with pytest.raises(MameError):
        parse_shares(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("area", "a mammogram in MLO view with small area"),
        ("density", "a mammogram in MLO view with very high density"),
        ("measured", "a mammogram in MLO view with low density"),
        ("vendor", "a hologic mammogram in MLO view"),
        ("vendor,area", "a hologic mammogram in MLO view with small area"),
        ("lesion", "a mammogram with a lesion"),
        (None, "a hologic mammogram in MLO view with very high density and small area and a mass"),
    ],
)
def test_captions(words: str | None, text: str) -> None:
    known = describe(
        parse_caption(words), vendor="hologic", view=View.MLO, density="D", measured="B", area="small",
        lesions=[LesionKind.MASS],
    )  # type: ignore[arg-type]  # fmt: skip
    assert caption(known) == text


@pytest.mark.parametrize("words", ["", "colour", "lesion,kind", "density,measured"])
def test_wrong_captions_are_refused(words: str) -> None:
    with pytest.raises(MameError, match="--caption"):
        parse_caption(words)


def test_a_set_may_be_there_to_be_tested_on_only() -> None:
    patients = {f"p{n}": PatientFacts(set(), lesion=n % 2 == 0) for n in range(9)}
    assert set(assign(patients, parse_shares("0,0,1"), seed=0).values()) == {Split.TEST}
    halves = list(assign(patients, parse_shares("0,50,50"), seed=0).values())
    assert Split.TRAIN not in halves
    assert {halves.count(Split.VALIDATION), halves.count(Split.TEST)} == {4, 5}
