"""The simulator is itself tested: physics that can be stated without it, and an oracle whose chi^2 is 1."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import accuracy
import simulate
from simulation import refl
from simulation.design import Options, choose_lattice, geometry_of, make_plans, predict
from simulation.geometry import AXIS, Geometry, crossings, rotation, turn
from simulation.instrument import beam_series, make_sample, path_length, rocking_average
from simulation.lattice import lattice_of_volume, laue_keys, sphere, wilson
from simulation.pixels import integrate
from simulation.recording import Noise, record

SMALL = Options(reflections=12_000, degrees=120.0, width=0.2)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small sweeps with everything switched on."""
    folder = tmp_path_factory.mktemp("sweep")
    simulate.simulate(replace(SMALL, count=2, split=0.05, bad_last=0.1), folder)
    return folder


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred stills."""
    folder = tmp_path_factory.mktemp("stills")
    simulate.simulate(Options(kind="stills", count=100, reflections=12_000, d_min=1.8), folder)
    return folder


@pytest.mark.parametrize("space_group", ["P212121", "P43212", "P1"])
def test_unique_reflections_do_not_depend_on_the_symmetry_mate(space_group: str) -> None:
    lattice = lattice_of_volume(space_group, 5000.0)
    hkl = sphere(lattice, 1.5)
    key, plus, centric = laue_keys(lattice, hkl)
    for operator in lattice.rotations:
        same = laue_keys(lattice, (hkl @ operator).astype(np.int32))
        assert all(np.array_equal(a, b) for a, b in zip(same, (key, plus, centric), strict=True))
    mate_key, mate_plus, _ = laue_keys(lattice, -hkl)
    assert np.array_equal(mate_key, key)
    assert np.array_equal(mate_plus[~centric], ~plus[~centric])


def test_true_intensities_follow_wilson_and_have_the_anomalous_part_asked_for() -> None:
    lattice = lattice_of_volume("P212121", 150_000.0)
    truth = wilson(lattice, sphere(lattice, 1.5), np.random.default_rng(1), 1000.0, 20.0, 0.03)
    acentric = ~truth.centric
    level = 1000.0 * np.exp(-20.0 / (2 * truth.d**2))
    mean = 0.5 * (truth.plus + truth.minus)
    assert np.mean((mean / level)[acentric]) == pytest.approx(1, abs=0.03)
    second = np.mean((mean / level)[acentric] ** 2) / np.mean((mean / level)[acentric]) ** 2
    assert second == pytest.approx(2, abs=0.1)
    plus, minus = np.sqrt(truth.plus[acentric]), np.sqrt(truth.minus[acentric])
    assert np.abs(plus - minus).sum() / (0.5 * (plus + minus)).sum() == pytest.approx(0.03, rel=0.05)
    assert np.array_equal(truth.plus[truth.centric], truth.minus[truth.centric])


def test_predictions_lie_on_the_ewald_sphere_and_none_is_missing() -> None:
    options = replace(SMALL, reflections=2000, split=0.0)
    geometry = geometry_of(options)
    lattice = choose_lattice(options, geometry)
    points = sphere(lattice, options.d_min)
    plan = make_plans(options, lattice)[0]
    rows = predict(options, geometry, plan, points)
    q = points[rows.point] @ plan.reciprocal.T
    turned = np.einsum("nij,nj->ni", rotation(AXIS, rows.phi), q)
    assert np.allclose(turned, turn(q, rows.phi), atol=1e-15)
    length = np.linalg.norm(geometry.s0 + turned, axis=1) * options.wavelength
    assert np.abs(length - 1).max() < 1e-12
    # a slow search for sign changes of the distance to the sphere finds every reflection well inside the scan
    phi = np.radians(np.arange(0.0, options.degrees, 0.02))
    point = points[::37] @ plan.reciprocal.T
    distance = np.array(
        [np.linalg.norm(geometry.s0 + turn(np.broadcast_to(p, (len(phi), 3)), phi), axis=1) for p in point]
    )
    crossed = (np.diff(np.sign(distance - 1 / options.wavelength), axis=1) != 0).sum()
    found = crossings(geometry, point, 0.0, float(phi[-1])).phi
    inside = ((found > 0) & (found < phi[-1])).sum()
    assert 0.9 * crossed < inside <= crossed  # the rest is too near to the rotation axis


def test_rows_match_the_geometry_that_the_experiment_file_states(sweep: Path) -> None:
    table = refl.read(sweep / "simulated.refl")
    document = json.loads((sweep / "simulated.expt").read_text())
    wavelength = document["beam"][0]["wavelength"]
    assert np.abs(np.linalg.norm(table["s1"], axis=1) * wavelength - 1).max() < 1e-12
    for i, entry in enumerate(document["experiment"]):
        rows = table["id"] == i
        crystal, scan = document["crystal"][entry["crystal"]], document["scan"][entry["scan"]]
        fixed = np.array(document["goniometer"][entry["goniometer"]]["fixed_rotation"]).reshape(3, 3)
        a = np.linalg.inv([crystal[f"real_space_{x}"] for x in "abc"])
        q = table["miller_index"][rows] @ a.T
        assert np.allclose(1 / np.linalg.norm(q, axis=1), table["d"][rows], rtol=1e-12)
        phi = np.radians(scan["oscillation"][0] + scan["oscillation"][1] * table["xyzcal.px"][rows, 2])
        assert np.allclose(phi, table["xyzcal.mm"][rows, 2], atol=1e-12)
        s1 = [0, 0, -1 / wavelength] + turn(q @ fixed.T, phi)
        assert np.allclose(s1, table["s1"][rows], atol=1e-12)
        assert table["xyzobs.px.value"][rows, 2].min() >= 0
        assert table["xyzobs.px.value"][rows, 2].max() <= scan["image_range"][1]


def test_truth_rows_are_table_rows(sweep: Path) -> None:
    table, truth = refl.read(sweep / "simulated.refl"), accuracy.load_truth(sweep)
    n = len(table["id"])
    assert np.array_equal(table["sim_row"], np.arange(n))
    assert all(len(truth[name]) == n for name in simulate.TRUTH)
    assert np.array_equal(truth["integrated"], table["flags"] & 768 != 0)
    assert np.array_equal(truth["profiled"], table["intensity.prf.variance"] > 0)
    assert np.allclose(truth["d"][truth["unique"] // 2], table["d"], rtol=1e-12)
    assert np.all((truth["partiality"] >= 0) & (truth["partiality"] <= 1))
    assert np.array_equal(truth["partiality"], table["partiality"])
    both = np.where(truth["unique"] % 2 == 0, truth["plus"][truth["unique"] // 2], truth["minus"][truth["unique"] // 2])
    assert np.array_equal(truth["intensity"], both)


def test_pieces_of_a_reflection_add_up(sweep: Path) -> None:
    table, truth = refl.read(sweep / "simulated.refl"), accuracy.load_truth(sweep)
    piece = np.flatnonzero(truth["partner"] >= 0)
    other = truth["partner"][piece]
    assert len(piece) > 20
    assert np.array_equal(truth["partner"][other], piece)
    for name in ("id", "partial_id", "miller_index"):
        assert np.array_equal(table[name][piece], table[name][other])
    total = truth["partiality"][piece] + truth["partiality"][other]
    assert np.all(truth["partiality"][piece] < 0.9)
    assert np.all(total <= 1)
    lower = piece < other
    assert np.array_equal(table["bbox"][piece[lower], 5], table["bbox"][other[lower], 4])


def test_oracle_has_chi_squared_one(tmp_path: Path) -> None:
    for kind, count, degrees in (("sweeps", 1, 180.0), ("crystals", 10, 10.0), ("stills", 300, 0.0)):
        options = Options(kind=kind, count=count, degrees=degrees, reflections=30_000, width=0.2, seed=3)
        simulate.simulate(options, tmp_path)
        result = accuracy.oracle(tmp_path, accuracy.load_truth(tmp_path))
        assert 0.9 < result.chi2 < 1.1, kind
        assert result.rms_ln_g < 1e-12
        assert result.r < 0.05


def test_a_wrong_scale_shows(sweep: Path) -> None:
    truth = accuracy.load_truth(sweep)
    row = np.flatnonzero(truth["integrated"] & (truth["outlier"] == 0) & ~truth["bad"])
    table = refl.read(sweep / "simulated.refl")
    intensity = (table["lp"] / table["qe"] * table["intensity.prf.value"])[row]
    row, intensity = row[truth["profiled"][row]], intensity[truth["profiled"][row]]
    g, sigma = truth["g"][row], truth["sigma_prf"][row].astype(np.float64)
    # one factor and one B are not determined
    x = 1 / (2 * truth["d"][truth["unique"][row] // 2] ** 2)
    same = accuracy.evaluate("", truth, row, intensity, sigma**2, 3 * np.exp(1.5 * x) * g, g, accuracy.NO_OUTLIERS)
    assert same.rms_ln_g < 1e-12
    assert same.k == pytest.approx(3, rel=0.01)
    assert same.b == pytest.approx(1.5, abs=0.05)
    wave = 0.05 * np.sin(table["xyzcal.px"][row, 2] / 50)
    wrong = accuracy.evaluate("", truth, row, intensity, sigma**2, g * np.exp(wave), g, accuracy.NO_OUTLIERS)
    assert wrong.rms_ln_g == pytest.approx(0.05 / np.sqrt(2), rel=0.1)
    assert wrong.r > same.r
    assert wrong.chi2 > 1.2 * same.chi2


def test_scaled_table_is_matched_by_sim_row_after_pieces_were_summed(sweep: Path, tmp_path: Path) -> None:
    truth = accuracy.load_truth(sweep)
    second = (truth["partner"] >= 0) & (truth["partner"] < np.arange(len(truth["partner"])))
    row = np.flatnonzero(~second)[::-1]
    good = truth["integrated"] & ~truth["bad"] & (truth["outlier"] == 0)
    flags = np.where(good, 1 << 26, np.where(truth["outlier"] != 0, 1 << 23, 1 << 24))[row]
    views = refl.create(
        tmp_path / "scaled.refl",
        {0: "0"},
        len(row),
        {
            "intensity.scale.value": "double",
            "intensity.scale.variance": "double",
            "inverse_scale_factor": "double",
            "flags": "std::size_t",
            "sim_row": "int",
        },
    )
    g = accuracy.joined_scale(truth, row)
    views["sim_row"][:], views["flags"][:] = row, flags
    views["inverse_scale_factor"][:] = g
    views["intensity.scale.value"][:] = g * truth["intensity"][row]
    views["intensity.scale.variance"][:] = 1.0
    result, _ = accuracy.scaled(tmp_path / "scaled.refl", "exact", truth)
    assert result.rms_ln_g < 1e-12
    assert result.r < 1e-9
    assert (result.found_5_10, result.found_10, result.lost) == (1.0, 1.0, 0.0)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    options = replace(SMALL, reflections=2000)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate.simulate(replace(options, seed=seed), tmp_path / name)
    for file in ("simulated.refl", "simulated.expt"):
        first = (tmp_path / "a" / file).read_bytes()
        assert first == (tmp_path / "b" / file).read_bytes()
        assert first != (tmp_path / "c" / file).read_bytes()
    a, b = accuracy.load_truth(tmp_path / "a"), accuracy.load_truth(tmp_path / "b")
    assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["sweeps", "crystals", "stills"])
def test_number_of_rows_is_near_the_request(kind: str, tmp_path: Path) -> None:
    count = {"sweeps": 3, "crystals": 12, "stills": 200}[kind]
    options = Options(kind=kind, count=count, degrees=20.0, reflections=20_000)
    assert simulate.simulate(options, tmp_path) == pytest.approx(20_000, rel=0.05)


def test_transmission_is_at_most_one_smooth_and_follows_the_path() -> None:
    rng = np.random.default_rng(5)
    sample = make_sample(rng, 1.0, 1.0)
    phi = np.linspace(0, 2 * np.pi, 721)
    s1 = np.broadcast_to([0.3, 0.2, -0.93], (len(phi), 3))
    t = sample.transmission(np.eye(3), phi, s1)
    assert np.all((t > 0.2) & (t <= 1))
    assert np.abs(np.diff(t)).max() < 0.01
    assert t[0] == pytest.approx(t[-1], rel=1e-12)
    assert np.all(make_sample(rng, 1.0, 0.0).transmission(np.eye(3), phi, s1) == 1)
    ray = np.array([[1.0, 0, 0], [0, 0, 1]])
    assert path_length(np.diag([2.0, 1, 1]), np.array([0.25, 0, 0]), ray) == pytest.approx([0.25, np.sqrt(0.75)])


def test_crystal_lies_inside_its_solvent() -> None:
    for seed in range(20):
        sample = make_sample(np.random.default_rng(seed), 1.0, 1.0)
        ray = np.random.default_rng(1).standard_normal((200, 3))
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        surface = ray * path_length(sample.crystal, np.zeros(3), ray)[:, None]
        assert np.linalg.norm((surface - sample.solvent_centre) @ sample.solvent.T, axis=1).max() < 1


def test_rocking_average_equals_the_slow_sum() -> None:
    from scipy.special import ndtr

    rng = np.random.default_rng(2)
    series = rng.uniform(0.5, 1.5, 40)
    centre, sigma = rng.uniform(0, 40, 30), rng.uniform(0.2, 4, 30)
    first = np.clip(np.floor(centre - 3 * sigma), 0, 39).astype(np.int32)
    last = np.clip(np.ceil(centre + 3 * sigma), 1, 40).astype(np.int32)
    mean, p, place = rocking_average(series, centre, sigma, first, last)
    for i in range(30):
        k = np.arange(first[i], last[i])
        share = ndtr((k + 1 - centre[i]) / sigma[i]) - ndtr((k - centre[i]) / sigma[i])
        assert p[i] == pytest.approx(share.sum(), rel=1e-12)
        assert mean[i] == pytest.approx((share * series[k]).sum() / share.sum(), rel=1e-12)
        assert place[i] == pytest.approx((share * (k + 0.5)).sum() / share.sum(), rel=1e-12)


def test_flicker_has_the_size_asked_for() -> None:
    beam, drift = beam_series(np.random.default_rng(1), 20_000, 0.1, 0.008, 0.04)
    assert np.std(beam / drift) == pytest.approx(0.008, rel=0.03)
    assert np.abs(np.diff(np.log(drift))).max() < 0.003


def test_recorded_values_scatter_as_the_true_sigmas_say() -> None:
    n = 40_000
    rng = np.random.default_rng(8)
    full, p = np.full(n, 300.0), np.full(n, 0.7)
    ones = np.ones(n)
    seen = record(rng, Noise(outliers=0.0, failed=0.0), full, p, ones, ones, ones, ones > 0, True)
    for value, sigma, variance, expected in (
        (seen.prf_value, seen.sigma_prf, seen.prf_variance, 300.0),
        (seen.sum_value, seen.sigma_sum, seen.sum_variance, 210.0),
    ):
        assert value.mean() == pytest.approx(expected, rel=0.003)
        assert value.std() == pytest.approx(sigma[0], rel=0.02)
        assert variance.mean() < sigma[0] ** 2  # the program cannot know of the instability
    assert seen.sigma_prf[0] < seen.sigma_sum[0] / 0.7
    dirty = record(rng, Noise(failed=0.0), full, p, ones, ones, ones, ones > 0, True)
    assert np.mean(dirty.outlier != 0) == pytest.approx(0.01, rel=0.2)
    assert np.abs(dirty.outlier[dirty.outlier != 0]).min() >= 5


@pytest.mark.parametrize("intensity", [2.0, 30.0, 2000.0])
def test_integrated_pixels_scatter_as_the_true_sigmas_say(intensity: float) -> None:
    n = 6_000
    full, p, ones = np.full(n, intensity), np.full(n, 0.8), np.ones(n)
    noise = Noise(outliers=0.0, failed=0.0)
    seen = integrate(np.random.default_rng(4), noise, full, p, ones, ones, ones, ones > 0, True)
    for value, sigma, variance, expected, lost in (
        (seen.prf_value, seen.sigma_prf, seen.prf_variance, intensity, 0.06),
        (seen.sum_value, seen.sigma_sum, seen.sum_variance, 0.8 * intensity, 0.03),
    ):
        assert abs(value.mean() - expected) < lost * expected + 4 * sigma[0] / np.sqrt(n)
        assert value.std() == pytest.approx(sigma[0], rel=0.05)
        assert np.median(variance) < 1.1 * sigma[0] ** 2
    assert np.corrcoef(seen.sum_value, seen.prf_value)[0, 1] > 0.6  # the same photons


def test_stills_have_no_scan_and_known_partialities(stills: Path) -> None:
    document = json.loads((stills / "simulated.expt").read_text())
    assert not document["scan"] and not document["goniometer"]
    assert len({e["identifier"] for e in document["experiment"]}) == 100
    table, truth = refl.read(stills / "simulated.refl"), accuracy.load_truth(stills)
    assert "intensity.prf.value" not in table
    assert np.all((table["partiality"] > 0) & (table["partiality"] <= 1))
    ratio = truth["partiality"] / table["partiality"]
    predicted = table["partiality"] * np.sqrt(table["partiality.inv.variance"])
    clear = predicted > 0.02
    assert np.std((ratio - 1)[clear] / predicted[clear]) == pytest.approx(1, abs=0.15)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="74 degrees"):
        _ = Geometry(1.0, 0.5, 0.001).distance


def test_a_centred_cell_has_the_points_of_its_primitive_part() -> None:
    centred, primitive = (lattice_of_volume(group, 20_000.0) for group in ("C2", "P2"))
    ratio = np.prod(centred.cell[:3]) / np.prod(primitive.cell[:3])
    assert ratio == pytest.approx(2.0, rel=1e-3)
    one, other = (sphere(lattice, 2.5) for lattice in (centred, primitive))
    assert len(one) == pytest.approx(len(other), rel=0.01) and not ((one[:, 0] + one[:, 1]) % 2).any()
