"""The influence of the outliers of earlier rounds on those of the present round.

The first rounds ignore earlier outliers, so that the result depends on the data alone and not on the path. But then an
observation near the limit might be rejected and accepted in turn for ever. Therefore in later rounds an outlier is
accepted again only below 0.9 zmax, still later only once, and in the end not at all.
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

# Outliers of an earlier run with the same data are kept if zmax times one of these factors reproduces them in their
# group, because the last fit of that run has changed z by less than that.
STANDS = (0.98, 1.02)


class Memory(Enum):
    """Influence of the outliers of the previous round."""

    NONE = "every observation is tested anew"
    ONE_RETURN = "an outlier may come back, but only once"
    NO_RETURN = "no outlier comes back"


@dataclass(frozen=True, slots=True)
class OutlierHistory:
    """The state of all observations after a round, (n,).

    ``rejected``: outliers.  ``returned``: observations that were outliers in an earlier round and came back.
    ``impossible``: outliers that were found without equivalents, by their size or place (wilson_test.py,
    shadow_test.py).
    """

    rejected: Bool
    returned: Bool
    impossible: Bool

    def with_impossible(self, more: Bool) -> OutlierHistory:
        """The same with more impossible observations.  ``more``: marks them, (n,)."""
        return OutlierHistory(self.rejected | more, self.returned, self.impossible | more)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outliers of a round.

    ``history``: the state of all observations.  ``rejection``: outliers by comparison with their equivalents.
    ``n_impossible``: number of outliers that were found by their size alone.
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
    shadow: Bool | None = None,
) -> Judgement:
    """Find the outliers of one round.

    ``before``: the state after the previous round, ``memory``: its influence.  ``calibrated``: see
    ``rejection.verdicts``.  ``stored``: outliers of an earlier run with the same observations, (n,); a group keeps them
    where a zmax that differs by 2 % reproduces them.  ``shadow``: observations in a shadow of the detector, (n,).
    """
    groups = inputs.expected.groups
    rejected = np.zeros_like(before.rejected) if memory is Memory.NONE else before.rejected
    rejection = verdicts(inputs, options, rejected, calibrated)
    if stored is not None:
        near = [
            verdicts(inputs, replace(options, zmax=factor * options.zmax), rejected, calibrated) for factor in STANDS
        ]
        rejection = keep_standing(rejection, near, stored, groups)
    variance_model = inputs.expected.variance_model
    wilson = impossible(variance_model.intensity, inputs.expected.scale, inputs.epsilon, inputs.shells, options.emax)
    certain = wilson if shadow is None else wilson | shadow
    out, returned = rejection.mask | certain, before.returned
    if memory is not Memory.NONE:
        # an outlier that was accepted once and is rejected again stays rejected, because it might alternate for ever
        out |= rejected if memory is Memory.NO_RETURN else returned & rejected
        few = groups.spread(groups.sum(~out) < 2)
        out = np.where(few, rejection.mask | certain, out)
        returned = returned | (rejected & ~out)
    return Judgement(OutlierHistory(out, returned, certain), rejection, int(np.count_nonzero(wilson & ~rejection.mask)))


def keep_standing(rejection: Rejection, nearby: Sequence[Rejection], before: Bool, groups: Groups) -> Rejection:
    """``rejection``, except that groups keep their earlier outliers if a slightly different threshold reproduces them.

    ``nearby``: outliers with such thresholds.  ``before``: the earlier outliers, (n_rows,).
    """
    mask = rejection.mask.copy()
    for other in nearby:
        same = groups.spread(groups.sum(other.mask != before) == 0)
        mask[same] = before[same]
    return report(mask, before, groups, rejection.rounds)
