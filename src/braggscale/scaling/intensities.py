"""The intensities of a round: profiles are put on the scale of the sums, and both are mixed.

The ratio of profiles to sums, the mixture and the scales depend on each other through the expected intensities, so all
are determined anew in each round. If the user has given a midpoint, or if too few observations have both intensities,
``intensity_choice`` decides.
"""

from __future__ import annotations

from dataclasses import replace

from braggscale.data.unique_reflections import mean_of_others, weighted_mean
from braggscale.numerics.array_types import Float
from braggscale.scaling.state import RoundSettings, ScalingProblem, State
from braggscale.weighting.counting_gain import counting_gain
from braggscale.weighting.intensity_choice import BEST, Choice, choose, combined, comparison
from braggscale.weighting.profile_mixture import Profiles


def first_intensities(problem: ScalingProblem, state: State, settings: RoundSettings) -> State:
    """The state with the intensities for the first fit, from its present intensities and scales."""
    if settings.intensity_choice != "combine":
        return state
    seen = problem.groups, 1.0 / state.values.variance, state.scale, state.values.intensity
    profiles = Profiles.of(problem.rows, mean_of_others(*seen), len(problem.model.data_sets))
    if profiles is None:
        return state
    state = replace(state, profiles=profiles)
    if settings.midpoints:
        return state if state.i_mid is None else _with_midpoint(problem, state, state.i_mid)
    return _mixed(problem, replace(state, i_mid=BEST), state.scale * problem.groups.spread(weighted_mean(*seen)[0]))


def decide_intensities(
    problem: ScalingProblem, state: State, settings: RoundSettings, fresh: bool, refit: bool
) -> tuple[State, Choice | None]:
    """The state with new intensities, and the comparison if the scatter of equivalents decided.

    ``fresh``: the mixture may change. In later rounds it is kept, because if errors, outliers and mixture depend
    strongly on each other, they might alternate.  ``refit``: the ratio of profiles to sums may change, too. It
    hardly does once the expected intensities come from fitted scales.
    """
    if settings.intensity_choice != "combine" or (state.i_mid == BEST and not fresh):
        return state, None
    profiles = state.profiles
    if profiles is not None and refit:
        keep = ~state.rejected & (state.scale > 0)
        others = mean_of_others(problem.groups, keep / state.variance, state.scale, state.values.intensity)
        profiles = profiles.again(problem.rows, others, keep)
    if profiles is not None and not settings.midpoints:
        expected = state.scale * problem.groups.spread(state.mean_intensity)
        return _mixed(problem, replace(state, profiles=profiles), expected), None
    moved = profiles is not state.profiles
    state = replace(state, profiles=profiles)
    rows = problem.rows if profiles is None else profiles.scaled(problem.rows)
    seen = state.scale, 1.0 / state.variance, state.rejected
    choice = choose(rows, problem.friedel_split, *seen, state.i_mid, settings.midpoints)
    if choice.i_mid == state.i_mid and not moved:
        return state, choice
    return _with_midpoint(problem, state, choice.i_mid), choice


def compare_intensities(problem: ScalingProblem, state: State, settings: RoundSettings) -> Choice | None:
    """Agreement of equivalents with the mixture, with profiles and with sums, if their scatter did not decide."""
    if state.profiles is None or settings.midpoints:
        return None
    rows = state.profiles.scaled(problem.rows)
    seen = state.scale, 1.0 / state.variance, state.rejected
    return comparison(rows, problem.friedel_split, *seen, state.values.intensity)


def _mixed(problem: ScalingProblem, state: State, expected: Float) -> State:
    """The state with the mixture of the least expected error.  ``expected``: g I_h, (n,)."""
    assert state.profiles is not None
    profiles, values = state.profiles.intensities(problem.rows, expected)
    gain = counting_gain(values, problem.rows.data_set, len(problem.model.data_sets), problem.rows.d)
    return replace(state, profiles=profiles, values=values, gain=gain)


def _with_midpoint(problem: ScalingProblem, state: State, i_mid: float) -> State:
    """The state with the mixture that has this midpoint."""
    rows = problem.rows if state.profiles is None else state.profiles.scaled(problem.rows)
    values = combined(rows, i_mid)
    gain = counting_gain(values, problem.rows.data_set, len(problem.model.data_sets), problem.rows.d)
    return replace(state, values=values, gain=gain, i_mid=i_mid)
