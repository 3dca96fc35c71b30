"""A mini small enough for tests: the same classes and layout, 64² pictures, random U-Net."""

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from scipy import ndimage

from mame.diffusion import mini

SIZE = 64


def breast_picture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A left breast: a half ellipse on the left edge with cloudy texture in it, air exactly 0."""
    rng = np.random.default_rng(seed)
    height, width = shape
    y, x = np.mgrid[:height, :width]
    inside = ((x / (0.75 * width)) ** 2 + ((y - height / 2) / (0.42 * height)) ** 2) < 1
    cloud = ndimage.gaussian_filter(rng.standard_normal(shape), height / 40)
    grey = 0.45 + 0.1 * cloud / cloud.std() + 0.02 * rng.standard_normal(shape)
    return np.where(inside, np.clip(grey, 0.15, 0.95), 0.0).astype(np.float32)


def small_parts(inpainting: bool) -> mini.Parts:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        parts = mini.new_mini(inpainting, seed=1)
        parts.unet = UNet2DConditionModel(
            sample_size=SIZE // 8,
            in_channels=9 if inpainting else 4,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=mini.TEXT_WIDTH,
            attention_head_dim=4,
        ).eval()
    pictures = np.stack([breast_picture((128, 128), seed) for seed in range(4)])
    mini.set_linear_encoder(parts.autoencoder, *mini.linear_encoder_weights(pictures))
    return parts
