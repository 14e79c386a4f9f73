"""What merged and unmerged mmCIF files (PDBx version 5) have in common: the head of a block, and statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from braggscale import __version__
from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.numerics.array_types import Int
from braggscale.statistics.merging_statistics import Shell, Statistics

# Item, format and value of a statistic; the same for all data and for a shell, with names of their own.
_Item = tuple[str, str, str, Callable[[Shell], float]]
_STATISTICS: tuple[_Item, ...] = (
    ("d_resolution_high", "d_res_high", "%.4f", lambda s: s.d_min),
    ("d_resolution_low", "d_res_low", "%.4f", lambda s: s.d_max),
    ("number_obs", "number_unique_obs", "%d", lambda s: s.n_unique),
    ("pdbx_number_measured_all", "number_measured_obs", "%d", lambda s: s.n_obs),
    ("percent_possible_obs", "percent_possible_obs", "%.2f", lambda s: 100.0 * s.completeness),
    ("pdbx_redundancy", "pdbx_redundancy", "%.3f", lambda s: s.multiplicity),
    ("pdbx_netI_over_sigmaI", "pdbx_netI_over_sigmaI_obs", "%.2f", lambda s: s.mean_i_over_sigma),
    ("pdbx_Rmerge_I_obs", "Rmerge_I_obs", "%.4f", lambda s: s.r_merge),
    ("pdbx_Rrim_I_all", "pdbx_Rrim_I_all", "%.4f", lambda s: s.r_meas),
    ("pdbx_Rpim_I_all", "pdbx_Rpim_I_all", "%.4f", lambda s: s.r_pim),
    ("pdbx_CC_half", "pdbx_CC_half", "%.5f", lambda s: s.cc_half),
)
_ANOMALOUS: tuple[_Item, ...] = (
    (
        "pdbx_percent_possible_anomalous",
        "pdbx_percent_possible_anomalous",
        "%.2f",
        lambda s: 100.0 * s.anomalous_completeness,
    ),
    ("pdbx_redundancy_anomalous", "pdbx_redundancy_anomalous", "%.3f", lambda s: s.anomalous_multiplicity),
    ("pdbx_CC_half_anomalous", "pdbx_CC_half_anomalous", "%.4f", lambda s: s.cc_anom),
    ("pdbx_absDiff_over_sigma_anomalous", "pdbx_absDiff_over_sigma_anomalous", "%.4f", lambda s: s.di_over_sigma),
)


def loop(category: str, names: Sequence[str]) -> str:
    """The beginning of a loop over items of one category."""
    return "loop_\n" + "".join(f"{category}.{name}\n" for name in names)


def head(entry: str, symmetry: Symmetry, cell: UnitCell, wavelengths: Sequence[float], of: Int) -> str:
    """Everything in a block but statistics and reflections.

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
        ("_symmetry.space_group_name_H-M", f"'{str(symmetry)}'"),
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


def statistics_items(entry: str, statistics: Statistics, n_experiments: int) -> str:
    """Overall statistics as items, those of the shells as a loop.

    ``entry``: name of the block.  ``n_experiments``: diffraction experiments that the statistics are of.
    """
    chosen = _STATISTICS + (_ANOMALOUS if statistics.anomalous else ())
    ids = ",".join(str(k) for k in range(1, n_experiments + 1))
    text = f"_reflns.entry_id {entry}\n_reflns.pdbx_diffrn_id {ids}\n_reflns.pdbx_ordinal 1\n"
    for item, _, form, value in chosen:
        text += f"_reflns.{item:<34} {_known(value(statistics.overall), form)}\n"
    text += loop("_reflns_shell", ["pdbx_ordinal", "pdbx_diffrn_id", *(item for _, item, _, _ in chosen)])
    # from high to low resolution, as the PDB lists them
    for k, shell in enumerate(reversed(statistics.shells), start=1):
        text += f"{k} {ids} " + " ".join(_known(value(shell), form) for _, _, form, value in chosen) + "\n"
    return text


def _known(value: float, form: str) -> str:
    return form % value if np.isfinite(value) else "?"
