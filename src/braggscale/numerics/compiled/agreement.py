"""Compiled passes over unique reflections: residuals for the error model and for the intensity choice, half sets.

Every function works on the groups ``first <= h < last`` of one block; arguments are described in variance.py. The sums
over all rows (``scoring_sums``, ``compare``) are added up by the caller in the order of the blocks. Each has a slow
twin in tests/naive.py.
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.variance import ROW_JIT, with_error_model


@njit(
    "void(int64, int64, int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], boolean[::1], "
    "UniTuple(float64, 3), float64[::1], float64[::1], float64[::1])",
    **ROW_JIT,
)
def residuals(first, last, offsets, intensity, expected, scale, fitted, out, error_model, square, freedom, mu):
    """Fill r^2/f, f = (1 - h)(1 - s) and mu = g I_h, (n,), of the rows that are not ``out``; of the others 0, 0 and mu.

    I_h is weighted with 1/V, then three times with 1/V' at the I_h before.  f is 0 for a member that is alone in
    its group.  s = mu^2 var(g)/g^2/V', at most 0.9; ``fitted``: var(g)/g^2, (n,), or empty where s = 0.
    ``error_model``: a2, b2, linear.
    """
    a2, b2, linear = error_model
    longest = 0
    for h in range(first, last):
        longest = max(longest, offsets[h + 1] - offsets[h])
    v = np.empty(longest)
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        for i in range(lo, hi):
            v[i - lo] = expected[i]
        mean, below = 0.0, 0.0
        for step in range(4):
            above, below = 0.0, 0.0
            for i in range(lo, hi):
                if not out[i]:
                    w = scale[i] / v[i - lo]
                    above += w * intensity[i]
                    below += w * scale[i]
            mean = above / below if below > 0.0 else 0.0
            if step < 3:
                for i in range(lo, hi):
                    v[i - lo] = with_error_model(expected[i], scale[i] * mean, a2, b2, linear)
        for i in range(lo, hi):
            mu[i] = scale[i] * mean
            left = 0.0 if out[i] else 1.0 - scale[i] * scale[i] / (v[i - lo] * below)
            if len(fitted):
                left *= 1.0 - min(mu[i] * mu[i] * fitted[i] / v[i - lo], 0.9)
            if left > 1e-6:
                freedom[i] = left
                square[i] = (intensity[i] - mu[i]) * (intensity[i] - mu[i]) / left
            else:
                freedom[i] = 0.0
                square[i] = 0.0


@njit(
    "void(int64, int64, float64[::1], float64[::1], float64[::1], float64[::1], UniTuple(float64, 3), float64, "
    "float64[::1])",
    **ROW_JIT,
)
def scoring_sums(first, last, square, freedom, expected, mu, error_model, cut2, sums):
    """Add the 11 sums of a scoring step over the rows first to last - 1 with z^2 <= ``cut2``, (11,).

    With x = (V, mu^2, mu+), y = r^2/(1 - h) and w = (1 - h)/V'^2:  w x x' (00, 01, 02, 11, 12, 22), w x y, w V' y,
    w V'^2.  ``error_model``: a2, b2, linear.
    """
    a2, b2, linear = error_model
    for i in range(first, last):
        if not freedom[i] > 0.0:
            continue
        x0, x1, x2, y = expected[i], mu[i] * mu[i], max(mu[i], 0.0), square[i]
        current = with_error_model(x0, mu[i], a2, b2, linear)
        if not y <= cut2 * current:
            continue
        w = freedom[i] / (current * current)
        sums[0] += w * x0 * x0
        sums[1] += w * x0 * x1
        sums[2] += w * x0 * x2
        sums[3] += w * x1 * x1
        sums[4] += w * x1 * x2
        sums[5] += w * x2 * x2
        sums[6] += w * x0 * y
        sums[7] += w * x1 * y
        sums[8] += w * x2 * y
        sums[9] += w * current * y
        sums[10] += w * current * current


@njit(
    "void(int64, int64, int64[::1], float64[::1], float64[::1], float64[::1], float64, float64[::1], float64[::1], "
    "float64[::1], boolean[::1], float64[::1], float64[::1], float64[::1], float64[::1])",
    **ROW_JIT,
)
def compare(
    first, last, offsets, summed, profile, raw, midpoint, weight, scale, mean_intensity, strong,
    residual, plain, scatter, sums,
):  # fmt: skip
    """A candidate for the intensities: residuals I - g m (n,) from its weighted means m, and sums over groups.

    ``midpoint``: 0 profile, 1 summation, else the mixture with u = 1/(1 + (raw/midpoint)^3).
    ``mean_intensity``: I_h of the reference, (n_groups,).  Adds sum w g m g I_h, sum w (g I_h)^2, and over the
    ``strong`` groups sum sqrt(n/(n - 1)) |x - m| and sum x, x = I/g; fills their plain mean of x and its variance,
    (n_groups,).
    """
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        n = hi - lo
        above, below, total = 0.0, 0.0, 0.0
        for i in range(lo, hi):
            if midpoint == 0.0:
                value = profile[i]
            elif midpoint == 1.0:
                value = summed[i]
            else:
                ratio = min(raw[i] / midpoint, 1e100)
                u = 1.0 / (1.0 + ratio * ratio * ratio)
                value = u * profile[i] + (1.0 - u) * summed[i]
            residual[i] = value
            above += weight[i] * scale[i] * value
            below += weight[i] * scale[i] * scale[i]
            total += value / scale[i]
        mean = above / below if below > 0.0 else 0.0
        average = total / n
        deviation, squares = 0.0, 0.0
        for i in range(lo, hi):
            x = residual[i] / scale[i]
            deviation += abs(x - mean)
            squares += (x - average) * (x - average)
            reference = scale[i] * mean_intensity[h]
            sums[0] += weight[i] * scale[i] * mean * reference
            sums[1] += weight[i] * reference * reference
            residual[i] -= scale[i] * mean
        if strong[h]:
            sums[2] += np.sqrt(n / (n - 1.0)) * deviation
            sums[3] += total
            plain[h] = average
            scatter[h] = squares / (n - 1.0) / n


@njit(
    "void(int64, int64, int64[::1], uint64[::1], int64[::1], boolean[:, ::1], float64[::1], float64[::1], "
    "float64[:, ::1], float64[:, ::1])",
    **ROW_JIT,
)
def halve(first, last, offsets, words, pairs, coins, weight, x, one, other):
    """Weighted means of random halves of each group, for each row of coins, (n_coins, n_groups) each.

    Rows are sorted by their ``words`` (n,). Neighbours (1, 2), (3, 4), ... form pairs, numbered from pairs[h] on,
    and ``coins`` (n_coins, n_pairs) decides which member of a pair goes to the half ``one``; the second goes to
    ``other``.
    """
    longest = 0
    for h in range(first, last):
        longest = max(longest, offsets[h + 1] - offsets[h])
    order = np.empty(longest, np.int64)
    for h in range(first, last):
        lo = offsets[h]
        n = offsets[h + 1] - lo
        gap = 1
        while gap < n // 3:
            gap = 3 * gap + 1
        for i in range(n):
            order[i] = lo + i
        while gap > 0:
            for i in range(gap, n):
                k = order[i]
                j = i
                while j >= gap and words[order[j - gap]] > words[k]:
                    order[j] = order[j - gap]
                    j -= gap
                order[j] = k
            gap //= 3
        for c in range(len(coins)):
            above_1, below_1, above_2, below_2 = 0.0, 0.0, 0.0, 0.0
            for i in range(n):
                k = order[i]
                if coins[c, pairs[h] + (i >> 1)] != (i & 1):
                    above_1 += weight[k] * x[k]
                    below_1 += weight[k]
                else:
                    above_2 += weight[k] * x[k]
                    below_2 += weight[k]
            one[c, h] = above_1 / below_1
            other[c, h] = above_2 / below_2
