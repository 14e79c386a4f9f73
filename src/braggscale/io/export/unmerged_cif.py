"""Every observation in the PDB's mmCIF (PDBx version 5): one block, ``_diffrn_refln``."""

from __future__ import annotations

import numpy as np

from braggscale.data.wavelengths import wavelength_groups
from braggscale.io.export.export import Export, ExportData, ExportFile
from braggscale.io.export.fixed_width import lines
from braggscale.io.export.mmcif import head, loop, statistics_items
from braggscale.io.export.scaled_observations import Crystals, scan_angles
from braggscale.numerics.array_types import Array
from braggscale.statistics.merging_statistics import Statistics


def unmerged_cif(data: Crystals, statistics: Statistics | None = None, *, name: str = "braggscale_unmerged") -> str:
    """A block with every observation: index as measured, I/g, 1/g, image, predicted position and scan angle.

    Each data set is a diffraction experiment (``_diffrn``) of its own: image numbers of different sweeps overlap.
    """
    rows, experiments = data.rows, data.experiments
    wavelengths, group = wavelength_groups(experiments)
    text = head(name, data.symmetry, data.cell, wavelengths, group)
    if statistics is not None:
        text += statistics_items(name, statistics, len(experiments))
    where = rows.data_set + 1
    first = np.array([1 if e.scan is None else e.scan.image_range[0] for e in experiments])[rows.data_set]
    last = np.array([1 if e.scan is None else e.scan.image_range[1] for e in experiments])[rows.data_set]
    image = np.clip(np.floor(rows.z).astype(np.int64) + 1, first, last)
    names = ["diffrn_id", "id", "index_h", "index_k", "index_l", "pdbx_image_id", "pdbx_detector_x"]
    names += ("pdbx_detector_y", "pdbx_scan_angle", "pdbx_scale_value", "intensity_net", "intensity_sigma")
    columns: list[Array] = [where, np.arange(1, len(rows) + 1), *rows.hkl.T, image, *rows.xyz.T[:2]]
    columns += [scan_angles(rows, experiments), 1.0 / rows.scale, rows.intensity, rows.sigma]
    return text + loop("_diffrn_refln", names) + lines("%d %d %d %d %d %d %.2f %.2f %.4f %.5g %.7g %.6g", columns)


def _files(data: ExportData, path: str) -> list[ExportFile]:
    return [ExportFile(path, lambda: unmerged_cif(data.crystals, data.statistics).encode())]


EXPORT: Export = Export(_files, needs_statistics=True)
