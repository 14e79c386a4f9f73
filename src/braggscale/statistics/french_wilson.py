"""One amplitude for each unique reflection.

Amplitudes follow French & Wilson, Acta Cryst. A34 (1978) 517: a measured I may be negative, the true J may not. Bayes'
theorem with Wilson's distribution of J about its local mean S (Acta Cryst. 2 (1949) 318) as the prior gives

    acentric   p(J|I) ~ exp(-(J - mu)^2/2 sigma^2),             mu = I - sigma^2/S
    centric    p(J|I) ~ exp(-(J - mu)^2/2 sigma^2)/sqrt(J),     mu = I - sigma^2/2S,     J > 0,

and F = <sqrt J>, sigma_F^2 = <J> - F^2 under it. In units of sigma these depend on t = mu/sigma alone. With J = y^2 the
integrands are smooth down to y = 0, and Gauss-Legendre quadrature over the range that matters is accurate to ten digits
or more for every t. sigma_F is integrated as <(y - F)^2>, because the difference <J> - F^2 loses its digits for
strong reflections.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float
from braggscale.statistics.merging import MOST_WILSON_SHELLS, WILSON_SHELL, Merged

log = logging.getLogger(__name__)

# With fewer reflections their mean in shells is too uncertain; the prior is then flat (DIALS behaviour).
WILSON_MINIMUM = 200
# French & Wilson's limit: a lower intensity is an error of measurement, not a weak reflection. Their second limit, t
# > -4, is the end of their tables; it would reject every reflection of a shell whose mean is below sigma/4.
LOWEST_I_OVER_SIGMA = -3.7
_NODES = 48
_REACH = 8.7  # in sigma: the probability of a larger deviation in a normal distribution is 1e-17
_BLOCK = 1 << 13


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
        log.info(f"Amplitudes: {rejected} reflections are below -3.7 sigma and have no amplitude")
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
    shells = int(np.clip(len(rows) // WILSON_SHELL, 1, MOST_WILSON_SHELLS))
    edges = np.arange(shells + 1) * len(rows) // shells
    groups = Groups(edges)
    n = groups.sizes()
    ratio = intensity[rows] / epsilon[rows]
    mean = groups.sum(ratio) / n
    noise = np.sqrt(groups.sum((sigma[rows] / epsilon[rows]) ** 2)) / n
    centre = groups.sum(s[rows]) / n
    return np.asarray(epsilon * np.exp(np.interp(s, centre, np.log(np.maximum(mean, noise)))))


def french_wilson(intensity: Float, sigma: Float, prior: Float, centric: Bool) -> tuple[Float, Float]:
    """Amplitudes F = <sqrt J> and their standard deviations, (n,); NaN where I is missing or too negative.

    ``intensity``, ``sigma``: merged, ``prior``: expected intensity of the reflection, epsilon included; infinity for a
    flat prior, which is the same for centric and acentric reflections (set ``centric`` False), all (n,).
    Intensities with I/sigma < -3.7 are too negative (French & Wilson).
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
