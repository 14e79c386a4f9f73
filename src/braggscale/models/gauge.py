"""The gauge: fixes a factor and a B factor that are common to all observations and that the data cannot determine.

If every inverse scale is multiplied by a constant, or by exp(B / (2 d^2)), the unknown intensities change accordingly
and all residuals stay the same. The convention here is: over the observations in the fit, the mean of all data sets'
mean scales is 1, and the mean B of all observations is 0, so that the weight of a data set is its number of
observations. No data set is special: their order has no influence, and a data set with few reflections, whose B is
poorly determined, has little.
Within a data set, grids after the first one (the array model's absorption and modulation) and modules of the detector
have mean 1, because a factor could move from one of them to another. A map of the detector has mean 1 in every shell of
resolution: equivalent reflections have the same resolution, so with one detector a function of resolution cannot be
distinguished from a change of the intensities. If only the smoothness restrained the map, which the data determine
along each ring but not in its mean level, there would be errors of half a per cent from ring to ring.

Each condition is a linear function m . theta of few parameters. As a restraint s (m . theta - t)^2 it changes no
residual, because it acts in a direction on which the residuals do not depend; it prevents a drift of the minimiser. As
a constraint it defines the covariance. Without it, a restraint on roughness would shrink all scales towards 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from braggscale.data.observations import ObservationGeometry, rows_by_data_set
from braggscale.models.design import Design
from braggscale.models.joint_model import JointModel, Placed
from braggscale.models.restraints import MeanPenalty, Restraint
from braggscale.numerics.array_types import Bool, Float, Int


@dataclass(frozen=True, slots=True)
class Choice:
    """One linear function m . theta of the parameters whose value is fixed by convention, as no data determine it.

    ``kind``: "scale", the mean of all data sets' mean scales; "b", the mean B; "grid", the mean of a further grid, or
    that of a detector map in one shell.
    ``where``: the positions of these parameters in theta, (k,).  ``row``: m, dimensionless, sums to 1, (k,).
    ``part``: the data sets that it is about, a mark for each, (n_data_sets,); None where all share reflections.
    """

    kind: Literal["scale", "b", "grid"]
    where: slice | Int
    row: Float
    part: Bool | None = None


_KINDS: tuple[tuple[str, Literal["scale", "b"]], ...] = (("factor", "scale"), ("b", "b"))


def gauge(model: JointModel, rows: ObservationGeometry, fixed: Bool, connected: Int | None = None) -> list[Choice]:
    """All conditions that are needed; m . theta is the mean of a component over its rows.

    ``rows``: of the observations in the fit.
    ``fixed``: parameters that keep their values, (n_parameters,); a fixed component needs no condition.
    ``connected``: number of the part that each data set belongs to, (n_data_sets,): parts that share no reflection each
    need a scale and a B of their own. None where all data sets are connected.
    """
    choices: list[Choice] = []
    overall = {role: not _any_fixed(model, fixed, role) for role in ("factor", "b")}
    # a common B is undetermined only if every data set has a B
    overall["b"] &= all(any(c.gauge_role == "b" for c in m.components) for m in model.data_sets)
    # by role and by position in theta: m of each data set, and its number of observations
    means: dict[str, dict[int, tuple[slice, Float, int]]] = {"factor": {}, "b": {}}
    parts: dict[int, int] = {}  # by place in theta
    sharing = _sharing(model)
    settled: set[int] = set()
    by_data_set = rows_by_data_set(rows.data_set, len(model.data_sets))
    for d, (data_set, in_data_set) in enumerate(zip(model.data_sets, by_data_set, strict=True)):
        if not len(in_data_set):
            continue
        grids = 0
        for c, component in enumerate(data_set.components):
            if component.gauge_role == "none":
                continue
            where, role = model.where(d, c), component.gauge_role
            # a map in logarithms has no scale of its own
            carries = role == "b" or not component.exponential
            first = role == "b" or (carries and grids == 0)
            grids += role == "factor" and carries
            if first and overall[role]:
                if where.start not in means[role]:
                    m = component.gauge_rows(rows, in_data_set, overall=True)[0]
                    means[role][where.start] = (where, m, len(in_data_set))
                    parts[where.start] = 0 if connected is None else int(connected[d])
                    settled.add(where.start)
            elif not first and where.start not in settled and not fixed[where].any():
                seen = in_data_set
                if len(sharing[where.start]) > 1:  # pool the data sets: one still fills too few shells
                    has = np.zeros(len(model.data_sets), bool)
                    has[sharing[where.start]] = True
                    seen = np.flatnonzero(has[rows.data_set])
                choices += [Choice("grid", where, m) for m in component.gauge_rows(rows, seen, overall=False)]
                settled.add(where.start)
    overall_choices: list[Choice] = []
    for overall_role, kind in _KINDS:
        for part in sorted(set(parts.values())):
            chosen = [mean for start, mean in means[overall_role].items() if parts[start] == part]
            found = _overall(kind, chosen)
            about = None if connected is None else np.asarray(connected == part)
            overall_choices += [replace(choice, part=about) for choice in found]
    return [*overall_choices, *choices]


def _overall(kind: Literal["scale", "b"], means: list[tuple[slice, Float, int]]) -> list[Choice]:
    """The condition on the mean over all data sets.

    ``means``: position, m and number of observations of each. All scales have the same weight; the weight of a B is its
    number of observations.
    """
    if not means:
        return []
    weights = np.array([n if kind == "b" else 1 for *_, n in means], np.float64)
    places = np.concatenate([np.arange(where.start, where.stop) for where, *_ in means])
    row = np.concatenate([w * m for w, (_, m, _) in zip(weights / weights.sum(), means, strict=True)])
    return [Choice(kind, places, row)]


def _any_fixed(model: JointModel, fixed: Bool, role: str) -> bool:
    return any(component.gauge_role == role and bool(fixed[where].any()) for _, component, where in model.parts())


def _sharing(model: JointModel) -> dict[int, list[int]]:
    """For each first position of a component in theta: the data sets that have this component."""
    sharing: dict[int, list[int]] = {}
    for d, _, where in model.parts():
        sharing.setdefault(where.start, []).append(d)
    return sharing


def on_gauge(theta: Float, choices: Sequence[Choice]) -> Float:
    """theta, (n_parameters,), with all scales multiplied so that their mean is 1, if this is the condition.

    Parts that share no reflection keep the ratio of their scales.

    No residual changes. Otherwise a minimiser would need its first step only to satisfy the condition, and its metric
    would belong to scales of another size.
    ``theta``: (n_parameters,); a copy is returned.
    """
    scales = [choice for choice in choices if choice.kind == "scale"]
    if not scales:
        return theta
    mean = float(np.mean([choice.row @ theta[choice.where] for choice in scales]))
    theta = theta.copy()
    if mean > 0.0:
        for choice in scales:
            theta[choice.where] /= mean
    return theta


def as_restraints(
    choices: Sequence[Choice], model: JointModel, strength: float, theta: Float | None = None
) -> list[Placed]:
    """The conditions as restraints.

    ``strength``: of the order of the information of the data on a scale.  ``theta``: where a fit begins,
    (n_parameters,): parts that share no reflection keep the mean scales that they have there.
    """
    null = model.null()

    def target(c: Choice) -> float:
        """The value at which the gauge holds a parameter."""
        if c.part is None or c.kind != "scale" or theta is None:
            return float(null[c.where][0])
        return float(c.row @ theta[c.where])

    restraints = []
    for c in choices:
        value = target(c)
        relative = value**2 if c.part is not None and c.kind == "scale" and value != 0.0 else 1.0
        restraints.append((c.where, Restraint(MeanPenalty.one(c.row), strength / relative, value)))
    return restraints


def as_rows(gauge_restraints: Sequence[Placed], n: int) -> Float:
    """P, (number of restraints, n): the restraints of ``as_restraints`` add P'P to the normal matrix."""
    rows = np.zeros((len(gauge_restraints), n))
    for row, (where, restraint) in zip(rows, gauge_restraints, strict=True):
        row[where] = np.sqrt(restraint.strength) * restraint.root()
    return rows


def as_constraints(choices: Sequence[Choice], n_parameters: int) -> Float:
    """The conditions as rows of a constraint matrix, (n_choices, n_parameters)."""
    matrix = np.zeros((len(choices), n_parameters))
    for row, choice in zip(matrix, choices, strict=True):
        row[choice.where] = choice.row
    return matrix


def as_seen_by_scales(choices: Sequence[Choice], design: Design, rows: ObservationGeometry, theta: Float) -> Float:
    """Constraints that define the covariance, (n_choices, n_parameters): overall conditions on means over the scales.

    The mean of a curve is not the mean of g, because absorption surface and curve share a constant that no observation
    can divide between them. If the covariance fixed the mean of the curve, every scale would have the uncertainty of
    this constant, although no merged intensity depends on it. So the condition on the overall scale becomes
    mean(ln g) = const, and that on B becomes sum (s - mean s) ln g = const, s = 1/(2 d^2). The rows are derivatives
    with respect to theta, summed over the rows.
    ``design``: of the ``rows``.  ``theta``: all parameters, (n_parameters,).
    """
    constraints = as_constraints(choices, len(theta))
    s = 0.5 / rows.d**2
    for constraint, choice in zip(constraints, choices, strict=True):
        if choice.kind != "grid":
            weight = s - s.mean() if choice.kind == "b" else np.ones(len(s))
            if choice.part is not None:
                inside = choice.part[rows.data_set]
                weight = np.where(inside, s - s[inside].mean() if choice.kind == "b" and inside.any() else weight, 0.0)
            seen = design.log_derivative(theta, weight)
            length = float(np.linalg.norm(seen))
            if length > 0.0:  # rows of one resolution do not see B; then the choice stays as it is
                constraint[:] = seen / length
    return constraints
