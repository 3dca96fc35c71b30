"""Distances against closed forms and the reference implementations of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from mame.assess.distances import coverage, frechet, kernel_distance
from mame.assess.radiomics import frechet_radiomics, radiomic_features
from mame.errors import MameError

STORED = 12.130967776
"""What frd-score 1.0.1 (with pyradiomics-bhklab 3.1.4) prints for the two folders of `textures`."""


def textures(first: int, sigma: float, lift: float) -> list[np.ndarray]:
    found = []
    for i in range(30):
        rng = np.random.default_rng([first, i])
        fine = gaussian_filter(rng.normal(size=(128, 128)), sigma)
        coarse = gaussian_filter(rng.normal(size=(128, 128)), 8)
        x = fine / fine.std() + lift * coarse / coarse.std() + 0.05 * rng.normal(size=(128, 128)) * lift
        found.append(np.clip(np.rint(128 + 28 * x), 0, 255).astype(np.uint8))
    return found


def features_of(pictures: list[np.ndarray]) -> np.ndarray:
    return np.array([list(radiomic_features(one).values()) for one in pictures])


@pytest.fixture(scope="module")
def two() -> tuple[list[np.ndarray], list[np.ndarray]]:
    return textures(1, 1.0, 0.5), textures(2, 1.6, 1.0)


def test_frd_is_what_the_reference_printed(two: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    assert frechet_radiomics(*map(features_of, two)) == pytest.approx(STORED, abs=1e-3)


def test_frd_is_what_the_reference_prints(two: tuple[list[np.ndarray], list[np.ndarray]], tmp_path: Path) -> None:
    reference = pytest.importorskip("frd_score.frd", reason="extra `reference` is not installed")
    for name, pictures in zip("ab", two, strict=True):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / name / f"{i:02d}.png")
    printed = reference.compute_frd([str(tmp_path / "a"), str(tmp_path / "b")], num_workers=1)
    assert frechet_radiomics(*map(features_of, two)) == pytest.approx(printed, abs=1e-3)


def test_radiomic_features_need_a_picture() -> None:
    for picture in (np.full((64, 64), 7.0), np.full((64, 64), np.nan), np.zeros((4, 64)), np.zeros((3, 64, 64))):
        with pytest.raises(MameError):
            radiomic_features(picture)


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)), rng.normal(2, 1.5, size=(400, 6))
    of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    off = a.mean(axis=0) - b.mean(axis=0)
    wanted = off @ off + np.trace(of_a + of_b - 2 * sqrtm(of_a @ of_b).real)
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-9)
    # equal covariances: nothing but the distance of the means
    assert frechet(a, a + 3.0) == pytest.approx(6 * 9.0, rel=1e-9)
    # diagonal ones: the differences of the deviations
    c = np.kron(np.array([[1.0], [-1.0]]), np.eye(3))
    assert frechet(c, 2 * c) == pytest.approx(np.trace(np.cov(c, rowvar=False)), rel=1e-9)


def test_fewer_pictures_than_features_are_no_trouble() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(20, 90)), rng.normal(1, 2, size=(30, 90))
    of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    off = a.mean(axis=0) - b.mean(axis=0)
    root = np.sqrt(np.clip(np.linalg.eigvals(of_a @ of_b).real, 0, None)).sum()
    assert frechet(a, b) == pytest.approx(off @ off + np.trace(of_a + of_b) - 2 * root, rel=1e-5)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_is_torch_fidelitys() -> None:
    pytest.importorskip("torch_fidelity")
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(200, 32)), rng.normal(0.3, 1.2, size=(150, 32))
    said = [fid_features_to_statistics(torch.from_numpy(part)) for part in (a, b)]
    theirs = fid_statistics_to_metric(*said, verbose=False)["frechet_inception_distance"]
    assert frechet(a, b) == pytest.approx(theirs, rel=1e-6)


def test_kid_is_torch_fidelitys() -> None:
    pytest.importorskip("torch_fidelity")
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(120, 16)), rng.normal(0.5, 1, size=(120, 16))
    theirs = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=1, kid_subset_size=120, verbose=False
    )  # one subset of everything
    assert kernel_distance(a, b) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


def test_precision_recall_density_and_coverage_are_prdcs() -> None:
    prdc = pytest.importorskip("prdc")
    rng = np.random.default_rng(4)
    real, synthetic = rng.normal(size=(150, 8)), rng.normal(0.4, 0.8, size=(120, 8))
    theirs = prdc.compute_prdc(real, synthetic, nearest_k=5)
    ours = coverage(real, synthetic, 5)
    for name, value in theirs.items():
        assert getattr(ours, name) == pytest.approx(value), name


def test_few_pictures_give_no_figure_rather_than_a_wrong_one() -> None:
    one = np.zeros((1, 4))
    assert np.isnan(frechet(one, one))
    assert np.isnan(kernel_distance(one, one))
    assert np.isnan(coverage(one, one).precision)
