"""The size of a pixel where no file says it: scanned film and most JPEGs."""

from __future__ import annotations

from mame.mammogram import Mammogram, SpacingOrigin

FILM_SIDE_MM = 240.0


def assume_spacing(mammogram: Mammogram) -> Mammogram:
    """The record with a pixel spacing: its own where it has one, else that of a film whose longer side is 24 cm.

    Films are 18 × 24 or 24 × 30 cm, so the truth lies within about a quarter; the record says `assumed`.
    """
    if mammogram.spacing_mm is not None:
        return mammogram
    spacing = FILM_SIDE_MM / max(mammogram.shape)
    return mammogram.with_(spacing_mm=spacing, spacing_origin=SpacingOrigin.ASSUMED)
