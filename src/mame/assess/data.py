"""What was found, as data: `report.json`, what it was made from, and another report beside it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mame.assess import copies as copying
from mame.assess.features import reader
from mame.assess.figures import Figure
from mame.assess.lesions import Lesions
from mame.assess.pictures import Side, contents, counted
from mame.assess.run import Assessed
from mame.errors import MameError

VERSIONS = ("mam-e", "numpy", "scipy", "torch", "monai", "scikit-learn", "scikit-image", "PyWavelets", "SimpleITK")


def as_json(found: Assessed) -> dict[str, Any]:
    """The report as data: each figure is {value, low, high, floor, n}."""

    def figures(of: dict[str, Figure]) -> dict[str, Any]:
        return {name: figure.as_json() for name, figure in of.items()}

    adherence: dict[str, Any] = {}
    for one in found.adherence:
        adherence.setdefault(one.attribute, {})[one.judge] = one.as_json()
    said: dict[str, Any] = {
        "fidelity": figures(found.fidelity),
        "told_apart": {
            "auroc": found.told.auroc.as_json(),
            "power": found.told.power.as_json(),
            "has_power": found.told.has_power,
        },
        "variety": {
            **figures(found.variety.figures),
            **({"ms_ssim_by_guidance": figures(found.variety.guidance)} if found.variety.guidance else {}),
        },
        "adherence": {
            **adherence,
            "percent_density": figures(found.density),
            "density_rank_correlation": found.rank.as_json(),
            "reader_on_real": figures(found.reader),
            "reader_card": reader().card.get("measured", {}).get("real", {}),
        },
        "copies": None
        if found.copies is None
        else _copies_json(found.copies, found.embedded, found.embedded_controls) | {"identical": found.identical},
        "lesions": None if found.lesions is None else _lesions_json(found.lesions, figures),
        "means": {name: figures(part) for name, part in found.means.items()},
        "moved_most": [{"feature": name, "deviations": round(value, 3)} for name, value in found.moved],
        "counts": {
            "real": len(found.real.pictures),
            "synthetic": len(found.synthetic.pictures),
            "training": len(found.trained_on.pictures),
            "held_out": len(found.held_out.pictures),
            "words": {
                "real": counted(found.real.pictures),
                "synthetic": counted(found.synthetic.pictures),
            },
        },
        "left_out": {
            name: [{"picture": one, "reason": why} for one, why in getattr(found, name).left_out]
            for name in ("real", "synthetic", "trained_on", "held_out")
        },
        "notes": found.notes,
        "untested": found.untested,
        "provenance": provenance(found),
    }
    return said


def provenance(found: Assessed) -> dict[str, Any]:
    """What the report was made from and with."""
    return {
        "seed": found.order.seed,
        "reader": {"key": reader().key, **reader().card.get("training", {})},
        "versions": {name: _version(name) for name in VERSIONS} | {"python": platform.python_version()},
        "real": _folder_hash(found.sides.real),
        "synthetic": _folder_hash(found.sides.synthetic),
        "seconds": round(found.seconds, 1),
    }


def compare(now: dict[str, Any], baseline: Path) -> list[dict[str, Any]]:
    """The figures of two reports side by side: name, this value, the other's, and whether the intervals overlap."""
    try:
        other = json.loads(baseline.read_text())
        other["fidelity"]["frd"]["value"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MameError(f"{baseline}: is no report.json of mam-e assess ({error})") from error
    rows = []
    for section in ("fidelity", "told_apart", "variety", "copies", "lesions"):
        for name, figure in (now.get(section) or {}).items():
            then = (other.get(section) or {}).get(name)
            if then is None or not _is_figure(figure) or not _is_figure(then):
                continue
            rows.append({"section": section, "name": name, "value": figure, "baseline": then,
                         "overlap": _overlaps(figure, then)})  # fmt: skip
    return rows


def _is_figure(said: Any) -> bool:
    return isinstance(said, dict) and {"value", "low", "high", "floor", "n"} <= set(said)


def _overlaps(a: dict[str, Any], b: dict[str, Any]) -> bool | None:
    if None in (a["low"], a["high"], b["low"], b["high"]):
        return None
    return bool(a["low"] <= b["high"] and b["low"] <= a["high"])


def _copies_json(
    found: copying.Copies, embedded: Figure | None = None, embedded_controls: dict[str, float] | None = None
) -> dict[str, Any]:
    return {
        "excess_rate": found.excess.as_json(),
        "rate": found.rate.as_json(),
        "held_out_rate": found.held_out.as_json(),
        **({} if embedded is None else {"embedding_rate": embedded.as_json()}),
        "threshold": round(found.threshold, 4) if np.isfinite(found.threshold) else None,
        "threshold_from": "training" if found.among_themselves else "held_out",
        "controls": found.controls,
        **({} if embedded_controls is None else {"embedding_controls": embedded_controls}),
        "has_power": found.has_power,
        "worst": copying.worst(found),
    }


def _lesions_json(found: Lesions, figures: Callable[[dict[str, Figure]], Any]) -> dict[str, Any]:
    return {
        **figures(found.figures),
        "seam_of_copy_and_paste": found.pasted.as_json(),
        "copies": None if found.copied is None else _copies_json(found.copied),
    }


def _folder_hash(side: Side) -> dict[str, Any]:
    digest = hashlib.sha256()
    for picture in side.pictures:
        digest.update(bytes.fromhex(contents(picture)))
    return {"folder": side.folder.name, "pictures": len(side), "sha256": digest.hexdigest()}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
