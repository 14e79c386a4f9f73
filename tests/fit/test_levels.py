"""Penalties on levels of many data sets, computed without their matrix, equal those with the matrix."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.fit.restraint_strengths import Inverse, traces
from braggscale.fit.restraints import Restraints
from braggscale.models.restraints import MeanPenalty, Restraint


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_levels_act_as_their_matrix(seed: int, sizes: list[int], one: bool, some_fixed: bool) -> None:
    rng = np.random.default_rng(seed)
    k = sum(sizes)
    n = k + 7
    rows = [rng.standard_normal(size) for size in sizes]
    penalty = MeanPenalty.one(np.concatenate(rows)) if one else MeanPenalty.about_mean(rows)
    where = np.sort(rng.permutation(n)[:k])
    as_levels = Restraint(penalty, 2.5, kind="level", rank=1)
    as_matrix = Restraint(penalty.dense(), 2.5, kind="level", rank=1)
    root = rng.standard_normal((n, n))
    normal = root @ root.T + np.eye(n)

    matrices = []
    for restraint in (as_levels, as_matrix):
        matrices.append(normal.copy())
        Restraints([(where, restraint)]).add_matrix(matrices[-1])
    np.testing.assert_allclose(matrices[0], matrices[1], rtol=1e-12, atol=1e-12)

    free = np.arange(1, n) if some_fixed else np.arange(n)
    inverse = Inverse.of(normal[np.ix_(free, free)], free, n)
    assert inverse is not None
    found, wanted = (traces([(where, restraint)], inverse)["level"] for restraint in (as_levels, as_matrix))
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-12)
