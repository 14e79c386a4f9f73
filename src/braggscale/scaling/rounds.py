"""The outer loop: scales, intensity choice, error model and outliers, until nothing changes.

Each of the four needs the other three. A round fits the scales with everything else held, then chooses intensities,
fits the error model and judges outliers with the new scales. The first rounds judge outliers without regard to earlier
verdicts, so that what they settle on depends on the data alone and not on the way there: scaling again, and taking an
exclusion back, end in the same place. Choices that still flip after that are made sticky: a rejected observation
returns only below 0.9 outlier_zmax, only once, and after a while not at all; another intensity must be better by
0.5 %. When a round changes nothing (or after MOST_ROUNDS) a last fit uses the final choices.

Weights of a round: 1/V', V' = a^2 (V + c mu+ + (b mu)^2) the error model at the expected intensity mu = g I_h with the
expected variance V, both from the round before, times a factor that keeps observations not yet known as outliers from
bending the scales (weighting/robust_weights.py).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from time import perf_counter

import numpy as np

from braggscale.data.normalised_intensities import Shells
from braggscale.data.observations import GeometryCopy
from braggscale.fit.findings import Finding, findings
from braggscale.fit.fit_scales import Outcome, fit
from braggscale.fit.problem import Problem
from braggscale.fit.restraint_strengths import held_back
from braggscale.fit.solver import FitSettings
from braggscale.models import MODELS
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.scaling.intensities import compare_intensities, decide_intensities, first_intensities
from braggscale.scaling.starting_scales import starting_scales
from braggscale.scaling.state import RoundReport, RoundSettings, Scaled, ScalingProblem, Start, State
from braggscale.weighting.error_model import (
    ErrorModel,
    ErrorModelOptions,
    FitResult,
    nearly_equal,
    starting_models,
)
from braggscale.weighting.error_model_fit import fit_error_models
from braggscale.weighting.expected_variance import Expectation, VarianceModel, expect
from braggscale.weighting.intensity_choice import (
    Choice,
    combined,
    counting_gain,
    initial,
)
from braggscale.weighting.outlier_history import Memory, OutlierHistory, judge_round
from braggscale.weighting.outlier_test import Rejection
from braggscale.weighting.output_variance import output_variance
from braggscale.weighting.profile_summary import profile_findings
from braggscale.weighting.rejection import OutlierInputs, fit_groups
from braggscale.weighting.robust_weights import Robust, fit_weights

log = logging.getLogger(__name__)

MOST_ROUNDS = 12
# Up to this round outliers are judged afresh. Data that settle at all have settled by then.
FRESH_ROUNDS = 4
# Observations more than unique reflections in the fit, for each of up to so many data sets, below which nothing can be
# said about strengths: five stills with 71 or 227 got B of hundreds, or a map of the detector below 0.
FEWEST_EXTRA, ENOUGH_SETS = 50, 20
# After this round no observation comes back: data whose outliers are no clear-cut set (a stretch of bad images) would
# go on exchanging a few of them.
RETURNING_ROUNDS = 7
# Largest change of a merged intensity that counts as none, in its standard deviations.
SAME_INTENSITY = 0.05
# Rounds fit to this part of the tolerance: what a round leaves to the next must not look like a change.
ROUND_TOLERANCE = 0.1


# What a round decided: intensities, error models, outliers, number of those found by their size alone.
_Verdicts = tuple[Choice | None, tuple[FitResult, ...], Rejection | None, int]


def scale_data(work: ScalingProblem, start: Start, settings: RoundSettings) -> Scaled:
    """Run the rounds and the last fit."""
    extra = int(np.count_nonzero(work.selected)) - len(work.groups.subset(work.selected))
    needed = FEWEST_EXTRA * min(len(work.model.data_sets), ENOUGH_SETS)
    held = extra < needed and work.model.estimated
    if held:
        log.warning(
            f"{extra} observations more than reflections are too few to find corrections (at least {needed} are "
            "needed): all of them are held at constants"
        )
        work = replace(work, model=held_back(work.model))
    work, state = _first_state(work, start, settings)
    chosen = np.flatnonzero(work.selected)
    places, groups = GeometryCopy.of(work.rows, chosen), work.groups.subset(work.selected)
    problem = Problem.of(work.model, places, groups, work.fixed)
    others = np.flatnonzero(~work.selected)
    beside = GeometryCopy.of(work.rows, others)
    reports: list[RoundReport] = []
    converged = False
    outcome: Outcome | None = None
    if start.stored.all():
        # the stored scales are the end of an earlier run: decide with them as that run did, then fit
        state = _decide(work, state, settings, 0, start.rejected)[0]
    cold = not start.stored.all()
    weight = _weights(work, state, settings, first=cold)
    for number in range(1, MOST_ROUNDS + 1):
        begin = perf_counter()
        if state.strengths and work.fitted is None and (number == 2 or not cold):
            work = replace(work, fitted=fit_groups(_outlier_inputs(work, state), state.rejected))
            problem = problem.regrouped(work.fit_groups.subset(work.selected))
            weight = _weights(work, state, settings, first=False)
        # the weights of the first round are not yet those of the error model
        near = outcome if number > 2 else None
        outcome = _fit(work, problem, chosen, state, weight, _round_fit(settings.fit, cold and number == 1), near)
        state = replace(state, strengths=outcome.strengths)
        scale = np.empty(len(work.rows))
        scale[chosen] = problem.design.scales(outcome.theta, None)[0]
        scale[others] = work.model.evaluate(beside, outcome.theta, None)[0]
        moved = _with_scales(work, state, outcome.theta, scale)
        new, decided = _decide(work, moved, settings, number, start.rejected)
        report = RoundReport(number, outcome, *decided, int(new.rejected.sum()), perf_counter() - begin)
        reports.append(report)
        log_round(report)
        converged = (number > 1 or bool(start.stored.all())) and _same(work, state, new)
        state = new
        weight = _weights(work, state, settings, first=False)
        if converged:
            break
    compared = compare_intensities(work, state, settings)
    if compared is not None:
        reports[-1] = replace(reports[-1], choice=compared)
    last = replace(settings.fit, first_order=not settings.fit.full_matrix)
    outcome = _fit(work, problem, chosen, state, weight, last, outcome)
    if held:  # parameters without data are as they should be
        outcome = replace(outcome, undetermined=())
    scale, scale_variance = work.model.evaluate(work.rows, outcome.theta, outcome.covariance)
    state = _with_scales(work, state, outcome.theta, scale)
    state = replace(state, strengths=outcome.strengths)
    if settings.errors and state.strengths and outcome.covariance is not None:
        # residuals of strong reflections are smaller than errors by what the scales have taken of them
        results = _fit_errors(work, state, settings.errors, scale_variance)
        reports[-1] = replace(reports[-1], errors=results)
        state = replace(state, errors=tuple(result.model for result in results))
        state = _with_scales(work, state, outcome.theta, scale)
    variance = output_variance(_expectation(work, state), scale_variance, observed=not state.strengths)
    found: tuple[Finding, ...] = ()
    if outcome.influence is not None:
        of = problem.rows.data_set
        found = findings(work.model, problem.design, of, outcome.theta, outcome.influence, outcome.strengths)
    expected = state.scale * work.groups.spread(state.mean_intensity)
    told = () if state.profiles is None else profile_findings(state.profiles, work.rows, expected)
    return Scaled(state, outcome, scale_variance, variance, tuple(reports), converged, work.fit_groups, found, told)


def _first_state(work: ScalingProblem, start: Start, settings: RoundSettings) -> tuple[ScalingProblem, State]:
    """The starting point, and the work with KB scales restrained around starting scales."""
    rows = work.rows
    values = initial(rows, settings.intensity_choice)
    if start.i_mid is not None and settings.intensity_choice == "combine":
        values = combined(rows, start.i_mid)
    theta = start.theta
    nothing, blank = np.zeros(len(rows), bool), np.zeros(len(work.groups))
    factors = starting_scales(rows, work.groups, values.intensity, 1.0 / values.variance, len(work.model.data_sets))
    if not start.stored.all():
        if start.stored.any():
            # on the scale of the data sets that have one already
            g = work.model.evaluate(rows, theta, None)[0]
            n = np.maximum(np.bincount(rows.data_set, minlength=len(factors)), 1)
            mean = np.bincount(rows.data_set, g, len(factors)) / n
            factors = factors * float(np.median((mean / factors)[start.stored]))
        theta = _with_factors(work, theta, np.where(start.stored, 1.0, factors))
    models = [
        data_set if (around := MODELS[data_set.kind].around_start) is None else around(data_set, factor)
        for data_set, factor in zip(work.model.data_sets, factors.tolist(), strict=True)
    ]
    shells = Shells.of(rows.d) if settings.outliers.emax and len(rows) else None
    work = replace(work, model=replace(work.model, data_sets=tuple(models)), shells=shells)
    scale = work.model.evaluate(rows, theta, None)[0]
    errors = starting_models(work.n_error_models, start.errors, settings.errors)
    rejected = nothing if start.rejected is None else start.rejected
    gain = counting_gain(values, rows.data_set, len(work.model.data_sets))
    state = State(
        theta=theta,
        scale=scale,
        values=values,
        gain=gain,
        mean_intensity=blank,
        variance=values.variance,
        errors=errors,
        i_mid=start.i_mid,
        rejected=rejected,
        returned=nothing,
        impossible=nothing,
        strengths=start.strengths,
    )
    return work, _with_scales(work, first_intensities(work, state, settings), theta, scale)


def _with_factors(work: ScalingProblem, theta: Float, factors: Float) -> Float:
    """Multiply each data set's scale (its first component that is a factor) by its starting factor."""
    theta = theta.copy()
    for d, data_set in enumerate(work.model.data_sets):
        for c, component in enumerate(data_set.components):
            where = work.model.where(d, c)
            if not component.exponential and component.offset == 0.0:
                if not work.fixed[where].any():
                    theta[where] *= factors[d]
                break
    return theta


def _variance_model(work: ScalingProblem, state: State) -> VarianceModel:
    """V' of every row as a function of its expected intensity."""
    return VarianceModel.of(state.values, state.gain, work.rows.data_set, state.errors, work.error_model_of)


def _expectation(work: ScalingProblem, state: State) -> Expectation:
    return Expectation(
        _variance_model(work, state), state.scale, state.variance, state.mean_intensity, work.groups, work.friedel_split
    )


def _with_scales(work: ScalingProblem, state: State, theta: Float, scale: Float) -> State:
    """The state with new scales: I_h from observations that are not rejected, V' from I_h."""
    mean_intensity, variance = expect(_variance_model(work, state), scale, state.rejected, work.groups)
    return replace(state, theta=theta, scale=scale, mean_intensity=mean_intensity, variance=variance)


def _weights(work: ScalingProblem, state: State, settings: RoundSettings, first: bool) -> Float:
    """Weights in the fit, (n,).  ``first``: before the first fit; residuals are taken relative to their median."""
    robust = Robust.of_fit(bool(state.strengths), settings.outliers.zmax)
    weight = fit_weights(_expectation(work, state), state.rejected, work.fit_groups, robust, first)
    weight[state.impossible] = 0.0
    return weight


def _round_fit(settings: FitSettings, cold: bool) -> FitSettings:
    """L-BFGS, in the metric of a normal matrix that several rounds share: near the minimum a few steps are enough.

    ``cold``: nothing is known about the errors yet. Errors that are too small would make the data ask for every
    correction that fits noise, the error model would then agree, and no later round would find back.
    """
    tolerance = ROUND_TOLERANCE * settings.tolerance
    estimate = settings.full_matrix and not cold
    return replace(settings, first_order=True, full_matrix=False, estimate=estimate, esds=False, tolerance=tolerance)


def _fit(
    work: ScalingProblem,
    problem: Problem,
    chosen: Int,
    state: State,
    weight: Float,
    settings: FitSettings,
    near: Outcome | None,
) -> Outcome:
    """Fit with outliers at weight zero: the design stays, whatever is rejected.  ``near``: an earlier round's fit."""
    intensity = state.values.intensity[chosen]
    return fit(problem, state.theta, intensity, weight[chosen], settings, state.strengths, near)


def _decide(
    work: ScalingProblem, state: State, settings: RoundSettings, number: int, stored: Bool | None
) -> tuple[State, _Verdicts]:
    """Intensities, error model and outliers with the scales as they are.

    ``number``: of the round, 0 before the first.  ``stored``: outliers of an earlier run that stand, (n,).
    """
    theta, scale = state.theta, state.scale
    before, (state, choice) = state, decide_intensities(work, state, settings, number <= FRESH_ROUNDS)
    if state is not before:
        state = _with_scales(work, state, theta, scale)
    results: tuple[FitResult, ...] = ()
    if settings.errors:
        results = _fit_errors(work, state, settings.errors)
        state = replace(state, errors=tuple(result.model for result in results))
        state = _with_scales(work, state, theta, scale)
    rejection, n_wilson = None, 0
    if settings.outliers.method:
        history = OutlierHistory(state.rejected, state.returned, state.impossible)
        calibrated = bool(state.strengths and settings.errors and settings.errors.refine)
        found = judge_round(
            _outlier_inputs(work, state), settings.outliers, history, _memory(number), calibrated, stored
        )
        rejection, n_wilson, now = found.rejection, found.n_impossible, found.history
        state = replace(state, rejected=now.rejected, returned=now.returned, impossible=now.impossible)
        state = _with_scales(work, state, theta, scale)
    return state, (choice, results, rejection, n_wilson)


def _memory(number: int) -> Memory:
    """What earlier outliers count for in this round."""
    if number <= FRESH_ROUNDS:
        return Memory.NONE
    return Memory.NO_RETURN if number > RETURNING_ROUNDS else Memory.ONE_RETURN


def _fit_errors(
    work: ScalingProblem, state: State, options: ErrorModelOptions, scale_variance: Float | None = None
) -> tuple[FitResult, ...]:
    given = _expectation(work, state)
    return fit_error_models(given, state.rejected, state.errors, work.error_model_of, options, scale_variance)


def _outlier_inputs(work: ScalingProblem, state: State) -> OutlierInputs:
    return OutlierInputs(_expectation(work, state), work.epsilon, work.shells or Shells.of(work.rows.d))


def _same(work: ScalingProblem, old: State, new: State) -> bool:
    """Whether a round left intensities, error models and outliers as they were, and moved no I_h that matters."""
    close = nearly_equal(old.errors, new.errors)
    if not close or old.i_mid != new.i_mid or not np.array_equal(old.rejected, new.rejected):
        return False
    share = np.where(new.rejected, 0.0, new.scale**2 / new.variance)
    moved = (new.mean_intensity - old.mean_intensity) ** 2 * work.groups.sum(share)
    return bool((moved <= SAME_INTENSITY**2).all())


def log_round(report: RoundReport) -> None:
    """One line per round."""
    outcome = report.outcome
    steps = ", ".join(f"{name} {fit.steps}" for name, fit in outcome.fits)
    cost = outcome.fits[-1][1].cost if outcome.fits else 0.0
    rms = np.sqrt(cost / max(outcome.n_observations, 1))
    errors = "".join(f", {_parameters(found.model)}" for found in report.errors[:1])
    rejected = "" if report.rejection is None else f", {report.n_outliers} outliers"
    log.info(f"Round {report.number}: {steps}, rms {rms:.4f}{errors}{rejected}")


def _parameters(model: ErrorModel) -> str:
    return f"a {model.a:.3f} b {model.b:.4f}" + (f" c {model.c:.3g}" if model.c > 0 else "")
