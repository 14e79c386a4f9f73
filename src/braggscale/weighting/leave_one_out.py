"""The deviation of an observation from its equivalents, and the search for the outliers of a group.

Let A be the members of a unique reflection that are in, V the variance of I from the error model,
s = sum_A g^2/V and m = (sum_A g I/V)/s their best intensity. The deviation of an observation from the *others* is

    z_i = (I_i - g_i m_i) / sqrt(V_i + g_i^2/s_i),     m_i, s_i without i.

For a member of A the same number follows from the sums with i: z_i = (I_i - g_i m)/sqrt(V_i (1 - h_i)), leverage
h_i = g_i^2/(V_i s), so that one pass gives all of them. And z_i^2 is exactly the decrease of chi^2 = sum_A (I - g
m)^2/V when i leaves A, or its increase when i joins A (Cook & Weisberg, Residuals and Influence in Regression,
1982, ch. 2).

Rejecting the worst member while z > z_max, and accepting again one with z < z_back < z_max, therefore lowers

    F(A) = chi^2(A) + z_max^2 (number left out)

at every change. So the search cannot cycle; it ends when no accepted member is beyond z_max and no rejected one is
within z_back (``outliers.verdicts``).
"""

from __future__ import annotations

import numpy as np

from braggscale.data.unique_reflections import Groups, in_blocks
from braggscale.numerics.array_types import Bool, Float
from braggscale.numerics.compiled import outliers
from braggscale.weighting.expected_variance import VarianceModel

# If the others have less than this share of the weight of a group, a member is not tested: rounding would decide.
_NEGLIGIBLE = 1e-10


def leave_one_out(intensity: Float, variance: Float, scale: Float, groups: Groups) -> Float:
    """Signed normalised deviation of each row from the weighted mean of its equivalents.

    z_i = (I_i - g_i m_i)/sqrt(V_i + g_i^2/s_i), m_i and s_i = sum g^2/V over the other members.
    ``intensity``: counts, ``variance``: counts^2, positive, ``scale``: inverse scale factor g, all (n_rows,).
    Returns (n_rows,), standard deviation 1 where the variances are right; NaN where there are no others.
    """
    wg = scale / variance
    weight = wg * scale
    total = groups.sum(weight)
    above = groups.sum(wg * intensity)
    mean = np.divide(above, total, out=np.zeros(len(groups)), where=total > 0)
    total_row = groups.spread(total)
    others = total_row - weight
    z = intensity - scale * groups.spread(mean)
    known = others > _NEGLIGIBLE * total_row
    with np.errstate(divide="ignore", invalid="ignore"):
        z *= np.sqrt(total_row / (variance * others))
    z[~known] = np.nan
    return z


def judge(
    variance_model: VarianceModel,
    scale: Float,
    groups: Groups,
    limits: tuple[float, float],
    out: Bool,
    *,
    simple: bool = False,
    trim: bool = False,
    afresh: bool = False,
) -> tuple[Bool, Bool, int]:
    """Find the outliers of each group: members are rejected or accepted again one at a time until no change is needed.

    Variances are calculated at the expected intensity g I_h of the members that are not out at the start. I_h begins
    with equal weights of I/g and is iterated with the variances three times. The weight of a member is limited to 10
    times the median of its group, because otherwise one observation with an absurdly small error would dominate. The
    weight is g^2/V', that of the scaled intensity, so that the limit does not depend on the units of a data set. (The
    factor 10 is that of DIALS, which applies it to 1/V.)
    ``scale``: g, (n_rows,).  ``limits``: z_max, z_back with z_back < z_max.  ``out``: rows that are out at the start,
    (n_rows,); the search in a group with fewer than two others starts with all members. Two members always stay.
    ``simple``: one pass; every member beyond z_max (z_back if it was out) of the mean of all is rejected, but the two
    best stay.  ``trim``: I_h begins with weights 1/V and is iterated twice, without limit of weights.  ``afresh``:
    ``out`` is only used for I_h and V'; the search begins with all members.
    Of equal deviations that of the largest scaled intensity is rejected first, so the order of rows does not matter.
    Returns the outliers, (n_rows,), the groups in which these changed, (n_groups,), and the most changes in one group.
    Raises ValueError for a variance that is not positive.
    """
    result, changed = np.empty(groups.n_rows, np.bool_), np.empty(len(groups), np.bool_)
    arrays = variance_model.arrays()

    def block(first: int, last: int) -> tuple[int, int]:
        """Verdicts on the groups from ``first`` to ``last``; how many were rejected and changed."""
        counts: tuple[int, int] = outliers.verdicts(
            first, last, groups.offsets, arrays, scale, limits, (simple, trim, afresh), out, result, changed
        )
        return counts

    done = in_blocks(groups, block)
    if any(bad for _, bad in done):
        raise ValueError("variances must be positive")
    return result, changed, max((moves for moves, _ in done), default=0)
