"""Common parts of merged and unmerged mmCIF files (PDBx version 5): the head of a block, and statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale import __version__
from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Int
from braggscale.statistics.catalogue import IN_CIF, CifItem, Statistic, chosen
from braggscale.statistics.merging_statistics import Statistics
from braggscale.statistics.shell_statistics import Shell


def loop(category: str, names: Sequence[str]) -> str:
    """The beginning of a loop over items of one category."""
    return "loop_\n" + "".join(f"{category}.{name}\n" for name in names)


def head(entry: str, symmetry: Symmetry, cell: UnitCell, wavelengths: Sequence[float], of: Int) -> str:
    """The text of a block before statistics and reflections.

    ``entry``: name of the block.  ``wavelengths``: Angstrom.  ``of``: number of the wavelength of each diffraction
    experiment, (n_experiments,).
    """
    items: list[tuple[str, object]] = [
        ("_entry.id", entry),
        ("_audit.revision_id", 1),
        ("_audit.creation_method", f"'braggscale {__version__}'"),
        ("_audit_conform.dict_name", "mmcif_pdbx.dic"),
        ("_audit_conform.dict_version", "5"),
        ("_cell.entry_id", entry),
    ]
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    items += [(f"_cell.{item}", f"{value:.4f}") for item, value in zip(names, cell, strict=True)]
    items += [
        ("_symmetry.entry_id", entry),
        ("_symmetry.space_group_name_H-M", f"'{pdb_name(symmetry)}'"),
        ("_symmetry.Int_Tables_number", symmetry.number or "?"),
        ("_symmetry.space_group_name_Hall", f"'{symmetry.hall.strip()}'"),
        ("_exptl_crystal.id", 1),
    ]
    text = f"data_{entry}\n" + "".join(f"{item:<34} {value}\n" for item, value in items)
    text += loop("_software", ("pdbx_ordinal", "name", "version", "classification"))
    text += f"1 braggscale '{__version__}' 'data scaling'\n"
    text += loop("_diffrn", ("id", "crystal_id"))
    text += "".join(f"{k} 1\n" for k in range(1, len(of) + 1))
    text += loop("_diffrn_radiation", ("diffrn_id", "wavelength_id"))
    text += "".join(f"{k} {wave + 1}\n" for k, wave in enumerate(of.tolist(), start=1))
    text += loop("_diffrn_radiation_wavelength", ("id", "wavelength"))
    text += "".join(f"{k} {value:.6g}\n" for k, value in enumerate(wavelengths, start=1))
    return text


def pdb_name(symmetry: Symmetry) -> str:
    """The name of the space group in the Protein Data Bank's spelling: H 3 for R 3 on hexagonal axes, R 3 for R 3:R."""
    name = str(symmetry)
    lattice, colon, axes = name.partition(":")
    if lattice.startswith("R ") and colon and axes in ("H", "R"):
        return axes + lattice[1:].rstrip()
    return name


def statistics_items(entry: str, statistics: Statistics, n_experiments: int) -> str:
    """Overall statistics as items, those of the shells as a loop.

    ``entry``: name of the block.  ``n_experiments``: diffraction experiments that the statistics are of.
    """
    items = [(statistic, statistic.cif) for statistic in chosen(IN_CIF, statistics.anomalous) if statistic.cif]
    ids = ",".join(str(k) for k in range(1, n_experiments + 1))
    text = f"_reflns.entry_id {entry}\n_reflns.pdbx_diffrn_id {ids}\n_reflns.pdbx_ordinal 1\n"
    for statistic, cif in items:
        text += f"_reflns.{cif.overall:<34} {_known(statistic, cif, statistics.overall)}\n"
    text += loop("_reflns_shell", ["pdbx_ordinal", "pdbx_diffrn_id", *(cif.shell for _, cif in items)])
    # from high to low resolution, as the PDB lists them
    for k, shell in enumerate(reversed(statistics.shells), start=1):
        text += f"{k} {ids} " + " ".join(_known(statistic, cif, shell) for statistic, cif in items) + "\n"
    return text


def _known(statistic: Statistic, cif: CifItem, shell: Shell) -> str:
    value = statistic.factor * getattr(shell, statistic.name)
    return cif.form % value if np.isfinite(value) else "?"
