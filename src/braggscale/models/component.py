"""The protocol of the components of a scaling model.

For each observation a component computes eta = sum_k basis_k theta_k, and from it a factor of the inverse scale,
offset + eta or exp(eta). Few basis values of a row are not zero, and only these *nonzeros* are stored. Nonzero s
belongs to parameter start + columns[s], where ``start`` depends on the row and ``columns`` does not
(numerics/compiled/scale_factor.py).

The component itself also knows which means the data cannot determine (models/gauge.py), how it is described in reports,
and what it takes over from an earlier run (models/stored_model.py). A new kind of component is one class that fulfils
this protocol; no other module distinguishes kinds of component.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np

from braggscale.data.observations import ObservationGeometry
from braggscale.models.restraints import Restraint
from braggscale.numerics.array_types import Float, Int, Int32

Coordinate = Literal["image", "x", "y", "inverse_d2"]
GaugeRole = Literal["factor", "b", "none"]


@dataclass(frozen=True, slots=True)
class Description:
    """Description of a component, for plots and tables.

    ``form``: "constant", one number; "curve", a function of the image; "grid", values at points of several
    coordinates; "surface", spherical harmonics of directions in the crystal; "images", one number per few images.
    ``axes``: for each axis its coordinate ("image": array index; "x", "y": pixels; "inverse_d2": 1/Angstrom^2) and
    the positions of the parameters on it, (n,).  ``lmax``: highest order of a surface, 0 for other forms.
    ``b_factor``: a curve or constant is a B factor, Angstrom^2.
    """

    form: Literal["constant", "curve", "grid", "surface", "images"]
    axes: tuple[tuple[Coordinate, Float], ...] = ()
    lmax: int = 0
    b_factor: bool = False


@dataclass(frozen=True, slots=True)
class StoredComponent:
    """A component of the same name as an earlier run stored it.

    ``values``: its parameters, (n_stored,), at least one.  ``same_images``: it covers the same images, with a model of
    the same kind.  ``curve``: its value at images (array index, (n,)) if it was a curve; None if it was not, or if
    this is not known.
    """

    values: Float
    same_images: bool
    curve: Callable[[Float], Float] | None = None


class Component(Protocol):
    """Protocol of a component.  ``start`` is counted from the first parameter of the component."""

    @property
    def name(self) -> str:
        """As in options and stored models."""
        ...

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        ...

    @property
    def exponential(self) -> bool:
        """Whether its factor is exp(eta), as for a B factor in Angstrom^2; otherwise it is offset + eta."""
        ...

    @property
    def offset(self) -> float:
        """Of the factor offset + eta."""
        ...

    @property
    def null(self) -> float:
        """Value of all parameters for which the component corrects nothing."""
        ...

    @property
    def shown_less(self) -> float | None:
        """None if parameters are stored and shown as they are; otherwise they are logarithms, shown as exp(theta) -
        this.

        Corrections with logarithms as parameters are always positive. Other programs do not read them.
        """
        ...

    @property
    def restraints(self) -> tuple[Restraint, ...]:
        """Penalties on its parameters, in their order."""
        ...

    @property
    def columns(self) -> Int32:
        """Place in theta of each nonzero, counted from that of the first, (n_nonzeros,)."""
        ...

    @property
    def dense(self) -> bool:
        """Whether there are many nonzeros, consecutive in theta: ``columns`` is 0, 1, 2, ..."""
        ...

    @property
    def gauge_role(self) -> GaugeRole:
        """Whether a change of its mean acts like a change of all intensities: by a factor, by a B, or not at all."""
        ...

    def basis(self, rows: ObservationGeometry) -> tuple[Int32, Float]:
        """Start and basis values of n rows.

        Start: the first parameter of each row, counted from the first of the component, (n,). Basis values:
        (n, n_nonzeros).
        """
        ...

    def gauge_rows(self, rows: ObservationGeometry, chosen: Int, overall: bool) -> list[Float]:
        """Rows m, (n_parameters,) each, with sum 1: m . theta are means that the data cannot determine.

        ``chosen``: numbers of the ``rows`` in the average, increasing.  ``overall``: whether the component is the scale
        (or B) of its data set, whose mean is not determined; otherwise it stands beside such a component. Empty if
        ``gauge_role`` is "none".
        """
        ...

    def describe(self) -> Description:
        """Its description for reports."""
        ...

    def read_off(self, stored: StoredComponent) -> Float | None:
        """Parameters that reproduce those of an earlier run, (n_parameters,); None if they cannot be taken over."""
        ...

    def with_restraints(self, restraints: tuple[Restraint, ...]) -> Self:
        """The same with other restraints."""
        ...


def shown(component: Component, theta: Float) -> Float:
    """Parameters, (n_parameters,), in the form in which they are stored and shown, (n_parameters,).

    ``theta``: (n_parameters,).
    """
    return theta if component.shown_less is None else np.exp(theta) - component.shown_less


def from_shown(component: Component, values: Float) -> Float:
    """The inverse of ``shown``, (n,); factors that are not positive become LEAST_FACTOR.  ``values``: (n,)."""
    if component.shown_less is None:
        return values
    return np.log(np.maximum(values + component.shown_less, LEAST_FACTOR))


def shapes_resolution(component: Component) -> bool:
    """Whether its mean may depend on resolution only because the data do not determine it: grids, maps, image effects.

    This is not so for scale and B, whose trend is intended, nor for the absorption surface: absorption by the
    crystal does depend on resolution, and the smooth surface extends this from the directions that the data
    compare.
    """
    return component.describe().form in ("grid", "images")


LEAST_FACTOR = 1e-3  # of a correction in a file of another program, or an earlier one of this


class NoGauge:
    """Methods of a component whose mean is determined: a restrained correction around 1."""

    __slots__ = ()

    @property
    def gauge_role(self) -> GaugeRole:
        """No change of it is equivalent to a change of the intensities."""
        return "none"

    def gauge_rows(self, rows: ObservationGeometry, chosen: Int, overall: bool) -> list[Float]:
        """An empty list of rows, (n_parameters,): all means are determined.  ``chosen``: numbers of rows, (k,)."""
        return []
