"""Intensities in units of their local average: E^2 = I / <I/epsilon>(d)."""

from __future__ import annotations

import numpy as np

from braggscale.arrays import Float

# With this many observations or fewer an average per shell is not to be trusted, and E^2 limits are not applied.
E2_MINIMUM_ROWS = 10_000
# Beyond the outermost shell centres the line may fall to zero; it is held above this share of the shell's mean.
_LOWEST_SHARE = 0.1


def n_shells(n_rows: int) -> int:
    """Number of resolution shells for ``n_rows`` observations: 10, above 15,000 15, above 20,000 20 (as DIALS)."""
    if n_rows > 20_000:
        return 20
    return 15 if n_rows > 15_000 else 10


def normalised_intensities(intensity: Float, d: Float, epsilon: Float, shells: int | None = None) -> Float:
    """E^2 of each observation.

    Shells of equal width in 1/d^2; N = mean of max(I, 0)/epsilon in each, linear in 1/d between the middles (in 1/d)
    of the shells and beyond the outer ones; E^2 = I/N(d). An empty shell is bridged by its neighbours.
    ``intensity``: counts, any common scale, ``d``: Angstrom, positive, ``epsilon``: multiplicity of the reflection in
    the point group, all (n,).  ``shells``: their number, None for ``n_shells(n)``.
    Returns (n,), dimensionless; NaN everywhere if no intensity is positive. The observation's own epsilon stays in E^2,
    as in DIALS. Averages after Wilson, Nature 150 (1942) 152.
    """
    n = len(intensity)
    if n == 0:
        return np.zeros(0)
    count = n_shells(n) if shells is None else shells
    s = 1.0 / (d * d)
    low, high = float(s.min()), float(s.max())
    margin = 1e-6 * (high - low) or 1e-6 * high
    limits = np.linspace(low - margin, high + margin, count + 1)
    where = np.clip(np.searchsorted(limits, s, side="right") - 1, 0, count - 1)
    members = np.bincount(where, minlength=count)
    total = np.bincount(where, weights=np.maximum(intensity, 0.0) / epsilon, minlength=count)
    good = total > 0
    if not good.any():
        return np.full(n, np.nan)
    mean = total[good] / members[good]
    edges = np.sqrt(np.maximum(limits, 0.0))
    centre = 0.5 * (edges[1:] + edges[:-1])[good]
    return intensity / _line(1.0 / d, centre, mean)


def _line(x: Float, centre: Float, mean: Float) -> Float:
    """Piecewise linear through (centre, mean), the end pieces continued; positive everywhere."""
    if len(centre) == 1:
        return np.full(len(x), mean[0])
    k = np.clip(np.searchsorted(centre, x) - 1, 0, len(centre) - 2)
    t = (x - centre[k]) / (centre[k + 1] - centre[k])
    value = mean[k] + t * (mean[k + 1] - mean[k])
    return np.maximum(value, _LOWEST_SHARE * np.where(t < 0.5, mean[k], mean[k + 1]))
