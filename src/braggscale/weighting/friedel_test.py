"""Outlier test for reflections whose Friedel mates differ.

If I+ and I- are compared with one mean, good observations of a strong reflection with an anomalous difference look like
outliers. If each is compared only with observations of the same mate, half of the equivalents are not used, and two
observations of one mate cannot be tested at all. Here the difference is an unknown whose typical size is known: members
of a reflection have the mean J + e delta, e = 1 for I+ and -1 for I-, J free and delta ~ N(0, tau^2). Let s be the sum
of w = g^2/V over the other observations of the same mate (I+ or I-), s' that over the opposite mate, m_own and m_mates
their weighted means of I/g. The prediction for an observation is then

    m = (s m_own + u m_mates)/(s + u),   1/u = 1/s' + 4 tau^2,   z = (I - g m)/sqrt(V + g^2/(s + u)).

This is the prediction of a linear model with a normal prior, and z^2 is the decrease of its chi^2 when the
observation is left out; so the search of leave_one_out.py ends for the same reason. tau = 0 is the test with one
mean for both, tau -> infinity that with a mean for each.

Anomalous differences are about the same share of F at every resolution, independent of F within a shell: 4 tau^2 =
q <I> I_h, where <I> is the mean of the shell. q is estimated by scoring from E (m+ - m-)^2 = 4 tau^2 + 1/s+ + 1/s-
over the rows that are not outliers; squares are limited to 9 times their expectation. Centric reflections have no
mates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups, in_blocks
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import outliers

MOST = 9.0  # limit of squares, in units of their expectation; below it lies 0.99 of the variance of a normal deviate
_KEPT = 0.9911
FEWEST_PAIRS = 50
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Mates:
    """``plus``: rows of I+, (n,).  ``difference``: 4 tau^2, expected square of I+ - I-, counts^2/g^2, (n,)."""

    plus: Bool
    difference: Float

    def take(self, rows: Int) -> Mates:
        """The rows with the numbers ``rows``, (k,)."""
        return Mates(self.plus[rows], self.difference[rows])


def first_mates(groups: Groups, friedel_split: Groups) -> Bool:
    """Rows of the first of the two Friedel mates of each group, (n,).

    ``groups``: Friedel mates merged, ``friedel_split``: the same rows, Friedel mates split.
    """
    first = np.zeros(groups.n_rows, np.bool_)
    starts = np.isin(friedel_split.offsets[:-1], groups.offsets[:-1])
    result: Bool = friedel_split.spread(starts) if len(friedel_split) else first
    return result


def groups_of_agreeing_mates(groups: Groups, friedel_split: Groups, precision: Float, mates: Mates) -> Groups:
    """Groups for the fit of the scales: Friedel mates are split if their difference is larger than its error.

    If both are fitted with one mean, the difference m+ - m- has the weight 1/v, v = 1/s+ + 1/s-, but its variance is
    v + 4 tau^2. If 4 tau^2 > v, a common mean makes the scales worse, and each mate becomes a group of its own.
    ``groups``: Friedel mates merged, ``friedel_split``: the same rows, Friedel mates split.  ``precision``: g^2/V' of
    the rows that count, else 0, (n,).
    """
    s1, s2 = groups.sum(np.where(mates.plus, precision, 0.0)), groups.sum(np.where(mates.plus, 0.0, precision))
    differing = mates.difference[groups.offsets[:-1]] * s1 * s2 > s1 + s2
    of = np.searchsorted(groups.offsets, friedel_split.offsets[:-1], side="right") - 1
    starts = friedel_split.offsets[:-1]
    return Groups(np.append(starts[differing[of] | (groups.offsets[of] == starts)], groups.n_rows))


def anomalous_share(intensity: Float, variance: Float, scale: Float, groups: Groups, plus: Bool, mean: Float) -> float:
    """q of 4 tau^2 = q <I> I_h; 0 if differences are not larger than their errors, or if there are too few pairs.

    ``intensity``, ``variance`` (V'), ``scale``: of the rows that count, ``plus``: whether they are I+, ``mean``: <I>,
    on the scale of I_h, all (n,).
    """
    w = scale * scale / variance
    y = scale * intensity / variance
    s1, s2 = groups.sum(np.where(plus, w, 0.0)), groups.sum(np.where(plus, 0.0, w))
    y1, y2 = groups.sum(np.where(plus, y, 0.0)), groups.sum(np.where(plus, 0.0, y))
    pair = (s1 > 0) & (s2 > 0)
    if np.count_nonzero(pair) < FEWEST_PAIRS:
        return 0.0
    size = np.maximum((y1 + y2)[pair] / (s1 + s2)[pair], 0.0) * mean[groups.offsets[:-1]][pair]
    return share_of_pairs(y1[pair] / s1[pair] - y2[pair] / s2[pair], 1.0 / s1[pair] + 1.0 / s2[pair], size)


def share_of_pairs(difference: Float, noise: Float, size: Float) -> float:
    """q of reflections of which both mates were measured.

    ``difference``: m+ - m-, ``noise``: its variance, ``size``: <I> I_h, (n,).
    """
    square = difference**2
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
    """Rows left out, (n,), at the end of a search in which single members of a group are rejected or accepted again.

    It is the search of ``leave_one_out.judge`` with the z of this module and given variances.
    ``intensity``: I, counts, ``variance``: V', counts^2, ``scale``: g, (n,).  ``limits``: z_max, z_back.
    ``out``: rows that are out at the start, (n,); the search in a group with fewer than two others starts with all
    members.
    """
    out = out.copy()
    arrays = intensity, variance, scale, mates.plus, mates.difference

    def block(first: int, last: int) -> None:
        """Verdicts on the groups from ``first`` to ``last``."""
        outliers.separate(first, last, groups.offsets, *arrays, limits, out)

    in_blocks(groups, block)
    return out


def squares(intensity: Float, variance: Float, scale: Float, groups: Groups, mates: Mates, out: Bool) -> Float:
    """z^2 of all rows against the others of their group that are not ``out``, (n,); 0 where there are none.

    ``intensity``: I, counts, ``variance``: V', counts^2, ``scale``: g, (n,).
    """
    z2 = np.empty(groups.n_rows)
    arrays = intensity, variance, scale, mates.plus, mates.difference

    def block(first: int, last: int) -> None:
        """z^2 of the rows of the groups from ``first`` to ``last``."""
        outliers.squares(first, last, groups.offsets, *arrays, out, z2)

    in_blocks(groups, block)
    return z2
