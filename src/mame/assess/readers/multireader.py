"""Several readers, one or two modalities: the analysis of Obuchowski and Rockette, readers and cases random.

Obuchowski & Rockette (Commun Stat Simul 1995) with the degrees of freedom of Hillis (Stat Med 2007); areas are
empirical and covariances DeLong's: Cov1, same reader and another modality; Cov2, another reader and the same
modality; Cov3, both others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mame.assess.readers.roc import Areas, Estimate, Floats, interval
from mame.errors import MameError


@dataclass(frozen=True)
class Components:
    """Variance components of the areas and the mean squares they come from. Reader components may come out negative."""

    reader: float
    modality_reader: float
    error: float
    cov1: float
    cov2: float
    cov3: float
    ms_modality: float
    ms_reader: float
    ms_modality_reader: float


@dataclass(frozen=True)
class Comparison:
    """First modality minus second over all readers; F with its degrees of freedom, and the two-sided p."""

    difference: Estimate
    f: float
    df1: float
    df2: float
    p: float
    means: tuple[Estimate, Estimate]
    components: Components


@dataclass(frozen=True)
class Average:
    """The readers' mean area in one modality, and the degrees of freedom of its interval."""

    area: Estimate
    df: float


def average(areas: Areas, level: float = 0.95) -> Average:
    """The mean area of R readers of the same cases. areas: of the R readers.

    Variance (MS(R) + max(R · Cov2, 0)) / R on Hillis's degrees of freedom. Raises MameError for a single reader.
    """
    count = len(areas.auc)
    if count < 2:
        raise MameError("an average over readers needs at least 2 of them")
    between = float(np.var(areas.auc, ddof=1))
    shared = max(count * _off_diagonal_mean(areas.covariance), 0.0)
    total = between + shared
    df = total**2 / (between**2 / (count - 1)) if between > 0 else np.inf
    return Average(interval(float(areas.auc.mean()), float(np.sqrt(total / count)), df, level), df)


def compare(areas: Areas, readers: int, level: float = 0.95) -> Comparison:
    """Compare two modalities read by the same readers on the same cases.

    areas: 2R of them, the R readers in the first modality, then the same readers in the second. Raises MameError where
    that isn't so.
    """
    if readers < 2 or len(areas.auc) != 2 * readers:
        raise MameError(
            f"needs 2 modalities read by the same 2 or more readers, got {len(areas.auc)} for {readers} readers"
        )
    theta = areas.auc.reshape(2, readers)
    by_modality, by_reader, overall = theta.mean(axis=1), theta.mean(axis=0), theta.mean()
    ms_modality = readers * float(((by_modality - overall) ** 2).sum())
    ms_reader = 2 * float(((by_reader - overall) ** 2).sum()) / (readers - 1)
    rest = theta - by_modality[:, None] - by_reader[None] + overall
    ms_both = float((rest**2).sum()) / (readers - 1)
    error, cov1, cov2, cov3 = _covariances(areas.covariance, readers)
    shared = max(readers * (cov2 - cov3), 0.0)
    denominator = ms_both + shared
    if denominator <= 0:
        raise MameError("the readers' areas don't differ at all: there is no variance to test against")
    f = ms_modality / denominator
    df2 = denominator**2 / (ms_both**2 / (readers - 1)) if ms_both > 0 else np.inf
    p = float(stats.f.sf(f, 1, df2)) if np.isfinite(df2) else float(stats.chi2.sf(f, 1))
    gap = interval(
        float(by_modality[0] - by_modality[1]), float(np.sqrt(2.0 / readers * denominator)), df2, level, (-1.0, 1.0)
    )
    components = Components(
        reader=(ms_reader - ms_both) / 2 - cov1 + cov3,
        modality_reader=ms_both - error + cov1 + max(cov2 - cov3, 0.0),
        error=error, cov1=cov1, cov2=cov2, cov3=cov3,
        ms_modality=ms_modality, ms_reader=ms_reader, ms_modality_reader=ms_both,
    )  # fmt: skip
    first, second = (
        average(Areas(areas.auc[part], areas.covariance[part, part]), level).area
        for part in (slice(0, readers), slice(readers, 2 * readers))
    )
    return Comparison(gap, f, 1.0, df2, p, (first, second), components)


def _covariances(covariance: Floats, readers: int) -> tuple[float, float, float, float]:
    """(error variance, Cov1, Cov2, Cov3), each the mean over its places in the 2R×2R matrix."""
    blocks = covariance.reshape(2, readers, 2, readers)
    error = float(np.mean(np.diag(covariance)))
    across = blocks[0, :, 1, :]
    cov1 = float(np.mean(np.diag(across)))
    cov2 = float(np.mean([_off_diagonal_mean(blocks[i, :, i, :]) for i in (0, 1)]))
    return error, cov1, cov2, _off_diagonal_mean(across)


def _off_diagonal_mean(square: Floats) -> float:
    size = len(square)
    return float((square.sum() - np.trace(square)) / (size * (size - 1)))
