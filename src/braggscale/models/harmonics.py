"""The absorption surface: 1 + sum P_lm (Y_lm(s0c) + Y_lm(s1c))/2 in the frame of the crystal.

Katayama, Acta Cryst. A42 (1986) 19; Blessing, Acta Cryst. A51 (1995) 33.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from braggscale.data.observations import ObservationGeometry
from braggscale.models.component import Description, NoGauge, StoredComponent
from braggscale.models.restraints import Restraint
from braggscale.numerics.array_types import Float, Int32
from braggscale.numerics.compiled import basis


@dataclass(frozen=True, slots=True)
class Harmonics(NoGauge):
    """Absorption surface 1 + sum P_lm (Y_lm(s0c) + Y_lm(s1c))/2, l = 1 to ``lmax``, m = -l to l."""

    name: str
    lmax: int
    restraints: tuple[Restraint, ...] = ()
    exponential: bool = False
    offset: float = 1.0
    null: float = 0.0
    shown_less: None = None
    dense: ClassVar[bool] = True

    @property
    def n_parameters(self) -> int:
        """lmax^2 + 2 lmax."""
        return self.lmax * (self.lmax + 2)

    @property
    def columns(self) -> Int32:
        """Every parameter takes part in every row: 0, 1, 2, ..., (n_parameters,)."""
        return np.arange(self.n_parameters, dtype=np.int32)

    def basis(self, rows: ObservationGeometry) -> tuple[Int32, Float]:
        """Start, (n,), and mean of the harmonics in the incoming and the outgoing direction, (n, n_parameters).

        Real orthonormal spherical harmonics without the Condon-Shortley phase:
        Y_l0 = N_l0 P_l(z), Y_lm = sqrt(2) N_lm Q_lm(z) Re (x + iy)^m for m > 0 and Im (x + iy)^|m| for m < 0, where
        P_l^m = sin^m(theta) Q_lm(cos(theta)) and N_lm^2 = (2l + 1)/(4 pi) (l - m)!/(l + m)!. Q by the recurrence
        (l - m) Q_lm = (2l - 1) z Q_{l-1,m} - (l + m - 1) Q_{l-2,m} (Abramowitz & Stegun, 8.5.3).
        A row without a direction (s1 unknown) gets no absorption correction.
        """
        values = np.empty((len(rows), self.n_parameters))
        norm = np.array([_norm(l, abs(m)) for l in range(1, self.lmax + 1) for m in range(-l, l + 1)])
        incoming, outgoing = np.ascontiguousarray(rows.s0c), np.ascontiguousarray(rows.s1c)
        basis.mean_harmonics(incoming, outgoing, self.lmax, norm, values)
        return np.zeros(len(rows), np.int32), values

    def describe(self) -> Description:
        """A surface over directions."""
        return Description("surface", lmax=self.lmax)

    def read_off(self, stored: StoredComponent) -> Float:
        """The stored coefficients, (n_parameters,), of the orders that both surfaces have; the others are 0."""
        theta = np.zeros(self.n_parameters)
        n = min(len(stored.values), len(theta))
        theta[:n] = stored.values[:n]
        return theta

    def with_restraints(self, restraints: tuple[Restraint, ...]) -> Self:
        """The same with other restraints."""
        return replace(self, restraints=restraints)


def _norm(l: int, m: int) -> float:
    """N_lm, times sqrt(2) for m > 0."""
    square = (2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m)
    return math.sqrt(2 * square if m else square)
