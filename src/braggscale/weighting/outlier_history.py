"""Outliers from round to round of scaling, and what an earlier verdict counts for.

The first rounds judge afresh, so that what they settle on depends on the data alone and not on the way there. Choices
that still flip after that are made to stick: an outlier comes back only below 0.9 zmax, only once, and at last not at
all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool
from braggscale.weighting.outlier_test import OutlierOptions, Rejection, report
from braggscale.weighting.rejection import OutlierInputs, verdicts
from braggscale.weighting.wilson_test import impossible

# Where nothing has changed since an earlier run, its verdicts on a group are kept if zmax times one of these gives
# them: the last fit of that run moved z by less.
STANDS = (0.98, 1.02)


class Memory(Enum):
    """What the verdicts of the round before count for."""

    NONE = "every observation is judged afresh"
    ONE_RETURN = "an outlier may come back, but only once"
    NO_RETURN = "no outlier comes back"


@dataclass(frozen=True, slots=True)
class OutlierHistory:
    """Verdicts after a round, (n,).

    ``rejected``: outliers.  ``returned``: observations that were outliers in an earlier round and came back.
    ``impossible``: outliers whatever their equivalents say (wilson_test.py).
    """

    rejected: Bool
    returned: Bool
    impossible: Bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """``history``: verdicts after the round.  ``rejection``: those of the comparison with equivalents.

    ``n_impossible``: outliers that were found by their size alone.
    """

    history: OutlierHistory
    rejection: Rejection
    n_impossible: int


def judge_round(
    inputs: OutlierInputs,
    options: OutlierOptions,
    before: OutlierHistory,
    memory: Memory,
    calibrated: bool,
    stored: Bool | None = None,
) -> Judgement:
    """The outliers of one round.

    ``before``: verdicts of the round before, and ``memory``: what they count for.  ``calibrated``: see ``verdicts``.
    ``stored``: outliers of an earlier run with the same observations, (n,); they stand where a slightly different zmax
    gives them as well.
    """
    groups = inputs.expected.groups
    rejected = np.zeros_like(before.rejected) if memory is Memory.NONE else before.rejected
    rejection = verdicts(inputs, options, rejected, calibrated)
    if stored is not None:
        near = [
            verdicts(inputs, replace(options, zmax=factor * options.zmax), rejected, calibrated) for factor in STANDS
        ]
        rejection = standing(rejection, near, stored, groups)
    variance_model = inputs.expected.variance_model
    wilson = impossible(variance_model.intensity, inputs.expected.scale, inputs.epsilon, inputs.shells, options.emax)
    out, returned = rejection.mask | wilson, before.returned
    if memory is not Memory.NONE:
        # who came back once and is an outlier again stays one: otherwise fit and test can swap it for ever
        out |= rejected if memory is Memory.NO_RETURN else returned & rejected
        few = groups.spread(groups.sum(~out) < 2)
        out = np.where(few, rejection.mask | wilson, out)
        returned = returned | (rejected & ~out)
    return Judgement(OutlierHistory(out, returned, wilson), rejection, int(np.count_nonzero(wilson & ~rejection.mask)))


def standing(found: Rejection, nearby: Sequence[Rejection], before: Bool, groups: Groups) -> Rejection:
    """``found``, but groups whose earlier verdict a slightly different threshold gives as well keep that verdict.

    ``nearby``: verdicts with such thresholds.  ``before``: the earlier verdict, (n_rows,).
    """
    mask = found.mask.copy()
    for other in nearby:
        same = groups.spread(groups.sum(other.mask != before) == 0)
        mask[same] = before[same]
    return report(mask, before, groups, found.rounds)
