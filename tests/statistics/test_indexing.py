"""Crystals that are indexed in different ways, with known operators."""

import gemmi
import numpy as np
import pytest

from braggscale.data.geometry import inverse_d_squared
from braggscale.data.index_order import unique_indices
from braggscale.data.reindexing import alternatives, matrix_of, reindexed
from braggscale.data.symmetry import Symmetry
from braggscale.statistics.indexing import compressed, find_indexing

CELLS = {
    "P 4": (50.0, 50.0, 80.0, 90.0, 90.0, 90.0),
    "P 3": (60.0, 60.0, 90.0, 90.0, 90.0, 120.0),
    "C 1 2 1": (80.0, 40.0, 60.0, 90.0, 131.81, 90.0),
}


def crystals(group, n_sets, n_rows, error, spread, seed=0):
    """Unique reflection under each operator, data set, x, and the operator that undoes what was done to each."""
    rng = np.random.default_rng(seed)
    symmetry, cell = Symmetry.from_hall(gemmi.SpaceGroup(group).hall), CELLS[group]
    operators = alternatives(cell, symmetry)
    largest = [int(edge / 3.0) for edge in cell[:3]]
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in largest)), -1).reshape(-1, 3).astype(np.int32)
    s = inverse_d_squared(hkl, cell)
    hkl = hkl[(s > 0) & (s < 3.0**-2) & ~symmetry.is_absent(hkl)]
    unique, number = unique_indices(symmetry.asu(hkl)[0])
    truth = rng.exponential(1.0, len(unique))[number]
    chosen = np.concatenate([rng.choice(len(hkl), n_rows, replace=False) for _ in range(n_sets)])
    data_set = np.repeat(np.arange(n_sets), n_rows)
    intensity = truth[chosen] * rng.uniform(1 - spread, 1 + spread, len(chosen)) + rng.normal(0, error, len(chosen))
    done, hkl = rng.integers(0, len(operators), n_sets), hkl[chosen]
    for k, operator in enumerate(operators):
        rows = done[data_set] == k
        hkl[rows] = reindexed(hkl[rows], np.linalg.inv(matrix_of(operator)))
    ways = np.concatenate([symmetry.asu(reindexed(hkl, matrix_of(operator)))[0] for operator in operators])
    under = unique_indices(ways)[1].reshape(len(operators), -1)
    return under, data_set, compressed(intensity), done


def agree(found, done, n_operators):
    """Share of the data sets that are correct up to one operator common to all."""
    table = np.zeros((n_operators, n_operators), int)
    np.add.at(table, (done, found), 1)
    return table.max(axis=1).sum() / len(done)


@pytest.mark.parametrize("group", CELLS)
def test_wedges_are_all_found(group):
    under, data_set, x, done = crystals(group, 40, 400, 0.1, 0.2)
    found = find_indexing(under, data_set, x, np.ones(len(x)), 40)
    assert agree(found.operator, done, len(under)) == 1.0
    assert found.decided.all()


def test_stills_with_partialities_are_nearly_all_found():
    under, data_set, x, done = crystals("P 4", 600, 80, 0.2, 0.8)
    found = find_indexing(under, data_set, x, np.ones(len(x)), 600)
    assert agree(found.operator, done, 2) >= 0.995


def test_crystals_indexed_alike_stay_as_they_are():
    under, data_set, x, done = crystals("P 4", 30, 300, 0.1, 0.2)
    own = under[done[data_set], np.arange(len(x))]
    other = under[1 - done[data_set], np.arange(len(x))]
    found = find_indexing(np.array([own, other]), data_set, x, np.ones(len(x)), 30)
    assert not found.operator.any() and found.decided.all()


def test_data_sets_without_common_reflections_are_left_open():
    unique = np.arange(40).reshape(1, 40).repeat(2, axis=0)
    found = find_indexing(unique, np.repeat([0, 1], 20), np.arange(40.0), np.ones(40), 2)
    assert not found.operator.any() and not found.decided.any() and np.isnan(found.cc).all()


def test_order_of_the_data_sets_does_not_matter():
    under, data_set, x, done = crystals("P 3", 20, 300, 0.1, 0.2)
    rows = np.argsort(-data_set, kind="stable")
    one = find_indexing(under, data_set, x, np.ones(len(x)), 20)
    two = find_indexing(under[:, rows], 19 - data_set[rows], x[rows], np.ones(len(x)), 20)
    assert agree(two.operator[::-1], one.operator, len(under)) == 1.0
