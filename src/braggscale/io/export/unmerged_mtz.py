"""Unmerged MTZ files (CCP4), through gemmi (Wojdyr, JOSS 7 (2022) 4200).

Geometry of the batch headers, in the Cambridge frame: z along the rotation axis, x along the beam as far as it is
perpendicular to z. A reflection of index h is at rotation angle phi at

    r = R(e1, phi) U B h,   B upper triangular (Busing & Levy, Acta Cryst. 22 (1967) 457),

U and B from the orientation in the middle of the image, turned back to phi = 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from braggscale.data.batches import assign_batches, next_epoch
from braggscale.data.experiment import Experiment
from braggscale.data.geometry import unit
from braggscale.data.wavelengths import WAVELENGTH_TOLERANCE, wavelength_groups
from braggscale.errors import DataError
from braggscale.io.export.empty_mtz import empty_mtz
from braggscale.io.export.export import Export, ExportData, ExportFile
from braggscale.io.export.scaled_observations import Crystals, Unmerged, orientations_at_images, scan_angles
from braggscale.numerics.array_types import Array, Float

if TYPE_CHECKING:
    import gemmi

# MTZ numbers are single precision: beyond this, neighbouring batch numbers would become equal.
_LARGEST_BATCH = 1 << 24


# The columns of an unmerged file after H K L M/ISYM BATCH, with their types.
_UNMERGED = (
    ("I", "J", "intensity"),
    ("SIGI", "Q", "sigma"),
    ("SCALEUSED", "R", "scale"),
    ("SIGSCALEUSED", "R", "scale_sigma"),
    ("BG", "R", "background"),
    ("SIGBG", "R", "background_sigma"),
    ("FRACTIONCALC", "R", "partiality"),
)


def unmerged_mtz(
    data: Crystals,
    *,
    crystal: str = "XTAL",
    project: str = "AUTOMATIC",
    tolerance: float = WAVELENGTH_TOLERANCE,
) -> bytes:
    """An unmerged MTZ file: one row per observation, one batch per image.

    Columns: H K L M/ISYM BATCH I SIGI SCALEUSED SIGSCALEUSED [BG SIGBG] FRACTIONCALC XDET YDET ROT [LP] QE, as
    dials.export names them; I = I/g and SCALEUSED = g. XDET, YDET: predicted position, pixels; ROT: scan angle,
    degrees. Indices are in the asymmetric unit, sorted; M/ISYM is the number of the operation that moved them there.
    ``data``: in a listed setting.  ``tolerance``: between wavelengths that are one data set, Angstrom.
    Raises DataError for batch numbers that single precision cannot tell apart.
    """

    rows, experiments = data.rows, data.experiments
    wavelengths, group = wavelength_groups(experiments, tolerance)
    offsets = batch_offsets(experiments)
    if max(o + last_image(e) for o, e in zip(offsets, experiments, strict=True)) > _LARGEST_BATCH:
        raise DataError("the batch numbers exceed 16777216, more than an MTZ file can hold; export fewer data sets")
    mtz = empty_mtz(data.symmetry, data.cell)
    for k, wavelength in enumerate(wavelengths, start=1):
        data_set = mtz.add_dataset("NATIVE" if len(wavelengths) == 1 else f"WAVE{k}")
        data_set.crystal_name, data_set.project_name, data_set.wavelength = crystal, project, wavelength
    # gemmi fills M/ISYM when it moves the indices
    table: list[tuple[str, str, Float]] = [
        ("M/ISYM", "Y", np.zeros(len(rows))),
        ("BATCH", "B", batches(rows, experiments, offsets)),
    ]
    table += [(name, kind, getattr(rows, attribute)) for name, kind, attribute in _UNMERGED]
    table += [
        ("XDET", "R", rows.xyz[:, 0]),
        ("YDET", "R", rows.xyz[:, 1]),
        ("ROT", "R", scan_angles(rows, experiments)),
    ]
    table += [("LP", "R", rows.lp), ("QE", "R", rows.qe)]
    table = [entry for entry in table if not np.isnan(entry[2]).all()]
    for name, kind, _ in table:
        mtz.add_column(name, kind)
    for k, experiment in enumerate(experiments):
        for header in _headers(experiment, data.orientations[k], offsets[k]):
            header.dataset_id = int(group[k]) + 1
            header.wavelength = wavelengths[group[k]]
            mtz.batches.append(header)
    # gemmi must know that these are indices as measured before they are set
    mtz.switch_to_original_hkl()
    mtz.set_data(np.column_stack((rows.hkl, *(values for _, _, values in table))).astype(np.float32))
    mtz.switch_to_asu_hkl()
    mtz.sort(5)
    mtz.update_reso()
    return bytes(mtz.write_to_bytes())


def batch_offsets(experiments: Sequence[Experiment]) -> list[int]:
    """Batch number minus image number of each data set.

    Stills keep their image numbers where these are all different and no sweep has them; else they follow after the
    sweeps, one number each.
    """
    result: list[int] = []
    offsets = assign_batches(experiments)
    if _keep_their_numbers(experiments, offsets):
        return [offset or 0 for offset in offsets]
    sweeps = [o + e.scan.image_range[1] for o, e in zip(offsets, experiments, strict=True) if o is not None and e.scan]
    number = next_epoch(max(sweeps)) if sweeps else 1
    for offset, experiment in zip(offsets, experiments, strict=True):
        if offset is None:
            offset = number - first_image(experiment)
            number = last_image(experiment) + offset + 1
        result.append(offset)
    return result


def _keep_their_numbers(experiments: Sequence[Experiment], offsets: Sequence[int | None]) -> bool:
    """Whether the image numbers of all stills can be their batch numbers."""
    taken: list[tuple[int, int]] = []
    for experiment, offset in zip(experiments, offsets, strict=True):
        if experiment.scan is None:
            return False
        first, last = experiment.scan.image_range
        taken.append((first + (offset or 0), last + (offset or 0)))
    taken.sort()
    return all(before[1] < after[0] for before, after in pairwise(taken)) and (not taken or taken[0][0] >= 0)


def first_image(experiment: Experiment) -> int:
    """Number of the first image; 1 without a scan."""
    return 1 if experiment.scan is None else experiment.scan.image_range[0]


def last_image(experiment: Experiment) -> int:
    """Number of the last image; 1 without a scan."""
    return 1 if experiment.scan is None else experiment.scan.image_range[1]


def batches(rows: Unmerged, experiments: Sequence[Experiment], offsets: Sequence[int]) -> Float:
    """Batch number of each observation, (n,): image on which it was observed, within the scan, plus offset."""
    first = np.array([first_image(e) for e in experiments], np.float64)[rows.data_set]
    last = np.array([last_image(e) for e in experiments], np.float64)[rows.data_set]
    image = np.clip(np.floor(rows.z) + 1.0, first, last)
    return image + np.array(offsets, np.float64)[rows.data_set]


def cambridge_frame(experiment: Experiment) -> tuple[Float, Float]:
    """The rotation from the laboratory to the Cambridge frame, and S F, by which the crystal is mounted, (3, 3) each.

    Raises DataError if the rotation axis is along the beam.
    """
    beam = unit(experiment.beam.s0)
    if experiment.goniometer is None:
        # any axis perpendicular to the beam
        axis = np.eye(3)[np.argmin(np.abs(beam))]
        axis = unit(axis - beam * (axis @ beam))
        mount = np.eye(3)
    else:
        axis = unit(experiment.goniometer.setting @ experiment.goniometer.axis)
        mount = experiment.goniometer.setting @ experiment.goniometer.fixed
    across = beam - axis * (axis @ beam)
    if np.linalg.norm(across) < 1e-6:
        raise DataError(
            f"data set {experiment.identifier}: its rotation axis is along the beam; MTZ cannot describe it"
        )
    x = unit(across)
    return np.stack((x, np.cross(axis, x), axis)), mount


def _headers(experiment: Experiment, points: Float | None, offset: int) -> Iterator[gemmi.Mtz.Batch]:
    """The batch header of each image."""
    frame, mount = cambridge_frame(experiment)
    oriented = frame @ mount @ orientations_at_images(experiment, points)
    metric = oriented.transpose(0, 2, 1) @ oriented
    # Busing & Levy's B is the upper triangular root of the metric
    triangular = np.linalg.cholesky(metric).transpose(0, 2, 1)
    rotations = oriented @ np.linalg.inv(triangular)
    cells = _cells(np.linalg.inv(metric))
    start, width = experiment.scan.oscillation if experiment.scan is not None else (0.0, 0.0)
    template = _template(experiment, frame)
    for i, (u, cell) in enumerate(zip(rotations, cells, strict=True)):
        header = template.clone()
        header.number = first_image(experiment) + i + offset
        header.title = f"Batch {header.number}"
        _put(header, 0, cell)
        _put(header, 6, u.T.ravel().tolist())
        _put(header, 36, [start + i * width, start + (i + 1) * width])
        yield header


def _cells(metric: Array) -> list[list[float]]:
    """Unit cells from the metric matrices of the real lattice, (n, 3, 3)."""
    edges = np.sqrt(np.diagonal(metric, axis1=1, axis2=2))
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = np.stack([metric[:, i, j] / (edges[:, i] * edges[:, j]) for i, j in pairs], axis=1)
    cells: list[list[float]] = np.hstack((edges, np.rad2deg(np.arccos(cosines)))).tolist()
    return cells


def _template(experiment: Experiment, frame: Float) -> gemmi.Mtz.Batch:
    """A header with the values that are common to all images of a sweep; positions as in CCP4's description."""
    import gemmi

    header = gemmi.Mtz.Batch()
    # one crystal, 3D data, scan about axis 1 of 1, one detector
    for place, value in ((0, 185), (1, 29), (2, 156), (12, 1), (14, 2), (15, 1), (17, 1), (19, 1)):
        header.ints[place] = value
    for place in range(4, 10):
        header.ints[place] = -1
    source = -(frame @ unit(experiment.beam.s0))
    _put(header, 38, [0.0, 0.0, 1.0])
    header.floats[43] = 1.0
    header.floats[47] = experiment.scan.oscillation[1] if experiment.scan is not None else 0.0
    _put(header, 59, [0.0, 0.0, 1.0])
    _put(header, 80, [-1.0, 0.0, 0.0])
    _put(header, 83, source.tolist())
    if experiment.panels:
        panel = experiment.panels[0]
        header.floats[111] = abs(float(panel.origin @ np.cross(panel.fast, panel.slow)))
        header.floats[114], header.floats[116] = panel.image_size
    header.axes = ["AXIS"]
    return header


def _put(header: gemmi.Mtz.Batch, place: int, values: Sequence[float]) -> None:
    # gemmi's header takes numbers one at a time
    for i, value in enumerate(values):
        header.floats[place + i] = value


def _files(data: ExportData, path: str) -> list[ExportFile]:
    crystal, project = data.settings.crystal_name, data.settings.project_name
    return [ExportFile(path, lambda: unmerged_mtz(data.crystals, crystal=crystal, project=project))]


EXPORT: Export = Export(_files)
