"""Merged data in the PDB's mmCIF (PDBx version 5), ready for deposition: one block for each wavelength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.io.export.export import Export, ExportData, ExportFile
from braggscale.io.export.fixed_width import lines, or_unknown
from braggscale.io.export.mmcif import head, loop, statistics_items
from braggscale.io.export.wavelengths import WavelengthSet, places, union
from braggscale.numerics.array_types import Array, Int, Int32
from braggscale.statistics.merging_statistics import Statistics, Unmerged, merging_statistics


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
        text = head(entry, symmetry, cell, (one.wavelength,), np.zeros(1, np.int64))
        own_statistics = statistics[k]
        if own_statistics is not None:
            text += statistics_items(entry, own_statistics, 1)
        text += _merged_loop(one, symmetry, None if free is None else free[places(hkl, one.merged.hkl)], free_value)
        blocks.append(text)
    return "\n".join(blocks)


def _merged_loop(wavelength_set: WavelengthSet, symmetry: Symmetry, free: Int | Int32 | None, free_value: int) -> str:
    m, a = wavelength_set.merged, wavelength_set.amplitudes
    anomalous = not symmetry.centrosymmetric
    names = ["index_h", "index_k", "index_l", "status"]
    status = ["o"] * len(m) if free is None else np.where(np.asarray(free) == free_value, "f", "o").tolist()
    columns: list[Array | list[str]] = [*(or_unknown(index, "%d") for index in m.hkl.T), status]

    def add(name: str, values: Array, form: str = "%.7g") -> None:
        """Add a column to the loop."""
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
    return loop("_refln", names) + lines(" ".join(["%s"] * len(names)), columns)


def _statistics_by_wavelength(data: ExportData) -> list[Statistics | None]:
    """Statistics of each wavelength, in as many shells as those of all data; None where nothing could be merged."""
    everything = data.statistics
    if len(data.sets) == 1 or everything is None:
        return [everything] * len(data.sets)
    symmetry, result = data.crystals.symmetry, []
    for one in data.sets:
        asu, minus = symmetry.asu(one.rows.hkl)
        result.append(
            merging_statistics(
                Unmerged(asu, minus, one.rows.intensity, one.rows.sigma, data.crystals.cell, symmetry),
                n_bins=len(everything.shells),
                use_internal_variance=data.settings.use_internal_variance,
            )
        )
    return result


def _files(data: ExportData, path: str) -> list[ExportFile]:
    def content() -> bytes:
        """The bytes of the file."""
        text = merged_cif(
            data.sets,
            data.crystals.symmetry,
            data.crystals.cell,
            _statistics_by_wavelength(data),
            free=data.free.flag,
            free_value=data.free.free,
        )
        return text.encode()

    return [ExportFile(path, content)]


EXPORT: Export = Export(_files, needs_statistics=True)
