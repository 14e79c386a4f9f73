"""The parts of a scaling model, in the form in which DIALS stores them.

A component turns an observation into eta = sum_k basis_k theta_k and that into a factor of the inverse scale,
offset + eta or exp(eta). Only few basis values of a row are not zero; they sit in *slots*: theta has its index
start + pattern[slot], where ``start`` depends on the row and ``pattern`` does not (kernels.py).

Smooth terms average Gaussian weights over neighbouring parameters (Evans & Murshudov, Acta Cryst. D69 (2013)
1204; the form and the constants are those of the DIALS scaling models, so that either program reads the other's).
With n parameters on N intervals of one axis and u the position in intervals, parameter i stands at i - 1/2
(at i for n < 4), and

    basis_i = w_i / sum w,   w_i = exp(-(distance to parameter i)^2 / sigma^2),   sigma = 0.70 (0.65 for n = 2)

over the three nearest parameters of each axis. The absorption surface is 1 + sum P_lm (Y_lm(s0c) + Y_lm(s1c))/2
(Katayama, Acta Cryst. A42 (1986) 19; Blessing, Acta Cryst. A51 (1995) 33).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Literal, Protocol

import numpy as np

from braggscale import basis_kernels
from braggscale.arrays import Float, Int, Int32
from braggscale.table import Places

Coordinate = Literal["image", "x", "y", "inverse_d2"]


@dataclass(frozen=True, slots=True)
class Levels:
    """A penalty on the levels l_d = m_d . theta_d of many data sets, S = within sum_d m_d m_d' + across v v'.

    v is all m_d side by side: theta'S theta = within sum_d l_d^2 + across (sum_d l_d)^2. It has n^2 elements that are
    not 0 and takes 2 n numbers.
    ``row``: v, (n,).  ``starts``: of every m_d in it, and its end, (n_levels + 1,), none empty.
    """

    row: Float
    starts: Int
    within: float
    across: float

    @classmethod
    def one(cls, row: Float) -> Levels:
        """The square of a single level."""
        return cls(row, np.array([0, len(row)]), 0.0, 1.0)

    @classmethod
    def about_mean(cls, rows: Sequence[Float]) -> Levels:
        """sum_d (l_d - mean)^2, of rank n_levels - 1."""
        starts = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
        return cls(np.concatenate(rows), starts, 1.0, -1.0 / len(rows))

    def __len__(self) -> int:
        return len(self.row)

    def __matmul__(self, x: Float) -> Float:
        """S x.  ``x``: (n,) or (n, m)."""
        row = self.row if x.ndim == 1 else self.row[:, None]
        level = np.add.reduceat(row * x, self.starts[:-1], axis=0)
        pull = self.within * level + self.across * level.sum(axis=0)
        return np.asarray(row * np.repeat(pull, np.diff(self.starts), axis=0))

    def __mul__(self, factor: float) -> Levels:
        return replace(self, within=factor * self.within, across=factor * self.across)

    def diagonal(self) -> Float:
        """(n,)."""
        return (self.within + self.across) * self.row**2

    def dense(self) -> Float:
        """S, (n, n)."""
        level = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        within: Float = np.outer(self.row, self.row) * (self.within * (level[:, None] == level) + self.across)
        return within


@dataclass(frozen=True, slots=True)
class Restraint:
    """Adds strength (theta - target)' penalty (theta - target) to the cost.  ``penalty``: (n, n).

    ``kind``: empty for a strength that somebody chose. Otherwise the data choose it (strengths.py): all restraints
    of one kind, of whatever data set, have the same strength, and ``strength`` is where it starts.
    ``relative``: parameters count in units of their mean, so that a weak crystal is as smooth as a strong one.
    ``common``: it acts on how much the data sets differ from one another, not on each by itself;
    ``penalty`` is then the row m of the level m . theta, (n,).  ``rank``: of the penalty, where there is a kind.
    """

    penalty: Float | Levels
    strength: float
    target: float = 0.0
    kind: str = ""
    relative: bool = False
    common: bool = False
    rank: int = 0

    def diagonal(self) -> Float:
        """Of the penalty, (n,)."""
        found: Float = self.penalty.diagonal()
        return found

    def dense(self) -> Float:
        """The penalty as a matrix, (n, n)."""
        return self.penalty.dense() if isinstance(self.penalty, Levels) else self.penalty


class Component(Protocol):
    """What the models need of a component. ``start`` counts from the component's own first parameter."""

    @property
    def name(self) -> str: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def exponential(self) -> bool: ...
    @property
    def offset(self) -> float: ...
    @property
    def null(self) -> float: ...
    @property
    def restraints(self) -> tuple[Restraint, ...]: ...
    @property
    def pattern(self) -> Int32: ...
    @property
    def dense(self) -> bool:
        """Whether the slots are many and neighbours in theta: ``pattern`` is 0, 1, 2, ..."""
        ...

    def basis(self, rows: Places) -> tuple[Int32, Float]:
        """Return start (n,) and basis values (n, n_slots)."""
        ...


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a smooth component: position u = (raw * factor - origin) / spacing, in intervals.

    ``n``: number of parameters.  ``span``: length of the axis in normalised units, which N intervals divide.
    """

    coordinate: Coordinate
    factor: float
    origin: float
    span: float
    n: int

    @property
    def intervals(self) -> int:
        """Number of intervals N."""
        return self.n - 1 if self.n < 4 else self.n - 2

    @property
    def width(self) -> int:
        """How many parameters are averaged."""
        return min(3, self.n)

    def position(self, rows: Places) -> Float:
        """u of each row, (n,)."""
        raw = raw_coordinate(rows, self.coordinate)
        u: Float = (raw * self.factor - self.origin) * (self.intervals / self.span)
        return u

    def places(self) -> Float:
        """Where the parameters stand, in intervals, (n,)."""
        return np.arange(self.n, dtype=np.float64) - (0.5 if self.n >= 4 else 0.0)

    def raw_places(self) -> Float:
        """Where the parameters stand in the raw coordinate (images, pixels, 1/Angstrom^2), (n,)."""
        raw: Float = (self.places() * (self.span / self.intervals) + self.origin) / self.factor
        return raw


def raw_coordinate(rows: Places, coordinate: Coordinate) -> Float:
    """Image (array index), x or y (pixels), or 1/d^2 (1/Angstrom^2) of each row, (n,)."""
    if coordinate == "inverse_d2":
        return 1.0 / rows.d**2
    return rows.xyz[:, {"x": 0, "y": 1, "image": 2}[coordinate]]


@dataclass(frozen=True, slots=True)
class Smooth:
    """A smooth function of up to three coordinates, or (no axis) a constant.

    ``b_factor``: the value is exp(eta / (2 d^2)) with parameters in Angstrom^2; otherwise it is eta itself.
    """

    name: str
    axes: tuple[Axis, ...]
    b_factor: bool = False
    restraints: tuple[Restraint, ...] = ()
    dense: ClassVar[bool] = False

    @property
    def n_parameters(self) -> int:
        """Product over the axes."""
        return math.prod(axis.n for axis in self.axes)

    @property
    def exponential(self) -> bool:
        """True for a B factor."""
        return self.b_factor

    @property
    def offset(self) -> float:
        """The value is eta alone."""
        return 0.0

    @property
    def null(self) -> float:
        """Parameter value that corrects nothing."""
        return 0.0 if self.b_factor else 1.0

    @property
    def pattern(self) -> Int32:
        """Offsets of the slots in theta, the first axis fastest, (n_slots,)."""
        pattern = np.zeros(1, np.int32)
        stride = 1
        for axis in self.axes:
            steps = stride * np.arange(axis.width, dtype=np.int32)
            pattern = (steps[:, None] + pattern).ravel()
            stride *= axis.n
        return pattern

    def basis(self, rows: Places) -> tuple[Int32, Float]:
        """Normalised Gaussian weights of the neighbouring parameters, times 1/(2 d^2) for a B factor."""
        position = np.empty((len(rows), len(self.axes)))
        for k, axis in enumerate(self.axes):
            position[:, k] = axis.position(rows)
        return smooth_basis(self.axes, position, 0.5 / rows.d**2 if self.b_factor else np.ones(len(rows)))


def smooth_basis(axes: Sequence[Axis], position: Float, factor: Float) -> tuple[Int32, Float]:
    """First parameter (n,) and Gaussian weights of the parameters from there on, times ``factor``, (n, n_slots).

    ``position``: u on each axis, in intervals, (n, n_axes).  ``factor``: (n,).
    """
    start = np.zeros(len(factor), np.int32)
    values = np.empty((len(factor), math.prod(axis.width for axis in axes)))
    # the axis with the fewest neighbours sets one sigma for all axes
    sigma = 0.65 + 0.05 * (min((axis.width for axis in axes), default=2) - 2)
    n = np.array([axis.n for axis in axes], np.int64)
    basis_kernels.smooth(np.ascontiguousarray(position), n, sigma, factor, start, values)
    return start, values


@dataclass(frozen=True, slots=True)
class Harmonics:
    """Absorption surface 1 + sum P_lm (Y_lm(s0c) + Y_lm(s1c))/2, l = 1 to ``lmax``, m = -l to l."""

    name: str
    lmax: int
    restraints: tuple[Restraint, ...] = ()
    exponential: bool = False
    offset: float = 1.0
    null: float = 0.0
    dense: ClassVar[bool] = True

    @property
    def n_parameters(self) -> int:
        """lmax^2 + 2 lmax."""
        return self.lmax * (self.lmax + 2)

    @property
    def pattern(self) -> Int32:
        """Every parameter takes part in every row."""
        return np.arange(self.n_parameters, dtype=np.int32)

    def basis(self, rows: Places) -> tuple[Int32, Float]:
        """Mean of the harmonics in the incoming and the outgoing direction.

        Real orthonormal spherical harmonics without the Condon-Shortley phase:
        Y_l0 = N_l0 P_l(z), Y_lm = sqrt(2) N_lm Q_lm(z) Re (x + iy)^m for m > 0 and Im (x + iy)^|m| for m < 0, where
        P_l^m = sin^m(theta) Q_lm(cos(theta)) and N_lm^2 = (2l + 1)/(4 pi) (l - m)!/(l + m)!. Q by the recurrence
        (l - m) Q_lm = (2l - 1) z Q_{l-1,m} - (l + m - 1) Q_{l-2,m} (Abramowitz & Stegun, 8.5.3).
        A row without a direction (s1 unknown) gets no absorption correction.
        """
        values = np.empty((len(rows), self.n_parameters))
        norm = np.array([_norm(l, abs(m)) for l in range(1, self.lmax + 1) for m in range(-l, l + 1)])
        incoming, outgoing = np.ascontiguousarray(rows.s0c), np.ascontiguousarray(rows.s1c)
        basis_kernels.mean_harmonics(incoming, outgoing, self.lmax, norm, values)
        return np.zeros(len(rows), np.int32), values


def _norm(l: int, m: int) -> float:
    """N_lm, times sqrt(2) for m > 0."""
    square = (2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m)
    return math.sqrt(2 * square if m else square)


def smooth_spacing(degrees: float, width: float, interval: float) -> tuple[int, float, float]:
    """Parameters of a smooth term on a rotation axis, as DIALS lays them out.

    ``degrees``: oscillation range.  ``width``: degrees per image.  ``interval``: wanted spacing, degrees.
    Returns number of parameters, factor from images to normalised units, spacing in degrees.
    """
    wanted = interval + 1e-5
    if degrees < 2 * wanted:
        n, spacing = (2, degrees) if degrees <= wanted else (3, degrees / 2)
    else:
        bins = max(int(degrees / wanted) + 1, 3)
        n, spacing = bins + 2, degrees / bins
    return n, 0.999 * width / spacing, spacing


def binned_parameters(bins: int) -> int:
    """Parameters of a smooth term on an axis that is not rotation, for a number of bins."""
    return {1: 2, 2: 3}.get(bins, bins + 2)


def axis_over(coordinate: Coordinate, factor: float, raw_min: float, raw_max: float, n: int) -> Axis:
    """Axis that starts at the smallest coordinate in use and spans whole units beyond the largest."""
    low, high = sorted((raw_min * factor, raw_max * factor))
    return Axis(coordinate, factor, low, max(math.ceil(round(high - low, 10)), 1.0), n)


def smoothness(name: str, n: int, spacing: float, curvature: float, trend: float, relative: bool) -> list[Restraint]:
    """Estimated restraints of a curve with ``n`` parameters: its bends, and its straight part.

    Bends: sum (second difference)^2 (10/spacing)^3, which tends to the integral of the squared second derivative and
    so means the same for curves with different ``spacing``, degrees. Straight part: (change from end to end)^2.
    Second differences alone would leave the straight part free in every sweep, however little the data say.
    ``curvature``, ``trend``: strengths to start with.
    """
    found = []
    if n > 2:
        bends = np.diff(np.eye(n), n=2, axis=0) * (10.0 / spacing) ** 1.5
        found.append(Restraint(bends.T @ bends, curvature, kind=f"{name} curvature", relative=relative, rank=n - 2))
    if n > 1:
        along = np.arange(n) - 0.5 * (n - 1)
        along *= (n - 1) / float(along @ along)
        found.append(Restraint(np.outer(along, along), trend, kind=f"{name} trend", relative=relative, rank=1))
    return found


def level(name: str, n: int, strength: float, relative: bool = False) -> Restraint:
    """Estimated restraint of the mean parameter to those of the other data sets."""
    return Restraint(np.full(n, 1.0 / n), strength, kind=f"{name} level", relative=relative, common=True)


def bending(name: str, lmax: int, strength: float) -> Restraint:
    """Estimated restraint of a surface in spherical harmonics: sum (l (l + 1))^2 P_lm^2.

    The integral of the squared Laplacian over the sphere (Wahba, SIAM J. Sci. Stat. Comput. 2 (1981) 5).
    """
    order = np.repeat(np.arange(1, lmax + 1), 2 * np.arange(1, lmax + 1) + 1)
    return Restraint(np.diag((order * (order + 1.0)) ** 2), strength, kind=name, rank=len(order))


def unevenness(name: str, shape: tuple[int, int], strength: float) -> Restraint:
    """Estimated restraint of a map: second differences along both axes, and a little of its scatter about the mean.

    Without the last part (Marra & Wood, Comput. Stat. Data Anal. 55 (2011) 2372) planes would be free; with it the map
    can vanish. Its mean stays free: another component takes it up.
    """
    bends = roughness(shape, 1.0).dense()
    n = len(bends)
    return Restraint(bends + SCATTER * (np.eye(n) - 1.0 / n), strength, kind=name, rank=n - 1)


@lru_cache(maxsize=8)
def detector_map(size: tuple[int, int], bins: int, estimated: bool) -> Smooth:
    """Response of the detector: a grid over its panel, the same whenever it was looked at, of mean 1.

    One object for all data sets of a detector: thousands of stills share the penalty.
    Not a component of DIALS' physical and KB models: stored under a name of its own, which DIALS leaves out when it
    writes a model.  ``size``: pixels, fast and slow.
    """
    n = binned_parameters(bins)
    x = axis_over("x", bins / size[0], 0.0, float(size[0]), n)
    y = axis_over("y", bins / size[1], 0.0, float(size[1]), n)
    restraint = unevenness("modulation", (x.n, y.n), START_MODULATION)
    if not estimated:
        restraint = replace(restraint, kind="")
    return Smooth("modulation", (x, y), restraints=(restraint,))


START_MODULATION = 1e4  # neighbouring differences change by 1 %; the strength where it is not estimated, too
# Share of the scatter in the penalty of a map: a plane costs as much as bends of a thirtieth of its height.
SCATTER = 1e-3


def ridge(n: int, strength: float, target: float = 0.0) -> Restraint:
    """strength * sum (theta - target)^2."""
    return Restraint(np.eye(n), strength, target)


def roughness(shape: tuple[int, ...], strength: float, order: int = 2) -> Restraint:
    """strength * sum of squared differences of neighbouring parameters along every axis (first axis fastest).

    ``order`` 2 leaves straight lines free; an axis with too few parameters for it takes order 1.
    """
    n = math.prod(shape)
    penalty = np.zeros((n, n))
    before = 1
    for size in shape:
        after = n // (before * size)
        difference = np.diff(np.eye(size), n=min(order, size - 1), axis=0)
        along = difference.T @ difference
        penalty += np.kron(np.eye(after), np.kron(along, np.eye(before)))
        before *= size
    return Restraint(penalty, strength)
