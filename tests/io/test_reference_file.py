"""Reference intensities: kinds of file, which columns are taken, and models against sums that are done by hand."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from braggscale.data.reference import Reference, place_reference, similar_cells, turned
from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError, InputError
from braggscale.io.reference_file import read_reference
from braggscale.io.reference_model import ModelRequest

CELL = (20.0, 24.0, 30.0, 90.0, 90.0, 90.0)
HKL = np.array([[1, 2, 3], [2, 0, 1], [3, 1, 0], [4, 4, 4]], np.int32)
REQUEST = ModelRequest(3.0, None, 0.0, 46.0)
P212121 = Symmetry.from_hall("P 2ac 2ab")


def mtz(path: Path, columns: dict[str, tuple[str, list[float]]], group: str = "P 21 21 21", batches: int = 0) -> str:
    file = gemmi.Mtz(with_base=True)
    file.spacegroup = gemmi.SpaceGroup(group)
    file.set_cell_for_all(gemmi.UnitCell(*CELL))
    file.add_dataset("x")
    for label, (kind, _) in columns.items():
        file.add_column(label, kind)
    file.set_data(np.column_stack([HKL, *(values for _, values in columns.values())]).astype(np.float32))
    file.write_to_file(str(path))
    return str(path)


VALUES, SIGMAS = [100.0, 50.0, 9.0, 4.0], [5.0, 2.0, 1.0, 0.5]


def test_intensities_come_before_amplitudes(tmp_path):
    path = mtz(
        tmp_path / "a.mtz",
        {"F": ("F", [10, 7, 3, 2]), "SIGF": ("Q", SIGMAS), "IMEAN": ("J", VALUES), "SIGIMEAN": ("Q", SIGMAS)},
    )
    found = read_reference([path], REQUEST)
    np.testing.assert_allclose(found.intensity, VALUES)
    np.testing.assert_allclose(found.sigma, SIGMAS)
    assert "column IMEAN" in found.what and not found.apart and found.cell == CELL and not found.calculated


def test_amplitudes_are_squared(tmp_path):
    path = mtz(tmp_path / "a.mtz", {"FP": ("F", [10, 7, 3, 2]), "SIGFP": ("Q", SIGMAS)})
    found = read_reference([path], REQUEST)
    np.testing.assert_allclose(found.intensity, [100, 49, 9, 4])
    np.testing.assert_allclose(found.sigma, 2 * np.array([10, 7, 3, 2]) * SIGMAS + np.square(SIGMAS))


def test_mates_stay_apart(tmp_path):
    path = mtz(
        tmp_path / "a.mtz",
        {
            "I(+)": ("K", VALUES),
            "SIGI(+)": ("M", SIGMAS),
            "I(-)": ("K", [2 * v for v in VALUES]),
            "SIGI(-)": ("M", SIGMAS),
        },
    )
    found = read_reference([path], REQUEST)
    assert found.apart and len(found) == 8
    placed = place_reference(found, P212121, CELL)
    assert placed.minus.sum() == 2  # of 1 2 3 and 4 4 4; the others are centric
    assert sorted(placed.intensity[placed.minus]) == pytest.approx([8.0, 200.0])


def test_rows_without_a_sigma_do_not_count(tmp_path):
    path = mtz(tmp_path / "a.mtz", {"I": ("J", VALUES), "SIGI": ("Q", [5.0, 0.0, -1.0, 0.5])})
    assert len(read_reference([path], REQUEST)) == 2


def test_mates_in_an_unmerged_file_stay_apart(tmp_path):
    """Rows of I+ and I- have the same index in such a file; M/ISYM tells them apart."""
    file = gemmi.Mtz(with_base=True)
    file.spacegroup = gemmi.SpaceGroup("P 21 21 21")
    file.set_cell_for_all(gemmi.UnitCell(*CELL))
    file.add_dataset("x")
    for label, kind in (("M/ISYM", "Y"), ("BATCH", "B"), ("I", "J"), ("SIGI", "Q")):
        file.add_column(label, kind)
    rows = [(1, 2, 3, 1, 1, 100, 5), (1, 2, 3, 2, 1, 200, 5), (4, 4, 4, 3, 1, 4, 1), (4, 4, 4, 4, 1, 8, 1)]
    file.set_data(np.array(rows, np.float32))
    file.batches.append(gemmi.Mtz.Batch())
    file.write_to_file(str(tmp_path / "u.mtz"))
    found = read_reference([str(tmp_path / "u.mtz")], REQUEST)
    assert found.apart and found.what == "4 intensities, column I, merged"
    placed = place_reference(found, P212121, CELL)
    assert sorted(placed.intensity[~placed.minus]) == pytest.approx([4.0, 100.0])
    assert sorted(placed.intensity[placed.minus]) == pytest.approx([8.0, 200.0])


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        ("intensity_meas intensity_sigma", VALUES),
        ("F_squared_meas F_squared_sigma", VALUES),
        ("F_meas_au F_meas_sigma_au", np.square(VALUES)),
    ],
)
@pytest.mark.parametrize("prefix", ["_refln.", "_refln_"])
def test_cif_with_data(tmp_path, prefix, names, taken):
    columns = ["index_h", "index_k", "index_l", *names.split()]
    rows = "\n".join(f"{h} {k} {l} {v} {s}" for (h, k, l), v, s in zip(HKL.tolist(), VALUES, SIGMAS, strict=True))
    head = "data_x\n_cell_length_a 20\n_cell_length_b 24\n_cell_length_c 30\n_cell_angle_alpha 90\n"
    head += "_cell_angle_beta 90\n_cell_angle_gamma 90\n_symmetry_space_group_name_H-M 'P 21 21 21'\nloop_\n"
    (tmp_path / "x.cif").write_text(head + "\n".join(prefix + c for c in columns) + "\n" + rows + "\n")
    found = read_reference([str(tmp_path / "x.cif")], REQUEST)
    np.testing.assert_allclose(found.intensity, taken)
    assert found.cell == CELL and found.hall is not None


PDB = """\
CRYST1   20.000   24.000   30.000  90.00  90.00  90.00 P 21 21 21    4
ATOM      1  CA  ALA A   1       2.000   3.000   4.000  1.00 10.00           C
ATOM      2 SE   MSE A   2       7.000  11.000   2.500  1.00 15.00          SE
END
"""


def by_hand(hkl: np.ndarray, minus: bool, wavelength: float) -> float:
    """|F|^2 of the two atoms by summation over everything in the cell."""
    total = 0j
    s2 = sum((h / a) ** 2 for h, a in zip(hkl, CELL, strict=False))
    sign = -1 if minus else 1
    for z, position, b in ((6, (2.0, 3.0, 4.0), 10.0), (34, (7.0, 11.0, 2.5), 15.0)):
        first, second = gemmi.cromer_liberman(z, gemmi.hc / wavelength)
        f = gemmi.Element(z).it92.calculate_sf(s2 / 4) + first + 1j * (second if z > 6 else 0.0)
        x = np.array(position) / np.array(CELL[:3])
        for op in gemmi.SpaceGroup("P 21 21 21").operations():
            y = np.array(op.rot) / op.DEN @ x + np.array(op.tran) / op.DEN
            total += f * np.exp(-b * s2 / 4 + 2j * np.pi * sign * (hkl @ y))
    return abs(total) ** 2


def test_a_model_scatters_as_its_atoms_do(tmp_path):
    (tmp_path / "x.pdb").write_text(PDB)
    found = read_reference([str(tmp_path / "x.pdb")], ModelRequest(2.5, 0.97, 0.0, 46.0))
    assert found.calculated and found.apart and "2 atoms" in found.what
    n = len(found) // 2
    for k in range(0, n, 37):
        assert found.intensity[k] == pytest.approx(by_hand(found.hkl[k], False, 0.97), rel=0.02)
        assert found.intensity[n + k] == pytest.approx(by_hand(-found.hkl[n + k], True, 0.97), rel=0.02)
    assert np.abs(found.intensity[:n] / found.intensity[n:] - 1).max() > 0.02  # selenium above its edge


def test_a_model_in_mmcif_is_that_of_the_pdb_file(tmp_path):
    """In mmCIF files, too, the lines of atoms begin with ATOM and blanks."""
    structure = gemmi.read_pdb_string(PDB)
    structure.setup_entities()
    text = structure.make_mmcif_document().as_string()
    (tmp_path / "x.cif").write_text(text.replace("\nATOM ", "\nATOM   "))
    (tmp_path / "x.pdb").write_text(PDB)
    request = ModelRequest(2.5, 0.97, 0.35, 46.0)
    cif, pdb = (read_reference([str(tmp_path / f"x.{kind}")], request) for kind in ("cif", "pdb"))
    np.testing.assert_array_equal(cif.hkl, pdb.hkl)
    np.testing.assert_allclose(cif.intensity, pdb.intensity, rtol=1e-6)


def test_solvent_weakens_low_resolution_alone(tmp_path):
    (tmp_path / "x.pdb").write_text(PDB)
    without, with_it = (
        read_reference([str(tmp_path / "x.pdb")], ModelRequest(2.5, None, k, 46.0)).intensity for k in (0.0, 0.35)
    )
    d = gemmi.UnitCell(*CELL).calculate_d_array(
        read_reference([str(tmp_path / "x.pdb")], ModelRequest(2.5, None, 0.0, 46.0)).hkl
    )
    change = np.abs(with_it - without)
    assert change[d > 8].sum() > 3 * change[d < 3].sum()


SMALL = """\
data_small
_cell_length_a 8.0
_cell_length_b 12.0
_cell_length_c 5.4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 21 21 21'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
S1 S 0.1 0.2 0.3 0.03
C1 C 0.3 0.1 0.7 0.04
"""


def test_a_small_molecule(tmp_path):
    (tmp_path / "s.cif").write_text(SMALL)
    found = read_reference([str(tmp_path / "s.cif")], ModelRequest(1.0, 1.54, 0.35, 46.0))
    assert found.calculated and found.apart and "direct summation" in found.what
    ratio = found.intensity[: len(found) // 2] / found.intensity[len(found) // 2 :]
    assert 0.001 < np.abs(np.log(ratio)).max() < 2  # sulphur at 1.54 Angstrom


def reference(cell=CELL, hall="P 2ac 2ab", hkl=HKL, apart=False):
    return Reference(hkl, np.array(VALUES), np.array(SIGMAS), apart, cell, hall, "x.mtz", "", False)


def test_symmetry_of_the_reference_is_expanded():
    of_higher = place_reference(reference(hall="P 2ac 2ab"), Symmetry.from_hall("P 1"), CELL)
    assert len(of_higher.asu) == 12  # 4 of each general reflection, 2 of those in a plane
    assert any("expanded" in note for note in of_higher.notes)


def test_equivalents_are_averaged_by_their_weights():
    hkl = np.array([[1, 2, 3], [-1, -2, 3], [3, 1, 0], [4, 4, 4]], np.int32)
    placed = place_reference(reference(hkl=hkl, hall="P 1"), P212121, CELL)
    k = int(np.flatnonzero((placed.asu == [1, 2, 3]).all(axis=1))[0])
    assert placed.intensity[k] == pytest.approx((100 / 25 + 50 / 4) / (1 / 25 + 1 / 4))
    assert placed.sigma[k] == pytest.approx((1 / 25 + 1 / 4) ** -0.5)


def test_axes_in_another_order_are_put_right_and_other_cells_refused():
    other = reference(cell=(30.0, 20.0, 24.0, 90.0, 90.0, 90.0), hkl=HKL[:, [2, 0, 1]])
    placed = place_reference(other, P212121, CELL)
    assert {tuple(h) for h in placed.asu.tolist()} == {
        tuple(h) for h in place_reference(reference(), P212121, CELL).asu.tolist()
    }
    assert any("reordered" in note for note in placed.notes)
    with pytest.raises(InputError, match="its cell 40.00 .* is not that of the data"):
        place_reference(reference(cell=(40.0, 24.0, 30.0, 90.0, 90.0, 90.0)), P212121, CELL)
    assert similar_cells(CELL, CELL) and not similar_cells(CELL, (20.0, 24.0, 30.0, 90.0, 95.0, 90.0))


def test_turned_and_back():
    matrix = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
    np.testing.assert_array_equal(turned(turned(reference(), matrix), np.linalg.inv(matrix)).hkl, HKL)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", InputError, "the file is empty"),
        (b"hello world", InputError, "no reference; expected an MTZ file"),
        (b"MTZ \x00\x00\x00\x00" + bytes(100), InputError, "x"),
        (b"data_x\n_cell.length_a 3\n", InputError, "neither reflections nor a structure"),
        (b"data_x\nloop_\n_diffrn_refln.index_h\n1\n", InputError, "unmerged reflections"),
        (b"!FORMAT=XDS_ASCII    MERGE=FALSE\n", InputError, "reflections of another program .* scale it first"),
        (b"data_x\nloop_\n_a\n'unfinished", InputError, "x"),
        (b"CRYST1\nATOM  ", InputError, "x"),
    ],
)
def test_what_is_no_reference(tmp_path, content, error, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(error, match=message):
        read_reference([str(tmp_path / "x")], REQUEST)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CRYST1   20.000", "CRYST1         ", "no unit cell, or numbers that are none"),
        ("CRYST1   20.000", "CRYST1 9000.000", "cell, 9000 by 24 by 30 Angstrom, is too large for a resolution of 0.2"),
        ("  90.00  90.00  90.00 P", "   1.00  90.00  90.00 P", "no unit cell, or numbers that are none"),
        ("  2.000   3.000", "  2.000  3e4000", "atom 1 has a position"),
        ("  1.00 15.00", "  1.00 1e400", "atom 2 has a position, occupancy or B"),
    ],
)
def test_damaged_models_are_refused_before_they_take_memory(tmp_path, old, new, message):
    assert old in PDB
    (tmp_path / "x.pdb").write_text(PDB.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_reference([str(tmp_path / "x.pdb")], ModelRequest(0.2, 0.97, 0.0, 46.0))


def test_a_name_of_a_column_that_is_no_text(tmp_path):
    path = Path(mtz(tmp_path / "a.mtz", {"IMEAN": ("J", VALUES), "SIGIMEAN": ("Q", SIGMAS)}))
    path.write_bytes(path.read_bytes().replace(b"COLUMN IMEAN", b"COLUMN \x9aMEAN"))
    with pytest.raises(InputError, match=r"a\.mtz: .*utf-8"):
        read_reference([str(path)], REQUEST)


def test_values_that_cannot_be_do_not_count(tmp_path):
    path = mtz(tmp_path / "a.mtz", {"I": ("J", [100.0, 1e30, np.inf, 4.0]), "SIGI": ("Q", [5.0, 1.0, 1.0, 1e30])})
    np.testing.assert_allclose(read_reference([path], REQUEST).intensity, [100.0])


def test_a_missing_file(tmp_path):
    with pytest.raises(CommandError, match="No such file"):
        read_reference([str(tmp_path / "none.mtz")], REQUEST)


def test_an_mtz_file_without_intensities(tmp_path):
    path = mtz(tmp_path / "p.mtz", {"PHI": ("P", VALUES)})
    with pytest.raises(InputError, match="no intensities or amplitudes among the columns"):
        read_reference([path], REQUEST)
