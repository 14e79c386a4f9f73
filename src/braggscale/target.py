"""The least-squares problem of scaling.

    F(theta) = sum_i w_i (I_i - g_i I_h)^2 + sum_c strength_c (theta_c - t_c)' S_c (theta_c - t_c)
    I_h = sum w g I / sum w g^2  over the unique reflection h of observation i

I_h is eliminated exactly (variable projection: Golub & Pereyra, SIAM J. Numer. Anal. 10 (1973) 413), theta is the
only unknown. Gradient, and normal matrix in Kaufman's form (BIT 15 (1975) 49), as derived in kernels.py. One object
serves every minimiser: ``value_and_gradient`` for first-order methods, ``normal_equations`` for second-order ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale import kernels
from braggscale.arrays import Float, Int
from braggscale.groups import Groups
from braggscale.models.joint import Design, Placed
from braggscale.parallel import run_lanes

GRADIENT_LANES = 32
# Memory of all lanes' normal matrices together, in numbers; fewer lanes for more parameters.
MATRIX_LANES_SIZE = 64_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """F(theta), pure in theta.

    ``intensity``: I, counts, (n,).  ``weight``: w, 1/counts^2, (n,).  Rows stand in the order of ``groups``.
    ``restraints``: (places in theta, restraint).  ``free``: places in theta that are refined, (n_free,);
    the others stay as in ``base``, (n_parameters,). All vectors that go in and out hold free parameters only.
    """

    design: Design
    groups: Groups
    intensity: Float
    weight: Float
    restraints: Sequence[Placed]
    base: Float
    free: Int
    n_threads: int = 1

    def full(self, theta: Float) -> Float:
        """All parameters, (n_parameters,), from the free ones."""
        if len(theta) == len(self.base):
            return theta
        complete = self.base.copy()
        complete[self.free] = theta
        return complete

    def value_and_gradient(self, theta: Float) -> tuple[float, Float, Float]:
        """F, its gradient, and half its curvature along each parameter, (n_free,).

        The curvature is the diagonal of J0'J0 + sum strength S: an upper bound that serves as preconditioner.
        """
        complete = self.full(theta)
        cuts = self._lane_cuts(GRADIENT_LANES)

        def lane(k: int) -> tuple[float, Float, Float]:
            gradient, curvature = np.zeros(len(complete)), np.zeros(len(complete))
            cost = kernels.cost_gradient(cuts[k], cuts[k + 1], *self._arguments(), complete, gradient, curvature)
            return cost, gradient, curvature

        results = run_lanes(lane, len(cuts) - 1, self.n_threads)
        cost = sum(r[0] for r in results)
        gradient = np.sum([r[1] for r in results], axis=0)
        curvature = np.sum([r[2] for r in results], axis=0)
        for where, restraint in self.restraints:
            pull = restraint.strength * (restraint.penalty @ (complete[where] - restraint.target))
            cost += float((complete[where] - restraint.target) @ pull)
            gradient[where] += 2.0 * pull
            curvature[where] += restraint.strength * np.diag(restraint.penalty)
        return cost, gradient[self.free], curvature[self.free]

    def normal_equations(self, theta: Float) -> tuple[float, Float, Float]:
        """F, gradient (n_free,), and J'J + sum strength S, (n_free, n_free): half the Gauss-Newton Hessian."""
        return self.restrained(theta, self.data_equations(theta))

    def restrained(self, theta: Float, equations: tuple[float, Float, Float]) -> tuple[float, Float, Float]:
        """``normal_equations`` from ``data_equations``, which stay as they are."""
        complete = self.full(theta)
        cost, gradient, matrix = equations[0], equations[1].copy(), equations[2].copy()
        for where, restraint in self.restraints:
            pull = restraint.strength * (restraint.penalty @ (complete[where] - restraint.target))
            cost += float((complete[where] - restraint.target) @ pull)
            gradient[where] += 2.0 * pull
            block = (where, where) if isinstance(where, slice) else np.ix_(where, where)
            matrix[block] += restraint.strength * restraint.penalty
        if len(self.free) == len(complete):
            return cost, gradient, matrix
        return cost, gradient[self.free], matrix[np.ix_(self.free, self.free)]

    def data_equations(self, theta: Float) -> tuple[float, Float, Float]:
        """Cost, gradient (n_parameters,) and J'J (n_parameters, n_parameters) of the observations alone."""
        complete = self.full(theta)
        n = len(complete)
        cuts = self._lane_cuts(int(np.clip(MATRIX_LANES_SIZE // max(n * n, 1), 2, 16)))

        def lane(k: int) -> tuple[float, Float, Float]:
            gradient, matrix = np.zeros(n), np.zeros((n, n))
            cost = kernels.normal_matrix(cuts[k], cuts[k + 1], *self._arguments(), complete, gradient, matrix)
            return cost, gradient, matrix

        results = run_lanes(lane, len(cuts) - 1, self.n_threads)
        cost, gradient, matrix = results[0]
        for more, slope, part in results[1:]:
            cost += more
            gradient += slope
            matrix += part
        diagonal = np.diag(matrix).copy()
        matrix = matrix + matrix.T
        matrix[np.diag_indices(n)] = diagonal
        return cost, gradient, matrix

    def _lane_cuts(self, lanes: int) -> Int:
        """Group numbers that cut the data into lanes of about equal rows; depends on the data alone."""
        return self.groups.blocks(max(1, -(-self.groups.n_rows // lanes)))

    def _arguments(self) -> tuple[object, ...]:
        return (self.groups.offsets, self.intensity, self.weight, *self.design.arguments())
