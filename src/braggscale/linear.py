"""Cholesky factors and what follows from them: numpy for small matrices, LAPACK's own routines for large ones.

numpy has no triangular solver; its general one costs several times as much, which counts from a few hundred unknowns
on. scipy, which has LAPACK, takes longer to import than small systems take to solve.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from braggscale.arrays import Float

SMALL = 400
BLOCK = 256


def cholesky(matrix: Float, overwrite: bool = False) -> Float | None:
    """Lower triangle L with L L' = ``matrix``, (n, n), zero above the diagonal; None if not positive definite.

    ``overwrite``: the memory of the matrix may be used.
    """
    if len(matrix) > SMALL:
        upper, failed = _lapack("potrf", matrix)(matrix.T, lower=False, clean=True, overwrite_a=overwrite)
        return None if failed else np.ascontiguousarray(upper.T)
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        return None


def inverse_root(normal: Float, more: float = 0.0, overwrite: bool = False) -> Float | None:
    """Lower triangle R with R'R = N^-1, (n, n), found in variables of unit curvature; None if not positive definite.

    ``more``: added to the diagonal in these variables.  ``overwrite``: the memory of N may be used.
    """
    diagonal = np.diag(normal)
    if not (diagonal > 0).all():
        return None
    unit = 1.0 / np.sqrt(diagonal)
    scaled = np.multiply(normal, unit, out=normal if overwrite else None)
    scaled *= unit[:, None]
    scaled[np.diag_indices_from(scaled)] += more
    factor = cholesky(scaled, overwrite=True)
    if factor is None:
        return None
    root = inverse_triangle(factor, overwrite=True)
    root *= unit
    return root


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
    whole, _ = _lapack("potri", factor)(factor.T, lower=False)
    for first in range(0, len(whole), BLOCK):  # the other triangle, piece by piece
        part = slice(first, first + BLOCK)
        whole[part, part] = np.triu(whole[part, part]) + np.triu(whole[part, part], 1).T
        whole[first + BLOCK :, part] = whole[part, first + BLOCK :].T
    return np.ascontiguousarray(whole.T)


def inverse_triangle(factor: Float, overwrite: bool = False) -> Float:
    """L^-1, (n, n)."""
    if len(factor) <= SMALL:
        return np.asarray(np.linalg.inv(factor))
    upper, _ = _lapack("trtri", factor)(factor.T, lower=False, overwrite_c=overwrite)
    return np.ascontiguousarray(upper.T)


def _lapack(name: str, like: Float) -> Any:
    from scipy.linalg import get_lapack_funcs

    return get_lapack_funcs((name,), (like,))[0]
