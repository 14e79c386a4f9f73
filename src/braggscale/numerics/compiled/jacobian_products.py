"""Compiled products with a normal matrix that is too large to be formed, and its blocks along the diagonal.

Arguments and derivation as in normal_equations.py.
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.normal_equations import GROUPS, group_mean, longest_group
from braggscale.numerics.compiled.scale_factor import BLOCKS, DESIGN, JIT, add_row, jacobian_row, row_product

COLUMNS = 8  # vectors that are multiplied at once


@njit("void(" + GROUPS + ", float64[::1], " + BLOCKS + ", int32[::1], float64[:, ::1])", **JIT)
def block_matrices(
    first, last, offsets, intensity, weight, design, theta, block, first_of, base, store, column, cross
):  # fmt: skip
    """Add parts of J'J, as in ``normal_matrix``: its blocks along the diagonal, and columns of shared parameters.

    ``block``: of each parameter, (n_parameters,).  Block k holds parameters first_of[k] to first_of[k + 1] - 1; its
    matrix is stored row by row in ``store`` from base[k] on; each pair is added once, on one side of the diagonal.
    ``column``: the column in ``cross``, (n_parameters, n_shared), of each parameter that several data sets share,
    -1 for the others; these columns of J'J are complete.
    """
    basis, start = design[:2]
    longest = longest_group(first, last, offsets)
    g = np.zeros(longest)
    factor = np.zeros((longest, start.shape[1]))
    phi, index = np.zeros(basis.shape[1]), np.zeros(basis.shape[1], np.int64)
    projected = np.zeros(len(theta))
    seen = np.zeros(len(theta), np.uint8)
    touched = np.zeros(len(theta), np.int64)
    before = np.zeros(len(theta), np.int64)  # place in touched of the one before in the same block, -1 for none
    latest = np.full(len(first_of), -1, np.int64)
    common = np.zeros(cross.shape[1], np.int64)  # the shared ones among the touched
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean, below = group_mean(lo, hi, intensity, weight, design, theta, g, factor)
        if below <= 0.0:
            continue
        n_touched, n_common = 0, 0
        for i in range(lo, hi):
            j = i - lo
            size = np.sqrt(weight[i]) * mean * g[j]
            along = -weight[i] * g[j] * g[j] * mean
            n = jacobian_row(i, design, factor[j], 1.0, -1, phi, index)
            for a in range(n):
                p = index[a]
                k = block[p]
                projected[p] += along * phi[a]
                if seen[p] == 0:
                    seen[p] = 1
                    touched[n_touched] = p
                    before[n_touched] = latest[k]
                    latest[k] = n_touched
                    n_touched += 1
                    if column[p] >= 0:
                        common[n_common] = p
                        n_common += 1
                line = base[k] + (p - first_of[k]) * (first_of[k + 1] - first_of[k]) - first_of[k]
                x = size * size * phi[a]
                for b in range(a + 1):
                    q = index[b]
                    if block[q] == k:
                        store[line + q] += x * phi[b]
                    if column[q] >= 0:
                        cross[p, column[q]] += x * phi[b]
                    if column[p] >= 0 and a != b:
                        cross[q, column[p]] += x * phi[b]
        for a in range(n_touched):
            p = touched[a]
            k = block[p]
            line = base[k] + (p - first_of[k]) * (first_of[k + 1] - first_of[k]) - first_of[k]
            x = projected[p] / below
            b = a
            while b >= 0:
                store[line + touched[b]] -= x * projected[touched[b]]
                b = before[b]
            for b in range(n_common):
                cross[p, column[common[b]]] -= x * projected[common[b]]
        for a in range(n_touched):
            projected[touched[a]] = 0.0
            seen[touched[a]] = 0
            latest[block[touched[a]]] = -1


@njit("float64(" + GROUPS + ", float64[::1], float64[::1], float64[:, ::1], float64[::1], float64[::1])", **JIT)
def linearise(first, last, offsets, intensity, weight, design, theta, gradient, factor, size, along):
    """As ``cost_gradient``; also fill the values of each row that products with J need.

    ``factor``: d ln value_c / d eta_c, (n, n_components).  ``size``: sqrt(w) I_h g, so that J0 = -size phi, (n,).
    ``along``: a_i/|a| with a = sqrt(w) g, (n,).
    """
    g = np.zeros(longest_group(first, last, offsets))
    cost = 0.0
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean, below = group_mean(lo, hi, intensity, weight, design, theta, g, factor[lo:hi])
        for i in range(lo, hi):
            j = i - lo
            size[i] = np.sqrt(weight[i]) * mean * g[j]
            along[i] = np.sqrt(weight[i] / below) * g[j] if below > 0.0 else 0.0
            residual = intensity[i] - g[j] * mean
            cost += weight[i] * residual * residual if below > 0.0 else 0.0
            add_row(i, design, factor[i], -2.0 * weight[i] * residual * mean * g[j], gradient)
    return cost


@njit(
    "void(int64, int64, int64[::1], " + DESIGN + ", float64[:, ::1], float64[::1], float64[::1], float64[::1], "
    "float64[::1])",
    **JIT,
)
def product_one(first, last, offsets, design, factor, size, along, v, total):
    """As ``product`` for one column: ``v`` and ``total`` are (n_parameters,)."""
    seen = np.zeros(longest_group(first, last, offsets))
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        common = 0.0
        for i in range(lo, hi):
            j = i - lo
            seen[j] = -size[i] * row_product(i, design, factor[i], v)
            common += along[i] * seen[j]
        for i in range(lo, hi):
            y = -size[i] * (seen[i - lo] - along[i] * common)
            add_row(i, design, factor[i], y, total)


@njit(
    "void(int64, int64, int64[::1], " + DESIGN + ", float64[:, ::1], float64[::1], float64[::1], float64[:, ::1], "
    "float64[:, ::1])",
    **JIT,
)
def product(first, last, offsets, design, factor, size, along, v, total):
    """Add J'J v to ``total``, (n_parameters, COLUMNS), J = J0 - a (a.J0)/(a.a) of the block.  ``v``: as ``total``.

    ``factor``, ``size``, ``along``: from ``linearise``. Loops of a length that is known when this is compiled are made
    of vector instructions alone.
    """
    n_nonzeros = design[0].shape[1]
    longest = longest_group(first, last, offsets)
    phi, index = np.zeros((longest, n_nonzeros)), np.zeros((longest, n_nonzeros), np.int64)
    filled = np.zeros(longest, np.int64)
    seen = np.zeros((longest, COLUMNS))
    common = np.zeros(COLUMNS)
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        common[:] = 0.0
        for i in range(lo, hi):
            j = np.uint64(i - lo)
            for q in range(COLUMNS):
                seen[j, np.uint64(q)] = 0.0
            filled[j] = jacobian_row(i, design, factor[i], -size[i], -1, phi[j], index[j])
            for a in range(filled[j]):
                x, p = phi[j, np.uint64(a)], np.uint64(index[j, np.uint64(a)])
                for q in range(COLUMNS):
                    seen[j, np.uint64(q)] += x * v[p, np.uint64(q)]
            for q in range(COLUMNS):
                common[np.uint64(q)] += along[i] * seen[j, np.uint64(q)]
        for i in range(lo, hi):
            j = np.uint64(i - lo)
            for q in range(COLUMNS):
                seen[j, np.uint64(q)] -= along[i] * common[np.uint64(q)]
            for a in range(filled[j]):
                x, p = phi[j, np.uint64(a)], np.uint64(index[j, np.uint64(a)])
                for q in range(COLUMNS):
                    total[p, np.uint64(q)] += x * seen[j, np.uint64(q)]
