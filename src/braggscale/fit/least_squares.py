"""The least-squares problem of scaling.

    F(theta) = sum_i w_i (I_i - g_i I_h)^2 + sum_c strength_c (theta_c - t_c)' S_c (theta_c - t_c)
    I_h = sum w g I / sum w g^2  over the unique reflection h of observation i

I_h is eliminated exactly (variable projection: Golub & Pereyra, SIAM J. Numer. Anal. 10 (1973) 413), theta is the
only unknown. Gradient, and normal matrix in Kaufman's form (BIT 15 (1975) 49), as derived in normal_equations.py. One
object serves every minimiser: ``Target.value_and_gradient`` for first-order methods, ``Target.quadratic`` for
second-order ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.fit.data_set_pairs import Owners, Pairs
from braggscale.fit.jacobian import Linear, lane_cuts
from braggscale.fit.restraint_strengths import Inverse
from braggscale.fit.restraints import Restraints
from braggscale.models.design import Design
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import normal_equations
from braggscale.numerics.partitions import results_in_order, run_in_threads

GRADIENT_LANES = 32
# Size of all lanes' normal matrices together, in numbers; with more parameters there are fewer lanes.
MATRIX_LANES_SIZE = 8_000_000
# A normal matrix that need not be exact is computed from a part of the rows: at least this many for each parameter,
# and in all.
ENOUGH_FOR_PARAMETER, ENOUGH_ROWS = 150, 100_000
# Dense rows and group rows that one lane has in memory at the same time, in rows and in numbers.
CHUNK_ROWS = 32768
CHUNK_SIZE = 2_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """F(theta), a pure function of theta.  Vectors have the free parameters only, unless another shape is given.

    ``design``: basis values of the observations.  ``groups``: unique reflections; rows are in their order.
    ``intensity``: I, counts, (n,).  ``weight``: w, 1/counts^2, (n,).  ``restraints``: at their present strengths.
    ``base``: all parameters, (n_parameters,): the fixed ones keep these values.  ``free``: positions in theta of
    the others, (n_free,).  ``pairs``: if J'J is computed by pairs of data sets.  ``owners``: data sets to which the
    parameters belong; None for one data set.
    """

    design: Design
    groups: Groups
    intensity: Float
    weight: Float
    restraints: Restraints
    base: Float
    free: Int
    pairs: Pairs | None = None
    owners: Owners | None = None

    @property
    def fixed(self) -> Bool:
        """Parameters that keep their values, (n_parameters,)."""
        fixed = np.ones(len(self.base), bool)
        fixed[self.free] = False
        return fixed

    def at(self, strengths: Mapping[str, float]) -> Target:
        """The same with estimated restraints at other strengths, by kind."""
        return replace(self, restraints=self.restraints.at(strengths))

    def full(self, theta: Float) -> Float:
        """All parameters, (n_parameters,), from the free ones, ``theta``, (n_free,)."""
        if len(theta) == len(self.base):
            return theta
        complete = self.base.copy()
        complete[self.free] = theta
        return complete

    def value_and_gradient(self, theta: Float) -> tuple[float, Float]:
        """F and its gradient, (n_free,).  ``theta``: free parameters, (n_free,)."""
        cost, gradient = self.data_gradient(theta)
        cost = self.restraints.add_to(self.full(theta), cost, gradient)
        return cost, gradient[self.free]

    def data_gradient(self, theta: Float) -> tuple[float, Float]:
        """Cost and gradient (n_parameters,) of the observations alone.  ``theta``: free parameters, (n_free,)."""
        complete = self.full(theta)
        cuts = self.lane_cuts(GRADIENT_LANES)

        def lane(k: int) -> tuple[float, Float]:
            """Cost and gradient of lane k."""
            gradient = np.zeros(len(complete))
            return normal_equations.cost_gradient(cuts[k], cuts[k + 1], *self.arguments(), complete, gradient), gradient

        results = run_in_threads(lane, len(cuts) - 1)
        return sum(r[0] for r in results), np.sum([r[1] for r in results], axis=0)

    def curvature(self, theta: Float) -> Float:
        """The diagonal of J0'J0 + sum strength S, (n_free,): an upper bound on half of F's own, to scale parameters.

        ``theta``: free parameters, (n_free,).
        """
        complete = self.full(theta)
        cuts = self.lane_cuts(GRADIENT_LANES)

        def lane(k: int) -> Float:
            """The diagonal of the normal matrix from lane k."""
            diagonal = np.zeros(len(complete))
            normal_equations.curvature(cuts[k], cuts[k + 1], *self.arguments(), complete, diagonal)
            return diagonal

        total: Float = np.sum(run_in_threads(lane, len(cuts) - 1), axis=0)
        self.restraints.add_diagonal(total)
        return total[self.free]

    def quadratic(self, theta: Float, matrix: Float | None = None) -> Quadratic:
        """Second-order expansion of F about ``theta``, (n_free,).

        ``matrix``: J'J of a point nearby, (n_parameters, n_parameters), which is used unchanged; None: it is computed.
        """
        if matrix is None:
            return Quadratic(self, theta, *self._data_equations(theta))
        return Quadratic(self, theta, *self.data_gradient(theta), matrix)

    def about(self, theta: Float) -> Quadratic:
        """``quadratic`` with J'J from every k-th run of unique reflections, times k, if the others are enough.

        As a metric, and for strengths in rounds, the matrix need not be known better than to some per cent.
        ``theta``: free parameters, (n_free,).
        """
        most = max(ENOUGH_FOR_PARAMETER * len(self.base), ENOUGH_ROWS)
        if self.pairs is not None or self.groups.n_rows < 2 * most:
            return self.quadratic(theta)
        matrix = self._data_equations(theta, self.groups.n_rows // most)[2]
        return Quadratic(self, theta, *self.data_gradient(theta), matrix)

    def restrained_matrix(self, matrix: Float) -> Float:
        """J'J + sum strength S, (n_free, n_free).

        ``matrix``: J'J, (n_parameters, n_parameters), which is not changed.
        """
        matrix = matrix.copy()
        self.restraints.add_matrix(matrix)
        return matrix if len(self.free) == len(matrix) else matrix[np.ix_(self.free, self.free)]

    def linearise(self, theta: Float) -> Linear:
        """The contributions of all rows to J, with cost and gradient of the observations.  ``theta``: (n_free,)."""
        complete = self.full(theta)
        return Linear.at(self.design, self.groups, self.intensity, self.weight, complete)

    def _data_equations(self, theta: Float, every: int = 1) -> tuple[float, Float, Float]:
        """Cost, gradient (n_parameters,) and J'J (n_parameters, n_parameters) of the observations alone.

        ``every``: only every k-th run of groups is used, and counted k times; cost and gradient are then not
        meaningful.
        """
        if self.pairs is not None:
            linear = self.linearise(theta)
            return linear.cost, linear.gradient, self.pairs.matrix(linear)
        complete = self.full(theta)
        n = len(complete)
        cuts = self.lane_cuts(int(np.clip(MATRIX_LANES_SIZE // max(n * n, 1), 4, 16)))
        few = self._groups_see_few()
        runs = [self._chunks(int(a), int(b), n, every)[::every] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]

        def lane(k: int) -> tuple[float, Float, Float, Float]:
            """The sums of lane k."""
            return self._lane_equations(runs[k], complete, few)

        results = results_in_order(lane, len(cuts) - 1)
        cost, gradient, once, matrix = next(results)
        for more, slope, pairs, part in results:
            cost += more
            gradient += slope
            once += pairs
            matrix += part
        diagonal = np.diag(once).copy()
        matrix = matrix + once + once.T
        matrix[np.diag_indices(n)] -= diagonal
        if every > 1:
            offsets = self.groups.offsets
            matrix *= offsets[-1] / sum(int(offsets[high] - offsets[low]) for run in runs for low, high in run)
        return cost, gradient, matrix

    def _lane_equations(
        self, runs: Sequence[tuple[int, int]], theta: Float, few: bool
    ) -> tuple[float, Float, Float, Float]:
        """``_data_equations`` of some runs of groups: by loops for sparse parts, by BLAS for the others.

        The matrix has two parts: one in which each pair of parameters is on one side of the diagonal only, and a
        complete one, which is (1, 1) with a zero if it is empty.
        """
        n, offsets, blocks = len(theta), self.groups.offsets, self.design.blocks
        cost, gradient, once = 0.0, np.zeros(n), np.zeros((n, n))
        products = np.zeros((1, 1) if few and not blocks else (n, n))
        widest = max((where.stop - where.start for where in blocks), default=0)
        for low, high in runs:
            block = self.design.block[offsets[low] : offsets[high]]
            places = np.concatenate(([0], np.cumsum(np.bincount(block[block >= 0], minlength=len(blocks)))))
            free = places.copy()
            dense_rows = np.zeros((int(places[-1]), widest))
            group_rows = np.zeros((0 if few else high - low, n))
            cost += normal_equations.normal_matrix(
                low, high, *self.arguments(), theta, self.design.block, free, gradient, once, dense_rows, group_rows
            )
            for where, begin, end in zip(blocks, places[:-1], free, strict=False):
                part = dense_rows[begin:end, : where.stop - where.start]
                products[where, where] += part.T @ part
            if not few:
                products -= group_rows.T @ group_rows
        return cost, gradient, once, products

    def _chunks(self, first: int, last: int, n: int, parts: int) -> list[tuple[int, int]]:
        """Runs of groups that fit into memory; each has at least n rows, so that BLAS is efficient.

        ``parts``: there are this many times more runs, so that every ``parts``-th of them represents all.
        """
        cuts = [first]
        most, rows = max(n, CHUNK_SIZE // max(n, 1)), max(CHUNK_ROWS // parts, n)
        offsets = self.groups.offsets
        while cuts[-1] < last:
            by_rows = int(np.searchsorted(offsets, offsets[cuts[-1]] + rows, side="right")) - 1
            cuts.append(min(last, cuts[-1] + most, max(by_rows, cuts[-1] + 1)))
        return list(zip(cuts[:-1], cuts[1:], strict=True))

    def _groups_see_few(self) -> bool:
        """Whether the members of a group depend on so few of the parameters that loops over outer products are faster.

        For a pair of parameters a loop takes about 25 times as long as a matrix product.
        """
        return 5.0 * self.design.count_nonzeros() / max(len(self.groups), 1) < len(self.base)

    def lane_cuts(self, lanes: int) -> Int:
        """Group numbers, (n_lanes + 1,), at which lanes of about equal size begin."""
        return lane_cuts(self.groups, lanes)

    def arguments(self) -> tuple[object, ...]:
        """Arguments of the kernels."""
        return (self.groups.offsets, self.intensity, self.weight, self.design.arguments())


@dataclass(frozen=True, slots=True)
class Quadratic:
    """Second-order expansion of F (Gauss-Newton): numbers from the observations, and restraints of any strengths.

    ``theta``: the point, free parameters, (n_free,).  Of the observations alone: ``cost``, ``gradient``
    (n_parameters,), and ``matrix``, J'J, (n_parameters, n_parameters), half their Hessian.
    """

    target: Target
    theta: Float
    cost: float
    gradient: Float
    matrix: Float

    def at(self, strengths: Mapping[str, float]) -> Quadratic:
        """The same with estimated restraints at other strengths, by kind."""
        return replace(self, target=self.target.at(strengths))

    def equations(self) -> tuple[float, Float, Float]:
        """F, its gradient (n_free,), and N = J'J + sum strength S, (n_free, n_free), half the Hessian."""
        gradient = self.gradient.copy()
        cost = self.target.restraints.add_to(self.target.full(self.theta), self.cost, gradient)
        return cost, gradient[self.target.free], self.target.restrained_matrix(self.matrix)

    def slope(self) -> Float:
        """Gradient of F, (n_free,)."""
        gradient = self.gradient.copy()
        self.target.restraints.add_to(self.target.full(self.theta), self.cost, gradient)
        return gradient[self.target.free]

    def inverse(self) -> Inverse | None:
        """N^-1; None where N is not positive definite."""
        return Inverse.of(self.target.restrained_matrix(self.matrix), self.target.free, len(self.target.base))

    def minimum(self, inverse: Inverse) -> Float:
        """All parameters, (n_parameters,), at the minimum: theta - N^-1 gradient/2.  ``inverse``: N^-1."""
        return self.target.full(self.theta - 0.5 * inverse.times(self.slope()))
