import json
from weakref import WeakSet

import numpy as np
import pytest
import torch

from mame.diffusion import sample
from mame.diffusion.model import Model, load_model
from mame.errors import MameError
from mame.mammogram import Density, Laterality, View

from .small_mini import SIZE, breast_picture

PROMPT = "a siemens mammogram in MLO view with high density"


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2) + 1e-12))


def test_a_mammogram_says_what_it_is(healthy):
    (made,) = healthy.generate(PROMPT, steps=2, seed=5)
    assert made.shape == (SIZE, SIZE)
    assert made.pixels.dtype == np.float32
    assert 0 <= made.pixels.min() <= made.pixels.max() <= 1
    assert made.synthetic
    assert made.spacing_mm == 256 / SIZE
    assert made.laterality is Laterality.L
    assert made.description.view is View.MLO
    assert made.description.density is Density.C
    assert made.description.vendor == "siemens"
    said = json.loads(json.dumps(made.provenance))
    assert said["prompt"] == PROMPT
    assert (said["seed"], said["index"], said["steps"], said["guidance"]) == (5, 0, 2, 4.0)
    assert said["model_hash"] == healthy.hash
    assert said["software"].startswith("mam-e")


def test_a_guided_pass_that_does_not_fit_is_cut_in_two(healthy, monkeypatch):
    (whole,) = healthy.generate(PROMPT, steps=2, seed=7)
    unet, sizes = healthy.parts.unet, []

    def small(seen, *rest, **words):
        sizes.append(len(seen))
        if len(seen) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return unet(seen, *rest, **words)

    small.config = unet.config
    monkeypatch.setattr(healthy.parts, "unet", small)
    monkeypatch.setattr(sample, "_SHORT_OF_MEMORY", WeakSet())
    (halves,) = healthy.generate(PROMPT, steps=2, seed=7)
    assert sizes == [2, 1, 1, 1, 1]  # once it is known it isn't tried again
    assert psnr(whole.pixels, halves.pixels) > 40
    with pytest.raises(torch.OutOfMemoryError):
        healthy.generate(PROMPT, count=2, batch=2, steps=2, seed=7)


def test_words_are_embedded_once(healthy, monkeypatch):
    asked = []
    tokenizer = healthy.parts.tokenizer

    class Counted:
        model_max_length = tokenizer.model_max_length

        def __call__(self, texts, **how):
            asked.append(texts) if "return_tensors" in how else None
            return tokenizer(texts, **how)

    monkeypatch.setattr(healthy.parts, "tokenizer", Counted())
    orders = [sample.Order(f"a breast number {n}") for n in range(3)]
    first = [sample.embed(healthy, order) for order in orders]
    again = [sample.embed(healthy, order) for order in orders]
    assert len(asked) == 3
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for n in range(sample.KEPT_TEXTS):
        sample.embed(healthy, sample.Order(f"another {n}"))
    sample.embed(healthy, orders[0])
    assert len(asked) == 4 + sample.KEPT_TEXTS  # the first had to make room


@pytest.fixture
def no_breast(monkeypatch):
    """A random model makes clouds, and whether one passes for a breast hangs on a hair."""

    def refuse(pixels):
        raise MameError("no breast found")

    monkeypatch.setattr(sample, "find_breast", refuse)


@pytest.mark.usefixtures("no_breast")
def test_more_than_a_byte_of_grey_levels(healthy):
    (made,) = healthy.generate(PROMPT, steps=2)
    assert np.unique(made.pixels).size >= 1024


def test_a_picture_depends_on_its_seed_and_number_only(healthy):
    three = sample.generate(healthy, PROMPT, 3, seed=1, steps=2)
    again = sample.generate(healthy, PROMPT, 1, seed=1, steps=2, first=2)
    assert np.array_equal(three[2].pixels, again[0].pixels)
    assert not np.array_equal(three[0].pixels, three[1].pixels)
    assert not np.array_equal(three[0].pixels, sample.generate(healthy, PROMPT, 1, seed=2, steps=2)[0].pixels)


def test_however_a_run_is_cut_batches_are_full(healthy):
    whole = sample.generate(healthy, PROMPT, 4, seed=1, steps=2, batch=2)
    part = sample.generate(healthy, PROMPT, 2, seed=1, steps=2, batch=2, first=1)
    assert [picture.provenance["index"] for picture in part] == [1, 2]
    for one, two in zip(whole[1:3], part, strict=True):
        assert np.array_equal(one.pixels, two.pixels)


@pytest.mark.usefixtures("no_breast")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_batch_size_changes_nothing_but_rounding(folders, dtype):
    model = load_model(folders.healthy, device="cpu", dtype=dtype)
    one = model.generate(PROMPT, 3, steps=4, batch=1)
    three = model.generate(PROMPT, 3, steps=4, batch=3)
    for a, b in zip(one, three, strict=True):
        assert psnr(a.pixels, b.pixels) >= 40


def test_a_right_breast_is_the_mirrored_picture(healthy):
    (left,) = healthy.generate(PROMPT, steps=2)
    (right,) = healthy.generate(PROMPT, steps=2, laterality="R")
    assert right.laterality is Laterality.R
    assert np.array_equal(right.pixels, left.pixels[:, ::-1])


def test_prompt_negative_and_guidance_are_heard(healthy):
    pictures = [
        healthy.generate(*args, steps=2, **kwargs)[0].pixels
        for args, kwargs in [
            ((PROMPT,), {}),
            (("a mammogram in CC view",), {}),
            ((PROMPT,), {"negative": "film"}),
            ((PROMPT,), {"guidance": 1.0}),
            ((PROMPT,), {"guidance": 0.0}),
        ]
    ]
    assert len({picture.tobytes() for picture in pictures}) == 5


def test_guidance_ends_where_the_card_says(healthy, monkeypatch):
    def until(time):
        card = healthy.card.model_copy(update={"guidance_until": time})
        return Model(healthy.name, healthy.folder, card, healthy.parts, healthy.compute)

    unet, asked = healthy.parts.unet, []

    def counted(seen, time, **words):
        asked.append((time, len(seen)))
        return unet(seen, time, **words)

    counted.config = unet.config
    monkeypatch.setattr(healthy.parts, "unet", counted)
    (half,) = until(500).generate(PROMPT, count=1, steps=4, seed=7)
    assert [(time >= 500, count) for time, count in asked] == [(True, 2), (True, 2), (False, 1), (False, 1)]
    assert half.provenance["guidance_until"] == 500
    made = {time: until(time).generate(PROMPT, steps=4, seed=7)[0].pixels for time in (0, 500, 1000)}
    (alone,) = healthy.generate(PROMPT, steps=4, seed=7, guidance=1.0)
    assert psnr(made[1000], alone.pixels) > 60  # nothing is guided
    assert len({picture.tobytes() for picture in made.values()}) == 3
    pair = until(500).generate(PROMPT, count=2, batch=2, steps=4, seed=7)
    assert psnr(pair[0].pixels, half.pixels) > 50


def test_progress_counts_every_step(healthy):
    seen = []
    healthy.generate(PROMPT, 3, steps=2, batch=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0}, {"seed": -1}, {"steps": 0}, {"steps": 5000}, {"guidance": -1.0}, {"guidance": float("nan")},
        {"batch": 0}, {"laterality": "X"},
    ],
)  # fmt: skip
def test_values_out_of_range(healthy, wrong):
    with pytest.raises(MameError):
        healthy.generate(PROMPT, **wrong)


def test_a_lesion_model_leaves_whole_pictures_to_its_companion(lesion):
    (made,) = lesion.generate(PROMPT, steps=1)
    assert made.source == "healthy"
    with pytest.raises(MameError, match="paints lesions"):
        sample.generate(lesion, PROMPT)


def test_air_is_cleared_around_a_breast():
    clean = breast_picture((256, 256))
    noisy = clean + 0.004 * np.abs(np.random.default_rng(0).standard_normal(clean.shape)).astype(np.float32)
    cleared = sample.clear_air(noisy)
    far = np.zeros(clean.shape, bool)
    far[:, 230:] = True
    assert (cleared[far] == 0).all()
    inside = clean > 0
    assert (cleared[inside] > 0).mean() > 0.98


def test_without_a_breast_only_what_is_nearly_black_is_cleared():
    grey = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    cleared = sample.clear_air(grey)
    assert (cleared > 0).mean() > 0.95
    assert (cleared[grey < sample.TINY_GREY] == 0).all()


def test_noise_is_standard_normal_and_its_own():
    one, two = sample.noise(0, 0, (4, 64, 64)), sample.noise(0, 1, (4, 64, 64))
    assert abs(float(one.mean())) < 0.03
    assert abs(float(one.std()) - 1) < 0.03
    assert abs(float((one * two).mean())) < 0.03


def test_a_prompt_that_is_too_long_is_told(healthy, caplog):
    healthy.generate("a mammogram " * 20, steps=1)
    assert "its end is not heard" in caplog.text
    assert len(caplog.records) == 1


def test_different_prompts_in_one_batch_are_as_made_apart(healthy):
    wanted = [
        sample.Wanted(sample.Order(text, seed, steps=2), side=side)
        for text, seed, side in ((PROMPT, 5, Laterality.L), ("a hologic mammogram in CC view", 6, Laterality.R))
    ]
    together = sample.generate_each(healthy, [*wanted, wanted[0]], batch=2)
    assert len(together) == 3
    for one, made in zip([*wanted, wanted[0]], together, strict=True):
        row = sample.generate(healthy, one.order.prompt, 1, one.order.seed, 2, batch=2, laterality=one.side)
        np.testing.assert_allclose(made.pixels, row[0].pixels, atol=1e-5)
        assert (made.laterality, made.provenance) == (one.side, row[0].provenance)
    np.testing.assert_array_equal(together[0].pixels, together[2].pixels)


def test_one_batch_has_one_number_of_steps(healthy):
    wanted = [sample.Wanted(sample.Order(PROMPT, steps=steps)) for steps in (1, 2)]
    with pytest.raises(MameError, match="same steps"):
        sample.generate_each(healthy, wanted, batch=2)
