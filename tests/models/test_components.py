"""Components against known values, the slow twin, and their own invariances."""

import naive
import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.observations import GeometryCopy
from braggscale.models.detector_modules import Modules, enough_for_modules, module_edges
from braggscale.models.harmonics import Harmonics
from braggscale.models.restraints import MeanPenalty, ridge, roughness
from braggscale.models.smooth import Axis, Smooth, axis_over, binned_parameters, smooth_spacing

# number of parameters, factor, spacing: values that DIALS' own tests and runs give
LAYOUTS = [
    (10, 1, 1, (12, 0.999, 1.0)),
    (10, 1, 12, (2, 0.0999, 10)),
    (10, 1, 9.99, (3, 0.1998, 5)),
    (10, 1, 5, (3, 0.1998, 5)),
    (10, 1, 4.99, (5, 0.2997, 3.333333)),
    (10, 2, 4.99, (5, 0.5994, 3.333333)),
    (180, 0.1, 15, (14, 0.00666, 15.0)),
    (180, 0.1, 20, (11, 0.004995, 20.0)),
    (170, 0.1, 15, (14, 0.999 * 0.1 / 14.1666667, 14.1666667)),
    (160, 0.1, 15, (13, 0.999 * 0.1 / 14.5454545, 14.5454545)),
]


@pytest.mark.parametrize(("degrees", "width", "interval", "expected"), LAYOUTS)
def test_layout_of_a_rotation_axis(degrees, width, interval, expected):
    assert smooth_spacing(degrees, width, interval) == pytest.approx(expected, rel=1e-6)


def test_layout_is_kept_when_the_spacing_is_given_back_as_interval():
    for degrees in (7.3, 59.9, 90.0, 170.0, 180.0, 360.0):
        n, _, spacing = smooth_spacing(degrees, 0.1, 15.0)
        assert smooth_spacing(degrees, 0.1, spacing)[0] == n


def test_bins_of_other_axes():
    assert [binned_parameters(k) for k in (1, 2, 3, 10)] == [2, 3, 5, 12]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(2, 9), min_size=1, max_size=3),
    where=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
def test_smoother_agrees_with_its_slow_twin(shape, where, seed):
    rng = np.random.default_rng(seed)
    rows, _ = synthetic.observations(rng, n_groups=1, size=(1, 1))
    coordinates = ("x", "y", "image")
    axes = tuple(Axis(coordinates[k], 1.0, 0.0, float(n - 1 if n < 4 else n - 2), n) for k, n in enumerate(shape))
    for k, axis in enumerate(axes):
        rows.xyz[0, k] = where[k] * axis.span
    component = Smooth("scale", axes)
    parameters = rng.normal(size=component.n_parameters)
    start, values = component.basis(rows)
    found = values[0] @ parameters[start[0] + component.columns]
    u = [where[k] * axis.span for k, axis in enumerate(axes)]
    assert found == pytest.approx(naive.smooth_value([(n, None) for n in shape], parameters, u), abs=1e-12)
    assert values.sum() == pytest.approx(1.0)


def test_a_constant_is_a_smooth_function_without_axes():
    rows, _ = synthetic.observations(np.random.default_rng(1))
    start, values = Smooth("scale", ()).basis(rows)
    assert not start.any() and (values == 1.0).all()
    assert Smooth("decay", (), b_factor=True).basis(rows)[1][:, 0] == pytest.approx(0.5 / rows.d**2)


def test_harmonics_are_orthonormal():
    # Gauss-Legendre in cos(theta) and equal steps in phi integrate these products exactly
    nodes, weights = np.polynomial.legendre.leggauss(12)
    phi = np.arange(24) * 2 * np.pi / 24
    z, p = (a.ravel() for a in np.meshgrid(nodes, phi, indexing="ij"))
    w = np.repeat(weights, 24) * 2 * np.pi / 24
    r = np.sqrt(1 - z**2)
    direction = np.column_stack((r * np.cos(p), r * np.sin(p), z))
    y = Harmonics("absorption", 5).basis(GeometryCopy(np.zeros(len(z)), z, direction, direction, direction))[1]
    assert (y.T * w) @ y == pytest.approx(np.eye(35), abs=1e-12)


def test_rows_without_directions_get_no_absorption_correction():
    rows, _ = synthetic.observations(np.random.default_rng(2))
    rows.s1c[0] = 0.0
    values = Harmonics("absorption", 3).basis(rows)[1]
    assert not values[0].any() and values[1:].any(axis=1).all()


def test_an_axis_spans_whole_units_from_the_first_observation():
    axis = axis_over("image", 0.01, 50.0, 1790.0, 14)
    assert (axis.origin, axis.span, axis.intervals) == (0.5, 18.0, 12)
    backwards = axis_over("image", -0.01, 50.0, 1790.0, 14)
    assert backwards.origin == pytest.approx(-17.9)


@pytest.mark.parametrize("shape", [(2,), (6,), (4, 5), (3, 4, 5)])
def test_roughness_leaves_constants_and_order_two_lines_free(shape):
    n = int(np.prod(shape))
    grids = np.meshgrid(*(np.arange(k) for k in reversed(shape)), indexing="ij")
    line = sum(g.ravel() for g in grids).astype(float)
    for order in (1, 2):
        penalty = roughness(shape, 1.0, order).penalty
        assert penalty == pytest.approx(penalty.T)
        assert np.ones(n) @ penalty @ np.ones(n) == pytest.approx(0, abs=1e-9)
        if order == 2 and min(shape) > 2:
            assert line @ penalty @ line == pytest.approx(0, abs=1e-9)
    assert ridge(n, 2.0).penalty.trace() == n


@pytest.mark.parametrize("lengths", [(1, 1, 1), (2, 3, 1), (4,)])
def test_levels_are_their_matrix(lengths):
    """sum_d (l_d - mean)^2, written out, has the methods of a penalty; so has the square of one level."""
    rng = np.random.default_rng(3)
    rows = [rng.normal(size=k) for k in lengths]
    n, one = sum(lengths), rng.normal(size=sum(lengths))
    every = np.zeros((len(lengths), n))
    for d, row in enumerate(rows):
        every[d, sum(lengths[:d]) : sum(lengths[: d + 1])] = row
    about = every - every.mean(axis=0)
    for found, wanted in ((MeanPenalty.about_mean(rows), about.T @ about), (MeanPenalty.one(one), np.outer(one, one))):
        for factor in (1.0, 0.3):
            scaled = found * factor
            assert scaled.dense() == pytest.approx(factor * wanted, abs=1e-12)
            assert scaled.diagonal() == pytest.approx(np.diag(factor * wanted), abs=1e-12)
            for x in (rng.normal(size=n), rng.normal(size=(n, 3))):
                assert scaled @ x == pytest.approx(factor * wanted @ x, abs=1e-12)
        assert len(found) == n


def test_levels_of_many_data_sets_stay_small():
    """The size of the penalties for 20,000 stills; n x n numbers would take 3 GB."""
    many = MeanPenalty.about_mean([np.ones(1)] * 20_000)
    assert many.row.nbytes + many.starts.nbytes < 400_000
    assert many @ np.ones(20_000) == pytest.approx(np.zeros(20_000), abs=1e-9)


def places(xy):
    n = len(xy)
    xyz = np.column_stack((np.array(xy, float), np.zeros(n)))
    return GeometryCopy(np.zeros(n, np.int32), np.ones(n), xyz, np.zeros((n, 3)), np.zeros((n, 3)))


# size of the panel and masked rectangles as experiment lists have them: 3 x 8 modules, gaps in pixels counted from 1
TILED = (1475, 1679), [
    (488, 1, 494, 1679), (982, 1, 988, 1679),
    *((1, y, 1475, y + 16) for y in (196, 408, 620, 832, 1044, 1256, 1468)),
]  # fmt: skip


def test_modules_need_reflections():
    edges = ((0.0, 10.0, 20.0, 30.0), (0.0, 10.0, 20.0))
    assert not enough_for_modules(edges, 71) and enough_for_modules(edges, 72)
    assert enough_for_modules(None, 0)


def test_modules_lie_between_gaps_that_cross_the_panel():
    size, gaps = TILED
    x, y = module_edges(size, gaps)
    assert x == (0, 491, 985, 1475)
    assert y == (0, 204, 416, 628, 840, 1052, 1264, 1476, 1679)
    shadow = [(400, 0, 700, 1679), (0, 0, 12, 1679), (700, 100, 706, 900), (900, 300, 880, 400)]
    assert module_edges(size, [*gaps, *shadow, *gaps]) == (x, y)  # wide, at the rim, short, inside out, twice
    assert module_edges(size, []) == ((0, 1475), (0, 1679))


def test_every_place_is_on_the_module_that_holds_it():
    modules = Modules("modules", (0, 10, 30, 60), (0, 20, 40))
    assert modules.shape == (3, 2) and modules.n_parameters == 6
    start, values = modules.basis(places([(0, 0), (9.9, 5), (10, 5), (59, 19), (5, 20), (70, 99), (-3, -1)]))
    assert start.tolist() == [0, 0, 1, 2, 3, 5, 0]
    assert (values == 1).all() and values.shape == (7, 1)


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 9), max_size=6, unique=True),
    gap=st.integers(1, 60),
    order=st.permutations(range(6)),
)
def test_edges_do_not_depend_on_the_order_of_rectangles(cuts, gap, order):
    size = (1000, 500)
    strips = [(100 * c - gap // 2, 0, 100 * c - gap // 2 + gap, 500) for c in cuts]
    mixed = [strips[k] for k in order if k < len(strips)]
    x, y = module_edges(size, mixed)
    assert x == module_edges(size, strips)[0]
    assert x == (0, *sorted(a + 0.5 * gap for a, *_ in strips), 1000)
    assert y == (0, 500)
