"""One intensity for each unique reflection.

Merged intensities are weighted means, w = 1/sigma^2, of the scaled observations, Friedel mates together and apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from braggscale.data.index_order import sort_order
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Array, Bool, Float, Int, Int32, UInt

WILSON_SHELL, MOST_WILSON_SHELLS = 100, 60


@dataclass(frozen=True, slots=True)
class Merged:
    """Unique reflections, sorted by index; arrays are (n,), intensities NaN and counts 0 where nothing was measured.

    ``hkl``: in the asymmetric unit, (n, 3).  ``centric``, ``absent``, ``epsilon``: see symmetry.py.
    ``mean``, ``plus``, ``minus``: weighted means of all observations, of I+ and of I-, with ``sigma...`` and ``n...``;
    centric reflections have no I-.  ``half1``, ``half2``: means of two random halves of the observations, for
    reflections with two or more observations.
    """

    hkl: Int32
    centric: Bool
    absent: Bool
    epsilon: Float
    n: Int
    mean: Float
    sigma: Float
    n_plus: Int
    plus: Float
    sigma_plus: Float
    n_minus: Int
    minus: Float
    sigma_minus: Float
    n_half1: Int
    half1: Float
    sigma_half1: Float
    n_half2: Int
    half2: Float
    sigma_half2: Float

    def __len__(self) -> int:
        return len(self.hkl)

    def take(self, rows: Int | Bool) -> Merged:
        """The given reflections, in the given order.  ``rows``: their numbers, (k,), or a mark for each, (n,)."""
        return Merged(*(getattr(self, f.name)[rows] for f in fields(self)))


def merge(hkl: Array, intensity: Float, sigma: Float, symmetry: Symmetry, *, internal_variance: bool = False) -> Merged:
    """Merge scaled observations: I_h = sum w I/sum w, w = 1/sigma^2, sigma_h = 1/sqrt(sum w).

    ``hkl``: Miller indices as measured, (n, 3).  ``intensity``, ``sigma``: I/g and its standard deviation, (n,); rows
    that are not finite or have no positive sigma do not count.
    ``internal_variance``: sigma_h is at least as large as the scatter of the equivalents implies, see
    ``weighted_means``.
    """
    good = np.isfinite(intensity) & np.isfinite(sigma) & (sigma > 0)
    asu, is_minus = symmetry.asu(np.asarray(hkl)[good])
    order = sort_order(asu, is_minus)
    asu, is_minus = asu[order], is_minus[order]
    value, weight = intensity[good][order], sigma[good][order] ** -2.0
    groups = Groups.from_keys(asu)
    unique = asu[groups.offsets[:-1]]
    first = _first_half(groups, unique)
    several = groups.spread(groups.sizes() > 1)
    arrays: list[Any] = []
    for rows in (np.ones(len(value), bool), ~is_minus, is_minus, first & several, ~first & several):
        n = groups.sum(rows).astype(np.int64)
        arrays += [n, *weighted_means(groups, np.where(rows, weight, 0.0), value, n, internal_variance)]
    kinds = (symmetry.is_centric(unique), symmetry.is_absent(unique), symmetry.epsilon(unique).astype(np.float64))
    return Merged(unique, *kinds, *arrays)


def weighted_means(groups: Groups, weight: Float, x: Float, n: Int, internal: bool) -> tuple[Float, Float]:
    """Weighted mean of each group and its standard deviation, (n_groups,) each; NaN where all weights are 0.

    m = sum w x / sum w; sigma(m)^2 = 1/sum w, or with ``internal`` the larger of that and v/n,
    v = sum w / ((sum w)^2 - sum w^2) sum w (x - m)^2 the weighted sample variance.
    ``weight``: 1/sigma^2 of the observations that count, 0 of others, ``x``: I/g, (n_rows,).
    ``n``: observations that count, (n_groups,).
    """
    total = groups.sum(weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = groups.sum(weight * x) / total
        variance = np.where(total > 0, 1.0 / total, np.nan)
    if internal:
        scatter = groups.sum(weight * (x - groups.spread(np.where(total > 0, mean, 0.0))) ** 2)
        below = total**2 - groups.sum(weight * weight)
        several = (n > 1) & (below > 0)
        sample = np.divide(total * scatter, below, out=np.zeros(len(groups)), where=several)
        variance = np.maximum(variance, np.divide(sample, n, out=np.zeros(len(groups)), where=several))
    return mean, np.sqrt(variance)


def _first_half(groups: Groups, unique: Int32) -> Bool:
    """Rows that belong to the first half of their group; if the number of rows is odd, the last joins either half.

    A hash decides and not a sequence of random numbers, so the halves of a reflection do not depend on the others.
    """
    if groups.n_rows == 0:
        return np.zeros(0, bool)
    key = hash_indices(unique)
    start = groups.spread(groups.offsets[:-1])
    within = (np.arange(groups.n_rows) - start).astype(np.uint64)
    noise = mix(groups.spread(key) + mix(within))
    order = np.lexsort((noise, groups.index()))
    place = np.empty(groups.n_rows, np.int64)
    place[order] = np.arange(groups.n_rows)
    size = (groups.sizes() + (key >> np.uint64(63)).astype(np.int64)) // 2
    return np.asarray(place - start < groups.spread(size), bool)


def hash_indices(hkl: Array) -> UInt:
    """A number for each index that looks random and is the same on every machine, (n,).  ``hkl``: (n, 3)."""
    shifted = (np.asarray(hkl, np.int64) + (1 << 20)).astype(np.uint64)
    return mix(shifted[:, 0] | shifted[:, 1] << np.uint64(21) | shifted[:, 2] << np.uint64(42))


def mix(x: UInt) -> UInt:
    """Numbers that look random, (n,): the finaliser of splitmix64 (Steele, Lea & Flood, Proc. OOPSLA 2014, 453).

    ``x``: (n,), uint64.
    """
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
