"""Refines the error model of given rows by iteration, and falls back to simpler models if the iteration fails.

The inner steps are those of error_model_scoring.py. After a few of them the means I_h and the trimmed outliers are
determined again with the new model.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from braggscale.numerics.normal import MEDIAN_CHI2
from braggscale.weighting.error_model import DEFAULT_A, ErrorModel, FitResult
from braggscale.weighting.error_model_scoring import (
    ALL,
    NONE,
    ONE,
    TWO,
    WITHOUT_A,
    Fitted,
    distance,
    scoring_step,
    uncertainties,
)
from braggscale.weighting.error_model_table import ranges_of
from braggscale.weighting.residual_data import CUT, ResidualData, Residuals

LOWEST_A = 0.1  # a lower value would mean counting errors ten times too large; more likely the data cannot determine a

_ROUNDS, _STEPS, _TOLERANCE = 25, 4, 1e-4
_LOOSEST = 0.2  # relative uncertainty of a above which a^2 is not significant (2.5 sigma)


def refine(sample: ResidualData, begin: ErrorModel, free: Fitted, n_bins: int, reason: str) -> FitResult:
    """The error model of the rows in ``sample``.

    The inner loop has scoring steps for fixed I_h; the outer loop determines I_h and the trimmed rows, until a, b
    and c do not change. ``begin``: starting model.  ``free``: which of a, b, c are fitted.  ``n_bins``: ranges of
    intensity in the table. ``reason``: why only one of a and b, or none, is fitted; empty if both are.
    """
    model = begin
    unit = float(np.sum(sample.expected) / max(float(np.sum(np.abs(sample.intensity))), 1e-300))
    if free[0]:
        first = sample.residuals(model)
        z2 = (first.square / first.variance(model))[first.freedom > 0]
        if len(z2):
            model = replace(model, a=model.a * math.sqrt(max(float(np.median(z2)), 1e-12) / MEDIAN_CHI2))
    trimmed_with: ErrorModel | None = None
    converged = False
    rounds = 0
    for rounds in range(1, _ROUNDS + 1):
        if trimmed_with is None or distance(model, trimmed_with, unit) > 0.02:
            out, trimmed_with = sample.trim(model), model
        data = sample.residuals(model, out)
        before = model
        for _ in range(_STEPS):
            model, bad = scoring_step(sample.sums(data, model), model, free)
            if bad:
                break
        if bad:
            break
        if distance(model, before, unit) < _TOLERANCE:
            if trimmed_with is before or distance(model, trimmed_with, unit) < 0.1 * _TOLERANCE or rounds > 15:
                converged = True
                break
            trimmed_with = None
    if bad or not LOWEST_A <= model.a < math.inf:
        return _fall_back(sample, begin, free, n_bins, bad or f"a = {model.a:.3g}")
    if not converged and not reason:
        reason = f"still changing after {_ROUNDS} rounds"
    result = _result(sample, model, data, free, rounds, converged, n_bins, reason)
    if free[0] and free[1] and not result.esd_a < _LOOSEST * model.a:
        return _fall_back(sample, begin, free, n_bins, f"a = {model.a:.3g} +- {result.esd_a:.2g}")
    return result


def _fall_back(sample: ResidualData, begin: ErrorModel, free: Fitted, n_bins: int, why: str) -> FitResult:
    """A fit of fewer parameters after one that failed.

    After a fit of a and b, only one of them is fitted. After a fit of a, b and c, b and c are fitted with a = 1: errors
    that grow with the intensity can be so much larger than those of counting that the data do not determine a. If
    this fails, too, the start is kept.  ``why``: what went wrong.
    """
    if free == TWO:
        if why.startswith("a ="):
            simpler, rest = (False, True, False), "a = 1 kept, only b refined"
            begin = replace(begin, a=DEFAULT_A)
        else:
            simpler, rest = ONE, f"b = {begin.b:.3g} kept, only a refined"
        return refine(sample, begin, simpler, n_bins, f"two-parameter fit failed ({why}): {rest}")
    if free == ALL:
        return refine(sample, replace(begin, a=DEFAULT_A), WITHOUT_A, n_bins, "a = 1 kept, only b and c refined")
    return kept_model(sample, begin, n_bins, f"fit failed ({why}): kept as it was", converged=False)


def kept_model(sample: ResidualData, model: ErrorModel, n_bins: int, reason: str, converged: bool = True) -> FitResult:
    """The unchanged model, with the table of mean z^2 of these rows.  ``reason``: why it was not fitted."""
    data = sample.residuals(model, sample.trim(model))
    return _result(sample, model, data, NONE, 0, converged, n_bins, reason)


def _result(
    sample: ResidualData,
    model: ErrorModel,
    data: Residuals,
    free: Fitted,
    rounds: int,
    converged: bool,
    n_bins: int,
    reason: str,
) -> FitResult:
    """``model`` with its uncertainties and the table of mean z^2.  ``data``: residuals of ``sample`` with the model."""
    used = data.freedom > 0
    core = np.flatnonzero(used & (data.square <= CUT**2 * data.variance(model)))
    esd_a, esd_b, esd_c = uncertainties(sample.sums(data, model), model, free)
    return FitResult(
        model,
        len(core),
        data.trimmed + int(np.count_nonzero(used)) - len(core),
        rounds,
        converged,
        esd_a,
        esd_b,
        ranges_of(data.take(core), model, n_bins),
        reason,
        esd_c,
    )
