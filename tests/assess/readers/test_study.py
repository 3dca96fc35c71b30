"""Drawing a study, reading it, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from assess.readers.sets import make_set
from mame.assess.readers.analysis import analyse
from mame.assess.readers.store import AnswerStore, Given
from mame.assess.readers.study import Kind, new_study, open_study, read_key
from mame.cli import app
from mame.dataset.read import open_set
from mame.errors import MameError


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(real, synthetic)"""
    folder = tmp_path_factory.mktemp("sets")
    return make_set(folder, 0, 10, 160), make_set(folder, 20, 6, 128)


@pytest.fixture
def study(sets: tuple[Path, Path], tmp_path: Path) -> Path:
    new_study(*sets, tmp_path / "study", images=5, repeats=2, readers=3, seed=4)
    return tmp_path / "study"


def test_a_study_is_balanced_matched_and_shows_no_patient_twice(sets, study: Path) -> None:
    key = read_key(study)
    assert len(key) == 10
    assert sum(truth.synthetic[0] for truth in key.values()) == 5
    assert len({truth.sources[0] for truth in key.values()}) == 10
    assert all({"view", "side"} <= set(truth.matched) for truth in key.values())


def test_nobody_is_drawn_into_whom_lesions_were_painted(sets, tmp_path: Path) -> None:
    real = open_set(sets[0])
    painted = make_set(tmp_path, 5, 5, 128)  # patients 5 to 9 of the real ten
    patients = {f"{row.source} {row.source_id}": row.patient for split in real.splits for row in real.rows(split)}
    new_study(sets[0], painted, tmp_path / "s", images=5)
    drawn = [(truth.synthetic[0], patients[truth.sources[0]]) for truth in read_key(tmp_path / "s").values()]
    assert len({patient for _, patient in drawn}) == 10
    with pytest.raises(MameError, match="real and as synthetic"):
        new_study(sets[0], sets[0], tmp_path / "t", images=3)


def test_nothing_but_the_pixels_tells_what_a_picture_is(study: Path) -> None:
    names = sorted(path.name for path in (study / "pictures").iterdir())
    assert names == [f"case-{number:03d}.png" for number in range(1, 11)]
    truths = [truth.synthetic[0] for _, truth in sorted(read_key(study).items())]
    assert truths != sorted(truths)
    assert truths != sorted(truths, reverse=True)
    for name in names:
        with Image.open(study / "pictures" / name) as picture:
            assert picture.size == (128, 128)
            assert picture.info == {}
            assert len(np.unique(np.asarray(picture))) > 256
    public = (study / "study.json").read_text()
    assert "dicom" not in public
    assert 'synthetic":' not in public


def test_the_same_seed_draws_the_same_study_and_another_another(sets, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        new_study(*sets, tmp_path / name, images=4, seed=seed)
    texts = {name: (tmp_path / name / "key.json").read_text() for name in "abc"}
    assert texts["a"] == texts["b"] != texts["c"]


def test_every_reader_has_an_order_of_his_own_with_repeats_late(study: Path) -> None:
    opened = open_study(study)
    orders = [opened.order(reader) for reader in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:
        assert len(order) == 12
        assert len(set(order)) == 10
        assert all(a != b for a, b in pairwise(order))


def test_of_a_choice_each_side_is_synthetic_as_often(sets, tmp_path: Path) -> None:
    new_study(*sets, tmp_path / "s", kind=Kind.CHOICE, images=4)
    key = read_key(tmp_path / "s")
    assert sorted(tuple(truth.synthetic) for truth in key.values()) == [(False, True)] * 2 + [(True, False)] * 2


def test_lesions_are_windows(sets, tmp_path: Path) -> None:
    new_study(*sets, tmp_path / "s", kind=Kind.LESION, images=4)
    key = read_key(tmp_path / "s")
    assert len(key) == 8
    assert all(truth.sources[0].startswith("window") and "lesion" in truth.matched for truth in key.values())


def test_sharpness_does_not_tell(sets, tmp_path: Path) -> None:
    """Real windows cut from full-size films beside painted ones from small pictures: both are shown as coarse."""

    def grain(study: Path, synthetic: bool) -> float:
        shown = [case for case, truth in read_key(study).items() if truth.synthetic[0] == synthetic]
        pictures = [np.asarray(Image.open(study / "pictures" / f"{case}.png"), np.float64) for case in shown]
        return float(np.mean([np.abs(np.diff(picture, 2)).mean() for picture in pictures]))

    coarse = tmp_path / "coarse"
    shutil.copytree(sets[1], coarse)
    place = coarse / "windows" / "metadata.jsonl"
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    for row in rows:
        row["frame"]["source_spacing_mm"] = 6 * row["spacing_mm"]
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, synthetic in (("fine", sets[1]), ("coarse", coarse)):
        new_study(sets[0], synthetic, tmp_path / f"study-{name}", kind=Kind.LESION, images=4)
    fine, shown = tmp_path / "study-fine", tmp_path / "study-coarse"
    assert grain(shown, False) < 0.4 * grain(fine, False)
    assert grain(shown, True) >= grain(fine, True)  # they stay as they are


def test_answers_are_kept_once_and_in_order(study: Path) -> None:
    store = AnswerStore(study)
    tokens = store.make_tokens()
    assert [store.reader(token) for token in tokens] == [0, 1, 2]
    with pytest.raises(MameError, match="not one of the study's"):
        store.reader("guess")
    store.close()  # nothing is left in the log
    kept = (study / "answers.sqlite").read_bytes()
    assert not (study / "answers.sqlite-wal").exists()
    assert all(token.encode() not in kept for token in tokens)
    assert hashlib.sha256(tokens[0].encode()).hexdigest().encode() in kept
    first = store.next_case(0)
    store.save(0, first, Given(4, 3.5, 0.25, 0.5))
    with pytest.raises(MameError, match="can't be changed"):
        store.save(0, first, Given(1, 1.0))
    for wrong in (Given(6, 1.0), Given(0, 1.0), Given(3, -1.0), Given(3, 1.0, 2.0, 0.0)):
        with pytest.raises(MameError):
            store.save(0, store.next_case(0), wrong)
    assert store.done(0) == 1
    assert store.next_case(1) == store.orders[1][0]


def test_twenty_readers_at_once_lose_nothing(sets, tmp_path: Path) -> None:
    new_study(*sets, tmp_path / "s", images=5, readers=20)
    store = AnswerStore(tmp_path / "s")
    failed: list[BaseException] = []

    def read(reader: int) -> None:
        try:
            while (case := store.next_case(reader)) is not None:
                store.save(reader, case, Given(1 + (reader + len(case)) % 5, 0.1))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(store.answers().answers) == 200


def test_two_stores_of_one_study_lose_nothing(study: Path) -> None:
    first, second = AnswerStore(study), AnswerStore(study)
    for store, reader in ((first, 0), (second, 1), (first, 0), (second, 1)):
        store.save(reader, store.next_case(reader), Given(3, 1.0))
    assert (second.done(0), first.done(1)) == (2, 2)


def test_an_answer_that_was_taken_survives_a_kill(study: Path) -> None:
    work = (
        "import sys, time; from pathlib import Path; from mame.assess.readers.store import AnswerStore, Given\n"
        f"store = AnswerStore(Path({str(study)!r}))\n"
        "while True:\n"
        "    case = store.next_case(1)\n"
        "    if case is None: time.sleep(60)\n"
        "    store.save(1, case, Given(2, 1.0)); print(case, flush=True)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE, text=True)
    try:
        told = [running.stdout.readline().strip() for _ in range(5)]
        os.kill(running.pid, signal.SIGKILL)
        told += [line.strip() for line in running.stdout]
    finally:
        running.kill()
        running.wait()
    store = AnswerStore(study)
    assert store.done(1) >= len(told)
    assert store.orders[1][: len(told)] == told


def test_a_study_is_analysed_as_far_as_it_is(study: Path) -> None:
    store, key = AnswerStore(study), read_key(study)
    for _ in range(12):
        case = store.next_case(0)
        store.save(0, case, Given(5 if key[case].synthetic[0] else 1, 2.0))
    found = analyse(store.answers(), store.study.margin, asked=store.study.asked)
    assert found.notes[0] == "not finished: 12 of 36 answers are in"
    assert found.readers[0]["auc"] == 1.0
    assert found.agreement_within[0]["value"] == 1.0
    done = CliRunner().invoke(app, ["readers", "analyse", str(study), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["readers"][0]["reader"] == "reader 1"


def test_a_study_through_the_command_line(sets, tmp_path: Path) -> None:
    real, synthetic = map(str, sets)
    done = CliRunner().invoke(app, ["readers", "new", real, synthetic, str(tmp_path / "s"), "--images", "4"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "view: the same in 8 of 8"
    assert done.stdout.splitlines()[-1] == str(tmp_path / "s")
    for arguments, said in (
        (["--images", "1"], "at least 2 images"),
        (["--images", "40"], "has pictures of 6 patients, 40 are needed"),
        (["--margin", "0.7"], "a margin between 0 and 0.5"),
        (["--kind", "taste"], "kind 'taste'"),
        ([], "exists already"),
    ):
        place = "s" if not arguments else "other"
        done = CliRunner().invoke(app, ["readers", "new", real, synthetic, str(tmp_path / place), *arguments])
        assert done.exit_code == 2, done.output
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_an_unread_or_missing_study_is_one_line(study: Path, tmp_path: Path) -> None:
    for folder, said in ((study, "nothing to analyse"), (tmp_path, "is no reader study")):
        done = CliRunner().invoke(app, ["readers", "analyse", str(folder)])
        assert done.exit_code == 2
        assert said in done.stderr or "not finished: 0 of 36" in done.stderr
