"""What every component of a scaling model answers.

A component turns an observation into eta = sum_k basis_k theta_k and that into a factor of the inverse scale,
offset + eta or exp(eta). Only few basis values of a row are not zero, and only these *nonzeros* are kept. Number s of
them belongs to parameter start + columns[s], where ``start`` depends on the row and ``columns`` does not
(numerics/compiled/scale_factor.py).

Whoever asks about a component asks the component: what the data leave open of it (models/gauge.py), what it looks like
(reports), and what it takes over from an earlier run (models/stored_model.py). A new kind of component is one class
that answers this protocol; nobody else tells kinds apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from braggscale.data.observations import ObservationGeometry
from braggscale.models.restraints import Restraint
from braggscale.numerics.array_types import Float, Int, Int32

Coordinate = Literal["image", "x", "y", "inverse_d2"]
GaugeRole = Literal["factor", "b", "none"]


@dataclass(frozen=True, slots=True)
class Description:
    """What a component looks like, for whoever draws or names it.

    ``form``: "constant", one number; "curve", a function of the image; "grid", values at points of several
    coordinates; "surface", spherical harmonics of directions in the crystal; "images", one number per few images.
    ``axes``: of each axis its coordinate ("image": array index; "x", "y": pixels; "inverse_d2": 1/Angstrom^2) and where
    the parameters stand on it, (n,).  ``lmax``: highest order of a surface, 0 for other forms.
    """

    form: Literal["constant", "curve", "grid", "surface", "images"]
    axes: tuple[tuple[Coordinate, Float], ...] = ()
    lmax: int = 0


@dataclass(frozen=True, slots=True)
class StoredComponent:
    """A component of the same name as an earlier run stored it.

    ``values``: its parameters, (n_stored,), at least one.  ``same_images``: it covers the same images, with a model of
    the same kind.  ``curve``: its value at images (array index, (n,)), where it was a curve; None where it was not, or
    where that is not known.
    """

    values: Float
    same_images: bool
    curve: Callable[[Float], Float] | None = None


class Component(Protocol):
    """What the models need of a component. ``start`` counts from the component's own first parameter."""

    @property
    def name(self) -> str:
        """As in options and stored models."""
        ...

    @property
    def n_parameters(self) -> int:
        """How many parameters it has."""
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
        """Value of every parameter that corrects nothing."""
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
        """Whether there are many nonzeros, neighbours in theta: ``columns`` is 0, 1, 2, ..."""
        ...

    @property
    def gauge_role(self) -> GaugeRole:
        """Whether the intensities can take up its mean: as a factor, as a B, or not at all (``offset`` 1, say)."""
        ...

    def basis(self, rows: ObservationGeometry) -> tuple[Int32, Float]:
        """Start and basis values of n rows.

        Start: the first parameter of each row, counted from the component's own first, (n,). Basis values:
        (n, n_nonzeros).
        """
        ...

    def gauge_rows(self, rows: ObservationGeometry, chosen: Int, overall: bool) -> list[Float]:
        """Rows m, (n_parameters,) each, with sum 1: m . theta are means that the data leave open.

        ``chosen``: the ``rows`` that are averaged over, increasing.  ``overall``: whether the component carries the
        scale (or B) of its data set, of which one mean is open; otherwise it stands beside one that does. Empty where
        ``gauge_role`` is "none".
        """
        ...

    def describe(self) -> Description:
        """What it looks like."""
        ...

    def read_off(self, stored: StoredComponent) -> Float | None:
        """Parameters that repeat an earlier run's, (n_parameters,); None where they cannot be taken over."""
        ...

    def with_restraints(self, restraints: tuple[Restraint, ...]) -> Self:
        """The same with other restraints."""
        ...


class NoGauge:
    """Answers of a component of whose mean the data leave nothing open: corrections around 1 that are restrained."""

    __slots__ = ()

    @property
    def gauge_role(self) -> GaugeRole:
        """The intensities take up nothing."""
        return "none"

    def gauge_rows(self, rows: ObservationGeometry, chosen: Int, overall: bool) -> list[Float]:
        """Nothing is open: no row, (n_parameters,), at all.  ``chosen``: numbers of rows, (k,)."""
        return []
