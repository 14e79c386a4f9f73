"""Reflections with merging statistics in the PDB's mmCIF (PDBx version 5), ready for deposition.

One block per wavelength with the merged data (``_refln``), one with the observations (``_diffrn_refln``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from braggscale import __version__
from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.io.export.fixed_width import lines, or_unknown
from braggscale.io.export.mtz import angles
from braggscale.io.export.scaled_observations import Crystals, wavelength_groups
from braggscale.io.export.wavelengths import WavelengthSet, places, union
from braggscale.numerics.array_types import Array, Int, Int32
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


def merged_cif(
    sets: Sequence[WavelengthSet],
    symmetry: Symmetry,
    cell: UnitCell,
    statistics: Sequence[Statistics | None],
    *,
    free: Int32 | None = None,
    free_value: int = 0,
    name: str = "braggscale",
) -> str:
    """One block for each wavelength: cell, symmetry, statistics (None for none), and the loop of reflections.

    The loop has intensities, amplitudes, I+, I-, F+, F- and the anomalous difference, ? where unknown, and the status,
    f for reflections whose flag in ``free`` is ``free_value`` and o for others.
    ``free``: flags of the reflections ``union(sets)``, (n,).  ``name``: of the entry.
    """
    blocks = []
    hkl = union(sets)
    for k, one in enumerate(sets):
        entry = name if len(sets) == 1 else f"{name}_wave{k + 1}"
        text = _head(entry, symmetry, cell, (one.wavelength,), np.zeros(1, np.int64))
        found = statistics[k]
        if found is not None:
            text += _statistics(entry, found, 1)
        text += _merged_loop(one, symmetry, None if free is None else free[places(hkl, one.merged.hkl)], free_value)
        blocks.append(text)
    return "\n".join(blocks)


def unmerged_cif(data: Crystals, statistics: Statistics | None = None, *, name: str = "braggscale_unmerged") -> str:
    """A block with every observation: index as measured, I/g, 1/g, image, predicted position and scan angle.

    Each data set is a diffraction experiment (``_diffrn``) of its own: image numbers of different sweeps overlap.
    """
    rows, experiments = data.rows, data.experiments
    wavelengths, group = wavelength_groups(experiments)
    text = _head(name, data.symmetry, data.cell, wavelengths, group)
    if statistics is not None:
        text += _statistics(name, statistics, len(experiments))
    where = rows.data_set + 1
    first = np.array([1 if e.scan is None else e.scan.image_range[0] for e in experiments])[rows.data_set]
    last = np.array([1 if e.scan is None else e.scan.image_range[1] for e in experiments])[rows.data_set]
    image = np.clip(np.floor(rows.z).astype(np.int64) + 1, first, last)
    names = ["diffrn_id", "id", "index_h", "index_k", "index_l", "pdbx_image_id", "pdbx_detector_x"]
    names += ("pdbx_detector_y", "pdbx_scan_angle", "pdbx_scale_value", "intensity_net", "intensity_sigma")
    columns: list[Array] = [where, np.arange(1, len(rows) + 1), *rows.hkl.T, image, *rows.xyz.T[:2]]
    columns += [angles(rows, experiments), 1.0 / rows.scale, rows.intensity, rows.sigma]
    return text + _loop("_diffrn_refln", names) + lines("%d %d %d %d %d %d %.2f %.2f %.4f %.5g %.7g %.6g", columns)


def _loop(category: str, names: Sequence[str]) -> str:
    return "loop_\n" + "".join(f"{category}.{name}\n" for name in names)


def _head(entry: str, symmetry: Symmetry, cell: UnitCell, wavelengths: Sequence[float], of: Int) -> str:
    """Everything but statistics and reflections.  ``of``: number of the wavelength of each diffraction experiment."""
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
    text += _loop("_software", ("pdbx_ordinal", "name", "version", "classification"))
    text += f"1 braggscale '{__version__}' 'data scaling'\n"
    text += _loop("_diffrn", ("id", "crystal_id"))
    text += "".join(f"{k} 1\n" for k in range(1, len(of) + 1))
    text += _loop("_diffrn_radiation", ("diffrn_id", "wavelength_id"))
    text += "".join(f"{k} {wave + 1}\n" for k, wave in enumerate(of.tolist(), start=1))
    text += _loop("_diffrn_radiation_wavelength", ("id", "wavelength"))
    text += "".join(f"{k} {value:.6g}\n" for k, value in enumerate(wavelengths, start=1))
    return text


def _statistics(entry: str, statistics: Statistics, n_experiments: int) -> str:
    chosen = _STATISTICS + (_ANOMALOUS if statistics.anomalous else ())
    ids = ",".join(str(k) for k in range(1, n_experiments + 1))
    text = f"_reflns.entry_id {entry}\n_reflns.pdbx_diffrn_id {ids}\n_reflns.pdbx_ordinal 1\n"
    for item, _, form, value in chosen:
        text += f"_reflns.{item:<34} {_known(value(statistics.overall), form)}\n"
    text += _loop("_reflns_shell", ["pdbx_ordinal", "pdbx_diffrn_id", *(item for _, item, _, _ in chosen)])
    # from high to low resolution, as the PDB lists them
    for k, shell in enumerate(reversed(statistics.shells), start=1):
        text += f"{k} {ids} " + " ".join(_known(value(shell), form) for _, _, form, value in chosen) + "\n"
    return text


def _known(value: float, form: str) -> str:
    return form % value if np.isfinite(value) else "?"


def _merged_loop(one: WavelengthSet, symmetry: Symmetry, free: Int | Int32 | None, free_value: int) -> str:
    m, a = one.merged, one.amplitudes
    anomalous = not symmetry.centrosymmetric
    names = ["index_h", "index_k", "index_l", "status"]
    status = ["o"] * len(m) if free is None else np.where(np.asarray(free) == free_value, "f", "o").tolist()
    columns: list[Array | list[str]] = [*(or_unknown(index, "%d") for index in m.hkl.T), status]

    def add(name: str, values: Array, form: str = "%.7g") -> None:
        names.append(name)
        columns.append(or_unknown(values, form))

    if free is not None:
        add("pdbx_r_free_flag", np.asarray(free), "%d")
    add("intensity_meas", m.mean)
    add("intensity_sigma", m.sigma)
    if a is not None:
        add("F_meas_au", a.f)
        add("F_meas_sigma_au", a.sigma_f)
    if anomalous:
        add("pdbx_I_plus", m.plus)
        add("pdbx_I_plus_sigma", m.sigma_plus)
        add("pdbx_I_minus", m.minus)
        add("pdbx_I_minus_sigma", m.sigma_minus)
    if anomalous and a is not None:
        add("pdbx_F_plus", a.plus)
        add("pdbx_F_plus_sigma", a.sigma_plus)
        add("pdbx_F_minus", a.minus)
        add("pdbx_F_minus_sigma", a.sigma_minus)
        add("pdbx_anom_difference", a.dano)
        add("pdbx_anom_difference_sigma", a.sigma_dano)
    return _loop("_refln", names) + lines(" ".join(["%s"] * len(names)), columns)
