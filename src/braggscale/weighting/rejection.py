"""Decides which observations are outliers, and which Friedel mates are fitted as different reflections.

With fixed restraints the only test is that of outlier_test.py. With estimated restraints there are no systematic
differences, and two more tests follow: one allows Friedel mates to differ (friedel_test.py), the other decides which of
two observations that disagree is more likely to be wrong (pair_test.py).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from braggscale.data.normalised_intensities import Shells
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float
from braggscale.weighting.expected_variance import Expectation, VarianceModel, expect
from braggscale.weighting.friedel_test import (
    Mates,
    anomalous_share,
    first_mates,
    groups_of_agreeing_mates,
    separate,
    squares,
)
from braggscale.weighting.outlier_test import RETURN_SHARE, OutlierOptions, Rejection, report, settle
from braggscale.weighting.pair_test import disputed, likely_wrong

log = logging.getLogger(__name__)

# Most iterations until verdicts and the variances that follow from them agree, in the test that allows mates to differ.
MOST_TURNS = 8


@dataclass(frozen=True, slots=True)
class OutlierInputs:
    """Input of the outlier tests.

    ``expected``: expected intensity and variance of each observation.  ``epsilon``: multiplicity of its reflection in
    the point group, (n,).  ``shells``: resolution shells of the same rows, for the mean intensity.
    """

    expected: Expectation
    epsilon: Float
    shells: Shells

    @property
    def positive_mean(self) -> Float:
        """Mean intensity I_h of each row's group, 0 where it is negative, on the scale of I/g, (n,)."""
        result: Float = np.maximum(self.expected.groups.spread(self.expected.mean_intensity), 0.0)
        return result

    def mean(self) -> Float:
        """epsilon times the mean of I_h at this resolution, on the scale of I/g, (n,); 0 where I_h is not positive."""
        mean_intensity = self.positive_mean
        e2 = self.shells.normalised(mean_intensity, self.epsilon)
        return np.divide(mean_intensity, e2, out=np.zeros(len(mean_intensity)), where=e2 > 0)

    def mates(self, out: Bool) -> Mates:
        """The rows that are I+, and the expected difference of I+ and I-.

        ``out``: outliers, which do not count for the size of the differences, (n,).
        """
        given = self.expected
        groups, scale = given.groups, given.scale
        plus = first_mates(groups, given.friedel_split)
        use = ~out & (scale > 0) & groups.spread(groups.sum(~plus) > 0)
        if len(given.friedel_split) == len(groups) or not use.any():
            return Mates(plus, np.zeros(len(plus)))
        mean = self.mean()
        q = anomalous_share(
            given.variance_model.intensity[use],
            given.variance[use],
            scale[use],
            groups.subset(use),
            plus[use],
            mean[use],
        )
        log.debug(f"anomalous differences of intensities: {100 * np.sqrt(q):.2f} % rms")
        return Mates(plus, q * mean * self.positive_mean)


def fit_groups(inputs: OutlierInputs, out: Bool) -> Groups:
    """Groups of observations that are treated as equivalent in the fit of the scales.

    Friedel mates are in one group unless their expected difference is larger than their errors
    (``friedel_test.groups_of_agreeing_mates``).  ``out``: outliers, (n,).
    """
    given = inputs.expected
    scale = given.scale
    precision = np.where(out | (scale <= 0), 0.0, scale**2 / given.variance)
    return groups_of_agreeing_mates(given.groups, given.friedel_split, precision, inputs.mates(out))


def verdicts(inputs: OutlierInputs, options: OutlierOptions, before: Bool, calibrated: bool) -> Rejection:
    """The observations that deviate from their equivalents.

    ``before``: outliers with which the search starts, (n,).  ``calibrated``: whether errors are refined and scales have
    no systematic differences, so that the tests of Friedel mates and of pairs follow the method ``standard``.
    """
    given, zmax, method = inputs.expected, options.zmax, options.method or "standard"
    variance_model, scale, groups = given.variance_model, np.maximum(given.scale, 0.0), given.groups
    rejection = settle(variance_model, scale, groups, zmax, before, method)
    if not calibrated or method != "standard":
        return rejection
    limits, mask, mates = (zmax, RETURN_SHARE * zmax), rejection.mask, inputs.mates(rejection.mask)
    if mates.difference.any():
        mask = _spare_mates(variance_model, scale, groups, mates, limits, mask, before)
    return report(_settle_disputes(inputs, mates, limits, mask, before), before, groups, rejection.rounds)


def _spare_mates(
    variance_model: VarianceModel,
    scale: Float,
    groups: Groups,
    mates: Mates,
    limits: tuple[float, float],
    rejected: Bool,
    before: Bool,
) -> Bool:
    """Outliers, (n,): groups with outliers are tested once more, with Friedel mates that may differ.

    ``limits``: z_max, z_back.  ``rejected``: outliers of the test with one mean, ``before``: those with which the
    search starts, (n,).
    """
    suspect = groups.spread(groups.sum(rejected | before) > 0)
    rows, part = np.flatnonzero(suspect), groups.subset(suspect)
    mask = rejected.copy()
    mask[rows] = _agreed(
        variance_model.take(rows), scale[rows], part, mates.take(rows), limits, rejected[rows], before[rows]
    )
    return mask


def _agreed(
    variance_model: VarianceModel,
    scale: Float,
    groups: Groups,
    mates: Mates,
    limits: tuple[float, float],
    begin: Bool,
    before: Bool,
) -> Bool:
    """Outliers that agree with the variances that follow from them, (n,).

    If they alternate between two sets, the observations of both are outliers.
    ``begin``: the outliers that give the first variances.  ``before``: starting point of every search, (n,).
    """
    seen = [begin]
    for _ in range(MOST_TURNS):
        variance = expect(variance_model, scale, seen[-1], groups)[1]
        new = separate(variance_model.intensity, variance, scale, groups, mates, limits, before)
        if np.array_equal(new, seen[-1]):
            return new
        seen.append(new)
    moving = groups.spread(groups.sum(seen[-1] != seen[-2]) > 0)
    ever = seen[-1] | (moving & seen[-2])
    return np.where(groups.spread(groups.sum(~ever) < 2), seen[-1], ever)


def _settle_disputes(
    inputs: OutlierInputs, mates: Mates, limits: tuple[float, float], rejected: Bool, before: Bool
) -> Bool:
    """Outliers, (n,): ``rejected``, and one of two members if only two are left in a group and they disagree.

    ``limits``: z_max, z_back.  ``before``: outliers of the round before, (n,).
    """
    given = inputs.expected
    groups, inside = given.groups, ~rejected & (given.scale > 0)
    two = groups.sum(inside) == 2
    rows, part = np.flatnonzero(groups.spread(two)), groups.choose(two)
    if not len(rows):
        return rejected
    variance_model, scale, inside = given.variance_model.take(rows), given.scale[rows], inside[rows]
    variance = expect(variance_model, scale, ~inside, part)[1]
    z2 = squares(variance_model.intensity, variance, np.maximum(scale, 0.0), part, mates.take(rows), ~inside)
    judged = disputed(z2, part, inside, before[rows], limits)
    if not judged.any():
        return rejected
    members = np.flatnonzero(part.spread(judged))
    x = np.divide(variance_model.intensity, scale, out=np.zeros(len(rows)), where=scale > 0)[members]
    above = int(np.count_nonzero((given.variance_model.intensity > given.scale * inputs.positive_mean)[rejected]))
    n_outliers = above, int(np.count_nonzero(rejected)) - above
    mask = rejected.copy()
    mask[rows[members]] |= likely_wrong(
        x, inputs.mean()[rows[members]], part.choose(judged), inside[members], n_outliers
    )
    return mask
