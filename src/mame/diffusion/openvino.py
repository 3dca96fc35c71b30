"""A U-Net run by OpenVINO instead of torch, on a CPU (extra `openvino`; device "openvino").

Measured faster a step than torch in the same number format (benchmarks/unet_engines.py), after some
seconds more to open a model: for cohorts and the studio, not for one picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mame.errors import MameError

HINTS = {torch.bfloat16: "bf16", torch.float32: "f32"}


class OpenVinoUNet:
    """Called as a diffusers U-Net is; compiled anew for each batch size that it meets, which takes a second.

    dtype: bfloat16 or float32; threads: how many it may use. Raises MameError where OpenVINO isn't installed.
    """

    def __init__(self, unet: Any, dtype: torch.dtype, threads: int) -> None:
        try:
            from openvino import Core  # type: ignore[attr-defined]
            from openvino.frontend import FrontEndManager  # type: ignore[attr-defined]
            from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
        except ImportError:
            raise MameError("device openvino is not installed: pip install 'mam-e[openvino]'") from None
        if dtype not in HINTS:
            raise MameError("device openvino computes in bfloat16 or float32")
        self.config = unet.config
        self._hints = {"INFERENCE_PRECISION_HINT": HINTS[dtype], "INFERENCE_NUM_THREADS": threads}
        self._core = Core()
        side, channels = int(unet.config.sample_size), int(unet.config.in_channels)
        text = torch.zeros(2, 77, int(unet.config.cross_attention_dim))
        given = (torch.zeros(2, channels, side, side), torch.tensor(1.0), text)
        # not openvino.convert_model, which tells its maker of every conversion
        frontend = FrontEndManager().load_by_framework("pytorch")
        with torch.no_grad():
            decoder = TorchScriptPythonDecoder(Plain(unet.float().eval()), example_input=given)  # type: ignore[no-untyped-call]
            self._converted = frontend.convert(frontend.load(decoder))
        self._runs: dict[tuple[int, ...], Any] = {}

    def __call__(
        self, sample: Tensor, timestep: Tensor | float, encoder_hidden_states: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """What the U-Net predicts, (N, c, h, w) float32, in a tuple. return_dict: always taken as False."""
        text = encoder_hidden_states.float().numpy()
        given = [sample.float().contiguous().numpy(), np.array(float(timestep), np.float32), text]
        shape = (*sample.shape, *text.shape)
        if shape not in self._runs:
            self._runs[shape] = self._compiled([list(one.shape) for one in given])
        return (torch.from_numpy(next(iter(self._runs[shape].infer(given).values())).copy()),)

    def _compiled(self, shapes: list[list[int]]) -> Any:
        model = self._converted.clone()
        model.reshape(dict(enumerate(shapes)))
        return self._core.compile_model(model, "CPU", self._hints).create_infer_request()


class Plain(torch.nn.Module):
    """A U-Net as a function of three tensors."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """What it predicts, (N, c, h, w), of noisy latents (N, c, h, w), a time step and embedded words (N, n, d)."""
        said: Tensor = self.unet(sample, timestep, encoder_hidden_states=text, return_dict=False)[0]
        return said
