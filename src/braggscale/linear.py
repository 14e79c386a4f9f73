"""Cholesky factors and what follows from them: numpy for small matrices, LAPACK's own routines for large ones.

numpy has no triangular solver; its general one costs several times as much, which counts from a few hundred unknowns
on. scipy, which has LAPACK, takes longer to import than small systems take to solve.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from braggscale.arrays import Float

SMALL = 400


def cholesky(matrix: Float) -> Float | None:
    """Lower triangle L with L L' = ``matrix``, (n, n), zero above the diagonal; None if not positive definite."""
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        return None


def solve(factor: Float, right: Float) -> Float:
    """x of L L' x = ``right``, (n,) or (n, k)."""
    if len(factor) <= SMALL:
        return np.asarray(np.linalg.solve(factor.T, np.linalg.solve(factor, right)))
    # the transposed view is what LAPACK, column by column, calls an upper triangle
    x, _ = _lapack("potrs", factor)(factor.T, right, lower=False)
    return np.asarray(x)


def inverse(factor: Float) -> Float:
    """(L L')^-1, symmetric, (n, n)."""
    if len(factor) <= SMALL:
        root = np.linalg.inv(factor)
        return np.asarray(root.T @ root)
    upper, _ = _lapack("potri", factor)(factor.T, lower=False)
    half = np.triu(upper)
    return np.asarray(half + np.triu(half, 1).T)


def inverse_triangle(factor: Float) -> Float:
    """L^-1, (n, n)."""
    if len(factor) <= SMALL:
        return np.asarray(np.linalg.inv(factor))
    upper, _ = _lapack("trtri", factor)(factor.T, lower=False)
    return np.ascontiguousarray(upper.T)


def _lapack(name: str, like: Float) -> Any:
    from scipy.linalg import get_lapack_funcs

    return get_lapack_funcs((name,), (like,))[0]
