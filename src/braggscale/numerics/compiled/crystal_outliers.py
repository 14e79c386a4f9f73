"""Compiled passes over rows that stand crystal by crystal: outliers (braggscale.ranks.outliers).

Arguments are those of crystal_passes.py.
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.crystal_passes import (
    APART,
    CRYSTALS,
    PASS_JIT,
    ROWS,
    SUMS,
    TERMS,
    add,
    row_variance,
    slot,
)

WEIGHING = f"{ROWS}, {CRYSTALS}, {TERMS}, {APART}, float64[::1]"


@njit(inline="always", **PASS_JIT)
def capped(i, c, rows, crystals, terms, g, mean, most):
    """g^2/V' of a row, the weight of its I/g, at most ``most``; 0 where g is not positive."""
    if not g > 0.0:
        return 0.0
    return min(g * g / row_variance(i, c, rows, crystals, terms, g * mean), most)


@njit(f"void(int64, int64, {WEIGHING}, float64[:, ::1], float64[:, ::1])", **PASS_JIT)
def weight_limits(first, last, rows, crystals, terms, apart, mean, edge, found):
    """Raise ``found`` to the largest ln w up to the first ``edge``, and to the largest -ln w beyond the second one.

    w = g^2/V' of all rows with g > 0.  ``mean``: I_h, by place.  ``edge``, ``found``: by place, two columns.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            h = slot(number[i], apart)
            if edge[h, 0] == -np.inf and edge[h, 1] == np.inf:
                continue
            g = k * np.exp(b * s[i])
            size = np.log(g * g / row_variance(i, c, rows, crystals, terms, g * mean[h]))
            if size <= edge[h, 0]:
                found[h, 0] = max(found[h, 0], size)
            if size > edge[h, 1]:
                found[h, 1] = max(found[h, 1], -size)


@njit(f"void(int64, int64, {WEIGHING}, float64[::1], float64[::1], int32[:, ::1])", **PASS_JIT)
def weight_histogram(first, last, rows, crystals, terms, apart, mean, low, width, counts):
    """Count the rows in ranges of ln w = ln(g^2/V'): low + j width < ln w <= low + (j + 1) width is range j.

    ``mean``, ``low``, ``width``: by place.  ``counts``: (2 n_reflections, n_ranges); rows in none are not counted.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            h = slot(number[i], apart)
            if not width[h] > 0.0:
                continue
            g = k * np.exp(b * s[i])
            size = np.log(g * g / row_variance(i, c, rows, crystals, terms, g * mean[h]))
            place = np.ceil((size - low[h]) / width[h]) - 1.0
            if 0.0 <= place < counts.shape[1]:
                counts[h, np.int64(place)] += 1


@njit(f"void(int64, int64, {WEIGHING}, float64[::1], boolean[::1], boolean[::1], {SUMS})", **PASS_JIT)
def capped_sums(first, last, rows, crystals, terms, apart, mean, most, away, tested, sums):
    """Add, by number (Friedel mates are two), q x and q of rows that are not ``away``, (n,).

    x = I/g, q = min(g^2/V', most).  ``most``: by place.  ``tested``: places whose rows count.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            h = slot(number[i], apart)
            if away[i] or not tested[h]:
                continue
            g = k * np.exp(b * s[i])
            q = capped(i, c, rows, crystals, terms, g, mean[h], most[h])
            add(sums, number[i], 0, q * intensity[i] / g)
            add(sums, number[i], 1, q)


@njit(inline="always", **PASS_JIT)
def deviation(x, q, number, apart, difference, inside, away):
    """z^2 of a row against the others of its reflection that are in; 0 where there are none.

    ``inside``: q x, q of those that are in, by number.  ``difference``: mean square of I+ - I-, (n_reflections,), where
    both have one place (weighting/friedel_test.py).
    """
    same, above = inside[number, 1], inside[number, 0]
    mates, mates_above = 0.0, 0.0
    if not apart[number >> 1]:
        mates, mates_above = inside[number ^ 1, 1], inside[number ^ 1, 0]
    own, own_above = same, above
    if not away:
        own, own_above = same - q, above - q * x
    if own <= 1e-10 * same:
        own, own_above = 0.0, 0.0
    shrunk = 1.0 / (1.0 + difference[number >> 1] * mates)
    total = own + shrunk * mates
    if not (total > 1e-10 * (same + mates) and q > 0.0):
        return 0.0
    r = x - (own_above + shrunk * mates_above) / total
    return r * r / (1.0 / q + 1.0 / total)


@njit(
    f"void(int64, int64, {WEIGHING}, float64[::1], float64[::1], boolean[::1], boolean[::1], float64[:, ::1], "
    "float64[:, ::1])",
    **PASS_JIT,
)
def extremes(first, last, rows, crystals, terms, apart, mean, most, difference, away, tested, inside, found):
    """Raise ``found`` to the largest z^2 of those that are in, and minus the least of those away.

    ``inside``: q x, q of those that are in, by number.  ``difference``: see ``deviation``.  ``tested``: places that
    count.  ``found``: by place, two columns.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            h = slot(number[i], apart)
            if not tested[h]:
                continue
            g = k * np.exp(b * s[i])
            q = capped(i, c, rows, crystals, terms, g, mean[h], most[h])
            z2 = deviation(intensity[i] / g, q, number[i], apart, difference, inside, away[i])
            if away[i]:
                found[h, 1] = max(found[h, 1], -z2)
            else:
                found[h, 0] = max(found[h, 0], z2)


@njit(
    f"int64(int64, int64, {WEIGHING}, float64[::1], float64[::1], boolean[::1], float64[:, ::1], float64[:, ::1], "
    "int64[::1])",
    **PASS_JIT,
)
def move(first, last, rows, crystals, terms, apart, mean, most, difference, away, inside, limits, moved):
    """Move rows out or back in, (n,), and count in ``moved``, by place, those that went out less those that came.

    ``limits``: by place, two columns: rows that are in go at z^2 >= the first, rows that are away come back at
    z^2 <= the second.  Returns how many moved.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    n = 0
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            h = slot(number[i], apart)
            leave, join = limits[h, 0], limits[h, 1]
            if leave == np.inf and join < 0.0:
                continue
            g = k * np.exp(b * s[i])
            q = capped(i, c, rows, crystals, terms, g, mean[h], most[h])
            z2 = deviation(intensity[i] / g, q, number[i], apart, difference, inside, away[i])
            if (z2 <= join) if away[i] else (z2 >= leave):
                away[i] = not away[i]
                moved[h] += 1 if away[i] else -1
                n += 1
    return n


@njit(f"void(int64, int64, {ROWS}, {CRYSTALS}, {APART}, boolean[::1], boolean[::1], float64[:, ::1])", **PASS_JIT)
def pair_ends(first, last, rows, crystals, apart, away, pair, found):
    """Raise ``found``, by place, two columns, to the largest x and -x, x = I/g, of rows that are not ``away``.

    ``pair``: places that are of interest.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        for i in range(starts[c], starts[c + 1]):
            h = slot(number[i], apart)
            if pair[h] and k > 0.0 and not away[i]:
                x = intensity[i] / (k * np.exp(b * s[i]))
                found[h, 0] = max(found[h, 0], x)
                found[h, 1] = max(found[h, 1], -x)


@njit(f"void(int64, int64, {ROWS}, {CRYSTALS}, {APART}, boolean[::1], boolean[::1], float64[::1])", **PASS_JIT)
def leave_pairs(first, last, rows, crystals, apart, away, pair, wrong):
    """Put those rows ``away``, (n,), that have the scaled intensity ``wrong``, by place, in a ``pair``."""
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        for i in range(starts[c], starts[c + 1]):
            h = slot(number[i], apart)
            if pair[h] and k > 0.0 and not away[i] and intensity[i] / (k * np.exp(b * s[i])) == wrong[h]:
                away[i] = True


@njit(f"int64(int64, int64, {ROWS}, {CRYSTALS}, {APART}, float64[::1], boolean[::1])", **PASS_JIT)
def count_above(first, last, rows, crystals, apart, mean, away):
    """How many rows that are ``away`` are stronger than ``mean``, by place."""
    starts, number, intensity, variance, s, factor, relative, out = rows
    n = 0
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        for i in range(starts[c], starts[c + 1]):
            n += away[i] and intensity[i] > k * np.exp(b * s[i]) * mean[slot(number[i], apart)]
    return n


@njit(f"void(int64, int64, {ROWS}, {CRYSTALS}, float64[::1], float64, float64, {SUMS})", **PASS_JIT)
def shell_sums(first, last, rows, crystals, epsilon, lowest, per_shell, sums):
    """Add max(I/g, 0)/epsilon and 1 of rows with g > 0 in shells of equal width in 1/d^2.

    ``epsilon``: of each reflection.  ``lowest``: s where the first shell begins, ``per_shell``: shells per unit of s.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    most = sums[1].shape[0] - 1
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            g = k * np.exp(b * s[i])
            shell = min(max(np.int64((s[i] - lowest) * per_shell), 0), most)
            add(sums, shell, 0, max(intensity[i] / g, 0.0) / epsilon[number[i] >> 1])
            add(sums, shell, 1, 1.0)


@njit(f"int64(int64, int64, {ROWS}, {CRYSTALS}, float64[::1], boolean[::1])", **PASS_JIT)
def impossible(first, last, rows, crystals, most, found):
    """Mark rows, (n,), with I/g above ``most`` of their reflection, (n_reflections,); returns how many."""
    starts, number, intensity, variance, s, factor, relative, out = rows
    n = 0
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        for i in range(starts[c], starts[c + 1]):
            found[i] = k > 0.0 and intensity[i] > most[number[i] >> 1] * (k * np.exp(b * s[i]))
            n += found[i]
    return n
