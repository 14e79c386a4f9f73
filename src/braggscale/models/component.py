"""What every component of a scaling model answers.

A component turns an observation into eta = sum_k basis_k theta_k and that into a factor of the inverse scale,
offset + eta or exp(eta). Only few basis values of a row are not zero; they sit in *slots*: theta has its index
start + pattern[slot], where ``start`` depends on the row and ``pattern`` does not (numerics/compiled/scale_factor.py).
"""

from __future__ import annotations

from typing import Protocol

from braggscale.data.observations import ObservationGeometry
from braggscale.models.restraints import Restraint
from braggscale.numerics.array_types import Float, Int32


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

    def basis(self, rows: ObservationGeometry) -> tuple[Int32, Float]:
        """Return start (n,) and basis values (n, n_slots)."""
        ...
