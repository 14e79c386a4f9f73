"""Compiled: the scales of crystals that are each compared with known intensities alone (braggscale.ranks).

The rules are those of scaling/one_by_one.py for a scale k and a B of each crystal. Arguments: see crystal_passes.py.
"""

import numpy as np

from braggscale.numerics.compiled.cache import njit
from braggscale.numerics.compiled.crystal_passes import APART, PASS_JIT, ROWS, slot
from braggscale.numerics.normal import MEDIAN_CHI2

FITS, STEPS = 6, 40  # fits of a crystal, each after new outliers, and steps of a fit
SETTLED = 1e-8  # step' N step, in a fit
FEWEST = 10  # rows without which k is the ratio of sums
MOST_FACTOR, MOST_B = 2.0, 20.0  # of one step
LEAST_A, LARGEST_A = 0.5, 10.0
ROUNDING = 1e-6  # share of the variance that is left if nearly all of it comes from the partiality
FIXED_ERROR, OF_LEVEL = 1e-3, 0.01  # relative error of the reference, and the share of the mean that it counts for
N_FOUND = 7


@njit(inline="always", **PASS_JIT)
def start_of(i, j, known, intensity, variance):
    """K of the rows i to j - 1 from which a fit starts: of sums with errors in proportion; positive."""
    above, below = 0.0, 0.0
    for r in range(i, j):
        if not np.isnan(known[r - i]):
            above += max(intensity[r], 0.0)
            below += max(known[r - i], 0.0)
    rough = above / below if above > 0.0 and below > 0.0 else 1.0
    above, below = 0.0, 0.0
    for r in range(i, j):
        if not np.isnan(known[r - i]):
            w = 1.0 / (variance[r] + (0.3 * max(known[r - i], 0.0) * rough) ** 2)
            above += w * intensity[r] * known[r - i]
            below += w * known[r - i] * known[r - i]
    return above / below if above > 0.0 and below > 0.0 else rough


@njit(
    f"void(int64, int64, {ROWS}, {APART}, float64[::1], float64[::1], float64, float64, boolean, UniTuple(float64, 2), "
    "float64[:, ::1])",
    **PASS_JIT,
)
def scale_alone(first, last, rows, apart, reference, level, b2, zmax, calibrated, ridge, found):
    """Fill, of each crystal, k, b, a^2, the covariance kk, kb, bb, and rows with a reference; mark outliers in ``out``.

    ``reference``: I_h by place, NaN where it is not known.  ``level``: its mean at the resolution of each reflection,
    (n_reflections,).  ``b2``: of the error model.  ``zmax``: of outliers, 0 for none.  ``calibrated``: whether a is
    found.  ``ridge``: strengths of (k/start - 1)^2 and of b^2.
    """
    starts, number, intensity, variance, s, factor, relative, out = rows
    for c in range(first, last):
        i, j = starts[c], starts[c + 1]
        known, error, z2 = np.empty(j - i), np.empty(j - i), np.empty(j - i)
        use = 0
        for r in range(i, j):
            known[r - i] = reference[slot(number[r], apart)]
            use += 0 if np.isnan(known[r - i]) else 1
        start = start_of(i, j, known, intensity, variance)
        k, b, a = start, 0.0, 1.0
        kk, kb, bb = ridge[0] / start**2, 0.0, ridge[1]
        away, before = np.zeros(j - i, np.bool_), np.zeros(j - i, np.bool_)
        for fit in range(FITS + 1):
            for r in range(i, j):
                p = r - i
                m = 0.0 if np.isnan(known[p]) else known[p]
                mu = max(k * np.exp(b * s[r]) * m, 0.0)
                of = np.float64(relative[r]) if len(relative) else 0.0
                counting = max(variance[r] - of * intensity[r] * intensity[r], ROUNDING * variance[r])
                error[p] = counting + (of + b2) * mu * mu
                z2[p] = np.nan if np.isnan(known[p]) else (intensity[r] - mu) ** 2 / error[p]
            if calibrated and use >= FEWEST:
                kept = z2[~away & ~np.isnan(z2)]
                if len(kept):
                    a = min(max(np.sqrt(np.median(kept) / MEDIAN_CHI2), LEAST_A), LARGEST_A)
            if zmax > 0.0:
                for p in range(j - i):
                    before[p] = away[p]
                    away[p] = z2[p] > (zmax * a) ** 2
            if use < FEWEST or fit == FITS or (fit > 1 and np.array_equal(away, before)):
                break
            for _ in range(STEPS):
                gk, gb = -ridge[0] / start**2 * (k - start), -ridge[1] * b
                kk, kb, bb = ridge[0] / start**2, 0.0, ridge[1]
                for r in range(i, j):
                    p = r - i
                    if np.isnan(known[p]) or away[p]:
                        continue
                    e = np.exp(b * s[r])
                    least = FIXED_ERROR * max(known[p], OF_LEVEL * level[number[r] >> 1])
                    w = 1.0 / (a * a * error[p] + (k * e * least) ** 2)
                    jk, jb = e * known[p], k * e * s[r] * known[p]
                    away_by = intensity[r] - k * e * known[p]
                    gk += w * away_by * jk
                    gb += w * away_by * jb
                    kk += w * jk * jk
                    kb += w * jk * jb
                    bb += w * jb * jb
                determinant = kk * bb - kb * kb
                dk, db = (bb * gk - kb * gb) / determinant, (kk * gb - kb * gk) / determinant
                k *= min(max(1.0 + dk / k, 1.0 / MOST_FACTOR), MOST_FACTOR)
                b += min(max(db, -MOST_B), MOST_B)
                if kk * dk * dk + 2.0 * kb * dk * db + bb * db * db < SETTLED:
                    break
        determinant = kk * bb - kb * kb
        found[c, 0], found[c, 1], found[c, 2] = k, b, a * a
        found[c, 3], found[c, 4], found[c, 5] = bb / determinant, -kb / determinant, kk / determinant
        found[c, 6] = use
        for r in range(i, j):
            out[r] = away[r - i]
