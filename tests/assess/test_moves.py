"""Each fault of a synthetic set moves its own figure, and the right way; copies are caught, other patients are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from mame.assess import copies as copying
from mame.assess.adherence import adherence, quadratic_kappa
from mame.assess.features import Measures, measure_pixels, read_pixels, stacked
from mame.assess.fidelity import fidelity
from mame.assess.figures import share_figure
from mame.assess.likeness import THUMBNAIL, Index, detail, thumbnail
from mame.assess.pictures import Picture
from mame.assess.run import changed
from mame.assess.told_apart import separated
from mame.assess.variety import alike, covered, ms_ssim, pairs_of
from mame.dataset.simulated import PhantomViews
from mame.mammogram import Density, Description, Laterality

COUNT = 36
SIZE = 256
Change = Callable[[np.ndarray, int], np.ndarray]


def views(seed: int, count: int = COUNT, size: int = SIZE) -> list[Any]:
    source = PhantomViews("x", count, seed, size)
    return [source[i] for i in range(count)]


def measured(pictures: list[np.ndarray]) -> Measures:
    return stacked(measure_pixels(one, 256 / SIZE) for one in pictures)


@pytest.fixture(scope="module")
def real() -> Measures:
    return measured([one.pixels for one in views(1)])


@pytest.fixture(scope="module")
def others() -> list[Any]:
    return views(2)


@pytest.fixture(scope="module")
def usual(others: list[Any]) -> Measures:
    return measured([one.pixels for one in others])


def figures(real: Measures, synthetic: Measures) -> dict[str, float]:
    nobody = [""] * len(real), [""] * len(synthetic)
    return {name: figure.value for name, figure in fidelity(real, synthetic, nobody, 0).items()}


def test_blur_and_noise_are_seen_and_told_from_each_other(real: Measures, usual: Measures, others: list[Any]) -> None:
    rng = np.random.default_rng(0)
    blurred = measured([gaussian_filter(one.pixels, 1.5) for one in others])
    grainy = measured(
        [
            np.clip(p + rng.normal(0, 0.04, p.shape) * (p > 0), 0, 1).astype(np.float32)
            for p in (o.pixels for o in others)
        ]
    )
    same, soft, rough = (figures(real, one) for one in (usual, blurred, grainy))
    assert soft["frd_stable"] > same["frd_stable"] + 0.5
    assert rough["frd_stable"] > same["frd_stable"] + 0.5
    assert soft["spectrum_slope"] > 0.3  # power falls more steeply
    assert rough["spectrum_slope"] < -0.3
    assert abs(same["spectrum_slope"]) < 0.2
    nobody = [""] * COUNT, [""] * COUNT
    assert separated(real.radiomic, blurred.radiomic, nobody, 0).value > 0.95
    assert separated(real.radiomic, usual.radiomic, nobody, 0).value < 0.75


def test_a_collapsed_model_covers_little_and_repeats_itself(real: Measures, usual: Measures, others: list[Any]) -> None:
    few = np.tile(usual.embedding[:3], (COUNT // 3, 1)) + np.random.default_rng(0).normal(0, 1e-3, (COUNT, 64))
    nobody = [""] * COUNT
    wide, narrow = (covered(real.embedding, one, nobody, 0) for one in (usual.embedding, few))
    assert narrow["recall"].value < 0.3 * wide["recall"].value
    assert narrow["coverage"].value < 0.7 * wide["coverage"].value
    pixels = [one.pixels for one in others]
    assert ms_ssim(pixels[:1], pixels[:1])[0] == pytest.approx(1.0, abs=1e-5)
    assert ms_ssim(pixels[:6], pixels[6:12]).mean() < 0.9


def test_ms_ssim_is_monais() -> None:
    import torch
    from monai.metrics.regression import MultiScaleSSIMMetric

    rng = np.random.default_rng(5)
    a = [gaussian_filter(rng.random((256, 256)), 2).astype(np.float32) for _ in range(2)]
    wanted = MultiScaleSSIMMetric(spatial_dims=2, data_range=1.0)(
        torch.from_numpy(a[0])[None, None], torch.from_numpy(a[1])[None, None]
    )
    assert ms_ssim([a[0]], [a[1]])[0] == pytest.approx(float(wanted), abs=1e-6)


def told(examples: list[Any], change: Callable[[Description], Description] = lambda said: said) -> list[Picture]:
    return [Picture(str(i), Path("x"), "", change(one.description)) for i, one in enumerate(examples)]


def test_a_wrong_vendor_or_density_costs_its_own_attribute(real: Measures, usual: Measures, others: list[Any]) -> None:
    def right(pictures: list[Picture]) -> dict[tuple[str, str], float]:
        return {(one.attribute, one.judge): one.accuracy.value for one in adherence(usual, pictures, None, 0)}

    def other_vendor(said: Description) -> Description:
        return replace(said, vendor="siemens" if said.vendor == "hologic" else "hologic")

    def other_density(said: Description) -> Description:
        return replace(said, density={"A": Density.D, "B": Density.D, "C": Density.A, "D": Density.A}[said.density])

    as_asked, vendor, density = (right(told(others, change)) for change in (lambda d: d, other_vendor, other_density))
    assert as_asked["vendor", "network"] > 0.9
    assert vendor["vendor", "network"] < 0.1
    assert as_asked["density", "network"] > 0.85
    assert as_asked["density", "rules"] > 0.5
    assert density["density", "network"] < 0.1
    assert density["density", "rules"] < 0.1
    assert vendor["density", "rules"] == as_asked["density", "rules"]
    assert density["vendor", "network"] == as_asked["vendor", "network"]
    # and the distance: one vendor's pictures against those of both
    one_vendor = [i for i, example in enumerate(others) if example.description.vendor == "hologic"]
    every = figures(real, usual)["frechet_mammogram"]
    nobody = [""] * len(real), [""] * len(one_vendor)
    from mame.assess.distances import frechet

    alone = frechet(real.embedding, usual.embedding[one_vendor])
    assert len(nobody[1]) > 8
    assert alone > 1.2 * every


def test_combinations_that_were_not_trained_on_are_counted_apart(usual: Measures, others: list[Any]) -> None:
    from mame.assess.adherence import words_of

    pictures = told(others)
    known = {words_of(picture) for picture in pictures if picture.asked.density in ("A", "B")}
    view = next(one for one in adherence(usual, pictures, known, 0) if (one.attribute, one.judge) == ("view", "rules"))
    assert view.seen is not None
    assert view.extrapolated is not None
    assert view.seen.n + view.extrapolated.n == COUNT
    assert view.extrapolated.n == sum(picture.asked.density in ("C", "D") for picture in pictures)


def test_kappa_is_one_for_agreement_and_none_for_chance() -> None:
    assert quadratic_kappa(np.diag([5, 3, 2])) == pytest.approx(1.0)
    assert quadratic_kappa(np.full((3, 3), 4)) == pytest.approx(0.0)
    # Cohen 1968 by hand: classes 0 and 1, 4 agree of 6
    assert quadratic_kappa(np.array([[2, 1], [1, 2]])) == pytest.approx(1 - (2 / 6) / (3 * 3 * 2 / 36))


def details(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack([detail(one) for one in pictures])


@pytest.fixture(scope="module")
def training() -> list[np.ndarray]:
    return [one.pixels for one in views(11, 100, THUMBNAIL)]


def test_copies_are_caught_however_they_were_changed(training: list[np.ndarray]) -> None:
    known, held_out = details(training), details([one.pixels for one in views(12, 60, THUMBNAIL)])
    rng = np.random.default_rng(0)
    some = training[:40]
    controls = {
        "exact": known[:40],
        "upside down": copying.mirrored(known[:40]),
        "left and right": np.ascontiguousarray(known[:40, :, ::-1]),
        "noise": details([copying.noisy(one, rng) for one in some]),
        "shifted": details([np.roll(one, (2, 3), axis=(0, 1)) for one in some]),
    }
    found = copying.copies(known[:40], known, held_out, ([""] * 40, [""] * 100, [""] * 60), 0, controls)
    assert found.rate.value == 1.0
    assert found.excess.low > 0.8
    assert np.array_equal(found.nearest.index, np.arange(40))
    for name, caught in found.controls.items():
        assert caught == 1.0 if name in ("exact", "upside down", "left and right") else caught >= 0.95, name
    assert found.has_power
    assert found.held_out.value <= 0.02


def test_other_patients_are_no_copies(training: list[np.ndarray]) -> None:
    known = details(training)
    held_out, fresh = (details([one.pixels for one in views(seed, 150, THUMBNAIL)]) for seed in (12, 13))
    whose = [""] * 150, [""] * 100, [""] * 150
    honest = copying.copies(fresh, known, held_out, whose, 0, {})
    assert honest.rate.value <= 0.02  # of patients that had no say in the threshold
    assert honest.rate.floor == honest.held_out.value <= 0.02
    assert honest.excess.low <= 0
    assert not honest.has_power  # nothing was tried


def test_the_threshold_is_passed_by_one_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    for count in (99, 150, 400):
        passed = [np.mean(rng.normal(size=200) > copying.threshold_of(rng.normal(size=count))) for _ in range(500)]
        assert 0.004 < np.mean(passed) <= 0.011
    assert copying.threshold_of(np.array([0.1, 0.3, 0.2])) == 0.3


def test_without_held_out_patients_the_threshold_is_of_training_pictures(training: list[np.ndarray]) -> None:
    known = details(training)
    found = copying.copies(known[:3], known, known[:0], ([""] * 3, [""] * 100, []), 0, {"exact": known[:5]})
    assert found.among_themselves
    assert 0 < found.threshold < 0.9  # none was compared with itself
    assert found.rate.value == 1.0
    assert found.has_power
    # two pictures of each patient: none is compared with the other one
    twice = np.concatenate([known[:20], known[:20]])
    owners = [str(i % 20) for i in range(40)]
    assert copying.copies(known[:2], twice, known[:0], ([""] * 2, owners, []), 0, {}).threshold < 0.9
    # of pictures that are all of one kind, about one in a hundred passes
    rng = np.random.default_rng(0)
    fields = gaussian_filter(rng.normal(size=(300, THUMBNAIL, THUMBNAIL)), (0, 6, 6)).astype(np.float16)
    found = copying.copies(fields[:150], fields[150:], fields[:0], ([""] * 150, [""] * 150, []), 0, {})
    assert found.rate.value <= 0.03
    assert found.excess.low <= 0
    assert len(Index(known[:0]).search(known[:2]).index) == 2


def test_copies_are_caught_by_the_embedding_too(usual: Measures, real: Measures) -> None:
    training, held_out = real.embedding, usual.embedding[:18]
    figure, caught = copying.embedded(
        training[:6],
        training,
        held_out,
        ([""] * 6, [""] * 18),
        0,
        {"exact": training[:9], "other": usual.embedding[18:]},
    )
    assert figure.value == 1.0
    assert caught["exact"] == 1.0
    assert caught["other"] < 0.5


def test_side_and_lesion_are_judged(usual: Measures, others: list[Any]) -> None:
    def asked(side: Laterality, lesion: bool) -> dict[tuple[str, str], float]:
        pictures = [replace(one, side=side, lesion=lesion) for one in told(others)]
        return {(one.attribute, one.judge): one.accuracy.value for one in adherence(usual, pictures, None, 0)}

    for side in Laterality:  # measured with the side that was asked at the left
        found = asked(side, False)
        assert found["side", "network"] > 0.95
        assert found["side", "rules"] > 0.95
    assert found["lesion", "network"] > 0.5
    assert found["lesion", "network"] == pytest.approx(1 - asked(Laterality.L, True)["lesion", "network"])
    wrong = stacked(measure_pixels(np.ascontiguousarray(one.pixels[:, ::-1]), 256 / SIZE) for one in others[:8])
    turned = [replace(one, side=Laterality.L) for one in told(others[:8])]
    by = {one.judge: one for one in adherence(wrong, turned, None, 0) if one.attribute == "side"}
    assert by["network"].accuracy.value < 0.2
    assert by["rules"].accuracy.value < 0.2


def test_the_interval_of_ms_ssim_is_by_picture(tmp_path: Path) -> None:
    pictures = []
    for index, one in enumerate(views(3, 12, 176)):
        file = tmp_path / f"{index}.png"
        Image.fromarray(np.rint(one.pixels * 65535).astype(np.uint16)).save(file)
        pictures.append(
            Picture(str(index), file, f"p{index % 6}", Description(view=one.description.view), Laterality.L)
        )
    found = alike(pictures, 0)
    assert 0 < found.low < found.value < found.high < 1
    assert found.n <= 120
    pairs = pairs_of(pictures, 0)
    assert all(pictures[a].patient != pictures[b].patient for a, b in pairs)
    wanted = ms_ssim([read_pixels(pictures[a]) for a, _ in pairs], [read_pixels(pictures[b]) for _, b in pairs])
    assert found.value == pytest.approx(wanted.mean(), abs=1e-6)  # at their own size


@pytest.mark.slow
def test_copies_that_went_through_the_autoencoder_are_caught(tmp_path: Path) -> None:
    pictures = []
    for index, one in enumerate(views(21, 20, 512)):
        file = tmp_path / f"{index}.png"
        Image.fromarray(np.rint(one.pixels * 65535).astype(np.uint16)).save(file)
        pictures.append(Picture(str(index), file, facing=Laterality.L))
    known = details([thumbnail(read_pixels(picture)) for picture in pictures])
    held_out = details([one.pixels for one in views(22, 40, THUMBNAIL)])
    controls = {name: traits.detail for name, traits in changed(pictures, 0).items()}
    found = copying.copies(held_out[:2], known, held_out, ([""] * 2, [""] * 20, [""] * 40), 0, controls)
    assert set(found.controls) == {"noise 5 %", "autoencoder"}
    assert min(found.controls.values()) >= 0.95


def test_the_interval_of_a_share_is_never_a_point() -> None:
    owners = [f"p{i // 2}" for i in range(20)]
    for right, low, high in ((np.ones(20), 0.7, 1.0), (np.zeros(20), 0.0, 0.3)):  # 3 of ten patients
        figure = share_figure(right, owners, 0)
        assert (figure.low, figure.high) == pytest.approx((low, high))
    some = share_figure(np.arange(20) < 10, owners, 0, floor=0.4)
    assert some.low < some.value == 0.5 < some.high
    assert some.floor == 0.4
    assert np.isnan(share_figure(np.zeros(0), [], 0).value)
