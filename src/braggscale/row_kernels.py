"""Compiled passes over the rows of each unique reflection: what a round does beside the fit.

As in ``kernels`` every function works on the groups ``first <= h < last`` of one block, on arrays that it is given, and
releases the interpreter lock. Everything here is within a group, so the cut into blocks changes no number, except for
sums over all rows (``scoring_sums``, ``compare``), which the caller adds up in the order of the blocks. Each has a slow
twin in tests/naive.py.

Arguments that several share
    offsets     (n_groups + 1,) rows of each unique reflection
    intensity, variance, scale, factor   (n,) I, observed V, g, I/I_raw
    data_set    (n,) int32, and by data set: gain, floor, a2, b2, linear  (n_sets,), the variance law

        V'(mu) = a2 (V_e + linear max(mu, 0) + b2 mu^2),
        V_e = max(V - r I^2 + gain factor (mu - |I|), factor^2 floor) + r mu^2, without gain V - r I^2 + r mu^2

    relative    (n,) r, or empty where it is 0
"""

from typing import Any

import numpy as np

from braggscale.jit import njit

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}
_LAW = (
    "float64[::1], float64[::1], float64[::1], float64[::1], int32[::1], "
    "float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1]"
)
# Below this share of the weight of a group the others know nothing about a member, and rounding decides the rest.
_NEGLIGIBLE = 1e-10
# The part of a variance that counting errors have at least where all the rest is the partiality's.
_ROUNDING = 1e-12
# Deviations that differ by less than this are equal: which one is larger must not depend on the order of the rows.
_TIE = 1e-9
# A member weighs at most this many times the median of its group.
_CAP = 10.0


@njit("float64(" + ", ".join(["float64"] * 10) + ")", **_JIT)
def law(intensity, variance, factor, mu, gain, floor, a2, b2, linear, relative):
    """V' of one row at the expected intensity mu."""
    if relative > 0.0:
        # what is left may be lost in rounding where the partiality is everything
        variance = max(variance - relative * intensity * intensity, _ROUNDING * variance)
    if gain > 0.0:
        variance = max(variance + gain * factor * (mu - abs(intensity)), factor * factor * floor)
    return a2 * (variance + linear * max(mu, 0.0) + (b2 + relative) * mu * mu)


@njit("void(int64, int64, int64[::1], " + _LAW + ", boolean[::1], float64[::1], float64[::1])", **_JIT)
def expect(
    first, last, offsets, intensity, variance, scale, factor, data_set, gain, floor, a2, b2, linear, relative,
    out, best, result,
):  # fmt: skip
    """Fill I_h (n_groups,) of the rows that are not ``out`` and have g > 0, and V' (n,) at g I_h.

    I_h is weighted with 1/V, then once more with the 1/V' that follows from it.
    """
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean = 0.0
        for step in range(2):
            above, below = 0.0, 0.0
            for i in range(lo, hi):
                if not out[i] and scale[i] > 0.0:
                    w = scale[i] / (result[i] if step else variance[i])
                    above += w * intensity[i]
                    below += w * scale[i]
            mean = above / below if below > 0.0 else 0.0
            for i in range(lo, hi):
                d = data_set[i]
                result[i] = law(
                    intensity[i], variance[i], factor[i], scale[i] * mean, gain[d], floor[d], a2[d], b2[d], linear[d],
                    relative[i] if len(relative) else 0.0,
                )  # fmt: skip
        best[h] = mean


@njit(
    "void(int64, int64, int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], boolean[::1], float64, "
    "boolean, float64, float64, float64, float64[::1], float64[::1])",
    **_JIT,
)
def robust_weights(
    first, last, offsets, intensity, error, scale, best, out, unit, flat, knee, zmax, faded, weight, z2
):  # fmt: skip
    """Fill w (n,) of expectation.Robust and z^2 (n,), unless the latter is empty.

    z^2 from the members that are not ``out``, for these with their leverage (at least 0.05 left). Those that are out
    fade from w at z/zmax = 1 to 0 at ``faded``.  ``error``: V', (n,).  ``best``: I_h, (n_groups,).
    """
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        total = 0.0
        for i in range(lo, hi):
            if not out[i]:
                total += scale[i] * scale[i] / error[i]
        if not total > 0.0:
            total = 1.0
        for i in range(lo, hi):
            residual = intensity[i] - scale[i] * best[h]
            share = scale[i] * scale[i] / error[i] / total
            square = residual * residual / (error[i] * (1.0 + share if out[i] else max(1.0 - share, 0.05)))
            if len(z2):
                z2[i] = square
            square /= unit
            q = square / (knee * knee)
            if flat:
                weight[i] = 1.0 / (np.sqrt(1.0 + q * q) * error[i])
            else:
                weight[i] = (1.0 + 1.0 / (knee * knee)) / ((1.0 + q) * error[i])
            if out[i]:
                weight[i] *= min(max((faded - np.sqrt(square) / zmax) / (faded - 1.0), 0.0), 1.0)


@njit("float64(float64[::1], int64)", **_JIT)
def _median(values, n):
    """Median of the first n values, which are sorted (Shell's gaps: groups are short)."""
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            x = values[i]
            j = i
            while j >= gap and values[j - gap] > x:
                values[j] = values[j - gap]
                j -= gap
            values[j] = x
        gap //= 3
    return 0.5 * (values[(n - 1) // 2] + values[n // 2])


@njit(
    "int64(int64, float64[::1], float64[::1], float64[::1], boolean[::1], float64[::1], float64, float64)",
    **_JIT,
)
def _separate(n, i, v, g, out, z2, leave, join):
    """Move the worst member of one group out while z^2 > ``leave``, the best back in while z^2 < ``join``.

    The first n entries of i, v, g (I, V', g) are the group; ``out`` is updated, z2 is room to work. At least two stay
    in. Returns the number of moves. See deviations.py for the formulas, and for why this ends.
    """
    moves = 0
    while True:
        total, above, inside = 0.0, 0.0, 0
        for j in range(n):
            if not out[j]:
                total += g[j] * g[j] / v[j]
                above += g[j] * i[j] / v[j]
                inside += 1
        mean = above / total if total > 0.0 else 0.0
        worst, best = -1.0, np.inf
        for j in range(n):
            others = total - (0.0 if out[j] else g[j] * g[j] / v[j])
            z2[j] = 0.0
            if others > _NEGLIGIBLE * total:
                r = i[j] - g[j] * mean
                z2[j] = r * r / (v[j] + g[j] * g[j] / total if out[j] else v[j] * (others / total))
            if out[j]:
                best = min(best, z2[j])
            else:
                worst = max(worst, z2[j])
        if worst > leave and inside >= 3:
            back, goal = False, worst
        elif best < join:
            back, goal = True, best
        else:
            return moves
        chosen, largest = -1, -np.inf
        for j in range(n):
            if out[j] == back and abs(z2[j] - goal) <= _TIE * goal:
                key = i[j] / g[j] if g[j] != 0.0 else -np.inf
                if chosen < 0 or key > largest:
                    chosen, largest = j, key
        out[chosen] = not back
        moves += 1


@njit("void(int64, float64[::1], float64[::1], float64[::1], boolean[::1], float64[::1], float64, float64)", **_JIT)
def _one_pass(n, i, v, g, out, size, zmax, back):
    """All members of one group beyond ``zmax`` (those that are out: not below ``back``) go, the two best stay."""
    total, above = 0.0, 0.0
    for j in range(n):
        total += g[j] * g[j] / v[j]
        above += g[j] * i[j] / v[j]
    mean = above / total if total > 0.0 else 0.0
    left = 0
    for j in range(n):
        others = total - g[j] * g[j] / v[j]
        size[j] = 0.0
        if others > _NEGLIGIBLE * total:
            size[j] = abs(i[j] - g[j] * mean) * np.sqrt(total / (v[j] * others))
        out[j] = size[j] > zmax or (out[j] and size[j] >= back)
        left += not out[j]
    if left < 2:
        for _ in range(2):
            best = 0
            for j in range(n):
                if size[j] < size[best]:
                    best = j
            out[best] = False
            size[best] = np.inf


@njit(
    "UniTuple(int64, 2)(int64, int64, int64[::1], " + _LAW + ", float64, float64, boolean, boolean, boolean, "
    "boolean[::1], boolean[::1], boolean[::1])",
    **_JIT,
)
def verdicts(
    first, last, offsets, intensity, variance, scale, factor, data_set, gain, floor, a2, b2, linear, relative,
    zmax, back, simple, trim, afresh, before, out, changed,
):  # fmt: skip
    """Fill who is out (n,) and whether that is new (n_groups,); return the most moves in a group and bad variances.

    I_h and V' are those of the members that are not out ``before``. For verdicts they start from equal weights of I/g
    and take three steps, and the weights g^2/V' are capped; ``trim``: from 1/V, two steps, no cap.
    ``afresh``: everybody is in when the search begins.  ``simple``: one pass instead of a search.
    """
    longest = 0
    for h in range(first, last):
        longest = max(longest, offsets[h + 1] - offsets[h])
    i, v, g = np.empty(longest), np.empty(longest), np.empty(longest)
    away, room = np.empty(longest, np.bool_), np.empty(longest)
    most, bad = 0, 0
    for h in range(first, last):
        lo = offsets[h]
        n = offsets[h + 1] - lo
        inside = 0
        for j in range(n):
            inside += not before[lo + j]
        for j in range(n):
            i[j], g[j] = intensity[lo + j], scale[lo + j]
            away[j] = before[lo + j] and inside >= 2
            room[j] = 1.0 / variance[lo + j] if trim else (1.0 / (g[j] * g[j]) if g[j] != 0.0 else 0.0)
        for _step in range(3 if trim else 4):
            above, below = 0.0, 0.0
            for j in range(n):
                if not away[j]:
                    above += room[j] * g[j] * i[j]
                    below += room[j] * g[j] * g[j]
            mean = above / below if below > 0.0 else 0.0
            for j in range(n):
                k, d = lo + j, data_set[lo + j]
                v[j] = law(
                    i[j], variance[k], factor[k], g[j] * mean, gain[d], floor[d], a2[d], b2[d], linear[d],
                    relative[k] if len(relative) else 0.0,
                )  # fmt: skip
                room[j] = 1.0 / v[j]
        smallest, largest = np.inf, -np.inf
        for j in range(n):
            bad += not v[j] > 0.0
            room[j] = g[j] * g[j] / v[j]
            smallest, largest = min(smallest, room[j]), max(largest, room[j])
        if n < 3:
            for j in range(n):
                away[j] = False
        else:
            if not trim and largest > _CAP * smallest:
                cap = _CAP * _median(room, n)
                for j in range(n):
                    weight = g[j] * g[j] / v[j]
                    if weight > cap:
                        v[j] *= weight / cap
            if afresh:
                for j in range(n):
                    away[j] = False
            if simple:
                _one_pass(n, i, v, g, away, room, zmax, back)
                most = max(most, 1)
            else:
                most = max(most, _separate(n, i, v, g, away, room, zmax * zmax, back * back))
        changed[h] = False
        for j in range(n):
            changed[h] |= away[j] != before[lo + j]
            out[lo + j] = away[j]
    return most, bad


@njit(
    "void(int64, int64, int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], boolean[::1], float64, "
    "float64, float64, float64[::1], float64[::1], float64[::1])",
    **_JIT,
)
def residuals(
    first, last, offsets, intensity, expected, scale, fitted, out, a2, b2, linear, square, freedom, mu
):  # fmt: skip
    """Fill r^2/f, f = (1 - h)(1 - s) and mu = g I_h, (n,), of the rows that are not ``out``; of the others 0, 0 and mu.

    I_h is weighted with 1/V, then three times with 1/V' at the I_h before.  f is 0 for a member that makes up its
    group.  s = mu^2 var(g)/g^2/V', at most 0.9; ``fitted``: var(g)/g^2, (n,), or empty where s = 0.
    """
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
                    x = scale[i] * mean
                    v[i - lo] = a2 * (expected[i] + linear * max(x, 0.0) + b2 * x * x)
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
    "void(int64, int64, float64[::1], float64[::1], float64[::1], float64[::1], float64, float64, float64, float64, "
    "float64[::1])",
    **_JIT,
)
def scoring_sums(first, last, square, freedom, expected, mu, a2, b2, linear, cut2, sums):
    """Add up, over the rows first to last - 1 with z^2 <= ``cut2``, what a scoring step needs, (11,).

    With x = (V, mu^2, mu+), y = r^2/(1 - h) and w = (1 - h)/V'^2:  w x x' (00, 01, 02, 11, 12, 22), w x y, w V' y,
    w V'^2.
    """
    for i in range(first, last):
        if not freedom[i] > 0.0:
            continue
        x0, x1, x2, y = expected[i], mu[i] * mu[i], max(mu[i], 0.0), square[i]
        current = a2 * (x0 + linear * x2 + b2 * x1)
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
    **_JIT,
)
def compare(
    first, last, offsets, summed, profile, raw, midpoint, weight, scale, best, strong, residual, plain, scatter, sums
):
    """One candidate for the intensities: residuals I - g m (n,) from its own weighted means m, and sums over groups.

    ``midpoint``: 0 profile, 1 summation, else the mixture with u = 1/(1 + (raw/midpoint)^3).  ``best``: I_h of the
    reference, (n_groups,).  Adds sum w g m g I_h, sum w (g I_h)^2, and over the ``strong`` groups sum sqrt(n/(n - 1))
    |x - m| and sum x, x = I/g; fills their plain mean of x and its variance, (n_groups,).
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
            reference = scale[i] * best[h]
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
    **_JIT,
)
def halve(first, last, offsets, words, pairs, coins, weight, x, one, other):
    """Weighted means of random halves of each group, for each row of coins, (n_coins, n_groups) each.

    Rows are put in the order of their ``words`` (n,), neighbours (1, 2), (3, 4), ... form pairs, counted from
    pairs[h] on, and a coin (n_coins, n_pairs) sends the first of a pair to ``one`` half and the second to the other.
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
