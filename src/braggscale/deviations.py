"""How far an observation stands from its equivalents, and who has to leave for the rest to agree.

Let A be the members of a unique reflection that are in, V the variance of I from the error model,
s = sum_A g^2/V and m = (sum_A g I/V)/s their best intensity. The deviation of an observation from the *others* is

    z_i = (I_i - g_i m_i) / sqrt(V_i + g_i^2/s_i),     m_i, s_i without i.

For a member of A the same number follows from the sums with i: z_i = (I_i - g_i m)/sqrt(V_i (1 - h_i)), leverage
h_i = g_i^2/(V_i s), so that one pass gives all of them. And z_i^2 is exactly what chi^2 = sum_A (I - g m)^2/V loses
when i leaves A, or gains when i joins it (Cook & Weisberg, Residuals and Influence in Regression, 1982, ch. 2).

Taking out the worst member while z > z_max, and letting one in that has z < z_back < z_max, therefore lowers

    F(A) = chi^2(A) + z_max^2 (number left out)

at every move: the search cannot cycle, and it ends where nobody inside is beyond z_max and nobody outside is within
z_back. One member per group and round moves; all groups that still move are treated together.
"""

from __future__ import annotations

import numpy as np

from braggscale.arrays import Bool, Float, Int
from braggscale.groups import Groups

# Below this share of the weight of a group the others know nothing about a member, and rounding decides the rest.
_NEGLIGIBLE = 1e-10
# Deviations that differ by less than this are equal: which one is larger must not depend on the order of the rows.
_TIE = 1e-9


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


def cap_weights(variance: Float, scale: Float, groups: Groups, factor: float = 10.0) -> Float:
    """Variances raised so that no member weighs more than ``factor`` times the median of its group.

    Weight is g^2/V, that of the scaled intensity: the cap does not depend on the units of a data set. One observation
    with an absurdly small error could otherwise outvote all others. The factor 10 is DIALS' (there applied to 1/V).
    ``variance``: counts^2, ``scale``: g, (n_rows,).  Returns counts^2, (n_rows,).
    """
    if len(groups) == 0:
        return variance.copy()
    weight = scale * scale / variance
    starts = groups.offsets[:-1]
    # the median is not below the smallest: most groups need no sorting
    suspect = np.maximum.reduceat(weight, starts) > factor * np.minimum.reduceat(weight, starts)
    result = variance.copy()
    if not suspect.any():
        return result
    rows = np.flatnonzero(groups.spread(suspect))
    part = Groups(np.concatenate(([0], np.cumsum(groups.sizes()[suspect]))).astype(np.int64))
    w = weight[rows]
    ordered = w[np.lexsort((w, part.index()))]
    sizes = part.sizes()
    first = part.offsets[:-1]
    median = 0.5 * (ordered[first + (sizes - 1) // 2] + ordered[first + sizes // 2])
    cap = part.spread(factor * median)
    over = w > cap
    result[rows[over]] *= w[over] / cap[over]
    return result


def separate(
    intensity: Float, variance: Float, scale: Float, groups: Groups, limits: tuple[float, float], out: Bool
) -> tuple[Bool, int]:
    """Who is left out when no more can be gained by moving one member of a group out or back in.

    ``intensity``: counts, ``variance``: counts^2, ``scale``: g, (n_rows,).  ``limits``: z_max, z_back with
    z_back < z_max.  ``out``: who is out at the start, (n_rows,); a group with fewer than two members in starts
    afresh with all of them. Two members always stay in.
    Among equal deviations the largest scaled intensity goes first, so that the order of rows does not matter.
    Returns the rows left out, (n_rows,), and the number of rounds.
    """
    out = out.copy()
    if len(groups) == 0:
        return out, 0
    inside = groups.sum(~out)
    out[groups.spread(inside < 2)] = False
    active = groups.sizes() >= 3
    rows = np.flatnonzero(groups.spread(active))
    part = Groups(np.concatenate(([0], np.cumsum(groups.sizes()[active]))).astype(np.int64))
    i, v, g = intensity[rows], variance[rows], scale[rows]
    rounds = 0
    while len(part):
        is_out = out[rows]
        z2, n_in = _squares(i, v, g, is_out, part)
        starts = part.offsets[:-1]
        worst = np.maximum.reduceat(np.where(is_out, -1.0, z2), starts)
        best = np.minimum.reduceat(np.where(is_out, z2, np.inf), starts)
        leave = (worst > limits[0] ** 2) & (n_in >= 3)
        join = ~leave & (best < limits[1] ** 2)
        moving = leave | join
        if not moving.any():
            break
        rounds += 1
        keep = np.flatnonzero(part.spread(moving))
        rows, i, v, g, z2, is_out = rows[keep], i[keep], v[keep], g[keep], z2[keep], is_out[keep]
        target = np.where(leave, worst, best)[moving]
        part = Groups(np.concatenate(([0], np.cumsum(part.sizes()[moving]))).astype(np.int64))
        chosen = _first_of_the_extreme(z2, is_out == part.spread(join[moving]), part, target, i, g)
        out[rows[chosen]] ^= True
    return out, rounds


def _squares(i: Float, v: Float, g: Float, out: Bool, groups: Groups) -> tuple[Float, Float]:
    """z^2 of all rows, inside or out, against the others that are in; and the number that is in, per group."""
    wg = np.where(out, 0.0, g / v)
    own = wg * g
    total = groups.sum(own)
    mean = np.divide(groups.sum(wg * i), total, out=np.zeros(len(groups)), where=total > 0)
    total_row = groups.spread(total)
    others = total_row - own
    square = i - g * groups.spread(mean)
    square *= square
    with np.errstate(divide="ignore", invalid="ignore"):
        square /= np.where(out, v + g * g / total_row, v * (others / total_row))
    square[~(others > _NEGLIGIBLE * total_row)] = 0.0
    return square, groups.sum(~out)


def _first_of_the_extreme(z2: Float, eligible: Bool, groups: Groups, target: Float, i: Float, g: Float) -> Int:
    """Row, one per group, among the eligible ones with z^2 equal to ``target``: that of the largest I/g."""
    goal = groups.spread(target)
    hit = eligible & (np.abs(z2 - goal) <= _TIE * goal)
    key = np.full(len(z2), -np.inf)
    np.divide(i, g, out=key, where=hit & (g != 0))
    top = groups.spread(np.maximum.reduceat(key, groups.offsets[:-1]))
    found = np.flatnonzero(hit & (key == top))
    _, first = np.unique(groups.index()[found], return_index=True)
    return found[first]
