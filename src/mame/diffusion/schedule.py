"""The noise schedule a model was trained with: read from its scheduler, told, and changed only when asked to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from mame.diffusion.config import Prediction, TrainConfig
from mame.errors import MameError

ZERO_SNR = 1e-6  # ᾱ below which the last step is pure noise


def signal_and_noise(scheduler: Any) -> tuple[Tensor, Tensor]:
    """(√ᾱ, √(1-ᾱ)) for every training timestep, each T, float32."""
    kept = scheduler.alphas_cumprod.double()
    return kept.sqrt().float(), (1.0 - kept).sqrt().float()


def snr_weights(scheduler: Any, timesteps: Tensor, gamma: float | None) -> Tensor:
    """Loss weights of min-SNR-γ (Hang 2023, eq. 8), B: min(SNR, γ)/SNR for epsilon, min(SNR, γ)/(SNR + 1) for v.

    All ones where gamma is None.
    """
    if gamma is None:
        return torch.ones_like(timesteps, dtype=torch.float32)
    kept = scheduler.alphas_cumprod.to(timesteps.device).double()[timesteps]
    snr = kept / (1.0 - kept)
    below = snr.clamp(max=gamma)
    kind = scheduler.config.prediction_type
    return (below / (snr + 1.0) if kind == "v_prediction" else below / snr).float()


def load_scheduler(folder: Path) -> Any:
    """The scheduler of a model folder, of its own class: what is trained is written with the same one.

    Raises MameError where there is none, for a class that diffusers does not have, and for one without a noise
    schedule to train on.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise MameError(f"{path}: is missing: without its scheduler nobody knows what the base predicts") from None
    except ValueError as error:
        raise MameError(f"{path}: is not JSON ({error})") from None
    name = str(said.get("_class_name"))
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if kind is None:
        raise MameError(f"{path}: a scheduler of class {name!r}, which diffusers does not have")
    scheduler = kind.from_config(said)
    if not hasattr(scheduler, "alphas_cumprod"):
        raise MameError(f"{path}: {name} has no noise schedule to train on")
    if prediction_of(scheduler) not in (Prediction.EPSILON, Prediction.V):
        raise MameError(f"{path}: predicts {prediction_of(scheduler)!r}; epsilon and v_prediction can be trained")
    return scheduler


def prediction_of(scheduler: Any) -> str:
    """What the U-Net predicts; configurations of 2022 don't say, and mean epsilon."""
    return str(scheduler.config.get("prediction_type", Prediction.EPSILON))


def clean_and_noise(seen: Tensor, said: Tensor, signal: Tensor, spread: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """(x₀, ε) that a prediction `said` about signal·x₀ + spread·ε = seen means, where kind is epsilon or v_prediction.

    All N×C×h×w, signal and spread of a shape that goes with them. v is signal·ε - spread·x₀ (arXiv 2202.00512).
    """
    if kind == Prediction.V:
        return signal * seen - spread * said, spread * seen + signal * said
    return (seen - spread * said) / signal, said


def has_zero_snr(scheduler: Any) -> bool:
    """Whether the last step is pure noise (arXiv 2305.08891), so that pictures may be as dark as air is."""
    return float(scheduler.alphas_cumprod[-1]) < ZERO_SNR


def changed_as_asked(scheduler: Any, config: TrainConfig) -> tuple[Any, list[str]]:
    """The scheduler to train with, and what was changed of the base's, in words: nothing that wasn't asked for.

    Raises MameError where zero terminal SNR meets a base that predicts epsilon: at pure noise epsilon says nothing
    about the picture.
    """
    told, before = [], prediction_of(scheduler)
    wanted = before if config.prediction is Prediction.AUTO else str(config.prediction)
    if config.zero_terminal_snr and wanted != Prediction.V:
        raise MameError(
            f"the base predicts {before}, and zero_terminal_snr needs v_prediction: add `prediction: v_prediction` "
            "(the base then learns to predict something else), or take offset_noise"
        )
    changes: dict[str, Any] = {}
    if wanted != before:
        changes["prediction_type"] = wanted
        told.append(f"the base predicted {before}: it learns {wanted}, as asked")
    if config.zero_terminal_snr and not has_zero_snr(scheduler):
        changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        told.append("the schedule now ends in pure noise (zero_terminal_snr), as asked")
    if not changes:
        return scheduler, told
    kind = type(scheduler)
    changed = kind.from_config(scheduler.config, **changes)
    if "rescale_betas_zero_snr" in changes and not has_zero_snr(changed):
        name = kind.__name__  # an older scheduler that knows nothing of it
        changed = diffusers.DPMSolverMultistepScheduler.from_config(  # type: ignore[no-untyped-call]
            scheduler.config, **changes
        )
        told.append(f"{name} can't do that: the model gets a DPMSolverMultistepScheduler")
    return changed, told
