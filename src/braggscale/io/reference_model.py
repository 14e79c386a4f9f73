"""Intensities of a structure model: |F|^2 with flat bulk solvent and with the anomalous scattering of its atoms.

Macromolecules: F = F_atoms + k_sol exp(-b_sol s^2/4) F_mask, by Fourier transform of the density (Ten Eyck, Acta
Cryst. A33 (1977) 486) and of a flat mask (Jiang & Bruenger, J. Mol. Biol. 243 (1994) 100), both by gemmi. Small
molecules: direct summation. f' is added to the scattering factors; f'' of atoms with more than LEAST electrons is
summed directly, so that |F(h)|^2 and |F(-h)|^2 differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.reference import Reference
from braggscale.errors import InputError
from braggscale.io.new_experiments import as_cell
from braggscale.numerics.array_types import Array, Complex, Float

LEAST = 0.3  # f'', electrons; the anomalous scattering of atoms with less is neglected
MOST_PRODUCTS = 2e8  # atoms x operators x reflections of the direct sum
_PDB = ("ATOM  ", "HETATM", "CRYST1", "HEADER", "TITLE ", "REMARK")
LONGEST_EDGE = 1e4  # Angstrom
MOST_POINTS = 2e8  # volume of the cell over d_min^3
# Atoms within so many cells, with such occupancies and B (or U): beyond them are damaged numbers.
FARTHEST, MOST_OCCUPANCY, MOST_B = 1e3, 10.0, 1e4
ELECTRONS_BELOW = 0.1  # Angstrom: no X-rays are that short


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """``d_min``: Angstrom.  ``wavelength``: Angstrom, None where it is not known.  ``k_sol``, ``b_sol``: bulk
    solvent.
    """

    d_min: float
    wavelength: float | None
    k_sol: float
    b_sol: float

    @property
    def electrons(self) -> bool:
        """Whether the crystal was measured with electrons."""
        return self.wavelength is not None and self.wavelength < ELECTRONS_BELOW


def is_structure(text: str) -> bool:
    """Whether a text has the records of a PDB file."""
    return any(line.startswith(_PDB[:2]) for line in text.splitlines())


def from_macromolecule(path: str, text: str, request: ModelRequest, cif: bool) -> Reference:
    """|F|^2 of a PDB or mmCIF file, all unique reflections to d_min.  Raises InputError for a damaged one.

    ``cif``: whether it is mmCIF, where atoms may be in lines that begin as in a PDB file.
    """
    import gemmi

    try:
        structure = _from_cif(gemmi, path, text) if cif else gemmi.read_pdb_string(text)
        group = structure.find_spacegroup()
        if len(structure) == 0 or group is None:
            raise InputError(f"{path}: the model has no atoms, or no space group")
        cell = _cell(path, structure.cell, request.d_min)
        places = [(*one.atom.pos.tolist(), one.atom.occ, one.atom.b_iso) for one in structure[0].all()]
        _check_atoms(path, places, max(cell[:3]))
        hkl, total = _sum_of_density(gemmi, structure, request)
        anomalous = None if request.electrons else _anomalous(gemmi, structure, hkl, request.wavelength)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: {str(error)[:160]}") from None
    n = sum(1 for _ in structure[0].all())
    what = f"|F|^2 of {n} atoms, bulk solvent k {request.k_sol:g}, B {request.b_sol:g}"
    return _reference(path, hkl, total, anomalous, cell, str(group.hall), what)


def _from_cif(gemmi: Any, path: str, text: str) -> Any:
    for block in gemmi.cif.read_string(text):
        if block.find_values("_atom_site.Cartn_x"):
            return gemmi.make_structure_from_block(block)
    raise InputError(f"{path}: no atoms")


def _sum_of_density(gemmi: Any, structure: Any, request: ModelRequest) -> tuple[Array, Complex]:
    """Indices of all unique reflections, (n, 3), and F, (n,)."""
    model = structure[0]
    calculator = gemmi.DensityCalculatorE() if request.electrons else gemmi.DensityCalculatorX()
    calculator.d_min = request.d_min
    calculator.rate = 1.5
    if request.wavelength is not None and not request.electrons:
        calculator.addends.clear()
        calculator.addends.add_cl_fprime(gemmi.hc / request.wavelength)
    calculator.set_refmac_compatible_blur(model)
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.put_model_density_on_grid(model)
    atoms = gemmi.transform_map_to_f_phi(calculator.grid, half_l=True).prepare_asu_data(
        dmin=request.d_min, unblur=calculator.blur
    )
    hkl, total = np.array(atoms.miller_array, np.int32), np.array(atoms.value_array, np.complex128)
    if request.k_sol > 0 and not request.electrons:
        mask = gemmi.FloatGrid()
        mask.setup_from(structure, spacing=min(0.6, 0.35 * request.d_min + 0.2))
        gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(mask, model)
        solvent = gemmi.transform_map_to_f_phi(mask, half_l=True)
        flat = np.array([complex(solvent.get_value(*h)) for h in hkl.tolist()])
        s2 = np.array(structure.cell.calculate_1_d2_array(hkl))
        total = total + request.k_sol * np.exp(-request.b_sol * s2 / 4.0) * flat
    return hkl, total


def _anomalous(gemmi: Any, structure: Any, hkl: Array, wavelength: float | None) -> Complex | None:
    """i F'' of h, (n,): the part of F whose sign changes between mates; None where nothing scatters anomalously."""
    if wavelength is None:
        return None
    energy = gemmi.hc / wavelength
    place, weight, b = [], [], []
    known: dict[int, float] = {}
    for chain_atom in structure[0].all():
        atom = chain_atom.atom
        z = atom.element.atomic_number
        if z not in known:
            known[z] = gemmi.cromer_liberman(z, energy)[1] if z > 2 else 0.0
        if known[z] > LEAST:
            place.append(structure.cell.fractionalize(atom.pos).tolist())
            weight.append(known[z] * atom.occ)
            b.append(atom.b_iso)
    group = structure.find_spacegroup().operations()
    return _direct_sum(hkl, np.array(place), np.array(weight), np.array(b), _operators(group), structure.cell)


def _operators(group: Any) -> list[tuple[Float, Float]]:
    return [(np.array(op.rot) / op.DEN, np.array(op.tran) / op.DEN) for op in group]


def _direct_sum(
    hkl: Array, place: Float, weight: Float, b: Float, operators: list[tuple[Float, Float]], cell: Any
) -> Complex | None:
    """i sum f'' exp(-B s^2/4) exp(2 pi i h x) over atoms and operators, (n,)."""
    if len(weight) == 0 or len(weight) * len(operators) * len(hkl) > MOST_PRODUCTS:
        return None
    s2 = np.array(cell.calculate_1_d2_array(hkl))
    total = np.zeros(len(hkl), np.complex128)
    for turn, shift in operators:
        x = place @ turn.T + shift
        for k in range(len(weight)):
            total += weight[k] * np.exp(-b[k] * s2 / 4.0 + 2j * np.pi * (hkl @ x[k]))
    return 1j * total


def from_small_molecule(path: str, block: Any, request: ModelRequest) -> Reference:
    """|F|^2 of a core CIF by direct summation, all unique reflections to d_min.

    Raises InputError for a damaged file.
    """
    import gemmi

    try:
        small = gemmi.make_small_structure_from_block(block)
        group = small.spacegroup
        if group is None or len(small.sites) == 0:
            raise InputError(f"{path}: the model has no atoms, or no space group")
        cell = _cell(path, small.cell, request.d_min)
        _check_atoms(path, [(*site.fract.tolist(), site.occ, site.u_iso) for site in small.sites], 1.0)
        small.change_occupancies_to_crystallographic()
        small.setup_cell_images()
        electrons = request.electrons
        calculator = (
            gemmi.StructureFactorCalculatorE(small.cell) if electrons else gemmi.StructureFactorCalculatorX(small.cell)
        )
        if request.wavelength is not None and not electrons:
            calculator.addends.add_cl_fprime(gemmi.hc / request.wavelength)
        hkl = np.array(gemmi.make_miller_array(small.cell, group, request.d_min), np.int32)
        total = np.array([calculator.calculate_sf_from_small_structure(small, h) for h in hkl.tolist()], np.complex128)
        anomalous = None
        if request.wavelength is not None and not electrons:
            energy = gemmi.hc / request.wavelength
            strength = [gemmi.cromer_liberman(max(s.element.atomic_number, 3), energy)[1] for s in small.sites]
            some = [k for k, f in enumerate(strength) if f > LEAST]
            place = np.array([small.sites[k].fract.tolist() for k in some])
            weight = np.array([strength[k] * small.sites[k].occ for k in some])
            b = np.array([8 * np.pi**2 * small.sites[k].u_iso for k in some])
            anomalous = _direct_sum(hkl, place, weight, b, _operators(group.operations()), small.cell)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: {str(error)[:160]}") from None
    what = f"|F|^2 of {len(small.sites)} atoms by direct summation"
    return _reference(path, hkl, total, anomalous, cell, str(group.hall), what)


def _reference(
    path: str, hkl: Array, total: Complex, anomalous: Complex | None, cell: UnitCell, hall: str, what: str
) -> Reference:
    if anomalous is None:
        intensity, every = np.abs(total) ** 2, hkl
    else:
        intensity = np.concatenate([np.abs(total + anomalous) ** 2, np.abs(total - anomalous) ** 2])
        every = np.concatenate([hkl, -hkl])
        what += ", mates apart"
    return Reference(
        every.astype(np.int32), intensity, np.zeros(len(intensity)), anomalous is not None, cell, hall, path,
        f"{len(hkl)} {what}", True,
    )  # fmt: skip


def _cell(path: str, cell: Any, d_min: float) -> UnitCell:
    """The cell of a model; refuses one that is none, or so large that the density would take all memory."""
    found = as_cell([float(x) for x in cell.parameters])
    if found is None or max(found[:3]) > LONGEST_EDGE or min(found[3:]) < 20 or max(found[3:]) > 160:
        raise InputError(f"{path}: the model has no unit cell, or numbers that are none")
    points = float(np.prod(found[:3])) / d_min**3
    if points > MOST_POINTS:
        raise InputError(
            f"{path}: its cell, {found[0]:g} by {found[1]:g} by {found[2]:g} Angstrom, is too large for a resolution "
            f"of {d_min:g} Angstrom; give a larger d_min="
        )
    return found


def _check_atoms(path: str, atoms: Sequence[tuple[float, ...]], unit: float) -> None:
    """Raises InputError for damaged numbers.  ``atoms``: position, occupancy, B or U.  ``unit``: edge of the cell."""
    for number, (*place, occupancy, b) in enumerate(atoms, 1):
        if not (np.abs(place).max() < FARTHEST * unit and abs(occupancy) < MOST_OCCUPANCY and abs(b) < MOST_B):
            raise InputError(f"{path}: atom {number} has a position, occupancy or B that cannot be")
    if not any(occupancy > 0 for *_, occupancy, _ in atoms):
        raise InputError(f"{path}: no atom of the model has an occupancy above 0")
