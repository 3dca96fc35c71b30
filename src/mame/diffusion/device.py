"""Where a model runs: device, number format, memory layout and threads."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mame.cluster import usable_cores
from mame.diffusion.halved import halve
from mame.diffusion.upsampling import merge_doublings
from mame.errors import MameError

if TYPE_CHECKING:
    from mame.diffusion.mini import Parts

OPENVINO = "openvino"
CPU_INFO = Path("/proc/cpuinfo")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Compute:
    """Where a model runs. `dtype` is the U-Net's; of text encoder and autoencoder at most a part (halved.py)."""

    device: torch.device
    dtype: torch.dtype
    openvino: bool = False  # runs the U-Net, on the CPU

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return OPENVINO if self.openvino else str(self.device)

    @property
    def is_cpu(self) -> bool:
        """Whether it is the CPU, where a batch gains nothing."""
        return self.device.type == "cpu"


def choose_compute(device: str | None = None, dtype: str | None = None) -> Compute:
    """The device asked for, else a GPU, else the CPU; the fastest dtype it has units for, if none is asked for.

    device: a name torch knows, such as "cpu" or "cuda:1", or "openvino". dtype: float32, bfloat16 or float16.
    Raises MameError for a device that is not there and a dtype that is none of the three.
    """
    if dtype is not None and dtype not in DTYPES:
        raise MameError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}")
    place = _device("cpu" if device == OPENVINO else device)
    return Compute(place, DTYPES[dtype] if dtype else _fastest_dtype(place), openvino=device == OPENVINO)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(name)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise MameError(f"device {name!r} can't be used here: {reason}") from None
    return place


def _fastest_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and cpu_is_fast_in_bf16():
        return torch.bfloat16
    return torch.float32


def cpu_is_fast_in_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32: with AMX, or an AMD with AVX-512 BF16.

    An Intel without AMX, or where a virtual machine hides it, knows the instructions of AVX-512 BF16, too, but with
    them a picture of mini took 1.6 times as long as in float32.
    """
    try:
        about = CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        about = ""
    capabilities: Any = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        known = capabilities()
        about += f" {known.get('cpu_name', '')} " + " ".join(name for name, there in known.items() if there is True)
    return "amx_bf16" in about or ("avx512_bf16" in about and "AMD" in about)


def place(parts: Parts, compute: Compute) -> Parts:
    """Put a model's parts where they run, in the layout that they run fastest in; they can't be trained then."""
    halved = compute.dtype == torch.bfloat16 and halve(parts.autoencoder)
    if compute.is_cpu and not halved:
        merge_doublings(parts.autoencoder.decoder)
    for layer in parts.autoencoder.decoder.modules():
        if isinstance(layer, torch.nn.ReLU):  # of AutoencoderTiny, after a convolution or a sum that nobody else reads
            layer.inplace = True
    for module in (parts.text_encoder, parts.autoencoder):
        module.requires_grad_(False)
        module.to(compute.device)
    parts.autoencoder.to(memory_format=torch.channels_last)
    return replace(parts, unet=place_unet(parts.unet, compute))


def place_unet(unet: Any, compute: Compute) -> Any:
    """As :func:`place`, a U-Net alone."""
    if compute.openvino:
        from mame.diffusion.openvino import OpenVinoUNet

        return OpenVinoUNet(unet, compute.dtype, usable_threads())
    every_size_is_a_double = int(unet.config.sample_size) % 2 ** (len(unet.config.block_out_channels) - 1) == 0
    # faster where it was measured, in float32 on a CPU; slower in the halves on one that has no units for them
    if compute.is_cpu and compute.dtype == torch.float32 and every_size_is_a_double:
        merge_doublings(unet)
    unet.requires_grad_(False)
    unet.to(compute.device)
    # Module.to of the parent class: diffusers' own warns about an empty list of parts to keep in float32
    torch.nn.Module.to(unet, dtype=compute.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return unet


def usable_threads() -> int:
    """How many threads are worth running: torch's own choice, less what a container or an affinity mask withholds."""
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    return min(torch.get_num_threads(), usable_cores())
