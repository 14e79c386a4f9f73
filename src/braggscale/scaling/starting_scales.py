"""Starting values of the scales of the data sets."""

from __future__ import annotations

import numpy as np

from braggscale.data.observations import Observations
from braggscale.data.unique_reflections import Groups, weighted_mean
from braggscale.numerics.array_types import Float

# With fewer common reflections mean intensities give a better scale.
ENOUGH_SHARED = 20
MOST_ROUNDS = 10
SHELLS = 10


def starting_scales(rows: Observations, groups: Groups, intensity: Float, weight: Float, n_data_sets: int) -> Float:
    """One factor K per data set, (n_data_sets,), so that the minimiser starts with the right order of magnitude.

    K is first calculated from mean intensities in resolution shells, which every data set has. Data sets with enough
    common reflections are then refined by alternating least squares: I_h for given K, and K_d = sum w I I_h / sum w
    I_h^2 for given I_h. The geometric mean of K is 1, so that no step of the minimiser depends on which data set is the
    first.  ``intensity``: counts, ``weight``: 1/counts^2, both (n,).
    """
    k: Float = wilson_scales(rows, intensity, n_data_sets)
    data_set = rows.data_set
    first, last = groups.offsets[:-1], groups.offsets[1:] - 1
    low, high = np.minimum.reduceat(data_set, first), np.maximum.reduceat(data_set, first)
    shared = groups.spread(low != high)
    firm = np.bincount(data_set, shared & (weight > 0), n_data_sets) >= ENOUGH_SHARED
    if not firm.any() or len(last) == 0:
        return _about_one(k)
    for _ in range(MOST_ROUNDS):
        mean = groups.spread(weighted_mean(groups, weight, k[data_set], intensity)[0])
        above = np.bincount(data_set, shared * weight * intensity * mean, n_data_sets)
        below = np.bincount(data_set, shared * weight * mean**2, n_data_sets)
        good = firm & (above > 0) & (below > 0)
        new = np.where(good, np.divide(above, below, out=np.ones(n_data_sets), where=good), k)
        done = bool(np.allclose(new, k, rtol=1e-3))
        k = new
        if done:
            break
    return _about_one(k)


def _about_one(k: Float) -> Float:
    """The factors divided by their geometric mean."""
    return np.asarray(k / np.exp(np.mean(np.log(k))))


def wilson_scales(rows: Observations, intensity: Float, n_data_sets: int) -> Float:
    """K_d = sum I / sum N(d), N(d) the mean of I/K over all data sets in the resolution shell; 1 where I vanishes.

    ``intensity``: counts, (n,).  Returns K, (n_data_sets,).
    """
    data_set = rows.data_set
    order = np.argsort(rows.d, kind="stable")
    shell = np.empty(len(order), np.int64)
    shell[order] = np.arange(len(order)) * SHELLS // max(len(order), 1)
    total = np.bincount(data_set, intensity, n_data_sets)
    k = np.ones(n_data_sets)
    for _ in range(MOST_ROUNDS):
        mean = np.bincount(shell, intensity / k[data_set], SHELLS) / np.maximum(np.bincount(shell, minlength=SHELLS), 1)
        expected = np.bincount(data_set, mean[shell], n_data_sets)
        good = (total > 0) & (expected > 0)
        new = np.where(good, np.divide(total, expected, out=np.ones(n_data_sets), where=good), 1.0)
        if np.allclose(new, k, rtol=1e-3):
            break
        k = new
    return new
