"""All restraints of one fit: those of the model, at their present strengths, and those of the gauge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from braggscale.models.joint_model import Placed
from braggscale.models.restraints import MeanPenalty, Restraint
from braggscale.numerics.array_types import Bool, Float, Int


@dataclass(frozen=True, slots=True)
class Restraints:
    """sum_c strength_c (theta_c - t_c)' S_c (theta_c - t_c) over restraints c of the parameters theta_c.

    ``model``: restraints of the model; those of one kind have one strength, which may be estimated from the data.
    ``gauge``: restraints that fix what the data do not determine (models/gauge.py). ``most_effective``: effective
    parameters that all estimated restraints together may leave.
    """

    model: Sequence[Placed]
    gauge: Sequence[Placed] = ()
    most_effective: float = math.inf

    @property
    def strengths(self) -> dict[str, float]:
        """Present strength of each kind, in the order of the restraints; empty if all strengths are fixed."""
        return {restraint.kind: restraint.strength for _, restraint in self.model if restraint.kind}

    @property
    def placed(self) -> list[Placed]:
        """All of them, those of the model first."""
        return [*self.model, *self.gauge]

    @property
    def least(self) -> dict[str, float]:
        """Smallest plausible strength of each kind."""
        return {restraint.kind: restraint.least for _, restraint in self.model if restraint.kind}

    def at(self, strengths: Mapping[str, float]) -> Restraints:
        """The same with other strengths of their kinds, none below the least; kinds that are not named keep theirs."""
        model = [(where, _at(restraint, strengths)) for where, restraint in self.model]
        return replace(self, model=model)

    def without_gauge(self) -> Restraints:
        """Those of the model alone."""
        return replace(self, gauge=())

    def add_to(self, theta: Float, cost: float, gradient: Float) -> float:
        """``cost`` plus that of the restraints; adds their gradient to ``gradient``.

        ``theta``, ``gradient``: all parameters, (n_parameters,).
        """
        for where, restraint in self.placed:
            pull = restraint.strength * (restraint.penalty @ (theta[where] - restraint.target))
            cost += float((theta[where] - restraint.target) @ pull)
            gradient[where] += 2.0 * pull
        return cost

    def add_diagonal(self, diagonal: Float) -> None:
        """Add the diagonal of sum strength S to ``diagonal``, (n_parameters,)."""
        for where, restraint in self.placed:
            diagonal[where] += restraint.strength * restraint.diagonal()

    def add_matrix(self, matrix: Float) -> None:
        """Add sum strength S to ``matrix``, (n_parameters, n_parameters)."""
        for where, restraint in self.placed:
            if isinstance(restraint.penalty, MeanPenalty):
                _add_levels(matrix, where, restraint.penalty * restraint.strength)
                continue
            block = (where, where) if isinstance(where, slice) else np.ix_(where, where)
            matrix[block] += restraint.strength * restraint.penalty

    def estimated_places(self, n: int) -> Bool:
        """Parameters whose restraint is estimated, (n,); there are intentionally more of them than the data determine.

        ``n``: number of parameters. A restraint that only couples data sets does not count.
        """
        places = np.zeros(n, bool)
        for where, restraint in self.model:
            places[where] |= bool(restraint.kind) and not restraint.couples_data_sets
        return places


def _add_levels(matrix: Float, where: slice | Int, penalty: MeanPenalty) -> None:
    """Add a penalty on means without forming its matrix.  ``where``: places of its parameters, (k,)."""
    index = np.arange(where.start, where.stop) if isinstance(where, slice) else where
    row = penalty.row
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(index) != 1) + 1, [len(index)])).tolist()
    if len(cuts) ** 2 <= len(index):
        # few stretches of neighbouring parameters: blocks of the matrix are faster than its rows
        stretches = [(slice(int(index[i]), int(index[j - 1]) + 1), row[i:j]) for i, j in pairwise(cuts)]
        for down, part in stretches:
            for across, other in stretches:
                matrix[down, across] += np.outer(penalty.across * part, other)
    else:
        for i, weight in zip(index.tolist(), (penalty.across * row).tolist(), strict=True):
            matrix[i, index] += weight * row
    if penalty.within:
        for first, last in zip(penalty.starts[:-1].tolist(), penalty.starts[1:].tolist(), strict=True):
            here, part = index[first:last], row[first:last]
            matrix[here[:, None], here] += np.outer(penalty.within * part, part)


def _at(restraint: Restraint, strengths: Mapping[str, float]) -> Restraint:
    """The restraint at the strength of its kind."""
    return replace(restraint, strength=max(strengths.get(restraint.kind, restraint.strength), restraint.least))
