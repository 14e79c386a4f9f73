"""Outliers from round to round: what earlier verdicts count for; intensities that no crystal gives."""

from __future__ import annotations

import numpy as np
import pytest

from braggscale.data.normalised_intensities import Shells, normalised_intensities
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool
from braggscale.weighting.expected_variance import Expectation, VarianceModel
from braggscale.weighting.outlier_history import Memory, OutlierHistory, judge_round
from braggscale.weighting.outlier_test import OutlierOptions
from braggscale.weighting.rejection import OutlierInputs
from braggscale.weighting.wilson_test import impossible

ZMAX = 6.0
LIMITS = OutlierOptions("standard", ZMAX)
SPREAD = np.sqrt(1.25)  # of a row against four others of the same error


def five(z: float) -> OutlierInputs:
    """One group of five; the last member is ``z`` standard deviations away from the others."""
    i, one = np.array([10.0, 10.0, 10.0, 10.0, 10.0 + z * SPREAD]), np.ones(5)
    groups = Groups(np.array([0, 5]))
    given = Expectation(VarianceModel.constant(i, one), one, one, np.array([10.0]), groups, groups)
    return OutlierInputs(given, one, Shells.of(np.linspace(1.0, 2.0, 5)))


def last(mark: bool) -> Bool:
    return np.array([False, False, False, False, mark])


@pytest.mark.parametrize(
    ("memory", "z", "returned", "expected"),
    [
        (Memory.NONE, 5.9, False, False),
        (Memory.NONE, 6.1, False, True),
        (Memory.ONE_RETURN, 5.9, False, True),  # between 0.9 zmax and zmax the earlier verdict stands
        (Memory.ONE_RETURN, 5.3, False, False),
        (Memory.ONE_RETURN, 5.3, True, True),
        (Memory.NO_RETURN, 0.0, False, True),
    ],
)
def test_what_an_earlier_verdict_counts_for(memory: Memory, z: float, returned: bool, expected: bool) -> None:
    before = OutlierHistory(last(True), last(returned), last(False))
    found = judge_round(five(z), LIMITS, before, memory, calibrated=False).history
    np.testing.assert_array_equal(found.rejected, last(expected))
    came_back = memory is not Memory.NONE and not expected
    np.testing.assert_array_equal(found.returned, last(returned or came_back))


@pytest.mark.parametrize(("z", "stored", "expected"), [(5.95, True, True), (6.05, False, False), (5.8, True, False)])
def test_verdicts_of_an_earlier_run_stand_near_the_limit(z: float, stored: bool, expected: bool) -> None:
    before = OutlierHistory(last(False), last(False), last(False))
    found = judge_round(five(z), LIMITS, before, Memory.NONE, calibrated=False, stored=last(stored))
    np.testing.assert_array_equal(found.history.rejected, last(expected))


def test_impossible_intensities_are_outliers_and_counted_once() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    i, one, d = rng.exponential(100.0, n), np.ones(n), rng.uniform(1.0, 3.0, n)
    i[7] = 40_000.0
    groups = Groups(np.arange(n + 1))
    given = Expectation(VarianceModel.constant(i, one), one, one, i, groups, groups)
    nobody = np.zeros(n, np.bool_)
    found = judge_round(
        OutlierInputs(given, one, Shells.of(d)),
        OutlierOptions("standard", 6.0, 10.0),
        OutlierHistory(nobody, nobody, nobody),
        Memory.NONE,
        calibrated=False,
    )
    assert found.n_impossible == 1 and found.rejection.count == 0
    assert np.flatnonzero(found.history.impossible).tolist() == np.flatnonzero(found.history.rejected).tolist() == [7]


def test_impossible_intensities_are_those_with_a_large_normalised_one() -> None:
    rng = np.random.default_rng(4)
    n = 3000
    d, epsilon, g = rng.uniform(1.0, 3.0, n), rng.integers(1, 3, n).astype(float), rng.uniform(0.5, 2.0, n)
    i = g * rng.exponential(100.0, n)
    expected = normalised_intensities(i / g, d, epsilon) > 2.0**2
    assert 0 < expected.sum() < n
    np.testing.assert_array_equal(impossible(i, g, epsilon, Shells.of(d), 2.0), expected)
    assert not impossible(i, g, epsilon, Shells.of(d), None).any()
    # rows without a scale are not judged, and the others are judged as if these were not there
    g[:100] = 0.0
    found = impossible(i, g, epsilon, Shells.of(d), 2.0)
    assert not found[:100].any()
    np.testing.assert_array_equal(found[100:], impossible(i[100:], g[100:], epsilon[100:], Shells.of(d[100:]), 2.0))
