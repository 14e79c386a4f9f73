"""Shadows on the detector: found as a whole, whatever the intensities, and nothing else taken for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braggscale.data.observations import GeometryCopy
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool
from braggscale.weighting.expected_variance import Expectation, VarianceModel, expect
from braggscale.weighting.shadow_test import shadowed

N_GROUPS, MULTIPLICITY, SIDE = 3000, 5, 1000.0


def observed(response: float, seed: int = 1) -> tuple[GeometryCopy, Expectation, Bool]:
    """Observations of which those in a corner, 15 % of either side, have ``response``; which these are, (n,)."""
    rng = np.random.default_rng(seed)
    n = N_GROUPS * MULTIPLICITY
    groups = Groups.of_sizes(np.full(N_GROUPS, MULTIPLICITY))
    xyz = np.column_stack((rng.uniform(0.0, SIDE, (n, 2)), np.zeros(n)))
    corner = (xyz[:, 0] < 0.15 * SIDE) & (xyz[:, 1] > 0.85 * SIDE)
    truth = groups.spread(rng.exponential(300.0, N_GROUPS))
    sigma = np.sqrt(truth + 30.0)
    intensity = truth * np.where(corner, response, 1.0) + rng.normal(0.0, sigma)
    model = VarianceModel.constant(intensity, sigma**2)
    nothing = np.zeros(n, np.bool_)
    mean, variance = expect(model, np.ones(n), nothing, groups)
    zeros = np.zeros((n, 3))
    rows = GeometryCopy(np.zeros(n, np.int32), rng.uniform(1.0, 3.0, n), xyz, zeros, zeros)
    return rows, Expectation(model, np.ones(n), variance, mean, groups, groups), corner


@pytest.mark.parametrize("response", [0.0, 0.15])
def test_a_shadow_is_left_out_as_a_whole(response: float) -> None:
    rows, expected, corner = observed(response)
    found = shadowed(rows, expected, np.zeros(len(corner), np.bool_))
    assert found[corner].mean() > 0.85
    # beside it no more than the cells that its edge crosses
    assert found[~corner].mean() < 0.01
    weak = corner & (expected.mu < 30.0)
    assert found[weak].mean() > 0.85


@pytest.mark.parametrize("response", [0.6, 1.0])
def test_a_correction_is_no_shadow(response: float) -> None:
    rows, expected, corner = observed(response)
    assert not shadowed(rows, expected, np.zeros(len(corner), np.bool_)).any()


def test_the_edge_of_a_shadow_goes_with_it() -> None:
    rows, _, corner = observed(1.0)
    x, y = rows.xyz[:, 0] / SIDE, rows.xyz[:, 1] / SIDE
    edge = ~corner & (x < 0.18) & (y > 0.82)
    response = np.where(corner, 0.0, np.where(edge, 0.55, 1.0))
    truth = np.random.default_rng(4).exponential(300.0, N_GROUPS).repeat(MULTIPLICITY)
    groups, n = Groups.of_sizes(np.full(N_GROUPS, MULTIPLICITY)), len(corner)
    sigma = np.sqrt(truth + 30.0)
    model = VarianceModel.constant(truth * response + np.random.default_rng(6).normal(0.0, sigma), sigma**2)
    nothing = np.zeros(n, np.bool_)
    mean, variance = expect(model, np.ones(n), nothing, groups)
    given = Expectation(model, np.ones(n), variance, mean, groups, groups)
    found = shadowed(rows, given, nothing)
    assert found[corner].mean() > 0.85 and found[edge].mean() > 0.6
    alone = Expectation(
        VarianceModel.constant(truth * np.where(corner | edge, 0.55, 1.0), sigma**2),
        np.ones(n),
        variance,
        mean,
        groups,
        groups,
    )
    assert not shadowed(rows, alone, nothing).any()


def test_a_map_that_has_bent_into_a_shadow_does_not_hide_it() -> None:
    rows, expected, corner = observed(0.3)
    response = np.where(corner, 0.3, 1.0)
    nothing = np.zeros(len(corner), np.bool_)
    mean, variance = expect(expected.variance_model, response, nothing, expected.groups)
    bent = replace(expected, scale=response, variance=variance, mean_intensity=mean)
    assert not shadowed(rows, bent, nothing).any()
    found = shadowed(rows, bent, nothing, response)
    assert found[corner].mean() > 0.85 and found[~corner].mean() < 0.01
    # a response that no detector has is still no shadow if it is moderate, as of polarisation that nobody corrected for
    rows, expected, corner = observed(0.6)
    response = np.where(corner, 0.6, 1.0)
    mean, variance = expect(expected.variance_model, response, nothing, expected.groups)
    bent = replace(expected, scale=response, variance=variance, mean_intensity=mean)
    assert not shadowed(rows, bent, nothing, response).any()


def test_single_outliers_are_no_shadow() -> None:
    rows, expected, corner = observed(1.0)
    intensity = expected.variance_model.intensity.copy()
    intensity[np.random.default_rng(5).random(len(intensity)) < 0.1] = 0.0
    model = VarianceModel.constant(intensity, expected.variance)
    groups = expected.groups
    mean, variance = expect(model, np.ones(len(corner)), np.zeros(len(corner), np.bool_), groups)
    given = Expectation(model, np.ones(len(corner)), variance, mean, groups, groups)
    assert not shadowed(rows, given, np.zeros(len(corner), np.bool_)).any()


@pytest.mark.parametrize("multiplicity", [2, 5])
def test_outliers_among_weak_reflections_make_no_shadow(multiplicity: int) -> None:
    """Where nothing else is strong, at high angle, the others of a group with one strong outlier look dark."""
    rng = np.random.default_rng(7)
    n = 2 * 15_000
    groups = Groups.of_sizes(np.full(n // multiplicity, multiplicity))
    radius = SIDE * groups.spread(np.sqrt(rng.uniform(0.0, 0.25, len(groups))))
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    xyz = np.column_stack((radius * np.cos(angle), radius * np.sin(angle), np.zeros(n)))
    truth = groups.spread(rng.exponential(1.0, len(groups))) * np.where(radius < 0.2 * SIDE, 300.0, 3.0)
    sigma = np.sqrt(truth + 30.0)
    wrong = rng.random(n) < 0.01
    intensity = truth + rng.normal(0.0, sigma) + np.where(wrong, rng.uniform(100.0, 1000.0, n), 0.0)
    model, one = VarianceModel.constant(intensity, sigma**2), np.ones(n)
    # of more than two equivalents the one that is wrong is found before
    out = wrong if multiplicity > 2 else np.zeros(n, np.bool_)
    mean, variance = expect(model, one, out, groups)
    rows = GeometryCopy(np.zeros(n, np.int32), SIDE / radius, xyz, np.zeros((n, 3)), np.zeros((n, 3)))
    assert not shadowed(rows, Expectation(model, one, variance, mean, groups, groups), out).any()


def test_data_that_disagree_everywhere_are_no_shadow() -> None:
    """As when half of the crystals are indexed in another way: every intensity is that of another reflection."""
    rows, expected, corner = observed(1.0)
    rng = np.random.default_rng(5)
    intensity = rng.exponential(300.0, len(corner))
    model = VarianceModel.constant(intensity, intensity + 30.0)
    nothing = np.zeros(len(corner), np.bool_)
    mean, variance = expect(model, np.ones(len(corner)), nothing, expected.groups)
    other = Expectation(model, np.ones(len(corner)), variance, mean, expected.groups, expected.groups)
    assert not shadowed(rows, other, nothing).any()
