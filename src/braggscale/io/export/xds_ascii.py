"""Scaled observations of one data set as XDS_ASCII, the format that XSCALE, XDSCONV and POINTLESS read.

Twelve items: H K L IOBS SIGMA(IOBS) XD YD ZD RLP PEAK CORR PSI. The laboratory frame has the detector's fast and slow
axes as x and y. PSI is the azimuth about the scattering vector, from XDS' description of the format: zero where the
reference u, perpendicular to h, is along s x s0,

    u = (1, -1, 0)* for h = k = l, otherwise (k - l, l - h, h - k)*.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import partial

import numpy as np

from braggscale import __version__
from braggscale.data.experiment import Experiment
from braggscale.data.geometry import UnitCell, orientation_matrix, scan_angle, unit
from braggscale.data.index_order import sort_order
from braggscale.data.symmetry import Symmetry
from braggscale.errors import DataError
from braggscale.io.export.export import Export, ExportData, ExportFile, numbered
from braggscale.io.export.fixed_width import lines
from braggscale.io.export.scaled_observations import Crystals, Unmerged, in_reference_setting
from braggscale.models.stored_model import stored_error_model
from braggscale.numerics.array_types import Float
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)

_ITEMS = ("H", "K", "L", "IOBS", "SIGMA(IOBS)", "XD", "YD", "ZD", "RLP", "PEAK", "CORR", "PSI")


def xds_ascii(data: Crystals, number: int, *, error_model: tuple[float, float] | None = None) -> str:
    """The text of XDS_ASCII.HKL for data set ``number``.

    IOBS and SIGMA are I/g and its standard deviation, RLP the Lorentz-polarisation factor in it, PEAK 100 times the
    partiality, CORR 100 times the profile's correlation (100 where unknown), XD, YD, ZD the predicted position, pixels
    and image number as array index.
    ``error_model``: a and b of sigma^2 = a^2 (V + (b I)^2), written as VARIANCE_MODEL a^2, b^2; None: 1 and 0.
    Raises DataError for stills, which the format cannot describe.
    """
    experiment = data.experiments[number]
    if experiment.is_still or experiment.goniometer is None or experiment.scan is None or not experiment.panels:
        raise DataError(f"data set {experiment.identifier}: XDS_ASCII needs a scan, a goniometer and a detector")
    if len(experiment.panels) > 1:
        warn(
            log,
            Code.PANELS_NOT_DESCRIBED,
            f"data set {experiment.identifier}: XDS_ASCII describes only the first of its panels",
            experiment.identifier,
        )
    rows = data.rows.take(data.rows.data_set == number)
    asu, minus = data.symmetry.asu(rows.hkl)
    rows = rows.take(sort_order(asu, minus))
    panel = experiment.panels[0]
    frame = np.stack((unit(panel.fast), unit(panel.slow - panel.fast * (panel.slow @ panel.fast))))
    frame = np.vstack((frame, np.cross(frame[0], frame[1])))
    psi = azimuths(experiment, rows)
    correlation = np.where(np.isfinite(rows.correlation), rows.correlation, 1.0)
    rlp = np.where(np.isfinite(rows.lp), rows.lp, 1.0)
    columns = [rows.hkl[:, 0], rows.hkl[:, 1], rows.hkl[:, 2], rows.intensity, rows.sigma]
    columns += [rows.xyz[:, 0], rows.xyz[:, 1], rows.xyz[:, 2], rlp, 100.0 * rows.partiality, 100.0 * correlation, psi]
    body = lines("%6d%6d%6d %.5E %.4E %.2f %.2f %.2f %.5f %.1f %.1f %.2f", columns)
    header = _header(experiment, frame, data.symmetry, data.cell, error_model or (1.0, 0.0))
    return header + body + "!END_OF_DATA\n"


def azimuths(experiment: Experiment, rows: Unmerged) -> Float:
    """PSI of each observation, degrees, -180 to 180, (n,)."""
    goniometer, scan = experiment.goniometer, experiment.scan
    if goniometer is None or scan is None:
        return np.zeros(len(rows))
    axis = unit(goniometer.setting @ goniometer.axis)
    mounted = goniometer.setting @ goniometer.fixed
    a = mounted @ orientation_matrix(experiment.crystal)
    phi = np.deg2rad(scan_angle(scan, rows.xyz[:, 2]))
    h, k, l = rows.hkl.astype(np.float64).T
    diagonal = (h == k) & (k == l)
    u = np.where(diagonal[:, None], np.stack((h, -h, 0 * h), axis=1), np.stack((k - l, l - h, h - k), axis=1))
    s0 = experiment.beam.s0
    s = s0 + _turned(rows.hkl @ a.T, axis, phi)
    # a lattice vector in direct space: with indices (k - l, ...) it is perpendicular to h
    reference = _turned(u @ np.linalg.inv(a), axis, phi)
    reference /= np.linalg.norm(reference, axis=1)[:, None]
    across = np.cross(s, s0)
    across /= np.linalg.norm(across, axis=1)[:, None]
    outward = -(s + s0)
    angle = np.rad2deg(np.arccos(np.clip(np.einsum("ij,ij->i", reference, across), -1.0, 1.0)))
    return np.asarray(np.where(np.einsum("ij,ij->i", reference, outward) < 0, -angle, angle))


def _turned(vectors: Float, axis: Float, angle: Float) -> Float:
    """Each vector turned about the axis by its own angle, radians (Rodrigues)."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = (vectors @ axis)[:, None] * axis
    result: Float = along + cos * (vectors - along) + sin * np.cross(axis, vectors)
    return result


def _header(
    experiment: Experiment, frame: Float, symmetry: Symmetry, cell: UnitCell, variance: tuple[float, float]
) -> str:
    goniometer, scan, panel = experiment.goniometer, experiment.scan, experiment.panels[0]
    if goniometer is None or scan is None:
        raise DataError(f"data set {experiment.identifier}: no scan")
    fast, slow = frame @ unit(panel.fast), frame @ unit(panel.slow)
    origin = frame @ panel.origin
    normal = np.cross(fast, slow)
    (nx, ny), (qx, qy) = panel.image_size, panel.pixel_size
    distance = float(origin @ normal)
    foot = origin - distance * normal
    mounted = goniometer.setting @ goniometer.fixed
    axes = np.linalg.inv(frame @ mounted @ orientation_matrix(experiment.crystal))

    def vector(values: Float, form: str) -> str:
        """Numbers separated by blanks."""
        return " ".join(form % value for value in values)

    text = [
        "!FORMAT=XDS_ASCII    MERGE=FALSE    FRIEDEL'S_LAW=" + ("TRUE" if symmetry.centrosymmetric else "FALSE"),
        f"!Written by braggscale {__version__}: scaled intensities. Readers look for CORRECT in the next line.",
        f"!Generated by CORRECT   (VERSION  braggscale {__version__})",
        f"!DATA_RANGE= {scan.image_range[0]:7d} {scan.image_range[1]:7d}",
        "!ROTATION_AXIS= " + vector(frame @ unit(goniometer.setting @ goniometer.axis), "%9.6f"),
        f"!OSCILLATION_RANGE= {scan.oscillation[1]:.6f}",
        f"!STARTING_ANGLE= {scan.oscillation[0]:.4f}",
        f"!STARTING_FRAME= {scan.image_range[0]}",
        f"!SPACE_GROUP_NUMBER= {symmetry.number or 0:4d}",
        "!UNIT_CELL_CONSTANTS= " + vector(np.array(cell[:3]), "%9.4f") + " " + vector(np.array(cell[3:]), "%8.3f"),
        "!UNIT_CELL_A-AXIS= " + vector(axes[0], "%11.5f"),
        "!UNIT_CELL_B-AXIS= " + vector(axes[1], "%11.5f"),
        "!UNIT_CELL_C-AXIS= " + vector(axes[2], "%11.5f"),
        f"!X-RAY_WAVELENGTH= {experiment.beam.wavelength:.6f}",
        "!INCIDENT_BEAM_DIRECTION= " + vector(frame @ experiment.beam.s0, "%9.6f"),
        f"!NX= {nx} NY= {ny} QX= {qx:.6f} QY= {qy:.6f}",
        f"!ORGX= {-float(foot @ fast) / qx:.3f} ORGY= {-float(foot @ slow) / qy:.3f}",
        f"!DETECTOR_DISTANCE= {distance:.4f}",
        "!DIRECTION_OF_DETECTOR_X-AXIS= " + vector(fast, "%9.6f"),
        "!DIRECTION_OF_DETECTOR_Y-AXIS= " + vector(slow, "%9.6f"),
        f"!VARIANCE_MODEL= {variance[0] ** 2:.3E} {variance[1] ** 2:.3E}",
        f"!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD={len(_ITEMS)}",
    ]
    text += [f"!ITEM_{name}={k}" for k, name in enumerate(_ITEMS, start=1)]
    return "\n".join(text) + "\n!END_OF_HEADER\n"


def _error_model(experiment: Experiment) -> tuple[float, float] | None:
    """a and b of the stored model, None where there is none."""
    model = experiment.scaling_model or {}
    configuration = model.get("configuration_parameters")
    return stored_error_model(configuration) if isinstance(configuration, dict) else None


def _sweep_names(identifiers: Sequence[str]) -> list[str]:
    """Identifiers as parts of file names, without characters that could lead to another folder."""
    names = [re.sub(r"[^\w.-]", "_", identifier) for identifier in identifiers]
    return names if len(set(names)) == len(names) else [str(k) for k in range(len(names))]


def _files(data: ExportData, path: str) -> list[ExportFile]:
    """One file for each sweep; with several, the identifier goes in front of the ending.

    Without a sweep there is one file, whose content is the error that says why.
    """
    # the format names a space group by its number alone, which means the reference setting
    crystals = in_reference_setting(data.crystals)

    def content(number: int) -> bytes:
        """The file of one data set."""
        return xds_ascii(crystals, number, error_model=_error_model(crystals.experiments[number])).encode()

    sweeps = [k for k, experiment in enumerate(crystals.experiments) if not experiment.is_still]
    names = _sweep_names([experiment.identifier for experiment in crystals.experiments])
    return [
        ExportFile(path if len(sweeps) < 2 else numbered(path, names[k]), partial(content, k)) for k in sweeps or [0]
    ]


EXPORT: Export = Export(_files)
