import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggscale.data.reindexing import (
    IDENTITY,
    alternatives,
    lattice_rotations,
    matrix_of,
    reindexed,
    same_rotations,
    text_of,
)
from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError

TETRAGONAL = (50.0, 50.0, 80.0, 90.0, 90.0, 90.0)
HEXAGONAL = (60.0, 60.0, 90.0, 90.0, 90.0, 120.0)


def test_an_operator_means_what_it_says():
    hkl = np.array([[1, 2, 3], [-4, 0, 5]])
    assert reindexed(hkl, matrix_of("k,h,-l")).tolist() == [[2, 1, -3], [0, -4, -5]]
    assert reindexed(hkl, matrix_of("h+k,-k,-l")).tolist() == [[3, -2, -3], [-4, 0, -5]]


@given(st.sampled_from(["h,k,l", "k,h,-l", "-h-k,k,-l", "h+k,-k,-l", "l,h,k", "-h,-k,l"]))
def test_text_and_matrix_are_two_forms_of_one_thing(operator):
    assert text_of(matrix_of(operator)) == operator


@pytest.mark.parametrize("wrong", ["h,k", "x,y,z", "h,k,l+1/2", "2h,k,l", "h/2,k,l", "h,h,l", "h,k,q", ""])
def test_what_is_no_operator_is_refused(wrong):
    with pytest.raises(CommandError, match="write it as k,h,-l"):
        matrix_of(wrong)


@pytest.mark.parametrize(
    ("group", "cell", "n"),
    [
        ("P 4", TETRAGONAL, 2),
        ("P 4 2 2", TETRAGONAL, 1),
        ("P 3", HEXAGONAL, 4),
        ("P 6", HEXAGONAL, 2),
        ("P 6 2 2", HEXAGONAL, 1),
        ("P 21 21 21", (50.0, 50.4, 80.0, 90.0, 90.0, 90.0), 2),
        ("P 21 21 21", (50.0, 60.0, 80.0, 90.0, 90.0, 90.0), 1),
        ("C 1 2 1", (80.0, 40.0, 60.0, 90.0, 131.81, 90.0), 2),  # a + 2c is at right angles to a: accidental
    ],
)
def test_alternatives_are_the_cosets_of_the_lattice(group, cell, n):
    symmetry = Symmetry.from_hall(gemmi.SpaceGroup(group).hall)
    found = alternatives(cell, symmetry)
    assert found[0] == IDENTITY and len(found) == n
    hkl = np.array([[1, 2, 3], [2, 5, 1], [3, 4, 7]])
    orbits = {tuple(symmetry.asu(reindexed(hkl, matrix_of(op)))[0].ravel()) for op in found}
    assert len(orbits) == n  # no two make the same of general reflections


def test_rotations_of_the_lattice_and_groups_that_share_them():
    p3 = Symmetry.from_hall("P 3")
    assert len(lattice_rotations(HEXAGONAL, p3)) == 11
    names = {str(group) for group in same_rotations(Symmetry.from_hall("P 2 2"))}
    assert {"P 2 2 2", "P 21 21 21", "P 21 21 2", "P 2 21 2"} <= names and "P 4" not in names
