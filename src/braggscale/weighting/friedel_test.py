"""Outliers of reflections whose Friedel mates differ.

Judged together, a strong reflection with an anomalous difference has outliers that are none; judged apart, half of the
equivalents that could tell are given away, and a group of two on either side can tell nothing. So the difference is an
unknown of known size: members of a reflection have the mean J + e delta, e = 1 for I+ and -1 for I-, J free and
delta ~ N(0, tau^2). With w = g^2/V summed to s over an observation's own side without itself, and to s' over its mates,
both around their means m_own and m_mates, the others predict

    m = (s m_own + u m_mates)/(s + u),   1/u = 1/s' + 4 tau^2,   z = (I - g m)/sqrt(V + g^2/(s + u)).

This is the prediction of a linear model with a normal prior, and z^2 is what its chi^2 loses when the observation
leaves: the search of leave_one_out.py ends for the same reason. tau = 0 is the test of all together, tau -> infinity
that of both sides apart.

Anomalous differences are about the same share of F at every resolution, independent of F within a shell:
4 tau^2 = q <I> I_h, <I> the mean of the shell. q comes from E (m+ - m-)^2 = 4 tau^2 + 1/s+ + 1/s- over the rows that
are not outliers, by scoring, squares bounded at 9 times their expectation. Centric reflections have no mates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int

MOST = 9.0  # squares count up to this times what is expected; 0.99 of the variance of a normal deviate lies below
_KEPT = 0.9911
FEWEST_PAIRS = 50
_STEPS = 50
_NEGLIGIBLE = 1e-10
_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Mates:
    """``plus``: rows of I+, (n,).  ``difference``: 4 tau^2, expected square of I+ - I-, counts^2/g^2, (n,)."""

    plus: Bool
    difference: Float

    def take(self, rows: Int) -> Mates:
        """The given rows."""
        return Mates(self.plus[rows], self.difference[rows])


def sides(groups: Groups, friedel_split: Groups) -> Bool:
    """Rows of the first of the two sides of each group, (n,).  ``friedel_split``: the same rows, finer."""
    first = np.zeros(groups.n_rows, np.bool_)
    starts = np.isin(friedel_split.offsets[:-1], groups.offsets[:-1])
    result: Bool = friedel_split.spread(starts) if len(friedel_split) else first
    return result


def agreeing(groups: Groups, friedel_split: Groups, precision: Float, mates: Mates) -> Groups:
    """Groups within which observations agree: Friedel mates apart where they differ by more than is known of it.

    In a fit with all together the contrast m+ - m- has weight 1/v, v = 1/s+ + 1/s-, and variance v + 4 tau^2. It
    tells less than nothing where 4 tau^2 > v: then each side is a group of its own.
    ``friedel_split``: the same rows, finer.  ``precision``: g^2/V of the rows that count, else 0, (n,).
    """
    s1, s2 = groups.sum(np.where(mates.plus, precision, 0.0)), groups.sum(np.where(mates.plus, 0.0, precision))
    differing = mates.difference[groups.offsets[:-1]] * s1 * s2 > s1 + s2
    of = np.searchsorted(groups.offsets, friedel_split.offsets[:-1], side="right") - 1
    starts = friedel_split.offsets[:-1]
    return Groups(np.append(starts[differing[of] | (groups.offsets[of] == starts)], groups.n_rows))


def anomalous_share(intensity: Float, variance: Float, scale: Float, groups: Groups, plus: Bool, mean: Float) -> float:
    """q of 4 tau^2 = q <I> I_h; 0 where differences are no larger than their errors, or pairs too few.

    ``intensity``, ``variance`` (V'), ``scale``: of the rows that count, ``mean``: <I>, on the scale of I_h, (n,).
    """
    w = scale * scale / variance
    y = scale * intensity / variance
    s1, s2 = groups.sum(np.where(plus, w, 0.0)), groups.sum(np.where(plus, 0.0, w))
    y1, y2 = groups.sum(np.where(plus, y, 0.0)), groups.sum(np.where(plus, 0.0, y))
    pair = (s1 > 0) & (s2 > 0)
    if np.count_nonzero(pair) < FEWEST_PAIRS:
        return 0.0
    s1, s2, y1, y2 = s1[pair], s2[pair], y1[pair], y2[pair]
    square = (y1 / s1 - y2 / s2) ** 2
    noise = 1.0 / s1 + 1.0 / s2
    size = np.maximum((y1 + y2) / (s1 + s2), 0.0) * mean[groups.offsets[:-1]][pair]
    q = 0.0
    for _ in range(_STEPS):
        expected = q * size + noise
        bounded = np.minimum(square, MOST * expected) / _KEPT
        below = float(np.sum((size / expected) ** 2))
        new = max(float(np.sum((size / expected**2) * (bounded - noise))) / below, 0.0) if below > 0 else 0.0
        if abs(new - q) <= 1e-4 * max(new, q):
            return new
        q = new
    return q


def separate(
    intensity: Float,
    variance: Float,
    scale: Float,
    groups: Groups,
    mates: Mates,
    limits: tuple[float, float],
    out: Bool,
) -> Bool:
    """Rows left out, (n,), when no more can be gained by moving one member of a group out or back in.

    As ``leave_one_out.judge``, with the z of this module.  ``limits``: z_max, z_back.  ``out``: where to start, (n,).
    """
    out = out.copy()
    out[groups.spread(groups.sum(~out) < 2)] = False
    rows, part = np.arange(groups.n_rows), groups
    i, v, g, of = intensity, variance, scale, mates
    while len(part):
        is_out = out[rows]
        z2 = squares(i, v, g, part, of, is_out)
        starts = part.offsets[:-1]
        worst = np.maximum.reduceat(np.where(is_out, -1.0, z2), starts)
        best = np.minimum.reduceat(np.where(is_out, z2, np.inf), starts)
        leave = (worst > limits[0] ** 2) & (part.sum(~is_out) >= 3)
        join = ~leave & (best < limits[1] ** 2)
        moving = leave | join
        if not moving.any():
            break
        keep = np.flatnonzero(part.spread(moving))
        part = Groups(np.concatenate(([0], np.cumsum(part.sizes()[moving]))).astype(np.int64))
        rows, i, v, g, of, z2, is_out = rows[keep], i[keep], v[keep], g[keep], of.take(keep), z2[keep], is_out[keep]
        goal = part.spread(np.where(leave, worst, best)[moving])
        hit = (is_out == part.spread(join[moving])) & (np.abs(z2 - goal) <= _TIE * goal)
        # of equal deviations the largest I/g goes first: the order of rows must not matter
        key = np.full(len(z2), -np.inf)
        np.divide(i, g, out=key, where=hit & (g != 0))
        found = np.flatnonzero(hit & (key == part.spread(np.maximum.reduceat(key, part.offsets[:-1]))))
        _, first = np.unique(part.index()[found], return_index=True)
        out[rows[found[first]]] ^= True
    return out


def squares(i: Float, v: Float, g: Float, groups: Groups, mates: Mates, out: Bool) -> Float:
    """z^2 of all rows, inside or ``out``, against the others that are in, (n,); 0 where there are none."""
    wg = np.where(out, 0.0, g / v)
    own, y = wg * g, wg * i
    plus = mates.plus
    s_plus, y_plus = groups.sum(np.where(plus, own, 0.0)), groups.sum(np.where(plus, y, 0.0))
    s_minus, y_minus = groups.sum(np.where(plus, 0.0, own)), groups.sum(np.where(plus, 0.0, y))
    s = np.where(plus, groups.spread(s_plus), groups.spread(s_minus))
    s_mates = np.where(plus, groups.spread(s_minus), groups.spread(s_plus))
    all_own = s - own
    all_own[all_own <= _NEGLIGIBLE * s] = 0.0
    y_own = np.where(all_own > 0, np.where(plus, groups.spread(y_plus), groups.spread(y_minus)) - y, 0.0)
    shrunk = 1.0 / (1.0 + mates.difference * s_mates)
    total = all_own + shrunk * s_mates
    above = y_own + shrunk * np.where(plus, groups.spread(y_minus), groups.spread(y_plus))
    known = total > 0
    mean = np.divide(above, total, out=np.zeros(len(i)), where=known)
    spread = v + np.divide(g * g, total, out=np.zeros(len(i)), where=known)
    result: Float = np.where(known, (i - g * mean) ** 2 / spread, 0.0)
    return result
