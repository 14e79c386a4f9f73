"""Systematic absences and symmetry elements of made-up crystals with known symmetry."""

import numpy as np
import pytest
from crystal_samples import CELLS, crystal

from braggscale.data.reindexing import lattice_rotations, same_rotations
from braggscale.data.symmetry import Symmetry
from braggscale.statistics.absences import judge_absences
from braggscale.statistics.symmetry_elements import symmetry_elements


@pytest.mark.parametrize("group", CELLS)
def test_the_space_group_is_among_the_most_probable(group):
    symmetry, _, hkl, intensity, sigma, d = crystal(group)
    one = (symmetry.asu(hkl)[0] == hkl).all(axis=1)
    patterns = judge_absences(hkl[one], intensity[one], sigma[one], d[one], symmetry, same_rotations(symmetry))
    best = patterns[0]
    assert str(symmetry) in best.groups and best.probability > 0.95
    assert sum(pattern.probability for pattern in patterns) == pytest.approx(1.0)


def test_the_same_group_about_another_origin_is_not_suggested():
    names = [str(group) for group in same_rotations(Symmetry.from_hall("C 2 2"))]
    assert sorted(names) == ["C 2 2 2", "C 2 2 21"]
    names = [str(group) for group in same_rotations(Symmetry.from_hall("-P 2 2"))]
    assert "P n n n:2" in names and "P n n n:1" not in names
    assert "P n n n:1" in [str(group) for group in same_rotations(Symmetry.from_hall("P 2 2 -1n"))]


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
