"""Estimates the strengths of restraints from the data.

With the weights of the error model the cost of least_squares.py is -2 ln of a posterior density,

    F(theta) = sum w (I - g I_h)^2 + sum_k lambda_k theta' S_k theta,    theta ~ N(0, (sum lambda_k S_k)^-) a priori,

so a restraint means that a correction is a random function, and its strength lambda is the inverse of a variance,
which the data determine (a mixed model). Let N = J'J + sum lambda_k S_k at the minimum and C = N^-1. The restricted
likelihood of the lambdas is, by Laplace's approximation,

    -2 ln L = F(theta) + ln |N| - ln |sum lambda_k S_k|+ + const        (|.|+: product of the non-zero eigenvalues)

At the minimum the derivative of F with respect to theta is 0. So for restraints that act on different parameters
the derivative of -2 ln L is theta'S_k theta + tr(C S_k) - rank(S_k)/lambda_k. The generalised Fellner-Schall step

    lambda_k <- (rank(S_k) - lambda_k tr(C S_k)) / (theta' S_k theta)

increases L for a linear model (Wood & Fasiolo, Biometrics 73 (2017) 1071; Schall, Biometrika 78 (1991) 719). The
numerator is the number of parameters that the data, and not the restraint, determine. If the correction is no larger
than the noise of its own estimate, lambda grows without limit and the correction vanishes; it need not be switched
off.

Restraints of one kind have the same lambda; numerator and denominator are sums over them. A sweep with few
reflections is corrected as far as its data allow, and the other sweeps determine how large such corrections usually
are.

The effective number of parameters of a component is the sum over its parameters of diag(C J'J): how many degrees of
freedom of the data it uses, from 0 to its number of parameters (Hastie & Tibshirani, Generalized Additive Models,
1990). Directions that all data together cannot determine (models/gauge.py) are in the null space of every S_k and
do not contribute to the traces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.models.component import Component
from braggscale.models.joint_model import JointModel, Placed
from braggscale.models.restraints import MeanPenalty, Restraint
from braggscale.numerics import cholesky
from braggscale.numerics.anderson import MOST_CHANGE
from braggscale.numerics.array_types import Bool, Float, Int

# A correction with fewer effective parameters has vanished, and its strength is not increased any more, because N
# would become singular.
NOTHING_LEFT = 1e-3
# Blocks of the inverse with fewer parameters are too small for BLAS to be efficient.
SMALL = 64
# Factor on strengths with which a correction vanishes.
HELD = 1e8
# From this share of the effective parameters that may be taken, strengths fall more slowly.
NEAR = 0.5


def held_back(model: JointModel) -> JointModel:
    """The model without estimated restraints, for data that cannot support them.

    Curves and maps become constants. A level is restrained to no correction with its starting strength.
    """
    return _with_restraints(model, lambda component, restraint: _held(restraint, component.null, 1.0))


def without_decay(model: JointModel) -> JointModel:
    """The model with one B factor for all data, for data sets with too few repeated measurements to determine it."""

    def held(component: Component, restraint: Restraint) -> Restraint:
        """The restraint; for a B factor one that keeps its starting value."""
        return _held(restraint, component.null, HELD) if component.name == "decay" else restraint

    return _with_restraints(model, held)


def _held(restraint: Restraint, null: float, level: float) -> Restraint:
    """The restraint at the value that the parameters have, so strong that they stay there.

    ``level``: factor on the strength of a restraint on the levels of data sets.
    """
    if not restraint.kind:
        return restraint
    if restraint.couples_data_sets:
        row = np.asarray(restraint.penalty)
        return Restraint(np.outer(row, row), level * restraint.strength, null)
    # a constant costs nothing for any target; with this target rounding errors are small, too
    return replace(restraint, kind="", strength=HELD * restraint.strength, target=null)


def _with_restraints(model: JointModel, changed: Callable[[Component, Restraint], Restraint]) -> JointModel:
    """The model with each restraint of each component changed."""
    data_sets = []
    for own in model.data_sets:
        components = [c.with_restraints(tuple(changed(c, r) for r in c.restraints)) for c in own.components]
        data_sets.append(replace(own, components=tuple(components)))
    return replace(model, data_sets=tuple(data_sets))


def at_least(strengths: Mapping[str, float], least: Mapping[str, float]) -> dict[str, float]:
    """Strengths that are not below the ``least`` ones of their kinds."""
    return {kind: max(value, least.get(kind, 0.0)) for kind, value in strengths.items()}


@dataclass(frozen=True, slots=True)
class Inverse:
    """C = N^-1 = R'R, which need not be formed.

    ``root``: R, a lower triangle, (n_free, n_free).  ``free``: positions of its parameters in theta, (n_free,).
    ``n``: number of all parameters.
    """

    root: Float
    free: Int
    n: int

    @classmethod
    def of(cls, normal: Float, free: Int, n: int) -> Inverse | None:
        """From N; None if it is not positive definite.

        ``normal``: N, (n_free, n_free), whose memory is used.  ``free``: positions of its parameters in theta,
        (n_free,).
        """
        root = cholesky.inverse_root(normal, overwrite=True)
        return None if root is None else cls(root, free, n)

    def times(self, x: Float) -> Float:
        """C x of free parameters, (n_free,)."""
        return cholesky.times_transposed(self.root, cholesky.times(self.root, x))

    def part(self, where: slice | Int) -> Float:
        """Rows and columns of C, zero for fixed parameters, (k, k).  ``where``: places among all, in order, (k,)."""
        if len(self.free) == self.n and isinstance(where, slice) and where.stop - where.start <= SMALL:
            # many small blocks: only from the diagonal on, because above it the triangle is zero
            from braggscale.numerics.compiled import triangle

            block = np.zeros((where.stop - where.start,) * 2)
            triangle.gram(self.root, where.start, block)
            return block
        if len(self.free) == self.n:
            # above the diagonal the triangle is zero
            columns = self.root[where.start :, where] if isinstance(where, slice) else self.root[:, where]
        else:
            place = np.full(self.n, -1)
            place[self.free] = np.arange(len(self.free))
            free = place[where]
            columns = np.zeros((len(self.root), len(free)))
            columns[:, free >= 0] = self.root[:, free[free >= 0]]
        return np.asarray(columns.T @ columns)

    def trace_of_levels(self, where: slice | Int, penalty: MeanPenalty) -> float:
        """tr(C S) of a penalty on levels m_d . theta_d: from R m_d alone, without a block of C.

        ``where``: places of its parameters among all, in order, (k,).
        """
        index = np.arange(where.start, where.stop) if isinstance(where, slice) else where
        row = penalty.row
        if not len(self.free):
            return 0.0  # every parameter keeps its value
        if len(self.free) < self.n:
            place = np.full(self.n, -1)
            place[self.free] = np.arange(len(self.free))
            row = np.where(place[index] >= 0, row, 0.0)
            index = np.maximum(place[index], 0)
        # above the diagonal the triangle is zero
        columns = self.root[int(index.min()) :, index] * row
        levels = np.add.reduceat(columns, penalty.starts[:-1], axis=1)
        return float(penalty.within * np.sum(levels**2) + penalty.across * np.sum(levels.sum(axis=1) ** 2))


def traces(restraints: Sequence[Placed], inverse: Inverse) -> dict[str, float]:
    """tr(C S) of every kind of estimated restraint.  ``restraints``: of the model.  ``inverse``: C."""
    result: dict[str, float] = {}
    parts: dict[tuple[int, int], Float] = {}  # curves have two restraints
    for where, restraint in restraints:
        if not restraint.kind:
            continue
        if isinstance(restraint.penalty, MeanPenalty):
            trace = inverse.trace_of_levels(where, restraint.penalty)
            result[restraint.kind] = result.get(restraint.kind, 0.0) + trace
            continue
        if isinstance(where, slice):
            key = where.start, where.stop
            if key not in parts:
                parts[key] = inverse.part(where)
            part = parts[key]
        else:
            part = inverse.part(where)
        result[restraint.kind] = result.get(restraint.kind, 0.0) + float(np.vdot(part, restraint.dense()))
    return result


def update(
    restraints: Sequence[Placed],
    strengths: Mapping[str, float],
    theta: Float,
    traces: Mapping[str, float],
    fixed: Bool,
    blocks_alone: Mapping[str, float] | None = None,
    most_effective: float = np.inf,
) -> tuple[dict[str, float], float]:
    """One Fellner-Schall step for every kind, and the largest change of the fit in effective parameters.

    ``restraints``: of the model.  ``theta``: the minimum with ``strengths``, (n_parameters,).
    ``traces``: tr(C S) of every kind.  ``fixed``: parameters that keep their values, (n_parameters,); a restraint of
    these alone does not count.  ``blocks_alone``: lower limits of the traces, where ``traces`` carry the noise of
    probes, so that this noise alone does not let a strength grow without limit.  ``most_effective``: effective
    parameters that all kinds together may take. Near this limit strengths fall no further, beyond it all of them
    rise.
    """
    size, rank, least = (dict.fromkeys(strengths, 0.0) for _ in range(3))
    for where, restraint in restraints:
        if restraint.kind and not fixed[where].all():
            part = theta[where] - restraint.target
            size[restraint.kind] += float(part @ (restraint.penalty @ part))
            rank[restraint.kind] += restraint.rank
            least[restraint.kind] = restraint.least
    new: dict[str, float] = {}
    moved = 0.0
    # levels describe how much data sets differ from one another, which is no correction that could be left out
    coupled = {r.kind for _, r in restraints if r.couples_data_sets}
    taken = sum(rank[kind] - old * traces[kind] for kind, old in strengths.items() if kind not in coupled)
    crowded = max(taken, 0.0) / max(most_effective, 1.0)
    for kind, old in strengths.items():
        free = rank[kind] - old * traces[kind]
        most = free if blocks_alone is None else min(free, rank[kind] - old * blocks_alone[kind])
        wanted = free / size[kind] if size[kind] > 0 else np.inf
        if most < NOTHING_LEFT and wanted > old:
            wanted = old
        if kind not in coupled and wanted < old * max(crowded, 1.0):
            # beyond the share NEAR of this limit steps become smaller and smaller
            share = np.clip((1.0 - crowded) / (1.0 - NEAR), 0.0, 1.0)
            wanted = wanted**share * (old * max(crowded, 1.0)) ** (1.0 - share)
        new[kind] = max(float(np.clip(wanted, old / MOST_CHANGE, old * MOST_CHANGE)), least[kind])
        moved = max(moved, abs(float(np.log(new[kind] / old))) * free)
    return new, moved
