"""One fit of the scales with weights, outliers and intensities held: L-BFGS, the full matrix, or one after the other.

Up to MOST_DENSE parameters (MOST_OF_SMALL of small data sets) the normal matrix is formed: as the metric of L-BFGS,
for Gauss-Newton steps, strengths and esds. Beyond, matrix_free.py does without it; L-BFGS has the metric of a diagonal.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from braggscale.data.observations import ObservationGeometry
from braggscale.data.unique_reflections import Groups
from braggscale.fit.data_set_pairs import Pairs
from braggscale.fit.least_squares import Target
from braggscale.fit.restraint_strengths import Inverse, starting, traces, update
from braggscale.models.design import Design
from braggscale.models.gauge import Choice, as_restraints, as_seen_by_scales, gauge, on_gauge
from braggscale.models.joint_model import JointModel, Placed
from braggscale.numerics.anderson import Mixing
from braggscale.numerics.array_types import Bool, Float
from braggscale.numerics.block_matrix import BlockMatrix
from braggscale.numerics.minimisers import Fit, Scaling, Stop, constrained_covariance, lbfgs, levenberg_marquardt

if TYPE_CHECKING:
    from braggscale.fit.few_inversions import Factored

log = logging.getLogger(__name__)

# Beyond this many parameters the normal matrix is not formed (matrix_free.py): its inversion takes seconds, its copies
# gigabytes. With so few parameters per data set that is so much earlier: blocks then say nearly everything.
MOST_DENSE = 6000
SMALL_SET, MOST_OF_SMALL = 10, 1500
# Turns of strengths and L-BFGS in one round; the next round goes on.
ROUGH_TURNS = 2
# Steps of L-BFGS in the metric of one normal matrix; another one costs about as much as twenty.
STEPS_NEARBY = 20
# Gauss-Newton steps without the matrix in one round.
ROUGH_STEPS = 1
# Strengths have settled when a step changes the fit by less than this many effective parameters, or this many for each
# parameter that there is.
SETTLED = 0.05
SETTLED_SHARE, SETTLED_SHARE_OF_MANY = 1e-4, 3e-4
MOST_STRENGTH_STEPS = 40
# With more parameters of many data sets the matrix is not inverted for every step of the strengths (few_inversions.py).
MANY = 1000
# A change that is asked for with a normal matrix of another point, in effective parameters, and believed.
TRUSTED = 1.0
# Steps times n^3 between two looks at the observations: a few seconds.
STRENGTH_WORK = 3e11


@dataclass(frozen=True, slots=True)
class FitSettings:
    """``tolerance``: relative decrease of the rms residual that counts as converged.  Limits None: 100 steps.

    ``estimate``: whether L-BFGS brings estimated strengths up to date; the steps of the full matrix always do.
    ``esds``: whether a full matrix ends with covariance and effective parameters.
    """

    first_order: bool
    full_matrix: bool
    max_iterations: int | None
    full_matrix_max_iterations: int | None
    tolerance: float
    estimate: bool = False
    esds: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """Observations that take part, in the order of ``groups``; ``design`` belongs to the same rows.

    ``fixed``: parameters that are held, (n_parameters,).  ``choices``: what settles the gauge (models/gauge.py).
    ``pairs``: for the normal matrix, where it is made by pairs of data sets.
    """

    model: JointModel
    rows: ObservationGeometry
    groups: Groups
    design: Design
    fixed: Bool
    choices: list[Choice]
    pairs: Pairs | None

    @classmethod
    def of(cls, model: JointModel, rows: ObservationGeometry, groups: Groups, fixed: Bool) -> Problem:
        """Compute the basis once; weights and intensities may then change from fit to fit."""
        design = model.design(rows)
        pairs = Pairs.worth(model, rows.data_set, groups, design) if model.n_parameters <= MOST_DENSE else None
        return cls(model, rows, groups, design, fixed, gauge(model, rows, fixed), pairs)

    def regrouped(self, groups: Groups) -> Problem:
        """The same rows in other groups."""
        if np.array_equal(groups.offsets, self.groups.offsets):
            return self
        pairs = None if self.pairs is None else Pairs.of(self.model, self.rows.data_set, groups)
        return replace(self, groups=groups, pairs=pairs)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``theta``: all parameters, (n_parameters,).  ``covariance``: same order, zero for held parameters, or None.

    ``fits``: what each minimiser did, by its name.  ``undetermined``: parameters that no observation sees,
    held by restraints alone.  ``n_observations``: rows in the fit.
    ``strengths``: estimated strengths by kind.  ``influence``: diag(C J'J), (n_parameters,): effective parameters.
    ``matrix``: J'J that was used, (n_parameters, n_parameters), for the next fit of the same problem; ``solutions``: of
    its equations for the probes of matrix_free.py, (n_parameters, any number), where it was not formed; ``factored``:
    of many parameters its inverse.  ``mixing``: how strengths moved, for the next fit, too.
    """

    theta: Float
    covariance: BlockMatrix | None
    fits: tuple[tuple[str, Fit], ...]
    undetermined: tuple[int, ...]
    n_observations: int
    n_groups: int
    message: str | None = None
    strengths: Mapping[str, float] = field(default_factory=dict)
    influence: Float | None = None
    matrix: Float | None = None
    solutions: Float | None = None
    factored: Factored | None = None
    mixing: Mixing = field(default_factory=Mixing)


def fit(
    problem: Problem,
    theta: Float,
    intensity: Float,
    weight: Float,
    settings: FitSettings,
    strengths: Mapping[str, float] | None = None,
    near: Outcome | None = None,
) -> Outcome:
    """Minimise from ``theta``.

    ``intensity``: counts, ``weight``: 1/counts^2, (n,).
    ``strengths``: of the restraints whose strengths are estimated; None: as the model has them.
    ``near``: an earlier fit with about the same weights. Its J'J is the metric of L-BFGS (None: computed where needed),
    its solutions are where those of this fit start.
    A full matrix that cannot be inverted leaves the L-BFGS answer, with covariance None and a message.
    """
    model = problem.model
    fixed, choices = problem.fixed, problem.choices
    theta = on_gauge(theta, choices)
    information = float(np.sum(weight * intensity**2))
    own = model.restraints(theta)
    strengths = {kind: (strengths or {}).get(kind, begin) for kind, begin in starting(own).items()}
    pins = as_restraints(choices, model, information)
    free = np.flatnonzero(~fixed)
    target = Target(problem.design, problem.groups, intensity, weight, (), theta, free, problem.pairs).at_strengths(
        own, pins, strengths
    )
    fits: list[tuple[str, Fit]] = []
    start = theta[free]
    small = len(free) <= SMALL_SET * len(model.data_sets)
    dense = len(free) <= (min(MOST_OF_SMALL, MOST_DENSE) if small else MOST_DENSE)
    matrix, known = (None, None) if near is None else (near.matrix, near.factored)
    mixing = Mixing() if near is None else copy(near.mixing)
    if settings.first_order and (dense or not (strengths and settings.estimate)):
        # for the price of a few evaluations the normal matrix saves four fifths of the steps
        fresh = matrix is None and dense
        if fresh:
            matrix = target.data_equations(start)[2]
        rough, strengths, matrix, known = _first_order(
            target, start, own, pins, strengths, settings, matrix, fresh, known, mixing
        )
        target = target.at_strengths(own, pins, strengths)
        fits.append(("L-BFGS", rough))
        start = rough.theta
    n = (int(np.count_nonzero(weight)), len(problem.groups))
    exactly = settings.full_matrix or (settings.first_order and not fits)
    if not exactly or len(free) == 0:
        return Outcome(
            target.full(start), None, tuple(fits), (), *n,
            strengths=strengths, matrix=matrix, factored=known, mixing=mixing,
        )  # fmt: skip
    if not dense:
        return _implicit(problem, target, own, pins, strengths, start, settings, n, tuple(fits), near)
    last, data = None, _Known(target)
    if strengths and _is_many(target):
        from braggscale.fit import few_inversions

        limit = settings.full_matrix_max_iterations or 100
        exact, strengths, last = few_inversions.full_matrix(
            target, start, own, pins, strengths, near.factored.likeness.share if near and near.factored else {},
            max_iterations=limit, tolerance=settings.tolerance, settled=_settled(target),
        )  # fmt: skip
    else:
        exact, strengths = _full_matrix(target, data, start, own, pins, strengths, settings, mixing)
    fits.append(("full matrix", exact))
    complete = target.full(exact.theta)
    if not settings.esds:
        return Outcome(complete, None, tuple(fits), (), *n, strengths=strengths)
    matrix = last.matrix if last is not None else data(exact.theta)[2]
    undetermined = _undetermined(np.diag(matrix), fixed | _estimated_places(own, len(theta)))
    covariance = _covariance(problem, target.at_strengths(own, (), strengths), pins, complete, exact, matrix, last)
    if covariance is None:
        message = (
            f"full matrix: {Stop.SINGULAR.value}; the L-BFGS answer stands, without esds. Fewer parameters "
            "(a larger scale_interval, decay_correction=False) or splitting the sweep at the gap removes this"
        )
        return Outcome(target.full(start), None, tuple(fits), undetermined, *n, message, strengths)
    influence = np.einsum("ij,ij->i", covariance, matrix)
    return Outcome(complete, BlockMatrix.whole(covariance), tuple(fits), undetermined, *n, None, strengths, influence)


def _implicit(
    problem: Problem, target: Target, own: Sequence[Placed], pins: Sequence[Placed], strengths: dict[str, float],
    start: Float,
    settings: FitSettings, n: tuple[int, int], before: tuple[tuple[str, Fit], ...], near: Outcome | None,
) -> Outcome:  # fmt: skip
    """The full matrix without forming it."""
    from braggscale.fit.matrix_free import Layout, minimise

    limit = settings.full_matrix_max_iterations or 100
    found = minimise(
        target, own, pins, strengths, Layout.of(problem.model), start,
        max_iterations=limit if settings.esds else min(limit, ROUGH_STEPS), tolerance=settings.tolerance,
        esds=settings.esds, settled=_settled(target), solutions=None if near is None else near.solutions,
    )  # fmt: skip
    message = None
    if settings.esds and found.covariance is None:
        message = f"full matrix: {Stop.SINGULAR.value}; the scales stand, without esds"
    known = problem.fixed | _estimated_places(list(own), len(target.base))
    undetermined = _undetermined(found.information, known) if settings.esds else ()
    fits = (*before, ("conjugate gradients", found.fit))
    return Outcome(
        target.full(found.fit.theta), found.covariance, fits, undetermined, *n, message,
        found.strengths, found.influence if settings.esds else None, None, found.solutions,
    )  # fmt: skip


def _first_order(
    target: Target, start: Float, own: list[Placed], pins: list[Placed],
    strengths: dict[str, float], settings: FitSettings, matrix: Float | None, fresh: bool, near: Factored | None,
    mixing: Mixing,
) -> tuple[Fit, dict[str, float], Float | None, Factored | None]:  # fmt: skip
    """L-BFGS; with a ``matrix`` estimated strengths follow it in a few turns, each with a look at the data.

    ``fresh``: whether the matrix is that at ``start``. Any near one is good enough as a metric, and to see that the
    strengths stay. Where they do not it is computed anew: directions that the old one knows nothing of, though the
    data do, would ask for corrections without end. Returns the last matrix, too.
    ``near``: of an earlier fit with many parameters; one turn of these, and N^-1 for the next fit.
    """
    many = _is_many(target)
    history: list[float] = []
    theta = start
    for _ in range(1 if many else ROUGH_TURNS):
        moved, metric = 0.0, None
        if strengths and settings.estimate and matrix is not None:
            data = (*target.data_gradient(theta), matrix)
            if many:
                strengths, matrix, near = _rough_strengths(target, theta, data, own, pins, strengths, near, fresh)
                metric = near.metric if near else None
            else:
                enough, trusted = _settled(target), np.inf if fresh else TRUSTED
                found, moved = _strengths_nearby(target, theta, data, own, pins, strengths, mixing, enough, trusted)
                if moved > trusted:
                    data = target.data_equations(theta)
                    matrix = data[2]
                    found, moved = _strengths_nearby(target, theta, data, own, pins, strengths, mixing, enough)
                strengths = found
            target = target.at_strengths(own, pins, strengths)
        rough = _descend(target, theta, matrix, metric, settings)
        history += rough.history if not history else rough.history[1:]
        theta, fresh = rough.theta, False
        if moved < _settled(target):
            break
    return replace(rough, history=tuple(history)), strengths, matrix, near


def _is_many(target: Target) -> bool:
    return target.pairs is not None and len(target.base) > MANY


def _rough_strengths(
    target: Target, theta: Float, data: tuple[float, Float, Float], own: list[Placed], pins: list[Placed],
    strengths: dict[str, float], near: Factored | None, fresh: bool,
) -> tuple[dict[str, float], Float, Factored | None]:  # fmt: skip
    """Strengths of many parameters for a round, with the J'J that they are from; an old one is renewed at need."""
    from braggscale.fit.few_inversions import ENOUGH, settle

    enough = ENOUGH * len(target.base)
    found, moved, known = settle(target, theta, data, own, pins, strengths, near, enough, fresh)
    if moved > enough and not fresh:
        data = target.data_equations(theta)
        found, _, known = settle(target, theta, data, own, pins, strengths, known, enough)
    return found, data[2], known


def _descend(
    target: Target, theta: Float, matrix: Float | None, metric: Scaling | Float | None, settings: FitSettings
) -> Fit:
    """L-BFGS in a ``metric``, in that of J'J, ``matrix``, or in that of a diagonal."""
    limit = settings.max_iterations or 100
    function, tolerance, history = target.value_and_gradient, settings.tolerance, list[float]()
    while True:
        if metric is None:
            metric = target.curvature(theta) if matrix is None else target.restrained_matrix(matrix)
        steps = limit + 1 - max(len(history), 1)
        if matrix is not None:
            steps = min(steps, STEPS_NEARBY)
        rough = lbfgs(function, theta, metric, max_iterations=steps, tolerance=tolerance)
        history += rough.history if not history else rough.history[1:]
        theta = rough.theta
        if rough.stop is not Stop.MAX_ITERATIONS or len(history) > limit:
            return replace(rough, history=tuple(history))
        matrix, metric = target.data_equations(theta)[2], None


class _Known:
    """The observations' part of the normal equations, remembered at the last point: restraints change between steps."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.key = b""
        self.equations: tuple[float, Float, Float] = (0.0, np.empty(0), np.empty((0, 0)))

    def __call__(self, theta: Float) -> tuple[float, Float, Float]:
        key = theta.tobytes()
        if key != self.key:
            self.equations, self.key = self.target.data_equations(theta), key
        return self.equations


def _full_matrix(
    target: Target, known: _Known, start: Float, own: list[Placed], pins: list[Placed],
    strengths: dict[str, float], settings: FitSettings, mixing: Mixing,
) -> tuple[Fit, dict[str, float]]:  # fmt: skip
    """Gauss-Newton steps; before each, the strengths that are estimated, until neither changes anything.

    The last step is made with the strengths that are returned.
    """
    limit = settings.full_matrix_max_iterations or 100
    history: list[float] = []
    theta = start
    for _ in range(limit if strengths else 1):
        moved = 0.0
        if strengths:
            strengths, moved = _strengths_nearby(
                target, theta, known(theta), own, pins, strengths, mixing, 0.2 * _settled(target)
            )
            target = target.at_strengths(own, pins, strengths)

        def equations(at: Float, target: Target = target) -> tuple[float, Float, Float]:
            return target.restrained(at, known(at))

        steps = 1 if strengths else limit
        step = levenberg_marquardt(equations, theta, max_iterations=steps, tolerance=settings.tolerance)
        history += step.history if not history else step.history[1:]
        theta = step.theta
        if step.stop is not Stop.MAX_ITERATIONS and moved < _settled(target):
            break
    return replace(step, history=tuple(history)), strengths


def _settled(target: Target) -> float:
    share = SETTLED_SHARE_OF_MANY if _is_many(target) else SETTLED_SHARE
    return max(SETTLED, share * len(target.base))


def _strengths_nearby(
    target: Target, theta: Float, data: tuple[float, Float, Float], own: list[Placed],
    pins: list[Placed], strengths: dict[str, float], mixing: Mixing, enough: float, trusted: float = np.inf,
) -> tuple[dict[str, float], float]:  # fmt: skip
    """Strengths at the minimum of the quadratic that touches the cost at ``theta``, and how far they moved.

    No observation is looked at: with J'J and gradient as they are, each step is a small linear problem.
    The change of the fit, in effective parameters, is that which the first step alone asked for; above ``trusted`` no
    other follows.  ``enough``: change that a step asks for, and is granted, after which none follows.
    """
    n = len(target.base)
    first = 0.0
    held = target.held
    mixing.begin()
    for _ in range(max(2, min(MOST_STRENGTH_STEPS, int(STRENGTH_WORK / max(n, 1) ** 3)))):
        now = target.at_strengths(own, pins, strengths)
        _, gradient, normal = now.restrained(theta, data)
        covariance = Inverse.of(normal, target.free, n)
        if covariance is None:
            break
        there = target.full(theta - 0.5 * covariance.times(gradient))
        wanted, moved = update(own, strengths, there, traces(own, covariance), held)
        log.debug(f"strengths {wanted} move by {moved:.3f} effective parameters")
        first = first or moved
        if moved > trusted:
            break
        strengths = mixing.next(strengths, wanted)
        if moved < enough:
            break
    return strengths, first


def _covariance(
    problem: Problem, target: Target, pins: list[Placed], theta: Float, exact: Fit, matrix: Float,
    last: Factored | None,
) -> Float | None:  # fmt: skip
    """Covariance of all parameters in the chosen gauge, (n, n); held ones have none.  None where N is singular.

    ``target``: without the ``pins``: they hold the gauge at other places, and would take two directions away where
    there is one.  ``theta``: all parameters.  ``matrix``: J'J.  ``last``: of many parameters N^-1, pins and all.
    """
    free, n = target.free, len(theta)
    constraints = as_seen_by_scales(problem.choices, problem.design, problem.rows, theta)
    if last is not None:
        from braggscale.fit import few_inversions

        part = few_inversions.covariance(last, pins, constraints)
    elif exact.normal is not None:
        part = constrained_covariance(target.restrained_matrix(matrix), constraints[:, free])
    else:
        part = None
    if part is None or len(free) == n:
        return part
    covariance = np.zeros((n, n))
    covariance[np.ix_(free, free)] = part
    return covariance


def _undetermined(information: Float, known: Bool) -> tuple[int, ...]:
    """Parameters that no observation sees and that nothing else settles.  ``information``: diagonal of J'J."""
    positive = information[information > 0]
    if len(positive) == 0:
        return tuple(int(p) for p in np.flatnonzero(~known))
    # scales, B and harmonics differ in units; a parameter without data differs from all by far more
    nothing = information <= 1e-12 * float(np.median(positive))
    return tuple(int(p) for p in np.flatnonzero(nothing & ~known))


def _estimated_places(restraints: list[Placed], n: int) -> Bool:
    """Parameters whose restraint is estimated, (n,): many more than the data need, by intention."""
    places = np.zeros(n, bool)
    for where, restraint in restraints:
        places[where] |= bool(restraint.kind) and not restraint.common
    return places
