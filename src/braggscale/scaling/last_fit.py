"""What follows from the last fit: scales, error models that know how much the fit has taken, variances to write.

If the effective parameters of the scales are a noticeable part of the degrees of freedom, the data are *few*. Then two
things are done that change nothing otherwise. The error model is not only corrected for the fit (var(g), see
error_model_fit.py), but the fit is repeated with the corrected errors, until both agree: otherwise errors that are too
small let the scales follow noise, and the residuals, which become smaller, confirm the errors. And the variances that
are written out include the errors of scales that the observations of a reflection share (fit/common_errors.py).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from braggscale.fit.common_errors import inflation
from braggscale.fit.fit_scales import Outcome
from braggscale.fit.problem import Problem
from braggscale.models.resolution_trend import resolution_trend
from braggscale.numerics.array_types import Bool, Float
from braggscale.scaling.expectations import expectation, fit_errors, with_scales
from braggscale.scaling.state import RoundSettings, ScalingProblem, State
from braggscale.weighting.error_model import FitResult
from braggscale.weighting.output_variance import observed_variance, output_variance

log = logging.getLogger(__name__)

# A trend of all corrections with resolution that the log mentions.
NOTEWORTHY_TREND = 0.01
# Effective parameters for each degree of freedom from which data are few. Below this number the errors of merged
# intensities would grow by less than 5 % (by 0.1 to 1.2 % for four sweeps of l-cysteine, which have 0.01).
FEW = 0.05
# The fit of few data is repeated at most so often.
MOST_FITS = 6


@dataclass(frozen=True, slots=True)
class Ending:
    """The state after a last fit.  ``scale_variance``: var(g), (n,).  ``errors``: error models; empty if kept.

    ``few``: whether the fit has taken a noticeable part of the residuals.  ``trend``: largest over smallest of the
    factors by resolution that have been taken out of the scales.
    """

    outcome: Outcome
    state: State
    scale_variance: Float
    errors: tuple[FitResult, ...]
    few: bool
    trend: float


def ending(problem: ScalingProblem, settings: RoundSettings, state: State, outcome: Outcome) -> Ending:
    """What follows from the fit ``outcome`` with the choices of ``state``."""
    scale, scale_variance = problem.model.evaluate(problem.rows, outcome.theta, outcome.covariance)
    scale_variance = np.maximum(scale_variance, 0.0)  # the fit checks only the diagonal of the covariance
    use = problem.selected & ~state.rejected & (scale > 0.0)
    trend = resolution_trend(problem.model, problem.rows, outcome.theta, use) if state.strengths else None
    if trend is not None:
        scale, scale_variance = scale / trend, scale_variance / trend**2
    state = with_scales(problem, state, outcome.theta, scale)
    state = replace(state, strengths=outcome.strengths)
    few = _few(problem, outcome, use)
    results: tuple[FitResult, ...] = ()
    if settings.errors and outcome.covariance is not None and (state.strengths or few):
        # the fit of the scales has made residuals of strong reflections smaller than their errors
        results = fit_errors(problem, state, settings.errors, scale_variance)
        state = replace(state, errors=tuple(result.model for result in results))
        state = with_scales(problem, state, outcome.theta, scale)
    removed = 1.0 if trend is None else float(trend.max() / trend.min())
    return Ending(outcome, state, scale_variance, results, few, removed)


def _few(problem: ScalingProblem, outcome: Outcome, use: Bool) -> bool:
    """Whether effective parameters are many for the degrees of freedom.  ``use``: rows of the fit, (n,)."""
    if outcome.effective_dof is None or outcome.covariance is None:
        return False
    freedom = int(np.count_nonzero(use)) - len(problem.groups)
    return float(outcome.effective_dof.sum()) > FEW * freedom


def log_trend(last: Ending) -> None:
    """Say how large a trend with resolution was that has been removed, if it was noticeable."""
    if last.trend > 1.0 + NOTEWORTHY_TREND:
        size = 100.0 * (last.trend - 1.0)
        log.info(f"Detector and image corrections have a trend of {size:.1f} % with resolution alone, which is removed")


def variances_to_write(problem: ScalingProblem, fitted: Problem, last: Ending) -> tuple[Float, Float]:
    """V' at expected and at observed intensities with the errors of the scales, counts^2, (n,) each.

    ``fitted``: the problem of the last fit.
    """
    state, outcome = last.state, last.outcome
    expected = expectation(problem, state)
    variance = output_variance(expected, last.scale_variance, observed=not state.strengths)
    at_observed = observed_variance(expected, last.scale_variance)
    # separate blocks do not tell how the scales of different data sets vary together
    if not last.few or outcome.covariance is None or outcome.covariance.n_blocks > 1:
        return variance, at_observed
    chosen = np.flatnonzero(problem.selected)
    squared = np.where(state.rejected | (state.scale <= 0.0), 0.0, state.scale**2)[chosen]
    groups, present = problem.groups.subset(problem.selected), np.unique(problem.groups.index()[chosen])
    factor = np.ones(len(problem.groups))
    factor[present] = inflation(
        fitted.design, outcome.theta, outcome.covariance.blocks()[0], groups,
        squared / state.variance[chosen], squared / variance[chosen], state.mean_intensity[present],
    )  # fmt: skip
    of_row = problem.groups.spread(factor)
    return variance * of_row, at_observed * of_row
