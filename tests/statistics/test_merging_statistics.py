import json
import logging
import math
import re
from dataclasses import fields, replace

import gemmi
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging_samples import CELL, P212121, observations, statistics
from scipy.stats import pearsonr, t

from braggscale.data.geometry import inverse_d_squared
from braggscale.data.index_order import sort_order
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.statistics import half_sets
from braggscale.statistics.merging import weighted_means
from braggscale.statistics.merging_statistics import Unmerged, inside_limits, merging_statistics, shell_limits
from braggscale.statistics.resolution_limit import suggest_limit
from braggscale.statistics.shell_statistics import Shell

# Entries that depend on which random halves are drawn.
RANDOM = {"cc_half", "cc_anom", "cc_half_significant", "cc_anom_significant"}


def assert_equal_shells(first, second, rtol=1e-9, but=frozenset()):
    for field in fields(Shell):
        if field.name not in but:
            a, b = getattr(first, field.name), getattr(second, field.name)
            np.testing.assert_allclose(a, b, rtol=rtol, err_msg=field.name)


def test_agrees_with_loops():
    hkl, x, sigma = observations()
    asu, minus = P212121.asu(hkl)
    overall = statistics(hkl, x, sigma).overall
    groups = naive.members(asu, x, sigma)
    plus = naive.members(asu[~minus], x[~minus], sigma[~minus])
    mates = naive.members(asu[minus], x[minus], sigma[minus])
    friedel_split = {(*k, 0): v for k, v in plus.items()} | {(*k, 1): v for k, v in mates.items()}
    assert (overall.n_obs, overall.n_unique) == (len(x), len(groups))
    assert overall.multiplicity == pytest.approx(len(x) / len(groups))
    assert (overall.r_merge, overall.r_meas, overall.r_pim) == pytest.approx(naive.r_factors(groups))
    separate = (overall.r_merge_apart, overall.r_meas_apart, overall.r_pim_apart)
    assert separate == pytest.approx(naive.r_factors(friedel_split))
    assert overall.anomalous_multiplicity == pytest.approx(len(x) / len(friedel_split))
    means = [naive.mean(group) for group in groups.values()]
    assert overall.mean_intensity == pytest.approx(np.mean([m for m, _ in means]))
    assert overall.mean_i_over_sigma == pytest.approx(np.mean([m / s for m, s in means]))
    assert overall.cc_half_analytic == pytest.approx(naive.cc_half_analytic(groups))
    expected = naive.anomalous(plus, mates)
    assert (overall.r_anom, overall.df_f, overall.di_over_sigma, overall.anomalous_slope) == pytest.approx(expected)


def test_shells_agree_with_statistics_of_their_rows():
    hkl, x, sigma = observations()
    found = statistics(hkl, x, sigma, n_bins=5)
    s = inverse_d_squared(hkl, CELL)
    limits = shell_limits(s, 5)
    assert sum(shell.n_obs for shell in found.shells) == found.overall.n_obs == len(x)
    assert sum(shell.n_unique for shell in found.shells) == found.overall.n_unique
    for i, shell in enumerate(found.shells):
        rows = (s >= limits[i]) & (s < limits[i + 1])
        alone = statistics(hkl[rows], x[rows], sigma[rows]).overall
        # possible reflections between the shell's limits and between those of its data can differ
        assert_equal_shells(shell, alone, but={"d_max", "d_min", "completeness", "anomalous_completeness"} | RANDOM)
        assert (shell.d_max, shell.d_min) == pytest.approx((limits[i] ** -0.5, limits[i + 1] ** -0.5))


def test_shells_have_equal_volumes():
    limits = shell_limits(np.array([0.001, 0.25, 0.1]), 20)
    np.testing.assert_allclose(np.diff(limits**1.5), np.diff(limits**1.5)[0], rtol=1e-4)
    assert limits[0] < 0.001 and limits[-1] > 0.25
    assert (shell_limits(np.array([0.04]), 3) > 0).all()


@pytest.mark.parametrize("name", ["P 1 21 1", "P 21 21 21", "P 42 21 2", "P 3 2 1", "P -1"])
def test_agrees_with_gemmi(name):
    group = gemmi.SpaceGroup(name)
    symmetry = Symmetry.from_hall(group.hall)
    hkl, x, sigma = observations(seed=3, symmetry=symmetry)
    cell = {"P 42 21 2": (20, 20, 30, 90, 90, 90), "P 3 2 1": (20, 20, 30, 90, 90, 120)}.get(name, CELL)
    data = gemmi.Intensities()
    data.set_data(gemmi.UnitCell(*cell), group, hkl, x, sigma)
    data.prepare_for_merging(gemmi.DataType.Mean)
    overall = statistics(hkl, x, sigma, symmetry, cell).overall
    (weighted,) = data.calculate_merging_stats(None, use_weights="X")
    assert (overall.n_obs, overall.n_unique) == (weighted.all_refl, weighted.unique_refl)
    factors = (weighted.r_merge(), weighted.r_meas(), weighted.r_pim())
    assert (overall.r_merge, overall.r_meas, overall.r_pim) == pytest.approx(factors)
    (plain,) = data.calculate_merging_stats(None, use_weights="U")
    assert overall.cc_half_analytic == pytest.approx(plain.cc_half())
    merged = data.merged(gemmi.DataType.Mean)
    assert overall.mean_intensity == pytest.approx(merged.value_array.mean())
    assert overall.mean_i_over_sigma == pytest.approx((merged.value_array / merged.sigma_array).mean())


def test_random_halves_have_the_mean_of_single_divisions_and_scatter_less(monkeypatch):
    hkl, x, sigma = observations(n=900, noise=0.5)
    asu, minus = P212121.asu(hkl)
    groups = naive.members(asu, x, sigma)
    single = [naive.cc_half(groups, seed) for seed in range(100)]
    plus, mates = (naive.members(asu[rows], x[rows], sigma[rows]) for rows in (~minus, minus))
    single_anomalous = [naive.cc_anomalous(plus, mates, seed) for seed in range(100)]
    half, anomalous = [], []
    for seed in range(20):
        monkeypatch.setattr(half_sets, "_SEED", seed)
        overall = statistics(hkl, x, sigma).overall
        half.append(overall.cc_half)
        anomalous.append(overall.cc_anom)
    for ours, theirs in ((half, single), (anomalous, single_anomalous)):
        assert np.std(ours) < 0.7 * np.std(theirs)
        error = math.hypot(np.std(theirs) / 10, np.std(ours) / math.sqrt(20))
        assert abs(np.mean(ours) - np.mean(theirs)) < 4 * error


def test_halves_are_equal_in_number_and_complementary():
    groups = Groups(np.array([0, 2, 5, 11]))
    x = 2.0 ** np.arange(11)
    seen = set()
    for first, second in half_sets._halves(groups, np.ones(11), x):
        sizes = []
        for k, (a, b) in enumerate(zip(groups.offsets[:-1], groups.offsets[1:], strict=True)):
            # sums of different powers of two say which rows are inside
            possible = [n for n in range(1, b - a) if bin(round(first[k] * n) >> int(a)).count("1") == n]
            n = next(n for n in possible if first[k] * n + second[k] * (b - a - n) == x[a:b].sum())
            sizes.append(n)
            seen.add((k, round(first[k] * n)))
        assert sizes[0] == 1 and sizes[1] in (1, 2) and sizes[2] == 3
    assert len(seen) > 2 + 3 + 6


def test_weights_of_any_ratio_keep_the_statistics_finite():
    hkl, x, sigma = observations(n=600)
    wild = sigma * 10.0 ** np.random.default_rng(0).integers(-12, 12, len(sigma))
    overall = statistics(hkl, x, wild).overall
    assert all(math.isfinite(value) for value in (overall.cc_half, overall.r_meas, overall.mean_i_over_sigma))
    assert abs(overall.cc_half) <= 1


def test_equal_rows_give_the_same_answer_twice():
    rows = observations()
    assert statistics(*rows) == statistics(*rows)


@given(st.integers(0, 1000), st.floats(0.01, 100.0), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_order_scale_and_equivalent_indices_change_nothing(seed, factor, operation):
    hkl, x, sigma = observations(n=300, seed=seed)
    before = statistics(hkl, x, sigma, n_bins=3)
    order = np.random.default_rng(seed).permutation(len(x))
    moved = hkl[order] @ P212121.rotations[operation].astype(np.int32)
    after = statistics(moved, factor * x[order], factor * sigma[order], n_bins=3)
    for a, b in zip((before.overall, *before.shells), (after.overall, *after.shells), strict=True):
        assert b.mean_intensity == pytest.approx(factor * a.mean_intensity)
        assert_equal_shells(replace(a, mean_intensity=0.0), replace(b, mean_intensity=0.0), but=RANDOM, rtol=1e-7)


def test_scale_and_equivalent_indices_leave_the_halves_alone():
    hkl, x, sigma = observations()
    before = statistics(hkl, x, sigma).overall
    after = statistics(hkl @ P212121.rotations[1].astype(np.int32), 4 * x, 4 * sigma).overall
    assert_equal_shells(replace(before, mean_intensity=0.0), replace(after, mean_intensity=0.0))


def test_friedel_mates_only_change_sides():
    hkl, x, sigma = observations()
    before, after = statistics(hkl, x, sigma).overall, statistics(-hkl, x, sigma).overall
    assert_equal_shells(before, after, but=RANDOM)


def test_centrosymmetric_groups_have_no_anomalous_signal():
    symmetry = Symmetry.from_hall("-P 2ac 2ab")
    found = statistics(*observations(symmetry=symmetry), symmetry)
    assert not found.anomalous
    assert math.isnan(found.overall.r_anom) and math.isnan(found.overall.anomalous_completeness)
    assert found.overall.r_merge == found.overall.r_merge_apart
    assert found.to_dict()["overall"]["cc_anom"] is None


def test_perfect_data():
    hkl, x, _ = observations(noise=0.0)
    asu, _ = P212121.asu(hkl)
    truth = 1000.0 + 13 * asu[:, 0] + 7 * asu[:, 1] + 3 * asu[:, 2]
    overall = statistics(hkl, truth, np.ones(len(x))).overall
    assert overall.r_meas == pytest.approx(0, abs=1e-12)
    assert overall.cc_half == pytest.approx(1) and overall.cc_half_significant
    assert overall.cc_half_analytic == pytest.approx(1)


def test_pure_noise():
    hkl, _, _ = observations(n=4000)
    found = [
        statistics(hkl, np.random.default_rng(seed).normal(size=len(hkl)), np.ones(len(hkl))).overall
        for seed in range(12)
    ]
    for name, expected in (("cc_half", 0), ("cc_half_analytic", 0), ("cc_anom", 0), ("anomalous_slope", 1)):
        values = [getattr(shell, name) for shell in found]
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / math.sqrt(len(values)), name
        assert np.std(values) < 0.1


def test_completeness():
    symmetry = P212121
    grid = np.stack(np.meshgrid(*[np.arange(-11, 12)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int32)
    s = inverse_d_squared(grid, CELL)
    grid = grid[(s > 0) & (s < 2.8**-2)]
    everything = statistics(grid, np.ones(len(grid)), np.ones(len(grid)))
    for shell in (everything.overall, *everything.shells):
        assert shell.completeness == 1.0
        assert shell.anomalous_completeness == 1.0
    present = grid[~symmetry.is_absent(grid)]
    half = statistics(present[present[:, 2] >= 0], *[np.ones(int((present[:, 2] >= 0).sum()))] * 2).overall
    assert half.completeness == 1.0
    asu, _ = symmetry.asu(present)
    unique = np.unique(asu, axis=0)
    some = np.concatenate((unique[::2], unique[:1], unique[-1:]))
    found = statistics(some, np.ones(len(some)), np.ones(len(some)), d_min=2.8).overall
    n, _ = symmetry.possible(CELL, found.d_min, found.d_max)
    assert found.completeness == pytest.approx(found.n_unique / n)
    assert found.anomalous_completeness == 0.0


def test_rows_without_a_usable_sigma_do_not_count(caplog):
    hkl, x, sigma = observations()
    bad = np.arange(len(x)) % 5 == 0
    broken = np.where(bad, np.resize([0.0, -1.0, np.nan, np.inf], len(x)), sigma)
    first = statistics(hkl, x, broken)
    assert first == statistics(hkl[~bad], x[~bad], sigma[~bad])
    with caplog.at_level(logging.WARNING):
        assert statistics(hkl, x, np.zeros(len(x))) is None
        assert (
            merging_statistics(Unmerged(np.zeros((0, 3), np.int32), np.zeros(0, bool), x[:0], x[:0], CELL, P212121))
            is None
        )
    assert "no observation with a positive sigma" in caplog.text


def test_resolution_limits_cut():
    hkl, x, sigma = observations()
    d = inverse_d_squared(hkl, CELL) ** -0.5
    rows = (d >= 3.0 - 1e-6) & (d <= 6.0 + 1e-6)
    cut = statistics(hkl, x, sigma, d_min=3.0, d_max=6.0)
    assert cut.overall == statistics(hkl[rows], x[rows], sigma[rows]).overall
    assert cut.overall.d_min == pytest.approx(3.0)  # 0 8 0, exactly on the limit
    assert cut.overall.d_max <= 6.0 + 1e-6
    assert cut.limit.d_min is None


def test_nothing_measured_twice():
    unique = np.unique(P212121.asu(observations()[0])[0], axis=0)
    overall = statistics(unique, np.full(len(unique), 5.0), np.ones(len(unique))).overall
    assert overall.multiplicity == 1.0 and overall.mean_i_over_sigma == pytest.approx(5.0)
    for name in ("r_merge", "r_meas", "r_pim", "cc_half", "cc_half_analytic", "r_anom", "cc_anom", "anomalous_slope"):
        assert math.isnan(getattr(overall, name)), name
    assert not overall.cc_half_significant


def test_one_observation():
    found = statistics(np.array([[1, 2, 3]], np.int32), np.ones(1), np.ones(1))
    assert (found.overall.n_obs, found.overall.n_unique) == (1, 1)
    assert sum(shell.n_obs for shell in found.shells) == 1
    assert found.overall.completeness == 1.0


def test_json_has_no_nan():
    found = statistics(*observations(n=100)).to_dict()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["overall"]["n_obs"] == 100
    assert type(found["overall"]["cc_half_significant"]) is bool


def test_merge():
    hkl, x, sigma = observations(n=500)
    asu, minus = P212121.asu(hkl)
    order = sort_order(asu, minus)
    groups = Groups.from_keys(asu[order])
    mean, external = weighted_means(groups, sigma[order] ** -2.0, x[order], groups.sizes(), internal=False)
    again, internal = weighted_means(groups, sigma[order] ** -2.0, x[order], groups.sizes(), internal=True)
    expected = naive.members(asu, x, sigma).values()
    np.testing.assert_allclose(mean, [naive.mean(group)[0] for group in expected])
    np.testing.assert_array_equal(mean, again)
    np.testing.assert_allclose(external, [naive.mean(group)[1] for group in expected])
    np.testing.assert_allclose(internal, [naive.internal_sigma(group) for group in expected])
    strict = statistics(hkl, x, sigma, use_internal_variance=True).overall
    assert strict.mean_i_over_sigma == pytest.approx(np.mean(mean / internal))
    assert strict.mean_i_over_sigma < statistics(hkl, x, sigma).overall.mean_i_over_sigma


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_correlation_by_shell(seed, n):
    rng = np.random.default_rng(seed)
    shell = rng.integers(0, n, 60)
    x = rng.normal(size=60)
    y = 0.5 * x + rng.normal(size=60)
    found = half_sets.correlation(x, y, shell, n)
    for i, rows in enumerate([shell == k for k in range(n)] + [np.ones(60, bool)]):
        if rows.sum() < 3:
            assert math.isnan(found[i])
        else:
            assert found[i] == pytest.approx(pearsonr(x[rows], y[rows]).statistic)


def test_critical_correlation():
    critical = half_sets.critical_correlation(np.array([0, 2, 3, 20, 1000]))
    assert np.isnan(critical[:2]).all()
    for n, r in zip((3, 20, 1000), critical[2:], strict=True):
        # the t value of that correlation has one chance in a hundred
        assert t.sf(r * math.sqrt((n - 2) / (1 - r * r)), n - 2) == pytest.approx(0.01)


def curve(s0, r, d_min):
    return 0.5 * (1 - np.tanh((np.asarray(d_min) ** -2.0 - s0) / r))


@pytest.mark.parametrize("s0, r", [(0.20, 0.05), (0.25, 0.08), (0.12, 0.02)])
def test_limit_is_where_the_curve_crosses(s0, r):
    d_min = (np.linspace(0.05, 0.35, 20)) ** -0.5
    limit = suggest_limit(d_min, curve(s0, r, d_min), [100] * 20)
    assert limit.d_min == pytest.approx((s0 + r * math.atanh(0.4)) ** -0.5, rel=1e-4)
    assert f"{limit.d_min:.2f}" in limit.reason


def test_limit_leaves_out_shells_without_pairs():
    d_min = (np.linspace(0.05, 0.35, 20)) ** -0.5
    cc, pairs = np.full(20, 0.99), np.full(20, 50)
    cc[-6:], pairs[-6:] = 0.0, [3, 2, 1, 1, 0, 0]
    assert suggest_limit(d_min, cc, pairs).d_min is None
    cc[-6:] = np.nan
    assert suggest_limit(d_min, cc, pairs).d_min is None


@pytest.mark.parametrize(
    "cc, pairs, reason",
    [
        ([0.9] * 20, [100] * 20, "above 0.3 in all shells"),
        ([np.nan] * 20, [100] * 20, r"too few resolution shells \(0\)"),
        ([0.1] * 20, [3] * 20, r"too few resolution shells \(0\)"),
        ([0.01] * 20, [100] * 20, "no limit suggested"),
        (list(np.linspace(0.1, 0.9, 20)), [100] * 20, "does not fall"),
        ([0.9] * 10 + [0.0] * 10, [100] * 20, "falls to 0.3 at"),
        ([0.0, 1.0] * 10, [100] * 20, ""),
    ],
)
def test_every_shape_of_the_curve_has_an_answer(cc, pairs, reason):
    d_min = (np.linspace(0.05, 0.35, 20)) ** -0.5
    limit = suggest_limit(d_min, cc, pairs)
    assert re.search(reason, limit.reason)
    assert limit.d_min is None or d_min[-1] < limit.d_min < d_min[0]


def test_suggested_limit_shows_in_the_summary():
    hkl, x, sigma = observations(n=6000)
    d = inverse_d_squared(hkl, CELL) ** -0.5
    rng = np.random.default_rng(9)
    x = np.where(d < 3.2, rng.normal(size=len(x)) * sigma, x)
    found = statistics(hkl, x, sigma)
    assert found.limit.d_min == pytest.approx(3.2, abs=0.15)
    assert list(found.summary()) == ["Suggested", "Low", "High", "Overall"]
    cut = statistics(hkl, x, sigma, d_min=found.limit.d_min)
    assert found.suggested == cut.overall
    assert (found.suggested_low, found.suggested_high) == (cut.shells[0], cut.shells[-1])
    assert list(cut.summary()) == ["Overall", "Low", "High"]
    assert found.to_dict()["suggested"]["d_min"] >= found.limit.d_min


@pytest.mark.parametrize(("d_min", "d_max"), [(1e-300, None), (None, 1e300), (1e-300, 1e300), (1e-200, 1e-190)])
def test_limits_whose_squares_overflow(d_min, d_max):
    s = np.array([0.0, 0.01, 4.0])
    assert inside_limits(s, d_min, d_max).tolist() == [False, d_max != 1e-190, d_max != 1e-190]
