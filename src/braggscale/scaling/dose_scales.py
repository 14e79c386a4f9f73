"""Scales and the curves of all reflections with dose, in one fit.

A fit of scales to intensities without their changes takes the changes as known. They were determined with the old
scales, and what these had wrong went into the changes. So a sequence of such fits converges slowly. One step of Gauss
and Newton for both together needs no sequence. With x_i = I_i/g_i, its value on the curve c_i = phi_i' v_h, the
residual r_i = x_i - c_i, j_i = d ln g_i/d theta, and C_h the covariance of v_h = (I_h, s_h, q_h), which includes its
prior,

    N step = sum_i w_i c_i r_i j_i - S (theta - t),
    N = S + sum_i w_i c_i^2 j_i j_i' - sum_h K_h' C_h K_h,     K_h = sum_i w_i c_i phi_i j_i'   (i in h)

S: the restraints at their present strengths. The step is that of theta after the curves have followed it (Golub &
Pereyra, SIAM J. Numer. Anal. 10 (1973) 413). N is not formed: the equations are solved by conjugate gradients, with the
covariance of the last fit as preconditioner, which also keeps the gauge of the scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.fit.penalty import Penalty
from braggscale.models.design import Design
from braggscale.numerics.array_types import Float
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.conjugate_gradients import conjugate_gradients
from braggscale.scaling.state import Scaled, ScalingProblem
from braggscale.statistics.zero_dose import FittedCurves

# Of the solution, and the most products with N.
TOLERANCE, MOST_PRODUCTS = 1e-2, 60
# Largest change of ln g in one step.
MOST_STEP = 0.3


@dataclass(frozen=True, slots=True)
class JointFit:
    """What stays the same in all steps.  ``trend``: by which g was divided after the fit, (n,)."""

    problem: ScalingProblem
    groups: Groups
    design: Design
    covariance: BlockMatrix
    penalty: Penalty
    scaled: Scaled
    trend: Float

    @classmethod
    def of(cls, problem: ScalingProblem, groups: Groups, scaled: Scaled) -> JointFit | None:
        """After a fit of scales; None if this fit has no covariance.

        ``groups``: of observations with one curve, over the rows of ``problem``.
        """
        covariance, theta = scaled.outcome.covariance, scaled.state.theta
        if covariance is None:
            return None
        g = problem.model.evaluate(problem.rows, theta)[0]
        trend = np.divide(g, scaled.state.scale, out=np.ones(len(g)), where=scaled.state.scale > 0)
        penalty = Penalty(problem.model.restraints(theta), len(theta), covariance.starts)
        return cls(problem, groups, problem.model.design(problem.rows), covariance, penalty, scaled, trend)

    def after_step(self, theta: Float, curves: FittedCurves) -> tuple[Float, Float]:
        """Parameters, (n_parameters,), and inverse scale factors, (n,), after one step from ``theta``."""
        index, c, strengths = self.groups.index(), curves.expected, self.scaled.outcome.strengths
        w = curves.weight * c

        def product(v: Float) -> Float:
            """N v, (n_parameters, 1)."""
            along = self.design.log_change(theta, v[:, 0])
            pulled = self.groups.sum(curves.phi * (w * along)[:, None])
            followed = np.einsum("nij,nj->ni", curves.covariance, pulled)
            rest = c * along - np.einsum("ni,ni->n", curves.phi, followed[index])
            return self.design.log_derivative(theta, w * rest)[:, None] + self.penalty.times(v, strengths)

        slope = self.penalty.cost_gradient(theta, strengths)[1]
        right = self.design.log_derivative(theta, w * curves.residual) - 0.5 * slope
        step = conjugate_gradients(
            product, self.covariance.times, right[:, None], tolerance=TOLERANCE, max_iterations=MOST_PRODUCTS
        )[0][:, 0]
        change = np.abs(self.design.log_change(theta, step)[curves.weight > 0])
        moved = theta + min(1.0, MOST_STEP / max(float(change.max(initial=0.0)), MOST_STEP)) * step
        return moved, self.problem.model.evaluate(self.problem.rows, moved)[0] / self.trend
