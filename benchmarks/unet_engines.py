"""Would another engine run mini's U-Net faster than torch here? One guided step, side by side.

    pip install '.[openvino]'; python benchmarks/unet_engines.py [--runs 8]

What MAM-E runs, the same compiled, and OpenVINO, which is left out where it isn't installed. A picture is 24 such steps
and one decoding. Errors are the largest differences from float32, of an output of unit variance.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from speed import machine, timed

import mame
from mame.diffusion.openvino import Plain
from mame.errors import MameError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8)
    options = parser.parse_args()
    model = mame.load_model("mini")
    stock = Plain(UNet2DConditionModel.from_pretrained(mame.model_folder("mini") / "unet").float().eval())
    torch.manual_seed(0)
    given = (torch.randn(2, 4, 64, 64), torch.tensor(500.0), torch.randn(2, 77, stock.unet.config.cross_attention_dim))
    with torch.inference_mode():
        wanted = stock(*given)
    dtype = model.compute.dtype
    halves = (
        given[0].to(dtype, memory_format=torch.channels_last), given[1], given[2].to(dtype),
    )  # fmt: skip
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "stock, float32": lambda: stock(*given),
        f"MAM-E, {dtype}".replace("torch.", ""): lambda: Plain(model.parts.unet)(*halves),
    }
    began = time.perf_counter()
    compiled = torch.compile(Plain(model.parts.unet))
    with torch.inference_mode():
        compiled(*halves)
    took = time.perf_counter() - began
    ways[f"the same compiled ({took:.0f} s beforehand)"] = lambda: compiled(*halves)
    ways |= {name: lambda way=way: way(*given) for name, way in openvino().items()}  # type: ignore[misc]
    print(f"{machine()}\n\n| one guided step | seconds | largest error |\n| --- | --- | --- |")
    with torch.inference_mode():
        for name, way in ways.items():
            way()
            seconds = statistics.median(timed(way, options.runs))
            print(f"| {name} | {seconds:.3f} | {float((way().float() - wanted).abs().max()):.3f} |")


def openvino() -> dict[str, Callable[..., torch.Tensor]]:
    """OpenVINO's runs of the U-Net, by name."""
    try:
        return {
            f"MAM-E on OpenVINO, {dtype}": Plain(mame.load_model("mini", device="openvino", dtype=dtype).parts.unet)
            for dtype in ("bfloat16", "float32")
        }
    except MameError as error:
        print(f"left out: {error}", file=sys.stderr)
        return {}


if __name__ == "__main__":
    main()
