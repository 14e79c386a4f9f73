"""Compiled passes over unique reflections: the outlier test of members against the others of their group.

Every function works on the groups ``first <= h < last`` of one block; arguments are described in variance.py. Each has
a slow twin in tests/naive.py.

Friedel mates that may differ (friedel_test.py): ``plus`` marks the members that are I+, (n,), and ``difference`` is the
expected square of I+ - I-, (n,), the same for all members of a group. Where it is 0 all members have one mean.
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.variance import MODEL, ROW_JIT, variance_at

# If the others have less than this share of the weight of a group, a member is not tested: rounding would decide.
_NEGLIGIBLE = 1e-10
# Deviations that differ by less than this are equal: which one is larger must not depend on the order of the rows.
_TIE = 1e-9
# The weight of a member is at most this many times the median of its group.
CAP = 10.0
_MATES = "float64[::1], float64[::1], float64[::1], boolean[::1], float64[::1]"
_SQUARES = "void(int64, float64[::1], float64[::1], float64[::1], boolean[::1], float64, boolean[::1], float64[::1])"


@njit(inline="always", **ROW_JIT)
def _plain_squares(n, i, v, g, out, z2):
    """Fill z^2 of the n members of a group against the weighted mean of the others that are not ``out``."""
    total, above = 0.0, 0.0
    for j in range(n):
        if not out[j]:
            total += g[j] * g[j] / v[j]
            above += g[j] * i[j] / v[j]
    mean = above / total if total > 0.0 else 0.0
    for j in range(n):
        others = total - (0.0 if out[j] else g[j] * g[j] / v[j])
        z2[j] = 0.0
        if others > _NEGLIGIBLE * total:
            r = i[j] - g[j] * mean
            z2[j] = r * r / (v[j] + g[j] * g[j] / total if out[j] else v[j] * (others / total))


@njit(_SQUARES, **ROW_JIT)
def _squares_of_mates(n, i, v, g, plus, difference, out, z2):
    """Fill z^2 of the n members of a group whose Friedel mates may differ by ``difference`` (mean square)."""
    s_plus, s_minus, y_plus, y_minus = 0.0, 0.0, 0.0, 0.0
    for j in range(n):
        if not out[j]:
            w = g[j] / v[j]
            if plus[j]:
                s_plus += w * g[j]
                y_plus += w * i[j]
            else:
                s_minus += w * g[j]
                y_minus += w * i[j]
    for j in range(n):
        w = 0.0 if out[j] else g[j] / v[j]
        same, mates = (s_plus, s_minus) if plus[j] else (s_minus, s_plus)
        y_same, y_mates = (y_plus, y_minus) if plus[j] else (y_minus, y_plus)
        own = same - w * g[j]
        y_own = y_same - w * i[j]
        if own <= _NEGLIGIBLE * same:
            own, y_own = 0.0, 0.0
        shrunk = 1.0 / (1.0 + difference * mates)
        total = own + shrunk * mates
        z2[j] = 0.0
        if total > 0.0:
            r = i[j] - g[j] * ((y_own + shrunk * y_mates) / total)
            z2[j] = r * r / (v[j] + g[j] * g[j] / total)


@njit(inline="always", **ROW_JIT)
def _squares(n, i, v, g, plus, difference, out, z2):
    """Fill z^2 of the n members of a group against the others that are not ``out``; 0 where there are none."""
    if difference > 0.0:
        _squares_of_mates(n, i, v, g, plus, difference, out, z2)
    else:
        _plain_squares(n, i, v, g, out, z2)


# Inlined, so that calls without Friedel mates are compiled without the code for them: 20 % faster.
@njit(inline="always", **ROW_JIT)
def _leave_worst_out(n, i, v, g, plus, difference, out, z2, leave, join):
    """Reject the worst member of a group while its z^2 > ``leave``; accept the best rejected one while z^2 < ``join``.

    The first n entries of i, v, g (I, V', g) and ``plus`` are the group; ``out`` is updated, z2 is scratch space. At
    least two members are kept. Returns the number of changes. See leave_one_out.py for the formulas, and for why
    this ends.
    """
    moves = 0
    while True:
        _squares(n, i, v, g, plus, difference, out, z2)
        worst, best, inside = -1.0, np.inf, 0
        for j in range(n):
            if out[j]:
                best = min(best, z2[j])
            else:
                worst = max(worst, z2[j])
                inside += 1
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


@njit("void(int64, float64[::1], float64[::1], float64[::1], boolean[::1], float64[::1], float64, float64)", **ROW_JIT)
def _one_pass(n, i, v, g, out, size, zmax, back):
    """Reject all members of a group beyond ``zmax`` (those that are out: beyond ``back``), but keep the two best."""
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


@njit("float64(float64[::1], int64)", **ROW_JIT)
def median(values, n):
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


@njit(inline="always", **ROW_JIT)
def _cap_weights(n, v, g, room):
    """Increase V' of members of a group so that no weight g^2/V' is more than CAP times the median weight."""
    smallest, largest = np.inf, -np.inf
    for j in range(n):
        room[j] = g[j] * g[j] / v[j]
        smallest, largest = min(smallest, room[j]), max(largest, room[j])
    if largest > CAP * smallest:
        cap = CAP * median(room, n)
        for j in range(n):
            weight = g[j] * g[j] / v[j]
            if weight > cap:
                v[j] *= weight / cap


@njit(
    "UniTuple(int64, 2)(int64, int64, int64[::1], " + MODEL + ", float64[::1], UniTuple(float64, 2), "
    "UniTuple(boolean, 3), boolean[::1], boolean[::1], boolean[::1])",
    **ROW_JIT,
)
def verdicts(first, last, offsets, model, scale, limits, how, before, out, changed):
    """Fill the rejected rows (n,) and the groups that changed (n_groups,).

    Returns the largest number of changes in a group, and the number of bad variances.

    I_h and V' come from the members that were not out ``before``. For the outlier test they start from equal weights of
    I/g and are iterated three times, and the weights g^2/V' are limited.  ``limits``: z_max, z_back.  ``how``: three
    switches,
    simple   one pass instead of a search
    trim     I_h and V' start from weights 1/V and are iterated twice; weights are not limited
    afresh   the search begins without rejected members
    """
    intensity, variance, factor, data_set, gain, floor, a2, b2, linear, relative = model
    simple, trim, afresh = how
    zmax, back = limits
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
                v[j] = variance_at(
                    g[j] * mean, i[j], variance[k], factor[k], gain[d], floor[d], a2[d], b2[d], linear[d],
                    relative[k] if len(relative) else 0.0,
                )  # fmt: skip
                room[j] = 1.0 / v[j]
        for j in range(n):
            bad += not v[j] > 0.0
            away[j] &= n >= 3 and not afresh
        if n >= 3:
            if not trim:
                _cap_weights(n, v, g, room)
            if simple:
                _one_pass(n, i, v, g, away, room, zmax, back)
                most = max(most, 1)
            else:
                most = max(most, _leave_worst_out(n, i, v, g, away, 0.0, away, room, zmax * zmax, back * back))
        changed[h] = False
        for j in range(n):
            changed[h] |= away[j] != before[lo + j]
            out[lo + j] = away[j]
    return most, bad


@njit("void(int64, int64, int64[::1], " + _MATES + ", UniTuple(float64, 2), boolean[::1])", **ROW_JIT)
def separate(first, last, offsets, intensity, variance, scale, plus, difference, limits, out):
    """Update ``out``, (n,), for Friedel mates that may differ; the search begins without rejected members if fewer
    than two are accepted.

    ``variance``: V', (n,).  ``limits``: z_max, z_back.
    """
    leave, join = limits[0] * limits[0], limits[1] * limits[1]
    longest = 0
    for h in range(first, last):
        longest = max(longest, offsets[h + 1] - offsets[h])
    z2 = np.empty(longest)
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        inside = 0
        for j in range(lo, hi):
            inside += not out[j]
        if inside < 2:
            for j in range(lo, hi):
                out[j] = False
        _leave_worst_out(
            hi - lo, intensity[lo:hi], variance[lo:hi], scale[lo:hi], plus[lo:hi], difference[lo], out[lo:hi], z2,
            leave, join,
        )  # fmt: skip


@njit("void(int64, int64, int64[::1], " + _MATES + ", boolean[::1], float64[::1])", **ROW_JIT)
def squares(first, last, offsets, intensity, variance, scale, plus, difference, out, z2):
    """Fill z^2, (n,), of all rows against the accepted others of their group; 0 where there are none."""
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        _squares(
            hi - lo, intensity[lo:hi], variance[lo:hi], scale[lo:hi], plus[lo:hi], difference[lo], out[lo:hi],
            z2[lo:hi],
        )  # fmt: skip
