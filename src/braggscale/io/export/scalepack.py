"""Merged intensities in scalepack's format (HKL-2000), anomalous or not.

After three lines of header: h k l (3I4), I+ sigma+ I- sigma- or I sigma (F8.1). A missing I+ is left blank; a
missing I- is omitted.
"""

from __future__ import annotations

import logging
from functools import partial

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.data.wavelengths import wavelength_groups
from braggscale.errors import DataError
from braggscale.io.export.export import Export, ExportData, ExportFile, numbered
from braggscale.io.export.fixed_width import fields_of_8, scale_to_fit
from braggscale.statistics.merging import Merged

log = logging.getLogger(__name__)

_LARGEST, _SMALLEST = 99999.0, -9999.0
_BLANK = " " * 16


def scalepack(merged: Merged, symmetry: Symmetry, cell: UnitCell, *, anomalous: bool = True) -> str:
    """The text of a .sca file.

    If an intensity does not fit into eight characters, all are divided by a power of ten, and the log says so.
    Centric reflections have one intensity, as I+.  ``anomalous``: no effect for centrosymmetric groups.
    Raises DataError for an index beyond four characters.
    """
    if np.abs(merged.hkl).max(initial=0) > 999:
        raise DataError("scalepack files hold indices from -999 to 999 only; write MTZ instead")
    if anomalous and not symmetry.centrosymmetric:
        parts = [(merged.plus, merged.sigma_plus), (merged.minus, merged.sigma_minus)]
    else:
        parts = [(merged.mean, merged.sigma)]
    every = np.concatenate([np.concatenate(pair) for pair in parts])
    factor = scale_to_fit(
        float(np.nanmax(every, initial=0.0)), float(np.nanmin(every, initial=0.0)), _LARGEST, _SMALLEST
    )
    if factor != 1.0:
        log.info(f"scalepack: intensities are multiplied by {factor:g} to fit into the format")
    pairs = []
    for value, sigma in parts:
        there = np.isfinite(value)
        text = [
            a + b
            for a, b in zip(
                fields_of_8(np.where(there, value, 0.0) * factor),
                fields_of_8(np.where(there, sigma, 0.0) * factor),
                strict=True,
            )
        ]
        pairs.append([t if ok else _BLANK for t, ok in zip(text, there.tolist(), strict=True)])
    name = str(symmetry).split(":")[0].replace(" ", "").lower()
    header = "    1\n -987\n" + "".join(f"{x:10.3f}" for x in cell) + f" {name}\n"
    rows = zip(merged.hkl.tolist(), *pairs, strict=True)
    return header + "".join(f"{h:4d}{k:4d}{l:4d}{''.join(found).rstrip()}\n" for (h, k, l), *found in rows)


def _files(data: ExportData, path: str) -> list[ExportFile]:
    """One file for each wavelength; with several, WAVE1, WAVE2, ... goes in front of the ending."""
    crystals = data.crystals
    n = len(np.unique(wavelength_groups(crystals.experiments)[1][crystals.rows.data_set]))
    names = [path] if n == 1 else [numbered(path, f"WAVE{k + 1}") for k in range(n)]

    def content(number: int) -> bytes:
        """The file of one wavelength."""
        return scalepack(data.sets[number].merged, crystals.symmetry, crystals.cell).encode()

    return [ExportFile(name, partial(content, k)) for k, name in enumerate(names)]


EXPORT: Export = Export(_files)
