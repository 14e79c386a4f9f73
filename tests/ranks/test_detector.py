"""The map of the detector over ranks: sums against plain arithmetic, a known response, the same for any ranks."""

from types import SimpleNamespace

import numpy as np
import pytest
from rank_threads import run_on

from braggscale.numerics.compiled import crystal_detector as kernels
from braggscale.numerics.compiled.crystal_detector import STEPS
from braggscale.ranks.communicator import Alone
from braggscale.ranks.crystal_rows import CrystalRows, CrystalScales
from braggscale.ranks.detector import Detector, common_detector, detector_map_of, fit_map
from braggscale.ranks.exact_sums import ExactSums
from braggscale.ranks.reflections import Reflections

SIZE, N_CRYSTALS, OF_CRYSTAL, N = (1000, 800), 60, 400, 500
EDGES = ((0.0, 500.0, 1000.0), (0.0, 400.0, 800.0))
STEP_OF_MODULE = 0.05


class World:
    """Rows of crystals on a detector whose response falls from one side to the other."""

    def __init__(self, modules: bool = False, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.detector = Detector(SIZE, EDGES if modules else None)
        n = N_CRYSTALS * OF_CRYSTAL
        self.h = np.sort(rng.integers(0, N, (N_CRYSTALS, OF_CRYSTAL)), axis=1).ravel()
        self.crystal = np.repeat(np.arange(N_CRYSTALS), OF_CRYSTAL)
        self.k = np.exp(0.3 * rng.normal(size=N_CRYSTALS))
        self.s = rng.uniform(0.01, 0.1, N)
        self.truth = rng.exponential(1000.0, N) + 100.0
        # resolution follows from the distance to the centre
        radius, angle = 400.0 * np.sqrt((self.s[self.h] - 0.01) / 0.09), rng.uniform(0, 2 * np.pi, n)
        self.xyz = np.column_stack((500.0 + radius * np.cos(angle), 400.0 + radius * np.sin(angle), np.zeros(n)))
        self.response = np.exp(0.2 * (self.xyz[:, 0] / SIZE[0] - 0.5))
        if modules:
            self.response *= np.where(self.xyz[:, 1] > 400.0, 1.0 + STEP_OF_MODULE, 1.0)
        mu = self.k[self.crystal] * self.truth[self.h] * self.response
        self.variance = mu + 10.0
        self.intensity = mu + np.sqrt(self.variance) * rng.normal(size=n)

    def rows(self, ranks) -> CrystalRows:
        """The share of a rank."""
        first, last = (N_CRYSTALS * (ranks.rank + more) // ranks.size for more in (0, 1))
        part = slice(first * OF_CRYSTAL, last * OF_CRYSTAL)
        n, crystals = part.stop - part.start, last - first
        return CrystalRows(
            np.arange(crystals + 1) * OF_CRYSTAL, (2 * self.h[part]).astype(np.int32), self.intensity[part].copy(),
            self.variance[part].copy(), self.s[self.h[part]], np.ones(n, np.float32), np.zeros(0, np.float32),
            np.zeros(n, bool), np.zeros(n, bool), (1.0 / self.variance[part]).astype(np.float32), np.zeros(crystals),
            np.arange(first, last).astype(np.uint64), np.zeros(crystals, bool), False,
            self.detector.positions(self.xyz[part]),
        )  # fmt: skip

    def begun(self, ranks):
        """Rows, scales, sums and the map of a rank."""
        rows, sums = self.rows(ranks), ExactSums(ranks)
        hkl = np.stack((np.arange(N), *2 * (np.ones(N, int),)), axis=1).astype(np.int32)
        counts = np.bincount(2 * self.h, minlength=2 * N)
        reflections = Reflections(hkl, np.arange(N), np.ones(N), counts)
        shell = np.clip(((self.s - 0.01) / 0.09 * 10).astype(np.int64), 0, 9)
        found = detector_map_of(ranks, rows, rows.place, self.detector, reflections, shell, True)
        mine = np.unique(rows.key).astype(int)
        nothing = np.zeros(len(mine))
        return rows, CrystalScales(self.k[mine], nothing, nothing, nothing + 1.0), sums, found

    def fitted(self, ranks, turns: int = 3):
        """Parameters after some steps, with the true intensities."""
        rows, crystals, sums, found = self.begun(ranks)
        total = np.bincount(2 * self.h, self.k[self.crystal] ** 2 / self.variance, 2 * N)
        means = np.repeat(self.truth, 2), total, np.zeros(N, bool)
        for _ in range(turns):
            change = fit_map(ranks, sums, rows, crystals, found, means, len(self.h), True)
        return found, rows, change


def test_sums_are_those_of_plain_arithmetic():
    world = World()
    rows, crystals, _, found = world.begun(Alone())
    n, n_cells = len(found.theta), STEPS * STEPS
    up, total, largest = np.full((n_cells, 2), 2.0**30), np.zeros((n_cells, 2), np.int64), np.zeros((n_cells, 2))
    below = np.bincount(2 * world.h, world.k[world.crystal] ** 2 / world.variance, 2 * N)
    kernels.cell_sums(
        0, N_CRYSTALS, rows.arrays(), crystals.arrays(), np.zeros(N, bool), rows.weight, np.repeat(world.truth, 2),
        below, rows.place, (up, total, largest),
    )  # fmt: skip
    matrix, slope = np.zeros((n, n)), np.zeros(n)
    kernels.normal_matrix(total / up, found.tables, matrix, slope)
    g = world.k[world.crystal]
    shares = np.zeros((len(g), n))
    x_first, x_share, _, y_first, y_share, _, n_x, _ = found.tables
    x, y = rows.place.astype(int) // STEPS, rows.place.astype(int) % STEPS
    for b in range(3):
        for a in range(3):
            column = x_first[x] + a + n_x * (y_first[y] + b)
            np.add.at(shares, (np.arange(len(g)), column), x_share[x, a] * y_share[y, b])
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(g)))
    mu, w = g * world.truth[world.h], rows.weight.astype(float)
    size = w * mu**2 * (1.0 - w * g**2 / below[2 * world.h])
    assert slope == pytest.approx(shares.T @ (w * (world.intensity - mu) * mu), abs=1e-3)
    assert matrix == pytest.approx(np.triu(shares.T @ (size[:, None] * shares)), abs=1e-3)
    theta = np.random.default_rng(3).normal(size=n)
    assert found.values(theta)[rows.place] == pytest.approx(np.exp(shares @ theta))


def test_a_known_response_is_found_and_rows_are_divided_by_it():
    world = World()
    found, rows, change = world.fitted(Alone())
    value = found.response(slice(0, len(world.h)))
    # the noise of v at one place is about 0.003
    assert np.std(np.log(value / world.response)) < 0.006
    assert change < 1e-3
    assert rows.intensity * value == pytest.approx(world.intensity, rel=1e-12)
    assert rows.variance * value**2 == pytest.approx(world.variance, rel=1e-12)
    assert rows.factor * value == pytest.approx(np.ones(len(value)), rel=1e-5)
    assert "Map of the detector: 18 x 18, from 0.8" in found.sentence()


def test_no_shell_of_resolution_is_changed_by_the_map():
    world = World()
    found = world.fitted(Alone())[0]
    value = np.log(found.response(slice(0, len(world.h))))
    shell = np.clip(((world.s - 0.01) / 0.09 * 10).astype(np.int64), 0, 9)[world.h]
    assert np.bincount(shell, value) / np.bincount(shell) == pytest.approx(np.zeros(10), abs=1e-9)


def test_steps_between_modules_are_found():
    world = World(modules=True)
    found = world.fitted(Alone())[0]
    assert found.edges == EDGES and len(found.theta) == 18 * 18 + 4
    value = found.response(slice(0, len(world.h)))
    beside = [np.abs(world.xyz[:, 1] - y) < 8.0 for y in (390.0, 410.0)]
    low, high = (np.mean(np.log(value)[rows] - 0.2 * (world.xyz[rows, 0] / SIZE[0] - 0.5)) for rows in beside)
    assert high - low == pytest.approx(np.log(1.0 + STEP_OF_MODULE), abs=0.015)
    assert "its 4 modules" in found.sentence()


def test_the_mean_of_the_modules_does_not_drift():
    world = World(modules=True)
    # scales that are wrong by a common factor, as beside a reference: the modules do not take it
    world.k = world.k * 1.05
    found = world.fitted(Alone())[0]
    module = (world.xyz[:, 0] >= 500.0) + 2 * (world.xyz[:, 1] >= 400.0)
    assert np.bincount(module) @ found.theta[-4:] == pytest.approx(0.0, abs=1e-6 * len(module))


def test_a_detector_without_a_response_gets_a_flat_map():
    world = World()
    world.intensity = world.intensity / world.response
    found = world.fitted(Alone(), 5)[0]
    assert np.abs(found.theta).max() < 0.01 and found.strengths["modulation"] > 1e5


@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_same_bits_for_any_number_of_ranks(size):
    world = World(modules=True)
    alone = world.fitted(Alone())[0]
    for found, _, _ in run_on(size, world.fitted):
        assert (found.theta == alone.theta).all() and (found.esd == alone.esd).all()
        assert found.strengths == alone.strengths


def experiment(size, n_panels=1, masked=()):
    return SimpleNamespace(panels=n_panels * [SimpleNamespace(image_size=size, masked=masked)])


def test_a_map_wants_one_panel_for_all():
    gap = ((480, 0, 500, 800),)
    one = common_detector(Alone(), [experiment(SIZE, masked=gap), experiment(SIZE, masked=gap)])
    assert one == Detector(SIZE, ((0.0, 490.0, 1000.0), (0.0, 800.0)))
    assert common_detector(Alone(), [experiment(SIZE)]) == Detector(SIZE, None)
    assert common_detector(Alone(), [experiment(SIZE), experiment((1000, 801))]) is None
    assert common_detector(Alone(), [experiment(SIZE, 2)]) is None
    # a rank without files has nothing to say
    found = run_on(2, lambda ranks: common_detector(ranks, [experiment(SIZE)] if ranks.rank else []))
    assert found == 2 * [Detector(SIZE, None)]


def test_places_beside_the_panel_count_as_its_edge():
    xyz = np.array([[-5.0, 10.0, 0.0], [1000.0, 900.0, 0.0], [500.0, 400.0, 0.0]])
    place = Detector(SIZE, None).positions(xyz).astype(np.int64)
    assert (place // STEPS).tolist() == [0, STEPS - 1, STEPS // 2]
    assert (place % STEPS).tolist() == [int(10 / 800 * STEPS), STEPS - 1, STEPS // 2]
