"""Compiled loops of linear algebra for which BLAS has no routine."""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.scale_factor import JIT


@njit("void(float64[:, ::1], int64, float64[:, ::1])", **JIT)
def gram(root, first, total):
    """Add to ``total``, (k, k), the block of R'R from ``first`` on.  ``root``: R, a lower triangle, (n, n)."""
    k = np.uint64(len(total))
    begin = np.uint64(first)
    for r in range(first, len(root)):
        for a in range(len(total)):
            x = root[r, first + a]
            for b in range(k):
                total[a, b] += x * root[r, begin + b]
