"""Solves linear systems by products with the matrix alone, for many right-hand sides at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from braggscale.numerics.array_types import Float


def conjugate_gradients(
    product: Callable[[Float], Float],
    precondition: Callable[[Float], Float],
    right: Float,
    start: Float | None = None,
    *,
    tolerance: float = 1e-5,
    floor: float = 0.0,
    max_iterations: int = 300,
) -> tuple[Float, int]:
    """x of N x = ``right``, (n, m), every column by itself, and the number of steps.

    Preconditioned conjugate gradients (Golub & Van Loan, Matrix Computations, algorithm 11.5.1).
    ``product``, ``precondition``: N x and M^-1 x, (n, m).  ``start``: x to begin with, (n, m).  ``tolerance``: of the
    residual in the norm of M^-1, relative to that of ``right``.  ``floor``: square of a residual, in that norm,
    that is small enough in any case; for N x = -gradient/2 it is about the decrease of the cost that is still
    possible.
    """
    x = np.zeros_like(right) if start is None else start.copy()
    residual = right.copy() if start is None else right - product(x)
    whole = np.einsum("nm,nm->m", right, precondition(right))
    z = precondition(residual)
    direction = z.copy()
    size = np.einsum("nm,nm->m", residual, z)
    for number in range(max_iterations):
        going = size > np.maximum(tolerance**2 * whole, floor)
        if not going.any():
            return x, number
        along = product(direction)
        curvature = np.einsum("nm,nm->m", direction, along)
        step = np.where(going & (curvature > 0), size / np.where(curvature > 0, curvature, 1.0), 0.0)
        x += step * direction
        residual -= step * along
        z = precondition(residual)
        new = np.einsum("nm,nm->m", residual, z)
        direction = z + np.where(size > 0, new / np.where(size > 0, size, 1.0), 0.0) * direction
        size = new
    return x, max_iterations
