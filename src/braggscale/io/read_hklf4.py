"""Unmerged SHELX files of the kind HKLF 4 as data sets.

Fixed columns: h k l (4 characters each), I and its sd (8 each), batch (4, optional), and in files of SAINT and some
others six direction cosines (8 each). A row 0 0 0 ends the data; text after it, often a copy of the .ins or .cif,
is ignored. The intensities have been corrected by the program that wrote the file.

Direction cosines. p = -s0/|s0|, towards the source, and u = s1/|s1| have the cosines p.a/|a| ... with the axes of the
crystal, in the order p u p u p u for a, b, c. Laue's equations (p + u).a = lambda h show whether the six numbers
really are direction cosines. As the crystal turns, p moves in the crystal's frame on a cone about the rotation
axis. The axis is therefore the normal of the circle that the end of p describes, and the scan angle is the position
on the circle. So the geometry of the sweep can be calculated from the cosines. Source: SHELX-97 manual, HKLF.

A unit cell and a space group come from the options, else from an .ins, .res or .cif file of the same name beside it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import UnitCell, d_spacings, orthogonalisation, rotation
from braggscale.data.space_groups import hall_symbol, hall_symbol_of
from braggscale.errors import InputError
from braggscale.io.new_experiments import NewExperiment, as_cell, standard_axes
from braggscale.io.number_lines import read_fixed_lines
from braggscale.io.reading import (
    Known,
    MeasuredRows,
    Reading,
    reading_columns,
    rejections_of_none,
    space_group,
    whole_numbers,
)
from braggscale.numerics.array_types import Array, Float

_NAMES = ("h", "k", "l", "I", "sigma", "batch", "cosine 1", "cosine 2", "cosine 3", "cosine 4", "cosine 5", "cosine 6")
_WIDTHS = (4, 4, 4, 8, 8, 4, 8, 8, 8, 8, 8, 8)
_NOTHING = Known()
_MOST_RUNS = 1000  # more batches than this are images, not runs
_MOST_TEXT = 1 << 22  # bytes that are read of a file beside the data
_LARGEST_COSINE = 1.01  # rounded
_LAUE = 0.02  # median of |(p + u).a - lambda h| / lambda beyond which the numbers are not direction cosines
_LEAST_TURN = 5.0  # degrees by which p has to turn so that its circle is determined
_CIRCLE = 0.01  # rms distance from the circle, of a unit vector
_IMAGE = 1.0  # degrees of rotation for one image, because the files do not have images


@dataclass(frozen=True, slots=True)
class _Beside:
    """Facts from an .ins, .res or .cif file; None for those that it does not contain."""

    path: str
    cell: UnitCell | None = None
    hall: str | None = None
    wavelength: float | None = None


@dataclass(frozen=True, slots=True)
class _Turn:
    """Geometry of a sweep in the crystal's Cartesian frame, a along x, at scan angle 0.

    ``axis``: (3,).  ``to_source``: (3,).  ``angle``: degrees, of each row, (n,).  ``u``: directions of the diffracted
    beams in the laboratory, (n, 3).
    """

    axis: Float
    to_source: Float
    angle: Float
    u: Float


def read(path: str, data: memoryview, known: Known = _NOTHING) -> Reading:
    """The data sets of an HKLF 4 file: one for each batch number, or one.

    Raises InputError for a file without a row, with a field that is no number, or without a unit cell.
    """
    table = read_fixed_lines(path, data, 0, len(data), _WIDTHS, _NAMES, ends_with_zeros=True)
    n = table.shape[1]
    if not n:
        raise InputError(f"{path}: the file has no reflections")
    hkl = np.stack([whole_numbers(path, name, table[k], 1 << 20) for k, name in enumerate("hkl")], axis=1)
    beside = _beside(path)
    notes = [] if not beside.path else [f"{path}: unit cell and symmetry from {beside.path}"]
    cell = known.unit_cell or beside.cell
    if cell is None:
        raise InputError(f"{path}: the file has no unit cell; give it as unit_cell=a,b,c,alpha,beta,gamma")
    hall = space_group(path, known.space_group) if known.space_group else beside.hall
    if hall is None:
        raise InputError(f"{path}: the file has no space group; give it as space_group=")
    batch = np.where(np.isfinite(table[5]) & (table[5] != 0), np.abs(table[5]), 1.0)
    batch = whole_numbers(path, "batch", batch)
    runs, number = np.unique(batch, return_inverse=True)
    if len(runs) > _MOST_RUNS:
        notes.append(f"{path}: {len(runs)} batches are too many for runs; they are not used")
        runs, number = runs[:1], np.zeros(n, np.int64)
    wavelength = beside.wavelength or _wavelength(table[6:], hkl, cell)
    xyz, s1 = np.full((n, 3), 0.5), np.zeros((n, 3))
    experiments = []
    for k in range(len(runs)):
        of_run = np.flatnonzero(number == k)
        turn = _turn(table[6:, of_run], hkl[of_run], cell, wavelength)
        experiments.append(_experiment(k, cell, hall, wavelength or 0.0, turn))
        if turn is not None:
            s1[of_run] = turn.u / (wavelength or 1.0)
            xyz[of_run, 2] = (turn.angle - turn.angle.min()) / _IMAGE
    notes += _said(path, experiments, bool(np.isfinite(table[6]).any()))
    with np.errstate(invalid="ignore", over="ignore"):
        variance = np.where(table[4] > 0, table[4] ** 2, np.nan)
    rows_read = MeasuredRows(
        number=number,
        hkl=hkl,
        d=d_spacings(cell, hkl),
        xyz=xyz,
        s1=s1,
        factor=np.ones(n),
        partiality=np.ones(n),
        rejection=rejections_of_none(n),
    )
    columns = reading_columns(rows_read, profile=(table[3], variance))
    return Reading(path, tuple(experiments), columns, tuple(notes))


def _experiment(k: int, cell: UnitCell, hall: str, wavelength: float, turn: _Turn | None) -> NewExperiment:
    """The experiment of a run; it is a sweep if its rotation is known."""
    axes = standard_axes(cell)
    if turn is None:
        return NewExperiment(str(k), wavelength, np.array([0.0, 0.0, 1.0]), cell, hall, axes)
    n_images = max(int(np.ceil(float(np.ptp(turn.angle)) / _IMAGE)), 1)
    return NewExperiment(
        str(k),
        wavelength,
        turn.to_source,
        cell,
        hall,
        axes,
        turn.axis,
        (1, n_images),
        (float(turn.angle.min()), _IMAGE),
    )


def _said(path: str, experiments: list[NewExperiment], has_cosines: bool) -> list[str]:
    """One line on the information that these data do not contain."""
    sweeps = sum(experiment.axis is not None for experiment in experiments)
    runs = "1 run" if len(experiments) == 1 else f"{len(experiments)} runs"
    if sweeps == len(experiments):
        return [f"{path}: {runs}, rotation and directions of the beams from the direction cosines"]
    if has_cosines:
        return [
            f"{path}: {runs}, of which {sweeps} have direction cosines that tell how the crystal turned; "
            "the others get a scale and a B factor"
        ]
    return [f"{path}: {runs} without rotation and directions of the beams: a scale and a B factor for each"]


# Direction cosines ------------------------------------------------------------------------------------------


def _split(cosines: Array) -> tuple[Array, Array]:
    """Cosines of p and of u with a, b, c, (n, 3) each, out of the six columns."""
    return cosines[0::2].T, cosines[1::2].T


def _wavelength(cosines: Array, hkl: Array, cell: UnitCell) -> float | None:
    """lambda from Laue's equations; None if the cosines do not determine it."""
    usable = (np.abs(cosines) <= _LARGEST_COSINE).all(axis=0)
    if not usable.any():
        return None
    p, u = _split(cosines[:, usable])
    left = (p + u) * np.array(cell[:3])
    h = hkl[usable].astype(np.float64)
    norm = float((h * h).sum())
    wavelength = float((left * h).sum()) / norm if norm > 0 else 0.0
    return wavelength if 0.01 < wavelength < 10 else None


def _turn(cosines: Array, hkl: Array, cell: UnitCell, wavelength: float | None) -> _Turn | None:
    """Rotation of the crystal in a run; None if there are no direction cosines."""
    p_cosines, u_cosines = _split(cosines)
    if wavelength is None or len(hkl) < 3 or not (np.abs(cosines) <= _LARGEST_COSINE).all():
        return None
    laue = (p_cosines + u_cosines) * np.array(cell[:3]) / wavelength - hkl
    if not np.median(np.abs(laue).max(axis=1)) < _LAUE * max(1.0, float(np.abs(hkl).max())):
        return None
    # v.a/|a| for the three axes is a linear system for v
    edges = orthogonalisation(cell).T / np.array(cell[:3])[:, None]
    p, u = (np.linalg.solve(edges, c.T).T for c in (p_cosines, u_cosines))
    p /= np.linalg.norm(p, axis=1)[:, None]
    u /= np.linalg.norm(u, axis=1)[:, None]
    middle = p.mean(axis=0)
    _, spread, directions = np.linalg.svd(p - middle, full_matrices=False)
    axis = directions[2]
    if spread[2] > _CIRCLE * np.sqrt(len(p)) or spread[0] < np.deg2rad(_LEAST_TURN) * np.sqrt(len(p)) / np.sqrt(12):
        return None
    # p = R(-phi) p0 in the crystal's frame: the angle on the circle goes backwards
    first = directions[0]
    second = np.cross(axis, first)
    angle = -np.rad2deg(np.arctan2(p @ second, p @ first))
    order = np.sort(angle)
    gaps = np.diff(np.append(order, order[0] + 360.0))
    start = order[(int(np.argmax(gaps)) + 1) % len(order)]
    angle = (angle - start) % 360.0
    reference = int(np.argmin(angle))
    to_source = rotation(axis, float(angle[reference])) @ p[reference]
    laboratory = _turned(u, axis, angle)
    return _Turn(axis, to_source, angle, laboratory)


def _turned(vectors: Array, axis: Float, degrees: Array) -> Float:
    """R(axis, phi) v for each row, (n, 3)."""
    cos, sin = np.cos(np.deg2rad(degrees))[:, None], np.sin(np.deg2rad(degrees))[:, None]
    result: Float = vectors * cos + np.cross(axis, vectors) * sin + (vectors @ axis)[:, None] * axis * (1 - cos)
    return result


# Files beside the data --------------------------------------------------------------------------------------


def _beside(path: str) -> _Beside:
    """The first of .ins, .res and .cif of the same name that has a unit cell."""
    stem = path.removesuffix(".gz")
    stem = os.path.splitext(stem)[0]
    for ending, parse in ((".ins", _of_shelx), (".res", _of_shelx), (".cif", _of_cif)):
        try:
            with open(stem + ending, encoding="latin-1") as file:
                text = file.read(_MOST_TEXT)
        except OSError:
            continue
        facts = parse(stem + ending, text)
        if facts.cell is not None:
            return facts
    return _Beside("")


def _numbers(text: str) -> list[float]:
    """Numbers of a line, without the esds in brackets."""
    try:
        return [float(word.split("(")[0]) for word in text.split()]
    except ValueError:
        return []


def _of_shelx(path: str, text: str) -> _Beside:
    """CELL, LATT and SYMM of SHELX instructions; LATT is the centring, and above 0 a centre of symmetry."""
    text = re.sub(r"=\s*\n", " ", text)
    cell, wavelength, lattice, operators = None, None, 1, ["x,y,z"]
    for line in text.splitlines():
        key, rest = line[:4].upper(), line[4:]
        numbers = _numbers(rest)
        if key == "CELL" and len(numbers) >= 7:
            wavelength, cell = numbers[0], as_cell(numbers[1:7])
        elif key == "LATT" and numbers:
            lattice = int(numbers[0])
        elif key == "SYMM":
            operators.append(rest.replace(" ", "").replace("+,", ",").lower())
        elif key == "HKLF":
            break
    centring = {
        2: ["1/2,1/2,1/2"], 3: ["2/3,1/3,1/3", "1/3,2/3,2/3"], 4: ["0,1/2,1/2", "1/2,0,1/2", "1/2,1/2,0"],
        5: ["0,1/2,1/2"], 6: ["1/2,0,1/2"], 7: ["1/2,1/2,0"],
    }.get(abs(lattice), [])  # fmt: skip
    for shift in centring:
        operators.append(",".join(f"{axis}+{part}" for axis, part in zip("xyz", shift.split(","), strict=True)))
    if lattice > 0:
        operators.append("-x,-y,-z")
    wavelength = wavelength if wavelength and wavelength > 0 else None
    return _Beside(path, cell, hall_symbol_of(operators), wavelength)


def _of_cif(path: str, text: str) -> _Beside:
    """Cell, space group and wavelength of a CIF, by the names of old and new dictionaries."""

    def value(*names: str) -> str | None:
        """The value of the first of these items that the text has."""
        for name in names:
            match = re.search(rf"^\s*{re.escape(name)}\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))", text, re.MULTILINE | re.I)
            if match:
                return next(part for part in match.groups() if part is not None)
        return None

    lengths = [value(f"_cell_length_{axis}", f"_cell.length_{axis}") for axis in "abc"]
    angles = [value(f"_cell_angle_{angle}", f"_cell.angle_{angle}") for angle in ("alpha", "beta", "gamma")]
    numbers = _numbers(" ".join(item or "?" for item in (*lengths, *angles)))
    hall = value("_space_group_name_Hall", "_symmetry_space_group_name_Hall", "_space_group.name_Hall")
    name = value("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group.name_H-M_alt")
    number = value("_space_group_IT_number", "_symmetry_Int_Tables_number", "_space_group.IT_number")
    symbol = next((s for text in (name, number) if text and (s := hall_symbol(text)) is not None), None)
    wavelength = _numbers(value("_diffrn_radiation_wavelength", "_diffrn_radiation_wavelength.wavelength") or "?")
    return _Beside(
        path,
        as_cell(numbers) if len(numbers) == 6 else None,
        symbol or hall,
        wavelength[0] if wavelength and wavelength[0] > 0 else None,
    )
