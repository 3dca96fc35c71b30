"""Which number format a processor is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mame.diffusion import device
from mame.diffusion.device import choose_compute

AMD = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16\n"
INTEL = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16\n"
WITH_AMX = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16\n"
OLD_AMD = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2\n"


@pytest.mark.parametrize(
    ("about", "dtype"),
    [(AMD, torch.bfloat16), (INTEL, torch.float32), (WITH_AMX, torch.bfloat16), (OLD_AMD, torch.float32)],
)
@pytest.mark.parametrize("told_by", ["file", "torch"])
def test_bfloat16_is_for_processors_that_are_fast_in_it(
    about: str, dtype: torch.dtype, told_by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On Linux a file tells; elsewhere, where there is none, torch does."""
    told = tmp_path / "cpuinfo"
    if told_by == "file":
        told.write_text(about)
    monkeypatch.setattr(device, "CPU_INFO", told)
    name = "AMD EPYC" if "AMD" in about else "Intel Xeon"
    known = {"cpu_name": name, **{flag: flag in about for flag in ("avx512_bf16", "amx_bf16")}, "num_sockets": 1}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known if told_by == "torch" else {}, raising=False)
    assert choose_compute("cpu").dtype == dtype
    assert choose_compute("cpu", "bfloat16").dtype == torch.bfloat16  # who asks for it gets it
