"""Whether errors need a term that is linear in the intensity, c of the error model.

For strong reflections V itself is proportional to mu, so that a and c can replace each other: the fit would improve a
little, but a, and with it the errors of the weak reflections, would be arbitrary. So c is fitted to all intensities,
weak ones included, and kept only if

* 2 ln L, for the same rows, rises by 15, and by more than n/32, n rows less groups. The first is 3.9 sigma of chance, 3
  where residuals have heavy tails. The second is about size: changing ln V' by d (rms) where that is
  right gains n d^2/2, so it asks for d above 25 %. Less is what two parameters usually leave (DIALS' tables too), makes
  weights 1 % less efficient and moves no outlier; but 100,000 observations would call it significant.
* a is known to 10 % beside it.

Once in use it stays unless the gain falls below half of that, so that rounds do not alternate.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from braggscale.data.unique_reflections import weighted_mean
from braggscale.weighting.error_model import ErrorModel, FitResult, IntensityRange
from braggscale.weighting.error_model_refinement import refine
from braggscale.weighting.error_model_scoring import ALL, KEPT_VARIANCE, TWO
from braggscale.weighting.residual_data import CUT, ResidualData

# What the linear term needs: gain of 2 ln L, the same per row, relative uncertainty of a.
_GAIN, _GAIN_PER_ROW, _LOOSEST_WITH_LINEAR = 15.0, 1.0 / 32.0, 0.1
_STAYING = 0.5  # share of that gain which a term that is in use needs to stay
ENOUGH_RANGES = 5  # ranges of intensity that show a trend of z^2


def even(ranges: tuple[IntensityRange, ...]) -> bool:
    """Whether mean z^2 hardly depends on the intensity, so that the linear term need not be tried.

    A misfit d (rms) of ln V' is worth n d^2/2 in 2 ln L, and n/32 is needed: d^2 = 1/16. Below half of that the term is
    not tried.
    """
    if len(ranges) < ENOUGH_RANGES or min(r.corrected for r in ranges) <= 0:
        return False
    n = np.array([r.n for r in ranges])
    misfit = np.log([r.corrected for r in ranges])
    return float(np.dot(n, misfit**2) / n.sum()) < _GAIN_PER_ROW


def with_linear_term(two: FitResult, sample: ResidualData, in_use: bool, n_bins: int) -> FitResult:
    """The fit with c where the data demand it, otherwise ``two``; both models refined and compared on these rows."""
    null = refine(sample, two.model, TWO, n_bins, "")
    if null.reason:
        return two
    full = refine(sample, null.model, ALL, n_bins, "")
    if full.reason or not full.model.c > 0:
        return two
    keep = ~sample.trim(null.model)
    part = sample.groups.subset(keep)
    rows = sample.take(keep, part)
    gain = 2.0 * (_minus_log_likelihood(rows, null.model) - _minus_log_likelihood(rows, full.model))
    needed = max(_GAIN, _GAIN_PER_ROW * (part.n_rows - len(part))) * (_STAYING if in_use else 1.0)
    if not (gain > needed and full.esd_a < _LOOSEST_WITH_LINEAR * full.model.a):
        return replace(two, linear_gain=gain)
    reason = f"a term linear in the intensity is needed: 2 ln L rises by {gain:.0f}, asked for are {needed:.0f}"
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
