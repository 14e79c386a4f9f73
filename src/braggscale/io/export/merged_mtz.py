"""Merged MTZ files (CCP4), through gemmi (Wojdyr, JOSS 7 (2022) 4200)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.io.export.empty_mtz import empty_mtz
from braggscale.io.export.export import Export, ExportData, ExportFile
from braggscale.io.export.wavelengths import WavelengthSet, places, union
from braggscale.numerics.array_types import Array, Float, Int, Int32

if TYPE_CHECKING:
    import gemmi


def merged_mtz(
    sets: Sequence[WavelengthSet],
    symmetry: Symmetry,
    cell: UnitCell,
    *,
    free: Int32 | None = None,
    halves: bool = True,
    crystal: str = "XTAL",
    project: str = "AUTOMATIC",
    anomalous: bool = True,
) -> gemmi.Mtz:
    """Merged data as an MTZ object of gemmi.

    Columns: [FreeR_flag] IMEAN SIGIMEAN N F SIGF I(+) SIGI(+) I(-) SIGI(-) N(+) N(-) F(+) SIGF(+) F(-) SIGF(-) DANO
    SIGDANO [IHALF1 SIGIHALF1 IHALF2 SIGIHALF2 NHALF1 NHALF2], as dials.merge names them; with several wavelengths each
    with the suffix _WAVE1, _WAVE2, ... in a data set of its own. Missing numbers are NaN. There are no anomalous
    columns for centrosymmetric groups and without ``anomalous``.
    ``free``: flags of the reflections ``union(sets)``, (n,).  ``symmetry``: a listed setting.
    """
    mtz = empty_mtz(symmetry, cell)
    hkl = union(sets)
    columns: list[Array] = [hkl]
    if free is not None:
        mtz.add_column("FreeR_flag", "I", dataset_id=0)
        columns.append(np.asarray(free)[:, None])
    for k, one in enumerate(sets, start=1):
        several = len(sets) > 1
        data_set = mtz.add_dataset(f"WAVE{k}" if several else "NATIVE")
        data_set.crystal_name, data_set.project_name, data_set.wavelength = crystal, project, one.wavelength
        where = places(hkl, one.merged.hkl)
        for name, kind, values in _merged_columns(one, anomalous and not symmetry.centrosymmetric, halves):
            mtz.add_column(f"{name}_WAVE{k}" if several else name, kind, dataset_id=data_set.id)
            full = np.full(len(hkl), np.nan)
            full[where] = values
            columns.append(full[:, None])
    mtz.set_data(np.hstack(columns).astype(np.float32))
    mtz.sort_order = [1, 2, 3, 0, 0]
    mtz.update_reso()
    return mtz


def _merged_columns(wavelength_set: WavelengthSet, anomalous: bool, halves: bool) -> Iterator[tuple[str, str, Float]]:
    """Name, type and values of the columns of a data set."""
    m, a = wavelength_set.merged, wavelength_set.amplitudes
    yield "IMEAN", "J", m.mean
    yield "SIGIMEAN", "Q", m.sigma
    yield "N", "I", _counts(m.n)
    if a is not None:
        yield "F", "F", a.f
        yield "SIGF", "Q", a.sigma_f
    if anomalous:
        yield "I(+)", "K", m.plus
        yield "SIGI(+)", "M", m.sigma_plus
        yield "I(-)", "K", m.minus
        yield "SIGI(-)", "M", m.sigma_minus
        yield "N(+)", "I", _counts(m.n_plus)
        yield "N(-)", "I", _counts(m.n_minus)
    if anomalous and a is not None:
        yield "F(+)", "G", a.plus
        yield "SIGF(+)", "L", a.sigma_plus
        yield "F(-)", "G", a.minus
        yield "SIGF(-)", "L", a.sigma_minus
        yield "DANO", "D", a.dano
        yield "SIGDANO", "Q", a.sigma_dano
    if halves:
        yield "IHALF1", "J", m.half1
        yield "SIGIHALF1", "Q", m.sigma_half1
        yield "IHALF2", "J", m.half2
        yield "SIGIHALF2", "Q", m.sigma_half2
        yield "NHALF1", "R", _counts(m.n_half1)
        yield "NHALF2", "R", _counts(m.n_half2)


def _counts(n: Int) -> Float:
    return np.where(n > 0, n, np.nan)


def _files(data: ExportData, path: str) -> list[ExportFile]:
    def content() -> bytes:
        """The bytes of the file."""
        mtz = merged_mtz(
            data.sets,
            data.crystals.symmetry,
            data.crystals.cell,
            free=data.free.flag,
            crystal=data.settings.crystal_name,
            project=data.settings.project_name,
        )
        return bytes(mtz.write_to_bytes())

    return [ExportFile(path, content)]


EXPORT: Export = Export(_files)
