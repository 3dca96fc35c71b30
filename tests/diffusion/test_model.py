import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from mame.diffusion import folders as places
from mame.diffusion import sample
from mame.diffusion.folders import CARD, INDEX, Framing, ModelCard, available_models, model_folder, read_card
from mame.diffusion.model import load_model, load_parts, save_model
from mame.errors import MameError

from .small_mini import SIZE, small_parts

PROMPT = "a siemens mammogram in MLO view with high density"


def test_stock_text_to_image_pipeline_gives_the_same_picture(folders, healthy):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folders.healthy)
    pipeline.set_progress_bar_config(disable=True)
    noise = sample.noise(0, 0, (4, SIZE // 8, SIZE // 8))[None]
    stock = pipeline(PROMPT, num_inference_steps=3, guidance_scale=4.0, latents=noise, output_type="np").images[0]
    assert stock.shape == (SIZE, SIZE, 3)
    order = sample.Order(PROMPT, steps=3)
    with torch.inference_mode():
        from mame.diffusion import latent

        made = sample.denoise(healthy, noise, sample.embed(healthy, order), order)
        ours = latent.decode(healthy.parts.autoencoder, made)[0].numpy()
    assert np.abs(stock.mean(axis=2) - ours.clip(0, 1)).mean() < 1e-4  # the stock clips channels before the mean


def test_stock_inpainting_pipeline_loads_and_runs(folders):
    from diffusers import StableDiffusionInpaintPipeline

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folders.lesion)
    pipeline.set_progress_bar_config(disable=True)
    picture = torch.rand(1, 3, SIZE, SIZE) * 2 - 1
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 16:32, 16:32] = 1
    made = pipeline("a mammogram with a mass", image=picture, mask_image=mask, num_inference_steps=2, output_type="np")
    assert made.images[0].shape == (SIZE, SIZE, 3)
    assert np.isfinite(made.images[0]).all()


def test_sizes_hash_and_card(healthy, lesion, folders):
    assert healthy.size == SIZE
    assert not healthy.inpainting
    assert lesion.inpainting
    assert healthy.card.frame is Framing.FIELD
    assert healthy.card.spacing_mm(healthy.size) == 4.0
    assert healthy.hash == load_model(folders.healthy).hash
    assert len(healthy.hash) == 64
    assert healthy.hash != lesion.hash
    assert healthy.name == "healthy"


def test_weights_are_half_precision_safetensors_in_small_shards(folders):
    weights = [path for path in folders.healthy.rglob("*") if path.suffix in (".safetensors", ".bin", ".ckpt", ".pt")]
    assert {path.suffix for path in weights} == {".safetensors"}
    assert all(path.stat().st_size <= 15.1e6 for path in weights)


def test_a_foreign_folder_has_sensible_defaults(folders, tmp_path):
    folder = tmp_path / "foreign"
    shutil.copytree(folders.healthy, folder)
    (folder / CARD).unlink()
    card = read_card(folder)
    assert card.frame is Framing.CENTER_CROP
    assert card.spacing_mm(512) is None
    assert load_model(folder).generate("anything", steps=1)[0].spacing_mm is None


def test_another_schedule_is_sampled_with_dpm_solver(folders, tmp_path):
    folder = tmp_path / "sd15"
    shutil.copytree(folders.healthy, folder)
    sd15 = {
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0",
        "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True,
        "steps_offset": 1, "trained_betas": None, "clip_sample": False,
    }  # fmt: skip
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(sd15))
    scheduler = sample.sampler(load_model(folder))
    assert scheduler.config.prediction_type == "epsilon"
    assert scheduler.config.algorithm_type == "dpmsolver++"
    assert abs(float(scheduler.betas[-1]) - 0.012) < 1e-6


@pytest.mark.parametrize(
    ("name", "said"),
    [("maxi", "unknown model 'maxi'"), ("./nothing/here", "unknown model"), ("a/b/c", "unknown model")],
)
def test_an_unknown_model(name, said):
    with pytest.raises(MameError, match=said):
        model_folder(name)


def test_the_hub_without_network(monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise ConnectionError("no route to host\nand more lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(MameError, match=r"no route to host.*pass its folder") as caught:
        model_folder("Likalto4/fusion_healthy")
    assert "\n" not in str(caught.value)


def _broken(folder, how):
    if how == "index":
        (folder / INDEX).unlink()
    elif how == "class":
        (folder / INDEX).write_text('{"_class_name": "FluxPipeline"}')
    elif how == "json":
        (folder / INDEX).write_text("{")
    elif how == "part":
        shutil.rmtree(folder / "vae")
    elif how == "pickle":
        next((folder / "unet").glob("*.safetensors")).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    elif how == "checkpoint":
        next((folder / "unet").glob("*.safetensors")).rename(folder / "unet" / "model.ckpt")
    elif how == "truncated":
        path = next((folder / "unet").glob("*.safetensors"))
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "text":
        path = next((folder / "text_encoder").glob("*.safetensors"))
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "missing":
        from safetensors.torch import load_file, save_file

        path = next((folder / "unet").glob("*.safetensors"))
        weights = load_file(path)
        del weights["conv_in.weight"]
        save_file(weights, path)
    elif how == "other size":
        path = folder / "unet" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"block_out_channels": [64, 64]}))
    elif how == "vae":
        (folder / "vae" / "config.json").write_text('{"_class_name": "VQModel"}')
    elif how == "card":
        (folder / CARD).write_text('{"field_mm": -1}')


def _as_bins(folder, found):
    """The folder as it was before safetensors."""
    from safetensors.torch import load_file

    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "pytorch_model"),
    ):
        shards = sorted((folder / part).glob("*.safetensors"))
        tensors = {key: value for shard in shards for key, value in load_file(shard).items()}
        for path in (*shards, *(folder / part).glob("*.index.json")):
            path.unlink()
        found(tensors, folder / part / f"{name}.bin")


def test_old_bin_weights_are_converted_once_and_are_the_same(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shutil.copytree(folders.healthy, tmp_path / "old")
    _as_bins(folder, torch.save)
    opened = load_model(folder, device="cpu", dtype="float32")
    new = load_model(folders.healthy, device="cpu", dtype="float32")
    for part in ("unet", "autoencoder", "text_encoder"):
        before, after = (getattr(one.parts, part).state_dict() for one in (new, opened))
        assert all(torch.equal(before[name], after[name]) for name in before)
    made = sorted((tmp_path / "cache").rglob("converted-*"))
    times = [path.stat().st_mtime_ns for path in made]
    assert len(made) == 3
    assert model_folder(folder) == opened.folder
    assert [path.stat().st_mtime_ns for path in made] == times
    assert not list(folder.rglob("*.safetensors"))


def test_a_bin_that_would_run_code_is_refused_and_does_not(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shutil.copytree(folders.healthy, tmp_path / "old")
    _as_bins(folder, torch.save)

    class Bad:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"conv_in.weight": Bad()}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(MameError, match="may run code when it is opened, and is refused"):
        model_folder(folder)
    torch.save({"conv_in.weight": [1, 2]}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(MameError, match="holds more than named tensors"):
        model_folder(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("index", "no model_index.json"),
        ("class", "FluxPipeline"),
        ("json", "can't be read"),
        ("part", "vae/ is missing"),
        ("pickle", "not a plain file of tensors"),
        ("checkpoint", "no .safetensors weights, nor a .bin"),
        ("truncated", "can't be opened"),
        ("text", "can't be opened"),
        ("missing", r"1 weights are missing, conv_in\.weight"),
        ("other size", "can't be opened"),
        ("vae", "VQModel"),
        ("card", "not a model card"),
    ],
)
def test_a_broken_folder_is_told_in_one_line(folders, tmp_path, how, said):
    folder = tmp_path / "broken"
    shutil.copytree(folders.healthy, folder)
    _broken(folder, how)
    with pytest.raises(MameError, match=said) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_devices_and_dtypes_are_checked(folders):
    with pytest.raises(MameError, match="dtype 'int4'"):
        load_model(folders.healthy, dtype="int4")
    with pytest.raises(MameError, match="device 'cuda:99'"):
        load_model(folders.healthy, device="cuda:99")
    with pytest.raises(MameError, match="device 'toaster'"):
        load_model(folders.healthy, device="toaster")


def test_saving_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MameError, match="can't be written"):
        save_model(small_parts(False), tmp_path / "file" / "model", ModelCard())


def test_a_model_does_not_say_where_its_parts_were_read_from(tmp_path, folders):
    save_model(load_parts(folders.healthy), tmp_path / "again", ModelCard())
    told = [path.read_text() for path in (tmp_path / "again").rglob("*.json")]
    assert len(told) >= 5
    assert not any(str(folders.healthy) in text for text in told)


def test_saving_replaces_when_asked_and_everybody_may_read(tmp_path):
    (tmp_path / "model").mkdir()
    save_model(small_parts(False), tmp_path / "model", ModelCard(), force=True)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "model").rglob("*"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_saving_does_not_replace_unasked(folders):
    with pytest.raises(MameError, match="exists already"):
        save_model(small_parts(False), folders.healthy, ModelCard())


@pytest.fixture
def embedded(folders, tmp_path, monkeypatch):
    """The embedded layout: mini-lesion holds its own U-Net and scheduler only."""
    weights = tmp_path / "weights"
    shutil.copytree(folders.healthy, weights / "mini")
    shutil.copytree(folders.lesion, weights / "mini-lesion")
    for part in ("text_encoder", "tokenizer", "vae"):
        shutil.rmtree(weights / "mini-lesion" / part)
    monkeypatch.setattr(places, "WEIGHTS", weights)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return weights


def test_embedded_models_share_their_parts(embedded, tmp_path):
    assert [entry.name for entry in available_models()] == ["mini", "mini-lesion"]
    assert [entry.inpainting for entry in available_models()] == [False, True]
    assert model_folder("mini") == embedded / "mini"
    folder = model_folder("mini-lesion")
    assert folder.is_relative_to(tmp_path / "cache")
    assert model_folder("mini-lesion") == folder
    assert load_model("mini-lesion").name == "mini-lesion"
    assert not list(folder.parent.glob(".*"))


def test_an_assembled_model_is_made_anew_when_it_broke_or_changed(embedded):
    folder = model_folder("mini-lesion")
    (folder / INDEX).unlink()
    assert model_folder("mini-lesion") == folder
    assert (folder / INDEX).is_file()
    os.utime(embedded / "mini" / "vae" / "config.json", ns=(1, 1))
    assert model_folder("mini-lesion") != folder


def test_a_home_that_cannot_be_written(embedded, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert (model_folder("mini-lesion") / "vae" / "config.json").is_file()


def test_an_installation_without_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "WEIGHTS", tmp_path)
    assert available_models() == []
    with pytest.raises(MameError, match="not in this installation"):
        model_folder("mini")


def test_listing_models_does_not_import_torch():
    code = "import sys, mame.diffusion.model as m; m.available_models(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
