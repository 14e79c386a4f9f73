"""CrystFEL streams as data sets: each crystal is a still with its own cell, orientation and beam.

Intensities are sums over the recorded part of a reflection, and this fraction is not known. So they are treated as
whole, and the error model describes the scatter that results. A stream does not contain the space group; without
space_group= it is the one of lowest symmetry that the lattice type allows.

CrystFEL's frame has z along the beam; here z points to the source: (x, y, z) -> (-x, y, -z).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braggscale.data.geometry import d_spacings, unit, unit_cell
from braggscale.errors import InputError
from braggscale.io.new_experiments import NewExperiment, NewPanel, as_cell
from braggscale.io.reading import (
    Known,
    MeasuredRows,
    Reading,
    reading_columns,
    rejections_of_none,
    space_group,
    whole_numbers,
)
from braggscale.io.stream_file import Stream, StreamCrystal, StreamPanel, read_stream_file
from braggscale.numerics.array_types import Array, Float

_NOTHING = Known()
_TURN = np.diag([-1.0, 1.0, -1.0])
_EV = 12398.419843320026  # Angstrom times eV
# The space group of lowest symmetry without screw axes for a lattice; the symbol after the centring letter.
_LOWEST = {
    "triclinic": "1",
    "monoclinic": "2",
    "orthorhombic": "222",
    "tetragonal": "4",
    "rhombohedral": "3",
    "hexagonal": "3",
    "cubic": "23",
}


def read(path: str, data: memoryview, known: Known = _NOTHING) -> Reading:
    """The crystals of a stream.

    Raises InputError for a damaged stream, for one without crystals, and for mixed lattices without space_group=.
    """
    stream = read_stream_file(path, data)
    crystals = [crystal for crystal in stream.crystals if crystal.table.shape[1]]
    if not crystals:
        raise InputError(
            f"{path}: none of {stream.n_images} images has a crystal with reflections; nothing was indexed, or the "
            "stream was written without integration"
        )
    name = known.space_group or _lowest_group(path, crystals)
    hall = space_group(path, name)
    notes = [f"{path}: {len(crystals)} crystals on {stream.n_images} images, each a still"]
    if known.space_group is None:
        notes.append(
            f"{path}: the stream has no space group; {name} has the lowest symmetry for its lattice; space_group= "
            "gives another"
        )
    detectors: dict[float | None, tuple[NewPanel, ...]] = {}
    order = {panel: k for k, panel in enumerate(stream.panels)}
    experiments = []
    for k, crystal in enumerate(crystals):
        if crystal.camera not in detectors:
            detectors[crystal.camera] = _detector(stream, crystal.camera)
        experiments.append(_experiment(path, k, crystal, hall, detectors[crystal.camera]))
    return Reading(path, tuple(experiments), _columns(path, crystals, experiments, stream.panels, order), tuple(notes))


def _lowest_group(path: str, crystals: list[StreamCrystal]) -> str:
    """The space group of lowest symmetry for the lattice of the crystals."""
    kinds = {crystal.lattice for crystal in crystals}
    if len(kinds) > 1:
        shown = ", ".join(sorted(" ".join(kind[:2]) for kind in kinds)[:4])
        raise InputError(
            f"{path}: crystals of different lattices ({shown}); give the common space group as space_group="
        )
    kind, centring, axis = next(iter(kinds))
    if kind not in _LOWEST:
        return "P1"
    letter = "P" if centring == "?" else centring
    if kind == "rhombohedral" or (letter in "HR" and kind == "hexagonal"):
        return "R3:R" if letter == "R" and kind == "rhombohedral" else "R3:H"
    if kind == "monoclinic" and axis in ("a", "c"):
        return f"{letter}{'211' if axis == 'a' else '112'}"
    return letter + _LOWEST[kind]


def _experiment(path: str, k: int, crystal: StreamCrystal, hall: str, panels: tuple[NewPanel, ...]) -> NewExperiment:
    axes: Float = np.asarray(np.linalg.inv(_TURN @ crystal.reciprocal), np.float64)
    cell = as_cell(unit_cell(axes))
    if cell is None:
        raise InputError(f"{path}: the crystal in line {crystal.line} has no unit cell that can be")
    known = crystal.energy is not None and crystal.energy > 0
    wavelength = _EV / crystal.energy if known and crystal.energy else 0.0
    return NewExperiment(str(k), wavelength, np.array([0.0, 0.0, 1.0]), cell, hall, axes, panels=panels)


def _detector(stream: Stream, camera: float | None) -> tuple[NewPanel, ...]:
    """All panels at a camera length, metres, which contains the offset of the panels; none if it is not known."""
    if camera is None:
        return ()
    panels = []
    for panel in stream.panels.values():
        size = 1000.0 / panel.resolution
        x, y = panel.corner
        origin = _TURN @ np.array([x * size, y * size, 1000.0 * camera])
        fast, slow = _TURN @ panel.fast, _TURN @ panel.slow
        edges = float(np.linalg.norm(fast)) * size, float(np.linalg.norm(slow)) * size
        fast = unit(fast)
        slow = slow - fast * float(slow @ fast)
        if np.linalg.norm(slow) < 0.1 * np.linalg.norm(panel.slow):
            return ()
        panels.append(NewPanel(panel.name, fast, unit(slow), origin, edges, panel.size, panel.saturation))
    return tuple(panels)


def _columns(
    path: str,
    crystals: list[StreamCrystal],
    experiments: list[NewExperiment],
    panels: Mapping[str, StreamPanel],
    order: Mapping[str, int],
) -> dict[str, tuple[str, Array]]:
    """The reflections of all crystals, one after the other."""
    counts = [crystal.table.shape[1] for crystal in crystals]
    number = np.repeat(np.arange(len(crystals)), counts)
    table = np.concatenate([crystal.table for crystal in crystals], axis=1)
    hkl = np.stack([whole_numbers(path, name, table[k], 1 << 20) for k, name in enumerate("hkl")], axis=1)
    n = len(hkl)
    d, s1, panel = np.zeros(n), np.zeros((n, 3)), np.zeros(n, np.uint64)
    xyz = np.column_stack((table[5], table[6], np.full(n, 0.5)))
    position = 0
    for crystal, experiment, count in zip(crystals, experiments, counts, strict=True):
        of_crystal = slice(position, position + count)
        position += count
        d[of_crystal] = d_spacings(experiment.cell, hkl[of_crystal])
        if experiment.wavelength > 0:
            s1[of_crystal] = _directions(experiment, hkl[of_crystal])
        if len(crystal.panels) == count and experiment.panels:
            panel[of_crystal] = [order.get(name, 0) for name in crystal.panels]
    if panels:
        first = np.array([one.first for one in panels.values()])
        xyz[:, :2] -= first[panel.astype(np.int64)]
    with np.errstate(invalid="ignore", over="ignore"):
        variance = np.where(table[4] > 0, table[4] ** 2, np.nan)
    rows_read = MeasuredRows(
        number=number,
        hkl=hkl,
        d=d,
        xyz=xyz,
        s1=s1,
        factor=np.ones(n),
        partiality=np.ones(n),
        rejection=rejections_of_none(n),
    )
    columns = reading_columns(rows_read, summed=(table[3], variance))
    columns["panel"] = ("std::size_t", panel)
    return columns


def _directions(experiment: NewExperiment, hkl: Array) -> Float:
    """s1 = s0 + A h, scaled to length 1/lambda, (n, 3)."""
    s0 = -unit(experiment.to_source) / experiment.wavelength
    s1: Float = s0 + hkl @ np.linalg.inv(experiment.real_space).T
    length = np.linalg.norm(s1, axis=1)
    s1 /= np.where(length > 0, length, 1.0)[:, None] * experiment.wavelength
    return s1
