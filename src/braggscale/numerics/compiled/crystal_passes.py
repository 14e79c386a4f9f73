"""Compiled passes over rows that stand crystal by crystal, for data of which no rank holds all (braggscale.ranks).

A row knows its unique reflection by a number; sums over the rows of a reflection are added up in whole numbers, so that
neither the order of rows nor that of ranks changes a bit (braggscale/ranks/exact_sums.py). A row is handled by itself,
so what a loop does with others beside it, on vector instructions, changes nothing either.

Arguments that several share
    first, last   crystals first to last - 1 are done
    rows          starts (n_crystals + 1,): rows of each crystal; and of each row, (n,): number (2 h + 1 for an I- of
                  reflection h, else 2 h) int32, intensity, variance float64, s = 1/(2 d^2) float64, factor = I/I_raw
                  float32, relative = r float32 (n,) or empty, out (True: an outlier)
    crystals      of each crystal, (n_crystals,): k, b of g = k exp(b s), gain, floor (counting, see variance.py), and a
                  factor of V'
    terms         a^2, b^2, linear: the error model
    apart         whether the Friedel mates of a reflection are two groups, (n_reflections,); the rows of I+ of
                  reflection h then have place 2 h and those of I- 2 h + 1, otherwise all have 2 h
    sums          up, total, largest (2 n_reflections, m), by place: a term t is added to ``total`` (int64) as
                  rint(t up); ``largest`` becomes the largest |t|, by which the caller sees whether it fitted

Means, sums and limits of reflections stand by place, (2 n_reflections,) or with more columns.
"""

from typing import Any

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.variance import variance_at

PASS_JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}
ROWS = (
    "Tuple((int64[::1], int32[::1], float64[::1], float64[::1], float64[::1], float32[::1], float32[::1], "
    "boolean[::1]))"
)
CRYSTALS = "UniTuple(float64[::1], 5)"
APART = "boolean[::1]"
TERMS = "UniTuple(float64, 3)"
SUMS = "Tuple((float64[:, ::1], int64[:, ::1], float64[:, ::1]))"
# Terms beyond this many units are not added: the caller sees them in ``largest`` and begins again.
_MOST_UNITS = 4.0e18


@njit(inline="always", **PASS_JIT)
def slot(number, apart):
    """The place of a row's group among 2 n_reflections: Friedel mates have one place or two."""
    return number if apart[number >> 1] else number & ~1


@njit(inline="always", **PASS_JIT)
def add(sums, h, k, term):
    """Add a term to sum k of reflection h."""
    up, total, largest = sums
    size = abs(term)
    if size > largest[h, k]:
        largest[h, k] = size
    units = term * up[h, k]
    if abs(units) < _MOST_UNITS:
        total[h, k] += np.int64(np.rint(units))


@njit(inline="always", **PASS_JIT)
def row_variance(i, c, rows, crystals, terms, mu):
    """V' of row i of crystal c at the expected intensity mu."""
    starts, number, intensity, variance, s, factor, relative, out = rows
    a2, b2, linear = terms
    return crystals[4][c] * variance_at(
        mu, intensity[i], variance[i], np.float64(factor[i]), crystals[2][c], crystals[3][c], a2, b2, linear,
        np.float64(relative[i]) if len(relative) else 0.0,
    )  # fmt: skip


OBSERVED, EXPECTED, EQUAL = 0, 1, 2  # weights of a mean: 1/V, 1/V' at the mean before, 1/g^2


@njit(
    f"void(int64, int64, {ROWS}, {CRYSTALS}, {TERMS}, {APART}, int64, float64[::1], boolean[::1], {SUMS})", **PASS_JIT
)
def mean_sums(first, last, rows, crystals, terms, apart, mode, mean, tested, sums):
    """Add w g I, w g^2 of rows that are in and have g > 0.

    ``mean``: I_h of the mean before, ``tested``: whether the rows of a group count, by place.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            h = slot(number[i], apart)
            if out[i] or not tested[h]:
                continue
            g = k * np.exp(b * s[i])
            if mode == OBSERVED:
                w = 1.0 / variance[i]
            elif mode == EXPECTED:
                w = 1.0 / row_variance(i, c, rows, crystals, terms, g * mean[h])
            else:
                w = 1.0 / (g * g)
            add(sums, h, 0, w * g * intensity[i])
            add(sums, h, 1, w * g * g)


@njit(
    f"void(int64, int64, {ROWS}, {CRYSTALS}, {TERMS}, {APART}, float64[::1], float64[::1], float64, "
    "Tuple((boolean, float64, float64, float64)), float32[::1], int64[::1])",
    **PASS_JIT,
)
def robust_weights(first, last, rows, crystals, terms, apart, mean, total, unit, shape, weight, histogram):
    """Fill the weights of variance.robust_weights, (n,), and count z^2 in steps of 2^(1/16) from 2^-32 on.

    ``mean``: I_h, ``total``: sum of g^2/V' of the members that are in, by place.  ``histogram``: counts, of
    rows of reflections with another member, or empty.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    flat, soft_limit, zmax, zero_weight_at = shape
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        for i in range(starts[c], starts[c + 1]):
            g = k * np.exp(b * s[i])
            h = slot(number[i], apart)
            v = row_variance(i, c, rows, crystals, terms, g * mean[h])
            residual = intensity[i] - g * mean[h]
            below = total[h] if total[h] > 0.0 else 1.0
            share = g * g / v / below
            square = residual * residual / (v * (1.0 + share if out[i] else max(1.0 - share, 0.05)))
            if len(histogram) and (out[i] or share < 1.0 - 1e-9):
                place = np.int64(16.0 * (np.log2(square) + 32.0)) if square > 2.0**-32 else 0
                histogram[min(place, len(histogram) - 1)] += 1
            square /= unit
            q = square / (soft_limit * soft_limit)
            heavy = (1.0 + 1.0 / (soft_limit * soft_limit)) / (1.0 + q)
            w = (1.0 / np.sqrt(1.0 + q * q) if flat else heavy) / v
            if out[i]:
                left = (zero_weight_at - np.sqrt(square) / zmax) / (zero_weight_at - 1.0)
                w *= min(max(left, 0.0), 1.0)
            weight[i] = w


@njit(f"void(int64, int64, {ROWS}, {CRYSTALS}, {APART}, float32[::1], {SUMS})", **PASS_JIT)
def fit_sums(first, last, rows, crystals, apart, weight, sums):
    """Add w g I, w g^2 with the weights of the fit, (n,)."""
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        for i in range(starts[c], starts[c + 1]):
            g = k * np.exp(b * s[i])
            h = slot(number[i], apart)
            w = np.float64(weight[i])
            add(sums, h, 0, w * g * intensity[i])
            add(sums, h, 1, w * g * g)


@njit(
    f"void(int64, int64, {ROWS}, {CRYSTALS}, {APART}, float32[::1], float64[::1], float64[::1], float64[:, ::1])",
    **PASS_JIT,
)
def normal_blocks(first, last, rows, crystals, apart, weight, mean, total, blocks):
    """Fill, of each crystal, (n_crystals, 10), what a step of its k and b given I_h needs, and what is known of them.

    With r = I - g I_h and J = (dg/dk, dg/db) I_h: sum w r J (2), sum w J J' (3: kk, kb, bb), sum w r^2, the number of
    rows with w > 0, and sum w J J' with the I_h eliminated (3): for each reflection (sum w g J)(sum w g J)'/sum w g^2
    less, with the sums above the line over the rows of this crystal. ``total``: sum w g^2 of all rows, by place.
    The rows of a crystal are sorted by reflections.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        gk, gb, kk, kb, bb, cost, n = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        less_kk, less_kb, less_bb = 0.0, 0.0, 0.0
        place, along_k, along_b = np.int64(-1), 0.0, 0.0
        for i in range(starts[c], starts[c + 1]):
            e = np.exp(b * s[i])
            h = slot(number[i], apart)
            if h != place:
                if place >= 0 and total[place] > 0.0:
                    less_kk += along_k * along_k / total[place]
                    less_kb += along_k * along_b / total[place]
                    less_bb += along_b * along_b / total[place]
                place, along_k, along_b = h, 0.0, 0.0
            m = mean[h]
            w = np.float64(weight[i])
            r = intensity[i] - k * e * m
            jk, jb = e * m, k * e * s[i] * m
            gk += w * r * jk
            gb += w * r * jb
            kk += w * jk * jk
            kb += w * jk * jb
            bb += w * jb * jb
            along_k += w * k * e * jk
            along_b += w * k * e * jb
            cost += w * r * r
            if w > 0.0:
                n += 1.0
        if place >= 0 and total[place] > 0.0:
            less_kk += along_k * along_k / total[place]
            less_kb += along_k * along_b / total[place]
            less_bb += along_b * along_b / total[place]
        blocks[c, 0], blocks[c, 1] = gk, gb
        blocks[c, 2], blocks[c, 3], blocks[c, 4] = kk, kb, bb
        blocks[c, 5], blocks[c, 6] = cost, n
        blocks[c, 7], blocks[c, 8], blocks[c, 9] = kk - less_kk, kb - less_kb, bb - less_bb


@njit(inline="always", **PASS_JIT)
def merged_weight(i, c, rows, crystals, terms, g, mean, covariance, observed):
    """g^2/V of the scaled intensity of a row, V = V' + (I/g)^2 var(g).

    ``covariance``: of k and b of each crystal, kk, kb, bb, (n_crystals, 3).  ``observed``: V' with the observed
    counting variance.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    a2, b2, linear = terms
    v = crystals[4][c] * variance_at(
        g * mean, intensity[i], variance[i], np.float64(factor[i]), 0.0 if observed else crystals[2][c],
        crystals[3][c], a2, b2, linear, np.float64(relative[i]) if len(relative) else 0.0,
    )  # fmt: skip
    gk, gb = g / crystals[0][c], g * s[i]
    of_scale = covariance[c, 0] * gk * gk + 2.0 * covariance[c, 1] * gk * gb + covariance[c, 2] * gb * gb
    x = intensity[i] / g
    return g * g / (v + x * x * of_scale)


@njit(
    f"void(int64, int64, {ROWS}, {CRYSTALS}, {TERMS}, {APART}, float64[::1], float64[:, ::1], boolean, float64[::1], "
    f"uint64[::1], int64, {SUMS})",
    **PASS_JIT,
)
def merge_sums(first, last, rows, crystals, terms, apart, mean, covariance, observed, least, keys, divisions, sums):
    """Add, by number (Friedel mates are two), w x, w, x, 1, w^2, and the same four first of halves of the crystals.

    ``apart``, ``mean``: of I_h.  ``least``: smallest g that counts, of each crystal.  ``keys``: of each crystal; bit j
    says in which half it is in division j; sums 5 + 4 j to 8 + 4 j are of the first half of division j.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            g = k * np.exp(b * s[i])
            if out[i] or not g >= least[c]:
                continue
            h = number[i]
            w = merged_weight(i, c, rows, crystals, terms, g, mean[slot(h, apart)], covariance, observed)
            x = intensity[i] / g
            add(sums, h, 0, w * x)
            add(sums, h, 1, w)
            add(sums, h, 2, x)
            add(sums, h, 3, 1.0)
            add(sums, h, 4, w * w)
            for j in range(divisions):
                if (keys[c] >> np.uint64(j)) & np.uint64(1):
                    add(sums, h, 5 + 4 * j, w * x)
                    add(sums, h, 6 + 4 * j, w)
                    add(sums, h, 7 + 4 * j, x)
                    add(sums, h, 8 + 4 * j, 1.0)


@njit(
    f"void(int64, int64, {ROWS}, {CRYSTALS}, {TERMS}, {APART}, float64[::1], float64[:, ::1], boolean, float64[::1], "
    f"float64[:, ::1], {SUMS})",
    **PASS_JIT,
)
def scatter_sums(first, last, rows, crystals, terms, apart, mean, covariance, observed, least, centres, sums):
    """Add, by number, deviations of the rows that ``merge_sums`` adds up.

    |x - m|, w (x - m)^2 with m the mean with Friedel mates merged, the same with m of mates apart, and (x - plain)^2.
    ``centres``: these means of each number: merged, apart, plain, (2 n_reflections, 3).
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            g = k * np.exp(b * s[i])
            if out[i] or not g >= least[c]:
                continue
            h = number[i]
            w = merged_weight(i, c, rows, crystals, terms, g, mean[slot(h, apart)], covariance, observed)
            x = intensity[i] / g
            away, split, plain = x - centres[h, 0], x - centres[h, 1], x - centres[h, 2]
            add(sums, h, 0, abs(away))
            add(sums, h, 1, w * away * away)
            add(sums, h, 2, abs(split))
            add(sums, h, 3, w * split * split)
            add(sums, h, 4, plain * plain)


@njit(f"void(int32[::1], float64[::1], {SUMS})", **PASS_JIT)
def resolution_sums(number, s, sums):
    """Add s of every row, by number."""
    for i in range(len(number)):
        add(sums, number[i], 0, s[i])


@njit(f"void(int64, int64, {ROWS}, {CRYSTALS}, float64[::1], {SUMS})", **PASS_JIT)
def moment_sums(first, last, rows, crystals, least, sums):
    """Add 1, x, x^2 and |x|, x = I/g, of the rows that are merged, by reflection, (n_reflections, 4).

    ``least``: smallest g that counts, of each crystal.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        if not k > 0.0:
            continue
        for i in range(starts[c], starts[c + 1]):
            g = k * np.exp(b * s[i])
            if out[i] or not g >= least[c]:
                continue
            x = intensity[i] / g
            h = number[i] >> 1
            add(sums, h, 0, 1.0)
            add(sums, h, 1, x)
            add(sums, h, 2, x * x)
            add(sums, h, 3, abs(x))
