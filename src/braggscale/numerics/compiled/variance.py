"""Compiled passes over unique reflections: the variance model V'(mu), expected intensities, robust weights.

Every function works on the groups ``first <= h < last`` of one block, on arrays that it gets, and releases the
interpreter lock. Each result depends on one group only, so the division into blocks changes no number. Each has a
slow twin in tests/naive.py.

Arguments that several share, here and in outliers.py and agreement.py
    offsets     (n_groups + 1,) rows of each unique reflection
    model       the variance model (weighting/expected_variance.py), a tuple of arrays
        intensity, variance, factor    (n,) I, observed V, I/I_raw
        data_set    (n,) int32, and by data set: gain, floor, a2, b2, linear  (n_sets,)
        relative    (n,) r, or empty where it is 0

        V'(mu) = a2 (V_e + linear max(mu, 0) + b2 mu^2),
        V_e = max(V - r I^2 + gain factor (mu - |I|), factor^2 floor) + r mu^2, without gain V - r I^2 + r mu^2

    scale       (n,) g
"""

from typing import Any

import numpy as np

from braggscale.numerics.compiled.cache import njit

ROW_JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}
MODEL = (
    "Tuple((float64[::1], float64[::1], float64[::1], int32[::1], "
    "float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1]))"
)
# Smallest part of a variance that belongs to counting errors; the rest may come from the partiality.
_ROUNDING = 1e-12


@njit("float64(float64, float64, float64, float64, float64)", **ROW_JIT)
def with_error_model(expected, mu, a2, b2, linear):
    """V' of one row from its expected variance V: a2 (V + linear max(mu, 0) + b2 mu^2)."""
    return a2 * (expected + linear * max(mu, 0.0) + b2 * mu * mu)


# The arguments are scalars: a function that gets the tuple and unpacks it for each row is seven times slower.
@njit("float64(" + ", ".join(["float64"] * 10) + ")", **ROW_JIT)
def variance_at(mu, intensity, variance, factor, gain, floor, a2, b2, linear, r):
    """V' of one row at the expected intensity mu: the only place where the variance model is evaluated."""
    if r > 0.0:
        # the difference may be lost in rounding if nearly all of the variance comes from the partiality
        variance = max(variance - r * intensity * intensity, _ROUNDING * variance)
    if gain > 0.0:
        variance = max(variance + gain * factor * (mu - abs(intensity)), factor * factor * floor)
    return with_error_model(variance, mu, a2, b2 + r, linear)


@njit("void(int64, int64, " + MODEL + ", float64[::1], float64[::1])", **ROW_JIT)
def variances(first, last, model, mu, result):
    """Fill V' at mu, (n,), of the rows first to last - 1."""
    intensity, variance, factor, data_set, gain, floor, a2, b2, linear, relative = model
    for i in range(first, last):
        d = data_set[i]
        result[i] = variance_at(
            mu[i], intensity[i], variance[i], factor[i], gain[d], floor[d], a2[d], b2[d], linear[d],
            relative[i] if len(relative) else 0.0,
        )  # fmt: skip


@njit("void(int64, int64, float64[::1], float64[::1], UniTuple(float64, 3), float64[::1])", **ROW_JIT)
def error_model_variances(first, last, expected, mu, error_model, result):
    """Fill V' from V and mu, (n,), of the rows first to last - 1.  ``error_model``: a2, b2, linear."""
    a2, b2, linear = error_model
    for i in range(first, last):
        result[i] = with_error_model(expected[i], mu[i], a2, b2, linear)


@njit(
    "void(int64, int64, int64[::1], " + MODEL + ", float64[::1], boolean[::1], float64[::1], float64[::1])", **ROW_JIT
)
def expect(first, last, offsets, model, scale, out, mean_intensity, result):
    """Fill I_h (n_groups,) of the rows that are not ``out`` and have g > 0, and V' (n,) at g I_h.

    I_h is weighted with 1/V, then once more with the 1/V' that follows from it.
    """
    intensity, variance, factor, data_set, gain, floor, a2, b2, linear, relative = model
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        mean = 0.0
        for step in range(2):
            above, below = 0.0, 0.0
            for i in range(lo, hi):
                if not out[i] and scale[i] > 0.0:
                    w = scale[i] / (result[i] if step else variance[i])
                    above += w * intensity[i]
                    below += w * scale[i]
            mean = above / below if below > 0.0 else 0.0
            for i in range(lo, hi):
                d = data_set[i]
                result[i] = variance_at(
                    scale[i] * mean, intensity[i], variance[i], factor[i], gain[d], floor[d], a2[d], b2[d], linear[d],
                    relative[i] if len(relative) else 0.0,
                )  # fmt: skip
        mean_intensity[h] = mean


@njit(
    "void(int64, int64, int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], boolean[::1], float64, "
    "Tuple((boolean, float64, float64, float64)), float64[::1], float64[::1])",
    **ROW_JIT,
)
def robust_weights(first, last, offsets, intensity, error, scale, mean_intensity, out, unit, shape, weight, z2):
    """Fill w (n,) of robust_weights.Robust and z^2 (n,), unless the latter is empty.

    z^2 is calculated from the members that are not ``out``, for these with their leverage h (1 - h at least 0.05).
    The weights of rows that are out fall from w at z/zmax = 1 to 0 at ``zero_weight_at``.  ``error``: V', (n,).
    ``mean_intensity``: I_h, (n_groups,).  ``shape``: flat, soft_limit, zmax, zero_weight_at.
    """
    flat, soft_limit, zmax, zero_weight_at = shape
    for h in range(first, last):
        lo, hi = offsets[h], offsets[h + 1]
        total = 0.0
        for i in range(lo, hi):
            if not out[i]:
                total += scale[i] * scale[i] / error[i]
        if not total > 0.0:
            total = 1.0
        for i in range(lo, hi):
            residual = intensity[i] - scale[i] * mean_intensity[h]
            share = scale[i] * scale[i] / error[i] / total
            square = residual * residual / (error[i] * (1.0 + share if out[i] else max(1.0 - share, 0.05)))
            if len(z2):
                z2[i] = square
            square /= unit
            q = square / (soft_limit * soft_limit)
            if flat:
                weight[i] = 1.0 / (np.sqrt(1.0 + q * q) * error[i])
            else:
                weight[i] = (1.0 + 1.0 / (soft_limit * soft_limit)) / ((1.0 + q) * error[i])
            if out[i]:
                left = (zero_weight_at - np.sqrt(square) / zmax) / (zero_weight_at - 1.0)
                weight[i] *= min(max(left, 0.0), 1.0)
