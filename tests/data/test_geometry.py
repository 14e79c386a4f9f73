"""Angles and directions, against DIALS and against the definitions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from braggscale.data import geometry
from braggscale.data.experiment import Beam, Crystal, Experiment, Goniometer, Scan
from braggscale.io import open_inputs

NUMBERS = st.floats(-10, 10)
VECTORS = hnp.arrays(np.float64, 3, elements=NUMBERS).filter(lambda v: np.linalg.norm(v) > 0.1)
ANGLES = st.floats(-720, 720)


def sweep(
    axis: Any = (1.0, 0.0, 0.0),
    fixed: Any = None,
    setting: Any = None,
    direction: Any = (0.0, 0.0, 1.0),
    scan: Scan | None = None,
) -> Experiment:
    return Experiment(
        "x",
        Beam(geometry.unit(np.array(direction)), 0.9),
        Crystal(np.diag([10.0, 20.0, 30.0]), " P 1", (10, 20, 30, 90, 90, 90)),
        Goniometer(
            geometry.unit(np.array(axis)),
            np.eye(3) if fixed is None else fixed,
            np.eye(3) if setting is None else setting,
        ),
        scan or Scan((1, 3600), (-20.0, 0.1)),
    )


def naive_directions(experiment: Experiment, z: Any, s1: Any) -> tuple[np.ndarray, np.ndarray]:
    """One row after the other, with matrices, as the definition says."""
    s0c, s1c = np.zeros((len(z), 3)), np.zeros((len(z), 3))
    assert experiment.goniometer is not None and experiment.scan is not None
    for k in range(len(z)):
        if np.linalg.norm(s1[k]) == 0:
            continue
        phi = geometry.scan_angle(experiment.scan, z[k : k + 1])[0]
        turning = experiment.goniometer
        back = (turning.setting @ geometry.rotation(turning.axis, phi) @ turning.fixed).T
        for out, vector in ((s0c, experiment.beam.direction), (s1c, s1[k] / np.linalg.norm(s1[k]))):
            x, y, zz = back @ vector
            out[k] = -zz, y, x
    return s0c, s1c


PAIRS = [
    *(
        (f"l_cysteine__{n}_integrated.pickle", f"{n}_integrated.pickle", f"{n}_integrated_experiments.json")
        for n in (20, 25, 30, 35)
    ),
    ("l_cysteine_scaled__scaled_30.refl", "scaled_30.refl", "scaled_30.expt"),
    ("quartz_ed__integrated.refl", "integrated.refl", "integrated.expt"),
    ("ssx_cunir__integrated.refl", "integrated.refl", "integrated.expt"),
]


def compare(values: np.ndarray, golden: dict[str, Any]) -> None:
    assert list(values.shape) == golden["shape"]
    for name, found in {
        "first": values[:3],
        "last": values[-3:],
        "min": np.atleast_1d(values.min(axis=0)),
        "max": np.atleast_1d(values.max(axis=0)),
    }.items():
        np.testing.assert_allclose(found, np.reshape(golden[name], found.shape), rtol=1e-12, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(values.sum(axis=0), golden["sum"], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("golden", "table", "experiments"), PAIRS)
def test_geometry_is_that_of_dials(shared_data: Path, golden: str, table: str, experiments: str) -> None:
    folder = shared_data / golden.split("__")[0]
    expected = json.loads((shared_data / "golden" / f"{golden}.json").read_text())["geometry"]
    result = open_inputs([str(folder / table), str(folder / experiments)])
    assert len(expected) == len(result.data_sets)
    for data_set, wanted in zip(result.data_sets, expected, strict=True):
        rows, experiment = data_set.table, data_set.experiment
        assert len(rows) == wanted["nrows"]
        s1, hkl = rows["s1"], rows["miller_index"]
        z = rows["xyzobs.px.value"][:, 2]
        cell = geometry.unit_cell(experiment.crystal.real_space)
        d = geometry.d_spacings(cell, hkl)
        # For (0, 0, 0) DIALS' own function gives -1; we give what its tables hold.
        compare(np.where((hkl == 0).all(axis=1), -1.0, d), wanted["d"])
        s0c, s1c = geometry.crystal_frame_directions(experiment, z, s1)
        with_s1 = (s1 != 0).any(axis=1)
        assert np.count_nonzero(~with_s1) == wanted["n_zero_s1"]
        if experiment.is_still:
            assert not s0c.any() and not s1c.any() and "s0c" not in wanted
            continue
        compare(s0c, wanted["s0c_aligned"])
        compare(s1c, wanted["s1c_aligned"])
        back = np.stack([s1c[:, 2], s1c[:, 1], -s1c[:, 0]], axis=1)
        compare(back, wanted["s1c"])
        assert experiment.goniometer is not None
        axis = experiment.goniometer.setting @ experiment.goniometer.axis
        normal = np.cross(s1[with_s1], experiment.beam.s0)
        zeta = (normal / np.linalg.norm(normal, axis=1)[:, None]) @ axis
        compare(zeta, wanted["zeta_rows_with_s1"])


def test_stored_d_is_that_of_the_cell(shared_data: Path) -> None:
    folder = shared_data / "quartz_ed"
    (data_set,) = open_inputs([str(folder / "integrated.refl"), str(folder / "integrated.expt")]).data_sets
    d = geometry.d_spacings(data_set.experiment.crystal.unit_cell, data_set.table["miller_index"])
    np.testing.assert_allclose(d, data_set.table["d"], rtol=1e-14)


def test_reflections_are_where_the_lattice_has_them(shared_data: Path) -> None:
    folder = shared_data / "ssx_cunir"
    sets = open_inputs([str(folder / "integrated.refl"), str(folder / "integrated.expt")]).data_sets

    def residual(experiment: Experiment, of: int) -> float:
        table = sets[of].table
        return geometry.indexing_residual(experiment, table["xyzcal.px"][:, 2], table["s1"], table["miller_index"])

    assert all(residual(sets[k].experiment, k) < 0.01 for k in range(5))
    assert residual(sets[0].experiment, 1) > 0.5
    empty = np.zeros((0, 3))
    assert np.isnan(geometry.indexing_residual(sets[0].experiment, np.zeros(0), empty, empty))


@settings(max_examples=50, deadline=None)
@given(VECTORS, VECTORS, VECTORS, VECTORS, ANGLES, ANGLES, st.integers(0, 30), st.integers(0, 2**32))
def test_directions_follow_the_definition(
    axis: Any, direction: Any, other: Any, third: Any, one: float, two: float, n: int, seed: int
) -> None:
    experiment = sweep(
        axis,
        geometry.rotation(geometry.unit(other), one),
        geometry.rotation(geometry.unit(third), two),
        direction,
    )
    rng = np.random.default_rng(seed)
    z, s1 = rng.uniform(-10, 4000, n), rng.normal(size=(n, 3))
    s1[rng.uniform(size=n) < 0.2] = 0
    found = geometry.crystal_frame_directions(experiment, z, s1)
    for values, expected in zip(found, naive_directions(experiment, z, s1), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_directions_do_not_depend_on_the_length_of_s1_or_on_a_full_turn() -> None:
    rng = np.random.default_rng(5)
    z, s1 = rng.uniform(0, 1800, 100), rng.normal(size=(100, 3))
    reference = geometry.crystal_frame_directions(sweep(), z, s1)
    for other in (
        geometry.crystal_frame_directions(sweep(), z, s1 * 7.5),
        geometry.crystal_frame_directions(sweep(scan=Scan((1, 3600), (340.0, 0.1))), z, s1),
        geometry.crystal_frame_directions(sweep(scan=Scan((101, 3600), (-10.0, 0.1))), z, s1),
    ):
        np.testing.assert_allclose(other, reference, atol=1e-12)


def test_rows_that_cannot_be_used_give_zeros() -> None:
    s1 = np.ones((6, 3))
    s1[1] = 0
    s1[2, 1] = np.nan
    s1[3, 0] = np.inf
    z = np.array([1.0, 1.0, 1.0, 1.0, np.nan, np.inf])
    s0c, s1c = geometry.crystal_frame_directions(sweep(), z, s1)
    assert np.linalg.norm(s0c, axis=1) == pytest.approx([1, 0, 0, 0, 0, 0])
    assert np.linalg.norm(s1c, axis=1) == pytest.approx([1, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    "still",
    [{"scan": None}, {"goniometer": None}, {"scan": Scan((1, 1), (0.0, 0.0))}, {"scan": Scan((1, 1), (3.0, 5e-6))}],
)
def test_stills_have_no_directions(still: dict[str, Any]) -> None:
    s0c, s1c = geometry.crystal_frame_directions(replace(sweep(), **still), np.zeros(3), np.ones((3, 3)))
    assert s0c.shape == s1c.shape == (3, 3)
    assert not s0c.any() and not s1c.any()


def test_directions_of_many_rows_have_length_one() -> None:
    rng = np.random.default_rng(1)
    z, s1 = rng.uniform(0, 3600, 100_000), rng.normal(size=(100_000, 3))
    s0c, _ = geometry.crystal_frame_directions(sweep((1.0, 0.1, 0.0)), z, s1)
    np.testing.assert_allclose(np.linalg.norm(s0c, axis=1), 1, rtol=1e-14)


@settings(max_examples=50, deadline=None)
@given(VECTORS, ANGLES, ANGLES)
def test_rotations(axis: Any, one: float, two: float) -> None:
    axis = geometry.unit(axis)
    matrix = geometry.rotation(axis, one)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(matrix @ axis, axis, atol=1e-12)
    np.testing.assert_allclose(matrix @ geometry.rotation(axis, two), geometry.rotation(axis, one + two), atol=1e-11)
    np.testing.assert_allclose(geometry.rotation(np.array([0, 0, 1.0]), 90) @ [1, 0, 0], [0, 1, 0], atol=1e-15)


CELLS = st.tuples(*[st.floats(3, 300)] * 3, *[st.floats(70, 110)] * 3)


@settings(max_examples=50, deadline=None)
@given(CELLS, VECTORS, ANGLES)
def test_the_cell_comes_back_from_any_orientation(cell: Any, axis: Any, angle: float) -> None:
    axes = geometry.orthogonalisation(cell)
    assert (axes[1, 0], axes[2, 0], axes[2, 1]) == (0, 0, 0)
    turned = (geometry.rotation(geometry.unit(axis), angle) @ axes).T
    np.testing.assert_allclose(geometry.unit_cell(turned), cell, rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(CELLS, hnp.arrays(np.int32, (7, 3), elements=st.integers(-30, 30)))
def test_d_spacings_agree_with_gemmi(cell: Any, hkl: Any) -> None:
    gemmi = pytest.importorskip("gemmi")
    expected = [gemmi.UnitCell(*cell).calculate_d(h) if any(h) else 0.0 for h in hkl.tolist()]
    np.testing.assert_allclose(geometry.d_spacings(cell, hkl), expected, rtol=1e-9)


def test_median_cell() -> None:
    cells = [
        (10.0, 20.0, 30.0, 90.0, 90.0, 90.0),
        (11.0, 19.0, 33.0, 90.0, 91.0, 90.0),
        (12.0, 18.0, 30.5, 90.0, 92.0, 90.0),
    ]
    assert geometry.median_unit_cell(cells) == (11.0, 19.0, 30.5, 90.0, 91.0, 90.0)
    assert geometry.median_unit_cell(cells[:2]) == (10.5, 19.5, 31.5, 90.0, 90.5, 90.0)


def test_largest_scattering_angle() -> None:
    s0 = np.array([0.0, 0.0, -2.0])
    s1 = np.array([[0.0, 0.1, -2.0], [2.0, 0.0, -2.0], [0.0, 0.0, 0.0], [np.nan, 0.0, 1.0]])
    assert geometry.largest_scattering_angle(s0, s1) == pytest.approx(45)
    assert geometry.largest_scattering_angle(s0, -s0[None]) == pytest.approx(180)
    assert geometry.largest_scattering_angle(s0, s1[2:]) == 0


def test_scan_angle_counts_from_the_first_image() -> None:
    scan = Scan((11, 20), (5.0, 0.5))
    np.testing.assert_array_equal(geometry.scan_angle(scan, np.array([10.0, 11.0, 20.0])), [5.0, 5.5, 10.0])
