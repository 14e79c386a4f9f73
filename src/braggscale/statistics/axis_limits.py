"""How far the signal reaches along directions of the crystal, by CC1/2 and by I/sigma.

A reflection belongs to a direction if it, or an equivalent of it, lies within 30 degrees of it or of its opposite.
These reflections are divided into shells of equal volume. CC1/2 of the shells is fitted as for all data, and the limit
is where it falls to 0.3; that of I/sigma is where the mean of I/sigma of merged intensities falls to 1.5, by linear
interpolation in 1/d^2 (as in AIMLESS: Evans & Murshudov, Acta Cryst. D69 (2013) 1204).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float
from braggscale.statistics.half_sets import cc_half
from braggscale.statistics.resolution_limit import suggest_limit

WITHIN = float(np.cos(np.deg2rad(30.0)))
SIGNAL = 1.5  # I/sigma
MOST_SHELLS, IN_SHELL = 10, 40  # shells, reflections in one
FEWEST_SHELLS = 4


@dataclass(frozen=True, slots=True)
class AxisLimit:
    """Along one direction.  ``reflections``: unique ones.  ``d_min``: where the data end, Angstrom.

    ``cc_half``, ``i_over_sigma``: where the signal ends, Angstrom; None where it goes on to the end of the data, or if
    there are too few reflections.
    """

    reflections: int
    d_min: float
    cc_half: float | None
    i_over_sigma: float | None


def axis_limits(
    axes: Float, q: Float, rotations: Sequence[Float], groups: Groups, x: Float, sigma: Float
) -> list[AxisLimit | None]:
    """The limits along each direction, None for directions with fewer than 160 reflections.

    ``axes``: unit vectors, (n_axes, 3).  ``q``: reciprocal vectors of the unique reflections, 1/Angstrom, (n, 3).
    ``rotations``: of the point group, R with rows q R equivalent to rows q, (3, 3) each.
    ``groups``: the observations of the unique reflections; ``x``, ``sigma``: I/g and its error, (n_rows,).
    """
    s = (q * q).sum(axis=1)
    near = np.max(np.abs(np.stack([q @ turn @ axes.T for turn in rotations])), axis=0)
    weight = sigma**-2.0
    total = groups.sum(weight)
    signal = groups.sum(weight * x) / np.sqrt(total)
    return [_along(near[:, k] > WITHIN * np.sqrt(s), s, groups, x, weight, signal) for k in range(len(axes))]


def _along(use: Bool, s: Float, groups: Groups, x: Float, weight: Float, signal: Float) -> AxisLimit | None:
    """``s``: 1/d^2, ``signal``: I/sigma of merged intensities, both (n,)."""
    n = min(MOST_SHELLS, int(np.count_nonzero(use)) // IN_SHELL)
    if n < FEWEST_SHELLS:
        return None
    rows, own = groups.spread(use), s[use]
    edges = np.linspace(float(own.min()) ** 1.5, float(own.max()) ** 1.5, n + 1) ** (2.0 / 3.0)
    shell = np.clip(np.searchsorted(edges, own, side="right") - 1, 0, n - 1)
    cc, pairs = cc_half(groups.choose(use), weight[rows], x[rows], shell, n)
    d_min = edges[1:] ** -0.5
    limit = suggest_limit(d_min.tolist(), cc[:-1].tolist(), pairs[:-1].tolist()).d_min
    number = np.maximum(np.bincount(shell, minlength=n), 1)
    mean = np.bincount(shell, signal[use], n) / number
    middle = np.bincount(shell, own, n) / number
    return AxisLimit(int(np.count_nonzero(use)), float(d_min[-1]), limit, _falls_below(middle, mean))


def _falls_below(s: Float, mean: Float) -> float | None:
    """Resolution beyond which the mean of I/sigma stays below the limit, Angstrom."""
    above = np.flatnonzero(mean >= SIGNAL)
    last = int(above[-1]) if len(above) else -1
    if last in (-1, len(mean) - 1):
        return None
    share = (mean[last] - SIGNAL) / (mean[last] - mean[last + 1])
    return float((s[last] + share * (s[last + 1] - s[last])) ** -0.5)
