"""Minimisers: arrays and callables, no crystallography.

``lbfgs``: limited-memory BFGS (Nocedal & Wright, Numerical Optimization, 2006, algorithm 7.4) in variables scaled
by the normal matrix at the start, or by the square root of each parameter's curvature, because scales, B factors and
harmonics differ by a factor of a thousand in size.

It stops when a step lowers the root-mean-square residual by less than a relative ``tolerance`` (as DIALS, which
compares consecutive steps). If it cannot continue, it raises no exception but returns the best point and the reason, as
a sentence for the user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from braggscale.numerics import cholesky
from braggscale.numerics.array_types import Float

MEMORY = 8  # pairs of steps that L-BFGS stores; more had no advantage for rotation data
ARMIJO = 1e-4  # Nocedal & Wright, equation 3.4
WOLFE = 0.9  # equation 3.7b
LINE_SEARCH_STEPS = 20


class Stop(Enum):
    """Why a minimisation ended; the value is the sentence for the user."""

    CONVERGED = "the residual no longer decreases"
    MAX_ITERATIONS = "the maximum number of iterations was reached; raise max_iterations to go on"
    NO_DESCENT = "no step lowers the residual any further; the best point so far is kept"
    SINGULAR = "the normal matrix cannot be inverted: some parameters are determined by no data"
    NOTHING_TO_REFINE = "there is no free parameter"


@dataclass(frozen=True, slots=True)
class Fit:
    """``theta``: free parameters, (n_free,).  ``history``: cost after each step, the start first."""

    theta: Float
    cost: float
    stop: Stop
    history: tuple[float, ...]

    @property
    def steps(self) -> str:
        """The number of steps, in words."""
        n = max(len(self.history) - 1, 0)
        return "1 step" if n == 1 else f"{n} steps"


def lbfgs(
    function: Callable[[Float], tuple[float, Float]],
    theta: Float,
    metric: Float | Scaling,
    *,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
) -> Fit:
    """Minimise ``function(theta) -> cost, gradient``, starting from ``theta``, (n,); the gradient is (n,).

    ``metric``: approximately half the curvature along each parameter, (n,), or half the Hessian, (n, n), from which
    the scaling of the variables is computed; or the scaling itself. Of a matrix that is not positive definite only
    the diagonal is used.
    """
    if len(theta) == 0:
        return Fit(theta, function(theta)[0], Stop.NOTHING_TO_REFINE, ())
    to_theta = metric if isinstance(metric, Scaling) else _scaling(metric)
    cost, gradient = function(theta)
    # x counts from the start, so that theta = start + T x
    x, slope = np.zeros(len(theta)), to_theta.back(gradient)
    history, pairs = [cost], list[tuple[Float, Float]]()
    stop = Stop.MAX_ITERATIONS

    def scaled(point: Float) -> tuple[float, Float]:
        """Value and gradient as functions of the scaled variables."""
        value, slope = function(theta + to_theta(point))
        return value, to_theta.back(slope)

    for _ in range(max_iterations):
        direction = -_two_loop(slope, pairs)
        expected = float(slope @ direction)
        if expected >= 0.0:  # no direction of descent: clear the memory and use steepest descent
            pairs.clear()
            direction, expected = -0.5 * slope, -0.5 * float(slope @ slope)
        accepted = _line_search(scaled, x, cost, expected, direction)
        if accepted is None:
            stop = Stop.CONVERGED if -expected <= tolerance * cost else Stop.NO_DESCENT
            break
        new_x, new_cost, new_slope = accepted
        step, change = new_x - x, new_slope - slope
        if float(step @ change) > 1e-12 * float(change @ change):
            pairs = [*pairs[-(MEMORY - 1) :], (step, change)]
        gain, cost, x, slope = cost - new_cost, new_cost, new_x, new_slope
        history.append(cost)
        # relative change of the rms, d rms / rms = d F / 2F
        if gain <= 2.0 * tolerance * cost:
            stop = Stop.CONVERGED
            break
    return Fit(theta + to_theta(x), cost, stop, tuple(history))


@dataclass(frozen=True, slots=True)
class Scaling:
    """T: theta = T x in variables of unit curvature.

    ``root``: T', a lower triangle with T T' = N^-1 of half the Hessian N, (n, n); or its diagonal, (n,).
    """

    root: Float

    def __call__(self, x: Float) -> Float:
        """T x."""
        return self.root * x if self.root.ndim == 1 else cholesky.times_transposed(self.root, x)

    def back(self, gradient: Float) -> Float:
        """T' times a ``gradient`` with respect to theta, (n,)."""
        return self.root * gradient if self.root.ndim == 1 else cholesky.times(self.root, gradient)


def _scaling(metric: Float) -> Scaling:
    diagonal = metric if metric.ndim == 1 else np.diag(metric)
    # a small number on the diagonal limits steps in directions without curvature
    root = None if metric.ndim == 1 else cholesky.inverse_root(metric, 1e-6)
    unit = 1.0 / np.sqrt(np.maximum(diagonal, 1e-12 * max(float(diagonal.max()), 1e-300)))
    return Scaling(unit if root is None else root)


def _two_loop(slope: Float, pairs: list[tuple[Float, Float]]) -> Float:
    """Inverse Hessian times ``slope``; in scaled variables the Hessian starts as 2 (curvature is half of it)."""
    q = slope.copy()
    alphas = []
    for s, y in reversed(pairs):
        alpha = float(s @ q) / float(s @ y)
        alphas.append(alpha)
        q -= alpha * y
    if pairs:
        s, y = pairs[-1]
        q *= float(s @ y) / float(y @ y)
    else:
        q *= 0.5
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        q += (alpha - float(y @ q) / float(s @ y)) * s
    return q


def _line_search(
    function: Callable[[Float], tuple[float, Float]],
    x: Float,
    cost: float,
    expected: float,
    direction: Float,
) -> tuple[Float, float, Float] | None:
    """A step that meets Armijo's condition and, if bisection finds one, Wolfe's; None if there is none."""
    low, high, length = 0.0, np.inf, 1.0
    best: tuple[Float, float, Float] | None = None
    for _ in range(LINE_SEARCH_STEPS):
        trial = x + length * direction
        value, slope = function(trial)
        if not np.isfinite(value) or value > cost + ARMIJO * length * expected:
            high = length
        else:
            best = (trial, value, slope)
            if float(slope @ direction) >= WOLFE * expected:
                return best
            low = length
        length = 2.0 * low if np.isinf(high) else 0.5 * (low + high)
        if best is not None and high - low < 1e-3 * low:
            break
    return best


def constrained_covariance(normal: Float, constraints: Float) -> Float | None:
    """Covariance of theta on the surface ``constraints @ theta`` = const: Z (Z' N Z)^-1 Z', Z spans their null space.

    This removes the gauge, directions in which N is zero or has restraints only. Adding restraints along the
    constraints (orthonormal columns q) changes nothing on the surface: with C = (N + q q')^-1 the result is C - C q
    (q' C q)^-1 q' C.
    ``normal``: N, (n, n).  ``constraints``: (k, n), k may be 0.
    Returns (n, n), None where N is singular on the surface.
    """
    diagonal = np.diag(normal)
    unit = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    work = normal * unit
    work *= unit[:, None]
    rows = constraints * unit
    if not (np.linalg.norm(rows, axis=1) > 0.0).all():
        return None
    q = np.linalg.qr(rows.T)[0]
    work += q @ q.T
    root = cholesky.inverse_root(work)
    if root is None:
        return None
    # nearly singular matrices count as singular: 1e-13 of the largest pivot is rounding error
    pivots = np.diag(root) ** -2.0
    if len(pivots) and pivots.min() < 1e-13 * pivots.max():
        return None
    covariance = cholesky.square(root)
    across = covariance @ q
    covariance -= across @ np.linalg.solve(q.T @ across, across.T)
    covariance *= unit
    covariance *= unit[:, None]
    return 0.5 * (covariance + covariance.T)
