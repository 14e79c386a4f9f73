"""Variances of negative intensities in integrated data: do they grow with the size of the intensity?

The variance of a count is the count, so that of an intensity is a background + k I. Where the estimate is negative,
programs follow one of two conventions: background + k |I| (DIALS), or the background alone, because the expected
number of photons cannot be negative (profiles fitted by likelihood). The expected variance (expected_variance.py) takes
k |I| out and puts k mu in; with the second convention it would take out what was never in, and an intensity would
have the more weight the more negative it is: means of weak reflections would be too low, and their errors too small.
So the second convention is recognised, and converted to the first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from braggscale.data.observations import Observations, rows_by_data_set
from braggscale.numerics.array_types import Float, Int
from braggscale.numerics.normal import ERROR_OF_MEDIAN, SD_FROM_MAD
from braggscale.weighting.counting_gain import FEWEST_ROWS, counting_gain
from braggscale.weighting.intensity_choice import PROFILE, SUMMATION, combined

MOST_ROWS = 50_000  # if a data set has twice as many or more, a part of its rows is compared
_SHELLS, _RANGES = 5, 4  # of resolution; of |I| within each
_FEWEST = 12  # rows of either sign in a range
_WEAK_QUANTILE = 0.9  # of |I| of negative intensities: positive ones above it are not compared
_HALF, _ERRORS = 0.5, 5.0  # share of k, and standard errors, from which on the second convention is seen
_LEAST_ERROR = 1e-6  # squared error of a median over its square, where all variances are equal
_OF_MEDIAN = ERROR_OF_MEDIAN * SD_FROM_MAD  # standard error of a median of n normal values: this * MAD / sqrt(n)


def with_symmetric_variances(rows: Observations, n_sets: int) -> tuple[Observations, tuple[str, ...]]:
    """The observations with v + k f |I| for negative I where their variances do not grow, f = I/I_raw.

    Also returns of which intensities variances were changed: ``profile-fitted``, ``summed``, or both.
    """
    changed: list[str] = []
    for which, name, column in ((PROFILE, "profile-fitted", "v_prf"), (SUMMATION, "summed", "v_sum")):
        steps = _steps(rows, which, n_sets)
        if not (steps > 0).any():
            continue
        values = combined(rows, which)
        gain = counting_gain(values, rows.data_set, n_sets, rows.d).k
        flat = (steps > 0) & (gain > 0) & (steps >= _HALF * gain)
        has = rows.has_prf if which == PROFILE else rows.has_sum
        added = has & (values.intensity < 0) & flat[rows.data_set]
        if added.any():
            more = np.where(added, gain[rows.data_set] * values.raw_factor * np.abs(values.intensity), 0.0)
            rows = replace(rows, **{column: getattr(rows, column) + more})
            changed.append(name)
    return rows, tuple(changed)


def _steps(rows: Observations, which: float, n_sets: int) -> Float:
    """``asymmetry`` of each data set, small data sets together, (n_sets,).  ``which``: PROFILE or SUMMATION."""
    result = np.zeros(n_sets)
    if not np.any((rows.i_prf if which == PROFILE else rows.i_sum) < 0):
        return result
    pooled = np.bincount(rows.data_set, minlength=n_sets) < FEWEST_ROWS
    by_data_set = rows_by_data_set(rows.data_set, n_sets)
    for d in np.flatnonzero(~pooled):
        result[d] = _step(rows, which, by_data_set[d])
    if pooled.any():
        result[pooled] = _step(rows, which, np.flatnonzero(pooled[rows.data_set]))
    return result


def _step(rows: Observations, which: float, chosen: Int) -> float:
    """``asymmetry`` of some rows.  ``chosen``: their numbers, (k,); every other or third if there are very many."""
    chosen = chosen[:: max(1, len(chosen) // MOST_ROWS)]
    if which == PROFILE:
        chosen = chosen[rows.has_prf[chosen]]
        factor, intensity, variance = rows.correction[chosen], rows.i_prf[chosen], rows.v_prf[chosen]
    else:
        chosen = chosen[rows.has_sum[chosen] & (rows.partiality[chosen] > 0)]
        factor = rows.correction[chosen] / rows.partiality[chosen]
        intensity, variance = rows.i_sum[chosen], rows.v_sum[chosen]
        if rows.relative is not None:
            variance = variance - rows.relative[chosen] * intensity**2
    usable = np.isfinite(intensity) & np.isfinite(variance) & (variance > 0)
    raw, of_raw = intensity[usable] / factor[usable], variance[usable] / factor[usable] ** 2
    return asymmetry(raw, of_raw, rows.d[chosen][usable])


def asymmetry(raw: Float, variance: Float, d: Float) -> float:
    """By how much more the variances of positive intensities grow with |I| than those of negative ones.

    In ranges of |I| and resolution the median variance of positive intensities is larger than that of negative ones
    by k |I| with one convention, and by nothing with the other. With the differences e_j and the medians x_j of |I|,

        D = sum w_j x_j e_j / sum w_j x_j^2,

    w_j from the scatter within the ranges. Returns D, counts, or 0 where that is less than five standard errors away.
    ``raw``, ``variance``: of one data set, counts, counts^2, ``d``: Angstrom, (n,).
    """
    if np.count_nonzero(raw < 0) < _FEWEST:
        return 0.0
    shell = np.searchsorted(np.quantile(d, np.arange(1, _SHELLS) / _SHELLS), d)
    above, below = 0.0, 0.0
    for s in range(_SHELLS):
        here = np.flatnonzero(shell == s)
        size, negative = np.abs(raw[here]), raw[here] < 0
        if np.count_nonzero(negative) < _FEWEST:
            continue
        edges = np.quantile(size[negative], _WEAK_QUANTILE * np.arange(1, _RANGES + 1) / _RANGES)
        place = np.searchsorted(edges, size)
        for j in range(_RANGES):
            low, high = variance[here[(place == j) & negative]], variance[here[(place == j) & ~negative]]
            if min(len(low), len(high)) < _FEWEST:
                continue
            x = float(np.median(size[(place == j) & negative]))
            error = max(_square_of_error(low) + _square_of_error(high), _LEAST_ERROR * float(np.median(low)) ** 2)
            above += x * float(np.median(high) - np.median(low)) / error
            below += x * x / error
    return above / below if below > 0.0 and above >= _ERRORS * np.sqrt(below) else 0.0


def _square_of_error(variance: Float) -> float:
    """The square of the standard error of the median of some variances, (n,)."""
    return (_OF_MEDIAN * float(np.median(np.abs(variance - np.median(variance))))) ** 2 / len(variance)
