import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mame import prompt
from mame.dataset.examples import open_examples
from mame.diffusion import latent, mini
from mame.diffusion.model import load_autoencoder
from mame.errors import MameError
from mame.mammogram import Area, Density, Description, LesionKind, View

from .small_mini import breast_picture


@pytest.fixture(scope="module")
def tokenizer():
    return mini.build_tokenizer()


def test_every_word_of_the_language_is_one_token(tokenizer):
    for word in mini.WORDS:
        assert len(tokenizer(word).input_ids) == 3, word
    description = Description("hologic", View.MLO, Density.D, Area.BIG, LesionKind.CALCIFICATIONS)
    for priority in prompt.Priority:
        text = prompt.write(description, priority)
        assert len(tokenizer(text).input_ids) == len(text.split()) + 2
        assert len(tokenizer(text).input_ids) <= mini.TOKENS


@given(text=st.text(max_size=60))
@settings(max_examples=50, deadline=None)
def test_any_text_encodes_to_known_tokens(tokenizer, text):
    ids = tokenizer(text, padding="max_length", truncation=True).input_ids
    assert len(ids) == mini.TOKENS
    assert ids[0] == tokenizer.bos_token_id
    plain = tokenizer(text, add_special_tokens=False).input_ids
    if "<|" not in text:  # the names of the special tokens are words like any other only in theory
        assert tokenizer.unk_token_id not in plain


def test_letter_case_does_not_matter(tokenizer):
    assert tokenizer("A Mammogram in MLO view").input_ids == tokenizer("a mammogram in mlo view").input_ids


def test_text_encoder_pools_at_the_end_token(tokenizer):
    encoder = mini.build_text_encoder(tokenizer)
    tokens = tokenizer("a mammogram", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        said = encoder(tokens)
    assert said.last_hidden_state.shape == (1, mini.TOKENS, mini.TEXT_WIDTH)
    assert torch.equal(said.pooler_output[0], said.last_hidden_state[0, 3])  # start, a, mammogram, end


def test_linear_encoder_equals_the_closed_form():
    pictures = np.stack([breast_picture((128, 96), seed) for seed in range(5)])
    basis, mean, std = mini.linear_encoder_weights(pictures)
    autoencoder = mini.build_autoencoder()
    mini.set_linear_encoder(autoencoder, basis, mean, std)
    with torch.no_grad():
        latents = latent.encode(autoencoder, torch.from_numpy(pictures)).numpy()
    expected = np.stack([(mini.patches_of(picture) @ basis.T - mean) / std for picture in pictures])
    expected = expected.reshape(5, 16, 12, 4).transpose(0, 3, 1, 2)
    assert np.abs(latents - expected).max() < 1e-5
    assert np.abs(latents.mean(axis=(0, 2, 3))).max() < 1e-4
    assert np.abs(latents.std(axis=(0, 2, 3)) - 1).max() < 1e-3
    assert np.allclose(basis @ basis.T, np.eye(4), atol=1e-9)


def test_decoder_starts_at_a_blurred_inverse():
    pictures = np.stack([breast_picture((128, 128), seed) for seed in range(4)])
    autoencoder = mini.build_autoencoder()
    mini.set_linear_encoder(autoencoder, *mini.linear_encoder_weights(pictures))
    with torch.no_grad():
        given = torch.from_numpy(pictures)
        back = latent.decode(autoencoder, latent.encode(autoencoder, given)).numpy()
    assert 10 * np.log10(1 / np.mean((back - pictures) ** 2)) > 18


@pytest.mark.parametrize("pictures", [np.zeros((2, 4, 4)), np.zeros((16, 16)), np.full((2, 16, 16), 0.5)])
def test_nothing_to_learn_from_is_refused(pictures):
    with pytest.raises(MameError):
        mini.linear_encoder_weights(pictures.astype(np.float32))


def test_another_autoencoder_is_refused():
    from diffusers import AutoencoderTiny

    narrow = AutoencoderTiny(encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4)
    with pytest.raises(MameError, match="64 channels"):
        mini.set_linear_encoder(narrow, np.zeros((4, 64)), np.zeros(4), np.ones(4))


def test_the_same_seed_gives_the_same_weights():
    state = torch.random.get_rng_state()
    one, two = mini.new_mini(seed=3), mini.new_mini(seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    for a, b in zip(one.unet.parameters(), two.unet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_both_models_fit_into_a_wheel():
    parts, unet = mini.new_mini(), mini.build_unet(inpainting=True)
    modules = (parts.text_encoder, parts.autoencoder, parts.unet, unet)
    assert 2 * sum(p.numel() for module in modules for p in module.parameters()) < 94e6


def test_schedule_ends_in_pure_noise():
    scheduler = mini.build_scheduler()
    assert float(scheduler.alphas_cumprod[-1]) < 1e-6
    scheduler.set_timesteps(24)
    assert int(scheduler.timesteps[0]) == 999
    assert float(scheduler.sigmas[-1]) == 0.0


def test_a_large_picture_is_decoded_in_tiles_and_shows_no_seam(monkeypatch):
    autoencoder = load_autoencoder("mini")
    picture = torch.from_numpy(open_examples("phantom:1:5", "views", 576)[0].pixels)[None]
    monkeypatch.setattr(latent, "LARGE", 71)
    with torch.inference_mode():
        latents = latent.encode(autoencoder, picture)
        tiled = latent.decode(autoencoder, latents)
        assert not autoencoder.use_tiling
        monkeypatch.setattr(latent, "LARGE", 72)
        whole = latent.decode(autoencoder, latents)
    assert tiled.shape == whole.shape == (1, 576, 576)
    assert not torch.equal(tiled, whole)
    assert float((tiled - whole).abs().max()) < 0.01
