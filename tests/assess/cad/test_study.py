"""A CAD study on phantoms, small; what it refuses; and where its classifier looks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import mame
from assess.readers.sets import make_set
from mame.assess.cad import networks
from mame.assess.cad.arms import REAL, Arm, Sampler
from mame.assess.cad.guard import check_apart
from mame.assess.cad.plan import QUICK
from mame.assess.cad.report import write_report
from mame.assess.cad.scenes import PATCH, Patches, Scene, patches_of, phantom_scenes, scenes_of, too_wide, unmarked
from mame.assess.cad.study import cad
from mame.assess.explain import Looks, methods, scored, seam, two_sample
from mame.cli import app
from mame.dataset.layout import Split
from mame.dataset.pseudonyms import patient_hash
from mame.dataset.read import open_set
from mame.errors import MameError
from mame.formats.manifest import NAME
from mame.imaging import phantom
from mame.mammogram import Box

TINY = replace(QUICK, steps=2, detector_steps=1, phantoms=2, start_steps=1, size=96)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(real, synthetic)"""
    folder = tmp_path_factory.mktemp("cad")
    return make_set(folder, 0, 8, 160), make_set(folder, 20, 4, 160)


def test_a_patch_holds_its_lesion_where_it_says() -> None:
    rng, scenes = np.random.default_rng(0), []
    for number in range(6):
        pixels = rng.uniform(0.3, 0.4, (360, 300)).astype(np.float32)
        x, y, width, height = 150 + 9 * number, 120, 40 + 6 * number, 50
        pixels[y : y + height, x : x + width] = 0.9
        boxes = (Box(x, y, x + width, y + height),) if number else ()
        scenes.append(Scene(np.where(np.arange(300) < 280, pixels, 0).astype(np.float32), boxes, f"p{number}"))
    patches = patches_of(scenes[1:], 1)
    assert patches.pixels.shape == (len(patches), PATCH, PATCH)
    assert patches.lesion.sum() == 5
    for pixels, lesion, (x0, y0, x1, y1) in zip(patches.pixels, patches.lesion, patches.boxes, strict=True):
        bright = pixels > (pixels.max() + np.median(pixels)) / 2
        inside = np.zeros_like(bright)
        inside[round(y0) : round(y1), round(x0) : round(x1)] = True
        if lesion:
            assert (bright & inside).sum() / (bright | inside).sum() > 0.9
        else:
            assert not inside.any()
        assert abs(pixels.mean()) < 1e-3
    tissue = patches.pixels[~patches.lesion]
    assert len(tissue) == 10
    assert tissue.max() < 4  # nothing of the lesions, which lie 15 deviations above the tissue
    assert np.array_equal(tissue, patches_of(scenes[1:], 1).pixels[~patches.lesion])


def test_tissue_has_the_sizes_that_lesions_have() -> None:
    """Where large lesions leave no room in their own picture another gives it, else size alone would tell."""
    pixels = np.random.default_rng(0).uniform(0.3, 0.4, (400, 300)).astype(np.float32)
    small, large = Box(140, 190, 160, 210), Box(60, 100, 240, 280)
    bare = Scene(pixels, (), "bare")
    ill = [Scene(pixels, (large if number % 2 else small,), f"p{number}") for number in range(20)]
    patches = patches_of([*ill, bare], 3)
    of_tissue = np.array(patches.patient)[~patches.lesion]
    assert len(of_tissue) == 42  # two a scene
    assert 8 <= (of_tissue == "bare").sum() <= 30  # about half of them are large, and only here is room for those
    alone = patches_of(ill, 3)
    assert alone.lesion.sum() == 10  # no room anywhere: no patch of the large ones either
    assert set(np.array(alone.patient)[alone.lesion]) == {f"p{number}" for number in range(0, 20, 2)}


def test_pictures_whose_marks_are_too_long_are_left_out_and_counted(sets: tuple[Path, Path], tmp_path: Path) -> None:
    found = open_set(sets[0])
    rows = found.rows(Split.TEST)
    longest = max(max(one.box.width, one.box.height) * row.spacing_mm for row in rows for one in row.lesions)
    every = scenes_of(found, [Split.TEST], longest)
    less = scenes_of(found, [Split.TEST], longest - 0.01)
    assert len(every) == len(rows)
    assert len(less) == len(rows) - sum(too_wide(row, longest - 0.01) for row in rows) < len(every)
    told = CliRunner().invoke(app, ["cad", *map(str, sets), str(tmp_path / "out"), "--quick", "--largest", "1"])
    assert told.exit_code == 2
    assert "box of up to 1 mm" in told.stderr
    assert CliRunner().invoke(app, ["cad", *map(str, sets), str(tmp_path / "o"), "--largest", "0"]).exit_code == 2


@pytest.mark.slow
def test_a_small_study_runs_goes_on_and_says_what_it_can_t_show(sets: tuple[Path, Path], tmp_path: Path) -> None:
    lines: list[str] = []
    result = cad(*sets, tmp_path / "out", TINY, lines.append)
    assert [line["arm"] for line in result.classifier] == [
        "real",
        "real + 1 synthetic",
        "synthetic",
        "synthetic, then real",
    ]
    assert all(line["low"] <= line["auroc"] <= line["high"] for line in result.classifier)
    assert all("p_holm" in line and "p_holm" in line["froc"] for line in result.detector[1:])
    assert all(line["froc"]["low"] <= line["froc"]["score"] <= line["froc"]["high"] for line in result.detector)
    assert any("no power" in note for note in result.notes)
    assert any("not to be trusted" in note for note in result.notes)
    told = [next(i for i, line in enumerate(lines) if word in line) for word in ("minutes", "phantoms first", "1 of 8")]
    assert told == sorted(told)  # the time is said before anything is trained
    assert result.explain is not None
    with Image.open(next((tmp_path / "out" / "panels").glob("*-real.png"))) as panel:
        assert panel.height == 4 * 2 * PATCH
    page = write_report(result, tmp_path / "out").read_text()
    assert page.count("data:image/png") == 4
    assert page.count("to see a seam") + page.count("sees a seam") == 2
    assert "http" not in page.replace("http-equiv", "")
    runs = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir()}
    assert len(runs) == 8
    gone = next(path for path in (tmp_path / "out" / "runs").iterdir() if "classifier-synthetic-1" in path.name)
    before = gone.read_text()
    gone.unlink()  # as if it had been stopped here
    again = cad(*sets, tmp_path / "out", TINY, lines.append)
    assert gone.read_text() == before
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir()}
    assert {name for name in runs if kept[name] != runs[name]} == {gone.name}
    assert again.classifier == result.classifier
    with pytest.raises(MameError, match="steps 2 there, 3 here"):
        cad(*sets, tmp_path / "out", replace(TINY, steps=3), lines.append)
    other = tmp_path / "other"
    shutil.copytree(sets[1], other)
    with pytest.raises(MameError, match=r"cohort .* there, .* here"):
        cad(sets[0], other, tmp_path / "out", TINY, lines.append)


def test_a_cohort_whose_generator_saw_test_patients_is_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    real, cohort = sets[0], tmp_path / "cohort"
    shutil.copytree(sets[1], cohort)
    model = tmp_path / "model"
    model.mkdir()
    row = open_set(real).rows(Split.TEST)[0]
    seen = {"patients": [patient_hash(row.source, row.patient)]}
    (model / "mam-e.json").write_text(json.dumps({"frame": "field", "training": seen}))
    (model / "model_index.json").write_text("{}")
    (cohort / NAME).write_text(json.dumps({"file": "x.png", "model": str(model)}) + "\n")
    with pytest.raises(MameError, match="trained on 1 of the"):
        cad(real, cohort, tmp_path / "out", TINY, lambda _: None)
    with pytest.raises(MameError, match="test patients"):
        cad(real, real, tmp_path / "out", TINY, lambda _: None)
    assert not (tmp_path / "out").exists()

    def notes(**training: object) -> list[str]:
        (model / "mam-e.json").write_text(json.dumps({"frame": "field", "training": training}))
        return check_apart(real, cohort)

    key = next(iter(open_set(real).keys))
    assert notes(patients=["0" * 12], keys=[key], patients_of_base=True) == []
    assert "does not say which patients it saw" in notes()[0]
    assert "which patients its base saw" in notes(patients=[], keys=[], patients_of_base=False)[0]
    assert "another key" in notes(patients=["0" * 12], keys=["f" * 16], patients_of_base=True)[0]


def test_a_set_whose_sides_share_patients_is_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(sets[0], mixed)
    patient = open_set(mixed).rows(Split.TEST)[0].patient
    place = mixed / "train" / "metadata.jsonl"
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    place.write_text("".join(json.dumps(row | {"patient": patient}) + "\n" for row in rows))
    with pytest.raises(MameError, match="on its other sides, too"):
        cad(mixed, sets[1], tmp_path / "out", TINY, lambda _: None)


def test_sets_without_lesions_or_a_test_side_are_refused_in_one_line(sets: tuple[Path, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(sets[1], bare)
    for path in bare.glob("*/metadata.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row | {"lesions": []}) + "\n" for row in rows if "view_of" not in row))
    told = CliRunner().invoke(app, ["cad", str(sets[0]), str(bare), str(tmp_path / "out"), "--quick"])
    assert told.exit_code == 2
    assert "no lesion with a box" in told.stderr
    assert told.stderr.count("\n") == 1
    told = CliRunner().invoke(app, ["cad", str(sets[0]), str(sets[1]), str(tmp_path / "o"), "--ratios", "0,x"])
    assert told.exit_code == 2


def test_ill_pictures_that_nobody_marked_are_no_examples_of_healthy_tissue(sets: tuple[Path, Path]) -> None:
    (row, *_) = open_set(sets[0]).rows(Split.TEST)
    assert not unmarked(row)
    for healthy, dropped, wanted in (("no", "", True), ("", "one: too small", True), ("yes", "", False)):
        assert unmarked(replace(row, lesions=(), healthy=healthy, dropped=dropped)) is wanted


def test_maps_are_scored_by_what_they_point_at() -> None:
    box = (20.0, 20.0, 40.0, 40.0)
    y, x = np.mgrid[0:PATCH, 0:PATCH]
    middle = np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 8)
    ring = ((np.maximum(abs(x - 29.5), abs(y - 29.5)) - 10) ** 2 < 4).astype(float)
    flat = np.ones((PATCH, PATCH))
    looks = [scored(one[None], [box]).means() for one in (middle, ring, flat)]
    assert looks[0]["pointing"] == 1
    assert looks[0]["inside"] > 0.95
    assert looks[0]["rim_excess"] < 0.3
    assert looks[1]["rim_excess"] > 5
    assert looks[2]["rim_excess"] == pytest.approx(1.0)
    assert looks[2]["inside"] == pytest.approx(400 / PATCH**2)
    assert scored(np.zeros((1, PATCH, PATCH)), [box]).means() == {"n": 0}


def test_every_method_points_at_what_decides() -> None:
    """A classifier that learned a bright disc on noise, wherever it lies; the maps' peaks must lie in it."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:PATCH, 0:PATCH]
    pixels, boxes = rng.normal(size=(160, PATCH, PATCH)).astype(np.float32), []
    lesion = np.arange(160) % 2 == 0
    for one, ill in zip(pixels, lesion, strict=True):
        cx, cy = rng.integers(18, PATCH - 18, 2)
        boxes.append((cx - 10.0, cy - 10.0, cx + 10.0, cy + 10.0))
        if ill:
            one += 3 * (np.hypot(x - cx, y - cy) < 8)
    patches = Patches(pixels, lesion, ["p"] * 160, boxes)
    draw = Sampler(Arm(REAL, (0.0, 0.0)), lesion, np.zeros(0, bool), 40, 0)
    classifier = networks.train_classifier(patches, draw, 40, 0)
    batch = torch.from_numpy(pixels[lesion])[:24, None].expand(-1, 3, -1, -1).contiguous()
    at = [box for box, ill in zip(boxes, lesion, strict=True) if ill][:24]
    for name, run in methods(classifier).items():
        found = scored(run(batch).detach().numpy(), at).means()
        assert found["n"] >= 20, name
        assert found["pointing"] > 0.7, (name, found)
        assert found["inside"] > 1.5 * 400 / PATCH**2, (name, found)  # more than its share of the patch


def test_the_seam_test_keeps_its_level_and_sees_a_rim() -> None:
    def looks(excess: np.ndarray) -> Looks:
        return Looks(np.ones(len(excess), bool), excess, excess, excess)

    rng = np.random.default_rng(2)
    same = [seam(looks(rng.gamma(4, 0.3, 20)), looks(rng.gamma(4, 0.3, 20)), key)["p"] for key in range(100)]
    assert sum(p < 0.05 for p in same) <= 11
    assert seam(looks(rng.gamma(4, 0.3, 20)), looks(1.0 + rng.gamma(4, 0.3, 20)))["p"] < 0.01
    assert seam(looks(1.0 + rng.gamma(4, 0.3, 20)), looks(rng.gamma(4, 0.3, 20)))["p"] > 0.5  # one-sided
    assert seam(looks(np.ones(1)), looks(np.ones(9)))["p"] == 1.0


def test_the_two_sample_test_keeps_its_level_and_sees_a_shift() -> None:
    rng = np.random.default_rng(1)
    same = [two_sample(rng.normal(size=(15, 4)), rng.normal(size=(15, 4)), key)["p"] for key in range(12)]
    assert sum(p < 0.05 for p in same) <= 3
    assert two_sample(rng.normal(size=(15, 4)), rng.normal(1.5, 1, (15, 4)))["p"] < 0.01


@pytest.mark.slow
def test_the_seam_of_a_plain_copy_is_seen_and_that_of_window_inpainting_is_not() -> None:
    """Lesions cut out with a margin and laid in hard, against mini-lesion's at the same places of the same pictures.

    What a classifier looks at in pictures of the same kind that it did not learn from.
    """
    donors = [scene for scene in phantom_scenes(24, 5, 512) if scene.boxes]
    model = mame.load_model("mini-lesion")
    pasted, painted = [], []
    for index in range(72):
        drawn = phantom.draw((6, index))
        before = drawn.render(drawn.field_grid(512)).mammogram
        scene, donor = Scene(before.pixels, (), f"{index}"), donors[index % len(donors)]
        box = donor.boxes[0].grown(6).rounded().clipped(donor.pixels.shape)
        assert box is not None
        cut = donor.pixels[box.slices()]
        height, width = cut.shape
        y, x = np.nonzero(_deep(scene, height, width))
        place = int(np.random.default_rng([7, index]).integers(len(y)))
        top, left = int(y[place]) - height // 2, int(x[place]) - width // 2
        target = Box(left, top, left + width, top + height)
        hard = scene.pixels.copy()
        hard[target.slices()] = cut
        pasted.append(Scene(hard, (target,), scene.patient))
        after = model.inpaint(before, target, prompt="a mammogram with a mass", seed=index, steps=8)
        painted.append(Scene(after.pixels, (target,), scene.patient))
    looks = []
    for made in (painted, pasted):
        learned, held = patches_of(made[:48], 3), patches_of(made[48:], 4)
        draw = Sampler(Arm(REAL, (0.0, 0.0)), learned.lesion, np.zeros(0, bool), 150, 0)
        classifier = networks.train_classifier(learned, draw, 150, 0)
        batch = torch.from_numpy(held.pixels[held.lesion])[:, None].expand(-1, 3, -1, -1).contiguous()
        boxes = [box for box, lesion in zip(held.boxes, held.lesion, strict=True) if lesion]
        maps = methods(classifier)["integrated gradients"](batch).detach().numpy()
        looks.append(scored(maps, boxes))
    assert seam(*looks)["p"] < 0.01, [one.means() for one in looks]
    assert looks[1].means()["rim_excess"] > 1.1 * looks[0].means()["rim_excess"]


def _deep(scene: Scene, height: int, width: int) -> np.ndarray:
    from scipy import ndimage

    return ndimage.distance_transform_edt(np.pad(scene.pixels > 0, 1))[1:-1, 1:-1] > 0.75 * max(height, width)
