"""Cholesky factors, solutions and inverses: by numpy for small matrices, by LAPACK for larger ones.

numpy has no triangular solver; its general one takes several times as long, which matters for a few hundred unknowns
and more. scipy, which has LAPACK, takes longer to import than small systems take to solve. Beyond LARGE unknowns the
matrix is divided into tiles, and products of tiles are computed on all threads. LAPACK itself runs on one thread, so
that results do not depend on the number of threads.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.numerics.blas import hold_new_libraries
from braggscale.numerics.partitions import run_lanes

SMALL = 400
LARGE = 1000
BLOCK = 256


def cholesky(matrix: Float, overwrite: bool = False) -> Float | None:
    """Lower triangle L with L L' = ``matrix``, (n, n), zero above the diagonal; None if not positive definite.

    ``overwrite``: the memory of the matrix may be used.
    """
    if len(matrix) > LARGE:
        return _tiled_cholesky(matrix if overwrite else matrix.copy())
    if len(matrix) > SMALL:
        upper, failed = _lapack("potrf", matrix)(matrix.T, lower=False, clean=True, overwrite_a=overwrite)
        return None if failed else np.ascontiguousarray(upper.T)
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        return None


def inverse_root(normal: Float, more: float = 0.0, overwrite: bool = False) -> Float | None:
    """Lower triangle R with R'R = N^-1, (n, n), found in variables of unit curvature; None if not positive definite.

    ``normal``: N, (n, n).  ``more``: added to the diagonal in these variables.  ``overwrite``: the memory of N may be
    used.
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
    """x of L L' x = ``right``, (n,) or (n, k).  ``factor``: L, (n, n)."""
    if len(factor) <= SMALL:
        return np.asarray(np.linalg.solve(factor.T, np.linalg.solve(factor, right)))
    # LAPACK stores matrices by columns, so the transposed view is an upper triangle there
    x, _ = _lapack("potrs", factor)(factor.T, right, lower=False)
    return np.asarray(x)


def inverse(factor: Float) -> Float:
    """(L L')^-1, symmetric, (n, n).  ``factor``: L, (n, n)."""
    if len(factor) > LARGE:
        return square(inverse_triangle(factor))
    if len(factor) <= SMALL:
        root = np.linalg.inv(factor)
        return np.asarray(root.T @ root)
    whole, _ = _lapack("potri", factor)(factor.T, lower=False)
    for first in range(0, len(whole), BLOCK):  # the other triangle, piece by piece
        part = slice(first, first + BLOCK)
        whole[part, part] = np.triu(whole[part, part]) + np.triu(whole[part, part], 1).T
        whole[first + BLOCK :, part] = whole[part, first + BLOCK :].T
    return np.ascontiguousarray(whole.T)


def square(root: Float) -> Float:
    """R'R, (n, n), of a lower triangle R = ``root``, (n, n)."""
    return _tiled_square(root) if len(root) > LARGE else np.asarray(root.T @ root)


def inverse_triangle(factor: Float, overwrite: bool = False) -> Float:
    """L^-1, (n, n), of a lower triangle L = ``factor``, (n, n).  ``overwrite``: its memory may be used."""
    if len(factor) > LARGE:
        return _tiled_inverse(factor if overwrite else factor.copy())
    if len(factor) <= SMALL:
        return np.asarray(np.linalg.inv(factor))
    return _inverse_by_lapack(factor, overwrite)


def _inverse_by_lapack(factor: Float, overwrite: bool = False) -> Float:
    upper, _ = _lapack("trtri", factor)(factor.T, lower=False, overwrite_c=overwrite)
    return np.ascontiguousarray(upper.T)


def _tiles(n: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]


def _tiled_cholesky(a: Float) -> Float | None:
    """L in the memory of ``a``, a column of tiles after the other."""
    tiles = _tiles(len(a))
    for k, here in enumerate(tiles):
        left = a[here, : here.start].T.copy()

        def update(i: int, here: slice = here, k: int = k, left: Float = left) -> None:
            a[tiles[k + i], here] -= a[tiles[k + i], : here.start] @ left

        run_lanes(update, len(tiles) - k if k else 0)
        try:
            a[here, here] = np.linalg.cholesky(a[here, here])
        except np.linalg.LinAlgError:
            return None
        a[here, here.stop :] = 0.0
        across = _inverse_by_lapack(a[here, here]).T

        def below(i: int, here: slice = here, k: int = k, across: Float = across) -> None:
            a[tiles[k + 1 + i], here] = a[tiles[k + 1 + i], here] @ across

        run_lanes(below, len(tiles) - k - 1)
    return a


def _tiled_inverse(a: Float) -> Float:
    """L^-1 in the memory of L, a row of tiles after the other."""
    tiles = _tiles(len(a))
    for i, here in enumerate(tiles):
        own = _inverse_by_lapack(a[here, here])
        row = -own @ a[here, : here.start]

        def column(j: int, here: slice = here, row: Float = row) -> None:
            tile = tiles[j]
            a[here, tile] = row[:, tile.start :] @ a[tile.start : here.start, tile]

        run_lanes(column, i)
        a[here, here] = own
    return a


def _tiled_square(root: Float) -> Float:
    """R'R of a lower triangle R."""
    tiles, result = _tiles(len(root)), np.empty_like(root)

    def row(k: int) -> None:
        here = tiles[k]
        before = slice(0, here.stop)
        result[here, before] = root[here.start :, here].T @ root[here.start :, before]

    run_lanes(row, len(tiles))
    for tile in tiles:
        result[tile, tile] = 0.5 * (result[tile, tile] + result[tile, tile].T)
        result[tile, tile.stop :] = result[tile.stop :, tile].T
    return result


def add_transposed(a: Float) -> None:
    """Add to the matrix ``a``, (n, n), its transpose, in its memory."""
    tiles = _tiles(len(a))

    def row(k: int) -> None:
        for tile in tiles[: k + 1]:
            both = a[tiles[k], tile] + a[tile, tiles[k]].T
            a[tiles[k], tile], a[tile, tiles[k]] = both, both.T

    run_lanes(row, len(tiles))


def _lapack(name: str, like: Float) -> Any:
    new = "scipy.linalg" not in sys.modules
    from scipy.linalg import get_lapack_funcs

    if new:
        hold_new_libraries()
    return get_lapack_funcs((name,), (like,))[0]
