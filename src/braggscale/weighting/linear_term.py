"""Decides whether the error model needs a term that is linear in the intensity, with the coefficient c.

For strong reflections V itself is proportional to mu, so strong reflections alone cannot separate a from c: the fit
would improve a little, but a, and with it the errors of the weak reflections, would be arbitrary. So c is fitted to all
intensities, including weak ones, and used only if

* 2 ln L, for the same rows, increases by 15, and by more than n/32, where n is the number of rows minus that of groups.
  By chance the first is exceeded at 3.9 sigma, or at 3 sigma if residuals have heavy tails. The second is a condition
  on the size: if the correct change of ln V' is d (rms), the gain is n d^2/2, so d must be above 25 %. A smaller misfit
  is usual with two parameters (also in DIALS' tables); it lowers the efficiency of weights by 1 % and changes no
  outlier, although with 100,000 observations it would be significant.
* the uncertainty of a, fitted together with c, is below 10 %, or a is held at 1: if errors that grow with the
  intensity hide those of counting, as with strong dynamical scattering of electrons, a would go to 0, and
  :func:`braggscale.weighting.error_model_refinement.refine` fits only b and c.

Once in use, c is kept unless the gain falls below half of this, so that rounds do not alternate.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from braggscale.data.unique_reflections import weighted_mean
from braggscale.weighting.error_model import ErrorModel, FitResult, IntensityRange
from braggscale.weighting.error_model_refinement import refine
from braggscale.weighting.error_model_scoring import ALL, KEPT_VARIANCE, TWO
from braggscale.weighting.residual_data import CUT, ResidualData

# Conditions for the linear term: gain of 2 ln L, gain per row, relative uncertainty of a.
_GAIN, _GAIN_PER_ROW, _LOOSEST_WITH_LINEAR = 15.0, 1.0 / 32.0, 0.1
_STAYING = 0.5  # share of this gain below which a linear term in use is dropped
ENOUGH_RANGES = 5  # ranges of intensity that are needed to see a trend of z^2


def fits_at_all_intensities(ranges: tuple[IntensityRange, ...]) -> bool:
    """Whether mean z^2 hardly depends on the intensity, so that the linear term need not be tried.

    A misfit d (rms) of ln V' changes 2 ln L by n d^2/2, and n/32 is needed: d^2 = 1/16. If d^2 is below half of
    this, the term is not tried.
    """
    if len(ranges) < ENOUGH_RANGES or min(r.corrected for r in ranges) <= 0:
        return False
    n = np.array([r.n for r in ranges])
    misfit = np.log([r.corrected for r in ranges])
    return float(np.dot(n, misfit**2) / n.sum()) < _GAIN_PER_ROW


def with_linear_term(without: FitResult, sample: ResidualData, in_use: bool, n_bins: int) -> FitResult:
    """The fit with c if the data need it, otherwise ``without``; both models are refined and compared on these rows."""
    null = refine(sample, without.model, TWO, n_bins, "")
    if null.reason:
        return without
    full = refine(sample, null.model, ALL, n_bins, "")
    if not (full.converged and full.model.c > 0):
        return without
    keep = ~sample.trim(null.model)
    part = sample.groups.subset(keep)
    rows = sample.take(keep, part)
    gain = 2.0 * (_minus_log_likelihood(rows, null.model) - _minus_log_likelihood(rows, full.model))
    needed = max(_GAIN, _GAIN_PER_ROW * (part.n_rows - len(part))) * (_STAYING if in_use else 1.0)
    known = math.isnan(full.esd_a) or full.esd_a < _LOOSEST_WITH_LINEAR * full.model.a  # NaN: a was held
    if not (gain > needed and known):
        return replace(without, linear_gain=gain)
    reason = f"a term linear in the intensity is needed: 2 ln L rises by {gain:.0f} ({needed:.0f} required)"
    reason += f"; {full.reason}" if full.reason else ""
    return replace(full, reason=reason, linear_gain=gain)


def _minus_log_likelihood(sample: ResidualData, model: ErrorModel) -> float:
    """-ln of the restricted likelihood, with the model's own I_h; beyond 4 sigma a row contributes ln|r| only."""
    i, v, g, groups = sample.intensity, sample.expected, sample.scale, sample.groups
    variance = v
    for _ in range(3):
        variance = model.variance(v, g * groups.spread(weighted_mean(groups, 1.0 / variance, g, i)[0]))
    mean_intensity, total = weighted_mean(groups, 1.0 / variance, g, i)
    freedom = 1.0 - g * g / (variance * groups.spread(total))
    z2 = np.zeros(len(i))
    np.divide((i - g * groups.spread(mean_intensity)) ** 2, variance * freedom, out=z2, where=freedom > 1e-6)
    far = CUT**2 / KEPT_VARIANCE + np.log(np.maximum(z2, CUT**2) / CUT**2)
    size = np.where(z2 <= CUT**2, z2 / KEPT_VARIANCE, far)
    return 0.5 * float(np.log(variance).sum() + np.log(total).sum() + np.dot(freedom, size))
