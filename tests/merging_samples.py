"""Observations of a made-up crystal, and their merging statistics."""

import numpy as np

from braggscale.data.geometry import inverse_d_squared
from braggscale.data.symmetry import Symmetry
from braggscale.statistics.merging_statistics import Unmerged, merging_statistics

CELL = (20.0, 24.0, 30.0, 90.0, 90.0, 90.0)


P212121 = Symmetry.from_hall(" P 2ac 2ab")


def observations(n=4000, seed=0, symmetry=P212121, noise=0.1, d_min=2.5):
    """Index as observed, x, sigma: Wilson-distributed intensities, anomalous differences, unequal errors."""
    rng = np.random.default_rng(seed)
    hkl = rng.integers(-8, 9, (4 * n, 3)).astype(np.int32)
    s = inverse_d_squared(hkl, CELL)
    hkl = hkl[(s > 0) & (s < d_min**-2) & ~symmetry.is_absent(hkl)][:n]
    asu, minus = symmetry.asu(hkl)
    key = ((asu + 50).astype(np.int64) * [10000, 100, 1]).sum(axis=1)
    truth = -np.log(np.random.default_rng(1).random(key.max() + 1))[key] * 1000
    truth *= 1 + 0.05 * np.where(minus, 1, -1) * np.sin(key)
    sigma = np.sqrt(50 + truth) * rng.uniform(0.5, 2, len(hkl))
    x = truth * (1 + noise * rng.normal(size=len(hkl))) + sigma * rng.normal(size=len(hkl))
    return hkl, x, sigma


def statistics(hkl, x, sigma, symmetry=P212121, cell=CELL, **options):
    return merging_statistics(Unmerged(*symmetry.asu(hkl), x, sigma, cell, symmetry), **options)
