"""Fits a, b and, if the data need it, c of the error model to the scatter of equivalents.

Residual r = I - g I_h, leverage h = (g^2/V')/sum(g^2/V'): E r^2 = V' (1 - h). (If var(g) is known, 1 - h is replaced by
(1 - h)(1 - s), s = (I_h)^2 var(g)/V', because the fit of the scales has reduced the residuals: Var r = V' - x C x' for
a prediction x theta with covariance C.) With A = a^2, B = a^2 b^2, C = a^2 c,
V' = A V + B mu^2 + C mu+, the restricted likelihood (Patterson & Thompson, Biometrika 58 (1971) 545) is stationary
where

    sum (1 - h) (x/V') (1 - z^2) = 0   for x = V, mu^2 and mu+,     z^2 = r^2/(V' (1 - h)).

Fisher scoring is then the linear least-squares fit of r^2/(1 - h) to A V + B mu^2 + C mu+ with weights (1 - h)/V'^2.
z^2 counts up to 16. A larger residual contributes ln|r|, which does not depend on the model. If z^2 were merely
limited, vanishing errors would be a solution; with ln|r| they are not, and a few gross outliers have no effect. Before
the fit the worst member of a group is removed repeatedly while it is beyond 4 sigma of the others; otherwise it would
also move its equivalents beyond the limit.

linear_term.py decides whether c is needed. Friedel mates must be in different groups, because otherwise b would absorb
the anomalous signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.weighting.error_model import ErrorModel, ErrorModelOptions, FitResult, StillLimits
from braggscale.weighting.error_model_refinement import kept_model, refine
from braggscale.weighting.error_model_scoring import ALL, NONE, ONE, TWO, Fitted
from braggscale.weighting.expected_variance import Expectation
from braggscale.weighting.linear_term import fits_at_all_intensities, with_linear_term
from braggscale.weighting.residual_data import ResidualData

MINIMUM_ROWS = 250  # for two parameters, as DIALS
MINIMUM_ROWS_ONE = 50  # for a alone: its relative error is then 10 %
# If there are more rows, every k-th group is used: the uncertainty of a is then 0.2 %, that of b 1 %.
MOST_ROWS = 400_000
# Rows to decide whether the linear term is needed: the error of its gain per row is then a tenth of the required gain.
MOST_COMPARED = 50_000

_DEFAULT = ErrorModelOptions()


def fit_error_models(
    observations: Expectation,
    out: Bool,
    models: Sequence[ErrorModel],
    of_data_set: Int,
    options: ErrorModelOptions,
    scale_variance: Float | None = None,
    still: Bool | None = None,
) -> tuple[FitResult, ...]:
    """Each error model, fitted to the rows of its data sets that are not outliers and have g > 0.

    ``out``: outliers, (n,).  ``models``: the present ones.  ``of_data_set``: number of the model of each data set,
    (n_sets,).  ``scale_variance``: var(g), (n,), if the reduction of the residuals by the fit of the scales is
    taken into account.  ``still``: marks data sets that are stills, (n_sets,), for the limits that ``options`` has.
    """
    usable = ~out & (observations.scale > 0)
    if options.stills is not None and still is not None and still.any():
        usable &= within_limits(observations, usable, still, options.stills)
    results = []
    for number, model in enumerate(models):
        keep = usable
        if len(models) > 1:
            keep = usable & (of_data_set[observations.variance_model.data_set] == number)
        data = ResidualData.of(observations, np.flatnonzero(keep), scale_variance)
        results.append(fit(data, options, model))
    return tuple(results)


def within_limits(observations: Expectation, usable: Bool, still: Bool, limits: StillLimits) -> Bool:
    """Observations within the limits for stills, (n,); those of sweeps always are.

    ``usable``: observations that may take part; only these count for the multiplicity, (n,).  ``still``: marks data
    sets, (n_sets,).
    """
    measured = observations.variance_model
    of_still = still[measured.data_set]
    keep = usable.copy()
    if limits.min_i_sigma is not None:
        keep &= ~of_still | (measured.intensity >= limits.min_i_sigma * np.sqrt(measured.variance))
    groups = observations.friedel_split
    enough = groups.spread(groups.sum(keep)) >= limits.min_multiplicity
    result: Bool = keep & (~of_still | enough)
    return result


def fit(data: ResidualData, options: ErrorModelOptions = _DEFAULT, start: ErrorModel | None = None) -> FitResult:
    """The error model of these rows.

    ``start``: the model in use. With fewer than 250 rows only a is fitted, with fewer than 50 nothing; ``reason``
    of the result says so. The linear term is tried if a and b are both refined; if one of them is fixed, V' = a^2
    (V + (b mu)^2).
    """
    begin = options.start(start or ErrorModel())
    sample = data.sample(options.min_photons, MOST_ROWS)
    free, reason = _free(len(sample), options)
    if not any(free):
        return kept_model(sample, begin, options.n_bins, reason)
    if free != TWO:
        return refine(sample, begin, free, options.n_bins, reason)
    two = refine(sample, replace(begin, c=0.0), free, options.n_bins, reason)
    if two.reason or (begin.c == 0 and fits_at_all_intensities(two.ranges)):
        return two
    result = with_linear_term(two, data.sample(0.0, MOST_COMPARED), begin.c > 0, options.n_bins)
    if result.model.c > 0 and len(data) > MOST_COMPARED:
        better = refine(data.sample(0.0, MOST_ROWS), result.model, ALL, options.n_bins, result.reason)
        return replace(better, linear_gain=result.linear_gain)
    return result


def _free(n: int, options: ErrorModelOptions) -> tuple[Fitted, str]:
    """Which of a, b, c can be fitted to ``n`` rows, and why some of them cannot."""
    free = (options.refine and options.a is None, options.refine and options.b is None, False)
    if not any(free) or n >= MINIMUM_ROWS:
        return free, ""
    if n < MINIMUM_ROWS_ONE or not free[0]:
        needed = MINIMUM_ROWS_ONE if free[0] else MINIMUM_ROWS
        return NONE, f"{n} observations in groups of two or more, at least {needed} needed: not refined"
    if free[1]:
        return ONE, f"{n} observations, at least {MINIMUM_ROWS} needed for two parameters: only a refined"
    return free, ""
