"""INTEGRATE.HKL, XDS_ASCII.HKL and the unmerged output of XSCALE as data sets.

XDS writes profile-fitted intensities of whole reflections to which the factor RLP has been applied. In
INTEGRATE.HKL it is L/P for an unpolarised beam. In XDS_ASCII.HKL it is for the polarisation that CORRECT was given,
and IOBS contains further corrections, which are not undone. With the position (X, Y) of a reflection on the
detector, pixels counted from 1,

    s1 parallel to  QX (X - ORGX) x + QY (Y - ORGY) y + DISTANCE (x cross y)

and the scan angle is STARTING_ANGLE + OSCILLATION_RANGE (Z - STARTING_FRAME + 1), so Z is the image coordinate of
this program, 0 at the beginning of image 1.

A negative SIGMA marks a misfit of CORRECT. A reflection is saturated if its largest pixel, MAXC, is at the limit of
the detector. This limit is OVERLOAD in the header, or the value at which the largest values of MAXC pile up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell, d_spacings
from braggscale.errors import InputError
from braggscale.io.model_limits import LIMITS
from braggscale.io.new_experiments import NewExperiment, NewPanel, as_cell, standard_axes
from braggscale.io.reading import (
    Known,
    MeasuredRows,
    Reading,
    reading_columns,
    rocking_boxes,
    space_group,
    sweep_of_unknown_width,
    whole_numbers,
)
from braggscale.io.xds_file import XdsFile, numbers_of, read_xds_file
from braggscale.numerics.array_types import Array

_WANTED = ("H", "K", "L", "IOBS", "SIGMA", "XD", "YD", "ZD", "RLP", "PEAK", "MAXC", "ISET")
_NOTHING = Known()
_ELECTRONS = 0.1  # Angstrom: no X-ray diffractometer has a shorter wavelength
# Angstrom: K alpha of Cr, Fe, Co, Cu, Ga, Mo, Ag and In, between its first line and the mean of both. Any other
# wavelength is taken for that of a synchrotron.
_TUBES = ((2.2897, 2.2910), (1.9360, 1.9374), (1.7890, 1.7903), (1.5405, 1.5419), (1.3400, 1.3415), (0.7093, 0.7108),
          (0.5594, 0.5609), (0.5121, 0.5137))  # fmt: skip
_TUBE_MARGIN = 4e-4
_OF_SYNCHROTRONS = 0.99
_LARGEST = 1e9  # pixels, images, counts
_NEAREST = 1e-3  # mm
_FEW, _MARGIN_IMAGES = 20, 10.0
_MOST_IMAGES = 10_000_000
# Values of MAXC within 1 % of the largest pile up if they are many, and many times more than those of the next 4 %.
_TOP, _BELOW, _PILE, _MANY = 0.99, 0.95, 5, 5
_LEAST_LIMIT = 1000  # counts: a pile-up below this is not a limit of a detector


@dataclass(frozen=True, slots=True)
class _Geometry:
    """The experiment that the header describes; vectors in XDS' laboratory frame."""

    s0: Array
    wavelength: float
    axis: Array
    start_frame: int
    start_angle: float
    width: float
    panel: NewPanel | None
    real_space: Array | None


def read(path: str, data: memoryview, known: Known = _NOTHING) -> Reading:
    """The data sets of a file of XDS.

    A polarisation in ``known`` replaces the fraction of 0.5 that INTEGRATE assumes. Without one it is 0.99 where no
    X-ray tube has the wavelength.
    Raises InputError for a merged, damaged or shortened file.
    """
    file = read_xds_file(path, data, _WANTED)
    for name in ("XD", "YD", "ZD", "RLP", "PEAK", "MAXC"):
        if name in file.items:
            _without_absurd(file.items[name])
    hkl = np.stack([whole_numbers(path, name, file.items[name], 1 << 20) for name in "HKL"], axis=1)
    if not len(hkl):
        raise InputError(f"{path}: the file has no reflections")
    notes = [] if file.complete else [f"{path}: no line !END_OF_DATA; the file may be cut short"]
    hall = space_group(path, str(int(file.number("SPACE_GROUP_NUMBER") or 0)))
    if file.sets or "ISET" in file.items:
        return _of_xscale(file, hkl, hall, notes)
    geometry = _geometry(file)
    cell = _cell(path, file.header)
    z = file.items.get("ZD", np.full(len(hkl), 0.5))
    s1, xyz = _directions(file, geometry, len(hkl)), _positions(file, z)
    factor = file.items.get("RLP", np.ones(len(hkl)))
    fraction = file.number("FRACTION_OF_POLARIZATION")
    intensity, sigma = file.items["IOBS"], np.abs(file.items["SIGMA"])
    if file.program == "INTEGRATE" or "FRACTION_OF_POLARIZATION" not in file.header:
        fraction = known.polarisation
        if fraction is None:
            fraction, note = _likely_polarisation(geometry.wavelength, file.program == "INTEGRATE")
            notes += [f"{path}: {note}"] if note else []
        if fraction != 0.5:
            change = _polarisation(s1, geometry, 0.5) / _polarisation(s1, geometry, fraction)
            factor, intensity, sigma = factor * change, intensity * change, sigma * change
    if file.program == "CORRECT":
        notes.append(f"{path}: the corrections of CORRECT stay in the intensities")
    rejection = _rejection(file, notes)
    experiment = NewExperiment(
        identifier="0",
        wavelength=geometry.wavelength,
        to_source=-geometry.s0,
        cell=cell,
        hall=hall,
        real_space=standard_axes(cell) if geometry.real_space is None else geometry.real_space,
        axis=geometry.axis,
        images=_images(file, z, geometry.start_frame),
        oscillation=_oscillation(file, z, geometry),
        panels=() if geometry.panel is None else (geometry.panel,),
        probe="electron" if geometry.wavelength < _ELECTRONS else "x-ray",
        polarisation=(fraction or 0.5, _normal(file)),
        sigma_m=file.number("REFLECTING_RANGE_E.S.D.") or 0.0,
        sigma_b=file.number("BEAM_DIVERGENCE_E.S.D.") or 0.0,
    )
    rows_read = MeasuredRows(
        number=np.zeros(len(hkl)),
        hkl=hkl,
        d=d_spacings(cell, hkl),
        xyz=xyz,
        s1=s1,
        factor=factor,
        partiality=_partiality(file, len(hkl)),
        rejection=rejection,
    )
    columns = reading_columns(rows_read, profile=(intensity, _variance(sigma)))
    columns["bbox"] = "int6", rocking_boxes(xyz, s1, experiment)
    return Reading(path, (experiment,), columns, tuple(notes))


def _without_absurd(values: Array) -> None:
    """Numbers that no position or factor can have become NaN, in place, (n,)."""
    if not np.abs(values).max(initial=0.0) <= _LARGEST:
        values[~(np.abs(values) <= _LARGEST)] = np.nan


def _variance(sigma: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.where(sigma > 0, sigma * sigma, np.nan)


def _partiality(file: XdsFile, n: int) -> Array:
    """PEAK, the percentage of the reflection that was recorded, as a fraction."""
    peak = file.items.get("PEAK")
    return np.ones(n) if peak is None else np.clip(np.nan_to_num(peak) / 100.0, 0.0, 1.0)


def _positions(file: XdsFile, z: Array) -> Array:
    """Pixels, counted from 0 at the edge of the first, and image number as array index, (n, 3)."""
    nothing = np.full(len(z), 0.5)
    return np.column_stack((file.items.get("XD", nothing) - 0.5, file.items.get("YD", nothing) - 0.5, z))


def _likely_polarisation(wavelength: float, raw: bool) -> tuple[float, str]:
    """The polarisation of a beam if the user has not given it, and a sentence on it for the log.

    ``wavelength``: Angstrom.  ``raw``: whether the file is of INTEGRATE, which is never told a polarisation.
    """
    if wavelength < _ELECTRONS:
        return 0.5, ""
    margin = _TUBE_MARGIN * wavelength
    if not raw or any(low - margin < wavelength < high + margin for low, high in _TUBES):
        return 0.5, (
            "corrected for a beam without polarisation; for a synchrotron give polarization_fraction=0.99 or so"
        )
    return _OF_SYNCHROTRONS, (
        f"corrected for a beam of a synchrotron, polarisation {_OF_SYNCHROTRONS:g}, as no X-ray tube has "
        f"{wavelength:g} A; polarization_fraction=0.5 for a beam without"
    )


def _rejection(file: XdsFile, notes: list[str]) -> Array:
    """The fates of saturated rows and misfits; a sentence on each is added to ``notes``."""
    rejection = np.where(file.items["SIGMA"] < 0, Fate.MISFIT, Fate.SCALED).astype(np.int32)
    n_misfits = int(np.count_nonzero(rejection))
    if n_misfits:
        notes.append(f"{file.path}: {n_misfits} misfits of the program before (SIGMA below 0) are not used")
    most = file.items.get("MAXC")
    if most is None:
        return rejection
    limit = file.number("OVERLOAD")
    limit = pile_up(most) if limit is None else limit
    if limit is not None:
        saturated = most >= limit
        rejection[saturated] = Fate.SATURATED
        if saturated.any():
            n = int(np.count_nonzero(saturated))
            notes.append(f"{file.path}: {n} reflections with a pixel of {limit:g} counts or more are saturated")
    return rejection


def pile_up(values: Array) -> float | None:
    """The limit at which ``values``, (n,), pile up at the top of their range; None if they do not.

    The larger a count, the fewer pixels have it; but all counts beyond the limit of a detector are written as this
    limit.
    """
    known = values[np.isfinite(values)]
    if not len(known) or known.max() < _LEAST_LIMIT:
        return None
    largest = float(known.max())
    top = int(np.count_nonzero(known >= _TOP * largest))
    below = int(np.count_nonzero((known >= _BELOW * largest) & (known < _TOP * largest)))
    return _TOP * largest if top >= _MANY and top > _PILE * below else None


# Header -----------------------------------------------------------------------------------------------------


def _cell(path: str, header: Mapping[str, str]) -> UnitCell:
    numbers = numbers_of(path, header, "UNIT_CELL_CONSTANTS", 6)
    cell = None if numbers is None else as_cell(numbers.tolist())
    if cell is None:
        raise InputError(f"{path}: the header has no UNIT_CELL_CONSTANTS, or none that are a cell; the file is damaged")
    return cell


def _direction(file: XdsFile, key: str) -> Array:
    """A unit vector of the header."""
    vector = file.numbers(key, 3)
    if vector is None or not np.linalg.norm(vector) > 0:
        raise InputError(f"{file.path}: the header has no {key}, or one of length 0; the file is damaged")
    return np.asarray(vector / np.linalg.norm(vector))


def _geometry(file: XdsFile) -> _Geometry:
    """Beam, rotation, detector and crystal. Raises InputError where the header lacks one of the first three."""
    wavelength, width = file.number("X-RAY_WAVELENGTH"), file.number("OSCILLATION_RANGE")
    for key, value in (("X-RAY_WAVELENGTH", wavelength), ("OSCILLATION_RANGE", width)):
        limits = LIMITS["wavelength" if key == "X-RAY_WAVELENGTH" else "oscillation_width"]
        if value is None or not limits.low <= value <= limits.high:
            what = f"no {key}" if value is None else f"{key}= {value:g}, outside {limits.text()}"
            raise InputError(f"{file.path}: the header has {what}; the file is damaged")
    axes = [file.numbers(f"UNIT_CELL_{name}-AXIS", 3) for name in "ABC"]
    real_space = None if any(axis is None for axis in axes) else np.array(axes)
    if real_space is not None and abs(np.linalg.det(real_space)) < 1e-3 * np.prod(np.linalg.norm(real_space, axis=1)):
        real_space = None
    return _Geometry(
        s0=_direction(file, "INCIDENT_BEAM_DIRECTION"),
        wavelength=float(wavelength or 0.0),
        axis=_direction(file, "ROTATION_AXIS"),
        start_frame=int(file.number("STARTING_FRAME") or 1),
        start_angle=file.number("STARTING_ANGLE") or 0.0,
        width=float(width or 0.0),
        panel=_panel(file),
        real_space=real_space,
    )


def _panel(file: XdsFile) -> NewPanel | None:
    """The detector; None where the header does not describe it."""
    size = [file.number(key) for key in ("NX", "NY", "QX", "QY", "ORGX", "ORGY", "DETECTOR_DISTANCE")]
    if any(value is None for value in size):
        return None
    nx, ny, qx, qy, x, y, distance = (float(value or 0.0) for value in size)
    fast, slow = _direction(file, "DIRECTION_OF_DETECTOR_X-AXIS"), _direction(file, "DIRECTION_OF_DETECTOR_Y-AXIS")
    slow = slow - fast * float(slow @ fast)
    pixel, edge = LIMITS["pixel_size"], LIMITS["image_size"]
    fine = all(pixel.low <= value <= pixel.high for value in (qx, qy))
    fine &= all(edge.low <= value <= edge.high for value in (nx, ny)) and max(abs(x), abs(y)) <= edge.high
    if not (fine and _NEAREST <= abs(distance) <= LIMITS["origin"].high and np.linalg.norm(slow) > 0.1):
        return None
    slow = slow / np.linalg.norm(slow)
    origin = distance * np.cross(fast, slow) - qx * (x - 0.5) * fast - qy * (y - 0.5) * slow
    name = file.header.get("DETECTOR", "") or "Panel"
    return NewPanel(name, fast, slow, origin, (qx, qy), (int(nx), int(ny)), file.number("OVERLOAD"))


def _directions(file: XdsFile, geometry: _Geometry, n: int) -> Array:
    """s1, 1/Angstrom, (n, 3); zeros if it cannot be calculated from the header and the row."""
    panel = geometry.panel
    if panel is None or "XD" not in file.items or "YD" not in file.items:
        return np.zeros((n, 3))
    (qx, qy), x, y = panel.pixel_size, file.items["XD"] - 0.5, file.items["YD"] - 0.5
    place = np.multiply.outer(x * qx, panel.fast)
    place += np.multiply.outer(y * qy, panel.slow)
    place += panel.origin
    length = np.sqrt(np.einsum("ij,ij->i", place, place)) * geometry.wavelength
    place /= length[:, None]
    return np.nan_to_num(place)


def _normal(file: XdsFile) -> Array:
    normal = file.numbers("POLARIZATION_PLANE_NORMAL", 3)
    return np.array([0.0, 1.0, 0.0]) if normal is None or not normal.any() else normal


def _polarisation(s1: Array, geometry: _Geometry, fraction: float) -> Array:
    """P = (1 - 2 p)(1 - (n.u)^2) + p (1 + (u.u0)^2), u and u0 along s1 and s0, (n,).

    n, the normal of the plane of polarisation, is XDS' y axis, as in its own default for synchrotrons.
    Source: Kahn et al., J. Appl. Cryst. 15 (1982) 330.
    """
    u = s1 * geometry.wavelength
    normal = np.array([0.0, 1.0, 0.0])
    result: Array = (1 - 2 * fraction) * (1 - (u @ normal) ** 2) + fraction * (1 + (u @ geometry.s0) ** 2)
    return np.where(result > 0, result, 1.0)


def _images(file: XdsFile, z: Array, start: int | None) -> tuple[int, int]:
    """First and last image.  ``start``: number of the first if the header says it."""
    known = _believed(z)
    if not len(known):
        raise InputError(f"{file.path}: no row has a position on the rotation (ZD)")
    low, high = int(np.floor(known.min())) + 1, int(np.ceil(known.max()))
    stated = file.numbers("DATA_RANGE", 2)
    start = low if start is None else start
    first, last = (start, high) if stated is None else (int(stated[0]), int(stated[1]))
    first, last = min(first, low), max(last, high, low)
    if last - first > _MOST_IMAGES:
        raise InputError(f"{file.path}: positions on the rotation from {known.min():g} to {known.max():g} images")
    return first, last


def _believed(z: Array) -> Array:
    """The image coordinates from which the range of the rotation is taken, without absurd ones, whose rows get a fate.

    ``z``: image numbers, (n,). Up to a thousandth of them at either end are left out if they lie beyond all others
    by a tenth of their range or more.
    """
    known = np.sort(z[np.isfinite(z)])
    if len(known) <= _FEW:
        return known
    k = len(known) // 1000 + 1
    low, high = known[k], known[-k - 1]
    margin = 0.1 * (high - low) + _MARGIN_IMAGES
    return np.asarray(known[(known >= low - margin) & (known <= high + margin)])


def _oscillation(file: XdsFile, z: Array, geometry: _Geometry) -> tuple[float, float]:
    """Angle at the beginning of the first image, and width."""
    first, _ = _images(file, z, geometry.start_frame)
    return geometry.start_angle + (first - geometry.start_frame) * geometry.width, geometry.width


# XSCALE -----------------------------------------------------------------------------------------------------


def _of_xscale(file: XdsFile, hkl: Array, hall: str, notes: list[str]) -> Reading:
    """The data sets that XSCALE has joined, separated again."""
    path, n = file.path, len(hkl)
    which = np.ones(n, np.int64)
    if "ISET" in file.items:
        which = whole_numbers(path, "ISET", np.abs(file.items["ISET"]))
    z = file.items.get("ZD", np.full(n, 0.5))
    number, d, s1 = np.zeros(n, np.int32), np.zeros(n), np.zeros((n, 3))
    experiments = []
    for k, one in enumerate(np.unique(which).tolist()):
        members = np.flatnonzero(which == one)
        entries = {**file.header, **file.sets.get(one, {})}
        cell = _cell(path, entries)
        wavelength = numbers_of(path, entries, "X-RAY_WAVELENGTH", 1)
        images = _images(file, z[members], None)
        plain = NewExperiment(
            identifier=str(k),
            wavelength=0.0 if wavelength is None else max(float(wavelength[0]), 0.0),
            to_source=np.array([0.0, 0.0, 1.0]),
            cell=cell,
            hall=hall,
            real_space=standard_axes(cell),
        )
        experiments.append(sweep_of_unknown_width(plain, images))
        number[members], d[members] = k, d_spacings(cell, hkl[members])
    sets = "1 data set" if len(experiments) == 1 else f"{len(experiments)} data sets"
    notes.append(
        f"{path}: {sets} of XSCALE without widths of images or directions of the beams: images stand for the rotation, "
        "no absorption correction; the scales of XSCALE stay"
    )
    rejection = _rejection(file, notes)
    sigma = np.abs(file.items["SIGMA"])
    rows_read = MeasuredRows(
        number=number,
        hkl=hkl,
        d=d,
        xyz=_positions(file, z),
        s1=s1,
        factor=np.ones(n),
        partiality=np.ones(n),
        rejection=rejection,
    )
    columns = reading_columns(rows_read, profile=(file.items["IOBS"], _variance(sigma)))
    return Reading(path, tuple(experiments), columns, tuple(notes))
