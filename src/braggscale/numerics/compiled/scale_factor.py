"""Compiled loops over rows: the inverse scale factor and its derivative. Arrays and scalars in, arrays out.

The inverse scale factor of a row is a product over components c,

    g = prod_c value_c,   value_c = offset_c + eta_c  or  exp(eta_c),   eta_c = sum_s basis[i, s] theta[index(i, s)]

with s from component_ptr[f, c] to component_ptr[f, c + 1] for rows of family f, and
index(i, s) = start[i, c] + columns[f, s]: a row has few non-zero coefficients, and their positions in theta follow
from one number per component. One component of a family may be *dense*: it has many nonzeros, which are consecutive
in theta (columns 0, 1, 2, ...), as for an absorption surface; loops over them use vector instructions.

Arguments that all kernels of the fit share
    design    (basis, start, family, columns, component_ptr, dense, exponential, offset):
        basis (n, n_nonzeros), start (n, n_components) int32, family (n,) int32,
        columns (n_families, n_nonzeros) int32, component_ptr (n_families, n_components + 1) int32,
        dense (n_families,) int32: number of the dense component, -1 if there is none,
        exponential (n_families, n_components) int32: 1 for exp(eta); offset (n_families, n_components)
    theta     (n_parameters,)
"""

from typing import Any

import numpy as np

from braggscale.numerics.compiled.cache import njit

ARRAYS = (
    "float64[:, ::1], int32[:, ::1], int32[::1], int32[:, ::1], int32[:, ::1], int32[::1], int32[:, ::1], "
    "float64[:, ::1]"
)
DESIGN = "Tuple((" + ARRAYS + "))"
# A symmetric matrix that consists of blocks along the diagonal.
BLOCKS = "int32[::1], int64[::1], int64[::1], float64[::1]"
# Sums inside a row may be taken in any order, which lets them run on vector instructions; always the same order on one
# kind of processor.
JIT: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz"},
}


@njit(inline="always", **JIT)
def row_scale(i, design, theta, log_factor):
    """Return g of row i; fill ``log_factor`` (n_components,) with d ln value_c / d eta_c."""
    basis, start, family, columns, component_ptr, dense, exponential, offset = design
    f = family[i]
    g = 1.0
    for c in range(start.shape[1]):
        first, last = component_ptr[f, c], component_ptr[f, c + 1]
        if first == last:
            continue
        eta = 0.0
        k = start[i, c]
        if dense[f] == c:
            at, column = np.uint64(k), np.uint64(first)
            for s in range(np.uint64(last - first)):
                eta += basis[i, column + s] * theta[at + s]
        else:
            for s in range(first, last):
                eta += basis[i, s] * theta[k + columns[f, s]]
        if exponential[f, c]:
            g *= np.exp(eta)
            log_factor[c] = 1.0
        else:
            value = offset[f, c] + eta
            g *= value
            # a value of exactly 0 would make ln g undefined; g itself stays 0
            log_factor[c] = 1.0 / value if value != 0.0 else 0.0
    return g


@njit(inline="always", **JIT)
def jacobian_row(i, design, log_factor, x, leave, phi, index):
    """Fill ``phi`` with the non-zero elements of x d ln g_i / d theta; return how many there are.

    With x = -sqrt(w) I_h g they are a row of J0.  ``leave``: a component that is left out, -1 for none.
    ``index``: positions of the elements in theta.  ``phi``, ``index``: at least (n_nonzeros,).  ``add_row``,
    ``add_squared_row`` and ``row_product`` use the same derivative in sums; they store nothing, and loops over
    dense nonzeros use vector instructions.
    """
    basis, start, family, columns, component_ptr, dense, exponential, offset = design
    f = family[i]
    n = 0
    for c in range(start.shape[1]):
        if c == leave:
            continue
        k = start[i, c]
        for s in range(component_ptr[f, c], component_ptr[f, c + 1]):
            phi[n] = x * log_factor[c] * basis[i, s]
            index[n] = k + columns[f, s]
            n += 1
    return n


@njit(inline="always", **JIT)
def add_row(i, design, log_factor, x, total):
    """Add x d ln g_i / d theta to ``total``, (n_parameters,)."""
    basis, start, family, columns, component_ptr, dense, exponential, offset = design
    f = family[i]
    for c in range(start.shape[1]):
        first, last = component_ptr[f, c], component_ptr[f, c + 1]
        k = start[i, c]
        y = x * log_factor[c]
        if dense[f] == c:
            at, column = np.uint64(k), np.uint64(first)
            for s in range(np.uint64(last - first)):
                total[at + s] += y * basis[i, column + s]
        else:
            for s in range(first, last):
                total[k + columns[f, s]] += y * basis[i, s]


@njit(inline="always", **JIT)
def add_squared_row(i, design, log_factor, x, total):
    """Add x (d ln g_i / d theta)^2, element by element, to ``total``, (n_parameters,)."""
    basis, start, family, columns, component_ptr, dense, exponential, offset = design
    f = family[i]
    for c in range(start.shape[1]):
        for s in range(component_ptr[f, c], component_ptr[f, c + 1]):
            phi = basis[i, s] * log_factor[c]
            total[start[i, c] + columns[f, s]] += x * phi * phi


@njit(inline="always", **JIT)
def row_product(i, design, log_factor, v):
    """Return (d ln g_i / d theta) . v.  ``v``: (n_parameters,)."""
    basis, start, family, columns, component_ptr, dense, exponential, offset = design
    f = family[i]
    x = 0.0
    for c in range(start.shape[1]):
        k = start[i, c]
        part = 0.0
        if dense[f] == c:
            at, column = np.uint64(k), np.uint64(component_ptr[f, c])
            for s in range(np.uint64(component_ptr[f, c + 1] - component_ptr[f, c])):
                part += basis[i, column + s] * v[at + s]
        else:
            for s in range(component_ptr[f, c], component_ptr[f, c + 1]):
                part += basis[i, s] * v[k + columns[f, s]]
        x += log_factor[c] * part
    return x


@njit("void(" + DESIGN + ", float64[::1], " + BLOCKS + ", float64[::1], float64[::1])", **JIT)
def scales(design, theta, block, first_of, base, store, g, variance):
    """Fill g (n,) and var(g) = g^2 phi' C phi (n,), phi = d ln g / d theta.

    ``block``, ``first_of``, ``base``, ``store``: C in blocks, see ``block_matrices``; if ``store`` is empty,
    ``variance`` is not changed.
    """
    basis, start, family, columns, component_ptr, dense, exponential, offset = design
    n_components = start.shape[1]
    log_factor = np.zeros(n_components)
    for i in range(len(family)):
        g[i] = row_scale(i, design, theta, log_factor)
        if len(store) == 0:
            continue
        f = family[i]
        total = 0.0
        for c in range(n_components):
            for s in range(component_ptr[f, c], component_ptr[f, c + 1]):
                p = start[i, c] + columns[f, s]
                phi = basis[i, s] * log_factor[c]
                if phi == 0.0:
                    continue
                k = block[p]
                size = first_of[k + 1] - first_of[k]
                line = base[k] + (p - first_of[k]) * size - first_of[k]
                along = 0.0
                for e in range(c, n_components):
                    low, high = component_ptr[f, e], component_ptr[f, e + 1]
                    if low == high or block[start[i, e] + columns[f, low]] != k:
                        continue
                    # C is symmetric: of the part of one component the elements from the diagonal on
                    part = 0.0
                    if e == c:
                        part += 0.5 * basis[i, s] * store[line + p]
                        low = s + 1
                    if dense[f] == e:
                        at, column = np.uint64(line + start[i, e] + low - component_ptr[f, e]), np.uint64(low)
                        for r in range(np.uint64(high - low)):
                            part += basis[i, column + r] * store[at + r]
                    else:
                        for r in range(low, high):
                            part += basis[i, r] * store[line + start[i, e] + columns[f, r]]
                    along += 2.0 * log_factor[e] * part
                total += phi * along
        variance[i] = g[i] * g[i] * total


@njit("void(float64[:, ::1], int32[::1], int32[::1], float64[::1], boolean, float64, float64[::1])", **JIT)
def multiply(values, start, columns, theta, exponential, offset, g):
    """Multiply g (n,) with one component's value.  ``values``: of its nonzeros, (n, n_nonzeros); ``start``: (n,)."""
    nonzeros = np.uint64(values.shape[1])
    for i in range(len(g)):
        eta = 0.0
        for s in range(nonzeros):
            eta += values[i, s] * theta[start[i] + columns[s]]
        g[i] *= np.exp(eta) if exponential else offset + eta


@njit("void(" + DESIGN + ", float64[::1], float64[::1], float64[::1])", **JIT)
def log_derivative(design, theta, x, total):
    """Add sum_i x_i d ln g_i / d theta to ``total``, (n_parameters,).  ``x``: (n,)."""
    log_factor = np.zeros(design[1].shape[1])
    for i in range(len(x)):
        row_scale(i, design, theta, log_factor)
        add_row(i, design, log_factor, x[i], total)
