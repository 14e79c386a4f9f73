"""The binned numbers of scale.json against slow twins, invariances and planted truth."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.experiment import Beam, Crystal, Experiment, Goniometer, Panel, Scan
from braggscale.data.sorting import UsedDataSet
from braggscale.data.unique_reflections import Groups
from braggscale.models.curves import curve
from braggscale.models.smooth import Smooth, axis_over
from braggscale.report.numbers.by_part import growth
from braggscale.report.numbers.damage import MOST_PAIRS, _pairs, radiation_damage
from braggscale.report.numbers.errors import _fine, _histogram, _i_over_sigma, _normal_plot, _within, detector_map
from braggscale.report.numbers.image_bins import MOST_BINS, image_bins
from braggscale.report.numbers.intensities import _l_test, _moments, _wilson
from braggscale.report.numbers.json_numbers import column, rounded
from braggscale.report.numbers.models import _strongest
from braggscale.report.numbers.scaled_observations import Observed
from braggscale.report.summary_document import json_text
from braggscale.statistics.influence import SHELLS, Segments, influence
from braggscale.statistics.resolution_limit import fitted_curve, suggest_limit
from braggscale.weighting.leave_one_out import leave_one_out


def grouped(rng, n_groups, size=(1, 7)):
    sizes = rng.integers(*size, n_groups)
    return Groups(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))


# Errors -----------------------------------------------------------------------------------------------------


def test_the_map_of_signal_is_that_of_finite_values():
    """A model that is nearly zero, as on blank images, leaves no trace in it."""
    rng = np.random.default_rng(1)
    x = rng.exponential(1000.0, 500)
    plain = _i_over_sigma(x, np.sqrt(x))
    more = _i_over_sigma(np.append(x, [1e5, 1e9, 10.0]), np.append(np.sqrt(x), [np.nan, np.inf, 0.0]))
    assert plain == more and plain.log10_i_over_sigma[0] < plain.log10_i_over_sigma[1]


# Parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_cc_half_without_a_part(seed):
    rng = np.random.default_rng(seed)
    groups, n_parts = grouped(rng, 60), 5
    index = groups.index()
    x = rng.exponential(100, 60)[index] + rng.normal(0, 20, len(index))
    part = rng.integers(0, n_parts, len(index))
    s = rng.uniform(0.01, 1.0, 60)
    found = influence(x, groups, Segments.of(groups, part, n_parts), n_parts, s)
    shell = np.minimum((s - s.min()) * SHELLS / (s.max() - s.min()), SHELLS - 1).astype(int)
    everything = naive.mean_cc_half(x, index, shell)
    assert found.cc == pytest.approx(everything)
    for p in range(n_parts):
        keep = part != p
        assert found.delta[p] == pytest.approx(everything - naive.mean_cc_half(x[keep], index[keep], shell))


def test_a_part_that_does_not_belong_is_below_zero():
    rng = np.random.default_rng(1)
    groups = grouped(rng, 400, (6, 7))
    index = groups.index()
    truth = rng.exponential(100, 400)
    x = truth[index] * rng.normal(1, 0.03, len(index))
    part = np.tile(np.arange(6), 400)
    x[part == 3] = rng.permutation(x[part == 3])  # wrong indexing: the right values for the wrong reflections
    found = influence(x, groups, Segments.of(groups, part, 6), 6, rng.uniform(0.01, 1, 400))
    assert np.argmin(found.delta) == 3 and found.delta[3] < -0.1
    assert (np.delete(found.delta, 3) > found.delta[3]).all()
    assert np.argmin(found.cc_rest) == 3 and found.cc_rest[3] < 0.2


@given(st.floats(1e-3, 1e6), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_influence_does_not_depend_on_units_or_the_order_of_parts(factor, seed):
    rng = np.random.default_rng(seed)
    groups, n = grouped(rng, 40, (2, 6)), 4
    x = rng.exponential(50, 40)[groups.index()] + rng.normal(0, 5, groups.n_rows)
    part, s = rng.integers(0, n, groups.n_rows), rng.uniform(0.01, 1, 40)
    one = influence(x, groups, Segments.of(groups, part, n), n, s)
    other = influence(factor * x, groups, Segments.of(groups, n - 1 - part, n), n, s)
    np.testing.assert_allclose(one.delta, other.delta[::-1], atol=1e-9)


def test_growth_counts_what_was_seen():
    rng = np.random.default_rng(2)
    groups = grouped(rng, 50)
    part = rng.integers(0, 8, groups.n_rows)
    unique, observations = growth(groups, part, 8)
    index = groups.index()
    assert unique.tolist() == [len(set(index[part <= k].tolist())) for k in range(8)]
    assert observations.tolist() == [int((part <= k).sum()) for k in range(8)]


# Runs of images ---------------------------------------------------------------------------------------------


def member(first, last, still=False):
    beam, crystal = Beam(np.array([0.0, 0.0, 1.0]), 1.0), Crystal(np.eye(3), "P 1", (1, 1, 1, 90, 90, 90))
    goniometer = None if still else Goniometer(np.array([1.0, 0, 0]), np.eye(3), np.eye(3))
    scan = None if still else Scan((first, last), (0.0, 0.1))
    return UsedDataSet(0, None, Experiment("x", beam, crystal, goniometer, scan), None, np.zeros(0))


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3000)), min_size=1, max_size=30), st.integers(1, 10**7))
@settings(max_examples=60, deadline=None)
def test_every_image_is_in_one_bin(ranges, n):
    bins = image_bins([member(a, a + b) for a, b in ranges], n)
    assert len(bins) <= max(MOST_BINS, len(ranges))
    for d, (a, b) in enumerate(ranges):
        mine = np.flatnonzero(bins.data_set == d)
        assert bins.first[mine[0]] == a and bins.last[mine[-1]] == a + b
        assert (bins.first[mine[1:]] == bins.last[mine[:-1]] + 1).all()
        images = np.unique(np.linspace(a, a + b, 20).astype(int))
        found = bins.of(np.full(len(images), d), images - 0.5)
        assert ((bins.first[found] <= images) & (images <= bins.last[found])).all()
        assert (bins.data_set[found] == d).all()


@pytest.mark.parametrize("n", [1, 5, MOST_BINS - 1, MOST_BINS, 3 * MOST_BINS + 7])
def test_stills_have_a_bin_each_until_there_are_too_many(n):
    bins = image_bins([member(0, 0, still=True)] * n, 50 * n)
    assert len(bins) == -(-n // bins.merged) <= MOST_BINS
    places = bins.of(np.arange(n), np.full(n, 0.5))
    assert (places == np.arange(n) // bins.merged).all()


# Radiation damage -------------------------------------------------------------------------------------------


def observed(groups, x, data_set, z_image, s):
    blank = np.ones(len(x))
    empty = np.zeros(0)
    return Observed(
        rows=np.arange(len(x)), data_set=data_set, xyz=np.column_stack((blank, blank, z_image)),
        variance=blank, scale=blank, x=x, mu=x, before=blank, after=blank,
        error_model=np.zeros(len(x), int), friedel_merged=groups, friedel_split=groups, grouping=groups, z=blank,
        mean=empty, sd=empty, s=s, shell=np.zeros(len(groups), int), limits=np.array([0.01, 1.0]),
        asu=np.zeros((len(groups), 3)),
    )  # fmt: skip


def damaged(rng, rise):
    """Intensities that drift with the image, differently for each reflection."""
    groups = grouped(rng, 300, (4, 9))
    index, n = groups.index(), groups.n_rows
    data_set, image = rng.integers(0, 2, n), rng.integers(0, 40, n)
    change = rng.normal(0, rise, 300)[index] * image / 40
    x = rng.exponential(100, 300)[index] * (1 + change) * rng.normal(1, 0.03, n)
    return observed(groups, x, data_set, image + 0.5, rng.uniform(0.01, 1, 300)), image


def test_r_d_is_that_of_all_pairs():
    seen, image = damaged(np.random.default_rng(3), 0.2)
    bins = image_bins([member(1, 40)] * 2, len(seen.x))
    found = radiation_damage(seen, Segments.of(seen.friedel_merged, seen.data_set, 2), bins)
    slow = naive.decay_r(seen.x, seen.friedel_merged.index(), seen.data_set, image)
    n, longest = len(found.r_d), max(slow)
    width = (longest + 1) / n
    assert found.pairs == sum(v[2] for v in slow.values())
    for k, value in enumerate(found.r_d):
        mine = [v for d, v in slow.items() if min(int(d / width), n - 1) == k]
        assert value == pytest.approx(sum(v[0] for v in mine) / sum(v[1] for v in mine), rel=1e-3)
    everything = sum(v[0] for v in slow.values()) / sum(v[1] for v in slow.values())
    assert found.r_cp[-1] == pytest.approx(everything, rel=1e-3)


@pytest.mark.parametrize(("rise", "grows"), [(0.0, False), (0.5, True)])
def test_r_d_rises_with_damage_only(rise, grows):
    seen, _ = damaged(np.random.default_rng(4), rise)
    bins = image_bins([member(1, 40)] * 2, len(seen.x))
    trend = radiation_damage(seen, Segments.of(seen.friedel_merged, seen.data_set, 2), bins).trend
    assert (trend.rise > 4 * trend.esd) is grows


def test_pairs_are_bounded():
    groups = Groups(np.arange(0, 60 * 4000 + 1, 60))
    first, second = _pairs(Segments.of(groups, np.zeros(groups.n_rows, int), 1))
    assert 0.2 * MOST_PAIRS < len(first) <= MOST_PAIRS * 1.01
    index = groups.index()
    assert (index[first] == index[second]).all() and (first != second).all()


# Errors -----------------------------------------------------------------------------------------------------


def test_normal_deviates_lie_on_the_diagonal():
    z = np.random.default_rng(5).normal(size=200_000)
    before, after = _fine(2 * z), _fine(z)
    plot = _normal_plot(before, after)
    inner = [k for k, v in enumerate(plot.expected) if abs(v) < 2.5]
    for k in inner:
        assert plot.after[k] == pytest.approx(plot.expected[k], abs=0.04)
        assert plot.before[k] == pytest.approx(2 * plot.expected[k], abs=0.08)
    assert _within(after) == pytest.approx([0.683, 0.954, 0.997], abs=0.005)
    histogram = _histogram(before, after)
    assert sum(histogram.after) == sum(histogram.before) == len(z)


def test_a_shadow_on_the_detector():
    """One corner records 20 % less than its equivalents, which are elsewhere."""
    rng = np.random.default_rng(9)
    groups = grouped(rng, 4000, (5, 8))
    n = groups.n_rows
    x, y = rng.uniform(0, 1000, n), rng.uniform(0, 500, n)
    shadow = (x < 200) & (y < 200)
    truth = rng.exponential(100, 4000)[groups.index()] + 50
    intensity = truth * np.where(shadow, 0.8, 1.0) * rng.normal(1, 0.02, n)
    variance = (0.02 * truth) ** 2
    one = np.ones(n)
    seen = observed(groups, intensity, np.zeros(n, int), one, one[:4000])
    z = leave_one_out(intensity, variance, one, groups)
    seen = replace(seen, z=z, after=variance, xyz=np.column_stack((x, y, one)))
    panel = Panel(np.eye(3)[0], np.eye(3)[1], np.zeros(3), (0.1, 0.1), (1000, 500))
    held = SimpleNamespace(experiment=SimpleNamespace(panels=(panel,)))
    rows = SimpleNamespace(xyz=seen.xyz)
    result = SimpleNamespace(used=[held], kept=(0,), data=SimpleNamespace(rows=rows))
    found = detector_map(seen, result, np.zeros(n, bool))
    excess, mean_z = np.array(found.excess, float), np.array(found.mean_z, float)
    assert excess.shape == (12, 24) and found.unit == "px"
    dark = np.zeros(excess.shape, bool)
    dark[:4, :4] = True  # cells of 42 pixels
    assert np.nanmean(excess[dark]) == pytest.approx(-0.2, abs=0.02)
    assert (mean_z[dark] < -3).all()
    others = ~dark
    others[:5, :5] = False
    assert np.abs(np.nanmean(excess[others])) < 0.02
    assert np.sum(found.observations) == n


# Models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_curve_is_what_the_model_does(n):
    rng = np.random.default_rng(10)
    axis = axis_over("image", 0.05, 0.0, 100.0, n)
    component = Smooth("scale", (axis,))
    theta, root = rng.normal(1, 0.2, n), rng.normal(size=(n, n))
    image = np.linspace(0, 100, 17)
    value, esd = curve(component, theta, root @ root.T, image)
    at = image * (0.05 * axis.intervals / axis.span)
    assert value == pytest.approx([naive.smooth_value([(n, u)], theta, [u]) for u in at])
    # the variance of a linear function, one unit vector at a time
    rows = np.array([[naive.smooth_value([(n, u)], e, [u]) for e in np.eye(n)] for u in at])
    assert esd == pytest.approx(np.sqrt(np.diag(rows @ root @ root.T @ rows.T)))


# Intensities ------------------------------------------------------------------------------------------------


def test_moments_and_wilson_plot_of_random_atoms():
    rng = np.random.default_rng(6)
    n = 60_000
    s, shell = rng.uniform(0.12, 0.6, n), rng.integers(0, 4, n)
    z = rng.exponential(1, n)
    assert _moments(shell, z, np.ones(n, bool), 4) == pytest.approx([2.0] * 4, abs=0.1)
    found = _wilson(s, 1000 * z * np.exp(-20.0 * s / 2))
    assert found.b == pytest.approx(20.0, abs=4 * found.b_esd) and 0 < found.b_esd < 0.5
    assert found.b == pytest.approx(20.0, abs=0.5) and found.ln_k == pytest.approx(math.log(1000), abs=0.1)


@pytest.mark.parametrize(("twinned", "mean", "square"), [(False, 0.5, 1 / 3), (True, 0.375, 0.2)])
def test_l_test(twinned, mean, square):
    rng = np.random.default_rng(7)
    hkl = np.stack(np.meshgrid(*[np.arange(26)] * 3, indexing="ij"), -1).reshape(-1, 3)
    value = rng.exponential(1, len(hkl))
    if twinned:
        value = 0.5 * (value + rng.exponential(1, len(hkl)))
    found = _l_test(hkl, value, np.ones(len(hkl), bool))
    assert found.mean_abs == pytest.approx(mean, abs=0.01)
    assert found.mean_square == pytest.approx(square, abs=0.01)
    assert found.cumulative[-1] == 1


def test_the_curve_crosses_at_the_suggested_limit():
    d = np.linspace(3.0, 1.0, 20)
    cc = 0.5 * (1 - np.tanh((d**-2 - 0.5) / 0.15))
    s0, r = fitted_curve(d, cc, [200] * 20)
    assert (s0, r) == pytest.approx((0.5, 0.15), abs=1e-3)
    limit = suggest_limit(d, cc, [200] * 20).d_min
    assert 0.5 * (1 - math.tanh((limit**-2 - s0) / r)) == pytest.approx(0.3, abs=1e-6)
    assert fitted_curve(d[:2], cc[:2], [9, 9]) is None


# Correlations, numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [12, 700])
def test_strongest_correlations(n):
    rng = np.random.default_rng(8)
    root = rng.normal(size=(n, 6)) @ rng.normal(size=(6, n)) + 2 * rng.normal(size=(n, n))
    covariance = root @ root.T
    unit = 1 / np.sqrt(np.diag(covariance))
    found = _strongest(covariance, unit)
    r = np.tril(covariance * unit * unit[:, None], -1)
    best = np.sort(np.abs(r).ravel())[::-1]
    expected = best[: len(found)]
    assert [abs(v) for *_, v in found] == pytest.approx(expected.tolist())
    assert len(found) == min(15, int((best > 0.5).sum()))
    assert all(i > j and r[i, j] == pytest.approx(v) for i, j, v in found)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_json_reads_back(value):
    assert json.loads(json_text(value)) == value


def test_rounding():
    assert column([1.23456, float("nan"), 1e-9, -0.0]) == [1.235, None, 1e-9, 0.0]
    assert column(np.array([3, 4])) == [3, 4]
    assert rounded(math.inf) is None and rounded(123456.0) == 123500.0
