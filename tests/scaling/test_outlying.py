"""Which values are outliers among those of many data sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggscale.scaling.outlying import FEWEST, standing_out


@pytest.mark.parametrize("far", [1.0, 5.0])
def test_a_value_far_from_the_others_is_found(far):
    values = np.append(np.random.default_rng(0).normal(0, 0.1, 40), far)
    assert standing_out(values, 0.5).tolist() == [False] * 40 + [True]


def test_small_differences_do_not_matter_and_equal_values_have_no_outliers():
    values = np.append(np.zeros(40), 0.1)
    assert not standing_out(values, 0.5).any() and not standing_out(np.zeros(20), 0.0).any()


def test_few_values_and_unknown_ones_are_none():
    assert not standing_out(np.append(np.zeros(FEWEST - 2), 9.0), 0.5).any()
    values = np.append(np.zeros(20), np.nan)
    assert not standing_out(values, 0.5)[-1]


@given(st.integers(0, 200), st.floats(-50, 50))
def test_a_common_shift_changes_nothing(seed, shift):
    values = np.random.default_rng(seed).standard_t(1.5, 30)
    np.testing.assert_array_equal(standing_out(values, 0.5), standing_out(values + shift, 0.5))
