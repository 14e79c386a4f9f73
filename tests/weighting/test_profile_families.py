"""Ratios of many families at once are those of each family alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from test_profile_scale import bent, found, recorded

from braggscale.numerics.array_types import Float, Int
from braggscale.numerics.partitions import threads
from braggscale.weighting.profile_ratio import Sites, fitted_differences
from braggscale.weighting.profile_scale import OWN_ROWS, ProfileScale, Sample


def _columns(rng: np.random.Generator, n: int) -> Float:
    t = np.exp(rng.uniform(0.0, 9.0, n))
    return np.stack((rng.uniform(20.0, 60.0, n), t, t**2))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_variances_of_families_side_by_side(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    columns = _columns(rng, int(offsets[-1]))
    truth = rng.uniform(0.0, 2.0, (len(sizes), 3)) * [1.0, 0.5, 1e-3] * (rng.random((len(sizes), 3)) < 0.7)
    square = (truth.repeat(sizes, axis=0).T * columns).sum(axis=0) * rng.standard_normal(int(offsets[-1])) ** 2
    start = np.tile([1.0, 0.0, 9e-4], (len(sizes), 1))
    together = fitted_differences(start, square, columns, offsets)
    for k, (a, b) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        alone = fitted_differences(start[:1], square[a:b], columns[:, a:b], np.array([0, b - a]))
        np.testing.assert_allclose(together[k], alone[0], rtol=1e-9, atol=1e-15)
    assert (together >= 0.0).all()
    assert (together[np.array(sizes) == 0] == start[0]).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_last_iteration_is_least_squares_without_negative_coefficients(seed: int) -> None:
    """Where the fit stands still it solves the weighted problem that scipy solves."""
    rng = np.random.default_rng(seed)
    columns = _columns(rng, 400)
    square = (np.array([1.0, 0.2, 1e-3]) * rng.integers(0, 2, 3)) @ columns * rng.standard_normal(400) ** 2 + 1.0
    offsets = np.array([0, 400])
    found = np.array([[1.0, 0.0, 9e-4]])
    for _ in range(4):
        found = fitted_differences(found, square, columns, offsets)
    model = found[0] @ columns
    z2 = square / model
    weight = np.sqrt(z2 < max(16.0, 50.0 * float(np.median(z2)))) / model
    size = np.sqrt((columns**2 * weight**2).sum(axis=1))
    wanted = lsq_linear((columns / size[:, None] * weight).T, square * weight, (0.0, np.inf)).x / size
    np.testing.assert_allclose(found[0] @ columns, np.maximum(wanted, [0.01, 0.0, 0.0]) @ columns, rtol=0.02)


def _three_sets(seed: int) -> tuple[ProfileScale, Sites, Float]:
    rows = recorded(seed)
    of: Int = np.repeat(np.arange(3), len(rows) // 3)
    level = np.array([0.1, -0.2, 0.05])[of]
    profiles = found(bent(rows, np.exp(level)), of.astype(np.int32), 3)
    return profiles.scale, Sites.of(rows), level


def test_threads_change_nothing() -> None:
    results = []
    for n in (1, 3):
        with threads(n):
            scale, sites, level = _three_sets(3)
            results.append(
                scale.log_ratio(Sites(np.repeat(np.arange(3), len(sites) // 3), sites.d, sites.xyz, sites.partiality))
            )
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - level).mean() < 0.01


def test_sample_takes_every_kth_row_of_each_family() -> None:
    counts = [3 * OWN_ROWS, 10, 2 * OWN_ROWS, 60, 0]
    data_set = np.random.default_rng(4).permutation(np.repeat(np.arange(5), counts)).astype(np.int32)
    usable = np.ones(len(data_set), np.bool_)
    sample = Sample.of(data_set, usable, 5)
    assert [family.tolist() for family in sample.families] == [[0], [2], [1, 3]]
    for k, family in enumerate(sample.families):
        mine = sample.rows[sample.offsets[k] : sample.offsets[k + 1]]
        assert np.isin(data_set[mine], family).all() and (np.diff(mine) > 0).all()
    # too few small rows: they have no ratio
    few = Sample.of(data_set, data_set != 3, 5)
    assert [family.tolist() for family in few.families] == [[0], [2]]
    assert not np.isin(data_set[few.rows], [1, 3]).any()
