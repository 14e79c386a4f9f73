"""The Jacobian of the observations at one point, stored as a few numbers per row from which products are computed.

A row of J0 is -size phi with phi = d ln g/d theta. With along = a/|a| of the rows of one unique reflection
J = J0 - along (along . J0), the form of normal_equations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.models.design import Design
from braggscale.numerics.array_types import Float, Int
from braggscale.numerics.partitions import results_in_order, run_in_threads

LANES = 8


def lane_cuts(groups: Groups, lanes: int) -> Int:
    """Group numbers, (n_lanes + 1,), at which lanes of about equal size begin; they depend on the data alone."""
    return groups.blocks(max(1, -(-groups.n_rows // lanes)))


@dataclass(frozen=True, slots=True)
class Linear:
    """J at one point.

    ``cost``, ``gradient`` (n_parameters,): of the observations there.  ``factor``: d ln value_c/d eta_c of every
    component c, (n, n_components).  ``size``: sqrt(w) I_h g, and ``along``, both dimensionless, (n,).
    """

    design: Design
    groups: Groups
    cost: float
    gradient: Float
    factor: Float
    size: Float
    along: Float

    @classmethod
    def at(cls, design: Design, groups: Groups, intensity: Float, weight: Float, theta: Float) -> Linear:
        """Linearise at ``theta``, all parameters, (n_parameters,).

        ``intensity``: counts, ``weight``: 1/counts^2, (n,).
        """
        from braggscale.numerics.compiled import jacobian_products

        n = groups.n_rows
        factor = np.ones((n, design.start.shape[1]))
        size, along = np.zeros(n), np.zeros(n)
        cuts = lane_cuts(groups, LANES)
        arguments = groups.offsets, intensity, weight, design.arguments(), theta

        def lane(k: int) -> tuple[float, Float]:
            """Cost and gradient of lane k; also stores the arrays that the products need."""
            gradient = np.zeros(len(theta))
            cost = jacobian_products.linearise(cuts[k], cuts[k + 1], *arguments, gradient, factor, size, along)
            return cost, gradient

        results = run_in_threads(lane, len(cuts) - 1)
        cost, gradient = sum(r[0] for r in results), np.sum([r[1] for r in results], axis=0)
        return cls(design, groups, cost, gradient, factor, size, along)

    def product(self, v: Float) -> Float:
        """J'J v, (n_parameters, m): two passes over the rows for each COLUMNS vectors."""
        from braggscale.numerics.compiled import jacobian_products

        n, m = v.shape
        if m == 1:
            return self._sum(jacobian_products.product_one, v[:, 0].copy())[:, None]
        width = jacobian_products.COLUMNS
        padded = np.zeros((n, -(-m // width) * width))
        padded[:, :m] = v
        for begin in range(0, m, width):
            some = slice(begin, begin + width)
            padded[:, some] = self._sum(jacobian_products.product, np.ascontiguousarray(padded[:, some]))
        return padded[:, :m].copy()

    def _sum(self, kernel: Callable[..., None], v: Float) -> Float:
        """The product of a kernel with ``v``, (n_parameters,) or (n_parameters, COLUMNS), from all lanes."""
        cuts = lane_cuts(self.groups, LANES)
        arguments = self.groups.offsets, self.design.arguments(), self.factor, self.size, self.along

        def lane(k: int) -> Float:
            """J'J v of lane k."""
            total = np.zeros_like(v)
            kernel(cuts[k], cuts[k + 1], *arguments, v, total)
            return total

        results = results_in_order(lane, len(cuts) - 1)
        total = next(results)
        for more in results:
            total += more
        return total
