"""Compiled passes over unique reflections: which members deviate from the others of their group.

Every function works on the groups ``first <= h < last`` of one block; arguments are described in variance.py. Each has
a slow twin in tests/naive.py.
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.variance import CAP, LAW, ROW_JIT, median, variance_at

# Below this share of the weight of a group the others know nothing about a member, and rounding decides the rest.
_NEGLIGIBLE = 1e-10
# Deviations that differ by less than this are equal: which one is larger must not depend on the order of the rows.
_TIE = 1e-9


@njit(
    "int64(int64, float64[::1], float64[::1], float64[::1], boolean[::1], float64[::1], float64, float64)",
    **ROW_JIT,
)
def _separate(n, i, v, g, out, z2, leave, join):
    """Move the worst member of one group out while z^2 > ``leave``, the best back in while z^2 < ``join``.

    The first n entries of i, v, g (I, V', g) are the group; ``out`` is updated, z2 is room to work. At least two stay
    in. Returns the number of moves. See leave_one_out.py for the formulas, and for why this ends.
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


@njit("void(int64, float64[::1], float64[::1], float64[::1], boolean[::1], float64[::1], float64, float64)", **ROW_JIT)
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
    "UniTuple(int64, 2)(int64, int64, int64[::1], " + LAW + ", float64, float64, boolean, boolean, boolean, "
    "boolean[::1], boolean[::1], boolean[::1])",
    **ROW_JIT,
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
                v[j] = variance_at(
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
            if not trim and largest > CAP * smallest:
                cap = CAP * median(room, n)
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
