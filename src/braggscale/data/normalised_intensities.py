"""Intensities in units of their local average: E^2 = I / <I/epsilon>(d)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Array, Bool, Float, Int

# Beyond the outermost shell centres the line may fall to zero; it is kept above this share of the shell's mean.
_LOWEST_SHARE = 0.1


def n_shells(n_rows: int) -> int:
    """Number of resolution shells for ``n_rows`` observations: 10, above 15,000 15, above 20,000 20 (as DIALS)."""
    if n_rows > 20_000:
        return 20
    return 15 if n_rows > 15_000 else 10


def normalised_intensities(intensity: Float, d: Float, epsilon: Float, shells: int | None = None) -> Float:
    """E^2 of each observation.

    Shells of equal width in 1/d^2; N = mean of max(I, 0)/epsilon in each, linear in 1/d between the middles (in 1/d)
    of the shells and beyond the outer ones; E^2 = I/N(d). Across an empty shell N is interpolated.
    ``intensity``: counts, any common scale, ``d``: Angstrom, positive, ``epsilon``: multiplicity of the reflection in
    the point group, all (n,).  ``shells``: their number, None for ``n_shells(n)``.
    Returns (n,), dimensionless; NaN everywhere if no intensity is positive. E^2 is not divided by epsilon of the
    observation, as in DIALS. Averages after Wilson, Nature 150 (1942) 152.
    """
    if len(intensity) == 0:
        return np.zeros(0)
    return Shells.of(d, shells).normalised(intensity, epsilon)


@dataclass(frozen=True, slots=True)
class Shells:
    """Shells of equal width in 1/d^2.

    ``d``: Angstrom, ``shell``: number of its shell, of each observation, (n,).  ``members``: (n_shells,).
    ``centre``: middle in 1/d, 1/Angstrom, (n_shells,).
    """

    d: Float
    shell: Array
    members: Int
    centre: Float

    @classmethod
    def of(cls, d: Float, shells: int | None = None) -> Shells:
        """Shells of the observations with resolutions ``d``, (n,), at least one."""
        n = n_shells(len(d)) if shells is None else shells
        s = 1.0 / (d * d)
        low, high = float(s.min()), float(s.max())
        margin = 1e-6 * (high - low) or 1e-6 * high
        limits = np.linspace(low - margin, high + margin, n + 1)
        where = np.clip(np.searchsorted(limits, s, side="right") - 1, 0, n - 1)
        edges = np.sqrt(np.maximum(limits, 0.0))
        return cls(d, where.astype(np.int16), np.bincount(where, minlength=n), 0.5 * (edges[1:] + edges[:-1]))

    def normalised(self, intensity: Float, epsilon: Float) -> Float:
        """E^2, (n,), see ``normalised_intensities``.  ``intensity``, ``epsilon``: (n,)."""
        good, mean = self._means(intensity, epsilon)
        if not good.any():
            return np.full(len(intensity), np.nan)
        return intensity / mean_at(1.0 / self.d, self.centre[good], mean)

    def line(self, intensity: Float, epsilon: Float) -> tuple[Float, Float]:
        """Centres in 1/d and means of the shells that have one, (k,) each, for ``mean_at``.

        ``intensity``, ``epsilon``: (n,).
        """
        good, mean = self._means(intensity, epsilon)
        return self.centre[good], mean

    def beyond(self, intensity: Float, epsilon: Float, limit: float) -> Int:
        """Row numbers, (k,), of observations with E^2 > ``limit``; computed only in shells where one can be.

        ``intensity``, ``epsilon``: (n,).
        """
        good, mean = self._means(intensity, epsilon)
        if not good.any():
            return np.zeros(0, np.int64)
        least = np.full(len(good), _LOWEST_SHARE * mean.min())
        if good.all() and len(mean) > 2:
            # between two centres N is not below the smaller of their means
            least[1:-1] = np.minimum(np.minimum(mean[:-2], mean[2:]), mean[1:-1])
        rows = np.flatnonzero(intensity > limit * least[self.shell])
        e2 = intensity[rows] / mean_at(1.0 / self.d[rows], self.centre[good], mean)
        return rows[e2 > limit]

    def _means(self, intensity: Float, epsilon: Float) -> tuple[Bool, Float]:
        """Which shells have a positive mean of max(I, 0)/epsilon, (n_shells,), and the means of these."""
        total = np.bincount(self.shell, weights=np.maximum(intensity, 0.0) / epsilon, minlength=len(self.members))
        good = total > 0
        return good, total[good] / self.members[good]


def mean_at(x: Float, centre: Float, mean: Float) -> Float:
    """Piecewise linear through (centre, mean), the end pieces continued; positive everywhere.

    ``x``: 1/d, 1/Angstrom, (n,).  ``centre``, ``mean``: of each shell, (n_shells,).  Returns (n,).
    """
    if len(centre) == 1:
        return np.full(len(x), mean[0])
    k = np.clip(np.searchsorted(centre, x) - 1, 0, len(centre) - 2)
    t = (x - centre[k]) / (centre[k + 1] - centre[k])
    value = mean[k] + t * (mean[k + 1] - mean[k])
    return np.maximum(value, _LOWEST_SHARE * np.where(t < 0.5, mean[k], mean[k + 1]))
