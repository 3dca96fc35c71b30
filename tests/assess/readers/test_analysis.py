"""From a table of answers to a result, as a user runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from mame.assess.readers.agreement import weighted_kappa
from mame.assess.readers.analysis import analyse
from mame.assess.readers.answers import Answer, Answers, read_answers
from mame.assess.readers.power import images_needed
from mame.assess.readers.report import verdicts
from mame.assess.readers.roc import delong, equivalence
from mame.cli.app import app
from mame.errors import MameError

VAN_DYKE = Path(__file__).parents[1] / "data" / "van-dyke.csv"

# 28 real and 25 synthetic pictures graded 1 to 5 (5: surely synthetic), made so that the area is 0.49, as the paper's
PAPER_REAL = [1] * 6 + [2] * 3 + [3] * 5 + [4] * 10 + [5] * 4
PAPER_SYNTHETIC = [1] * 5 + [2] * 5 + [3] * 2 + [4] * 10 + [5] * 3


def _graded(real: list[int], synthetic: list[int], reader: str = "A") -> list[Answer]:
    return [
        Answer(reader, f"{name}{i}", truth, float(score))
        for name, truth, scores in (("r", False, real), ("s", True, synthetic))
        for i, score in enumerate(scores)
    ]


def test_the_command_line_gives_the_published_comparison(tmp_path, capsys):
    assert app(["readers", "analyse", "--answers", str(VAN_DYKE), "--out", str(tmp_path)], standalone_mode=False) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(tmp_path / "analysis.html")
    found = json.loads((tmp_path / "analysis.json").read_text())
    one = found["comparison"]
    assert one["difference"] == pytest.approx(-0.04380032, abs=1e-6)
    assert (one["low"], one["high"]) == pytest.approx((-0.0878671960, 0.0002665519), abs=1e-6)
    assert (one["f"], one["df1"], one["df2"], one["p"]) == pytest.approx((4.484854, 1, 15.06611, 0.05123303), abs=1e-5)
    assert len(found["readers"]) == 10
    assert found["notes"] == []
    page = (tmp_path / "analysis.html").read_text()
    assert "http" not in page
    assert "-0.0438 (-0.0879 to 0.0003)" in page


def test_a_study_like_the_paper_s_shows_no_equivalence():
    found = analyse(Answers(tuple(_graded(PAPER_REAL, PAPER_SYNTHETIC))), margin=0.1)
    (reader,) = found.readers
    assert [round(reader[name], 2) for name in ("auc", "low", "high")] == [0.49, 0.34, 0.64]
    assert not reader["equivalence"]["shown"]
    assert "not shown to be equivalent to guessing at ±0.1" in verdicts(found)[0]


def test_who_cannot_tell_at_all_or_never_errs_shows_nothing():
    blind = analyse(Answers(tuple(_graded([3] * 40, [3] * 40))), margin=0.1)
    assert not blind.readers[0]["equivalence"]["shown"]
    assert blind.readers[0]["equivalence"]["p"] == 1.0
    assert "reader A gave every case the same score: the interval has no width and shows nothing" in blind.notes
    sharp = analyse(Answers(tuple(_graded([1] * 4, [5] * 4))), margin=0.1)
    assert "reader A parted the two kinds without exception" in sharp.notes[0]
    both = (*_graded([3] * 40, [3] * 40, "A"), *_graded([3] * 40, [3] * 40, "B"))
    assert not analyse(Answers(both), margin=0.1).modalities[0]["equivalence"]["shown"]


def test_a_larger_study_with_the_same_curve_does():
    found = analyse(Answers(tuple(_graded(PAPER_REAL * 8, PAPER_SYNTHETIC * 8))), margin=0.1)
    assert found.readers[0]["equivalence"]["shown"]


def test_cases_that_not_all_have_read_are_left_out_and_said(tmp_path):
    with open(VAN_DYKE, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["modality"] == "1"]
    kept = [row for row in rows if not (row["reader"] == "3" and int(row["case"]) > 100)]
    path = tmp_path / "answers.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(kept)
    found = analyse(read_answers(path), asked=len(rows))
    assert f"not finished: {len(kept)} of {len(rows)} answers are in" in found.notes
    assert "the readers' mean in 1: over the 100 cases that all have read, without 14 others" in found.notes
    assert [line["n"] for line in found.readers] == [114, 114, 100, 114, 114]
    assert found.modalities[0]["n"] == 100


def test_a_second_look_counts_for_agreement_within_and_not_for_the_curve():
    first = _graded([1, 2, 3, 4, 1, 2], [2, 3, 4, 5, 4, 5])
    again = [Answer(one.reader, one.case, one.truth, min(5.0, one.score + (one.case == "r0"))) for one in first]
    found = analyse(Answers((*first, *again)))
    assert found.readers[0]["n"] == 12
    assert found.readers[0]["auc"] == pytest.approx(
        float(delong([a.truth for a in first], [a.score for a in first]).auc[0])
    )
    (within,) = found.agreement_within
    expected = cohen_kappa_score([a.score for a in first], [a.score for a in again], weights="quadratic")
    assert within["value"] == pytest.approx(expected, abs=1e-12)


def test_kappa_equals_scikit_learn_s_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    a = rng.integers(1, 6, 80)
    b = np.clip(a + rng.integers(-1, 2, 80), 1, 5)
    kappa = weighted_kappa(a, b)
    assert kappa.value == pytest.approx(cohen_kappa_score(a, b, weights="quadratic"), abs=1e-12)
    assert kappa.low < kappa.value < kappa.high
    assert weighted_kappa([3, 3, 3], [3, 3, 3]).value == 1
    with pytest.raises(MameError, match="no grades"):
        weighted_kappa(np.arange(30), np.arange(30))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reader,case,score\nA,1,2\n", "the column 'truth' is missing"),
        ("reader,case,truth,score\nA,1,yes,2\n", "row 2: truth must be 0 or 1, got 'yes'"),
        ("reader,case,truth,score\nA,1,1,2\nA,2,0,much\n", "row 3: score must be a number, got 'much'"),
        ("reader,case,truth,score\nA,1,1,nan\n", "row 2: score must be a number"),
        ("reader,case,truth,score\nA,1,1,2\nB,1,0,2\n", "case '1' has two truths"),
        ("reader,case,truth,score\n,1,1,2\n", "row 2 has no reader"),
        ("reader,case,truth,score\n", "holds no answer"),
        ("reader,case,truth,score\nA,1,1,2\nA,2,1,2\nA,3,1,4\n", "2 cases of each class"),
    ],
)
def test_a_table_with_a_mistake_is_refused_in_one_line(tmp_path, capsys, text, said):
    path = tmp_path / "answers.csv"
    path.write_text(text)
    out = tmp_path / "out"
    assert app(["readers", "analyse", "--answers", str(path), "--out", str(out)], standalone_mode=False) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_the_power_that_is_promised_is_reached_in_simulation():
    need = images_needed(1, 0.1, power=0.8)
    assert need is not None
    rng = np.random.default_rng(7)
    truth = np.repeat([1, 0], need.images_a_class)
    shown = []
    for _ in range(2000):
        area = delong(truth, rng.normal(size=truth.size)).estimate()
        shown.append(equivalence(area.value, area.error, 0.1).shown)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.04)
    assert images_needed(1, 0.01) is None


def test_more_readers_need_fewer_images():
    needs = [images_needed(readers, 0.1) for readers in (4, 6, 10)]
    counts = [need.images_a_class for need in needs if need]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 3
