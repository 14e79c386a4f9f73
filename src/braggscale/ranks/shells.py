"""Mean intensities in shells of resolution, as data/normalised_intensities.py has them, from sums over all ranks."""

from __future__ import annotations

import numpy as np

from braggscale.data.normalised_intensities import mean_at, n_shells
from braggscale.numerics.array_types import Float
from braggscale.numerics.compiled import crystal_outliers as kernels
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.means import RankData, ratio


def local_means(data: RankData, intensity: Float) -> Float:
    """epsilon times the mean of I/epsilon at the resolution of each reflection, (n_reflections,).

    ``intensity``: I_h, not negative, (n_reflections,).
    """
    counts = data.reflections.counts.reshape(-1, 2).sum(axis=1)
    edges = np.linspace(*_range(float(data.s.min()), float(data.s.max())), n_shells(int(counts.sum())) + 1)
    shell = np.clip(np.searchsorted(edges, data.s, side="right") - 1, 0, len(edges) - 2)
    n = len(edges) - 1
    weights: Float = counts * intensity / data.reflections.epsilon
    total = np.bincount(shell, weights, n).astype(np.float64)
    members = np.bincount(shell, counts, n).astype(np.float64)
    return _at_reflections(data, edges, total, members)


def row_means(data: RankData, crystals: CrystalScales) -> Float:
    """The mean of max(I/g, 0)/epsilon over all rows at the resolution of each reflection, (n_reflections,)."""
    rows = data.rows
    ends = np.array([rows.s.min(initial=np.inf), -rows.s.max(initial=-np.inf)])
    low, minus_high = data.ranks.allreduce(ends, "min").tolist()
    n = int(data.reflections.counts.sum())
    edges = np.linspace(*_range(low, -minus_high), n_shells(n) + 1)
    per_shell = (len(edges) - 1) / (edges[-1] - edges[0])
    everything, epsilon = np.full(len(edges) - 1, n, np.int64), data.reflections.epsilon
    sums = data.sums.collect(
        "shells", everything, 2,
        lambda found: kernels.shell_sums(
            0, rows.n_crystals, rows.arrays(), crystals.arrays(), epsilon, edges[0], per_shell, found
        ),
    )  # fmt: skip
    return _at_reflections(data, edges, sums[:, 0], sums[:, 1])


def _range(low: float, high: float) -> tuple[float, float]:
    margin = 1e-6 * (high - low) or 1e-6 * high
    return low - margin, high + margin


def _at_reflections(data: RankData, edges: Float, total: Float, members: Float) -> Float:
    """Means of shells, (n_shells,), at the resolution of each reflection, (n_reflections,); 0 where there is none.

    ``edges``: of the shells, in s = 1/(2 d^2), (n_shells + 1,).
    """
    roots = np.sqrt(np.maximum(2.0 * edges, 0.0))
    centre, good = 0.5 * (roots[1:] + roots[:-1]), total > 0
    if not good.any():
        return np.zeros(len(data.s))
    means = ratio(np.stack((total, members), axis=1))[good]
    return mean_at(np.sqrt(2.0 * data.s), centre[good], means)
