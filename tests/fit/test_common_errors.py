"""Errors that merged intensities share with scales, against the inverse of the whole normal matrix."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from braggscale.data.unique_reflections import Groups
from braggscale.fit.common_errors import inflation
from braggscale.models.design import Design


def constants(data_set: np.ndarray, exponential: bool) -> Design:
    """One factor for each data set: theta or exp(theta)."""
    n = len(data_set)
    zero, one = np.zeros((1, 1), np.int32), np.ones((1, 1), np.int32)
    return Design(
        basis=np.ones((n, 1)),
        start=data_set[:, None].astype(np.int32),
        family=np.zeros(n, np.int32),
        columns=zero,
        component_ptr=np.array([[0, 1]], np.int32),
        dense=np.array([-1], np.int32),
        exponential=one if exponential else zero,
        offset=np.zeros((1, 1)),
        block=np.full(n, -1, np.int32),
        blocks=(),
    )


@given(st.integers(0, 10**6), st.booleans())
def test_as_in_the_inverse_of_the_whole_matrix(seed, exponential):
    rng = np.random.default_rng(seed)
    n_sets, groups = 8, Groups.of_sizes(rng.integers(1, 5, size=6))
    n, h = groups.n_rows, groups.index()
    data_set = rng.integers(n_sets, size=n)
    theta = rng.uniform(-0.5, 0.5, n_sets) if exponential else rng.uniform(0.5, 2.0, n_sets)
    mean = rng.uniform(10.0, 1000.0, len(groups))
    variance, written = rng.uniform(1.0, 100.0, (2, n))
    g = (np.exp(theta) if exponential else theta)[data_set]

    jacobian = np.zeros((n, len(groups) + n_sets))
    jacobian[np.arange(n), h] = g
    jacobian[np.arange(n), len(groups) + data_set] = mean[h] * (g if exponential else 1.0)
    normal = jacobian.T @ (jacobian / variance[:, None])
    normal[len(groups) :, len(groups) :] += 1e3 * np.eye(n_sets)  # restraint of the scales
    whole = np.linalg.inv(normal)

    covariance = whole[len(groups) :, len(groups) :]
    design = constants(data_set, exponential)
    factor = inflation(design, theta, covariance, groups, g**2 / variance, g**2 / written, mean)
    merged = 1.0 / groups.sum(g**2 / written)
    expected = np.maximum(whole.diagonal()[: len(groups)], merged)
    np.testing.assert_allclose(factor * merged, expected, rtol=1e-8)


def test_reflections_without_rows_keep_their_variances():
    groups = Groups.of_sizes(np.array([2, 1]))
    design = constants(np.array([0, 1, 0]), exponential=False)
    weight = np.array([1.0, 1.0, 0.0])
    covariance = np.eye(2)
    factor = inflation(design, np.ones(2), covariance, groups, weight, weight, np.array([5.0, 7.0]))
    assert factor[1] == 1.0 and factor[0] > 10.0
