"""Systematic absences and symmetry elements of made-up crystals with known symmetry."""

import gemmi
import numpy as np
import pytest

from braggscale.data.geometry import inverse_d_squared
from braggscale.data.index_order import unique_indices
from braggscale.data.reindexing import lattice_rotations, same_rotations
from braggscale.data.symmetry import Symmetry
from braggscale.statistics.absences import judge_absences
from braggscale.statistics.symmetry_elements import symmetry_elements

ORTHORHOMBIC = (12.0, 16.0, 21.0, 90.0, 90.0, 90.0)
CELLS = {
    "P 21 21 21": ORTHORHOMBIC,
    "P 21 21 2": ORTHORHOMBIC,
    "P 2 2 2": ORTHORHOMBIC,
    "P n m a": ORTHORHOMBIC,
    "C 1 2/c 1": (12.0, 16.0, 21.0, 90.0, 103.0, 90.0),
    "P 41 21 2": (14.0, 14.0, 25.0, 90.0, 90.0, 90.0),
    "P 61": (14.0, 14.0, 25.0, 90.0, 90.0, 120.0),
}


def crystal(group, d_min=1.6, noise=0.05, seed=0):
    """Reflections without symmetry but Friedel's law: index, intensity, sigma, d; absent ones are 0 but for errors."""
    rng = np.random.default_rng(seed)
    symmetry, cell = Symmetry.from_hall(gemmi.SpaceGroup(group).hall), CELLS[group]
    largest = [int(edge / d_min) for edge in cell[:3]]
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in largest)), -1).reshape(-1, 3).astype(np.int32)
    s = inverse_d_squared(hkl, cell)
    inside = (s > 0) & (s < d_min**-2)
    hkl, d = hkl[inside], s[inside] ** -0.5
    first = Symmetry.from_hall("P 1").asu(hkl)[0]
    one = (first == hkl).all(axis=1)
    hkl, d = hkl[one], d[one]
    unique, number = unique_indices(symmetry.asu(hkl)[0])
    acentric, centric = rng.exponential(1.0, len(unique)), rng.normal(size=len(unique)) ** 2
    j = np.where(symmetry.is_centric(unique), centric, acentric) * symmetry.epsilon(unique)
    j = np.where(symmetry.is_absent(unique), 0.0, j)[number]
    sigma = np.full(len(hkl), noise)
    return symmetry, cell, hkl, j + sigma * rng.normal(size=len(hkl)), sigma, d


@pytest.mark.parametrize("group", CELLS)
def test_the_space_group_is_among_the_most_probable(group):
    symmetry, _, hkl, intensity, sigma, d = crystal(group)
    one = (symmetry.asu(hkl)[0] == hkl).all(axis=1)
    patterns = judge_absences(hkl[one], intensity[one], sigma[one], d[one], symmetry, same_rotations(symmetry))
    best = patterns[0]
    assert str(symmetry) in best.groups and best.probability > 0.95
    assert sum(pattern.probability for pattern in patterns) == pytest.approx(1.0)


def test_one_wrong_reflection_does_not_hide_a_screw_axis():
    symmetry, _, hkl, intensity, sigma, d = crystal("P 21 21 21")
    one = (symmetry.asu(hkl)[0] == hkl).all(axis=1)
    hkl, intensity, sigma, d = hkl[one], intensity[one].copy(), sigma[one], d[one]
    intensity[(hkl == [3, 0, 0]).all(axis=1)] = 1.0
    best = judge_absences(hkl, intensity, sigma, d, symmetry, same_rotations(symmetry))[0]
    assert best.groups == ("P 21 21 21",)


def test_without_axial_reflections_nothing_is_said():
    symmetry, _, hkl, intensity, sigma, d = crystal("P 21 21 21")
    general = (hkl != 0).all(axis=1)
    rows = hkl[general], intensity[general], sigma[general], d[general]
    assert judge_absences(*rows, symmetry, same_rotations(symmetry)) == []


def test_elements_of_the_lattice_that_the_crystal_has_and_has_not():
    symmetry, cell, hkl, intensity, sigma, d = crystal("P 61")
    rotations = lattice_rotations(cell, symmetry)
    ours = {tuple(np.rint(r).astype(int).ravel()) for r in symmetry.rotations}
    used = [tuple(np.rint(r).astype(int).ravel()) in ours for r in rotations]
    found = symmetry_elements(hkl, intensity, sigma, d, rotations, used, 0.99)
    assert sorted(e.fold for e in found if e.used) == [2, 3, 3, 6, 6]
    for element in found:
        assert (element.probability > 0.9) == element.used, element
        assert (element.cc > 0.9) == element.used and (element.r_meas < 0.2) == element.used
