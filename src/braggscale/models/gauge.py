"""What the data leave open: one factor and one B factor common to everything.

Multiplying every inverse scale by a constant, or by exp(B / (2 d^2)), is taken up by the unknown intensities. The
choice made here: over the observations that take part, the first data set's mean scale is 1 and its mean B is 0. With
restraints relative to the mean scale (estimated ones) the mean of all data sets' mean scales is 1 instead.
Inside one data set, grids beyond the first (the array model's absorption and modulation) have mean 1, because a
factor could wander between them. A map of the detector has mean 1 in every shell of resolution: equivalents have one
resolution, so on one detector a function of it is taken up by the intensities. Left to its smoothness, a map that the
data determine all around a ring but not in its level carries errors of half a per cent from ring to ring.

Each choice is a linear function m . theta_c of one component's parameters. As a restraint s (m . theta_c - t)^2 it
moves no residual at all, for it acts in a direction that the data do not see; it keeps the minimiser from drifting.
As a constraint it defines the covariance. Without it, a restraint on roughness would shrink all scales to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from braggscale.data.observations import GeometryView, ObservationGeometry, rows_by_data_set
from braggscale.models.design import Design
from braggscale.models.joint_model import JointModel, Placed
from braggscale.models.restraints import Levels, Restraint
from braggscale.models.smooth import Smooth
from braggscale.numerics.array_types import Bool, Float, Int

MOST_SHELLS, LEAST_IN_SHELL = 10, 100  # shells in which a map of the detector has mean 1, rows in each


def gauge(model: JointModel, rows: ObservationGeometry, fixed: Bool) -> list[tuple[slice | Int, Float]]:
    """(places in theta, m) of every choice; m . theta_c is the mean of the component over its rows.

    ``fixed``: parameters that are held, (n_parameters,): a held component already settles its choice.
    """
    choices: list[tuple[slice | Int, Float]] = []
    overall = {"scale": not _any_fixed(model, fixed, False), "b": not _any_fixed(model, fixed, True)}
    # a common B can only be taken up if every data set has one
    overall["b"] &= all(any(c.exponential for c in m.components) for m in model.data_sets)
    # restraints relative to the mean scale would shrink all data sets but the first, and give that one up
    joint = overall["scale"] and len(model.data_sets) > 1 and _relative(model)
    together: list[tuple[slice, Float]] = []
    by_data_set = rows_by_data_set(rows.data_set, len(model.data_sets))
    for d, (data_set, mine) in enumerate(zip(model.data_sets, by_data_set, strict=True)):
        if not len(mine):
            continue
        grids = 0
        for c, component in enumerate(data_set.components):
            if not isinstance(component, Smooth):
                continue
            where = model.where(d, c)
            kind = "b" if component.b_factor else "scale"
            first_of_all = d == 0 and overall[kind] and (component.b_factor or grids == 0)
            if not component.b_factor and grids == 0 and joint:
                together.append((where, _mean_basis(component, GeometryView(rows, mine))))
                first_of_all = False
            later_grid = not component.b_factor and grids > 0 and not fixed[where].any()
            # a shared grid has one mean, that over the first of its data sets
            if not first_of_all and not (
                later_grid and all(not isinstance(known, slice) or where != known for known, _ in choices)
            ):
                pass
            elif later_grid and _on_detector(component):
                choices += [(where, m) for m in _shell_means(component, rows, _seen_by(model, rows, where))]
            else:
                choices.append((where, _mean_basis(component, GeometryView(rows, mine))))
            grids += not component.b_factor
    if together:
        places = np.concatenate([np.arange(where.start, where.stop) for where, _ in together])
        choices.insert(0, (places, np.concatenate([m for _, m in together]) / len(together)))
    return choices


def _relative(model: JointModel) -> bool:
    return any(r.relative for _, component, _ in model.parts() for r in component.restraints)


def _any_fixed(model: JointModel, fixed: Bool, b_factor: bool) -> bool:
    return any(
        component.b_factor == b_factor and bool(fixed[where].any())
        for _, component, where in model.parts()
        if isinstance(component, Smooth)
    )


def _on_detector(component: Smooth) -> bool:
    return [axis.coordinate for axis in component.axes] == ["x", "y"]


def _seen_by(model: JointModel, rows: ObservationGeometry, where: slice) -> Int:
    """Rows of all data sets that have the component in ``where``: of one still they would be a shell or two."""
    share = np.array(
        [any(model.where(d, c) == where for c in range(len(s.components))) for d, s in enumerate(model.data_sets)]
    )
    return np.flatnonzero(share[rows.data_set])


def _shell_means(component: Smooth, rows: ObservationGeometry, mine: Int) -> list[Float]:
    """m of every resolution shell, shells of equal numbers of the rows ``mine``."""
    order = mine[np.argsort(rows.d[mine], kind="stable")]
    shells = int(np.clip(len(mine) // LEAST_IN_SHELL, 1, MOST_SHELLS))
    return [_mean_basis(component, GeometryView(rows, np.sort(part))) for part in np.array_split(order, shells)]


def _mean_basis(component: Smooth, rows: ObservationGeometry) -> Float:
    """m: share of each parameter in the mean of the smooth function over the rows, (n,), sums to 1."""
    bare = Smooth(component.name, component.axes)  # the smooth function itself, without 1/(2 d^2)
    start, values = bare.basis(rows)
    index = start[:, None] + bare.pattern
    return np.bincount(index.ravel(), values.ravel(), component.n_parameters) / len(rows)


def on_gauge(theta: Float, choices: list[tuple[slice | Int, Float]]) -> Float:
    """theta with the scales of all data sets multiplied by what makes their mean 1, where that is the choice.

    No residual changes. A minimiser that starts elsewhere spends its first step, and its metric, on the way there.
    """
    if not choices or isinstance(choices[0][0], slice):
        return theta
    where, m = choices[0]
    mean = float(m @ theta[where])
    theta = theta.copy()
    if mean > 0.0:
        theta[where] /= mean
    return theta


def as_restraints(choices: list[tuple[slice | Int, Float]], model: JointModel, strength: float) -> list[Placed]:
    """The choices as restraints. ``strength``: of the order of the data's own information on a scale."""
    null = model.null()
    return [(where, Restraint(Levels.one(m), strength, float(null[where][0]))) for where, m in choices]


def as_rows(pins: Sequence[Placed], n: int) -> Float:
    """P, (n_pins, n): the restraints ``as_restraints`` add P'P to the normal matrix."""
    rows = np.zeros((len(pins), n))
    for row, (where, pin) in zip(rows, pins, strict=True):
        assert isinstance(pin.penalty, Levels)
        row[where] = np.sqrt(pin.strength * pin.penalty.across) * pin.penalty.row
    return rows


def as_constraints(choices: list[tuple[slice | Int, Float]], n_parameters: int) -> Float:
    """The choices as rows of a constraint matrix, (n_choices, n_parameters)."""
    matrix = np.zeros((len(choices), n_parameters))
    for k, (where, m) in enumerate(choices):
        matrix[k, where] = m
    return matrix


def as_seen_by_scales(
    choices: list[tuple[slice | Int, Float]], model: JointModel, design: Design, rows: ObservationGeometry, theta: Float
) -> Float:
    """Constraints that define the covariance, (n_choices, n_parameters): overall choices as means over the scales.

    The mean of a curve is not the mean of g: absorption surface and curve share a constant that no observation can
    split. If the covariance held the curve's mean, every scale would carry that uncertainty, though nothing that is
    merged does. So the first overall choice becomes mean(ln g) = const, and that of B becomes
    sum (s - mean s) ln g = const, s = 1/(2 d^2): derivatives with respect to theta, summed over the rows.
    """
    constraints = as_constraints(choices, len(theta))
    first = {model.where(d, c).start: k for d, c, k in _overall(model)}
    s = 0.5 / rows.d**2
    for k, (where, _) in enumerate(choices):
        kind = first.get(where.start if isinstance(where, slice) else int(where[0]))
        if kind is not None:
            constraints[k] = design.log_derivative(theta, s - s.mean() if kind == "b" else np.ones(len(s)))
            constraints[k] /= np.linalg.norm(constraints[k])
    return constraints


def _overall(model: JointModel) -> list[tuple[int, int, str]]:
    """(data set, component, kind) of every first grid and every B factor."""
    found = []
    for d, data_set in enumerate(model.data_sets):
        grids = 0
        for c, component in enumerate(data_set.components):
            if isinstance(component, Smooth):
                if component.b_factor or grids == 0:
                    found.append((d, c, "b" if component.b_factor else "scale"))
                grids += not component.b_factor
    return found
