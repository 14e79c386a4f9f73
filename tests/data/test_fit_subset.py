"""The choice of observations for the fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.fit_subset import (
    FEW_ROWS,
    Draw,
    Limits,
    Pool,
    intensity_ranges,
    quasi_random,
    random,
    select,
    use_all,
)
from braggscale.data.unique_reflections import Groups

NO_LIMITS = Limits((-np.inf, np.inf), (-np.inf, 0.0), None, -1.0)


def pool(n_groups=200, n_data_sets=3, seed=0, largest=6, **changes):
    """Random groups of random data sets with I/sigma about 10."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, largest + 1, n_groups)
    n = int(sizes.sum())
    variance = rng.uniform(50, 200, n)
    made = Pool(
        groups=Groups(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)),
        data_set=rng.integers(0, n_data_sets, n).astype(np.int32),
        n_data_sets=n_data_sets,
        intensity=rng.normal(10, 8, n) * np.sqrt(variance),
        variance=variance,
        d=np.repeat(rng.uniform(1.0, 5.0, n_groups), sizes),
        partiality=rng.uniform(0.9, 1.0, n),
    )
    return replace(made, **changes)


def naive_candidates(p, limits):
    """The rules, one row at a time."""
    rows_of = np.bincount(p.data_set, minlength=p.n_data_sets)
    good = []
    for k in range(len(p.data_set)):
        ratio = p.intensity[k] / np.sqrt(p.variance[k])
        ok = p.allowed is None or p.allowed[k]
        if p.e2 is not None and rows_of[p.data_set[k]] > FEW_ROWS:
            ok = ok and limits.e2_range[0] < p.e2[k] < limits.e2_range[1]
        ok = ok and ratio > limits.isigma_range[0]
        ok = ok and (limits.isigma_range[1] == 0 or ratio < limits.isigma_range[1])
        ok = ok and p.partiality[k] > limits.min_partiality
        if limits.d_range is not None:
            ok = ok and limits.d_range[0] < p.d[k] < limits.d_range[1]
        good.append(bool(ok))
    out = np.array(good)
    for a, b in zip(p.groups.offsets[:-1], p.groups.offsets[1:], strict=True):
        if out[a:b].sum() < 2:
            out[a:b] = False
    return out


def check_report(p, result):
    assert sum(s.usable for s in result.shares) == len(p.data_set)
    for s in result.shares:
        parts = (s.not_allowed, s.e2, s.i_over_sigma, s.partiality, s.d, s.single, s.not_drawn, s.chosen)
        assert sum(parts) == s.usable
        assert s.chosen == (result.mask & (p.data_set == s.data_set)).sum()
    members = p.groups.sum(result.mask)
    assert result.n_groups == (members > 0).sum()
    assert not (members == 1).any()


LIMITS = st.builds(
    Limits,
    st.sampled_from([(0.8, 5.0), (0.1, 2.0)]),
    st.sampled_from([(-5.0, 0.0), (2.0, 0.0), (3.0, 12.0)]),
    st.sampled_from([None, (1.5, 3.0)]),
    st.sampled_from([0.0, 0.95]),
)


@given(LIMITS, st.integers(0, 10_000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_intensity_ranges_by_the_definition(limits, seed, some_are_outliers):
    rng = np.random.default_rng(seed)
    p = pool(n_groups=60, seed=seed)
    allowed = rng.random(len(p.data_set)) > 0.2 if some_are_outliers else None
    p = replace(p, e2=rng.exponential(1.0, len(p.data_set)), allowed=allowed)
    result = intensity_ranges(p, limits)
    np.testing.assert_array_equal(result.mask, naive_candidates(p, limits))
    check_report(p, result)


def test_e2_only_for_large_data_sets():
    n = 2 * FEW_ROWS + 1
    offsets = np.append(np.arange(0, n - 1, 2), n).astype(np.int64)
    few = np.arange(n) < FEW_ROWS
    p = Pool(
        groups=Groups(offsets),
        data_set=np.where(few, 0, 1).astype(np.int32),
        n_data_sets=2,
        intensity=np.full(n, 100.0),
        variance=np.ones(n),
        d=np.full(n, 2.0),
        partiality=np.ones(n),
        e2=np.full(n, 0.5),
    )
    result = intensity_ranges(p, Limits())
    np.testing.assert_array_equal(result.mask, few)
    assert [s.e2_applies for s in result.shares] == [False, True]
    assert [s.e2 for s in result.shares] == [0, FEW_ROWS + 1]
    assert result.empty == (1,)
    assert intensity_ranges(replace(p, e2=None), Limits()).mask.all()


def test_groups_of_one_say_nothing():
    p = pool(largest=2)
    result = use_all(p)
    single = p.groups.spread(p.groups.sizes() == 1)
    np.testing.assert_array_equal(result.mask, ~single)
    assert sum(s.single for s in result.shares) == single.sum()
    check_report(p, result)


def test_nothing_was_measured_twice():
    p = pool(largest=1)
    for method in ("use_all", "intensity_ranges", "random", "quasi_random"):
        result = select(method, p, Limits())
        assert not result.mask.any()
        assert "nothing to fit" in result.warnings[-1]
        assert result.empty == (0, 1, 2)


def test_unknown_method():
    with pytest.raises(ValueError, match="no such selection method: foo"):
        select("foo", pool(), Limits())


def whole_groups(p, mask, candidates):
    taken = p.groups.sum(mask)
    return ((taken == 0) | (taken == p.groups.sum(candidates))).all()


@pytest.mark.parametrize("n_data_sets", [1, 3])
def test_random_draws_whole_groups(n_data_sets):
    p = pool(n_data_sets=n_data_sets)
    limits = Limits(min_partiality=0.91)
    result = random(p, limits, Draw(min_groups=20, min_reflections=10))
    assert result.n_groups == 20
    assert whole_groups(p, result.mask, naive_candidates(p, limits))
    assert (result.mask <= naive_candidates(p, limits)).all()
    check_report(p, result)
    again = random(p, limits, Draw(min_groups=20, min_reflections=10))
    np.testing.assert_array_equal(result.mask, again.mask)
    by_rows = random(p, limits, Draw(min_groups=1, min_reflections=200))
    assert 150 < by_rows.mask.sum() < 250
    everything = random(p, limits, Draw())
    if n_data_sets == 1:
        np.testing.assert_array_equal(everything.mask, naive_candidates(p, limits))


def test_cutoff_on_groups_is_lowered_where_nothing_passes():
    p = pool()
    weak = replace(p, intensity=np.where(p.intensity > 0, 0.5, -0.1) * np.sqrt(p.variance))
    for choose in (random, quasi_random):
        result = choose(weak, NO_LIMITS, Draw())
        assert result.warnings == ("No group of equivalent reflections has a mean I/sigma above 1.",)
        assert result.mask.any()
        negative = replace(p, intensity=-np.abs(p.intensity))
        result = choose(negative, NO_LIMITS, Draw())
        assert len(result.warnings) == 2
        np.testing.assert_array_equal(result.mask, naive_candidates(negative, NO_LIMITS))


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(5, 300), st.integers(10, 3000))
@settings(max_examples=40, deadline=None)
def test_quasi_random(seed, n_data_sets, min_groups, min_reflections):
    p = pool(400, n_data_sets, seed, partiality=np.ones(1))
    p = replace(p, partiality=np.random.default_rng(seed).uniform(0.9, 1.0, len(p.data_set)))
    limits = Limits(min_partiality=0.92)
    result = quasi_random(p, limits, Draw(min_groups, min_reflections, 1.0))
    candidates = naive_candidates(p, limits)
    assert (result.mask <= candidates).all()
    check_report(p, result)
    ratio = np.where(candidates, p.intensity / np.sqrt(p.variance), 0.0)
    sizes = p.groups.sum(candidates)
    qualify = (sizes > 1) & (p.groups.sum(ratio) / np.maximum(sizes, 1) > 1.0)
    assert not result.mask[~p.groups.spread(qualify)].any()
    mean = sizes[sizes > 1].mean()
    wanted = max(mean * min_groups, min_reflections)
    available = int(sizes[qualify].sum())
    if available <= wanted:
        # With so few data all rows of qualifying groups are used, as DIALS does for l-cysteine.
        assert result.mask.sum() >= 0.7 * available
    else:
        assert result.mask.sum() >= 0.4 * min(wanted, available)
    for shell in result.shells:
        assert shell.d_max > shell.d_min
    again = quasi_random(p, limits, Draw(min_groups, min_reflections, 1.0))
    np.testing.assert_array_equal(result.mask, again.mask)


def test_quasi_random_uses_all_when_more_is_wanted_than_there_is():
    p = pool(300, 4)
    result = quasi_random(p, Limits((0, 1), (-5, 0), None, 0.0), Draw())
    candidates = naive_candidates(p, Limits((0, 1), (-5, 0), None, 0.0))
    sizes = p.groups.sum(candidates)
    mean = p.groups.sum(np.where(candidates, p.intensity / np.sqrt(p.variance), 0)) / np.maximum(sizes, 1)
    np.testing.assert_array_equal(result.mask, candidates & p.groups.spread((sizes > 1) & (mean > 1.0)))


def test_quasi_random_connects_every_data_set():
    """Two data sets that hardly meet: the few common groups must be taken."""
    n_groups = 2000
    alone = np.arange(n_groups) % 40 != 0
    members = [[k % 2, k % 2] if a else [0, 1] for k, a in enumerate(alone)]
    n = 2 * n_groups
    p = Pool(
        groups=Groups(np.arange(0, n + 1, 2)),
        data_set=np.concatenate(members).astype(np.int32),
        n_data_sets=2,
        intensity=np.full(n, 100.0),
        variance=np.ones(n),
        d=np.repeat(np.random.default_rng(1).uniform(1.0, 5.0, n_groups), 2),
        partiality=np.ones(n),
    )
    result = quasi_random(p, Limits(), Draw(min_groups=200, min_reflections=100))
    common = ~p.groups.spread(alone)
    assert result.mask[common].mean() > 0.8
    assert 300 < result.mask.sum() < 700
    assert len(result.shells) == 20
    assert all(s.chosen > 0 and s.smallest > 0 for s in result.shells)


def test_single_data_set_is_drawn_at_random():
    p = pool(n_data_sets=1)
    draw = Draw(min_groups=20, min_reflections=10)
    np.testing.assert_array_equal(quasi_random(p, Limits(), draw).mask, random(p, Limits(), draw).mask)


def test_many_small_data_sets():
    p = pool(3000, 800, largest=8)
    result = quasi_random(p, NO_LIMITS, Draw(min_groups=500, min_reflections=1000))
    check_report(p, result)
    share = np.array([s.chosen for s in result.shares])
    assert (share > 0).mean() > 0.9
    assert result.mask.sum() < len(p.data_set)


def test_an_empty_pool():
    nothing = np.zeros(0)
    p = Pool(Groups.from_keys(nothing), nothing.astype(np.int32), 2, nothing, nothing, nothing, nothing)
    for method in ("use_all", "intensity_ranges", "random", "quasi_random"):
        assert select(method, p, Limits()).empty == (0, 1)
