"""The outer loop: scales, intensity choice, error model and outliers, until nothing changes.

Each of the four depends on the other three. A round fits the scales while everything else is kept; then it chooses
intensities, fits the error model and tests for outliers with the new scales. In the first rounds the outlier test
ignores earlier verdicts, so that the result depends on the data alone and not on the path: scaling again, and taking an
exclusion back, give the same result. Later rounds change a choice only for a clear reason, because otherwise some
choices might alternate for ever: a rejected observation is accepted again only below 0.9 outlier_zmax, only once, and
after some rounds not at all; another intensity choice must be better by 0.5 %. When a round changes nothing that is
visible in the result (or after MOST_ROUNDS), a last fit uses the final choices.

The weights of a round are 1/V' times a factor that limits the influence of outliers that have not been recognised yet
(weighting/robust_weights.py). V' = a^2 (V + c mu+ + (b mu)^2) is the error model at the expected intensity mu = g I_h
with the expected variance V, both from the previous round.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from braggscale.data.normalised_intensities import Shells
from braggscale.data.observations import GeometryView
from braggscale.fit.component_summaries import ComponentSummary, component_summaries
from braggscale.fit.fit_scales import Outcome, fit
from braggscale.fit.problem import Problem
from braggscale.fit.restraint_strengths import held_back, without_decay
from braggscale.fit.solver import FitSettings
from braggscale.log_detail import MANY_DATA_SETS
from braggscale.models import MODELS
from braggscale.models.detector_map import low_response
from braggscale.models.joint_model import JointModel
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.run_warnings import Code, warn
from braggscale.scaling.expectations import expectation, fit_errors, with_scales
from braggscale.scaling.intensities import compare_intensities, decide_intensities, first_intensities
from braggscale.scaling.last_fit import MOST_FITS, ending, log_trend, variances_to_write
from braggscale.scaling.round_log import log_round
from braggscale.scaling.starting_scales import starting_scales
from braggscale.scaling.state import RoundReport, RoundSettings, Scaled, ScalingProblem, Start, State
from braggscale.weighting.counting_gain import counting_gain
from braggscale.weighting.error_model import (
    ErrorModelOptions,
    FitResult,
    nearly_equal,
    starting_models,
)
from braggscale.weighting.intensity_choice import Choice, combined, initial
from braggscale.weighting.outlier_history import Memory, OutlierHistory, judge_round
from braggscale.weighting.outlier_test import Rejection
from braggscale.weighting.profile_summary import profile_findings
from braggscale.weighting.rejection import OutlierInputs, fit_groups
from braggscale.weighting.robust_weights import Robust, fit_weights
from braggscale.weighting.shadow_test import PENUMBRA, shadowed

log = logging.getLogger(__name__)

MOST_ROUNDS = 12
# Up to this round the outlier test ignores earlier verdicts. If the choices converge at all, they do so by then.
FRESH_ROUNDS = 4
# Up to this round the ratio of profiles to sums is fitted again.
RATIO_ROUNDS = 2
# Strengths are estimated only if the observations in the fit outnumber the unique reflections by this number for
# each data set; the second number is the most data sets that are counted. With an excess of 71 or 227, five stills
# got B of hundreds of square Angstrom, or a map of the detector with negative values.
FEWEST_EXTRA, ENOUGH_SETS = 50, 20
# The same for all data sets together. Of 30 small parts of a sweep with an excess of 56 to 120, 10 were overfitted:
# errors and strengths decreased together until R_meas was below 0.003, but R against the truth was 0.075; it was
# 0.05 with constants.
FEWEST_OF_ALL = 150
# With fewer for each data set on average all data have the same B factor. 500 sweeps of three rows had R_meas 0.003 and
# R against the truth 0.067 with a B of each, 0.027 and 0.044 without. With nine rows of each still B does good.
FEWEST_FOR_B = 4
# After this round no rejected observation is accepted again: if outliers are not clearly separated from other
# observations (for example with many bad images), a few of them would alternate.
RETURNING_ROUNDS = 7
# A round changed nothing that can be seen in the result if verdicts changed for less than this share of the rows,
# and if merged intensities moved by less than these numbers of standard deviations: root mean square, and each of
# them. Intensities whose verdicts changed are not counted, because in a large data set some row is always at the
# limit.
SAME_VERDICTS, SAME_INTENSITIES, SAME_INTENSITY = 1e-5, 0.02, 0.1
# If the user wants no error model, one is fitted for the outlier test with reflections above this expected number
# of photons.
MIN_PHOTONS = 25.0
# Rounds fit to this fraction of the tolerance, so that an incomplete fit is not taken for a change in the next round.
ROUND_TOLERANCE = 0.1


# Decisions of a round: intensities, error models, outliers, and how many of these are due to size alone and to shadows.
_Verdicts = tuple[Choice | None, tuple[FitResult, ...], Rejection | None, int, int]


@dataclass(frozen=True, slots=True)
class _Context:
    """Values that are the same in all rounds; built once, when the starting scales are known.

    ``problem``: with the models restrained to the starting scales.  ``stored``: outliers of an earlier run, (n,).
    ``cold``: whether any data set has no scales of an earlier run.  ``held``: whether corrections are held at constants
    because there are too few data.  ``chosen``, ``others``: rows in the fit, and the other rows; ``beside``: geometry
    of the latter.  ``shells``: of resolution, for normalised intensities.
    """

    problem: ScalingProblem
    settings: RoundSettings
    stored: Bool | None
    cold: bool
    held: bool
    chosen: Int
    others: Int
    beside: GeometryView
    shells: Shells | None


@dataclass(frozen=True, slots=True)
class _Loop:
    """The state of the loop between two rounds.

    ``fit_problem``: the fit of the chosen rows within ``state.fit_groups``.  ``weight``: of the next fit, (n,).
    ``outcome``: of the last fit, None before the first.
    """

    state: State
    fit_problem: Problem
    weight: Float
    outcome: Outcome | None


def scale_data(problem: ScalingProblem, start: Start, settings: RoundSettings) -> Scaled:
    """Run the rounds and the last fit."""
    context, state = _begin(problem, start, settings)
    if not context.cold:
        # the stored scales are the result of an earlier run: decide with them first, as that run did, then fit
        state = _decide(context, state, 0)[0]
    rows, groups = GeometryView.of(problem.rows, context.chosen), problem.groups.subset(problem.selected)
    fit_problem = Problem.of(context.problem.model, rows, groups, problem.fixed)
    if state.shadowed.any():
        fit_problem = fit_problem.seen_from(~state.shadowed[context.chosen])
    loop = _Loop(state, fit_problem, _weights(context, state, first=context.cold), None)
    reports: list[RoundReport] = []
    converged = False
    for number in range(1, MOST_ROUNDS + 1):
        begin = perf_counter()
        loop = _with_fit_groups(context, loop, number)
        outcome, moved = _fit_round(context, loop, number)
        state, decided = _decide(context, moved, number)
        report = RoundReport(number, outcome, *decided, int(state.rejected.sum()), perf_counter() - begin)
        reports.append(report)
        log_round(report, len(problem.model.data_sets) > MANY_DATA_SETS)
        converged = (number > 1 or not context.cold) and _same(problem, loop.state, state)
        if state.shadowed.sum() != loop.state.shadowed.sum():
            # parameters without data must not change the means, which would move those with data
            loop = replace(loop, fit_problem=loop.fit_problem.seen_from(~state.shadowed[context.chosen]))
        loop = replace(loop, state=state, weight=_weights(context, state, first=False), outcome=outcome)
        if converged:
            break
    compared = compare_intensities(problem, loop.state, settings)
    if compared is not None:
        reports[-1] = replace(reports[-1], choice=compared)
    return _finish(context, loop, reports, converged)


def _begin(problem: ScalingProblem, start: Start, settings: RoundSettings) -> tuple[_Context, State]:
    """The values that are the same in all rounds, and the starting point."""
    rows, n_sets = problem.rows, len(problem.model.data_sets)
    # models of an earlier run, with its strengths, are a better start than no models
    model = problem.model if start.stored.all() else _supported(problem)
    held = model is not problem.model
    values = initial(rows, settings.intensity_choice)
    if start.i_mid is not None and settings.intensity_choice == "combine":
        values = combined(rows, start.i_mid)
    theta = start.theta
    nothing, blank = np.zeros(len(rows), bool), np.zeros(len(problem.groups))
    factors = starting_scales(rows, problem.groups, values.intensity, 1.0 / values.variance, n_sets)
    if not start.stored.all():
        if start.stored.any():
            # bring the new data sets to the scale of those with stored models
            g = model.evaluate(rows, theta, None)[0]
            n = np.maximum(np.bincount(rows.data_set, minlength=len(factors)), 1)
            mean = np.bincount(rows.data_set, g, len(factors)) / n
            factors = factors * float(np.median((mean / factors)[start.stored]))
        theta = _with_factors(model, problem.fixed, theta, np.where(start.stored, 1.0, factors))
    models = tuple(
        data_set if (around := MODELS[data_set.kind].around_start) is None else around(data_set, factor)
        for data_set, factor in zip(model.data_sets, factors.tolist(), strict=True)
    )
    chosen, others = np.flatnonzero(problem.selected), np.flatnonzero(~problem.selected)
    context = _Context(
        problem=replace(problem, model=replace(model, data_sets=models)),
        settings=settings,
        stored=start.rejected,
        cold=not start.stored.all(),
        held=held,
        chosen=chosen,
        others=others,
        beside=GeometryView.of(rows, others),
        shells=Shells.of(rows.d) if settings.outliers.emax and len(rows) else None,
    )
    scale = context.problem.model.evaluate(rows, theta, None)[0]
    state = State(
        theta=theta,
        scale=scale,
        values=values,
        gain=counting_gain(values, rows.data_set, n_sets, rows.d),
        mean_intensity=blank,
        variance=values.variance,
        errors=starting_models(problem.n_error_models, start.errors, settings.errors),
        i_mid=start.i_mid,
        rejected=nothing if start.rejected is None else start.rejected,
        returned=nothing,
        impossible=nothing,
        shadowed=nothing,
        fit_groups=problem.groups,
        strengths=start.strengths,
    )
    return context, with_scales(problem, first_intensities(problem, state, settings), theta, scale)


def _supported(problem: ScalingProblem) -> JointModel:
    """The model with the corrections for which there are enough repeated measurements; logs what is not fitted."""
    model, n_sets = problem.model, len(problem.model.data_sets)
    extra = int(np.count_nonzero(problem.selected)) - len(problem.groups.subset(problem.selected))
    if not model.estimated:
        return model
    if n_sets > 1 and extra < FEWEST_FOR_B * n_sets:
        text = f"Too few repeated measurements ({extra} for {n_sets} data sets): all data sets have the same B factor"
        warn(log, Code.TOO_FEW_REPEATS, text)
        model = without_decay(model)
    needed = max(FEWEST_EXTRA * min(n_sets, ENOUGH_SETS), FEWEST_OF_ALL)
    if extra < needed:
        text = f"Too few repeated measurements ({extra}; {needed} needed): nothing is fitted but one constant for each "
        warn(log, Code.TOO_FEW_REPEATS, text + "correction")
        model = held_back(model)
    return model


def _with_fit_groups(context: _Context, loop: _Loop, number: int) -> _Loop:
    """The loop with the final groups of the fit; they are determined once, when the difference of mates is known."""
    state = loop.state
    if not state.strengths or state.fit_groups_known or (number != 2 and context.cold):
        return loop
    groups = fit_groups(_outlier_inputs(context, state), state.rejected)
    state = replace(state, fit_groups=groups, fit_groups_known=True)
    fit_problem = loop.fit_problem.regrouped(groups.subset(context.problem.selected))
    return _Loop(state, fit_problem, _weights(context, state, first=False), loop.outcome)


def _fit_round(context: _Context, loop: _Loop, number: int) -> tuple[Outcome, State]:
    """The fit of a round, and the state with its scales."""
    settings = _round_fit(context.settings.fit, context.cold and number == 1)
    # the weights of the first round are not yet those of the error model
    outcome = _fit(context, loop, settings, loop.outcome if number > 2 else None)
    scale = np.empty(len(context.problem.rows))
    scale[context.chosen] = loop.fit_problem.design.scales(outcome.theta, None)[0]
    scale[context.others] = context.problem.model.evaluate(context.beside, outcome.theta, None)[0]
    state = replace(loop.state, strengths=outcome.strengths)
    return outcome, with_scales(context.problem, state, outcome.theta, scale)


def _finish(context: _Context, loop: _Loop, reports: list[RoundReport], converged: bool) -> Scaled:
    """The last fit with the final choices, and the uncertainties that follow from it."""
    problem, settings = context.problem, context.settings
    exact = replace(settings.fit, first_order=not settings.fit.full_matrix)
    for _ in range(MOST_FITS):
        outcome = _fit(context, loop, exact, loop.outcome)
        if context.held:  # parameters are held on purpose, so do not report them as undetermined
            outcome = replace(outcome, undetermined=())
        last = ending(problem, settings, loop.state, outcome)
        if not last.few or nearly_equal(loop.state.errors, last.state.errors):
            break
        loop = replace(loop, state=last.state, weight=_weights(context, last.state, first=False), outcome=outcome)
    log_trend(last)
    if last.errors:
        reports[-1] = replace(reports[-1], errors=last.errors)
    state, scale_variance = last.state, last.scale_variance
    variance, at_observed = variances_to_write(problem, loop.fit_problem, last)
    summaries: tuple[ComponentSummary, ...] = ()
    if outcome.effective_dof is not None:
        design, of = loop.fit_problem.design, loop.fit_problem.rows.data_set
        summaries = component_summaries(
            problem.model, design, of, outcome.theta, outcome.effective_dof, outcome.strengths
        )
    expected = state.scale * problem.groups.spread(state.mean_intensity)
    findings = () if state.profiles is None else profile_findings(state.profiles, problem.rows, expected)
    return Scaled(
        state, outcome, scale_variance, variance, at_observed, tuple(reports), converged, summaries, findings
    )  # fmt: skip


def _with_factors(model: JointModel, fixed: Bool, theta: Float, factors: Float) -> Float:
    """Multiply each data set's scale (its first component that is a factor) by its starting factor."""
    theta = theta.copy()
    for d, data_set in enumerate(model.data_sets):
        for c, component in enumerate(data_set.components):
            where = model.where(d, c)
            if not component.exponential and component.offset == 0.0:
                if not fixed[where].any():
                    theta[where] *= factors[d]
                break
    return theta


def _weights(context: _Context, state: State, first: bool) -> Float:
    """Weights in the fit, (n,).  ``first``: before the first fit residuals are divided by their median."""
    robust = Robust.of_fit(bool(state.strengths), context.settings.outliers.zmax)
    weight = fit_weights(expectation(context.problem, state), state.rejected, state.fit_groups, robust, first)
    weight[state.impossible] = 0.0
    return weight


def _round_fit(settings: FitSettings, cold: bool) -> FitSettings:
    """L-BFGS, in the metric of a normal matrix that several rounds share: near the minimum a few steps are enough.

    ``cold``: nothing is known about the errors yet, so strengths are not estimated. If errors are too small,
    corrections follow noise, the error model is fitted to residuals that are too small, and no later round would
    recover.
    """
    tolerance = ROUND_TOLERANCE * settings.tolerance
    estimate = settings.full_matrix and not cold
    return replace(settings, first_order=True, full_matrix=False, estimate=estimate, esds=False, tolerance=tolerance)


def _fit(context: _Context, loop: _Loop, settings: FitSettings, near: Outcome | None) -> Outcome:
    """Fit with weight zero for outliers, so that the design does not change.  ``near``: an earlier round's fit."""
    state, chosen = loop.state, context.chosen
    intensity, weight = state.values.intensity[chosen], loop.weight[chosen]
    return fit(loop.fit_problem, state.theta, intensity, weight, settings, state.strengths, near)


def _decide(context: _Context, state: State, number: int) -> tuple[State, _Verdicts]:
    """Intensities, error model and outliers with the present scales.  ``number``: of the round, 0 before the first.

    Each of the three uses the new result of those before it.
    """
    problem, settings = context.problem, context.settings
    theta, scale = state.theta, state.scale
    before = state
    fresh, refit = number <= FRESH_ROUNDS, number <= RATIO_ROUNDS
    state, choice = decide_intensities(problem, state, settings, fresh, refit)
    if state is not before:
        state = with_scales(problem, state, theta, scale)
    results: tuple[FitResult, ...] = ()
    if settings.errors:
        results = fit_errors(problem, state, settings.errors)
        state = replace(state, errors=tuple(result.model for result in results))
        state = with_scales(problem, state, theta, scale)
    rejection, n_wilson = None, 0
    if settings.outliers.method:
        history = OutlierHistory(state.rejected, state.returned, state.impossible)
        calibrated = bool(state.strengths and settings.errors and settings.errors.refine)
        inputs, memory = _outlier_inputs(context, _calibrated(context, state)), _memory(number)
        judgement = judge_round(inputs, settings.outliers, history, memory, calibrated, context.stored, state.shadowed)
        rejection, n_wilson, now = judgement.rejection, judgement.n_impossible, judgement.history
        if calibrated and number <= FRESH_ROUNDS:
            # a shadowed observation stays rejected: once it is left out of the fit, the test can no longer
            # recognise the shadow
            response = low_response(problem.model, problem.rows, theta, PENUMBRA)
            shadow = state.shadowed | shadowed(problem.rows, inputs.expected, now.rejected, response)
            state, now = replace(state, shadowed=shadow), now.with_impossible(shadow)
        state = replace(state, rejected=now.rejected, returned=now.returned, impossible=now.impossible)
        state = with_scales(problem, state, theta, scale)
    return state, (choice, results, rejection, n_wilson, int(state.shadowed.sum()))


def _calibrated(context: _Context, state: State) -> State:
    """The state with errors for the outlier test; if the user wants no error model, one is fitted for this test alone.

    With limits in units of uncalibrated errors, hundreds of good observations of strong reflections would be rejected.
    """
    if context.settings.errors:
        return state
    fits = fit_errors(context.problem, state, ErrorModelOptions(min_photons=MIN_PHOTONS))
    errors = tuple(result.model for result in fits)
    return with_scales(context.problem, replace(state, errors=errors), state.theta, state.scale)


def _memory(number: int) -> Memory:
    """Influence of earlier outliers in this round."""
    if number <= FRESH_ROUNDS:
        return Memory.NONE
    return Memory.NO_RETURN if number > RETURNING_ROUNDS else Memory.ONE_RETURN


def _outlier_inputs(context: _Context, state: State) -> OutlierInputs:
    problem = context.problem
    shells = context.shells or Shells.of(problem.rows.d)
    return OutlierInputs(expectation(problem, state), problem.epsilon, shells)


def _same(problem: ScalingProblem, old: State, new: State) -> bool:
    """Whether a round left intensities, error models, outliers and I_h as they were, as far as the result shows it."""
    changed = old.rejected != new.rejected
    if (
        old.i_mid != new.i_mid
        or np.count_nonzero(changed) > SAME_VERDICTS * len(new.rejected)
        or not nearly_equal(old.errors, new.errors)
    ):
        return False
    share = np.where(new.rejected, 0.0, new.scale**2 / new.variance)
    moved = (new.mean_intensity - old.mean_intensity) ** 2 * problem.groups.sum(share)
    counted = problem.groups.sum(changed.astype(np.float64)) == 0
    return hardly_moved(moved[counted])


def hardly_moved(moved: Float) -> bool:
    """Whether a round left merged intensities as they were.  ``moved``: squares of z, (n,)."""
    return not len(moved) or bool(moved.mean() <= SAME_INTENSITIES**2 and moved.max() <= SAME_INTENSITY**2)
