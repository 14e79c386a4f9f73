"""Space groups that are right, too high and too low for simulated crystals, and the sentences about them."""

from dataclasses import replace
from types import SimpleNamespace

import gemmi
import numpy as np
import pytest
from crystal_samples import crystal

from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.report.checks import symmetry_entry
from braggscale.report.symmetry_text import symmetry_sentences
from braggscale.statistics.symmetry_check import ScaledRows, check_symmetry, likely_group


def scaled_as(true_group, group, seed=0):
    """Each reflection of the crystal measured twice, sorted as a run with another space group has them."""
    symmetry = Symmetry.from_hall(gemmi.SpaceGroup(group).hall)
    _, cell, hkl, intensity, sigma, _ = crystal(true_group, seed=seed)
    rng = np.random.default_rng(seed)
    hkl, sigma = np.repeat(hkl, 2, axis=0), np.repeat(sigma, 2)
    x = np.repeat(intensity, 2) + sigma * rng.normal(size=len(sigma))
    asu = symmetry.asu(hkl)[0]
    order = np.lexsort(asu.T)
    rows = ScaledRows(Groups.from_keys(asu[order]), hkl[order], asu[order], x[order], sigma[order] ** 2)
    return rows, symmetry, cell


@pytest.mark.parametrize("group", ["P 21 21 21", "P 41 21 2", "P 61", "P n m a"])
def test_the_right_symmetry_holds(group):
    found = check_symmetry(*scaled_as(group, group))
    assert found.denied == () and found.missing == ()
    assert found.likely is not None and group in found.likely.groups


def test_screw_axes_are_found_where_the_run_has_none():
    rows, symmetry, cell = scaled_as("P 21 21 21", "P 2 2 2")
    found = check_symmetry(rows, symmetry, cell)
    assert found.likely is not None and found.likely.groups == ("P 21 21 21",)
    (absences, rotations) = symmetry_sentences(symmetry_entry(as_result(found)), str(symmetry))
    assert "space_group=P212121" in absences and "forbids 16 reflections" in absences
    assert "The intensities have all 3 rotations of P 2 2 2 (CC " in rotations


def test_a_space_group_that_is_too_high_is_denied():
    found = check_symmetry(*scaled_as("P 61", "P 61 2 2"))
    assert len(found.denied) == 6 and all(element.fold == 2 for element in found.denied)
    said = " ".join(symmetry_sentences(symmetry_entry(as_result(found)), "P 61 2 2"))
    assert "do not have" in said and "lower symmetry" in said


def test_errors_that_a_false_element_has_made_large_do_not_hide_it():
    rows, symmetry, cell = scaled_as("P 61", "P 61 2 2")
    found = check_symmetry(replace(rows, variance=1e4 * rows.variance), symmetry, cell)
    assert len(found.denied) == 6 and not {element.operator for element in found.denied} & {"-h,-k,l"}


def test_one_that_is_too_low_misses_rotations():
    found = check_symmetry(*scaled_as("P 41 21 2", "P 41"))
    assert len(found.missing) == 4 and not found.denied
    assert "also have" in " ".join(symmetry_sentences(symmetry_entry(as_result(found)), "P 41"))


def test_nothing_is_said_of_rotations_that_too_few_or_too_weak_reflections_tell():
    """Of a few weak reflections neither the rotations of the run nor those of the lattice are said to hold."""
    rows, symmetry, cell = scaled_as("P 21 21 21", "P 21 21 21")
    rng = np.random.default_rng(5)
    some = rows.of_groups(rng.random(len(rows.groups)) < 0.05)
    weak = replace(some, x=some.x + 20 * some.x.std() * rng.normal(size=len(some.x)))
    weak = replace(weak, variance=np.full(len(weak.x), float(np.var(weak.x))))
    found = check_symmetry(weak, symmetry, cell)
    assert all(found.undecided(element) for element in found.elements if element.used)
    (said,) = [s for s in symmetry_sentences(symmetry_entry(as_result(found)), str(symmetry)) if "rotations" in s]
    assert said.startswith("Whether the intensities have the 3 rotations of P 21 21 21 cannot be told")


def test_the_likely_group_of_merged_data_and_none_where_it_is_theirs():
    symmetry, cell, hkl, intensity, sigma, _ = crystal("P 21 21 21")
    one = (symmetry.asu(hkl)[0] == hkl).all(axis=1)
    rows = hkl[one], intensity[one], sigma[one]
    found = likely_group(*rows, Symmetry.from_hall(gemmi.SpaceGroup("P 2 2 2").hall), cell)
    assert found is not None and str(found[0]) == "P 21 21 21" and found[1].probability > 0.95
    assert likely_group(*rows, symmetry, cell) is None


def test_no_data_say_nothing():
    rows, symmetry, cell = scaled_as("P 61", "P 61")
    none = rows.of_groups(np.zeros(len(rows.groups), bool))
    found = check_symmetry(none, symmetry, cell)
    assert (found.patterns, found.elements, found.likely) == ((), (), None)


def as_result(found):
    return SimpleNamespace(symmetry_check=found)
