"""Intensities extrapolated to dose zero, with slopes that are shrunken towards zero.

Radiation changes the structure while data are collected. Scaling takes out what all reflections have in common; what is
left differs from reflection to reflection, some grow and some fall (Diederichs, McSweeney & Ravelli, Acta Cryst. D59
(2003) 903). For observation i of reflection h, at dose D_i,

    x_i = I_h + s_h D_i + e_i,     var e_i = 1/w_i,     s_h normal about 0 with variance tau^2 (I <I> + <I>^2/4)

<I> is the mean of the shell: a change of the structure that moves amplitudes by a random part changes strong
reflections more. tau is estimated from all reflections with enough spread of dose: with the least-squares slope b of
each, and its variance v, the likelihood of b, normal with variance v + tau^2 (...), is largest. Then I_h and s_h are
the best linear unbiased predictors (Robinson, Statist. Sci. 6 (1991) 15), whose variances include the uncertainty of
the slope: a reflection that was measured late has a large sigma at dose zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int

# Observations that a slope needs, and the spread of their doses in units of the whole range.
FEWEST, SPREAD = 3, 0.1
# Reflections with slopes from which tau can be told.
ENOUGH = 30
# Reflections in a shell for the mean intensity, and the most shells.
IN_SHELL, MOST_SHELLS = 100, 20
# Errors are reduced so often, in so many ranges of intensity, and by no smaller factor of variance.
PASSES, RANGES, LEAST_FACTOR = 3, 8, 0.02
MOST_Z2 = 25.0  # of a slope in the likelihood of tau: gross outliers do not decide


@dataclass(frozen=True, slots=True)
class ZeroDose:
    """Of each unique reflection, (n_groups,): ``intensity`` at dose zero and ``sigma``; ``slope``: change of the
    intensity over the whole range of dose, ``slope_sigma``: uncertainty of the slope; ``mean``: plain weighted mean,
    ``mean_sigma``; ``n``: observations.

    ``tau``: relative change of intensities over the range of dose (see above), ``n_slopes``: reflections behind it.
    """

    intensity: Float
    sigma: Float
    slope: Float
    slope_sigma: Float
    mean: Float
    mean_sigma: Float
    n: Int
    tau: float
    n_slopes: int

    def most_changed(self, most: int) -> Int:
        """Numbers of the groups whose slopes are most certain, the most certain first, (k,), k <= ``most``."""
        z = np.divide(np.abs(self.slope), self.slope_sigma, out=np.zeros(len(self.n)), where=self.slope_sigma > 0)
        order = np.argsort(-z, kind="stable")[:most]
        return order[z[order] > 0]


def zero_dose(groups: Groups, x: Float, weight: Float, dose: Float, s: Float) -> ZeroDose:
    """Intensities at dose zero.

    Errors that were fitted without slopes contain what the slopes explain: they are reduced where observations lie
    closer to their lines than their errors say, in ranges of intensity, and slopes are found once more.
    ``x``: I/g, ``weight``: 1/variance of it, 0 for observations that do not count, ``dose``: from 0 to 1, (n,).
    ``s``: 1/d^2 of each group, (n_groups,).
    """
    found = _lines(groups, x, weight, dose, s)
    for _ in range(PASSES if found.tau > 0 else 0):
        factor = _excess(groups, x, weight, dose, found)
        found = _lines(groups, x, weight / groups.spread(factor), dose, s)
    return found


def _excess(groups: Groups, x: Float, weight: Float, dose: Float, found: ZeroDose) -> Float:
    """Variance of observations about their lines over what their errors say, not above 1, (n_groups,)."""
    line = groups.spread(np.nan_to_num(found.intensity)) + groups.spread(found.slope) * dose
    square = groups.sum(np.minimum(weight * (x - line) ** 2, MOST_Z2 * (weight > 0)))
    # 1 for the intercept, and up to 1 for a slope that is not shrunken
    free = np.maximum(found.n - 1.0 - (found.n > 2), 0.0)
    known = (free > 0) & np.isfinite(found.mean)
    if np.count_nonzero(known) < ENOUGH:
        return np.ones(len(groups))
    limits = np.quantile(found.mean[known], np.linspace(0, 1, RANGES + 1)[1:-1])
    bins = np.searchsorted(limits, np.nan_to_num(found.mean), side="right")
    above, below = np.bincount(bins[known], square[known], RANGES), np.bincount(bins[known], free[known], RANGES)
    factor = np.divide(above, below, out=np.ones(RANGES), where=below > 0)
    result: Float = np.clip(factor, LEAST_FACTOR, 1.0)[bins]
    return result


def _lines(groups: Groups, x: Float, weight: Float, dose: Float, s: Float) -> ZeroDose:
    """Intensity and slope of each group with the weights as they are."""
    n = groups.sum(weight > 0).astype(np.int64)
    w, wd = groups.sum(weight), groups.sum(weight * dose)
    wdd, wx, wxd = groups.sum(weight * dose * dose), groups.sum(weight * x), groups.sum(weight * x * dose)
    there = w > 0
    mean = np.divide(wx, w, out=np.full(len(w), np.nan), where=there)
    within = wdd - np.divide(wd * wd, w, out=np.zeros(len(w)), where=there)
    typical = np.divide(within, w, out=np.zeros(len(w)), where=there)
    good = there & (n >= FEWEST) & (typical > SPREAD**2)
    centre = np.divide(wd, w, out=np.zeros(len(w)), where=there)
    b = np.divide(wxd - wx * centre, within, out=np.zeros(len(w)), where=good)
    v = np.divide(1.0, within, out=np.zeros(len(w)), where=good)
    unit = _unit(mean, s, there)
    tau2 = _tau2(b[good], v[good], unit[good]) if np.count_nonzero(good) >= ENOUGH else 0.0
    prior = tau2 * unit  # variance of the slope
    # the equations of I and s: [[w, wd], [wd, wdd + 1/prior]]
    inverse = np.divide(1.0, prior, out=np.full(len(w), np.inf), where=prior > 0)
    finite = np.isfinite(inverse) & there
    below = w * (wdd + np.where(finite, inverse, 0.0)) - wd * wd
    free = finite & (below > 0)
    slope = np.divide(w * wxd - wd * wx, below, out=np.zeros(len(w)), where=free)
    intensity = np.where(free, mean - slope * centre, mean)
    variance = np.divide(wdd + np.where(finite, inverse, 0.0), below, out=np.full(len(w), np.nan), where=free)
    plain = np.divide(1.0, w, out=np.full(len(w), np.nan), where=there)
    slope_variance = np.divide(w, below, out=np.zeros(len(w)), where=free)
    return ZeroDose(
        intensity,
        np.sqrt(np.where(free, variance, plain)),
        slope,
        np.sqrt(slope_variance),
        mean,
        np.sqrt(plain),
        n,
        float(np.sqrt(tau2)),
        int(np.count_nonzero(good)),
    )


def _unit(mean: Float, s: Float, there: Bool) -> Float:
    """I <I> + <I>^2/4 of each group, (n_groups,)."""
    shells = int(np.clip(np.count_nonzero(there) // IN_SHELL, 1, MOST_SHELLS))
    limits = np.quantile(s[there], np.linspace(0, 1, shells + 1)[1:-1]) if there.any() else np.zeros(0)
    shell = np.searchsorted(limits, s, side="right")
    positive = np.maximum(np.nan_to_num(mean), 0.0)
    n = np.maximum(np.bincount(shell[there], minlength=shells), 1)
    level = (np.bincount(shell[there], positive[there], shells) / n)[shell]
    result: Float = positive * level + 0.25 * level**2
    return result


def _tau2(b: Float, v: Float, unit: Float) -> float:
    """tau^2 of the largest likelihood of the slopes, by bisection of its derivative; 0 where it is not positive."""

    def derivative(tau2: float) -> float:
        """Derivative of the log likelihood with respect to tau^2, times two."""
        total = v + tau2 * unit
        z2 = np.minimum(b * b / total, MOST_Z2)
        return float(np.sum(unit / total * (z2 - 1.0)))

    if derivative(0.0) <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while derivative(high) > 0 and high < 1e6:
        high *= 4.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if derivative(middle) > 0 else (low, middle)
    return 0.5 * (low + high)
