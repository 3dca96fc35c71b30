"""The parts of mini, the embedded model, built from nothing: Stable Diffusion's own classes at small size.

The autoencoder's encoder is a closed form (PCA of 8×8 patches), so latents are fixed before any training starts.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mame.errors import MameError

PATCH = 8  # pixels of the image to one latent, along each side
LATENT_CHANNELS = 4
TOKENS = 24  # length of a tokenised prompt, start and end included
TEXT_WIDTH = 192
UNET_WIDTHS = (64, 128, 192, 256)
AUTOENCODER_WIDTH = PATCH * PATCH  # the encoder gathers one patch into the channels
GREY = (0.25, 0.5, 0.25)  # exact in fp16, and any three weights that sum to 1 keep a grey picture

BOS, EOS, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"
_WORDS = """a an the and or with without in on of to no not from for at by is very extremely almost entirely
    mammogram mammograms mammography image picture scan breast breasts view views cc mlo craniocaudal mediolateral
    oblique left right low medium high small big large tiny dense fatty scattered heterogeneously fat gland glandular
    density area share class a b c d birads pectoral muscle nipple skin implant tissue air
    lesion lesions mass masses suspicious calcification calcifications cluster clustered microcalcifications
    architectural distortion asymmetry round oval lobulated irregular spiculated circumscribed obscured indistinct
    cancer tumour tumor benign malignant finding findings healthy normal abnormal screening window patch local
    vendor siemens hologic ge fuji fujifilm philips gioto giotto ikonos ims planmed carestream lorad selenia mammomat
    novation inspiration senographe film digital synthetic phantom simulated real white black bright dark blurred sharp
    contrast quality noise x ray"""
WORDS = tuple(_WORDS.split())  # each is one token


@dataclass(slots=True)
class Parts:
    """What a Stable Diffusion model consists of."""

    tokenizer: Any
    text_encoder: Any
    autoencoder: Any
    unet: Any
    scheduler: Any


def new_mini(inpainting: bool = False, seed: int = 0) -> Parts:
    """All parts of mini with random weights (the encoder still has to be set by `set_linear_encoder`).

    `inpainting` gives the U-Net nine input channels: latents (4), mask (1), latents of the masked image (4).
    The same seed gives the same weights; torch's global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = build_tokenizer()
        return Parts(
            tokenizer=tokenizer,
            text_encoder=build_text_encoder(tokenizer),
            autoencoder=build_autoencoder(),
            unet=build_unet(inpainting),
            scheduler=build_scheduler(),
        )


def build_tokenizer() -> Any:
    """CLIP's byte-level BPE with a small vocabulary: every word in WORDS is one token, any other text its bytes."""
    letters = sorted(ByteLevel.alphabet())
    merges = _merges(sorted(set(WORDS)))
    symbols = [BOS, EOS, PAD, *letters, *(f"{letter}</w>" for letter in letters)]
    symbols += [left + right for left, right in merges]
    vocabulary = {symbol: number for number, symbol in enumerate(dict.fromkeys(symbols))}
    with TemporaryDirectory() as folder:  # the one way in that transformers 4 and 5 share
        Path(folder, "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
        Path(folder, "merges.txt").write_text("\n".join(lines), encoding="utf-8")
        return CLIPTokenizer.from_pretrained(
            folder, unk_token=EOS, bos_token=BOS, eos_token=EOS, pad_token=PAD, model_max_length=TOKENS
        )


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte pair encoding (Sennrich 2016) learnt from a word list until every word is one symbol."""
    spelled = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(symbols) > 1 for symbols in spelled):
        pairs = Counter(pair for symbols in spelled for pair in pairwise(symbols))
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spelled = [_merged(symbols, best) for symbols in spelled]
    return merges


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def build_text_encoder(tokenizer: Any) -> Any:
    """CLIP's text encoder, 3 layers of width 192, for that tokenizer."""
    model: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,  # 1: the value 2 would switch on CLIP's old wrong pooling
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    return model.eval()


def build_unet(inpainting: bool) -> Any:
    """A U-Net on 64×64 latents, cross-attention on its two lowest levels; 9 input channels for inpainting, else 4."""
    model: Any = UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=64,
        in_channels=2 * LATENT_CHANNELS + 1 if inpainting else LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=UNET_WIDTHS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,  # diffusers reads it as the number of heads
    )
    return model.eval()


def build_scheduler() -> Any:
    """DPM-Solver++ in 24 steps; v-prediction with a schedule that ends in pure noise (arXiv 2305.08891).

    Air is half of a mammogram: without zero terminal SNR the mean grey leaks through the last step.
    """
    return DPMSolverMultistepScheduler(  # type: ignore[no-untyped-call]
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
        steps_offset=1,  # unused by trailing steps; the stock pipelines rewrite any other value
    )


def build_autoencoder() -> Any:
    """AutoencoderTiny, 64 wide, 3 image channels in [-1, 1] to 4 latents at an eighth of the size.

    The encoder has few blocks, and none at full size: set to a linear map they do nothing, but cost time and room.
    """
    width = (AUTOENCODER_WIDTH,) * 4
    model: Any = AutoencoderTiny(  # type: ignore[no-untyped-call]
        encoder_block_out_channels=width,
        decoder_block_out_channels=width,
        num_encoder_blocks=(0, 0, 0, 0),  # it is linear (see `set_linear_encoder`), and blocks would do nothing
        num_decoder_blocks=(3, 3, 3, 1),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=1.0,
        shift_factor=0.0,
    )
    return model.eval()


def linear_encoder_weights(
    pictures: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """PCA of the 8×8 patches of pictures (N×H×W in [0, 1]): basis 4×64 (rows orthonormal), mean (4,), std (4,).

    The latents of a patch p (64 pixels, row by row) are (basis @ p - mean) / std: zero mean and unit variance over
    these pictures. H and W are cut to multiples of 8. Raises MameError for another shape or pictures of one grey.
    """
    if pictures.ndim != 3 or min(pictures.shape[1:]) < PATCH:
        raise MameError(f"pictures must be N×H×W with at least {PATCH} pixels a side, not {pictures.shape}")
    count, total, products = 0, np.zeros(PATCH**2), np.zeros((PATCH**2, PATCH**2))
    for picture in pictures:  # one at a time: the patches of all pictures in float64 would not fit in memory
        patches = patches_of(picture)
        count += len(patches)
        total += patches.sum(axis=0)
        products += patches.T @ patches
    average = total / count
    covariance = products / count - np.outer(average, average)
    variances, vectors = np.linalg.eigh(covariance)
    basis = vectors[:, ::-1][:, :LATENT_CHANNELS].T
    # an eigenvector's sign is LAPACK's whim: bright is positive, and so is brighter to the lower right
    basis = basis * np.where(basis @ np.arange(1, PATCH**2 + 1) < 0, -1.0, 1.0)[:, None]
    std = np.sqrt(np.maximum(variances[::-1][:LATENT_CHANNELS], 0.0))
    if std[0] < 1e-6:
        raise MameError("the pictures are all of one grey: there is nothing to learn an encoder from")
    return basis, basis @ average, np.maximum(std, 1e-4)


def patches_of(picture: NDArray[np.float32]) -> NDArray[np.float64]:
    """The 8×8 patches of an H×W picture, as (H/8 · W/8)×64 float64, row by row."""
    rows, columns = picture.shape[0] // PATCH, picture.shape[1] // PATCH
    tiles = picture[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH)
    return tiles.transpose(0, 2, 1, 3).reshape(-1, PATCH**2).astype(np.float64)


def set_linear_encoder(
    autoencoder: Any, basis: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> None:
    """Set an AutoencoderTiny (64 wide) so that it encodes a grey picture to (basis @ patch - mean) / std, exactly.

    Three stride-2 convolutions sort the pixels of a patch into channels (space to depth), blocks, where there are any,
    do nothing, and the last convolution is the PCA. Grey values are >= 0, so they pass every ReLU.
    Also starts the decoder at the blurred inverse (see `start_decoder`).
    """
    convolutions = [layer for layer in autoencoder.encoder.layers if isinstance(layer, torch.nn.Conv2d)]
    blocks = [layer for layer in autoencoder.encoder.layers if not isinstance(layer, torch.nn.Conv2d)]
    last: Any
    first, *gathers, last = convolutions
    if len(gathers) != 3 or last.in_channels < PATCH**2 or last.out_channels != LATENT_CHANNELS:
        raise MameError("the linear encoder needs an AutoencoderTiny with 3 halvings, 64 channels and 4 latents")
    with torch.no_grad():
        for convolution in convolutions:
            convolution.weight.zero_()
            if convolution.bias is not None:
                convolution.bias.zero_()
        for block in blocks:
            block.conv[-1].weight.zero_()
            block.conv[-1].bias.zero_()
        first.weight[0, :, 1, 1] = torch.tensor(GREY)
        for level, gather in enumerate(gathers):
            for channel in range(4 ** (level + 1)):
                dy, dx, source = channel // 2 % 2, channel % 2, channel // 4
                gather.weight[channel, source, 1 + dy, 1 + dx] = 1.0  # padding 1: taps 1 and 2 see pixels 2i and 2i+1
        order = [_pixel_of(channel) for channel in range(PATCH**2)]
        weights = torch.from_numpy(basis / std[:, None])[:, order]
        last.weight[:, : PATCH**2, 1, 1] = weights.to(last.weight)
        last.bias.copy_(torch.from_numpy(-mean / std).to(last.bias))
    start_decoder(autoencoder, basis, mean, std)


def _pixel_of(channel: int) -> int:
    """Which pixel of a patch (row by row) ends in this channel of the third gathering; the first one is the finest."""
    fine, middle, coarse = channel // 16 % 4, channel // 4 % 4, channel % 4
    y = fine // 2 + 2 * (middle // 2) + 4 * (coarse // 2)
    x = fine % 2 + 2 * (middle % 2) + 4 * (coarse % 2)
    return y * PATCH + x


def start_decoder(
    autoencoder: Any, basis: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> None:
    """Start an AutoencoderTiny's decoder where it gives each patch's mean grey, linearly interpolated.

    Channel 0 carries that picture through quiet blocks; the other channels are random and add little at first, so
    training starts at a sensible blur, not at noise. Nearest upsampling, then (1, 2, 1)/4, is linear interpolation.
    """
    layers = list(autoencoder.decoder.layers)
    convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    first: Any
    last: Any
    first, *middle, last = convolutions
    brightness = basis.mean(axis=1)  # how much a unit of each component adds to the patch's mean grey
    kernel = torch.tensor([0.25, 0.5, 0.25])
    with torch.no_grad():
        for block in (layer for layer in layers if hasattr(layer, "fuse")):
            block.conv[-1].weight.mul_(0.1)
            block.conv[-1].bias.zero_()
            block.conv[-1].weight[0].zero_()
        _carry_nothing_else(first)
        first.weight[0, :, 1, 1] = torch.from_numpy(brightness * std).to(first.weight)
        first.bias[0] = float(brightness @ mean)
        for convolution in middle:
            _carry_nothing_else(convolution)
            convolution.weight[0, 0] = torch.outer(kernel, kernel)
        last.weight.mul_(0.02)
        last.bias.zero_()
        last.weight[:, 0] = 0.0
        last.weight[:, 0, 1, 1] = 1.0


def _carry_nothing_else(convolution: Any) -> None:
    """Kaiming weights for ReLU, and output channel 0 silent."""
    torch.nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    convolution.weight[0].zero_()
    if convolution.bias is not None:
        convolution.bias.zero_()
