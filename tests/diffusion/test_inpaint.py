import json

import numpy as np
import pytest
import torch

from mame.diffusion import latent, sample
from mame.diffusion.inpaint import inpaint, lesion_kind, measured_box
from mame.diffusion.model import Model
from mame.errors import MameError
from mame.mammogram import Box, Laterality, LesionKind, Mammogram, SpacingOrigin, Stored

from .small_mini import SIZE, breast_picture

BOX = Box(60, 140, 100, 180)
MARGIN = 0.15 * 40 + 1


def outside(shape, box=BOX, margin=MARGIN):
    return ~box.grown(margin).to_mask(shape)


def with_stored(mammogram: Mammogram, inverted: bool) -> Mammogram:
    """The same picture as 14 bits in a file, bright = 0 where inverted (MONOCHROME1), flat at both ends of the map."""
    lut = np.interp(np.arange(16384), [600, 14000], [0, 1]).astype(np.float32)
    lut = lut[::-1].copy() if inverted else lut
    stored = Stored(np.zeros(mammogram.shape, np.uint16), lut, first=0, bits=14)
    values = stored.values_of(mammogram.pixels)
    values[mammogram.pixels == 0] = 16000 if inverted else 3  # air deep in the flat piece
    stored = Stored(values, lut, first=0, bits=14)
    return mammogram.with_(pixels=stored.greys(), stored=stored)


def test_only_the_region_changes(lesion, left_breast):
    made = lesion.inpaint(left_breast, BOX, steps=2)
    assert made.shape == left_breast.shape
    assert made.pixels.dtype == np.float32
    assert 0 <= made.pixels.min() <= made.pixels.max() <= 1
    same = outside(left_breast.shape)
    assert np.array_equal(made.pixels[same], left_breast.pixels[same])
    assert not np.array_equal(made.pixels, left_breast.pixels)
    assert (made.pixels[left_breast.pixels == 0] == 0).all()


@pytest.mark.parametrize("inverted", [False, True])
def test_stored_values_outside_are_bit_identical(lesion, left_breast, inverted):
    source = with_stored(left_breast, inverted)
    before = source.stored.values.copy()
    made = lesion.inpaint(source, BOX, steps=2)
    same = outside(source.shape)
    assert np.array_equal(made.stored.values[same], before[same])
    assert (made.stored.values[BOX.slices()] != before[BOX.slices()]).mean() > 0.5
    assert made.stored.values.dtype == np.uint16
    assert np.array_equal(made.stored.greys(), made.pixels)
    assert np.array_equal(source.stored.values, before)  # the source itself is left alone


def test_the_label_and_how_it_was_made(lesion, left_breast):
    made = lesion.inpaint(left_breast, BOX, "a mammogram with a mass", seed=3, steps=2)
    (found,) = made.lesions
    assert found.kind is LesionKind.MASS
    assert found.box == BOX
    assert found.mask.shape == left_breast.shape
    assert made.synthetic
    said = json.loads(json.dumps(made.provenance))
    assert said["asked"] == [60, 140, 100, 180]
    assert Box(*said["box_measured"]).iou(BOX) > 0.3
    assert said["seed"] == 3
    assert said["model_hash"] == lesion.hash
    twice = lesion.inpaint(made, Box(60, 60, 90, 90), "a mammogram with a lesion", steps=1)
    assert [one.kind for one in twice.lesions] == [LesionKind.MASS, LesionKind.LESION]
    assert twice.provenance["painted_on"]["seed"] == 3


def test_a_right_breast_is_the_mirrored_left(lesion, left_breast):
    right = left_breast.with_(pixels=np.ascontiguousarray(left_breast.pixels[:, ::-1]), laterality=Laterality.R)
    one = lesion.inpaint(left_breast, BOX, steps=2)
    other = lesion.inpaint(right, BOX.mirrored(left_breast.shape[1]), steps=2)
    assert np.abs(one.pixels - other.pixels[:, ::-1]).max() < 1e-4


def test_a_mask_is_painted_as_it_is(lesion, left_breast):
    y, x = np.mgrid[: left_breast.shape[0], : left_breast.shape[1]]
    disc = (x - 80) ** 2 + (y - 160) ** 2 < 20**2
    made = lesion.inpaint(left_breast, disc, steps=2)
    changed = made.pixels != left_breast.pixels
    distance = np.hypot(x - 80, y - 160)
    assert not changed[distance > 20 + 0.15 * 39 + 1].any()
    assert changed[disc].mean() > 0.9
    assert made.lesions[0].box == Box.of_mask(disc)
    assert np.array_equal(made.lesions[0].mask, disc)


def test_seeds_and_repeats(lesion, left_breast):
    one = lesion.inpaint(left_breast, BOX, steps=2, seed=1)
    assert np.array_equal(one.pixels, lesion.inpaint(left_breast, BOX, steps=2, seed=1).pixels)
    assert not np.array_equal(one.pixels, lesion.inpaint(left_breast, BOX, steps=2, seed=2).pixels)
    assert not np.array_equal(one.pixels, inpaint(lesion, left_breast, BOX, steps=2, seed=1, index=1).pixels)


def test_a_lesion_that_does_not_fit_is_painted_again(lesion, left_breast, monkeypatch):
    from mame.diffusion import inpaint as module

    fits = iter([None, Box(60, 140, 75, 160), None, Box(60, 140, 99, 179)])
    monkeypatch.setattr(module, "measured_box", lambda *_: next(fits))
    made = lesion.inpaint(left_breast, BOX, steps=1)
    assert made.provenance["tries"] == 3
    assert made.provenance["box_measured"] == [60, 140, 75, 160]  # the best of them
    again = lesion.inpaint(left_breast, BOX, steps=1, tries=1)
    assert again.provenance["tries"] == 1
    assert not np.array_equal(made.pixels, again.pixels)


def test_the_whole_picture_as_window(lesion, left_breast):
    left_breast = left_breast.with_(spacing_mm=0.5)
    made = lesion.inpaint(left_breast, BOX, steps=2, window="whole")
    same = outside(left_breast.shape)
    assert np.array_equal(made.pixels[same], left_breast.pixels[same])
    assert not np.array_equal(made.pixels, left_breast.pixels)
    with pytest.raises(MameError, match="spacing"):
        lesion.inpaint(left_breast.with_(spacing_mm=None), BOX, window="whole")


def test_a_healthy_model_paints_with_its_companion_or_alone(healthy, left_breast):
    assert healthy.inpaint(left_breast, BOX, steps=1).provenance["model"] == "lesion"
    alone = inpaint(healthy, left_breast, BOX, steps=2)
    same = outside(left_breast.shape)
    assert np.array_equal(alone.pixels[same], left_breast.pixels[same])
    assert not np.array_equal(alone.pixels, left_breast.pixels)


def test_the_same_as_the_stock_inpainting_pipeline(folders, lesion):
    from diffusers import StableDiffusionInpaintPipeline

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folders.lesion)
    pipeline.set_progress_bar_config(disable=True)
    picture = torch.from_numpy(breast_picture((SIZE, SIZE)))[None]
    mask = Box(15, 20, 35, 45).to_mask((SIZE, SIZE))
    masks = torch.from_numpy(mask)[None]
    noise = sample.noise(0, 0, (4, SIZE // 8, SIZE // 8))[None]
    prompt = "a mammogram with a mass"
    stock = pipeline(
        prompt, image=picture[:, None].expand(1, 3, -1, -1) * 2 - 1, mask_image=masks[:, None].float(), latents=noise,
        num_inference_steps=3, guidance_scale=3.0, output_type="np", height=SIZE, width=SIZE,
    ).images[0]  # fmt: skip
    order = sample.Order(prompt, steps=3, guidance=3.0)
    with torch.inference_mode():
        condition = latent.inpainting_condition(lesion.parts.autoencoder, picture, masks)
        made = sample.denoise(lesion, noise, sample.embed(lesion, order), order, condition)
        ours = latent.decode(lesion.parts.autoencoder, made)[0].numpy()
    assert np.abs(stock.mean(axis=2) - ours.clip(0, 1)).mean() < 1e-4  # the stock clips channels before the mean


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (Box(240, 10, 252, 20), "lies in air"),
        (Box(-5, 140, 100, 180), "outside the picture"),
        (Box(60, 140, 100, 1800), "outside the picture"),
        (Box(60, 140, 62, 142), "too small"),
        (np.zeros((320, 256), bool), "empty"),
        (np.ones((10, 10), bool), "shape"),
        (Box(170, 120, 250, 200), "mostly in air"),
    ],
)
def test_a_region_that_cannot_be_painted(lesion, left_breast, region, said):
    with pytest.raises(MameError, match=said) as caught:
        lesion.inpaint(left_breast, region)
    assert "\n" not in str(caught.value)


def test_a_picture_without_a_breast(lesion):
    with pytest.raises(MameError, match="no breast"):
        lesion.inpaint(Mammogram(np.zeros((320, 256), np.float32)), BOX)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spacing_mm": None}, "nobody knows"),
        ({"spacing_origin": SpacingOrigin.ASSUMED}, "nobody knows"),
        ({"spacing_mm": 0.5}, "0.5 mm"),
        ({"spacing_mm": 0.11}, "0.11 mm"),
    ],
)
def test_calcifications_need_pixels_that_resolve_them(lesion, left_breast, changes, said):
    with pytest.raises(MameError, match=said):
        lesion.inpaint(left_breast.with_(**changes), BOX, "a mammogram with suspicious calcifications")


def test_calcifications_where_pixels_resolve_them(lesion, left_breast):
    prompt = "a mammogram with suspicious calcifications"
    made = lesion.inpaint(left_breast, Box(60, 140, 80, 160), prompt, steps=1)
    assert made.lesions[0].kind is LesionKind.CALCIFICATIONS
    with pytest.raises(MameError, match="smaller region"):  # three times 40 pixels in 64: coarser than the source
        lesion.inpaint(left_breast, BOX, prompt)


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a mammogram with a mass", LesionKind.MASS),
        ("a mammogram with a lesion", LesionKind.LESION),
        ("spiculated mass, upper outer quadrant", LesionKind.MASS),
        ("microcalcifications please", LesionKind.CALCIFICATIONS),
        ("something massive", LesionKind.LESION),
        ("", LesionKind.LESION),
    ],
)
def test_what_a_prompt_asks_to_paint(prompt, kind):
    assert lesion_kind(prompt) is kind


def test_measured_box_finds_what_was_painted():
    rng = np.random.default_rng(0)
    before = breast_picture((320, 256))
    y, x = np.mgrid[:320, :256]
    disc = np.exp(-((((x - 82) ** 2 + (y - 158) ** 2) / 18**2) ** 3))
    after = (before + 0.3 * disc + 0.01 * rng.standard_normal(before.shape)).astype(np.float32)
    found = measured_box(before, after, BOX)
    assert found.iou(Box(64, 140, 100, 176)) > 0.7
    assert measured_box(before, before, BOX) is None


def with_card(model, **changes):
    return Model(model.name, model.folder, model.card.model_copy(update=changes), model.parts, model.compute)


def test_a_kind_that_the_model_did_not_learn_is_refused(lesion, left_breast):
    fine = left_breast.with_(spacing_mm=0.05)
    with pytest.raises(MameError, match="paints mass, not calcifications; name another with --model"):
        with_card(lesion, lesions=("mass",)).inpaint(fine, BOX, "a mammogram with suspicious calcifications")


def test_windows_of_one_tone_leave_everything_outside_as_it_was(lesion, left_breast):
    toned = with_card(lesion, window_tone=True).inpaint(left_breast, BOX, steps=2)
    plain = with_card(lesion, window_tone=False).inpaint(left_breast, BOX, steps=2)
    inside = BOX.to_mask(left_breast.shape)
    same = outside(left_breast.shape)
    assert np.array_equal(toned.pixels[same], left_breast.pixels[same])
    assert not np.array_equal(toned.pixels[inside], plain.pixels[inside])
    assert 0 <= toned.pixels.min() <= toned.pixels.max() <= 1
