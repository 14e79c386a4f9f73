"""Statistics of two half data sets in addition to CC1/2: R_split, and correlations weighted by errors.

The observations of each reflection are divided once into random halves with means a and b of standard deviations s_a
and s_b (Merged.half1, half2). Over the reflections of a shell,

    R_split          = sum |a - b| / (sqrt(2) sum (a + b)/2)             White et al., J. Appl. Cryst. 45 (2012) 335
    weighted R_split = the same with weights w in both sums
    weighted CC      = correlation of a and b with weights w = 1/(s_a^2 + s_b^2 + 0.01 median(s_a^2 + s_b^2))
    n_eff            = (sum w)^2 / sum w^2

The weighted CC_anom is the same for a = I+ - I- of the first halves of both mates, b that of the second halves. A
few strong reflections may decide a correlation without weights; n_eff is the number of reflections that effectively
decide the weighted one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import UnitCell, inverse_d_squared
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.statistics.half_sets import FEWEST_PAIRS, count, ratio
from braggscale.statistics.merging import Merged, merge

# Fraction of the median variance that is added to each variance, so that no weight is extremely large.
FLOOR = 0.01


@dataclass(frozen=True, slots=True)
class HalfSets:
    """Statistics of halves by shell and, last, of all, (n + 1,); NaN below three pairs.

    ``d_min``: where each shell ends, Angstrom, the last entry that of all.  ``pairs``: reflections with two halves.
    ``r_split``, ``r_split_weighted``: as above.  ``cc``, ``n_eff``: weighted CC1/2.  ``cc_anom``, ``n_eff_anom``:
    weighted CC_anom; NaN for centrosymmetric groups.
    """

    d_min: Float
    pairs: Int
    r_split: Float
    r_split_weighted: Float
    cc: Float
    n_eff: Float
    cc_anom: Float
    n_eff_anom: Float


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Halves of k reflections with their weights, (k,), and the shell of each, (k,)."""

    first: Float
    second: Float
    weight: Float
    shell: Int

    @classmethod
    def of(cls, first: Float, second: Float, variance: Float, shell: Int) -> _Pairs:
        """Those that are known.  All (n,); ``variance``: of first - second."""
        good = np.isfinite(first) & np.isfinite(second) & np.isfinite(variance)
        known = variance[good]
        floor = FLOOR * float(np.median(known)) if len(known) else 0.0
        return cls(first[good], second[good], 1.0 / (known + floor), shell[good])


def half_set_statistics(
    hkl: Array, x: Float, sigma: Float, symmetry: Symmetry, cell: UnitCell, d_min: Float
) -> HalfSets:
    """Statistics of halves of scaled observations.

    ``hkl``: Miller indices as measured, (n, 3), ``x``: I/g, ``sigma``: of x, (n,).  ``d_min``: where each of the shells
    ends, Angstrom, falling, (n_shells,); reflections beyond the last do not count.
    """
    n = len(d_min)
    _, minus = symmetry.asu(np.asarray(hkl))
    merged = merge(hkl, x, sigma, symmetry)
    shell, inside = _shells(merged, cell, d_min)
    merged = merged.take(inside)
    variance = merged.sigma_half1**2 + merged.sigma_half2**2
    pairs = _Pairs.of(merged.half1, merged.half2, variance, shell[inside])
    unit = _Pairs(pairs.first, pairs.second, np.ones(len(pairs.first)), pairs.shell)
    cc, n_eff = _correlation(pairs, n)
    cc_anom, n_eff_anom = np.full(n + 1, np.nan), np.full(n + 1, np.nan)
    if not symmetry.centrosymmetric:
        cc_anom, n_eff_anom = _correlation(_differences(hkl, x, sigma, minus, symmetry, cell, d_min), n)
    return HalfSets(
        np.append(d_min, d_min[-1:]),
        count(pairs.shell, n).astype(np.int64),
        _r_split(unit, n),
        _r_split(pairs, n),
        cc,
        n_eff,
        cc_anom,
        n_eff_anom,
    )


def _shells(merged: Merged, cell: UnitCell, d_min: Float) -> tuple[Int, Bool]:
    """Shell of each reflection, and whether it is in one, (n,)."""
    s = inverse_d_squared(merged.hkl, cell)
    ends = d_min**-2.0
    ends[-1] *= 1 + 1e-9
    shell = np.searchsorted(ends, s, side="left")
    return shell, (shell < len(d_min)) & ~merged.absent


def _differences(
    hkl: Array, x: Float, sigma: Float, minus: Bool, symmetry: Symmetry, cell: UnitCell, d_min: Float
) -> _Pairs:
    """Differences of mates in both halves.  ``minus``: observations of I-, (n,)."""
    plus, other = (merge(hkl[rows], x[rows], sigma[rows], symmetry) for rows in (~minus, minus))
    keys = [[tuple(row) for row in one.hkl.tolist()] for one in (plus, other)]
    place = {key: k for k, key in enumerate(keys[1])}
    mates = np.array([place.get(key, -1) for key in keys[0]], np.int64)
    shell, inside = _shells(plus, cell, d_min)
    keep = inside & (mates >= 0) & ~plus.centric
    a, b = plus.take(keep), other.take(mates[keep])
    variance = a.sigma_half1**2 + a.sigma_half2**2 + b.sigma_half1**2 + b.sigma_half2**2
    return _Pairs.of(a.half1 - b.half1, a.half2 - b.half2, variance, shell[keep])


def _r_split(pairs: _Pairs, n: int) -> Float:
    """R_split of each shell and of all, (n + 1,)."""
    w = pairs.weight
    away = count(pairs.shell, n, w * np.abs(pairs.first - pairs.second))
    total = count(pairs.shell, n, 0.5 * w * (pairs.first + pairs.second))
    result = ratio(away / np.sqrt(2.0), total)
    result[count(pairs.shell, n) < FEWEST_PAIRS] = np.nan
    return result


def _correlation(pairs: _Pairs, n: int) -> tuple[Float, Float]:
    """Weighted correlation of each shell and of all, and the effective number of pairs, (n + 1,) each."""
    shell, w = pairs.shell, pairs.weight
    total = count(shell, n, w)
    means = [ratio(count(shell, n, w * values), total) for values in (pairs.first, pairs.second)]
    own = [values - mean[shell] for values, mean in zip((pairs.first, pairs.second), means, strict=True)]
    whole = [values - mean[n] for values, mean in zip((pairs.first, pairs.second), means, strict=True)]

    def product(i: int, j: int) -> Float:
        """Weighted sum of products of deviations, by shell and over all, (n + 1,)."""
        sums = count(shell, n, w * own[i] * own[j])
        sums[n] = float((w * whole[i] * whole[j]).sum())
        return sums

    result = ratio(product(0, 1), np.sqrt(product(0, 0) * product(1, 1)))
    result[count(shell, n) < FEWEST_PAIRS] = np.nan
    return result, ratio(total**2, count(shell, n, w * w))
