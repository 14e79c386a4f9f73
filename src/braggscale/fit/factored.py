"""The inverse of the normal matrix at one set of strengths, and the surrogate that predicts the next strengths.

few_inversions.py makes it and uses it in later rounds as long as J'J stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from braggscale.fit.block_surrogate import BlockSurrogate
from braggscale.fit.least_squares import Quadratic
from braggscale.fit.restraint_strengths import Inverse, traces
from braggscale.numerics.array_types import Float
from braggscale.numerics.minimisers import Scaling


@dataclass(frozen=True, slots=True)
class Factored:
    """N^-1 = (J'J + sum strength S)^-1 at ``strengths``.

    ``matrix``: J'J, (n_parameters, n_parameters).  ``inverse``: N^-1 of the free parameters, as its root.
    ``traces``: tr(N^-1 S) of every kind of estimated restraint.  ``surrogate``: for the same J'J.
    """

    matrix: Float
    inverse: Inverse
    strengths: dict[str, float]
    traces: dict[str, float]
    surrogate: BlockSurrogate

    @classmethod
    def of(cls, quadratic: Quadratic, surrogate: BlockSurrogate) -> Factored | None:
        """N inverted at the present strengths; None if N is not positive definite."""
        inverse = quadratic.inverse()
        if inverse is None:
            return None
        restraints = quadratic.target.restraints
        kind_traces = traces(restraints.model, inverse)
        return cls(quadratic.matrix, inverse, restraints.strengths, kind_traces, surrogate)

    @property
    def metric(self) -> Scaling:
        """The metric in which N is the unit matrix, for L-BFGS."""
        return Scaling(self.inverse.root)
