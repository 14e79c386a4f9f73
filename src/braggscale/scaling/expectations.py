"""What a state expects: variances at the expected intensities, and error models that agree with the residuals."""

from __future__ import annotations

from dataclasses import replace

from braggscale.numerics.array_types import Float
from braggscale.scaling.state import ScalingProblem, State
from braggscale.weighting.error_model import ErrorModelOptions, FitResult
from braggscale.weighting.error_model_fit import fit_error_models
from braggscale.weighting.expected_variance import Expectation, VarianceModel, expect


def variance_model(problem: ScalingProblem, state: State) -> VarianceModel:
    """V' of every row as a function of its expected intensity."""
    return VarianceModel.of(state.values, state.gain, problem.rows.data_set, state.errors, problem.error_model_of)


def expectation(problem: ScalingProblem, state: State) -> Expectation:
    """V' and I_h of the state with the groups to which they belong."""
    return Expectation(
        variance_model(problem, state),
        state.scale,
        state.variance,
        state.mean_intensity,
        problem.groups,
        problem.friedel_split,
    )


def with_scales(problem: ScalingProblem, state: State, theta: Float, scale: Float) -> State:
    """The state with new scales: I_h from observations that are not rejected, V' from I_h.

    ``theta``: (n_parameters,).  ``scale``: g, (n,).
    """
    mean_intensity, variance = expect(variance_model(problem, state), scale, state.rejected, problem.groups)
    return replace(state, theta=theta, scale=scale, mean_intensity=mean_intensity, variance=variance)


def fit_errors(
    problem: ScalingProblem, state: State, options: ErrorModelOptions, scale_variance: Float | None = None
) -> tuple[FitResult, ...]:
    """Error models that agree with the residuals.  ``scale_variance``: var(g), (n,), if it is known."""
    given = expectation(problem, state)
    of = problem.error_model_of
    return fit_error_models(given, state.rejected, state.errors, of, options, scale_variance, problem.still)
