"""Which observation of a reflection is wrong, and what its intensity is if that is not certain.

An observation that is far from the others of its reflection is an outlier, or the reflection changes more than most.
With many observations that is clear. With two or three it often is not. Therefore all hypotheses are kept: no
observation is wrong, or observation i is wrong; and each width of the distribution of slopes. Each has its
probability:

    no observation is wrong     share of the width * likelihood of all observations * w(I_h)
    observation i is wrong      share of the width * likelihood of the others * w(I_h) * o/(1 - o) * density of outliers

The likelihoods follow from the curves (dose_lines.py). w(I_h) is Wilson's distribution exp(-I_h/<I>), which says which
one of two observations is wrong if they disagree. The share o of outliers is estimated. The density of an outlier at
the distance t from the curve of the others is proportional to 1/t, from NEAR to FAR standard deviations. The intensity
is the mean over the hypotheses, and its variance includes their disagreement (Hoeting et al., Statist. Sci. 14 (1999)
382).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from braggscale.data.unique_reflections import Groups, in_blocks
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.statistics.dose_lines import WIDTHS, Curves, CurveSums, Slopes, log_wilson

NEAR, FAR = 4.0, 100.0
# Share of outliers before it is known, and its limits.
FEW, LEAST, MOST = 0.01, 1e-4, 0.1
LEAST_FREEDOM = 1e-9
TWO_PI = 2.0 * np.pi
# Probability above which an observation is left out.
EVEN = 0.5
# Most outliers of one reflection.
MOST_OUT = 12


@dataclass(frozen=True, slots=True)
class Observed:
    """``x``: I/g, ``weight``: 1/variance, 0 for what does not count, (n_rows,). ``phi``: basis functions, (n_rows, 3).

    ``level``: <I>, ``variance``: p, (n_groups,).
    """

    groups: Groups
    x: Float
    weight: Float
    phi: Array
    level: Float
    variance: Float

    def part(self, first: int, last: int) -> Observed:
        """The groups from ``first`` to before ``last``."""
        offsets = self.groups.offsets
        rows, own = slice(offsets[first], offsets[last]), slice(first, last)
        return Observed(
            Groups(offsets[first : last + 1] - offsets[first]), self.x[rows], self.weight[rows], self.phi[rows],
            self.level[own], self.variance[own],
        )  # fmt: skip

    def choose(self, keep: Bool) -> Observed:
        """Some of the groups.  ``keep``: (n_groups,)."""
        rows = self.groups.spread(keep)
        return Observed(
            self.groups.choose(keep), self.x[rows], self.weight[rows], self.phi[rows], self.level[keep],
            self.variance[keep],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Averaged:
    """Means over all hypotheses: ``intensity``, ``slope`` with their standard deviations, ``bend``: q_h, (n_groups,).

    ``wrong``: probability that the observation is an outlier, (n_rows,).  ``width``: most probable of WIDTHS,
    (n_groups,).
    """

    intensity: Float
    sigma: Float
    slope: Float
    slope_sigma: Float
    bend: Float
    wrong: Float
    width: Float


def averaged(seen: Observed, kept: Bool, slopes: Slopes, outliers: float) -> Averaged:
    """Means over the hypotheses, given that the observations that are not ``kept``, (n_rows,), are outliers.

    ``outliers``: their share o.
    """
    start = seen.groups.offsets

    def block(first: int, last: int) -> Averaged:
        return _averaged(seen.part(first, last), kept[start[first] : start[last]], slopes, outliers)

    parts = in_blocks(seen.groups, block)
    if len(parts) == 1:
        return parts[0]
    columns = ([getattr(part, f.name) for part in parts] for f in fields(Averaged))
    return Averaged(*map(np.concatenate, columns))


def _averaged(seen: Observed, kept: Bool, slopes: Slopes, outliers: float) -> Averaged:
    """The same for a block of groups."""
    groups = seen.groups
    sums, parts = _parts(seen, kept, slopes, outliers)
    top = np.max([np.maximum(part.none, groups_max(groups, part.each)) for part in parts], axis=0)
    top_rows = groups.spread(top)
    total, moments = np.zeros(len(groups)), np.zeros((len(groups), 6))
    wrong, of_width = np.zeros(groups.n_rows), np.zeros((len(WIDTHS), len(groups)))
    for number, part in enumerate(parts):
        none, each = np.exp(part.none - top), np.exp(part.each - top_rows)
        of_width[number] = none + groups.sum(each)
        total += of_width[number]
        wrong += np.where(kept, each, groups.spread(none) * part.if_left_out)
        for k in range(3):
            value, own = part.curves.values[:, k], part.curves.inverse[:, k, k]
            without = groups.spread(value) - part.shift[:, k]
            more = groups.spread(own) + part.wider[:, k]
            moments[:, 2 * k] += none * value + groups.sum(each * without)
            moments[:, 2 * k + 1] += none * (own + value**2) + groups.sum(each * (more + without**2))
    moments /= total[:, None]
    there = sums.n > 0
    nothing = np.where(there, 0.0, np.nan)
    sigmas = [np.sqrt(np.maximum(moments[:, 2 * k + 1] - moments[:, 2 * k] ** 2, 0.0)) for k in range(2)]
    return Averaged(
        sums.mean + moments[:, 0] + nothing,
        sigmas[0] + nothing,
        np.where(there, moments[:, 2], 0.0),
        np.where(there, sigmas[1], 0.0),
        np.where(there, moments[:, 4], 0.0),
        wrong / groups.spread(total),
        WIDTHS[np.argmax(of_width, axis=0)],
    )


def log_probability(seen: Observed, kept: Bool, slopes: Slopes, outliers: float) -> Float:
    """Logarithm of the probability that the observations that are ``kept`` are right and the others wrong, (n_groups,).

    It lacks a part that is the same for all choices of ``kept``, (n_rows,).
    """
    groups, wrong = seen.groups, ~kept & (seen.weight > 0)
    odds = np.log(outliers / (1.0 - outliers))
    size = np.where(kept & (seen.weight > 0), 0.5 * np.log(np.maximum(seen.weight, np.finfo(float).tiny) / TWO_PI), 0.0)
    parts = _parts(seen, kept, slopes, outliers)[1]
    each = np.array([part.none + groups.sum(np.where(wrong, odds + part.density, 0.0)) for part in parts])
    top = each.max(axis=0)
    result: Float = top + np.log(np.exp(each - top).sum(axis=0)) + groups.sum(size)
    return result


def _parts(seen: Observed, kept: Bool, slopes: Slopes, outliers: float) -> tuple[CurveSums, list[_Part]]:
    """Sums over the observations that are ``kept``, (n_rows,), and the hypotheses with each of WIDTHS."""
    sums = CurveSums.of(seen.groups, seen.x, np.where(kept, seen.weight, 0.0), seen.phi)
    shares = np.maximum(np.array(slopes.shares), np.finfo(float).tiny)
    return sums, [
        _of_width(seen, sums, kept, slopes, float(WIDTHS[k]), float(np.log(shares[k])), outliers)
        for k in range(len(WIDTHS))
    ]


def groups_max(groups: Groups, values: Float) -> Float:
    """Largest value of each group, (n_groups,).  ``values``: (n_rows,)."""
    result: Float = np.maximum.reduceat(values, groups.offsets[:-1]) if len(groups) else np.zeros(0)
    return result


def deviations(seen: Observed, sums: CurveSums, curves: Curves, kept: Bool, index: Int) -> tuple[Float, Float, Array]:
    """Deviation of each observation from the curve of its group, 1 - leverage, and covariance times phi.

    1 - leverage is the part of the variance of an observation that is left in its deviation. For one that is not
    ``kept``, (n_rows,), it is 1/(1 + leverage). So the deviation from the curve of the others has the variance
    1/(weight (1 - leverage)) in both cases.  ``index``: group of each row, (n_rows,).
    Returns (n_rows,), (n_rows,), (n_rows, 3).
    """
    towards: Array = np.einsum("nij,nj->ni", curves.inverse[index], seen.phi)
    leverage = seen.weight * np.einsum("ni,ni->n", towards, seen.phi)
    away = seen.x - sums.mean[index] - np.einsum("ni,ni->n", seen.phi, curves.values[index])
    return away, np.where(kept, np.maximum(1.0 - leverage, LEAST_FREEDOM), 1.0 / (1.0 + leverage)), towards


@dataclass(frozen=True, slots=True)
class _Part:
    """The hypotheses with one width: logarithms of their weights, ``none`` (n_groups,) and ``each`` (n_rows,).

    ``if_left_out``: probability of an outlier among those that are left out, ``density``: logarithm of the density of
    outliers, (n_rows,).
    ``shift``, ``wider``: what intensity, slope and q lose, and their variances gain, without the observation,
    (n_rows, 3).
    """

    curves: Curves
    none: Float
    each: Float
    if_left_out: Float
    density: Float
    shift: Array
    wider: Array


def _of_width(
    seen: Observed, sums: CurveSums, kept: Bool, slopes: Slopes, width: float, share: float, outliers: float
) -> _Part:
    """``share``: logarithm of the share of the width."""
    groups, w = seen.groups, seen.weight
    curves = Curves.of(sums, slopes, width, seen.variance, seen.level)
    index, usable = groups.index(), w > 0
    away, freedom, towards = deviations(seen, sums, curves, kept, index)
    distance = np.where(kept, away / freedom, away)  # from the curve of the others
    predicted = 0.5 * np.log(np.where(usable, w, 1.0) * freedom / TWO_PI) - 0.5 * w * freedom * distance**2
    nearest = NEAR / np.sqrt(np.where(usable, w, 1.0))
    density = -np.log(2.0 * np.log(FAR / NEAR) * np.maximum(np.abs(distance), nearest))
    odds = np.log(outliers / (1.0 - outliers)) + density - predicted
    can = kept & usable & (sums.n[index] > 1)
    shift = np.where(can[:, None], towards * (w * distance)[:, None], 0.0)
    wider = np.where(can[:, None], towards**2 * (w / freedom)[:, None], 0.0)
    intensity, own = sums.mean + curves.values[:, 0], curves.inverse[:, 0, 0]
    none = share + curves.evidence + log_wilson(intensity, own, seen.level)
    without = log_wilson(intensity[index] - shift[:, 0], own[index] + wider[:, 0], seen.level[index])
    each = np.where(can, (share + curves.evidence)[index] + odds + without, -np.inf)
    return _Part(curves, none, each, 1.0 / (1.0 + np.exp(np.clip(-odds, -500.0, 500.0))), density, shift, wider)


def judged(seen: Observed, before: Bool, slopes: Slopes, outliers: float) -> tuple[Bool, float]:
    """Observations that are more probably right than wrong, (n_rows,), and the share of outliers.

    They are searched for twice, from all observations and from those of ``before``, (n_rows,), because a search that
    leaves out one at a time may end with two outliers that lie on a steep curve. The more probable result counts. A
    reflection of which half or fewer would be left keeps those of ``before``.
    """
    groups, usable = seen.groups, seen.weight > 0
    kept, wrong = _searched(seen, usable, slopes, outliers)
    some = (groups.sum(usable & ~before) > 0) & (groups.sum(usable & before) > 1)
    if some.any():
        rows, part = groups.spread(some), seen.choose(some)
        other, of_other = _searched(part, (usable & before)[rows], slopes, outliers)
        choices = [log_probability(part, choice, slopes, outliers) for choice in (kept[rows], other)]
        better = part.groups.spread(choices[1] > choices[0])
        kept[rows] = np.where(better, other, kept[rows])
        wrong[rows] = np.where(better, of_other, wrong[rows])
    share = float(np.clip(np.mean(wrong[usable]), LEAST, MOST)) if usable.any() else outliers
    few = 2 * groups.sum(kept) <= groups.sum(usable)
    return np.where(groups.spread(few), before & usable, kept), share


def _searched(seen: Observed, start: Bool, slopes: Slopes, outliers: float) -> tuple[Bool, Float]:
    """Observations that are more probably right than wrong, and the probability that they are wrong, (n_rows,) each.

    Those of ``start``, (n_rows,), take part at first. Then the worst of each reflection is left out, again and again
    while one is more probably wrong than right. One that was left out may come back in the first half of the steps.
    """
    usable = seen.weight > 0
    kept, wrong = start.copy(), np.zeros(len(usable))
    some = np.ones(len(seen.groups), bool)
    for number in range(MOST_OUT):
        rows = seen.groups.spread(some)
        part, own = seen.choose(some), kept[rows]
        now = averaged(part, own, slopes, outliers).wrong
        wrong[rows] = now
        worst = part.groups.spread(groups_max(part.groups, np.where(own, now, 0.0)))
        out = own & (now > EVEN) & (now == worst)
        back = ~own & usable[rows] & (now < EVEN) & (number < MOST_OUT // 2)
        kept[rows] = (own & ~out) | back
        changed = part.groups.sum(out | back) > 0
        if not changed.any():
            break
        some[some] = changed
    return kept, wrong
