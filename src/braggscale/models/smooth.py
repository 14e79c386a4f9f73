"""Smooth functions of rotation, resolution or position, in the form in which DIALS stores them.

Smooth terms average Gaussian weights over neighbouring parameters (Evans & Murshudov, Acta Cryst. D69 (2013)
1204; the form and the constants are those of the DIALS scaling models, so that both programs can read the models).
With n parameters on N intervals of one axis and u the position in intervals, parameter i stands at i - 1/2
(at i for n < 4), and

    basis_i = w_i / sum w,   w_i = exp(-(distance to parameter i)^2 / sigma^2),   sigma = 0.70 (0.65 for n = 2)

over the three nearest parameters of each axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from braggscale.data.observations import GeometryView, ObservationGeometry
from braggscale.models.component import Coordinate, Description, GaugeRole, StoredComponent
from braggscale.models.restraints import Restraint
from braggscale.numerics.array_types import Float, Int, Int32
from braggscale.numerics.compiled import basis

MOST_SHELLS, LEAST_IN_SHELL = 10, 100  # shells in which a map of the detector has mean 1, rows in each


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
        """Number of parameters that are averaged."""
        return min(3, self.n)

    def position(self, rows: ObservationGeometry) -> Float:
        """u of each row, (n,)."""
        raw = raw_coordinate(rows, self.coordinate)
        u: Float = (raw * self.factor - self.origin) * (self.intervals / self.span)
        return u

    def places(self) -> Float:
        """Positions of the parameters, in intervals, (n,)."""
        return np.arange(self.n, dtype=np.float64) - (0.5 if self.n >= 4 else 0.0)

    def raw_places(self) -> Float:
        """Positions of the parameters in the raw coordinate (images, pixels, 1/Angstrom^2), (n,)."""
        raw: Float = (self.places() * (self.span / self.intervals) + self.origin) / self.factor
        return raw


def raw_coordinate(rows: ObservationGeometry, coordinate: Coordinate) -> Float:
    """Image (array index), x or y (pixels), or 1/d^2 (1/Angstrom^2) of each row, (n,)."""
    if coordinate == "inverse_d2":
        return 1.0 / rows.d**2
    return rows.xyz[:, {"x": 0, "y": 1, "image": 2}[coordinate]]


@dataclass(frozen=True, slots=True)
class Smooth:
    """A smooth function of up to three coordinates, or (no axis) a constant.

    ``b_factor``: the value is exp(eta / (2 d^2)) with parameters in Angstrom^2.  ``logarithm``: it is exp(eta), and so
    positive. Otherwise it is eta itself.
    """

    name: str
    axes: tuple[Axis, ...]
    b_factor: bool = False
    restraints: tuple[Restraint, ...] = ()
    logarithm: bool = False
    dense: ClassVar[bool] = False

    @property
    def n_parameters(self) -> int:
        """Product over the axes."""
        return math.prod(axis.n for axis in self.axes)

    @property
    def exponential(self) -> bool:
        """True for a B factor, and where the parameters are logarithms."""
        return self.b_factor or self.logarithm

    @property
    def shown_less(self) -> float | None:
        """Logarithms are shown as factors."""
        return 0.0 if self.logarithm else None

    @property
    def offset(self) -> float:
        """The value is eta alone."""
        return 0.0

    @property
    def null(self) -> float:
        """Parameter value that corrects nothing."""
        return 0.0 if self.exponential else 1.0

    @property
    def columns(self) -> Int32:
        """Offsets of the nonzeros in theta, the first axis fastest, (n_nonzeros,)."""
        columns = np.zeros(1, np.int32)
        stride = 1
        for axis in self.axes:
            steps = stride * np.arange(axis.width, dtype=np.int32)
            columns = (steps[:, None] + columns).ravel()
            stride *= axis.n
        return columns

    def basis(self, rows: ObservationGeometry) -> tuple[Int32, Float]:
        """Start, (n,), and normalised Gaussian weights of the neighbouring parameters, (n, n_nonzeros).

        The weights of a B factor are multiplied by 1/(2 d^2).
        """
        position = np.empty((len(rows), len(self.axes)))
        for k, axis in enumerate(self.axes):
            position[:, k] = axis.position(rows)
        return smooth_basis(self.axes, position, 0.5 / rows.d**2 if self.b_factor else np.ones(len(rows)))

    @property
    def gauge_role(self) -> GaugeRole:
        """A constant factor, or a constant B, is equivalent to a change of all intensities."""
        return "b" if self.b_factor else "factor"

    def gauge_rows(self, rows: ObservationGeometry, chosen: Int, overall: bool) -> list[Float]:
        """Shares of the parameters in the mean, (n_parameters,), over the rows ``chosen``, (k,).

        A map of the detector beside a scale has a mean in every resolution shell; shells have equal numbers of rows.
        It is the mean of the logarithm if the parameters are logarithms.
        """
        if overall or [axis.coordinate for axis in self.axes] != ["x", "y"]:
            return [self._mean_row(GeometryView.of(rows, chosen))]
        order = chosen[np.argsort(rows.d[chosen], kind="stable")]
        shells = int(np.clip(len(chosen) // LEAST_IN_SHELL, 1, MOST_SHELLS))
        return [self._mean_row(GeometryView.of(rows, np.sort(part))) for part in np.array_split(order, shells)]

    def _mean_row(self, rows: ObservationGeometry) -> Float:
        """m: share of each parameter in the mean over the rows of the function itself, without 1/(2 d^2), (n,)."""
        start, values = replace(self, b_factor=False).basis(rows)
        index = start[:, None] + self.columns
        return np.bincount(index.ravel(), values.ravel(), self.n_parameters) / len(rows)

    def describe(self) -> Description:
        """A constant, a curve over the images, or a grid."""
        axes = tuple((axis.coordinate, axis.raw_places()) for axis in self.axes)
        curve = len(axes) == 1 and axes[0][0] == "image"
        return Description("curve" if curve else "grid" if axes else "constant", axes, b_factor=self.b_factor)

    def read_off(self, stored: StoredComponent) -> Float | None:
        """Parameters, (n_parameters,), from the stored ones.

        If the layout is the same, so are the parameters. If a curve becomes a constant or a constant a curve, all
        parameters are the mean of the stored ones. Otherwise they are values of the old curve.
        """
        if len(stored.values) == 1 or self.n_parameters == 1:
            return np.full(self.n_parameters, float(stored.values.mean())) if len(self.axes) <= 1 else None
        if stored.same_images and len(stored.values) == self.n_parameters:
            return stored.values
        if len(self.axes) != 1 or stored.curve is None:
            return None
        return stored.curve(self.axes[0].raw_places())

    def with_restraints(self, restraints: tuple[Restraint, ...]) -> Self:
        """The same with other restraints."""
        return replace(self, restraints=restraints)


def smooth_basis(axes: Sequence[Axis], position: Float, factor: Float) -> tuple[Int32, Float]:
    """First parameter (n,) and Gaussian weights of the parameters from there on, times ``factor``, (n, n_nonzeros).

    ``position``: u on each axis, in intervals, (n, n_axes).  ``factor``: (n,).
    """
    start = np.zeros(len(factor), np.int32)
    values = np.empty((len(factor), math.prod(axis.width for axis in axes)))
    # the axis with the fewest neighbours determines sigma for all axes
    sigma = 0.65 + 0.05 * (min((axis.width for axis in axes), default=2) - 2)
    n = np.array([axis.n for axis in axes], np.int64)
    basis.smooth(np.ascontiguousarray(position), n, sigma, factor, start, values)
    return start, values


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
