import gemmi
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data import symmetry as module
from braggscale.data.geometry import inverse_d_squared
from braggscale.data.index_order import sort_order, unique_indices
from braggscale.data.symmetry import Symmetry
from braggscale.errors import InputError

# One or more settings of every Laue group, primitive and centred, with mirrors and inversion centres, away from the
# reference setting, and in both orientations of 32 and -3m.
NAMES = """P 1|P -1|P 1 21 1|C 1 2 1|I 1 2 1|P 1 m 1|P 1 21/c 1|P 1 1 2|P 2 2 2|P 21 21 21|P 2 21 21|C 2 2 21|F 2 2 2
P m c 21|P n m a|P 43|I 41/a|P 43 21 2|I 41 2 2|P 42 m c|P 31|R 3:H|R 3:R|P 31 1 2|P 31 2 1|R 3 2:H|P 3 1 c|P -3 1 m
P -3 m 1|P 61|P 63/m|P 61 2 2|P 6 c c|P 21 3|F 2 3|I a -3|P 41 3 2|F 4 3 2|F -4 3 m|I a -3 d""".replace(
    "\n", "|"
).split("|")
# Without a table: known by the change of basis that follows a listed symbol.
UNLISTED = [" C 2y (x+y,-x+y,z)", " C 2y (x-y,x+y,z)", " P 2 2 (x+z,y,z)", " P 3 (x,y,z+x)"]

INDICES = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
INDICES = INDICES[INDICES.any(axis=1)].astype(np.int32)


def symmetry_of(name):
    return Symmetry.from_hall(gemmi.SpaceGroup(name).hall)


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_gemmi(name):
    group = gemmi.SpaceGroup(name)
    operators, unit = group.operations(), gemmi.ReciprocalAsu(group)
    symmetry = symmetry_of(name)
    inside, minus = symmetry.asu(INDICES)
    expected = [unit.to_asu(hkl, operators) for hkl in INDICES.tolist()]
    centric = operators.centric_flag_array(INDICES)
    assert inside.dtype == np.int32
    np.testing.assert_array_equal(inside, [hkl for hkl, _ in expected])
    # gemmi numbers operations from 1, twice for each: odd for I+, even for I-
    np.testing.assert_array_equal(minus, [isym % 2 == 0 for _, isym in expected] & ~centric)
    np.testing.assert_array_equal(symmetry.is_centric(INDICES), centric)
    np.testing.assert_array_equal(symmetry.epsilon(INDICES), operators.epsilon_factor_without_centering_array(INDICES))
    np.testing.assert_array_equal(symmetry.is_absent(INDICES), operators.systematic_absences(INDICES))
    assert (symmetry.name, symmetry.number) == (group.xhm(), group.number)
    assert symmetry.centrosymmetric == group.is_centrosymmetric()
    assert symmetry.chiral == group.is_sohncke()


@pytest.mark.parametrize("hall", [gemmi.SpaceGroup(name).hall for name in NAMES] + UNLISTED)
def test_equivalents_share_one_representative(hall):
    symmetry = Symmetry.from_hall(hall)
    inside, minus = symmetry.asu(INDICES)
    for rotation in symmetry.rotations:
        moved = INDICES @ rotation.astype(np.int32)
        again, again_minus = symmetry.asu(moved)
        np.testing.assert_array_equal(again, inside)
        np.testing.assert_array_equal(again_minus, minus)
    mate, mate_minus = symmetry.asu(-INDICES)
    np.testing.assert_array_equal(mate, inside)
    np.testing.assert_array_equal(mate_minus != minus, ~symmetry.is_centric(INDICES))
    assert not symmetry.asu(inside)[1].any()
    # the representative is one of the equivalents: as many as there are orbits
    operators = list(gemmi.symops_from_hall(hall).sym_ops)
    for hkl, representative in zip(INDICES[::17].tolist(), inside[::17].tolist(), strict=True):
        mates = naive.orbit(operators, hkl) | naive.orbit(operators, [-n for n in hkl])
        assert tuple(representative) in mates


@pytest.mark.parametrize("hall", UNLISTED)
def test_setting_without_a_table(hall):
    symmetry = Symmetry.from_hall(hall)
    assert symmetry.name is None
    assert symmetry.number == Symmetry.from_hall(hall.split("(")[0]).number
    # the name that the group has in its tables, and the change of basis
    name, change = Symmetry.from_hall(hall.split("(")[0]).name, hall.split("(")[1]
    assert str(symmetry) == f"{name} ({change}"
    assert symmetry.unit is not None


def test_group_without_any_reference_setting(monkeypatch):
    monkeypatch.setattr(module, "_listed_relative", lambda *_: (None, np.eye(3)))
    unknown, known = Symmetry.from_hall(UNLISTED[0]), Symmetry.from_hall(" C 2y")
    assert (unknown.unit, unknown.number) == (None, None)
    inside, minus = unknown.asu(INDICES)
    mate, mate_minus = unknown.asu(-INDICES)
    np.testing.assert_array_equal(mate, inside)
    np.testing.assert_array_equal(mate_minus != minus, ~unknown.is_centric(INDICES))
    cell = (28.284271, 28.284271, 30, 90, 90, 90)
    assert unknown.possible(cell, 4.9) == known.possible((40, 40, 30, 90, 90, 90), 4.9)


@pytest.mark.parametrize("hall", ["", "nonsense", "P 1 (garbage)", "P 7", "P 2 2 (2x,y,z)", "x" * 5000])
def test_nonsense_is_refused(hall):
    with pytest.raises(InputError, match="is not a Hall symbol"):
        Symmetry.from_hall(hall)


def test_change_of_basis_that_breaks_the_lattice_is_refused():
    with pytest.raises(InputError, match="do not keep a lattice"):
        Symmetry.from_hall(" R 3 (x-y,x+y,z)")


def test_equal_by_operators():
    assert Symmetry.from_hall(" P 2 2") == Symmetry.from_hall("P 2 2")
    assert Symmetry.from_hall(" I 2y") == Symmetry.from_hall(" C 2y (x,y,-x+z)")
    assert Symmetry.from_hall(" P 2 2") != Symmetry.from_hall(" P 2ac 2ab")
    assert len({Symmetry.from_hall(" P 2 2"), Symmetry.from_hall("P 2 2")}) == 1


# Sizes of miller.build_set of cctbx 2022, Friedel mates together: between 15 and 2 A, acentric ones of them, up to 1 A.
COUNTS = [
    (" P 2 2", (5.48, 8.22, 12.15, 90, 90, 90), 58, 17, 377),
    (" P 2ac 2ab", (5.48, 8.22, 12.15, 90, 90, 90), 52, 17, 364),
    (" C 2y", (40, 30, 20, 90, 105, 90), 1584, 1440, 12425),
    (" I 2y", (40, 30, 20, 90, 105, 90), 1590, 1445, 12417),
    (" P 1", (20, 25, 30, 80, 95, 100), 3786, 3786, 30377),
    (" P 4nw 2abw", (30, 30, 50, 90, 90, 90), 1749, 1191, 12933),
    (" F 2 2 3", (50, 50, 50, 90, 90, 90), 751, 631, 5729),
]


@pytest.mark.parametrize("hall, cell, n, acentric, n_high", COUNTS)
def test_possible_reflections_as_cctbx_counts_them(hall, cell, n, acentric, n_high):
    symmetry = Symmetry.from_hall(hall)
    assert symmetry.possible(cell, 2.0, 15.0) == (n, acentric)
    assert symmetry.possible(cell, 1.0)[0] == n_high


@pytest.mark.parametrize("name", ["P 1", "I 1 2 1", "P n m a", "R 3:R", "P 31 1 2", "I 41 2 2", "P 63/m", "F 2 3"])
def test_possible_reflections_one_by_one(name):
    group = gemmi.SpaceGroup(name)
    shape = {"P 1": (11, 80), "R 3:R": (11, 80), "F 2 3": (11, 90)}.get(name)
    cell = gemmi.UnitCell(*[shape[0]] * 3, *[shape[1]] * 3) if shape else gemmi.UnitCell(11, 11, 13, 90, 90, 90)
    if name in ("P 31 1 2", "P 63/m"):
        cell = gemmi.UnitCell(11, 11, 13, 90, 90, 120)
    expected = naive.possible(list(group.operations()), cell, 2.17, 9.3)
    assert symmetry_of(name).possible(cell.parameters, 2.17, 9.3) == expected


def test_shells_add_up():
    symmetry, cell = symmetry_of("P 31 2 1"), (30.0, 30.0, 40.0, 90.0, 90.0, 120.0)
    limits = np.linspace(0.001, 0.2, 8)
    unique, acentric = symmetry.possible_in_shells(cell, limits)
    once = symmetry.possible_in_shells(cell, limits[[0, -1]])
    assert (unique.sum(), acentric.sum()) == (once[0][0], once[1][0])
    assert (unique >= acentric).all()


def test_resolution_agrees_with_gemmi():
    cell = gemmi.UnitCell(20, 25, 30, 80, 95, 100)
    expected = [cell.calculate_1_d2(hkl) for hkl in INDICES.tolist()]
    np.testing.assert_allclose(inverse_d_squared(INDICES, cell.parameters), expected, rtol=1e-12)


rows = st.lists(st.tuples(*[st.integers(-3, 3)] * 3, st.booleans()), max_size=60)


@given(rows)
@settings(max_examples=50, deadline=None)
def test_order_is_stable_and_by_index(found):
    hkl = np.array([r[:3] for r in found], np.int32).reshape(-1, 3)
    minus = np.array([r[3] for r in found], bool)
    expected = sorted(range(len(found)), key=lambda i: found[i])
    np.testing.assert_array_equal(sort_order(hkl, minus), expected)


@pytest.mark.parametrize("largest", [3, 40, 2000, 900_000])
def test_order_and_unique_indices_in_any_range(largest):
    rng = np.random.default_rng(largest)
    hkl = rng.integers(-largest, largest + 1, (3000, 3)).astype(np.int32)
    hkl = np.concatenate((hkl, hkl[::-2]))
    minus = rng.random(len(hkl)) < 0.5
    np.testing.assert_array_equal(sort_order(hkl, minus), np.lexsort((minus, hkl[:, 2], hkl[:, 1], hkl[:, 0])))
    unique, inverse = unique_indices(hkl)
    np.testing.assert_array_equal(unique[inverse], hkl)
    np.testing.assert_array_equal(unique, np.unique(hkl, axis=0))


def test_nothing_gives_nothing():
    none = np.zeros((0, 3), np.int32)
    symmetry = symmetry_of("P 21 21 21")
    inside, minus = symmetry.asu(none)
    assert inside.shape == (0, 3) and minus.shape == (0,)
    assert len(symmetry.epsilon(none)) == len(symmetry.is_absent(none)) == len(sort_order(none, minus)) == 0


def test_wild_index_is_refused():
    with pytest.raises(InputError, match=r"Miller index \(1, 2, 4194304\) of row 1 is out of range"):
        symmetry_of("P 1").asu(np.array([[0, 0, 1], [1, 2, 1 << 22]], np.int32))


@pytest.mark.parametrize("group", ["P 21 21 21", "P 1 2 1", "R 3 :H", "P 4 3 2"])
def test_arranged_as_asu_and_sort_order_say(group):
    rng = np.random.default_rng(2)
    hkl = rng.integers(-6, 7, (3000, 3)).astype(np.int32)
    symmetry = symmetry_of(group)
    asu, minus = symmetry.asu(hkl)
    found = symmetry.arrange(hkl)
    np.testing.assert_array_equal(found.order, sort_order(asu, minus))
    np.testing.assert_array_equal(np.repeat(found.hkl, found.sizes, axis=0), asu[found.order])
    np.testing.assert_array_equal(np.repeat(found.minus, found.sizes), minus[found.order])
    np.testing.assert_array_equal(np.repeat(found.epsilon, found.sizes), symmetry.epsilon(asu)[found.order])
    assert len(np.unique(np.column_stack((found.hkl, found.minus)), axis=0)) == len(found.sizes)
    assert len(symmetry.arrange(hkl[:0]).order) == 0
