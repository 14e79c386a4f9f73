"""Compiled loops over unique reflections: cost, gradient, curvature and normal matrix of the least-squares problem.

Every kernel works on the groups ``first <= h < last`` of one block and adds to the arrays that it gets, so that
blocks can run on threads (the interpreter lock is released) and their results can be added in a fixed order. Each
has a slow, obvious twin in tests/naive.py. The arguments ``design`` and ``theta`` are described in scale_factor.py;
further

    offsets   (n_groups + 1,) rows of each unique reflection
    intensity, weight   (n,) I and w = 1/V'
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.scale_factor import DESIGN, JIT, add_row, add_squared_row, jacobian_row, row_scale

GROUPS = "int64, int64, int64[::1], float64[::1], float64[::1], " + DESIGN


@njit(inline="always", **JIT)
def group_mean(lo, hi, intensity, weight, design, theta, g, factor):
    """Return I_h = sum w g I / sum w g^2 and sum w g^2 of rows lo to hi - 1; fill g and log factors from place 0 on."""
    above, below = 0.0, 0.0
    for i in range(lo, hi):
        j = i - lo
        g[j] = row_scale(i, design, theta, factor[j])
        above += weight[i] * g[j] * intensity[i]
        below += weight[i] * g[j] * g[j]
    return (above / below if below > 0.0 else 0.0), below


@njit("int64(int64, int64, int64[::1])", **JIT)
def longest_group(first, last, offsets):
    """Members of the largest group."""
    longest = 0
    for h in range(first, last):
        longest = max(longest, offsets[h + 1] - offsets[h])
    return longest


@njit("float64(" + GROUPS + ", float64[::1], float64[::1])", **JIT)
def cost_gradient(first, last, offsets, intensity, weight, design, theta, gradient):
    """Return sum w (I - g I_h)^2 of the block; add its gradient, (n_parameters,).

    With I_h eliminated, d cost / d theta = -2 sum w (I - g I_h) I_h dg/d theta: the term through I_h vanishes.
    """
    longest = longest_group(first, last, offsets)
    g = np.zeros(longest)
    factor = np.zeros((longest, design[1].shape[1]))
    cost = 0.0
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean, below = group_mean(lo, hi, intensity, weight, design, theta, g, factor)
        if below <= 0.0:
            continue
        for i in range(lo, hi):
            j = i - lo
            residual = intensity[i] - g[j] * mean
            cost += weight[i] * residual * residual
            add_row(i, design, factor[j], -2.0 * weight[i] * residual * mean * g[j], gradient)
    return cost


@njit("void(" + GROUPS + ", float64[::1], float64[::1])", **JIT)
def curvature(first, last, offsets, intensity, weight, design, theta, diagonal):
    """Add the diagonal of J0'J0, J0 = -sqrt(w) I_h dg/d theta, of the block, (n_parameters,)."""
    longest = longest_group(first, last, offsets)
    g = np.zeros(longest)
    factor = np.zeros((longest, design[1].shape[1]))
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean, below = group_mean(lo, hi, intensity, weight, design, theta, g, factor)
        for i in range(lo, hi):
            j = i - lo
            x = weight[i] * mean * mean * g[j] * g[j]
            add_squared_row(i, design, factor[j], x, diagonal)


@njit(
    "float64(" + GROUPS + ", float64[::1], int32[::1], int64[::1], float64[::1], float64[:, ::1], float64[:, ::1], "
    "float64[:, ::1])",
    **JIT,
)
def normal_matrix(
    first, last, offsets, intensity, weight, design, theta, block, free, gradient, matrix, dense_rows, group_rows
):
    """Return sum w (I - g I_h)^2 of the block; add its gradient, and those parts of J'J that are not left to BLAS.

    J0 = -sqrt(w) I_h dg, a = sqrt(w) g, and J = J0 - a (a.J0)/(a.a) inside each group (Kaufman's form of
    variable projection), hence J'J = J0'J0 - sum_h A_h A_h'/(a.a)_h with A_h = sum_i a_i J0_i.
    Pairs of nonzeros, at least one of them not dense, are added to ``matrix``, (n_parameters, n_parameters), once, on
    either side of the diagonal: their full matrix is M + M' - diag(M). The caller computes the rest by matrix products:
    ``dense_rows``: J0 of the dense nonzeros, (rows, most dense nonzeros), each row at the next free position, ``free``,
    of its ``block``, (n,).  ``group_rows``: A_h / sqrt((a.a)_h), (last - first, n_parameters). If it has no rows, the
    outer products of A_h are added to ``matrix``, which is faster if a group depends on few of many parameters.
    """
    basis, start, family, columns, component_ptr, dense = design[:6]
    n_components = start.shape[1]
    longest = longest_group(first, last, offsets)
    g, size = np.zeros(longest), np.zeros(longest)
    factor = np.zeros((longest, n_components))
    phi, index = np.zeros(basis.shape[1]), np.zeros(basis.shape[1], np.int64)
    few = len(group_rows) == 0
    projected = np.zeros(len(theta) if few else 0)
    seen = np.zeros(len(projected), np.uint8)
    touched = np.zeros(len(projected), np.int64)
    cost = 0.0
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean, below = group_mean(lo, hi, intensity, weight, design, theta, g, factor)
        if below <= 0.0:
            continue
        along = projected if few else group_rows[h - first]
        root = np.sqrt(below)
        n_touched = 0
        for i in range(lo, hi):
            size[i - lo] = np.sqrt(weight[i]) * mean * g[i - lo]
        for i in range(lo, hi):
            j = i - lo
            if weight[i] == 0.0:
                continue
            f = family[i]
            residual = intensity[i] - g[j] * mean
            cost += weight[i] * residual * residual
            add_row(i, design, factor[j], -2.0 * weight[i] * residual * mean * g[j], gradient)
            add_row(i, design, factor[j], -weight[i] * g[j] * g[j] * mean / root, along)
            n = jacobian_row(i, design, factor[j], size[j], dense[f], phi, index)
            for a in range(n):
                p = index[a]
                for b in range(a + 1):
                    matrix[p, index[b]] += phi[a] * phi[b]
            if dense[f] >= 0:
                c = dense[f]
                at, column = np.uint64(start[i, c]), np.uint64(component_ptr[f, c])
                m = np.uint64(component_ptr[f, c + 1] - component_ptr[f, c])
                y = size[j] * factor[j, c]
                row = free[block[i]]
                free[block[i]] += 1
                for s in range(m):
                    dense_rows[row, s] = y * basis[i, column + s]
                for a in range(n):
                    p = index[a]
                    for s in range(m):
                        matrix[p, at + s] += phi[a] * dense_rows[row, s]
            if few:
                for c in range(n_components):
                    for s in range(component_ptr[f, c], component_ptr[f, c + 1]):
                        p = start[i, c] + columns[f, s]
                        if seen[p] == 0:
                            seen[p] = 1
                            touched[n_touched] = p
                            n_touched += 1
        if few:
            for a in range(n_touched):
                p = touched[a]
                x = projected[p]
                for b in range(a + 1):
                    matrix[p, touched[b]] -= x * projected[touched[b]]
            for a in range(n_touched):
                projected[touched[a]] = 0.0
                seen[touched[a]] = 0
    return cost
