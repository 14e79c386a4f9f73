"""How fast this machine moves memory: the triad a = b + s c of STREAM (McCalpin, 1995), 24 bytes each as there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numba
import numpy as np

from braggscale.numerics.array_types import Float


def _triad(a: Float, b: Float, c: Float, s: float) -> None:
    for i in range(len(a)):
        a[i] = b[i] + s * c[i]


def bandwidth(n_threads: int, n: int = 16_000_000, repeat: int = 7) -> float:
    """Bytes per second on ``n_threads`` threads, the best of ``repeat``.

    ``n``: length of the three arrays. They must be several times larger than the last cache: 16 million are 384 MB.
    """
    triad = numba.njit("void(float64[::1], float64[::1], float64[::1], float64)", nogil=True)(_triad)
    a, b, c = np.zeros(n), np.ones(n), np.full(n, 2.0)
    cuts = np.linspace(0, n, n_threads + 1).astype(np.int64)
    parts = [slice(first, last) for first, last in zip(cuts, cuts[1:], strict=False)]
    best = np.inf
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(repeat):
            begin = perf_counter()
            list(pool.map(lambda part: triad(a[part], b[part], c[part], 3.0), parts))
            best = min(best, perf_counter() - begin)
    return 24.0 * n / best
