"""Fits in which some or all parameters keep their values."""

from __future__ import annotations

import numpy as np
import pytest

from braggscale.fit.restraint_strengths import Inverse


@pytest.mark.parametrize("free", [[], [1], [0, 2, 3], [0, 1, 2, 3, 4]])
def test_a_part_of_the_inverse_is_zero_for_fixed_parameters(free: list[int]) -> None:
    n = 5
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, n))
    normal = x.T @ x
    places = np.array(free, np.int64)
    inverse = Inverse.of(normal[np.ix_(places, places)].copy(), places, n)
    assert inverse is not None
    whole = np.zeros((n, n))
    whole[np.ix_(places, places)] = np.linalg.inv(normal[np.ix_(places, places)])
    for where in (slice(0, n), slice(1, 4), np.array([0, 2, 4])):
        np.testing.assert_allclose(inverse.part(where), whole[where][:, where], rtol=1e-9, atol=1e-12)
