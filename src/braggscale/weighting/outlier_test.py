"""The outlier test: finds observations that deviate from their equivalents by more than their errors allow.

``standard``: each observation is compared with the mean of the others of its group. The worst one is left out and the
others are tested again (leave_one_out.py has the formula, and explains why the search ends). Groups of two are not
tested: both members have the same deviation, so this test cannot decide which one is wrong (pair_test.py sometimes
can).

``simple``: one pass. Every member beyond the threshold is left out, and means are not recomputed.

Both use the variance of the error model at the *expected* intensity. With the observed variance a reflection that was
measured too low would appear more precise than it is, and the meaning of the threshold would depend on the intensity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.weighting.expected_variance import VarianceModel
from braggscale.weighting.leave_one_out import judge

METHODS = ("standard", "simple")
# A rejected observation is accepted again only if it is clearly within the limit, so that no row alternates.
RETURN_SHARE = 0.9
# Outliers change expected intensities, these change variances, and these change the outliers. Groups in which this
# has not converged after this number of rounds keep their last verdict.
_SETTLING_ROUNDS = 20
# Lower ends of the ranges of multiplicity in the counts.
_MULTIPLICITY = (1, 2, 3, 4, 5, 6, 11, 21, 51)


@dataclass(frozen=True, slots=True)
class OutlierOptions:
    """How outliers are found.

    ``method``: one of METHODS, or None for no rejection.  ``zmax``: largest deviation from the equivalents, in standard
    deviations.  ``emax``: largest normalised amplitude |E|, None for no limit.
    """

    method: str | None
    zmax: float
    emax: float | None = None


@dataclass(frozen=True, slots=True)
class MultiplicityCount:
    """Rows of groups with ``first`` to ``last`` members (None: no upper end), and how many were rejected."""

    first: int
    last: int | None
    rows: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """The outliers of one test.

    ``mask``: rejected rows, (n_rows,).  ``rounds``: passes over the groups that still changed.  ``new``: number of
    rows that were not rejected before, ``returned``: number of rows that are no longer rejected.
    ``by_multiplicity``: counts for the log.
    """

    mask: Bool
    rounds: int
    new: int
    returned: int
    by_multiplicity: tuple[MultiplicityCount, ...]

    @property
    def count(self) -> int:
        """Number of rejected rows."""
        return int(np.count_nonzero(self.mask))


def _judged(
    variance_model: VarianceModel, scale: Float, groups: Groups, zmax: float, before: Bool, method: str
) -> tuple[Bool, Bool, int]:
    """``leave_one_out.judge`` with the limits of ``zmax``.  Raises ValueError for an invalid method or zmax."""
    if method not in METHODS:
        raise ValueError(f"unknown method of outlier rejection {method!r}; one of {', '.join(METHODS)}")
    if not zmax > 0:
        raise ValueError(f"zmax must be positive, not {zmax}")
    limits = zmax, RETURN_SHARE * zmax
    return judge(variance_model, scale, groups, limits, before, simple=method == "simple")


def report(mask: Bool, before: Bool, groups: Groups, rounds: int) -> Rejection:
    """The outliers ``mask``, (n_rows,), with their counts.  ``before``: outliers before the test, (n_rows,)."""
    return Rejection(
        mask,
        rounds,
        int(np.count_nonzero(mask & ~before)),
        int(np.count_nonzero(before & ~mask)),
        _by_multiplicity(mask, groups),
    )


def settle(
    variance_model: VarianceModel,
    scale: Float,
    groups: Groups,
    zmax: float = 6.0,
    previous: Bool | None = None,
    method: str = "standard",
) -> Rejection:
    """Find the rows that deviate from their equivalents by more than ``zmax`` standard deviations.

    z = |I - g m| / sqrt(V' + g^2/s), m = sum g I/V' / s and s = sum g^2/V' over the other members that are in.
    Weights are limited to 10 times the group's median. At least two members of a group stay. A row that was rejected
    before is accepted again only below 0.9 ``zmax``; so with the result as ``previous`` the result is the same.

    Variances are calculated at the expected intensity g I_h, and I_h changes when a member is rejected. In a group of
    three this can reverse the verdict in every round. Here variances and verdicts are repeated until they agree. A
    group that would cycle keeps the verdict of the cycle that rejects most.
    ``variance_model``: V' of each row.  ``scale``: g, ``previous``: rows rejected by the last round, (n_rows,).
    ``rounds`` of the result adds up all passes.
    Raises ValueError for an unknown method, a threshold or a variance that is not positive.
    DIALS behaviour except that rows are accepted again, that the limit of weights is in scaled units, and for
    ``simple``: it uses the variance of the residual, V' (1 - g^2/(V' s)), sums with the row itself, and keeps the
    two best members.
    """
    before = np.zeros(groups.n_rows, np.bool_) if previous is None else previous
    mask, moving, rounds = _judged(variance_model, scale, groups, zmax, before, method)
    if moving.any():
        # most groups agree at once; only the others are repeated
        rows, part = np.flatnonzero(groups.spread(moving)), groups.choose(moving)
        old = before[rows]
        old[part.spread(part.sum(~old) < 2)] = False
        settled, more = _settle(variance_model.take(rows), scale[rows], part, (old, mask[rows]), zmax, method)
        mask[rows] = settled
        rounds += more
    return report(mask, before, groups, rounds)


def _settle(
    variance_model: VarianceModel, scale: Float, groups: Groups, history: tuple[Bool, Bool], zmax: float, method: str
) -> tuple[Bool, int]:
    """Outliers of groups that have not settled in the first round, (n_rows,), and the number of further passes.

    ``history``: outliers before and after the first round, (n_rows,) each.
    """
    verdicts = list(history)
    mask = verdicts[-1].copy()
    rows, part = np.arange(groups.n_rows), groups
    rounds = 0
    for _ in range(_SETTLING_ROUNDS):
        cycle = _cycling(verdicts, rows, part)
        if cycle.any():
            inside = part.spread(cycle)
            mask[rows[inside]] = _fullest(verdicts, rows[inside], part.choose(cycle), variance_model.intensity, scale)
            rows, part = rows[~inside], part.choose(~cycle)
        if len(rows) == 0:
            break
        now_rejected, moving, moves = _judged(variance_model.take(rows), scale[rows], part, zmax, mask[rows], method)
        rounds += moves
        mask[rows] = now_rejected
        rows, part = rows[part.spread(moving)], part.choose(moving)
        verdicts.append(mask.copy())
    return mask, rounds


def _cycling(history: list[Bool], rows: Int, groups: Groups) -> Bool:
    """Groups whose last set of outliers has occurred before, (n_groups,).

    ``history``: outliers after each round.  ``rows``: numbers of the rows of ``groups`` in them.
    """
    result = np.zeros(len(groups), np.bool_)
    for earlier in history[:-1]:
        result |= groups.sum(earlier[rows] != history[-1][rows]) == 0
    return result


def _fullest(history: list[Bool], rows: Int, groups: Groups, intensity: Float, scale: Float) -> Bool:
    """Of the sets of outliers between which a group alternates, the largest one; of several, that with the largest I/g.

    So the result depends on the cycle alone and not on its starting point.
    """
    value = np.abs(np.divide(intensity[rows], scale[rows], out=np.zeros(len(rows)), where=scale[rows] != 0))
    now = history[-1][rows]
    best = now.copy()
    n, light = groups.sum(best), groups.sum(np.where(best, value, 0.0))
    # backwards through the cycle until the present verdict occurs again
    running = np.ones(len(groups), np.bool_)
    for earlier in reversed(history[:-1]):
        mask = earlier[rows]
        running &= groups.sum(mask != now) > 0
        m, bright = groups.sum(mask), groups.sum(np.where(mask, value, 0.0))
        better = running & ((m > n) | ((m == n) & (bright > light)))
        best = np.where(groups.spread(better), mask, best)
        n, light = np.where(better, m, n), np.where(better, bright, light)
    return best


def _by_multiplicity(mask: Bool, groups: Groups) -> tuple[MultiplicityCount, ...]:
    """Observations and outliers in ranges of the multiplicity, ranges without observations left out."""
    sizes = groups.sizes()
    rejected = groups.sum(mask)
    where = np.searchsorted(_MULTIPLICITY, sizes, side="right") - 1
    n = len(_MULTIPLICITY)
    rows = np.bincount(where, weights=sizes, minlength=n)
    lost = np.bincount(where, weights=rejected, minlength=n)
    ends = [*(first - 1 for first in _MULTIPLICITY[1:]), None]
    return tuple(
        MultiplicityCount(first, last, int(r), int(x))
        for first, last, r, x in zip(_MULTIPLICITY, ends, rows, lost, strict=True)
        if r > 0
    )
