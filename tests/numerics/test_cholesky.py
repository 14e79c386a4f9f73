"""Inverse roots of positive definite matrices, whole and in strips."""

import numpy as np
import pytest

from braggscale.numerics import cholesky
from braggscale.numerics.partitions import threads


def test_a_matrix_and_its_transpose_are_added_up_in_strips(monkeypatch):
    monkeypatch.setattr("braggscale.numerics.cholesky.STRIP", 16)
    matrix = np.random.default_rng(1).normal(size=(50, 50))
    both = matrix + matrix.T
    with threads(2):
        cholesky.add_transposed(matrix)
    assert np.array_equal(matrix, both)


@pytest.mark.parametrize("small, strip", [(400, 256), (10, 256), (10, 16), (1, 5)])
def test_roots_of_whole_and_divided_matrices(monkeypatch, small, strip):
    rng = np.random.default_rng(4)
    root = rng.normal(size=(50, 70))
    normal = root @ root.T * np.outer(scale := 10.0 ** rng.uniform(-2, 2, 50), scale)
    before, inverse = normal.copy(), np.linalg.inv(normal)
    monkeypatch.setattr("braggscale.numerics.cholesky.SMALL", small)
    monkeypatch.setattr("braggscale.numerics.cholesky.STRIP", strip)
    results = []
    for n in (1, 2):
        with threads(n):
            results.append(cholesky.inverse_root(normal))
    assert np.array_equal(*results)
    x = rng.normal(size=50)
    assert cholesky.times(results[0], x) == pytest.approx(results[0] @ x, rel=1e-12)
    assert cholesky.times_transposed(results[0], x) == pytest.approx(results[0].T @ x, rel=1e-12)
    assert cholesky.square(results[0]) == pytest.approx(inverse, rel=1e-8)
    assert not np.triu(results[0], 1).any()
    assert np.array_equal(normal, before)
    assert cholesky.inverse_root(normal, overwrite=True) == pytest.approx(results[0], rel=1e-12)
    assert cholesky.inverse_root(before - 2.0 * np.diag(np.diag(before))) is None
    assert cholesky.inverse_root(before - 1e3 * np.eye(50)) is None
