"""A data set whose scale is wrong by a factor of a million is left out; one in other units of intensity is not."""

from __future__ import annotations

import numpy as np

from braggscale.scaling.conclusion import MOST_APART, too_small

SETS = np.repeat([0, 1, 2], [50, 40, 30]).astype(np.int32)


def test_units_may_differ() -> None:
    g = np.where(SETS == 1, 1e4, np.where(SETS == 2, 1e-4, 1.0))
    assert not too_small(g, SETS, 1e-3).any()


def test_a_data_set_a_million_times_off_is_left_out() -> None:
    for off in (10 * MOST_APART, 0.1 / MOST_APART):
        g = np.where(SETS == 2, off, np.linspace(0.8, 1.2, 120))
        np.testing.assert_array_equal(too_small(g, SETS, 1e-3), SETS == 2)


def test_common_units_do_not_matter() -> None:
    g = np.linspace(0.8, 1.2, 120)
    for unit in (1e-12, 1.0, 1e12):
        assert not too_small(g * unit, SETS, 1e-3).any()


def test_single_scales_far_off_in_their_data_set() -> None:
    g = np.linspace(0.8, 1.2, 120)
    g[[3, 77]] = 1e-4, 1e8
    np.testing.assert_array_equal(np.flatnonzero(too_small(g, SETS, 1e-3)), [3, 77])
