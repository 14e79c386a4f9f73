"""The largest weight that a row may have in the outlier test: ten times the median of its reflection, from counts.

The median of w = g^2/V' of rows that no rank has all of is searched for in ln w: the range from the smallest to the
largest is divided into sixteen parts, the rows in each are counted over all ranks, and the part with the median is
divided again. In the end the rows next to its ends decide: where the part holds one row, the median is exact.
"""

from __future__ import annotations

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import crystal_outliers as kernels
from braggscale.numerics.compiled.outliers import CAP
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.means import RankData
from braggscale.weighting.error_model import ErrorModel

PARTS, TIMES = 16, 5


def most_weights(data: RankData, crystals: CrystalScales, errors: ErrorModel, mean: Float, tested: Bool) -> Float:
    """Ten times the median of g^2/V' of all rows of a group, by place, (2 n_reflections,); infinite where no row is.

    ``mean``: I_h for V', ``tested``: groups that are of interest, by place, (2 n_reflections,) each.
    """
    passed = 0, data.rows.n_crystals, data.rows.arrays(), crystals.arrays(), errors.terms, data.apart, mean
    where = np.flatnonzero(tested)

    def limits(edge: Float) -> tuple[Float, Float]:
        """The largest ln w up to the first edge, and the smallest beyond the second, by place."""
        found = np.full((len(mean), 2), -np.inf)
        kernels.weight_limits(*passed, edge, found)
        found[where] = data.ranks.allreduce(found[where], "max")
        return found[:, 0], -found[:, 1]

    edge = np.full((len(mean), 2), [-np.inf, np.inf])
    edge[where] = np.inf, -np.inf
    high, low = limits(edge)
    good = tested & (high > low)
    # just below the smallest, so that it is in the first part
    low = np.where(good, low - 1e-9 * (high - low), 0.0)
    width = np.where(good, (high - low) / PARTS * (1.0 + 1e-9), 0.0)
    rank, total = (data.counts[where] - 1) // 2, np.zeros(len(where), np.int64)  # of the lower of the two middle rows
    for turn in range(TIMES):
        counts = np.zeros((len(mean), PARTS), np.int32)
        kernels.weight_histogram(*passed, low, width, counts)
        part, rank, total = _part_of(data.ranks.allreduce(counts[where]), rank)
        low[where] += part * width[where]
        width = width / (PARTS if turn < TIMES - 1 else 1)
    edge[where] = (low + width)[where, None]
    below, beyond = limits(edge)
    middle = np.where(good, below, high)
    even = good.copy()
    even[where] &= (data.counts[where] % 2 == 0) & (rank + 1 >= total)
    most = np.full(len(mean), np.inf)
    most[where] = CAP * 0.5 * (np.exp(middle[where]) + np.exp(np.where(even, beyond, middle)[where]))
    return most


def _part_of(counts: Int, rank: Int) -> tuple[Int, Int, Int]:
    """In which part the row of a rank is, its rank in there, and the rows in there, (k,) each.

    ``counts``: of rows in each part, (k, n_parts).  ``rank``: from 0, (k,).
    """
    below = np.cumsum(counts, axis=1)
    part = np.minimum((below <= rank[:, None]).sum(axis=1), counts.shape[1] - 1)
    lines = np.arange(len(part))
    return part, rank - (below[lines, part] - counts[lines, part]), counts[lines, part].astype(np.int64)
