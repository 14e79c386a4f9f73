"""One intensity and one amplitude for each unique reflection.

Merged intensities are weighted means, w = 1/sigma^2, of the scaled observations, Friedel mates together and apart.

Amplitudes follow French & Wilson, Acta Cryst. A34 (1978) 517: a measured I may be negative, the true J may not. Bayes'
theorem with Wilson's distribution of J about its local mean S (Acta Cryst. 2 (1949) 318) as the prior gives

    acentric   p(J|I) ~ exp(-(J - mu)^2/2 sigma^2),             mu = I - sigma^2/S
    centric    p(J|I) ~ exp(-(J - mu)^2/2 sigma^2)/sqrt(J),     mu = I - sigma^2/2S,     J > 0,

and F = <sqrt J>, sigma_F^2 = <J> - F^2 under it. In units of sigma these depend on t = mu/sigma alone. With J = y^2 the
integrands are smooth down to y = 0, and Gauss-Legendre quadrature over the range that matters is accurate to ten digits
or more for every t; sigma_F is integrated as <(y - F)^2>, as the difference would cancel for strong reflections.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from braggscale.arrays import Array, Bool, Float, Int, Int32, UInt
from braggscale.groups import Groups
from braggscale.symmetry import Symmetry, sort_order

log = logging.getLogger(__name__)

# Fewer reflections than this say too little about their mean in shells; the prior is then flat (DIALS behaviour).
WILSON_MINIMUM = 200
# French & Wilson's limit: below it an intensity is an error of measurement, not a weak reflection. Their second limit,
# t > -4, is where their tables end; it would throw away every reflection of a shell whose mean is below sigma/4.
LOWEST_I_OVER_SIGMA = -3.7

_SHELL, _MOST_SHELLS = 100, 60
_NODES = 48
_REACH = 8.7  # in sigma: beyond it a normal distribution holds 1e-17
_BLOCK = 1 << 13


@dataclass(frozen=True, slots=True)
class Merged:
    """Unique reflections, sorted by index; arrays are (n,), intensities NaN and counts 0 where nothing was measured.

    ``hkl``: in the asymmetric unit, (n, 3).  ``centric``, ``absent``, ``epsilon``: see symmetry.py.
    ``mean``, ``plus``, ``minus``: weighted means of all observations, of I+ and of I-, with ``sigma...`` and ``n...``;
    centric reflections have no I-.  ``half1``, ``half2``: means of two random halves of the observations, of
    reflections with two or more.
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
        """The given reflections, in the given order."""
        return Merged(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Amplitudes:
    """French-Wilson amplitudes of merged intensities, (n,), NaN where there are none.

    ``f``: of the mean intensity, ``plus``, ``minus``: of I+ and I-, with ``sigma...``.  ``dano``: F+ - F-.
    ``flat``: the prior was flat because there are too few reflections.
    ``rejected``: mean intensities that are too negative for an amplitude.
    """

    f: Float
    sigma_f: Float
    plus: Float
    sigma_plus: Float
    minus: Float
    sigma_minus: Float
    dano: Float
    sigma_dano: Float
    flat: bool
    rejected: int


def merge(hkl: Array, intensity: Float, sigma: Float, symmetry: Symmetry, *, internal_variance: bool = False) -> Merged:
    """Merge scaled observations: I_h = sum w I/sum w, w = 1/sigma^2, sigma_h = 1/sqrt(sum w).

    ``hkl``: Miller indices as measured, (n, 3).  ``intensity``, ``sigma``: I/g and its standard deviation, (n,); rows
    that are not finite or have no positive sigma do not count.
    ``internal_variance``: sigma_h is at least the scatter of the equivalents says,
    sigma_h^2 = max(v/n, 1/sum w), v = sum w (I - I_h)^2 / (sum w - sum w^2/sum w).
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
    parts = [
        _mean(groups, value, weight, rows, internal_variance)
        for rows in (np.ones(len(value), bool), ~is_minus, is_minus, first & several, ~first & several)
    ]
    arrays: list[Any] = [array for part in parts for array in part]
    kinds = (symmetry.is_centric(unique), symmetry.is_absent(unique), symmetry.epsilon(unique).astype(np.float64))
    return Merged(unique, *kinds, *arrays)


def _mean(groups: Groups, value: Float, weight: Float, rows: Bool, internal: bool) -> tuple[Int, Float, Float]:
    """Number, weighted mean and sigma of the rows that are marked, for each group."""
    n = groups.sum(rows).astype(np.int64)
    w = np.where(rows, weight, 0.0)
    total = groups.sum(w)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = groups.sum(w * value) / total
        variance = 1.0 / total
        if internal:
            scatter = groups.sum(w * (value - groups.spread(mean)) ** 2)
            inner = scatter / (total - groups.sum(w * w) / total) / n
            variance = np.where((n > 1) & (inner > variance), inner, variance)
    empty = n == 0
    mean[empty], variance[empty] = np.nan, np.nan
    return n, mean, np.sqrt(variance)


def _first_half(groups: Groups, unique: Int32) -> Bool:
    """Which rows make up the first half of their group; an odd one out joins either half.

    A hash decides, not a stream of random numbers: the split of one reflection does not depend on the others.
    """
    if groups.n_rows == 0:
        return np.zeros(0, bool)
    key = hash_indices(unique)
    start = groups.spread(groups.offsets[:-1])
    within = (np.arange(groups.n_rows) - start).astype(np.uint64)
    noise = _mix(groups.spread(key) + _mix(within))
    order = np.lexsort((noise, groups.index()))
    place = np.empty(groups.n_rows, np.int64)
    place[order] = np.arange(groups.n_rows)
    size = (groups.sizes() + (key >> np.uint64(63)).astype(np.int64)) // 2
    return np.asarray(place - start < groups.spread(size), bool)


def hash_indices(hkl: Array) -> UInt:
    """A number for each index that looks random and is the same on every machine, (n,).  ``hkl``: (n, 3)."""
    shifted = (np.asarray(hkl, np.int64) + (1 << 20)).astype(np.uint64)
    return _mix(shifted[:, 0] | shifted[:, 1] << np.uint64(21) | shifted[:, 2] << np.uint64(42))


def _mix(x: UInt) -> UInt:
    """The finaliser of splitmix64 (Steele, Lea & Flood, Proc. OOPSLA 2014, 453)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def amplitudes(merged: Merged, d: Float, minimum: int = WILSON_MINIMUM) -> Amplitudes:
    """French-Wilson amplitudes of the mean intensity, of I+ and of I-, and the anomalous difference.

    All three use one prior, estimated from the mean intensities. F is the amplitude of the mean intensity and not the
    mean of F+ and F-, which for weak reflections would count the prior twice.
    ``d``: Angstrom, (n,).  ``minimum``: with fewer reflections the prior is flat.
    Systematic absences have no amplitude.
    """
    present = ~merged.absent & np.isfinite(merged.mean)
    flat = int(np.count_nonzero(present)) < minimum
    if flat:
        prior = np.full(len(merged), np.inf)
    else:
        prior = wilson_prior(merged.mean, merged.sigma, d, merged.epsilon, present)
    results = []
    for mean, sigma in (
        (merged.mean, merged.sigma),
        (merged.plus, merged.sigma_plus),
        (merged.minus, merged.sigma_minus),
    ):
        mean = np.where(merged.absent, np.nan, mean)
        results.append(french_wilson(mean, sigma, prior, merged.centric & ~np.isinf(prior)))
    (f, sigma_f), (plus, sigma_plus), (minus, sigma_minus) = results
    rejected = int(np.count_nonzero(present & np.isnan(f)))
    if flat:
        log.info(f"Amplitudes: {len(merged)} reflections are too few for Wilson's distribution; the prior is flat")
    if rejected:
        log.info(f"Amplitudes: {rejected} reflections are too negative (below -3.7 sigma) and have none")
    return Amplitudes(
        f,
        sigma_f,
        plus,
        sigma_plus,
        minus,
        sigma_minus,
        plus - minus,
        np.hypot(sigma_plus, sigma_minus),
        flat,
        rejected,
    )


def wilson_prior(intensity: Float, sigma: Float, d: Float, epsilon: Float, use: Bool) -> Float:
    """Expected intensity epsilon S(d) of every reflection, (n,), positive.

    Shells of about 100 reflections each (at most 60 shells), ordered in 1/d^2; S = mean of I/epsilon in each, at
    least the uncertainty of that mean, and linear in log S against 1/d^2 between the shells' means.
    ``intensity``, ``sigma``: merged, ``d``: Angstrom, (n,).  ``use``: reflections that count for the mean, (n,).
    """
    s = d**-2.0
    rows = np.flatnonzero(use)
    rows = rows[np.argsort(s[rows], kind="stable")]
    shells = int(np.clip(len(rows) // _SHELL, 1, _MOST_SHELLS))
    edges = np.arange(shells + 1) * len(rows) // shells
    groups = Groups(edges)
    n = groups.sizes()
    ratio = intensity[rows] / epsilon[rows]
    mean = groups.sum(ratio) / n
    noise = np.sqrt(groups.sum((sigma[rows] / epsilon[rows]) ** 2)) / n
    centre = groups.sum(s[rows]) / n
    return np.asarray(epsilon * np.exp(np.interp(s, centre, np.log(np.maximum(mean, noise)))))


def french_wilson(intensity: Float, sigma: Float, prior: Float, centric: Bool) -> tuple[Float, Float]:
    """Amplitudes F = <sqrt J> and their standard deviations; NaN for intensities that are missing or too negative.

    ``intensity``, ``sigma``: merged, ``prior``: expected intensity of the reflection, epsilon included; infinity for a
    flat prior, which knows no difference between centric and acentric (set ``centric`` False), all (n,).
    Too negative is I/sigma < -3.7 (French & Wilson).
    """
    f, sigma_f = np.full(len(intensity), np.nan), np.full(len(intensity), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = intensity / sigma
        t = ratio - sigma / prior * np.where(centric, 0.5, 1.0)
        good = np.isfinite(t) & (sigma > 0) & (ratio >= LOWEST_I_OVER_SIGMA)
    for kind in (False, True):
        rows = np.flatnonzero(good & (centric == kind))
        mean, deviation = posterior(t[rows], kind)
        unit = np.sqrt(sigma[rows])
        f[rows], sigma_f[rows] = mean * unit, deviation * unit
    return f, sigma_f


def posterior(t: Float, centric: bool) -> tuple[Float, Float]:
    """Mean and standard deviation of y = sqrt(J/sigma), (n,), under y^p exp(-(y^2 - t)^2/2), y > 0.

    p = 1 for acentric, 0 for centric reflections (the factor 2y of dJ included).  ``t``: mu/sigma, (n,).
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    mean, deviation = np.empty(len(t)), np.empty(len(t))
    for start in range(0, len(t), _BLOCK):
        part = t[start : start + _BLOCK]
        # The exponent falls by _REACH^2/2 from its top, at J = max(t, 0), to the ends of the range.
        above = np.where(part > 0, part + _REACH, _REACH**2 / (np.hypot(part, _REACH) + np.abs(part)))
        low, high = np.sqrt(np.maximum(part - _REACH, 0.0)), np.sqrt(above)
        half = 0.5 * (high - low)
        y = (low + half)[:, None] + half[:, None] * nodes
        # for t < 0 relative to its value at y = 0, without the large numbers that would cancel
        square = y * y
        exponent = 0.5 * (square - np.maximum(part, 0.0)[:, None]) ** 2 - square * np.minimum(part, 0.0)[:, None]
        density = weights * np.exp(-exponent)
        if not centric:
            density *= y
        total = density.sum(axis=1)
        average = (density * y).sum(axis=1) / total
        spread = (density * (y - average[:, None]) ** 2).sum(axis=1) / total
        mean[start : start + _BLOCK], deviation[start : start + _BLOCK] = average, np.sqrt(spread)
    return mean, deviation
