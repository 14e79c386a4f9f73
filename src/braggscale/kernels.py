"""Compiled loops over unique reflections: arrays and scalars in, arrays out, nothing else.

Every kernel works on the groups ``first <= h < last`` of one block and adds to the arrays it is given, so that
blocks can run on threads (the interpreter lock is released) and be added up in a fixed order. Each has a slow,
obvious twin in tests/naive.py.

The slots of a row. The inverse scale factor of a row is a product over components c,

    g = prod_c value_c,   value_c = offset_c + eta_c  or  exp(eta_c),   eta_c = sum_s basis[i, s] theta[index(i, s)]

with slots s from bounds[f, c] to bounds[f, c + 1] for rows of family f, and
index(i, s) = start[i, c] + pattern[f, s]: the non-zero coefficients of a row are few, and their places in theta
follow from one number per component.

Arguments that all kernels share
    offsets   (n_groups + 1,) rows of each unique reflection
    intensity, weight   (n,) I and w = 1/V'
    basis     (n, n_slots), start (n, n_components) int32, family (n,) int32
    pattern   (n_families, n_slots) int32, bounds (n_families, n_components + 1) int32
    exponential (n_families, n_components) int32: 1 for exp(eta); offset (n_families, n_components)
    theta     (n_parameters,)
"""

from typing import Any

import numpy as np

from braggscale.jit import njit

_ROWS = "int64[::1], float64[::1], float64[::1], float64[:, ::1], int32[:, ::1], int32[::1]"
_FAMILY = "int32[:, ::1], int32[:, ::1], int32[:, ::1], float64[:, ::1]"
_JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}


@njit(
    "float64(int64, float64[:, ::1], int32[:, ::1], int32, " + _FAMILY + ", float64[::1], float64[::1])",
    **_JIT,
)
def row_scale(i, basis, start, f, pattern, bounds, exponential, offset, theta, log_factor):
    """Return g of row i; fill ``log_factor`` (n_components,) with d ln value_c / d eta_c."""
    g = 1.0
    for c in range(start.shape[1]):
        first, last = bounds[f, c], bounds[f, c + 1]
        if first == last:
            continue
        eta = 0.0
        k = start[i, c]
        for s in range(first, last):
            eta += basis[i, s] * theta[k + pattern[f, s]]
        if exponential[f, c]:
            g *= np.exp(eta)
            log_factor[c] = 1.0
        else:
            value = offset[f, c] + eta
            g *= value
            # a value of exactly 0 would make ln g undefined; g itself stays 0
            log_factor[c] = 1.0 / value if value != 0.0 else 0.0
    return g


@njit(
    "int64(int64, float64[:, ::1], int32[:, ::1], int32, int32[:, ::1], int32[:, ::1], float64[::1], "
    "float64[::1], int64[::1])",
    **_JIT,
)
def _slots(i, basis, start, f, pattern, bounds, log_factor, phi, index):
    """Fill phi = d ln g / d theta of row i and the places in theta; return how many."""
    n = 0
    for c in range(start.shape[1]):
        k = start[i, c]
        factor = log_factor[c]
        for s in range(bounds[f, c], bounds[f, c + 1]):
            phi[n] = basis[i, s] * factor
            index[n] = k + pattern[f, s]
            n += 1
    return n


@njit(
    "void(float64[:, ::1], int32[:, ::1], int32[::1], " + _FAMILY + ", float64[::1], float64[:, ::1], "
    "float64[::1], float64[::1])",
    **_JIT,
)
def scales(basis, start, family, pattern, bounds, exponential, offset, theta, covariance, g, variance):
    """Fill g (n,) and var(g) = g^2 phi' C phi (n,), phi = d ln g / d theta.

    ``covariance``: C, (n_parameters, n_parameters), or (0, 0) to leave ``variance`` alone.
    """
    n_slots = basis.shape[1]
    log_factor = np.zeros(start.shape[1])
    phi = np.zeros(n_slots)
    index = np.zeros(n_slots, np.int64)
    for i in range(len(family)):
        f = family[i]
        g[i] = row_scale(i, basis, start, f, pattern, bounds, exponential, offset, theta, log_factor)
        if covariance.shape[0] == 0:
            continue
        n = _slots(i, basis, start, f, pattern, bounds, log_factor, phi, index)
        total = 0.0
        for a in range(n):
            part = 0.5 * phi[a] * covariance[index[a], index[a]]
            for b in range(a):
                part += phi[b] * covariance[index[a], index[b]]
            total += 2.0 * phi[a] * part
        variance[i] = g[i] * g[i] * total


@njit(
    "UniTuple(float64, 2)(int64, int64, float64[::1], float64[::1], float64[:, ::1], int32[:, ::1], int32[::1], "
    + _FAMILY
    + ", float64[::1], float64[::1], float64[:, ::1])",
    **_JIT,
)
def group_mean(lo, hi, intensity, weight, basis, start, family, pattern, bounds, exponential, offset, theta, g, factor):
    """Return I_h = sum w g I / sum w g^2 and sum w g^2 of rows lo to hi - 1; fill g and log factors from place 0 on."""
    above, below = 0.0, 0.0
    for i in range(lo, hi):
        j = i - lo
        g[j] = row_scale(i, basis, start, family[i], pattern, bounds, exponential, offset, theta, factor[j])
        above += weight[i] * g[j] * intensity[i]
        below += weight[i] * g[j] * g[j]
    return (above / below if below > 0.0 else 0.0), below


@njit("float64(int64, int64, " + _ROWS + ", " + _FAMILY + ", float64[::1], float64[::1], float64[::1])", **_JIT)
def cost_gradient(
    first, last, offsets, intensity, weight, basis, start, family, pattern, bounds, exponential, offset, theta,
    gradient, curvature,
):  # fmt: skip
    """Return sum w (I - g I_h)^2 of the block; add its gradient and the diagonal of J0'J0, (n_parameters,).

    With I_h eliminated, d cost / d theta = -2 sum w (I - g I_h) I_h dg/d theta: the term through I_h vanishes.
    """
    n_components = start.shape[1]
    longest = 0
    for h in range(first, last):
        longest = max(longest, offsets[h + 1] - offsets[h])
    g = np.zeros(longest)
    factor = np.zeros((longest, n_components))
    cost = 0.0
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean, below = group_mean(
            lo, hi, intensity, weight, basis, start, family, pattern, bounds, exponential, offset, theta, g, factor
        )
        if below <= 0.0:
            continue
        for i in range(lo, hi):
            j = i - lo
            f = family[i]
            residual = intensity[i] - g[j] * mean
            cost += weight[i] * residual * residual
            first_order = -2.0 * weight[i] * residual * mean * g[j]
            second_order = weight[i] * mean * mean * g[j] * g[j]
            for c in range(n_components):
                k = start[i, c]
                for s in range(bounds[f, c], bounds[f, c + 1]):
                    phi = basis[i, s] * factor[j, c]
                    gradient[k + pattern[f, s]] += first_order * phi
                    curvature[k + pattern[f, s]] += second_order * phi * phi
    return cost


@njit(
    "float64(int64, int64, " + _ROWS + ", " + _FAMILY + ", float64[::1], float64[::1], float64[:, ::1])",
    **_JIT,
)
def normal_matrix(
    first, last, offsets, intensity, weight, basis, start, family, pattern, bounds, exponential, offset, theta,
    gradient, matrix,
):  # fmt: skip
    """Return sum w (I - g I_h)^2 of the block; add its gradient and its part of J'J.

    J0 = -sqrt(w) I_h dg, a = sqrt(w) g, and J = J0 - a (a.J0)/(a.a) inside each group (Kaufman's form of
    variable projection), hence J'J = J0'J0 - sum_h A_h A_h'/(a.a)_h with A_h = sum_i a_i J0_i.
    Of the symmetric matrix each pair (p, q) is added once, on either side of the diagonal: the full matrix is
    M + M' - diag(M).
    """
    n_components = start.shape[1]
    n_slots = basis.shape[1]
    longest = 0
    for h in range(first, last):
        longest = max(longest, offsets[h + 1] - offsets[h])
    g = np.zeros(longest)
    factor = np.zeros((longest, n_components))
    phi = np.zeros(n_slots)
    index = np.zeros(n_slots, np.int64)
    projected = np.zeros(len(theta))
    seen = np.zeros(len(theta), np.uint8)
    touched = np.zeros(len(theta), np.int64)
    cost = 0.0
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean, below = group_mean(
            lo, hi, intensity, weight, basis, start, family, pattern, bounds, exponential, offset, theta, g, factor
        )
        if below <= 0.0:
            continue
        n_touched = 0
        for i in range(lo, hi):
            j = i - lo
            residual = intensity[i] - g[j] * mean
            cost += weight[i] * residual * residual
            n = _slots(i, basis, start, family[i], pattern, bounds, factor[j], phi, index)
            first_order = -2.0 * weight[i] * residual * mean * g[j]
            second_order = weight[i] * mean * mean * g[j] * g[j]
            along = -weight[i] * g[j] * g[j] * mean
            for a in range(n):
                p = index[a]
                gradient[p] += first_order * phi[a]
                projected[p] += along * phi[a]
                if seen[p] == 0:
                    seen[p] = 1
                    touched[n_touched] = p
                    n_touched += 1
                x = second_order * phi[a]
                for b in range(a + 1):
                    matrix[p, index[b]] += x * phi[b]
        for a in range(n_touched):
            p = touched[a]
            x = projected[p] / below
            for b in range(a + 1):
                matrix[p, touched[b]] -= x * projected[touched[b]]
        for a in range(n_touched):
            projected[touched[a]] = 0.0
            seen[touched[a]] = 0
    return cost
