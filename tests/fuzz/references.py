"""Small good references: merged and unmerged data, and models of a few atoms, in all forms; and damage to them."""

from __future__ import annotations

import tempfile
from contextlib import chdir
from functools import cache
from pathlib import Path

import gemmi
import io_samples

from braggscale.cli import main

from . import good_files, mutations
from .mutations import Random, pick
from .other_programs import damaged_text

_CELL = (14.8454, 18.2599, 22.8619, 90.0, 90.0, 90.0)  # of the example
_GROUP = "P 21 21 21"
_SITES = (("S1", 0.12, 0.21, 0.33), ("O1", 0.71, 0.44, 0.08), ("N1", 0.41, 0.93, 0.57), ("C1", 0.85, 0.62, 0.79))
_EXPORTS = ("merged_mtz=m.mtz", "unmerged_mtz=u.mtz", "merged_cif=m.cif")


@cache
def table() -> bytes:
    """Reflections to be scaled: enough that a model has those in common with them that are needed."""
    return io_samples.refl(good_files.columns(17), {0: "0", 1: "1"})


@cache
def _data() -> dict[str, bytes]:
    """Exports of this table, scaled, by name."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("in.expt").write_bytes(good_files.experiments())
        Path("in.refl").write_bytes(table())
        if main(["-q", "in.expt", "in.refl", *good_files.QUICK, *_EXPORTS]):
            raise RuntimeError("the undamaged files cannot be scaled")
        return {name: Path(name).read_bytes() for name in ("m.mtz", "u.mtz", "m.cif")}


@cache
def _structure() -> gemmi.Structure:
    """The model as a macromolecule."""
    cell = gemmi.UnitCell(*_CELL)
    text = f"CRYST1{_CELL[0]:9.3f}{_CELL[1]:9.3f}{_CELL[2]:9.3f}{90:7.2f}{90:7.2f}{90:7.2f} {_GROUP:11s}   4\n"
    for n, (name, *x) in enumerate(_SITES, 1):
        place = "".join(f"{v:8.3f}" for v in cell.orthogonalize(gemmi.Fractional(*x)).tolist())
        text += f"ATOM  {n:5d}  {name:3s} ALA A{n:4d}    {place}{1:6.2f}{10:6.2f}          {name[0]:>2s}\n"
    structure = gemmi.read_pdb_string(text + "END\n")
    structure.setup_entities()
    return structure


def _molecule() -> str:
    """The model as a CIF file of a small molecule."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    text = "data_x\n" + "".join(f"_cell_{name} {value}\n" for name, value in zip(names, _CELL, strict=True))
    text += f"_symmetry_space_group_name_H-M '{_GROUP}'\nloop_\n"
    text += "".join(f"_atom_site_{name}\n" for name in ("label", "fract_x", "fract_y", "fract_z", "U_iso_or_equiv"))
    return text + "".join(f"{name} {x} {y} {z} 0.02(1)\n" for name, x, y, z in _SITES)


def damaged_reference(random: Random) -> tuple[str, bytes]:
    """Name and content of a damaged file."""
    kind = pick(random, ("m.mtz", "u.mtz", "m.cif", "x.pdb", "x.cif", "small.cif"))
    if kind in _data() and kind.endswith("mtz"):
        data = _data()[kind]
        return kind, mutations.damaged_mtz(random, data) if random.integers(2) else mutations.damaged_bytes(
            random, data
        )
    text = {
        "m.cif": lambda: _data()["m.cif"].decode(),
        "x.pdb": lambda: str(_structure().make_pdb_string()),
        "x.cif": lambda: _structure().make_mmcif_document().as_string().replace("\nATOM ", "\nATOM   "),
        "small.cif": _molecule,
    }[kind]()
    head = text.rfind("loop_") if kind.endswith("cif") else text.find("ATOM")
    return kind, damaged_text(random, text, max(head, 1))
