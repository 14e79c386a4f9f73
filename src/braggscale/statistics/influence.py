"""Effect of leaving out a part of the data: delta CC1/2, computed from sums for all parts in one pass.

delta CC1/2 of a part = CC1/2 of all data - CC1/2 without the part, with the analytic CC1/2 of each resolution shell

    CC = (s_y^2 - e)/(s_y^2 + e),   s_y^2 = variance of the means of reflections with two or more observations,
                                    e = mean of their variances of the mean, sum (x - <x>)^2/(n (n - 1)),

averaged over the shells with the numbers of reflections as weights (Assmann, Brehm & Diederichs, J. Appl. Cryst. 49
(2016) 1021). A part with a negative value makes the data worse. Leaving out a part changes n, sum x and sum x^2
only for the reflections that it measured, so one pass over the observations is enough for all parts.

CC1/2 of intensities depends on the few strongest reflections, whose errors grow with the intensity. So one wrong
part of a hundred may hardly change it. If variances V of the observations are given, intensities are first
transformed, in each shell,

    y = asinh(b x/s_0)/b,     s_0^2 the median V of weak observations, b^2 the median of V/x^2 of strong ones:

If errors have the variance s_0^2 + (b x)^2, all y have the error s_0 (Bartlett, Biometrics 3 (1947) 39), and every
reflection has the same influence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Float, Int
from braggscale.statistics.half_sets import cc_of_variances, ratio

# Shells of delta CC1/2, as DIALS.
SHELLS = 10
# A correlation is calculated only if a part has at least this many reflections in common with the rest.
FEWEST_COMMON = 10
# Quantiles of x: observations below the first are weak, above the second strong; s_0 and b are found from these.
WEAK, STRONG = 0.3, 0.8
LEAST_B = 1e-4


@dataclass(frozen=True, slots=True)
class Segments:
    """Rows sorted into segments; a segment is the observations of one reflection in one part.  ``order``: rows, (n,).

    ``offsets``: beginning of each segment in ``order``, and the end, (n_segments + 1,).  ``group``, ``part``: of each
    segment, (n_segments,).
    """

    order: Int
    offsets: Int
    group: Int
    part: Int

    @classmethod
    def of(cls, groups: Groups, part: Int, n_parts: int) -> Segments:
        """``part``: of each row, (n_rows,)."""
        key = groups.index() * n_parts + part
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        first = ordered[starts]
        return cls(order, np.append(starts, len(key)), first // n_parts, first % n_parts)

    def sizes(self) -> Int:
        """Number of rows of each segment, (n_segments,)."""
        return np.diff(self.offsets)

    def sum(self, values: Float) -> Float:
        """Sum over each segment, (n_segments,).  ``values``: (n_rows,)."""
        result: Float = np.add.reduceat(values[self.order], self.offsets[:-1])
        return result


@dataclass(frozen=True, slots=True)
class Influence:
    """Effect of leaving out each part, (n_parts,); NaN where it is not known.

    ``delta``: delta CC1/2.  ``cc_rest``: correlation of the means of the part with those of all others.
    ``cc``: CC1/2 of all data, mean over shells.
    """

    delta: Float
    cc_rest: Float
    cc: float


def stabilised(x: Float, variance: Float, shell: Int) -> Float:
    """Intensities transformed so that their errors are equal within a shell, in the units of x, (n_rows,).

    ``x``: scaled intensities, ``variance``: of them, positive, ``shell``: of each row, 0 to SHELLS - 1, (n_rows,).
    """
    result = x.copy()
    for k in range(SHELLS):
        in_shell = np.flatnonzero(shell == k)
        if not len(in_shell):
            continue
        own, v = x[in_shell], variance[in_shell]
        weak, strong = np.quantile(own, (WEAK, STRONG))
        floor = float(np.median(v[own <= weak])) ** 0.5
        bright = (own >= strong) & (own > 0)
        b = float(np.median(v[bright] / own[bright] ** 2)) ** 0.5 if bright.any() else LEAST_B
        b = max(b, LEAST_B)
        result[in_shell] = floor / b * np.arcsinh(b * own / floor)
    return result


def influence(
    x: Float, groups: Groups, segments: Segments, n_parts: int, s: Float, variance: Float | None = None
) -> Influence:
    """delta CC1/2 and correlation with the rest of each part.

    ``x``: scaled intensities, (n_rows,).  ``s``: 1/d^2 of each group, (n_groups,); shells are of equal width in it.
    ``variance``: of x, (n_rows,), if all reflections shall have the same influence.
    """
    if variance is not None:
        x = stabilised(x, variance, groups.spread(_shells(s)))
    size = groups.sizes().astype(np.float64)
    of_groups = GroupMoments.of(size, groups.sum(x), groups.sum(x * x), groups.sum(np.abs(x)), s)
    at, n_part = segments.group, segments.sizes().astype(np.float64)
    sum_part, square_part = segments.sum(x), segments.sum(x * x)
    delta = of_groups.delta(at, segments.part, (n_part, sum_part, square_part), n_parts)
    unit = of_groups.unit[at]
    rest = of_groups.n[at] - n_part, of_groups.sums[at] - sum_part / unit
    return Influence(delta, _with_the_rest(segments, n_part, sum_part / unit, rest, n_parts), of_groups.cc)


@dataclass(frozen=True, slots=True)
class GroupMoments:
    """Sums over all observations of each reflection, (n_groups,): number, x and x^2 in units of ``unit``.

    ``shell``: of each reflection.  ``unit``: mean |x| of its shell, so that no shell dominates a correlation.
    """

    n: Float
    sums: Float
    squares: Float
    shell: Int
    unit: Float

    @classmethod
    def of(cls, n: Float, sums: Float, squares: Float, sizes: Float, s: Float) -> GroupMoments:
        """From sums of each reflection: ``n`` of 1, ``sums`` of x, ``squares`` of x^2, ``sizes`` of |x|, (n_groups,)
        each.

        ``s``: 1/d^2, 1/Angstrom^2, (n_groups,).
        """
        shell = _shells(s)
        level = ratio(_total(shell, SHELLS, sizes), _total(shell, SHELLS, n))
        unit = np.where(level > 0, level, 1.0)[shell]
        return cls(n, sums / unit, squares / unit**2, shell, unit)

    def _everything(self) -> list[Float]:
        return [_total(self.shell, SHELLS, v) for v in _moments(self.n, self.sums, self.squares)]

    @property
    def cc(self) -> float:
        """CC1/2 of all data, mean over shells."""
        return float(_mean_cc(*(every[None] for every in self._everything()))[0])

    def delta(self, at: Int, part: Int, sums: tuple[Float, Float, Float], n_parts: int) -> Float:
        """delta CC1/2 of each part, (n_parts,), NaN where it is not known.

        ``at``, ``part``: reflection and part of each segment, ``sums``: of 1, x and x^2 over it, (n_segments,) each.
        """
        unit, everything = self.unit[at], self._everything()
        n, x, squares = self.n[at], self.sums[at], self.squares[at]
        old, new = _moments(n, x, squares), _moments(n - sums[0], x - sums[1] / unit, squares - sums[2] / unit**2)
        where = part * SHELLS + self.shell[at]
        without = [
            every + _total(where, n_parts * SHELLS, after - before).reshape(n_parts, SHELLS)
            for every, after, before in zip(everything, new, old, strict=True)
        ]
        cc = float(_mean_cc(*(every[None] for every in everything))[0])
        return cc - _mean_cc(*without)


def _shells(s: Float) -> Int:
    """Shell of each reflection, of equal width in 1/d^2, (n_groups,).  ``s``: 1/d^2, 1/Angstrom^2, (n_groups,)."""
    low, high = float(s.min()), float(s.max())
    shell: Int = np.minimum((s - low) * (SHELLS / max(high - low, 1e-12)), SHELLS - 1).astype(np.int64)
    return shell


def _moments(n: Float, sums: Float, squares: Float) -> tuple[Float, Float, Float, Float]:
    """A reflection's number (1), variance of the mean, mean and mean^2; zeros for fewer than two observations."""
    several = n > 1.5
    mean = np.where(several, sums / np.maximum(n, 1.0), 0.0)
    scatter = np.maximum(squares - sums * mean, 0.0)
    variance = np.divide(scatter, n * (n - 1.0), out=np.zeros(len(n)), where=several)
    return several.astype(np.float64), variance, mean, mean * mean


def _mean_cc(number: Float, variance: Float, mean: Float, square: Float) -> Float:
    """Mean CC1/2 over the shells.  All: (n_parts, SHELLS)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cc = cc_of_variances((square - mean * mean / number) / (number - 1.0), variance / number)
    known = (number > 2.5) & np.isfinite(cc)
    return ratio(np.where(known, number * cc, 0.0).sum(axis=1), np.where(known, number, 0.0).sum(axis=1))


def _with_the_rest(segments: Segments, n: Float, sums: Float, rest: tuple[Float, Float], n_parts: int) -> Float:
    shared = rest[0] > 0.5
    part = segments.part[shared]
    a, b = (sums / n)[shared], (rest[1][shared] / rest[0][shared])
    number = _total(part, n_parts)
    mean_a, mean_b = (ratio(_total(part, n_parts, v), number) for v in (a, b))
    a, b = a - mean_a[part], b - mean_b[part]
    product, left, right = (_total(part, n_parts, v) for v in (a * b, a * a, b * b))
    result = ratio(product, np.sqrt(left * right))
    result[number < FEWEST_COMMON] = np.nan
    return result


def _total(index: Int, n: int, values: Array | None = None) -> Float:
    """Sum of ``values``, or number of entries, in each bin, (n,).  ``index``: bin of each entry, (k,)."""
    return np.bincount(index, values, n).astype(np.float64)
