"""Anomalous differences D = I+ - I-: against their errors, and of one half of the data against the other.

The observations of I+ and of I- are divided into two halves: in the order of images they go alternately to one half
and the other, and a random number with a fixed seed decides which half is first. Weights are 1, as in DIALS. The
RMS correlation ratio rms(D1 + D2)/rms(D1 - D2) is the length divided by the width of the cloud D1 against D2
(Evans, Acta Cryst. D62 (2006) 72); 1 without signal.
"""

from __future__ import annotations

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.report.numbers.json_numbers import column, count_grid, numbers, share, significant, total
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_sections import AnomalousNormalPlot, AnomalousSignal, HalfSetDifferences

CELLS = 41
_SEED = 1
_QUANTILES = np.linspace(-3.6, 3.6, 73)
FEWEST = 10


def anomalous(seen: Observed, significant_shells: Bool) -> AnomalousSignal | None:
    """Normal probability plot, scatter of half-set differences, RMS correlation ratio; None without pairs.

    ``significant_shells``: those whose CC_anom is significant, (n_shells,).  The first two plots use the shells up to
    the first that is not, or all if that is the first one.
    """
    starts = seen.friedel_split.offsets[:-1]
    parent = np.searchsorted(seen.friedel_merged.offsets[:-1], starts, side="right") - 1
    plus = np.flatnonzero(parent[1:] == parent[:-1])
    if len(plus) < FEWEST:
        return None
    shell = seen.shell[parent[plus]]
    leading = int(np.argmin(np.append(significant_shells, False)))
    last = leading if leading else seen.n_shells
    weight = seen.sigma**-2
    sums = seen.friedel_split.sum(weight)
    mean = seen.friedel_split.sum(weight * seen.x) / sums
    z = (mean[plus] - mean[plus + 1]) / np.sqrt(1.0 / sums[plus] + 1.0 / sums[plus + 1])
    first, second, both = _half_differences(seen, plus)
    n = seen.n_shells
    above, below = (total(shell[both], n, v * v) for v in (first + second, first - second))
    number = total(shell[both], n)
    inner = shell[both] < last
    return AnomalousSignal(
        d_min=significant(float(seen.limits[last] ** -0.5)),
        pairs=len(plus),
        normal=_normal(z[shell < last]),
        halves=_scatter(first[inner], second[inner]),
        df_over_sigma=column(_of_amplitudes(mean, sums, plus, shell, n)),
        rms_ratio=column(np.where(number >= FEWEST, np.sqrt(share(above, below)), np.nan)),
    )


def _of_amplitudes(mean: Float, weight: Float, plus: Int, shell: Int, n: int) -> Float:
    """Mean |F+ - F-| over its standard deviation by shell, of pairs with both above three sigma, (n,).

    F = sqrt(I), sigma(F) = sigma(I)/(2 F).  ``mean``, ``weight``: of each group, ``plus``: groups that are an I+.
    """
    strong = np.minimum(mean[plus] * np.sqrt(weight[plus]), mean[plus + 1] * np.sqrt(weight[plus + 1])) > 3.0
    one, place = plus[strong], shell[strong]
    f = [np.sqrt(mean[k]) for k in (one, one + 1)]
    variance = sum(1.0 / (4.0 * weight[k] * mean[k]) for k in (one, one + 1))
    ratio = np.abs(f[0] - f[1]) / np.sqrt(variance)
    number = total(place, n)
    return np.where(number >= FEWEST, share(total(place, n, ratio), number), np.nan)


def _normal(z: Float) -> AnomalousNormalPlot | None:
    from scipy.special import ndtr

    n = len(z)
    if n < FEWEST:
        return None
    level = ndtr(_QUANTILES) * n
    inside = (level >= 0.5) & (level <= n - 0.5)
    return AnomalousNormalPlot(
        expected=numbers(_QUANTILES[inside]),
        observed=numbers(np.interp(level[inside], np.arange(n) + 0.5, np.sort(z)), 3),
    )


def _half_differences(seen: Observed, plus: Int) -> tuple[Float, Float, Bool]:
    """D of either half, and which pairs have two or more observations of both mates, (n_pairs,)."""
    sizes = seen.friedel_split.sizes()
    both = (sizes[plus] > 1) & (sizes[plus + 1] > 1)
    coin = np.random.PCG64(_SEED).random_raw(len(sizes)) >> np.uint64(63)
    place = np.arange(seen.friedel_split.n_rows) - seen.friedel_split.spread(seen.friedel_split.offsets[:-1])
    odd = ((place + seen.friedel_split.spread(coin.astype(np.int64))) & 1).astype(np.float64)
    n_odd, sum_odd = seen.friedel_split.sum(odd), seen.friedel_split.sum(odd * seen.x)
    one = share(sum_odd, n_odd)
    other = share(seen.friedel_split.sum(seen.x) - sum_odd, sizes - n_odd)
    found: list[Float] = []
    for half in (one, other):
        found.append(half[plus[both]] - half[plus[both] + 1])
    return found[0], found[1], both


def _scatter(first: Float, second: Float) -> HalfSetDifferences | None:
    """Numbers of pairs by D1 and D2, in the range of the central 99 %; the others are counted at its edge."""
    if len(first) < FEWEST:
        return None
    limit = float(np.quantile(np.abs(np.concatenate((first, second))), 0.99))
    if not limit > 0:
        return None
    i, j = (np.clip((v / limit + 1) * (CELLS / 2), 0, CELLS - 1).astype(np.int64) for v in (first, second))
    return HalfSetDifferences(
        limit=significant(limit), counts=count_grid(total(j * CELLS + i, CELLS * CELLS).reshape(CELLS, CELLS))
    )
