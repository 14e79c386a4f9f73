"""The response of the detector over ranks: the map and modules of models/detector_map.py, shared by all crystals.

    g = k exp(b s) v(x, y),      v = exp(sum of shares x parameters)

Rows are divided by v (intensity, variance, and factor to raw counts), so that everything else sees crystals with k and
b alone. A step of the map is one of Gauss and Newton with the scales as they are. The map has one value in each of 256
x 256 cells of the detector, so its normal matrix follows from two sums for each cell, over all rows of all ranks.
Scales and map are found in turns; each still lights up all of the detector, so that they hardly depend on each other.
The mean of the map's ln v is 0 in every shell of resolution, and that of the modules over all rows (models/gauge.py),
which are constraints here. Strengths:
fit/restraint_strengths.py, at the minimum of the quadratic that touches the target.

The first rank solves for all: another kind of processor might round otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.models.data_set_model import modules_of
from braggscale.models.detector_map import detector_map
from braggscale.models.detector_modules import Edges, Modules, enough_for_modules, module_factors
from braggscale.models.restraints import Restraint
from braggscale.models.settings import MODULATION_BINS
from braggscale.models.smooth import Axis, Smooth, smooth_basis
from braggscale.numerics.array_types import Array, Bool, Float, Int, Int32
from braggscale.numerics.compiled import crystal_detector as kernels
from braggscale.numerics.compiled.crystal_detector import STEPS
from braggscale.ranks.communicator import Communicator, gather_texts
from braggscale.ranks.crystal_rows import CrystalRows, CrystalScales
from braggscale.ranks.exact_sums import ExactSums, Sums
from braggscale.ranks.reflections import Reflections

STRENGTH_TURNS, SETTLED = 30, 0.01  # of strengths on one quadratic, and the change of a logarithm that ends them
MOST_FACTOR, STRONGEST = 10.0, 1e12
_RIDGE = 1e-9
_CHUNK = 1 << 22
Tables = tuple[Int32, Float, Int32, Int32, Float, Int32, int, int]


@dataclass(frozen=True, slots=True)
class Detector:
    """The only panel of all data sets.  ``size``: pixels, fast and slow.  ``modules``: edges of several, or None."""

    size: tuple[int, int]
    modules: Edges | None

    def positions(self, xyz: Float) -> Array:
        """Places as the kernels take them, (n,).  ``xyz``: pixels, (n, 3)."""
        share = xyz[:, :2] / np.array(self.size, np.float64)
        steps = np.clip(np.floor(share * STEPS), 0, STEPS - 1).astype(np.uint32)
        return np.asarray(steps[:, 0] * np.uint32(STEPS) + steps[:, 1])


def common_detector(ranks: Communicator, experiments: Sequence[Experiment]) -> Detector | None:
    """The panel of all data sets of all ranks; None where there are several, or none is known.

    ``experiments``: of this rank.
    """
    mine: set[str] = set()
    for one in experiments:
        known = len(one.panels) == 1
        mine.add(json.dumps([one.panels[0].image_size, modules_of(one.panels[0])] if known else None))
    found = {line for text in gather_texts(ranks, "\n".join(mine)) for line in text.splitlines()}
    if len(found) != 1:
        return None
    panel = json.loads(found.pop())
    if panel is None:
        return None
    edges = None if panel[1] is None else (tuple(panel[1][0]), tuple(panel[1][1]))
    return Detector((int(panel[0][0]), int(panel[0][1])), edges)


@dataclass(slots=True)
class DetectorMap:
    """What is known of the response.

    ``place``: of the rows of this rank, (n,).  ``tables``: see the kernels.  ``free``: directions in which parameters
    may move, (n_parameters, n_free).  ``theta``, ``esd``: parameters and their uncertainties, (n_parameters,).
    ``strengths``: by kind of restraint.
    """

    smooth: Smooth
    modules: Modules | None
    detector: Detector
    place: Array
    tables: Tables
    free: Float
    theta: Float
    esd: Float
    strengths: dict[str, float] = field(default_factory=dict)

    @property
    def edges(self) -> Edges | None:
        """Of the modules, if they have factors."""
        return None if self.modules is None else (self.modules.x, self.modules.y)

    @property
    def parts(self) -> list[tuple[slice, Restraint]]:
        """Restraints of map and modules, and the places of their parameters."""
        n = self.smooth.n_parameters
        found = [(slice(0, n), self.smooth.restraints[0])]
        if self.modules is not None:
            found.append((slice(n, len(self.theta)), self.modules.restraints[0]))
        return found

    def sentence(self) -> str:
        """The range of the response, for the log."""
        values = np.exp(self.theta)
        n, (x, y) = self.smooth.n_parameters, self.smooth.axes
        text = f"Map of the detector: {x.n} x {y.n}, from {values[:n].min():.3f} to {values[:n].max():.3f}"
        if self.modules is not None:
            text += f"; its {len(values) - n} modules from {values[n:].min():.3f} to {values[n:].max():.3f}"
        return text

    def response(self, part: slice) -> Float:
        """v of the rows ``part``, (n,)."""
        found: Float = self.values(self.theta)[self.place[part]]
        return found

    def values(self, theta: Float) -> Float:
        """v in every cell, (n_cells,).  ``theta``: (n_parameters,)."""
        found = np.empty(STEPS * STEPS)
        kernels.values(self.tables, np.ascontiguousarray(theta), found)
        return found


def detector_map_of(
    ranks: Communicator, rows: CrystalRows, place: Array, detector: Detector, reflections: Reflections, shell: Int,
    estimated: bool,
) -> DetectorMap:  # fmt: skip
    """A map that corrects nothing yet.

    ``place``: of the rows of this rank, (n,).  ``shell``: of resolution, of each reflection, (n_reflections,).
    ``estimated``: whether the data determine its restraints.
    """
    smooth = detector_map(detector.size, MODULATION_BINS, estimated)
    n_rows = int(reflections.counts.sum())
    edges = detector.modules if enough_for_modules(detector.modules, n_rows) else None
    modules = None if edges is None else module_factors(edges, estimated)
    x, y = smooth.axes
    columns = 1 if modules is None else modules.shape[0]
    along_x = *_along(x, detector.size[0]), _module(modules, 0, detector.size[0], 1)
    along_y = *_along(y, detector.size[1]), _module(modules, 1, detector.size[1], columns)
    tables: Tables = (*along_x, *along_y, x.n, smooth.n_parameters)
    n = smooth.n_parameters + (0 if modules is None else modules.n_parameters)
    gauge = np.zeros((int(shell.max()) + 2, n))
    kernels.mean_shares(_cell_counts(ranks, rows, place, shell), tables, gauge)
    gauge = gauge[gauge.any(axis=1)]
    gauge /= gauge.sum(axis=1, keepdims=True)
    nothing = np.zeros(n)
    found = DetectorMap(smooth, modules, detector, place, tables, _free(gauge), nothing, nothing.copy())
    found.strengths = {_name(restraint, k): restraint.strength for k, (_, restraint) in enumerate(found.parts)}
    return found


def _cell_counts(ranks: Communicator, rows: CrystalRows, place: Array, shell: Int) -> Int:
    """Rows of all ranks that are in, (n_shells, STEPS^2), by the shell of their reflection and their cell.

    ``place``: of the rows of this rank, (n,).  ``shell``: of each reflection, (n_reflections,).
    """
    n_shells, n = int(shell.max()) + 1, STEPS * STEPS
    counts = np.zeros(n_shells * n, np.int64)
    for first in range(0, len(rows), _CHUNK):
        part = slice(first, first + _CHUNK)
        which = shell[rows.number[part] >> 1] * n + place[part]
        counts += np.bincount(which[~rows.out[part]], minlength=len(counts))
    return ranks.allreduce(counts).reshape(n_shells, n)


def _name(restraint: Restraint, number: int) -> str:
    """Kind of an estimated restraint; of a fixed one the component's name."""
    return restraint.kind or ("modulation", "modules")[number]


def _along(axis: Axis, size: int) -> tuple[Int32, Float]:
    """First parameter, (STEPS,), and shares, (STEPS, 3), along one axis of the map; in the middle of each step."""
    pixels = (np.arange(STEPS) + 0.5) * (size / STEPS)
    position = np.asarray((pixels * axis.factor - axis.origin) * (axis.intervals / axis.span), np.float64)
    return smooth_basis((axis,), position[:, None], np.ones(STEPS))


def _module(modules: Modules | None, k: int, size: int, unit: int) -> Int32:
    """Part of the number of the module, (STEPS,); -1 without modules.  ``k``: 0 along x, 1 along y."""
    if modules is None:
        return np.full(STEPS, -1, np.int32)
    pixels = (np.arange(STEPS) + 0.5) * (size / STEPS)
    edges = (modules.x, modules.y)[k]
    return (unit * np.searchsorted(edges[1:-1], pixels, side="right")).astype(np.int32)


def _free(gauge: Float) -> Float:
    """Directions that the conditions leave free, (n, n_free).  ``gauge``: the conditions, (n_conditions, n)."""
    _, size, vectors = np.linalg.svd(gauge)
    rank = int(np.count_nonzero(size > 1e-9 * size.max(initial=0.0)))
    return np.ascontiguousarray(vectors[rank:].T)


def fit_map(
    ranks: Communicator, sums: ExactSums, rows: CrystalRows, crystals: CrystalScales, found: DetectorMap,
    means: tuple[Float, Float, Bool], n_rows: int, estimate: bool,
) -> float:  # fmt: skip
    """One step of the map, by which the rows are divided; returns the mean square change in units of variances.

    ``means``: I_h and sum w g^2 by place, (2 n_reflections,), and the reflections whose mates are two,
    (n_reflections,).  ``n_rows``: of all ranks.  ``estimate``: whether strengths move.
    """
    n = len(found.theta)
    mean, total, apart = means

    def add(to: Sums) -> None:
        """Add the sums of the rows of this rank."""
        kernels.cell_sums(
            0, rows.n_crystals, rows.arrays(), crystals.arrays(), apart, rows.weight, mean, total, found.place, to
        )

    cells = sums.collect("cells", np.full(STEPS * STEPS, n_rows, np.int64), 2, add)
    step = np.zeros(0)
    if ranks.rank == 0:
        matrix, slope = np.zeros((n, n)), np.zeros(n)
        kernels.normal_matrix(cells, found.tables, matrix, slope)
        step = _solved(found, matrix + np.triu(matrix, 1).T, slope, estimate)
    # parameters, uncertainties, strengths, change: those of the first rank
    step = np.concatenate(ranks.allgather(step))
    theta, esd, strengths = step[:n], step[n : 2 * n], step[2 * n : -1]
    change = found.values(theta - found.theta)
    kernels.respond(found.place, change, rows.intensity, rows.variance, rows.factor, rows.weight)
    found.theta, found.esd = theta.copy(), esd.copy()
    found.strengths = dict(zip(found.strengths, strengths.tolist(), strict=True))
    return float(step[-1])


def _solved(found: DetectorMap, matrix: Float, slope: Float, estimate: bool) -> Float:
    """New parameters, their uncertainties, strengths, and the mean square change in units of variances, one array.

    ``matrix``: J'J, ``slope``: w r J.
    """
    n, z, names = len(found.theta), found.free, list(found.strengths)
    data = z.T @ matrix @ z
    data[np.diag_indices(len(data))] += _RIDGE * max(float(data.diagonal().max(initial=0.0)), 1.0)
    penalties, restraints = [], []
    for where, restraint in found.parts:
        whole = np.zeros((n, n))
        whole[where, where] = restraint.dense()
        penalties.append(whole)
        restraints.append(restraint)
    inside = [z.T @ penalty @ z for penalty in penalties]
    strengths = [found.strengths[name] for name in names]
    for _ in range(STRENGTH_TURNS):
        normal = data + sum(lam * part for lam, part in zip(strengths, inside, strict=True))
        inverse = np.linalg.inv(normal)
        pull = sum(lam * (part @ found.theta) for lam, part in zip(strengths, penalties, strict=True))
        moved = inverse @ (z.T @ (slope - pull))
        theta = found.theta + z @ moved
        if not estimate or not all(restraint.kind for restraint in restraints):
            break
        new = [
            _better(lam, restraint, float(theta @ penalty @ theta), float(np.vdot(inverse, part)))
            for lam, restraint, penalty, part in zip(strengths, restraints, penalties, inside, strict=True)
        ]
        change = max(abs(float(np.log(b / a))) for a, b in zip(strengths, new, strict=True))
        strengths = new
        if change < SETTLED:
            break
    esd = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", z, inverse, z), 0.0))
    size = float(moved @ normal @ moved) / max(len(moved), 1)
    return np.concatenate([theta, esd, strengths, [size]])


def _better(strength: float, restraint: Restraint, size: float, trace: float) -> float:
    """One Fellner-Schall step of a strength.  ``size``: theta' S theta, ``trace``: tr(C S)."""
    free = max(restraint.rank - strength * trace, 1e-3)
    wanted = free / size if size > 0 else np.inf
    found = float(np.clip(wanted, strength / MOST_FACTOR, strength * MOST_FACTOR))
    return min(max(found, restraint.least), STRONGEST)
