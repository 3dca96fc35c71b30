import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mame.dataset.examples import open_examples
from mame.diffusion import checkpoints, train
from mame.diffusion.cache import Words
from mame.diffusion.config import TrainConfig
from mame.diffusion.feed import order
from mame.diffusion.machine import settle
from mame.diffusion.mini import build_scheduler
from mame.diffusion.objectives import caption
from mame.diffusion.schedule import snr_weights
from mame.diffusion.start import widen
from mame.errors import MameError
from mame.mammogram import Description, LesionKind
from mame.prompt import parse

from .small_mini import small_parts

SMALL = {
    "goal": "healthy", "dataset": "phantom:12:5", "size": 64, "batch": 4, "learning_rate": 1e-3, "precision": "fp32",
    "warmup_steps": 2, "validation_examples": 4, "validate_every": 2, "checkpoint_every": 2, "workers": 1,
    "tracker": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def run(tmp_path, shared_cache, name="run", **options):
    config = TrainConfig(**{**SMALL, "out": tmp_path / name, "cache": shared_cache, **options})
    parts = small_parts(config.goal == "lesion")
    config.out.mkdir(exist_ok=True)
    train.fit(config, parts, config.out, announce=lambda _: None)
    return config.out, parts


def weights_of(folder):
    return load_file(checkpoints.newest(folder / "checkpoints") / "weights.safetensors")


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, shared_cache):
    whole, _ = run(tmp_path, shared_cache, "whole", steps=6)
    run(tmp_path, shared_cache, "parts", steps=2)
    parted, _ = run(tmp_path, shared_cache, "parts", steps=6)
    expected, got = weights_of(whole), weights_of(parted)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-6)


def test_the_text_encoder_and_the_unet_both_move_and_the_averages_lag_behind(tmp_path, shared_cache):
    before = small_parts(False)
    folder, parts = run(tmp_path, shared_cache, steps=4)
    now, average = weights_of(folder), load_file(checkpoints.newest(folder / "checkpoints") / "average.safetensors")
    for part in ("unet", "text_encoder"):
        start = dict(getattr(before, part).named_parameters())
        moved = [name for name in start if not torch.equal(start[name], now[f"{part}.{name}"])]
        assert len(moved) > len(start) // 2
    name = "unet.conv_in.weight"
    start = before.unet.conv_in.weight
    assert (average[name] - start).norm() < (now[name] - start).norm()
    # what is left in the parts afterwards is the average
    assert torch.equal(parts.unet.conv_in.weight, average[name])


def test_a_lesion_model_trains_on_windows_and_an_autoencoder_on_crops(tmp_path, shared_cache):
    for goal, size in (("lesion", 64), ("autoencoder", 256)):
        folder, _ = run(tmp_path, shared_cache, goal, goal=goal, steps=2, size=size, dataset="phantom:8:5", batch=2)
        said = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert np.isfinite([line["loss"] for line in said if "loss" in line]).all()
        assert any("validation_loss" in line for line in said)


def test_an_encoder_stays_as_it_was_while_the_decoder_learns(tmp_path, shared_cache):
    before = small_parts(False).autoencoder
    _, parts = run(tmp_path, shared_cache, goal="autoencoder", steps=2, size=256, dataset="phantom:8:5", batch=2)
    for name, value in before.encoder.state_dict().items():
        assert torch.equal(parts.autoencoder.encoder.state_dict()[name], value)
    last = list(before.decoder.layers)[-1].weight
    assert not torch.equal(list(parts.autoencoder.decoder.layers)[-1].weight, last)


def test_each_pass_shows_every_example_once_in_a_new_order():
    batches = [order(10, position, 4, seed=3) for position in range(5)]
    seen = np.concatenate(batches)
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_the_loss_weights_are_min_snr_in_closed_form():
    scheduler = build_scheduler()
    steps = torch.tensor([10, 500, 900])
    kept = scheduler.alphas_cumprod[steps].double()
    snr = kept / (1 - kept)
    below = torch.minimum(snr, torch.tensor(5.0, dtype=torch.double))
    assert scheduler.config.prediction_type == "v_prediction"
    torch.testing.assert_close(snr_weights(scheduler, steps, 5.0), (below / (snr + 1)).float())
    epsilon = type(scheduler).from_config(scheduler.config, prediction_type="epsilon")
    torch.testing.assert_close(snr_weights(epsilon, steps, 5.0), (below / snr).float())
    assert snr_weights(scheduler, steps, None).tolist() == [1, 1, 1]


def test_a_widened_base_paints_at_first_what_its_base_would_make():
    unet = small_parts(False).unet
    latents, masked, mask = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.ones(2, 1, 8, 8)
    text, steps = torch.randn(2, 24, unet.config.cross_attention_dim), torch.tensor([3, 700])
    with torch.no_grad():
        before = unet(latents, steps, text).sample
        widen(unet)
        after = unet(torch.cat([latents, mask, masked], dim=1), steps, text).sample
    torch.testing.assert_close(after, before)


def test_a_full_disk_at_checkpoint_time_leaves_the_last_checkpoint(tmp_path, shared_cache, monkeypatch):
    folder, _ = run(tmp_path, shared_cache, steps=2)

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(MameError, match="No space left"):
        run(tmp_path, shared_cache, steps=4)
    assert checkpoints.newest(folder / "checkpoints").name == "step-0000002"
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["best", "step-0000002"]


def test_only_the_newest_checkpoints_are_kept(tmp_path, shared_cache):
    folder, _ = run(tmp_path, shared_cache, steps=8, keep_checkpoints=2)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        "best", "step-0000006", "step-0000008",
    ]  # fmt: skip


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_do(tmp_path, shared_cache):
    with pytest.raises(train.DivergenceError, match="learning_rate"):
        run(tmp_path, shared_cache, steps=6, learning_rate=1e20, warmup_steps=0)


def test_a_caption_says_nothing_that_the_picture_is_not():
    config = TrainConfig(goal="healthy", dataset="phantom:1", out="x", caption_dropout=0.2, field_dropout=0.3)
    truth = Description("siemens", "MLO", "C", "small", LesionKind.MASS)
    rng = np.random.default_rng(0)
    said = [caption(Words(truth), rng, config) for _ in range(200)]
    assert 20 < sum(text == "" for text in said) < 65
    for text in said:
        if text:
            description = parse(text)
            assert description.lesion is LesionKind.MASS
            for name in ("vendor", "view", "density", "area"):
                assert getattr(description, name) in (None, getattr(truth, name))
    assert len(set(said)) > 15


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"goal": "healthy", "dataset": "phantom:4", "out": "x", "stepz": 3}, "stepz"),
        ({"goal": "cat", "dataset": "phantom:4", "out": "x"}, "goal"),
        ({"goal": "healthy", "dataset": "phantom:4", "out": "x", "batch": 0}, "batch"),
    ],
)
def test_a_wrong_option_is_named(options, told):
    with pytest.raises(MameError, match=told):
        TrainConfig.read(None, **options)


def test_a_wrong_data_set_leaves_no_run_behind(tmp_path):
    with pytest.raises(MameError, match="phantom:COUNT"):
        train.train(TrainConfig(**{**SMALL, "dataset": "nowhere"}, out=tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_a_run_folder_is_not_taken_twice_and_not_resumed_with_other_options(tmp_path):
    config = TrainConfig(**SMALL, out=tmp_path / "r")
    alone = train.open_accelerator(config, settle(config))
    train._open_run(config, False, alone)
    with pytest.raises(MameError, match="--resume"):
        train._open_run(config, False, alone)
    with pytest.raises(MameError, match=r"batch \(4 before, 8 now\)"):
        train._open_run(config.model_copy(update={"batch": 8}), True, alone)
    train._open_run(config.model_copy(update={"steps": 9}), True, alone)


def test_a_second_run_in_the_folder_of_one_at_work_is_refused(tmp_path):
    config = TrainConfig(**SMALL, out=tmp_path / "r")
    alone = train.open_accelerator(config, settle(config))
    with (
        train._held(config.out, alone),
        pytest.raises(MameError, match="another run is writing here"),
        train._held(config.out, alone),
    ):
        pass
    with train._held(config.out, alone):  # the first is done
        pass


def test_an_unprepared_source_is_refused(tmp_path):
    with pytest.raises(MameError, match="not a prepared data set"):
        open_examples(str(tmp_path), "views", 64)
    with pytest.raises(MameError, match="phantom:COUNT"):
        open_examples("phantom:many", "views", 64)
