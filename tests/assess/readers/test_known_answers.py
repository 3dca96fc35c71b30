"""Known answers: the ratings of Van Dyke et al. (Radiology 1993), as distributed with the R package MRMCaov."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mame.assess.readers.multireader import average, compare
from mame.assess.readers.roc import delong, difference, equivalence
from mame.errors import MameError


@pytest.fixture(scope="module")
def van_dyke():
    """Truth (114) and scores (2 modalities × 5 readers × 114)."""
    with open(Path(__file__).parents[1] / "data" / "van-dyke.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    cases = sorted({int(row["case"]) for row in rows})
    truth, scores = np.zeros(len(cases)), np.full((2, 5, len(cases)), np.nan)
    modalities = sorted({row["modality"] for row in rows})
    for row in rows:
        at = cases.index(int(row["case"]))
        truth[at] = int(row["truth"])
        scores[modalities.index(row["modality"]), int(row["reader"]) - 1, at] = float(row["score"])
    assert truth.sum() == 45
    assert len(cases) == 114
    return truth, scores


def test_obuchowski_rockette_reproduces_the_published_results(van_dyke):
    truth, scores = van_dyke
    result = compare(delong(truth, scores.reshape(10, -1)), readers=5)
    first, second = result.means
    published = 1e-6
    assert first.value == pytest.approx(0.8970370, abs=published)
    assert (first.low, first.high) == pytest.approx((0.8253461, 0.9687280), abs=published)
    assert second.value == pytest.approx(0.9408374, abs=published)
    assert (second.low, second.high) == pytest.approx((0.8942155, 0.9874592), abs=published)
    assert result.difference.value == pytest.approx(-0.04380032, abs=published)
    assert result.difference.error == pytest.approx(0.0206825, abs=published)
    assert result.difference.low == pytest.approx(-0.0878671960, abs=published)
    assert result.difference.high == pytest.approx(0.0002665519, abs=published)
    assert result.f == pytest.approx(4.484854, abs=published)
    assert (result.df1, result.df2) == pytest.approx((1, 15.06611), abs=1e-5)
    assert result.p == pytest.approx(0.05123303, abs=published)
    parts = result.components
    assert parts.ms_modality == pytest.approx(0.004796171, abs=1e-9)
    assert parts.ms_modality_reader == pytest.approx(0.0005510306, abs=1e-10)
    assert parts.cov1 == pytest.approx(0.0003420090, abs=1e-10)
    assert parts.cov2 == pytest.approx(0.0003395265, abs=1e-10)
    assert parts.cov3 == pytest.approx(0.0002358497, abs=1e-10)
    assert parts.reader == pytest.approx(0.0015364254, abs=1e-10)
    assert parts.modality_reader == pytest.approx(0.0002045840, abs=1e-10)
    assert parts.error == pytest.approx(0.0007921325, abs=1e-10)


def test_areas_agree_with_scikit_learn_and_covariances_with_the_definition(van_dyke):
    truth, scores = van_dyke
    areas = delong(truth, scores[0])
    assert areas.auc == pytest.approx([roc_auc_score(truth, row) for row in scores[0]], abs=1e-12)
    sick, well = scores[0][:2, truth == 1], scores[0][:2, truth == 0]
    beats = (sick[:, :, None] > well[:, None]) + 0.5 * (sick[:, :, None] == well[:, None])
    by_sick, by_well = beats.mean(axis=2), beats.mean(axis=1)
    expected = np.cov(by_sick) / sick.shape[1] + np.cov(by_well) / well.shape[1]
    assert areas.covariance[:2, :2] == pytest.approx(expected, abs=1e-12)


def test_the_difference_of_a_reader_with_himself_is_nothing(van_dyke):
    truth, scores = van_dyke
    areas = delong(truth, np.stack([scores[0, 0], scores[0, 0], scores[1, 0]]))
    same, p = difference(areas, 0, 1)
    assert (same.value, p) == (0.0, 1.0)
    other, p = difference(areas, 0, 2)
    assert other.value == pytest.approx(-other.high - other.low + 3 * other.value, abs=1e-12)
    assert 0 < p < 1


def _interval_covers(rng, readers: int, shift: float, sick: int = 40, well: int = 40):
    """One simulated study of readers who share the cases, and whether the mean area's interval holds the truth."""
    truth = np.repeat([1, 0], [sick, well])
    case = rng.normal(0, 1, truth.size) + shift * truth
    skill = rng.normal(0, 0.15, readers)
    scores = np.stack([case * (1 + s) + rng.normal(0, 1.0, truth.size) for s in skill])
    return truth, scores


@pytest.mark.parametrize("readers", [4, 8])
def test_the_interval_of_the_mean_covers_as_often_as_it_says(readers):
    rng = np.random.default_rng(12)
    shift = 0.0  # everybody's true area is 0.5 then, whatever the skill
    covered = []
    for _ in range(1500):
        truth, scores = _interval_covers(rng, readers, shift)
        area = average(delong(truth, scores)).area
        covered.append(area.low <= 0.5 <= area.high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_delong_s_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(3)
    from scipy.stats import norm

    true = norm.cdf(1.0 / np.sqrt(2))
    covered = []
    for _ in range(3000):
        truth = np.repeat([1, 0], [60, 60])
        area = delong(truth, rng.normal(0, 1, 120) + truth).estimate()
        covered.append(area.low <= true <= area.high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_the_equivalence_test_keeps_its_level_at_the_margin_and_has_power_at_the_target():
    rng = np.random.default_rng(4)
    from scipy.stats import norm

    at_margin, at_target = [], []
    shift = np.sqrt(2) * norm.ppf(0.6)
    for _ in range(3000):
        truth = np.repeat([1, 0], [150, 150])
        noise = rng.normal(0, 1, 300)
        for there, found in ((shift, at_margin), (0.0, at_target)):
            area = delong(truth, noise + there * truth).estimate()
            found.append(equivalence(area.value, area.error, 0.1).shown)
    assert 0.035 <= np.mean(at_margin) <= 0.065
    assert np.mean(at_target) > 0.8


@pytest.mark.parametrize(
    ("truth", "scores", "said"),
    [
        ([1, 0, 0], [1, 2, 3], "2 cases of each class"),
        ([1, 1, 0, 0], [1, 2, 3], "4 cases have a truth and 3 a score"),
        ([1, 1, 0, 0], [1, 2, np.nan, 3], "missing"),
    ],
)
def test_what_can_t_be_computed_is_refused(truth, scores, said):
    with pytest.raises(MameError, match=said):
        delong(truth, scores)
