"""Merged data by wavelength: the data sets of a merged file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import d_spacings
from braggscale.data.index_order import unique_indices
from braggscale.data.wavelengths import WAVELENGTH_TOLERANCE, wavelength_groups
from braggscale.io.export.scaled_observations import Crystals, Unmerged
from braggscale.numerics.array_types import Array, Int, Int32
from braggscale.statistics.french_wilson import WILSON_MINIMUM, Amplitudes, amplitudes
from braggscale.statistics.merging import Merged, merge


@dataclass(frozen=True, slots=True)
class WavelengthSet:
    """One data set of a merged file.  ``wavelength``: Angstrom.  ``amplitudes``: of ``merged``, None without.

    ``rows``: the observations that were merged.
    """

    wavelength: float
    rows: Unmerged
    merged: Merged
    amplitudes: Amplitudes | None


def wavelength_sets(
    data: Crystals,
    *,
    tolerance: float = WAVELENGTH_TOLERANCE,
    with_amplitudes: bool = True,
    minimum: int = WILSON_MINIMUM,
    internal_variance: bool = False,
) -> tuple[WavelengthSet, ...]:
    """Merged data and French-Wilson amplitudes of each wavelength; a wavelength without observations is left out.

    ``minimum``: least number of reflections for which Wilson's prior is used.  ``internal_variance``: see
    ``merging.merge``.
    """
    wavelengths, group = wavelength_groups(data.experiments, tolerance)
    result = []
    for k, wavelength in enumerate(wavelengths):
        members = group[data.rows.data_set] == k
        if not members.any():
            continue
        rows = data.rows if members.all() else data.rows.take(members)
        merged = merge(rows.hkl, rows.intensity, rows.sigma, data.symmetry, internal_variance=internal_variance)
        of_merged = amplitudes(merged, d_spacings(data.cell, merged.hkl), minimum) if with_amplitudes else None
        result.append(WavelengthSet(wavelength, rows, merged, of_merged))
    return tuple(result)


def union(sets: Sequence[WavelengthSet]) -> Int32:
    """All indices of several sets, each once, sorted, (n, 3)."""
    return unique_indices(np.concatenate([one.merged.hkl for one in sets]))[0]


def places(table: Array, wanted: Array) -> Int:
    """Row in ``table`` of each index of ``wanted``, (m,).

    ``table``: different indices, (n, 3).  ``wanted``: indices, (m, 3).  Raises ValueError if one is not in the table.
    """
    both, inverse = unique_indices(np.concatenate((table, wanted)))
    if len(both) != len(table):
        raise ValueError("an index is not in the table")
    row = np.empty(len(both), np.int64)
    row[inverse[: len(table)]] = np.arange(len(table))
    return np.asarray(row[inverse[len(table) :]])
