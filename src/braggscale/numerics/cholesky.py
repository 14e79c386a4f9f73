"""The inverse root of a symmetric matrix: R, a lower triangle, with R'R = N^-1.

With N in four blocks, and R of the first diagonal block known,

    R11'R11 = N11^-1,    L21 = N21 R11',    R22'R22 = (N22 - L21 L21')^-1,    R21 = -R22 L21 R11,

so R is found by halves: almost all of the work is in products of matrices, for which numpy is efficient. A product of
large matrices is computed in strips on all threads, without the parts of triangles that are zero. The strips depend on
the size alone, so results do not depend on the number of threads. numpy's own functions invert a triangle like any
other matrix, which takes six times as long for a few hundred unknowns; scipy has LAPACK's, but takes longer to import
than all inversions of a small run.
"""

from __future__ import annotations

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.numerics.partitions import run_in_threads

SMALL = 64  # unknowns from which on a matrix is halved
STRIP = 256  # rows or columns of a product that are computed at once


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
    root = _root(scaled)
    if root is not None:
        root *= unit
    return root


def _root(a: Float) -> Float | None:
    """R in the memory of ``a``, of which only the lower triangle is read; None if not positive definite."""
    n = len(a)
    if n <= SMALL:
        try:
            a[...] = np.linalg.inv(np.linalg.cholesky(a))
        except np.linalg.LinAlgError:
            return None
        # rounding errors above the diagonal
        a *= np.tri(n)
        return a
    half = STRIP * ((n // 2 + STRIP - 1) // STRIP) if n > 2 * STRIP else n // 2
    first, across, last = a[:half, :half], a[half:, :half], a[half:, half:]
    if _root(first) is None:
        return None
    strips, rows = _strips(half), _strips(n - half)
    left = np.empty_like(across)

    def solved(k: int) -> None:
        """One strip of columns of ``left`` = ``across`` ``first``'."""
        here = strips[k]
        left[:, here] = across[:, : here.stop] @ first[here, : here.stop].T

    def reduced(k: int) -> None:
        """Subtract ``left`` ``left``' from one strip of rows of ``last``."""
        here = rows[k]
        last[here, : here.stop] -= left[here] @ left[: here.stop].T

    def along(k: int) -> None:
        """One strip of columns of ``across`` = ``left`` ``first``."""
        here = strips[k]
        across[:, here] = left[:, here.start :] @ first[here.start :, here]

    def below(k: int) -> None:
        """One strip of rows of ``left`` = ``last`` ``across``."""
        here = rows[k]
        left[here] = last[here, : here.stop] @ across[: here.stop]

    run_in_threads(solved, len(strips))
    run_in_threads(reduced, len(rows))
    if _root(last) is None:
        return None
    run_in_threads(along, len(strips))
    run_in_threads(below, len(rows))
    np.negative(left, out=across)
    a[:half, half:] = 0.0
    return a


def square(root: Float) -> Float:
    """R'R, (n, n), of a lower triangle R = ``root``, (n, n)."""
    if len(root) <= 2 * STRIP:
        return np.asarray(root.T @ root)
    strips, result = _strips(len(root)), np.empty_like(root)

    def row(k: int) -> None:
        """One strip of rows of the product."""
        here = strips[k]
        before = slice(0, here.stop)
        result[here, before] = root[here.start :, here].T @ root[here.start :, before]

    run_in_threads(row, len(strips))
    for here in strips:
        result[here, here] = 0.5 * (result[here, here] + result[here, here].T)
        result[here, here.stop :] = result[here.stop :, here].T
    return result


def times(root: Float, x: Float) -> Float:
    """R x, (n,), of a lower triangle R = ``root``, (n, n)."""
    if len(root) <= 2 * STRIP:
        return np.asarray(root @ x)
    strips = _strips(len(root))
    return np.concatenate(
        run_in_threads(lambda k: root[strips[k], : strips[k].stop] @ x[: strips[k].stop], len(strips))
    )


def times_transposed(root: Float, x: Float) -> Float:
    """R'x, (n,), of a lower triangle R = ``root``, (n, n)."""
    if len(root) <= 2 * STRIP:
        return np.asarray(x @ root)
    strips = _strips(len(root))
    return np.concatenate(
        run_in_threads(lambda k: x[strips[k].start :] @ root[strips[k].start :, strips[k]], len(strips))
    )


def add_transposed(a: Float) -> None:
    """Add to the matrix ``a``, (n, n), its transpose, in its memory."""
    strips = _strips(len(a))

    def row(k: int) -> None:
        """One strip of rows and the same strip of columns."""
        for other in strips[: k + 1]:
            both = a[strips[k], other] + a[other, strips[k]].T
            a[strips[k], other], a[other, strips[k]] = both, both.T

    run_in_threads(row, len(strips))


def _strips(n: int) -> list[slice]:
    return [slice(begin, min(begin + STRIP, n)) for begin in range(0, n, STRIP)]
