"""Compiled basis values of smooth terms and spherical harmonics; models/component.py has the formulas."""

from typing import Any

import numpy as np

from braggscale.numerics.compiled.cache import njit

_JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}
TILE = 64  # rows that are treated together, so that their intermediate values stay in the first-level cache


@njit("void(float64[:, ::1], int64[::1], float64, float64[::1], int32[::1], float64[:, ::1])", **_JIT)
def smooth(position, n, sigma, factor, start, values):
    """Fill ``start`` (n_rows,) and ``values`` (n_rows, product of widths): Gaussian weights of sum ``factor``.

    ``position``: u, in intervals, (n_rows, n_axes).  ``n``: parameters of each axis.  ``factor``: (n_rows,).
    On each axis the three nearest parameters are averaged (all if there are fewer), near the ends by the rules of
    DIALS; the first axis varies fastest.
    """
    w = np.empty(3)
    for i in range(len(start)):
        place, stride, m = 0, 1, 1
        values[i, 0] = 1.0
        for axis in range(len(n)):
            u, count = position[i, axis], n[axis]
            k = min(3, count)
            first, low, high = 0, 0, count
            shift = 0.0
            if count > 3:
                x = u - 0.5 * k
                nearest = int(np.floor(abs(x) + 0.5))
                low = (nearest if x >= 0.0 else -nearest) + 1
                if low < 0:
                    low, high = 0, max(2, low + k)
                else:
                    low, high = min(low, count - 2), min(low + k, count)
                first = min(max(low, 0), count - k)
                shift = 0.5
            for b in range(k):
                distance = u - (first + b - shift)
                inside = low <= first + b < high
                w[b] = np.exp(-distance * distance / (sigma * sigma)) if inside else 0.0
            # from the last to the first, so that values are not overwritten before they are used
            for b in range(k - 1, -1, -1):
                for a in range(m):
                    values[i, b * m + a] = values[i, a] * w[b]
            place += stride * first
            stride *= count
            m *= k
        total = 0.0
        for a in range(m):
            total += values[i, a]
        for a in range(m):
            values[i, a] *= factor[i] / total
        start[i] = place


@njit("void(float64[:, ::1], float64[:, ::1], int64, float64[::1], float64[:, ::1])", **_JIT)
def mean_harmonics(incoming, outgoing, lmax, norm, values):
    """Fill ``values`` (n, lmax^2 + 2 lmax) with (Y_lm(incoming) + Y_lm(outgoing))/2; 0 where a direction is zero.

    ``incoming``, ``outgoing``: unit vectors, (n, 3).  ``norm``: N_lm, with sqrt(2) for m not 0, in the order of values.
    """
    n_lm = len(norm)
    total = np.empty((n_lm, TILE))
    z = np.empty(TILE)
    x = np.empty(TILE)
    y = np.empty(TILE)
    cosine = np.empty(TILE)
    sine = np.empty(TILE)
    before = np.empty(TILE)
    current = np.empty(TILE)
    for begin in range(0, len(incoming), TILE):
        m_rows = min(TILE, len(incoming) - begin)
        total[:] = 0.0
        for side in range(2):
            for j in range(TILE):
                i = begin + min(j, m_rows - 1)
                direction = outgoing[i] if side else incoming[i]
                x[j], y[j], z[j] = direction[0], direction[1], direction[2]
                cosine[j], sine[j] = 1.0, 0.0
            diagonal = 1.0
            for m in range(lmax + 1):
                for j in range(TILE):
                    before[j], current[j] = 0.0, diagonal
                for l in range(m, lmax + 1):
                    if l > m:
                        a, b = (2.0 * l - 1.0) / (l - m), (l + m - 1.0) / (l - m)
                        for j in range(TILE):
                            following = a * z[j] * current[j] - b * before[j]
                            before[j] = current[j]
                            current[j] = following
                    if l == 0:
                        continue
                    centre = l * l - 1 + l
                    half = 0.5 * norm[centre + m]
                    even = total[centre + m]
                    for j in range(TILE):
                        even[j] += half * current[j] * cosine[j]
                    if m > 0:
                        odd = total[centre - m]
                        for j in range(TILE):
                            odd[j] += half * current[j] * sine[j]
                for j in range(TILE):
                    turned = x[j] * cosine[j] - y[j] * sine[j]
                    sine[j] = x[j] * sine[j] + y[j] * cosine[j]
                    cosine[j] = turned
                diagonal *= 2.0 * m + 1.0
        for j in range(m_rows):
            i = begin + j
            known = (incoming[i, 0] != 0.0 or incoming[i, 1] != 0.0 or incoming[i, 2] != 0.0) and (
                outgoing[i, 0] != 0.0 or outgoing[i, 1] != 0.0 or outgoing[i, 2] != 0.0
            )
            for p in range(n_lm):
                values[i, p] = total[p, j] if known else 0.0
