"""Compiled passes for a map of the detector over rows that stand crystal by crystal (braggscale.ranks).

Arguments are those of crystal_passes.py, and

    place     where each row is on the detector, (n,): x in 65536ths of its width in the upper half of 32 bits, y in the
              lower half
    tables    of each x, and of each y: first parameter of the map along this axis, (65536,), shares of it and the next
              two, (65536, 3), and part of the number of the module, (65536,), -1 where modules have no factors; and
              parameters of the map along x, and of the map

The value of the map at a row is exp(sum over parameters of share x parameter).
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.crystal_passes import APART, CRYSTALS, PASS_JIT, ROWS, SUMS, add, slot

_AXIS = "int32[::1], float64[:, ::1], int32[::1]"
TABLES = f"Tuple(({_AXIS}, {_AXIS}, int64, int64))"
NONZEROS = 10  # parameters on which the value at a row depends: nine of the map and one module


@njit(inline="always", **PASS_JIT)
def basis(place, tables, index, share):
    """Fill the parameters on which the value at a place depends, ascending, and their shares; returns how many."""
    x_first, x_share, x_module, y_first, y_share, y_module, n_x, n_map = tables
    x, y = np.int64(place >> np.uint32(16)), np.int64(place & np.uint32(0xFFFF))
    n = 0
    for b in range(3):
        for a in range(3):
            index[n] = x_first[x] + a + n_x * (y_first[y] + b)
            share[n] = x_share[x, a] * y_share[y, b]
            n += 1
    if x_module[x] >= 0:
        index[n] = n_map + x_module[x] + y_module[y]
        share[n] = 1.0
        n += 1
    return n


@njit(f"void(uint32[::1], {TABLES}, float64[::1], float64[::1], float64[::1], float32[::1], float32[::1])", **PASS_JIT)
def respond(place, tables, theta, intensity, variance, factor, weight):
    """Divide rows by the map with parameters ``theta``, (n_parameters,): intensity, variance, factor, 1/weight."""
    index, share = np.zeros(NONZEROS, np.int64), np.zeros(NONZEROS)
    for i in range(len(place)):
        value = 0.0
        for a in range(basis(place[i], tables, index, share)):
            value += share[a] * theta[index[a]]
        value = np.exp(value)
        intensity[i] /= value
        variance[i] /= value * value
        factor[i] = np.float64(factor[i]) / value
        weight[i] = np.float64(weight[i]) * value * value


@njit(
    f"void(int64, int64, {ROWS}, {CRYSTALS}, {APART}, float32[::1], float64[::1], float64[::1], uint32[::1], {TABLES}, "
    f"int64, {SUMS})",
    **PASS_JIT,
)
def map_sums(first, last, rows, crystals, apart, weight, mean, total, place, tables, n, sums):
    """Add what a step of the ``n`` parameters needs: J'J with the I_h eliminated, upper triangle, n^2, and w r J, n.

    Of the elimination only the part of each row with itself counts: others of its reflection are elsewhere.
    ``mean``: I_h, ``total``: sum w g^2, by place.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    index, share = np.zeros(NONZEROS, np.int64), np.zeros(NONZEROS)
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        for i in range(starts[c], starts[c + 1]):
            w = np.float64(weight[i])
            h = slot(number[i], apart)
            if not (w > 0.0 and total[h] > 0.0):
                continue
            g = k * np.exp(b * s[i])
            mu = g * mean[h]
            size = w * mu * mu * max(1.0 - w * g * g / total[h], 0.0)
            slope = w * (intensity[i] - mu) * mu
            n_there = basis(place[i], tables, index, share)
            for p in range(n_there):
                line = index[p] * n
                for q in range(p, n_there):
                    add(sums, line + index[q], 0, size * share[p] * share[q])
                add(sums, n * n + index[p], 0, slope * share[p])


@njit(f"void(int32[::1], boolean[::1], uint32[::1], int64[::1], {TABLES}, {SUMS})", **PASS_JIT)
def mean_shares(number, out, place, shell, tables, sums):
    """Add shares of the map's parameters in rows that are in, by shell, (n_shells n_map,).

    ``shell``: of each reflection, (n_reflections,).
    """
    n_map = tables[7]
    index, share = np.zeros(NONZEROS, np.int64), np.zeros(NONZEROS)
    for i in range(len(number)):
        if out[i]:
            continue
        line = shell[number[i] >> 1] * n_map
        basis(place[i], tables, index, share)
        for p in range(9):
            add(sums, line + index[p], 0, share[p])
