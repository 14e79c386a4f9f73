"""Anisotropy, pseudo-translation and twinning of made-up crystals whose truth is known."""

import gemmi
import numpy as np
import pytest

from braggscale.data.geometry import inverse_d_squared, reciprocal_matrix
from braggscale.data.symmetry import Symmetry
from braggscale.report.numbers.intensity_tests import intensity_tests

CELL = (40.0, 52.0, 61.0, 90.0, 90.0, 90.0)
TETRAGONAL = (45.0, 45.0, 70.0, 90.0, 90.0, 90.0)


def reflections(group, cell, d_min=2.5):
    """Unique reflections with intensities of Wilson's distribution, all of mean 1."""
    symmetry = Symmetry.from_hall(gemmi.SpaceGroup(group).hall)
    largest = [int(edge / d_min) for edge in cell[:3]]
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in largest)), -1).reshape(-1, 3).astype(np.int32)
    s = inverse_d_squared(hkl, cell)
    hkl = hkl[(s > 0) & (s < d_min**-2)]
    asu = np.unique(symmetry.asu(hkl)[0], axis=0)
    rng = np.random.default_rng(1)
    return symmetry, asu, rng.exponential(1.0, len(asu))


def found_in(asu, value, symmetry, cell):
    n = len(asu)
    return intensity_tests(asu, value, value, np.ones(n, bool), np.zeros(n, bool), symmetry, cell)


def test_anisotropy_is_found_with_its_directions_and_error():
    symmetry, asu, z = reflections("P 21 21 21", CELL)
    q = asu @ reciprocal_matrix(CELL).T
    b = np.array([-8.0, -2.0, 10.0])
    found = found_in(asu, z * np.exp(-0.5 * (q**2) @ b), symmetry, CELL).anisotropy
    assert found.b == pytest.approx(b, abs=4 * found.esd) and found.esd < 1.5
    assert [np.argmax(np.abs(v)) for v in found.directions] == [0, 1, 2]
    none = found_in(asu, z, symmetry, CELL).anisotropy
    assert max(map(abs, none.b)) < 4 * none.esd


def test_a_tetragonal_crystal_is_the_same_along_a_and_b():
    symmetry, asu, z = reflections("P 4", TETRAGONAL)
    q = asu @ reciprocal_matrix(TETRAGONAL).T
    found = found_in(asu, z * np.exp(-0.5 * (q**2) @ [9.0, 9.0, -18.0]), symmetry, TETRAGONAL).anisotropy
    assert found.b[1] == pytest.approx(found.b[2], abs=1e-2)
    assert found.b[0] == pytest.approx(-18.0, abs=4 * found.esd)


def test_a_pseudo_translation_makes_a_peak_far_from_the_origin():
    """Copies of everything half way along c: intensities of odd l are weak."""
    symmetry, asu, z = reflections("P 21 21 21", CELL)
    weak = np.where(asu[:, 2] % 2 == 1, 0.1, 1.0)
    found = found_in(asu, z * weak, symmetry, CELL).patterson
    assert found.height > 0.5 and found.place == pytest.approx([0.0, 0.0, 0.5], abs=0.02)
    assert found_in(asu, z, symmetry, CELL).patterson.height < 0.2
    small = (12.0, 14.0, 16.0, 90.0, 90.0, 90.0)
    assert found_in(*reflections("P 21 21 21", small, 0.9)[1:], symmetry, small).patterson is None


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.4])
def test_a_twin_fraction_comes_back(fraction):
    symmetry, asu, z = reflections("P 4", TETRAGONAL)
    place = {tuple(h): k for k, h in enumerate(asu.tolist())}
    partner, _ = symmetry.asu(asu[:, [1, 0, 2]] * np.array([1, 1, -1]))
    other = np.array([place[tuple(h)] for h in partner.tolist()])
    (law,) = found_in(asu, (1 - fraction) * z + fraction * z[other], symmetry, TETRAGONAL).twin_laws
    assert law.fraction == pytest.approx(fraction, abs=5 * law.esd + 0.005)


def test_too_few_reflections_say_nothing():
    symmetry, asu, z = reflections("P 4", TETRAGONAL)
    found = found_in(asu[:50], z[:50], symmetry, TETRAGONAL)
    assert (found.anisotropy, found.patterson, found.twin_laws) == (None, None, [])
