"""Distances between two sets of features, and how much of one the other covers: pure functions of two matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]

NEIGHBOURS = 5


def frechet(a: Floats, b: Floats) -> float:
    """Squared Fréchet distance of the Gaussians that fit two sets of features, N×F and M×F (Dowson and Landau 1982).

    |μa − μb|² + tr(A + B − 2·√(A·B)), with the unbiased covariances A and B. The trace of the root is the sum of the
    singular values of Xa·Xbᵀ, X the centred features over √(n−1): exact, also where n is smaller than F, and no larger
    than N×M.
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    off = a.mean(axis=0) - b.mean(axis=0)
    left, right = ((part - part.mean(axis=0)) / np.sqrt(len(part) - 1) for part in (a, b))
    between = _small(left) @ _small(right).T
    common = linalg.svdvals(between).sum()
    return float(off @ off + (left**2).sum() + (right**2).sum() - 2 * common)


def _small(centred: Floats) -> Floats:
    """A matrix with the same Gram matrix of columns (XᵀX) and at most F rows."""
    if centred.shape[0] <= centred.shape[1]:
        return centred
    return np.asarray(linalg.qr(centred, mode="r", overwrite_a=False)[0][: centred.shape[1]])


def kernel_distance(a: Floats, b: Floats) -> float:
    """KID: squared maximum mean discrepancy, unbiased, kernel (x·y/F + 1)³ (Bińkowski 2018, arXiv 1801.01401)."""
    return kernel_distance_of(kernel(a, a), kernel(b, b), kernel(a, b))


def kernel(a: Floats, b: Floats) -> Floats:
    """(x·y/F + 1)³ of every pair, N×M."""
    return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)


def kernel_distance_of(aa: Floats, bb: Floats, ab: Floats) -> float:
    """The same from the kernels within and between."""
    n, m = len(aa), len(bb)
    if min(n, m) < 2:
        return float("nan")
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * ab.mean())


@dataclass(frozen=True)
class Coverage:
    """How two sets lie in one another, each in [0, 1] but density, which can be more.

    precision: synthetic ones within reach of a real one; recall: real ones within reach of a synthetic one
    (Kynkäänniemi 2019, arXiv 1904.06991). density: how many real ones reach a synthetic one, over k; coverage: real
    ones that reach any synthetic one (Naeem 2020, arXiv 2002.09797).
    """

    precision: float
    recall: float
    density: float
    coverage: float


def coverage(real: Floats, synthetic: Floats, neighbours: int = NEIGHBOURS) -> Coverage:
    """Reach of a point: as far as its k-th neighbour in its own set. real: N×F, synthetic: M×F, both longer than k."""
    return coverage_of(cdist(real, real), cdist(synthetic, synthetic), cdist(real, synthetic), neighbours)


def coverage_of(real: Floats, synthetic: Floats, between: Floats, neighbours: int = NEIGHBOURS) -> Coverage:
    """The same from distances N×N, M×M and N×M."""
    k = min(neighbours, len(real) - 1, len(synthetic) - 1)
    if k < 1:
        return Coverage(*[float("nan")] * 4)
    of_real = np.partition(real, k, axis=1)[:, k]
    of_synthetic = np.partition(synthetic, k, axis=1)[:, k]
    reached = between < of_real[:, None]
    return Coverage(
        precision=float(reached.any(axis=0).mean()),
        recall=float((between < of_synthetic[None, :]).any(axis=1).mean()),
        density=float(reached.sum() / (k * len(synthetic))),
        coverage=float(reached.any(axis=1).mean()),
    )
