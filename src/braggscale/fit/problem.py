"""The common part of all fits of one selection of observations; weights and intensities change from fit to fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.connected_sets import connected_sets
from braggscale.data.observations import GeometryView, ObservationGeometry
from braggscale.data.unique_reflections import Groups
from braggscale.fit.data_set_pairs import Owners, Pairs
from braggscale.fit.least_squares import Target
from braggscale.fit.restraints import Restraints
from braggscale.models.design import Design
from braggscale.models.gauge import Choice, as_restraints, as_seen_by_scales, gauge
from braggscale.models.joint_model import JointModel
from braggscale.numerics.array_types import Bool, Float

# Beyond this many parameters the normal matrix is not formed: its inversion takes seconds, its copies gigabytes.
MOST_DENSE = 6000
# Share of the degrees of freedom, observations less unique reflections, that estimated corrections may take. Errors are
# calibrated by what is left. If corrections take most of it errors shrink with the residuals, and small errors ask for
# more corrections.
MOST_EFFECTIVE = 0.25


@dataclass(frozen=True, slots=True)
class Problem:
    """The n observations in a fit, in the order of ``groups``, and the model.

    ``rows``: their geometry.  ``groups``: unique reflections within which they should agree.
    ``design``: their basis values.  ``fixed``: parameters that keep their values, (n_parameters,).
    ``choices``: conditions of the gauge (models/gauge.py).  ``pairs``: for the normal matrix by pairs of data sets,
    or for its blocks where there are too many parameters to form it; None if another way is faster.
    ``owners``: data sets to which the parameters belong; None for one data set.
    """

    model: JointModel
    rows: ObservationGeometry
    groups: Groups
    design: Design
    fixed: Bool
    choices: list[Choice]
    pairs: Pairs | None
    owners: Owners | None

    @classmethod
    def of(cls, model: JointModel, rows: ObservationGeometry, groups: Groups, fixed: Bool) -> Problem:
        """Compute the basis values once.  ``fixed``: (n_parameters,)."""
        design = model.design(rows)
        by_sets = Pairs.worth if model.n_parameters <= MOST_DENSE else Pairs.for_blocks
        pairs = by_sets(model, rows.data_set, groups, design)
        parts = connected_sets(rows.data_set, groups, len(model.data_sets))
        choices = gauge(model, rows, fixed, parts if parts.any() else None)
        owners = Owners.of(model) if len(model.data_sets) > 1 else None
        return cls(model, rows, groups, design, fixed, choices, pairs, owners)

    def regrouped(self, groups: Groups) -> Problem:
        """The same rows in other groups."""
        if np.array_equal(groups.offsets, self.groups.offsets):
            return self
        pairs = None if self.pairs is None else Pairs.of(self.model, self.rows.data_set, groups)
        return replace(self, groups=groups, pairs=pairs)

    def seen_from(self, use: Bool) -> Problem:
        """The same, with the gauge over the rows in ``use``, (n,)."""
        rows = GeometryView.of(self.rows, np.flatnonzero(use))
        return replace(self, choices=gauge(self.model, rows, self.fixed))

    def target(self, theta: Float, intensity: Float, weight: Float, strengths: Mapping[str, float]) -> Target:
        """The cost to minimise.

        ``theta``: all parameters, (n_parameters,): values of the fixed ones, units of relative restraints.
        ``intensity``: counts, ``weight``: 1/counts^2, (n,).  ``strengths``: of estimated restraints, by kind; kinds
        that are not named have those of the model.
        """
        information = float(np.sum(weight * intensity**2))
        gauge_restraints = as_restraints(self.choices, self.model, information, theta)
        seen = weight > 0.0
        freedom = int(np.count_nonzero(seen)) - int(np.count_nonzero(self.groups.sum(seen)))
        restraints = Restraints(self.model.restraints(theta), gauge_restraints, MOST_EFFECTIVE * freedom)
        first = restraints.strengths
        restraints = restraints.at({kind: strengths.get(kind, begin) for kind, begin in first.items()})
        free = np.flatnonzero(~self.fixed)
        return Target(self.design, self.groups, intensity, weight, restraints, theta, free, self.pairs, self.owners)

    def constraints(self, theta: Float) -> Float:
        """The constraints that define the covariance, (n_choices, n_parameters): the gauge, as conditions on the
        scales.

        ``theta``: all parameters, (n_parameters,).
        """
        return as_seen_by_scales(self.choices, self.design, self.rows, theta)
