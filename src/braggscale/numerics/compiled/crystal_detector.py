"""Compiled passes for a map of the detector over rows that stand crystal by crystal (braggscale.ranks).

Width and height of the detector are divided into STEPS each, so there are STEPS^2 cells. The map has one value in a
cell, that of its centre: exp(sum over parameters of share x parameter). Sums over rows are sums over cells, and what a
step of the parameters needs follows from these. Arguments are those of crystal_passes.py, and

    place     the cell of each row, x STEPS + y, (n,)
    tables    of each step along x, and of each along y: first parameter of the map along this axis, (STEPS,), shares of
              it and the next two, (STEPS, 3), and part of the number of the module, (STEPS,), -1 where modules have no
              factors; and parameters of the map along x, and of the map
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.crystal_passes import APART, CRYSTALS, PASS_JIT, ROWS, SUMS, add, slot

_AXIS = "int32[::1], float64[:, ::1], int32[::1]"
TABLES = f"Tuple(({_AXIS}, {_AXIS}, int64, int64))"
STEPS = 256
NONZEROS = 10  # parameters on which the value in a cell depends: nine of the map and one module


@njit(inline="always", **PASS_JIT)
def basis(x, y, tables, index, share):
    """Fill the parameters on which the value in a cell depends, ascending, and their shares; returns how many."""
    x_first, x_share, x_module, y_first, y_share, y_module, n_x, n_map = tables
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


@njit(f"void({TABLES}, float64[::1], float64[::1])", **PASS_JIT)
def values(tables, theta, found):
    """Fill the map in every cell, (STEPS^2,).  ``theta``: parameters, (n_parameters,)."""
    index, share = np.zeros(NONZEROS, np.int64), np.zeros(NONZEROS)
    for x in range(STEPS):
        for y in range(STEPS):
            value = 0.0
            for a in range(basis(x, y, tables, index, share)):
                value += share[a] * theta[index[a]]
            found[x * STEPS + y] = np.exp(value)


@njit("void(uint32[::1], float64[::1], float64[::1], float64[::1], float32[::1], float32[::1])", **PASS_JIT)
def respond(place, value, intensity, variance, factor, weight):
    """Divide rows by the map: intensity, variance, factor, 1/weight.  ``value``: in every cell, (STEPS^2,)."""
    for i in range(len(place)):
        v = value[place[i]]
        intensity[i] /= v
        variance[i] /= v * v
        factor[i] = np.float64(factor[i]) / v
        weight[i] = np.float64(weight[i]) * v * v


@njit(
    f"void(int64, int64, {ROWS}, {CRYSTALS}, {APART}, float32[::1], float64[::1], float64[::1], uint32[::1], {SUMS})",
    **PASS_JIT,
)
def cell_sums(first, last, rows, crystals, apart, weight, mean, total, place, sums):
    """Add, by cell, w mu^2 with the I_h eliminated, and w (I - mu) mu, mu = g I_h: J'J and slope of ln v in this cell.

    Of the elimination only the part of each row with itself counts: others of its reflection are elsewhere.
    ``mean``: I_h, ``total``: sum w g^2, by place.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        k, b = crystals[0][c], crystals[1][c]
        for i in range(starts[c], starts[c + 1]):
            w = np.float64(weight[i])
            h = slot(number[i], apart)
            if not (w > 0.0 and total[h] > 0.0):
                continue
            g = k * np.exp(b * s[i])
            mu = g * mean[h]
            add(sums, place[i], 0, w * mu * mu * max(1.0 - w * g * g / total[h], 0.0))
            add(sums, place[i], 1, w * (intensity[i] - mu) * mu)


@njit(f"void(float64[:, ::1], {TABLES}, float64[:, ::1], float64[::1])", **PASS_JIT)
def normal_matrix(cells, tables, matrix, slope):
    """Add J'J of the parameters, upper triangle, and their slope from those of the cells, (STEPS^2, 2)."""
    index, share = np.zeros(NONZEROS, np.int64), np.zeros(NONZEROS)
    for x in range(STEPS):
        for y in range(STEPS):
            size, along = cells[x * STEPS + y]
            if size == 0.0 and along == 0.0:
                continue
            n = basis(x, y, tables, index, share)
            for p in range(n):
                slope[index[p]] += along * share[p]
                for q in range(p, n):
                    matrix[index[p], index[q]] += size * share[p] * share[q]


@njit(f"void(int64[:, ::1], {TABLES}, float64[:, ::1])", **PASS_JIT)
def mean_shares(counts, tables, found):
    """Add shares of the map's parameters in the rows of each shell, and, last, of the modules in all rows.

    ``counts``: (n_shells, STEPS^2).  ``found``: (n_shells + 1, n_parameters).
    """
    index, share = np.zeros(NONZEROS, np.int64), np.zeros(NONZEROS)
    for shell in range(len(counts)):
        for cell in range(STEPS * STEPS):
            if counts[shell, cell]:
                n = basis(cell // STEPS, cell % STEPS, tables, index, share)
                for p in range(n):
                    found[shell if p < 9 else len(counts), index[p]] += counts[shell, cell] * share[p]
