"""Confidence intervals of the overall statistics: block bootstrap over images or crystals.

An interval says how much R_meas, R_pim, CC1/2 and CC_anom would change if the same reflections were measured again.
The errors of one image have common causes. So the bootstrap draws images, in blocks of about a degree, or whole
crystals if there are many (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8; Kunsch, Ann.
Stat. 17 (1989) 1217).

If the drawn observations were merged anew, copies of one observation would count as independent, and every R factor
would be too low. Therefore the first-order effect of each observation on the statistic is drawn. With residuals r =
x - m_h, their expected square v = sigma^2 - 1/sum w, n observations of h, and factors k that make the sum over all
observations 0, the effect of an observation on the numerator is

    R_meas, R_pim    e = f_n (|r| - k sqrt v),           f_n = sqrt(n/(n - 1)) or sqrt(1/(n - 1))
    CC               e = g_i^2 n/(n - 1) (r^2 - k v),    g_i = w_i/sum w, or 1/n for CC_anom

The members of a group share their mean: |r| of a pair are equal. If errors are normal, residuals of n equal weights
correlate by -1/(n - 1). The variance of their sum of |r| or r^2 is kappa_n times that of independent residuals, and
e is multiplied by sqrt(kappa_n):

    |r|    kappa = 1 + (n - 1) (rho asin rho + sqrt(1 - rho^2) - 1)/(pi/2 - 1),  rho = 1/(n - 1)
    r^2    kappa = n/(n - 1) (1 + (j (n - 1) - 1)/D)

D is the number of random divisions of which CC1/2 (j = 1) and CC_anom (j = 2, both mates are divided) are the mean:
one division estimates the error of a mean with one degree of freedom instead of n - 1. The effect of an observation
on the denominator of R factors, sum x, is r sqrt(n/(n - 1)).

A correlation of half-set means y with errors of variance E and variance Y over reflections is CC = (1 - q)/(1 + q),
q = E/Y. Both vary: E with e as above, Y = <(y_h - <y>)^2> by 2 (y_h - <y>) g_i r sqrt(n/(n - 1)) per observation. The
observed y_h contains its own error, so that the variance of the latter is 4 (y_h - <y>)^2 E_h - 2 E_h^2 for each h and
not the first term alone; all contributions are reduced by the square root of this ratio.

The effects are added up in each block, blocks are drawn with replacement, and the interval is that between two
quantiles of the resulting statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.statistics.half_sets import COINS_PER_SHUFFLE, SHUFFLES

LEVEL = 0.95
DRAWS = 1000
# With fewer blocks their variance is too uncertain. If there are more than the second number, neighbouring blocks
# are joined.
FEWEST_BLOCKS, MOST_BLOCKS = 10, 1000
MANY_DATA_SETS = 20  # from here on whole data sets are drawn
DEGREES = 1.0
# Names of the statistics, fields of Intervals and of merging_statistics.Shell.
INTERVALS_OF = ("r_meas", "r_pim", "r_meas_apart", "r_pim_apart", "cc_half", "cc_anom")
_SEED = 5

Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Central confidence intervals of overall statistics, (low, high), None where there is none.

    ``level``: probability.  ``unit``: what was drawn, images or data sets, in ``n_blocks`` blocks.
    ``*_apart``: I+ and I- as different reflections.
    ``keys``: data set and place of each block.  ``effects``: of each block on the logarithm of each R factor, or of
    (1 - CC)/(1 + CC), (n_blocks,).
    """

    level: float
    unit: str
    n_blocks: int
    r_meas: Limits | None
    r_pim: Limits | None
    r_meas_apart: Limits | None
    r_pim_apart: Limits | None
    cc_half: Limits | None
    cc_anom: Limits | None
    keys: tuple[tuple[int, int], ...] = ()
    effects: Mapping[str, Float] = field(default_factory=dict, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("keys", "effects")}


@dataclass(frozen=True, slots=True)
class Blocks:
    """``number``: block of each observation, 0 to n - 1, (n_rows,).  ``unit``: what blocks consist of.

    ``keys``: data set and place of each block, which do not depend on other blocks; empty where blocks were joined.
    """

    number: Int
    n: int
    unit: str
    keys: tuple[tuple[int, int], ...] = ()


def blocks_of(data_set: Array, image: Float, widths: Sequence[float | None]) -> Blocks:
    """Blocks of images of about a degree, each within one data set, or whole data sets if there are many.

    ``data_set``: of each observation, (n_rows,).  ``image``: image number, any origin, (n_rows,).
    ``widths``: degrees per image of each data set, None for a still.
    """
    n_sets = len(widths)
    if n_sets >= MANY_DATA_SETS or all(width is None for width in widths):
        number, n = np.asarray(data_set, np.int64), n_sets
        unit = "data sets"
        keys = tuple((d, 0) for d in range(n_sets))
    else:
        per_degree = np.array([1.0 if not width else min(abs(width) / DEGREES, 1.0) for width in widths])
        place = np.floor(np.floor(image) * per_degree[data_set] + 1e-6).astype(np.int64)
        origin = int(place.min(initial=0))
        place -= origin
        span = int(place.max(initial=0)) + 1
        number = np.asarray(data_set, np.int64) * span + place
        # leave out blocks without an observation
        present = np.bincount(number) > 0
        keys = tuple((int(k) // span, int(k) % span + origin) for k in np.flatnonzero(present))
        number, n = (np.cumsum(present) - 1)[number], int(present.sum())
        unit = "images"
    if n > MOST_BLOCKS:
        number, n, keys = number * MOST_BLOCKS // n, MOST_BLOCKS, ()
    return Blocks(number, n, unit, keys)


def intervals(
    friedel_merged: Groups,
    friedel_split: Groups,
    x: Float,
    sigma: Float,
    blocks: Blocks,
    values: dict[str, float],
) -> Intervals | None:
    """Intervals of the statistics in ``values``; None for fewer than ten blocks.

    ``friedel_merged``, ``friedel_split``: groups of the same rows with Friedel mates merged and split, I+ first.
    ``x``, ``sigma``: I/g and its standard deviation, (n_rows,).
    ``values``: the statistics by the names of Intervals' fields; a statistic that is NaN has no interval.
    """
    if blocks.n < FEWEST_BLOCKS or friedel_merged.n_rows == 0:
        return None
    effects: dict[str, Float] = {}
    bootstrap = _Bootstrap(blocks, draws_of(blocks.n), effects)
    limits: dict[str, Limits | None] = {}
    weight = 1.0 / (sigma * sigma)
    for groups, suffix in ((friedel_merged, ""), (friedel_split, "_apart")):
        spread = _Spread.of(groups, x, weight)
        for name in ("r_meas", "r_pim"):
            limits[name + suffix] = _interval_of_r_factor(spread, name + suffix, bootstrap, values[name + suffix])
        if groups is friedel_merged:
            limits["cc_half"] = _interval_of_cc_half(spread, weight, bootstrap, values["cc_half"])
    limits["cc_anom"] = _interval_of_cc_anom(friedel_merged, friedel_split, x, sigma, bootstrap, values["cc_anom"])
    return Intervals(LEVEL, blocks.unit, blocks.n, **limits, keys=blocks.keys, effects=effects)


@dataclass(frozen=True, slots=True)
class _Bootstrap:
    """``draws``: numbers of the blocks in each draw, (DRAWS, n_blocks).  ``effects``: gets those of the blocks."""

    blocks: Blocks
    draws: Int
    effects: dict[str, Float]

    def drawn(self, name: str, effect: Float, rows: Bool) -> Float:
        """Sum of the effects in the drawn blocks minus its mean, (DRAWS,).

        ``name``: of the statistic.  ``effect``: of ``rows``.
        """
        n = self.blocks.n
        sums = np.bincount(self.blocks.number[rows], effect, n)
        sums -= sums.mean()
        self.effects[name] = sums.astype(np.float64)
        # the variance of n blocks about their own mean is too small by the factor (n - 1)/n
        return np.asarray(sums[self.draws].sum(axis=1) * math.sqrt(n / (n - 1.0)))


@dataclass(frozen=True, slots=True)
class _Spread:
    """Observations of groups with several members.  ``rows``: marks these rows; all other arrays are over them.

    ``groups``: of these rows.  ``mean``, ``total``: weighted mean and sum of weights of each group.
    ``n``: size of the row's group.  ``residual``: r.  ``expected``: v.  ``total_x``: sum of x over the rows.
    """

    rows: Bool
    groups: Groups
    mean: Float
    total: Float
    n: Float
    residual: Float
    expected: Float
    total_x: float

    @classmethod
    def of(cls, groups: Groups, x: Float, weight: Float) -> _Spread:
        """The observations of groups with several members.  ``x``: I/g, ``weight``: 1/sigma^2, (n_rows,)."""
        rows = groups.spread(groups.sizes() > 1)
        inner, x, weight = groups.subset(rows), x[rows], weight[rows]
        total = inner.sum(weight)
        mean = inner.sum(weight * x) / total
        n = inner.spread(inner.sizes().astype(np.float64))
        expected = 1.0 / weight - inner.spread(1.0 / total)
        return cls(rows, inner, mean, total, n, x - inner.spread(mean), np.maximum(expected, 0.0), float(x.sum()))


def _interval_of_r_factor(spread: _Spread, field_name: str, bootstrap: _Bootstrap, value: float) -> Limits | None:
    """Interval of R_meas or R_pim (``field_name``) around its ``value``; None where it is not defined."""
    factor = 1.0 / np.sqrt(spread.n - 1.0)
    if field_name.startswith("r_meas"):
        factor *= np.sqrt(spread.n)
    share = _relative(factor * np.abs(spread.residual), factor * np.sqrt(spread.expected), _kappa_absolute(spread.n))
    if share is None or not math.isfinite(value) or spread.total_x <= 0:
        return None
    below = spread.residual * np.sqrt(spread.n / (spread.n - 1.0)) / spread.total_x
    return _quantiles(value * np.exp(bootstrap.drawn(field_name, share - below, spread.rows)))


def _interval_of_cc_half(spread: _Spread, weight: Float, bootstrap: _Bootstrap, value: float) -> Limits | None:
    """Interval of CC1/2 around its ``value``.  ``weight``: 1/sigma^2, (n_rows,)."""
    part = weight[spread.rows] / spread.groups.spread(spread.total)
    error = 1.0 / spread.total
    of = spread.groups.index()
    return _interval_of_correlation(spread.mean, error, of, part, 1, spread, bootstrap, value)


def _interval_of_cc_anom(
    friedel_merged: Groups, friedel_split: Groups, x: Float, sigma: Float, bootstrap: _Bootstrap, value: float
) -> Limits | None:
    """Interval of CC_anom: differences of plain means over pairs with two or more observations of both mates."""
    sizes, starts = friedel_split.sizes(), friedel_split.offsets[:-1]
    parent = np.searchsorted(friedel_merged.offsets[:-1], starts, side="right") - 1
    first = np.flatnonzero((parent[1:] == parent[:-1]) & (sizes[1:] > 1) & (sizes[:-1] > 1))
    if len(first) == 0:
        return None
    wanted = np.zeros(len(friedel_split), bool)
    wanted[first] = wanted[first + 1] = True
    rows = friedel_split.spread(wanted)
    groups, x, variance = friedel_split.subset(rows), x[rows], np.square(sigma[rows])
    n = groups.sizes().astype(np.float64)
    mean = groups.sum(x) / n
    of_mean = groups.sum(variance) / n**2
    size = groups.spread(n)
    expected = variance * (1.0 - 2.0 / size) + groups.spread(of_mean)
    spread = _Spread(rows, groups, mean, n, size, x - groups.spread(mean), expected, float(x.sum()))
    # groups are I+, I-, I+, I-, ...
    sign = groups.spread(np.where(np.arange(len(groups)) % 2 == 0, 1.0, -1.0))
    pair = groups.spread(np.arange(len(groups)) // 2)
    y, error = mean[0::2] - mean[1::2], of_mean[0::2] + of_mean[1::2]
    return _interval_of_correlation(y, error, pair, sign / size, 2, spread, bootstrap, value)


def _interval_of_correlation(
    y: Float,
    error: Float,
    of: Int,
    part: Float,
    means: int,
    spread: _Spread,
    bootstrap: _Bootstrap,
    value: float,
) -> Limits | None:
    """Interval of a correlation of half-set values around its ``value``.

    ``y``, ``error``: values that are correlated and their expected variances, (n_y,).  ``of``: number of the y that a
    row belongs to, ``part``: derivative of that y with respect to the observation, (n_rows,).
    ``means``: number of means that a y is made of.
    """
    larger = spread.n / (spread.n - 1.0)
    square = part * part * larger
    kappa = larger * (1.0 + (means * (spread.n - 1.0) - 1.0) / (SHUFFLES * COINS_PER_SHUFFLE))
    share = _relative(square * spread.residual**2, square * spread.expected, kappa)
    if share is None or not -1.0 < value < 1.0 or len(y) < 3:
        return None
    k = float((square * spread.residual**2).sum() / (square * spread.expected).sum())
    error = k * error
    deviation = y - y.mean()
    total = float((deviation**2).sum())
    if not total > 0:
        return None
    linear = float((4.0 * deviation**2 * error).sum())
    actual = linear - float((2.0 * error**2).sum())
    reduced = math.sqrt(max(actual / linear, 0.0)) if linear > 0 else 0.0
    moved = 2.0 * deviation[of] * part * spread.residual * np.sqrt(larger) * (reduced / total)
    q = (1.0 - value) / (1.0 + value)
    drawn = q * np.exp(bootstrap.drawn("cc_half" if means == 1 else "cc_anom", share - moved, spread.rows))
    return _quantiles((1.0 - drawn) / (1.0 + drawn))


def _relative(terms: Float, expected: Float, kappa: Float) -> Float | None:
    """Effect of each observation on the relative change of the sum of ``terms``; None if that is 0."""
    total, below = float(terms.sum()), float(expected.sum())
    if not (total > 0 and below > 0 and math.isfinite(total / below)):
        return None
    return np.asarray(np.sqrt(kappa) * (terms - (total / below) * expected) / total)


def _kappa_absolute(n: Float) -> Float:
    """kappa of |r| for the sizes n of groups, see above."""
    rho = 1.0 / (n - 1.0)
    correlation = (rho * np.arcsin(rho) + np.sqrt(1.0 - rho * rho) - 1.0) / (0.5 * np.pi - 1.0)
    return np.asarray(1.0 + (n - 1.0) * correlation)


def draws_of(n_blocks: int) -> Int:
    """Numbers of the blocks in each draw; the same in every run.  Returns (n_draws, n_blocks)."""
    # raw words of the generator are the same for all versions of numpy
    words = np.random.PCG64(_SEED).random_raw(DRAWS * n_blocks) >> np.uint64(32)
    return ((words * np.uint64(n_blocks)) >> np.uint64(32)).astype(np.int64).reshape(DRAWS, n_blocks)


def _quantiles(drawn: Float) -> Limits:
    """The central interval of the drawn statistics, (DRAWS,)."""
    low, high = np.quantile(drawn, (0.5 * (1.0 - LEVEL), 0.5 * (1.0 + LEVEL)))
    return float(low), float(high)
