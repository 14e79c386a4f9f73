"""Scales each data set against a reference by itself, as if there were no other data set.

The true intensities are those of the reference, so nothing connects the data sets: scales, errors, outliers and
uncertainties of each follow from its own observations. The results are the same whether data sets are scaled in
several batches or all at once, and the time is proportional to their number.

With I_h = I_ref fixed, the parameters of one data set minimise sum w (I - g I_ref)^2 and the restraints, with w = 1/V',

    V' = a^2 (V(mu) + (b mu)^2),     mu = g I_ref,

where b is given or DEFAULT_B, and a follows from the median of the squared deviations. Observations that deviate by
more than zmax of these errors are outliers. Fit, a, and outliers are repeated until the outliers stay the same.

Each observation forms a group with a copy of the reference intensity, whose weight is so large that it determines the
mean. So the solvers for unknown intensities (fit/) can be used here, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.observations import GeometryCopy, rows_by_data_set
from braggscale.data.unique_reflections import Groups, weighted_mean
from braggscale.fit.fit_scales import Outcome, fit
from braggscale.fit.problem import Problem
from braggscale.models import MODELS
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.joint_model import JointModel
from braggscale.models.smooth import Smooth
from braggscale.numerics.array_types import Array, Bool, Float, Int
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.normal import MEDIAN_CHI2
from braggscale.scaling.reference import FIXED, FIXED_ERROR, Beside, ReferenceFit, compared, first_of
from braggscale.scaling.state import RoundSettings, Scaled, ScalingProblem, Start, State
from braggscale.weighting.counting_gain import CountingGain
from braggscale.weighting.error_model import DEFAULT_B, ErrorModel
from braggscale.weighting.intensity_choice import Intensities, initial

# Most fits of one data set, and the least number of observations for a fit; with fewer, the scale is a ratio of sums.
MOST_FITS, FEWEST = 6, 10
LEAST_A, LARGEST_A = 0.5, 10.0


@dataclass(frozen=True, slots=True)
class _Alone:
    """One data set: rows in its own order, (n,), parameters, (n_parameters,)."""

    outcome: Outcome
    scale: Float
    scale_variance: Float
    variance: Float
    observed_variance: Float
    rejected: Bool
    error: ErrorModel


def scale_one_by_one(
    problem: ScalingProblem, start: Start, settings: RoundSettings, both: Beside, selected: Bool
) -> tuple[Scaled, ReferenceFit]:
    """Scale each data set against the reference alone.

    ``problem``: of all observations; its models have no common parameters, and each data set has its own error model.
    ``selected``: rows of observations and reference that may take part in a fit, (n,).
    """
    n_sets = len(problem.model.data_sets)
    rows_of_set = rows_by_data_set(problem.rows.data_set, n_sets)
    values = initial(problem.rows, settings.intensity_choice)
    reference, level = _reference_of(both)
    chosen = selected[both.own]
    parts = [
        _alone(problem, start, settings, (d, rows), (values, reference, level, chosen))
        for d, rows in enumerate(rows_of_set)
    ]
    scaled = _together(problem, parts, rows_of_set, values)
    state = scaled.state
    scale_of_both = np.ones(len(both.own))
    scale_of_both[both.own] = state.scale
    q = np.zeros(int(both.shell.max()) + 1)
    return scaled, compared(_as_both(state, both, scale_of_both), both, q, FIXED)


def _reference_of(both: Beside) -> tuple[Float, Float]:
    """Reference intensity of each observation, NaN where there is none, and the mean in its shell, (n,) each."""
    groups = both.groups
    there = groups.sum(~both.own)
    total = groups.sum(np.where(both.own, 0.0, both.data.rows.i_sum))
    value = np.divide(total, there, out=np.full(len(groups), np.nan), where=there > 0)
    return groups.spread(value)[both.own], both.mean[both.own]


def _alone(
    problem: ScalingProblem,
    start: Start,
    settings: RoundSettings,
    which: tuple[int, Int],
    everything: tuple[Intensities, Float, Float, Bool],
) -> _Alone:
    """Scale one data set.  ``which``: its number and its rows.  ``everything``: intensities of all rows."""
    d, rows = which
    values, reference, level, chosen = everything
    own = problem.model.data_sets[d]
    slot = problem.model.where(d, 0)
    intensity, ref = values.intensity[rows], reference[rows]
    relative = values.relative[rows] if len(values.relative) else np.zeros(len(rows))
    counting = np.maximum(values.variance[rows] - relative * intensity**2, 1e-6 * values.variance[rows])
    use = np.flatnonzero(chosen[rows] & np.isfinite(ref))
    factor = _ratio(intensity[use], ref[use], values.variance[rows][use])
    around = MODELS[own.kind].around_start
    pair = JointModel.of([own if around is None else around(own, factor), _REFERENCE])
    n_own = pair.n_parameters - 1
    theta = np.append(start.theta[slot.start : slot.start + n_own], 1.0)
    if not start.stored[d]:
        theta = _times(pair, theta, factor)
    fixed = np.append(problem.fixed[slot.start : slot.start + n_own], True)
    b = settings.errors.b if settings.errors is not None and settings.errors.b is not None else DEFAULT_B
    geometry = replace(GeometryCopy.of(problem.rows, rows), data_set=np.zeros(len(rows), np.int32))
    rejected, a = np.zeros(len(rows), bool), 1.0
    known = np.nan_to_num(ref)
    fits = Problem.of(pair, _paired(geometry, use), Groups.of_sizes(np.full(len(use), 2)), fixed) if len(use) else None
    outcome = Outcome(theta, None, (), (), 0, 0)
    for number in range(MOST_FITS):
        scale, spread = pair.evaluate(geometry, outcome.theta, outcome.covariance)
        mu = np.maximum(scale * known, 0.0)
        error = counting + relative * mu**2 + (b * mu) ** 2
        z2 = (intensity - mu)[use] ** 2 / error[use]
        if settings.errors is not None and len(use) >= FEWEST:
            keep = ~rejected[use]
            a = float(np.clip(np.sqrt(np.median(z2[keep]) / MEDIAN_CHI2), LEAST_A, LARGEST_A)) if keep.any() else a
        new = np.zeros(len(rows), bool)
        if settings.outliers.method:
            new[use] = z2 > (settings.outliers.zmax * a) ** 2
        if fits is None or len(use) < FEWEST or (number > 1 and np.array_equal(new, rejected)):
            break
        rejected = new
        weight = np.where(new[use], 0.0, 1.0 / (a * a * error[use]))
        of_reference = (FIXED_ERROR * np.maximum(ref[use], 0.01 * level[rows][use])) ** -2.0
        outcome = fit(
            fits, outcome.theta, _alternate(intensity[use], ref[use]), _alternate(weight, of_reference),
            replace(settings.fit, first_order=not settings.fit.full_matrix), {},
        )  # fmt: skip
    variance = a * a * error
    observed = a * a * (counting + (relative + b * b) * np.maximum(intensity, 0.0) ** 2)
    covariance = None if outcome.covariance is None else first_of(outcome.covariance, n_own)
    outcome = replace(outcome, theta=outcome.theta[:n_own], covariance=covariance, effective_dof=None)
    outcome = replace(outcome, undetermined=tuple(p for p in outcome.undetermined if p < n_own))
    return _Alone(outcome, scale, spread, variance, observed, rejected, ErrorModel(a, b))


_REFERENCE = DataSetModel("KB", (Smooth("scale", ()),), {})


def _ratio(intensity: Float, reference: Float, variance: Float) -> float:
    """Starting value of K, a positive ratio of sums, with the weights for errors proportional to the reference."""
    weight = 1.0 / (variance + (0.3 * np.maximum(reference, 0.0)) ** 2 * _rough(intensity, reference) ** 2)
    above, below = float(np.sum(weight * intensity * reference)), float(np.sum(weight * reference**2))
    return above / below if above > 0 and below > 0 else _rough(intensity, reference)


def _rough(intensity: Float, reference: Float) -> float:
    above, below = float(np.maximum(intensity, 0).sum()), float(np.maximum(reference, 0).sum())
    return above / below if above > 0 and below > 0 else 1.0


def _times(model: JointModel, theta: Float, factor: float) -> Float:
    """Parameters, (n,), with the scale of the first data set multiplied by a factor."""
    theta = theta.copy()
    for c, component in enumerate(model.data_sets[0].components):
        if not component.exponential and component.offset == 0.0:
            theta[model.where(0, c)] *= factor
            break
    return theta


def _paired(geometry: GeometryCopy, use: Int) -> GeometryCopy:
    """The geometry of the rows ``use``, (n,), each followed by its reference, (2 n,)."""
    twice = GeometryCopy.of(geometry, np.repeat(use, 2))
    return replace(twice, data_set=np.tile(np.array([0, 1], np.int32), len(use)))


def _alternate(first: Float, second: Float) -> Float:
    """Alternately a value of the first and of the second, (2 n,)."""
    result: Float = np.column_stack((first, second)).ravel()
    return result


def _together(problem: ScalingProblem, parts: list[_Alone], rows_of_set: list[Int], values: Intensities) -> Scaled:
    """The results of all data sets in one."""

    def rows_of(values_of_set: list[Array]) -> Array:
        """Values of the rows of every data set in the order of all rows."""
        result = np.empty(len(problem.rows), values_of_set[0].dtype)
        for rows, own in zip(rows_of_set, values_of_set, strict=True):
            result[rows] = own
        return result

    n_sets, nothing = len(parts), np.zeros(len(problem.rows), bool)
    scale, variance = rows_of([one.scale for one in parts]), rows_of([one.variance for one in parts])
    rejected = rows_of([one.rejected for one in parts])
    weight = np.where(rejected | (scale <= 0), 0.0, 1.0 / variance)
    outcome = _outcome([one.outcome for one in parts])
    state = State(
        theta=outcome.theta,
        scale=scale,
        values=values,
        gain=CountingGain(np.zeros(n_sets), np.zeros(n_sets), np.zeros(n_sets, np.int64), np.zeros(n_sets, bool), {}),
        mean_intensity=weighted_mean(problem.groups, weight, scale, values.intensity)[0],
        variance=variance,
        errors=tuple(one.error for one in parts),
        i_mid=None,
        rejected=rejected,
        returned=nothing,
        impossible=nothing,
        shadowed=nothing,
        fit_groups=problem.groups,
        fit_groups_known=True,
    )
    spread = rows_of([one.scale_variance for one in parts])
    x = np.divide(values.intensity, scale, out=np.zeros(len(scale)), where=scale > 0)
    of_scale = x * x * spread
    observed = rows_of([one.observed_variance for one in parts])
    return Scaled(state, outcome, spread, variance + of_scale, observed + of_scale, (), True)


def _outcome(outcomes: list[Outcome]) -> Outcome:
    covariance = None
    known = [one.covariance for one in outcomes if one.covariance is not None]
    if len(known) == len(outcomes):
        starts = np.concatenate(([0], np.cumsum([len(c) for c in known]))).astype(np.int64)
        covariance = BlockMatrix(starts, np.concatenate([c.part(slice(0, len(c))).ravel() for c in known]))
    first = np.cumsum([0, *(len(one.theta) for one in outcomes)])
    undetermined = tuple(int(first[d]) + p for d, one in enumerate(outcomes) for p in one.undetermined)
    n, groups = sum(one.n_observations for one in outcomes) // 2, sum(one.n_groups for one in outcomes)
    return Outcome(np.concatenate([one.theta for one in outcomes]), covariance, (), undetermined, n, groups)


def _as_both(state: State, both: Beside, scale: Array) -> Scaled:
    """The state with rows of the reference among the observations; only what a comparison needs is filled in."""
    own = both.own
    n = len(own)
    intensity, variance, rejected = both.data.rows.i_sum.copy(), np.ones(n), np.zeros(n, bool)
    intensity[own], variance[own], rejected[own] = state.values.intensity, state.variance, state.rejected
    whole = replace(
        state,
        scale=scale,
        values=Intensities(intensity, variance, np.ones(n)),
        variance=variance,
        rejected=rejected,
    )
    return Scaled(whole, Outcome(state.theta, None, (), (), 0, 0), np.zeros(n), variance, variance, (), True)
