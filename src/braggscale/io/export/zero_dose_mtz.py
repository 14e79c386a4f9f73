"""Merged intensities at dose zero as an MTZ file."""

from __future__ import annotations

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.io.export.empty_mtz import empty_mtz
from braggscale.numerics.array_types import Int32
from braggscale.statistics.zero_dose import ZeroDose


def zero_dose_mtz(hkl: Int32, zero_dose: ZeroDose, symmetry: Symmetry, cell: UnitCell, wavelength: float) -> bytes:
    """The content of the file: IMEAN SIGIMEAN at dose zero, SLOPE SIGSLOPE over the range of dose, N.

    ``hkl``: of each reflection, (n, 3).  ``wavelength``: Angstrom.
    """
    mtz = empty_mtz(symmetry, cell)
    data_set = mtz.add_dataset("ZERODOSE")
    data_set.wavelength = wavelength
    columns = [
        ("IMEAN", "J", zero_dose.intensity),
        ("SIGIMEAN", "Q", zero_dose.sigma),
        ("SLOPE", "R", zero_dose.slope),
        ("SIGSLOPE", "R", zero_dose.slope_sigma),
        ("N", "I", zero_dose.n),
    ]
    for name, kind, _ in columns:
        mtz.add_column(name, kind, dataset_id=data_set.id)
    known = np.isfinite(zero_dose.intensity) & np.isfinite(zero_dose.sigma)
    table = np.column_stack([hkl, *(values for _, _, values in columns)])[known]
    mtz.set_data(table.astype(np.float32))
    mtz.update_reso()
    return bytes(mtz.write_to_bytes())
