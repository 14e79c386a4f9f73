"""Correlations between halves of the data: CC1/2, CC_anom, and the analytic CC1/2.

The observations of each unique reflection are divided at random into halves of equal number (if the number is odd, the
last one goes to either half at random). Each half is averaged, and the two sets of averages are correlated over
reflections (Karplus & Diederichs, Science 336 (2012) 1030). The result of one division is noisy: for a shell of a
hundred reflections that were measured six times, CC1/2 = 0.50 is higher or lower by 0.05 by chance (simulated). The
mean of twelve divisions has the same expectation, so it is comparable with the one division that DIALS makes, and its
scatter is a third.

A new random division from scratch would need a sort. Here the rows are shuffled within their reflection a few times.
For each shuffle, neighbours (1, 2), (3, 4), ... form pairs, and a random bit for each pair decides which member goes to
which half. All divisions into equal halves have the same probability.

The analytic form (Assmann, Brehm & Diederichs, J. Appl. Cryst. 49 (2016) 1021) needs no division,

    CC = (s_y^2 - s_e^2/2) / (s_y^2 + s_e^2/2),

s_y^2 the variance of the reflections' plain means, s_e^2/2 the mean over reflections of the variance of the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups, in_blocks
from braggscale.numerics.array_types import Array, Bool, Float, Int, UInt
from braggscale.numerics.compiled import agreement

SHUFFLES = 3
COINS_PER_SHUFFLE = 4
# Two points always correlate perfectly.
FEWEST_PAIRS = 3
# One-sided level at which a correlation is called significant, as in DIALS' tables.
SIGNIFICANCE = 0.01
_SEED = 1


@dataclass(frozen=True, slots=True)
class Division:
    """One division of the observations into halves.

    ``which``: numbers of the groups, or of the pairs of mates, that are divided.  ``first``, ``second``: means of their
    halves, or I+ - I- of these, (k,) each.
    """

    which: Int
    first: Float
    second: Float


def r_split(division: Division, shell: Int, n: int) -> Float:
    """R_split of each shell and of all, (n + 1,): 2^(-1/2) sum |I1 - I2| / (sum (I1 + I2)/2).

    I1, I2: means of the two halves of a reflection (White et al., J. Appl. Cryst. 45 (2012) 335).
    ``shell``: of each group, 0 to n - 1, (n_groups,).
    """
    within = shell[division.which]
    difference = count(within, n, np.abs(division.first - division.second))
    total = count(within, n, 0.5 * (division.first + division.second))
    return ratio(difference / np.sqrt(2.0), total)


def cc_half(groups: Groups, weight: Float, x: Float, shell: Int, n: int) -> tuple[Float, Int]:
    """CC1/2 of each shell and of all: the correlation of weighted half-set means, averaged over all divisions.

    ``weight``, ``x``: weights and scaled intensities, (n_rows,).  ``shell``: of each group, 0 to n - 1, (n_groups,).
    Returns the correlations, NaN below three reflections, and the numbers of reflections with two or more
    observations, (n + 1,) each, the last entry for all. The divisions are the same in every run.
    """
    return mean_correlation(halves_of_groups(groups, weight, x), shell, n)


def halves_of_groups(groups: Groups, weight: Float, x: Float) -> Iterator[Division]:
    """Divisions of all groups with two or more rows.  ``weight``, ``x``: (n_rows,)."""
    several = groups.sizes() > 1
    rows, which = np.flatnonzero(groups.spread(several)), np.flatnonzero(several)
    halves = _halves(groups.choose(several), weight[rows], x[rows])
    return (Division(which, first, second) for first, second in halves)


def mean_correlation(divisions: Iterable[Division], shell: Int, n: int) -> tuple[Float, Int]:
    """The correlation of two halves in each shell and over all, averaged over divisions, and the numbers of pairs.

    ``shell``: of each group (or pair of mates) that a division may name, 0 to n - 1, (n_groups,).
    Returns (n + 1,) each, the last entry for all; the numbers are those of the first division.
    """
    total, divided = np.zeros(n + 1), 0
    pairs = np.zeros(n + 1, np.int64)
    for one in divisions:
        within = shell[one.which]
        total += correlation(one.first, one.second, within, n)
        if not divided:
            pairs = count(within, n).astype(np.int64)
        divided += 1
    result = total / max(divided, 1)
    result[pairs < FEWEST_PAIRS] = np.nan
    return result, pairs


def cc_anomalous(friedel_split: Groups, plus: Int, minus: Int, x: Float, shell: Int, n: int) -> tuple[Float, Int]:
    """CC_anom of each shell and of all: correlation of the anomalous differences I+ - I- of the two halves.

    Half-set means have unit weights, as in DIALS. Only reflections with two or more observations of both mates count.
    ``friedel_split``: groups with I+ and I- apart.  ``plus``, ``minus``: groups of the mates of each pair, (n_pairs,).
    ``x``: (n_rows,).  ``shell``: of each pair, (n_pairs,).
    Returns correlations and numbers of pairs as ``cc_half``, (n + 1,) each.
    """
    return mean_correlation(halves_of_differences(friedel_split, plus, minus, x), shell, n)


def halves_of_differences(friedel_split: Groups, plus: Int, minus: Int, x: Float) -> Iterator[Division]:
    """Divisions of all pairs with two or more rows of both mates: I+ - I- of both halves.

    ``plus``, ``minus``: groups of the mates of each pair, (n_pairs,).  ``x``: (n_rows,).
    """
    sizes = friedel_split.sizes()
    both = (sizes[plus] > 1) & (sizes[minus] > 1)
    wanted = np.zeros(len(friedel_split), bool)
    wanted[plus[both]] = wanted[minus[both]] = True
    place = np.cumsum(wanted) - 1
    plus, minus = place[plus[both]], place[minus[both]]
    rows = np.flatnonzero(friedel_split.spread(wanted))
    divisions = _halves(friedel_split.choose(wanted), np.ones(len(rows)), x[rows])
    which = np.flatnonzero(both)
    return (Division(which, one[plus] - one[minus], other[plus] - other[minus]) for one, other in divisions)


def cc_half_analytic(groups: Groups, x: Float, shell: Int, n: int) -> Float:
    """CC1/2 of each shell and of all from variances, (n + 1,); NaN below three reflections.

    ``x``: scaled intensities, (n_rows,).  ``shell``: of each group, (n_groups,).  DIALS takes no variance of a mean as
    smaller than 1/n in the units of x.
    """
    sizes = groups.sizes()
    mean = groups.sum(x) / np.maximum(sizes, 1)
    return cc_half_of_scatter(sizes, mean, groups.sum((x - groups.spread(mean)) ** 2), shell, n)


def cc_half_of_scatter(sizes: Int, mean: Float, scatter: Float, shell: Int, n: int) -> Float:
    """``cc_half_analytic`` from sums over the observations of each reflection.

    ``sizes``: numbers of observations, ``mean``: their plain mean, ``scatter``: sum of (x - mean)^2, ``shell``:
    0 to n - 1, (n_groups,).  Returns (n + 1,).
    """
    several = sizes > 1
    scatter = scatter[several]
    sizes, mean, within = sizes[several], mean[several], shell[several]
    number = count(within, n)
    error = ratio(count(within, n, scatter / ((sizes - 1.0) * sizes)), number)
    spread = ratio(_products(mean, mean, within, n), number - 1)
    result = cc_of_variances(spread, error)
    result[number < FEWEST_PAIRS] = np.nan
    return result


def cc_of_variances(spread: Array, error: Array) -> Float:
    """CC1/2 = (s_y^2 - e)/(s_y^2 + e) without dividing the data, any shape, NaN where it is not defined.

    ``spread``: s_y^2, variance of the reflections' means, any shape.
    ``error``: e, mean over reflections of the variance of the mean, of the same shape, for example (n_shells,); the
    mean of a half data set has twice this variance (Assmann, Brehm & Diederichs, J. Appl. Cryst. 49 (2016) 1021).
    """
    return ratio(spread - error, spread + error)


def correlation(x: Float, y: Float, shell: Int, n: int) -> Float:
    """Pearson correlation of x and y, (k,), in each shell and over all, (n + 1,); NaN where it is not defined."""
    both = np.sqrt(_products(x, x, shell, n) * _products(y, y, shell, n))
    result = ratio(_products(x, y, shell, n), both)
    result[count(shell, n) < FEWEST_PAIRS] = np.nan
    return result


def count(shell: Int, n: int, values: Array | None = None) -> Float:
    """Sum of ``values``, or number of entries, in each shell 0 to n - 1 and, as the last, over all, (n + 1,)."""
    sums = np.bincount(shell, values, n).astype(np.float64)
    return np.append(sums, sums.sum())


def ratio(above: Array, below: Array) -> Float:
    """``above`` / ``below``, any shape, NaN where the denominator is not positive."""
    result: Float = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
    return result


def _products(x: Float, y: Float, shell: Int, n: int) -> Float:
    """Sum of (x - <x>)(y - <y>) in each shell and over all, (n + 1,)."""
    number = count(shell, n)
    mean_x, mean_y = ratio(count(shell, n, x), number), ratio(count(shell, n, y), number)
    sums = count(shell, n, (x - mean_x[shell]) * (y - mean_y[shell]))
    sums[n] = ((x - mean_x[n]) * (y - mean_y[n])).sum()  # not by BLAS: its rounding depends on the threads
    return sums


def critical_correlation(pairs: Array) -> Float:
    """Smallest correlation, (k,), that is significant at the level 0.01, one-sided, for numbers of ``pairs``, (k,).

    r = t / sqrt(n - 2 + t^2), t Student's quantile for n - 2 degrees of freedom; NaN for fewer than three pairs.
    """
    from scipy.special import stdtrit

    n = np.asarray(pairs, np.float64)
    freedom = np.where(n >= FEWEST_PAIRS, n - 2, np.nan)
    t = stdtrit(freedom, 1 - SIGNIFICANCE)
    critical: Float = np.asarray(t / np.sqrt(freedom + t * t), np.float64)
    return critical


def _halves(groups: Groups, weight: Float, x: Float) -> Iterator[tuple[Float, Float]]:
    """Weighted means of random halves of each group; no group may have fewer than two rows.

    Both halves are summed directly. A half that is computed as the total minus the other one would lose its digits
    if one row had a much larger weight than the others.
    """
    if len(groups) == 0:
        return
    random = np.random.PCG64(_SEED)
    pairs = np.append(0, np.cumsum((groups.sizes() + 1) // 2))
    for _ in range(SHUFFLES):
        # the raw words of the generator are the same in all versions of numpy; the derived random numbers are not
        words = random.random_raw(groups.n_rows)
        coins = np.stack([_coins(int(pairs[-1]), random) for _ in range(COINS_PER_SHUFFLE)])
        first, second = np.empty((2, COINS_PER_SHUFFLE, len(groups)))

        def block(
            start: int,
            end: int,
            words: UInt = words,
            coins: Bool = coins,
            halves: tuple[Float, Float] = (first, second),
        ) -> None:
            """Means of both halves of the groups from ``start`` to ``end``."""
            agreement.halve(start, end, groups.offsets, words, pairs, coins, weight, x, *halves)

        in_blocks(groups, block)
        yield from zip(first, second, strict=True)


def _coins(n: int, random: np.random.PCG64) -> Bool:
    """Tosses of a coin, (n,), from the raw words of the generator."""
    words = np.atleast_1d(random.random_raw(-(-n // 64))).astype("<u8")
    return np.unpackbits(words.view(np.uint8), count=n).astype(bool)
