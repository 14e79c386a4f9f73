"""Outliers among rows of which no rank has all of a reflection: the rules of the run that holds all rows, from sums.

Those of weighting/leave_one_out.py: the worst observation of a reflection goes while its z against the others is beyond
zmax, and one that is out comes back below 0.9 zmax. z of a row follows from the sums over the rows that are in and the
row itself. The worst row of a reflection is found by the largest z^2 over all ranks, so a move costs one exchange of 16
bytes for each reflection, and one of its sums. Of a reflection with hundreds of observations several go at once,
because each of them moves the mean by little: of 200 all that deviate at least 0.7 times as far as the worst one, of n
all beyond sqrt(100/n) times that. Verdicts and the variances that follow from them are repeated until they agree, as in
weighting/outlier_test.py; of n observations n/1000 may still differ, because some are always at the limit.

Where errors are calibrated Friedel mates may differ (weighting/friedel_test.py) and one of two observations that
disagree is left out (weighting/pair_test.py): the sums of I+ and of I- are apart anyway, and the two observations are
known by the smallest and the largest I/g. No row weighs more than ten times the median of its reflection
(outlier_weights.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import crystal_outliers as outlier_kernels
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.exact_sums import Sums
from braggscale.ranks.means import RankData, expected, mean_sums, ratio
from braggscale.ranks.outlier_weights import most_weights
from braggscale.ranks.reflections import places
from braggscale.ranks.shells import local_means, row_means
from braggscale.weighting.error_model import ErrorModel
from braggscale.weighting.friedel_test import FEWEST_PAIRS, share_of_pairs
from braggscale.weighting.outlier_test import RETURN_SHARE, OutlierOptions
from braggscale.weighting.pair_test import LEAST_ODDS, log_odds
from braggscale.weighting.rejection import MOST_TURNS

# Passes over the rows in which members move; groups that have not settled by then keep what they have.
MOST_MOVES = 200
# From MANY members on several go at once: those with at least the share TOGETHER MANY/n of the largest z^2.
MANY, TOGETHER = 200, 0.5
# A group has settled if of so many members at most one changes sides. It moves the mean by 0.1 of its error.
PER_CHANGE = 1000
EVEN = 1e-9  # deviations that differ by less are equal
SETTLING = 20  # searches, each with the variances that follow from the one before
# With less than this share of the rows in groups that are still looked at, these rows are copied, and the others rest.
NARROW = 0.25
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Judged:
    """``n_out``: outliers in all ranks.  ``n_changed``: rows that have changed sides.  ``n_impossible``: by emax.

    ``changed``: groups with rows that have changed sides, by place, (2 n_reflections,).
    """

    n_out: int
    n_changed: int
    n_impossible: int
    changed: Bool


@dataclass(frozen=True, slots=True)
class _Test:
    """What a search compares.

    ``mean``: I_h at which variances are taken, ``most``: largest weight of a row, by place.  ``difference``: mean
    square of I+ - I-, (n_reflections,).  ``share``: of the rows of all ranks, that ``data`` has.
    """

    data: RankData
    crystals: CrystalScales
    errors: ErrorModel
    limits: tuple[float, float]
    simple: bool
    mean: Float
    most: Float
    difference: Float
    share: float = 1.0

    def passed(self) -> tuple[object, ...]:
        """The first arguments of the kernels."""
        rows = self.data.rows
        return 0, rows.n_crystals, rows.arrays(), self.crystals.arrays(), self.errors.terms, self.data.apart, self.mean


def judge(
    data: RankData, crystals: CrystalScales, errors: ErrorModel, options: OutlierOptions, fresh: bool, back: bool,
    calibrated: bool,
) -> Judged:  # fmt: skip
    """Find the outliers and mark them in ``data.rows.out``.

    ``fresh``: earlier outliers do not count.  ``back``: an outlier may come back.  ``calibrated``: as in
    ``rejection.verdicts``.
    """
    rows = data.rows
    earlier = np.array(rows.out)
    mean = expected(data, crystals, errors)[0]
    before = np.zeros_like(earlier) if fresh else earlier
    none = np.zeros(len(data.reflections))
    limits = options.zmax, RETURN_SHARE * options.zmax
    test = _Test(data, crystals, errors, limits, options.method == "simple", none, none, none)
    away = _settled(test, before)
    if calibrated and not test.simple:
        by_mate = _mate_sums(data, crystals, errors, mean, away)
        test = replace(test, difference=_differences(data, by_mate, mean))
        if test.difference.any():
            away = _spared(test, away, before)
        away = _disputes_settled(test, away, before, mean)
    rows.out[:] = away
    n_impossible = _impossible(data, crystals, options.emax)
    np.logical_or(away, rows.impossible, out=rows.out)
    if not (fresh or back):
        np.logical_or(rows.out, earlier, out=rows.out)
    found = np.array([np.count_nonzero(rows.out), np.count_nonzero(rows.out != earlier)], np.int64)
    n_out, n_changed = data.ranks.allreduce(found).tolist()
    return Judged(n_out, n_changed, n_impossible, _differ(data, rows.out, earlier))


def mates_apart(data: RankData, crystals: CrystalScales, errors: ErrorModel) -> Bool:
    """Reflections whose Friedel mates are two reflections in the fit, (n_reflections,); see ``friedel_test``."""
    mean = expected(data, crystals, errors)[0]
    by_mate = _mate_sums(data, crystals, errors, mean, data.rows.out)
    s1, s2 = by_mate[0::2, 1], by_mate[1::2, 1]
    return np.asarray(data.apart | (_differences(data, by_mate, mean) * s1 * s2 > s1 + s2))


def _settled(test: _Test, before: Bool) -> Bool:
    """Outliers that agree with the variances that follow from them, (n_rows,).  ``before``: where the search begins."""
    away = before.copy()
    tested = test.data.counts >= 3
    for _ in range(SETTLING):
        near, places_there = _narrowed(test, tested)
        inside = away[places_there]
        last = inside.copy()
        near = _with_variances(near, inside, tested)
        _begin_with_two(near.data, inside, tested)
        _search(near, inside, tested)
        away[places_there] = inside
        moving = _moving(near.data, inside, last) & tested
        if not moving.any():
            break
        tested = moving
    return away


def _narrowed(test: _Test, tested: Bool) -> tuple[_Test, slice | Int]:
    """The test of the rows in groups that are ``tested``, by place, and which rows of ``test`` these are.

    All of them as long as most are tested: copying costs as much as some passes.
    """
    data = test.data
    share = float(data.counts[tested].sum()) / max(float(data.counts.sum()), 1.0)
    if share > NARROW * test.share:
        return test, slice(None)
    chosen = np.flatnonzero(_rows_of(data, tested))
    return replace(test, data=replace(data, rows=data.rows.some(chosen)), share=share), chosen


def _with_variances(test: _Test, away: Bool, tested: Bool) -> _Test:
    """The test with means and largest weights that follow from the rows that are not ``away``, (n_rows,)."""
    data, mean = test.data, np.zeros(2 * len(test.data.reflections))
    out = data.rows.out.copy()
    data.rows.out[:] = away
    _begin_with_two(data, data.rows.out, tested)
    for mode in (kernels.EQUAL, *3 * (kernels.EXPECTED,)):
        kind = "equal" if mode == kernels.EQUAL else "expected"
        mean = ratio(mean_sums(data, test.crystals, test.errors, mode, mean, data.apart, kind, tested))
    data.rows.out[:] = out
    test = replace(test, mean=mean)
    return replace(test, most=most_weights(data, test.crystals, test.errors, mean, tested))


def _begin_with_two(data: RankData, away: Bool, tested: Bool) -> None:
    """Take back all rows of groups, by place, of which fewer than two are in; changes ``away``, (n_rows,)."""
    few = tested & (_inside(data, away) < 2)
    if few.any():
        away &= ~_rows_of(data, few)


def _differ(data: RankData, one: Bool, other: Bool) -> Bool:
    """Groups, by place, in which two sets of outliers, (n_rows,), differ in any rank."""
    return _rows_in(data, one != other) > 0


def _moving(data: RankData, one: Bool, other: Bool) -> Bool:
    """Groups, by place, in which two sets of outliers, (n_rows,), differ by more than the result shows."""
    return _rows_in(data, one != other) > data.counts // PER_CHANGE


def _rows_in(data: RankData, marked: Bool) -> Int:
    """Rows of each group in all ranks that are ``marked``, (n_rows,); by place, (2 n_reflections,)."""
    mine = np.bincount(places(data.rows.number[marked], data.apart), minlength=2 * len(data.reflections))
    return np.asarray(data.ranks.allreduce(mine))


def _inside(data: RankData, away: Bool) -> Int:
    """Rows of each group in all ranks that are not ``away``, by place, (2 n_reflections,)."""
    return np.asarray(data.counts - _rows_in(data, away))


def _search(test: _Test, away: Bool, tested: Bool, moves: int = MOST_MOVES) -> None:
    """Move rows out and back in until nothing moves; changes ``away``, (n_rows,).

    ``tested``: groups, by place.  ``moves``: most passes.
    """
    data, inside = test.data, _inside(test.data, away)
    tested = tested & (data.counts > 0)
    for left in range(moves - 1, -1, -1):
        sums = _sums(test, away, tested)
        worst, best = _extremes(test, away, tested, sums)
        limits = _limits(test, worst, best, inside)
        limits[~tested] = np.inf, -1.0
        moved = np.zeros(len(inside), np.int64)
        outlier_kernels.move(*test.passed(), test.most, test.difference, away, sums, limits, moved)
        moved = data.ranks.allreduce(moved)
        inside = inside - moved
        # groups in which nothing goes or comes have settled, and large ones in which all that could go or come were few
        tested = (limits[:, 0] < np.inf) | (limits[:, 1] >= 0)
        last = (limits[:, 0] <= test.limits[0] ** 2) | (limits[:, 1] >= test.limits[1] ** 2)
        tested &= ~last | (np.abs(moved) > inside // PER_CHANGE)
        if test.simple or not tested.any():
            break
        near, places_there = _narrowed(test, tested)
        if near is not test:
            mine = away[places_there]
            _search(near, mine, tested, left)
            away[places_there] = mine
            break


def _sums(test: _Test, away: Bool, tested: Bool) -> Float:
    def add(sums: Sums) -> None:
        """Add the sums of the rows of this rank."""
        outlier_kernels.capped_sums(*test.passed(), test.most, away, tested, sums)

    return test.data.sums.collect("capped", test.data.reflections.counts, 2, add)


def _extremes(test: _Test, away: Bool, tested: Bool, sums: Float) -> tuple[Float, Float]:
    """Largest z^2 of the rows in use and smallest of those left out, by place, (2 n_reflections,) each."""
    found = np.zeros((len(sums), 2))
    found[:, 1] = -np.inf
    outlier_kernels.extremes(*test.passed(), test.most, test.difference, away, tested, sums, found)
    where = np.flatnonzero(tested)
    found[where] = test.data.ranks.allreduce(found[where], "max")
    return found[:, 0], -found[:, 1]


def _limits(test: _Test, worst: Float, best: Float, inside: Int) -> Float:
    """From which z^2 on rows go, and up to which they come back, by place, (2 n_reflections, 2)."""
    leave, join = test.limits[0] ** 2, test.limits[1] ** 2
    goes = (worst > leave) & (inside >= 3)
    many = inside >= MANY
    least = np.where(many, np.maximum(TOGETHER * MANY / np.maximum(inside, MANY) * worst, leave), worst)
    if test.simple:
        least = np.full(len(worst), leave)
    limits = np.empty((len(worst), 2))
    limits[:, 0] = np.where(goes, least * (1.0 - EVEN), np.inf)
    limits[:, 1] = np.where(~goes & (best < join), np.where(many, join, best) * (1.0 + EVEN), -1.0)
    return limits


def _mate_sums(data: RankData, crystals: CrystalScales, errors: ErrorModel, mean: Float, out: Bool) -> Float:
    """sum g I/V' and sum g^2/V' of the rows that are not ``out``, (n_rows,), by number, I+ and I- apart.

    ``mean``: I_h, by place.
    """
    kept = data.rows.out.copy()
    data.rows.out[:] = out
    split = np.ones(len(data.apart), np.bool_)
    of_each = np.where(np.repeat(data.apart, 2), mean, np.repeat(mean[0::2], 2))
    found = mean_sums(data, crystals, errors, kernels.EXPECTED, of_each, split, "of mates")
    data.rows.out[:] = kept
    return found


def _differences(data: RankData, by_mate: Float, mean: Float) -> Float:
    """Expected square of I+ - I-, q <I> I_h, (n_reflections,); ``rejection.OutlierInputs.mates``.

    ``by_mate``: of ``_mate_sums``.  ``mean``: I_h, by place.
    """
    (y1, s1), (y2, s2) = by_mate[0::2].T, by_mate[1::2].T
    pair = (s1 > 0) & (s2 > 0) & ~data.apart
    if np.count_nonzero(pair) < FEWEST_PAIRS:
        return np.zeros(len(pair))
    level, positive = local_means(data, np.maximum(mean[0::2], 0.0)), np.maximum(mean[0::2], 0.0)
    size = np.maximum((y1 + y2)[pair] / (s1 + s2)[pair], 0.0) * level[pair]
    q = share_of_pairs(y1[pair] / s1[pair] - y2[pair] / s2[pair], 1.0 / s1[pair] + 1.0 / s2[pair], size)
    return np.where(data.apart, 0.0, q * level * positive)


def _spared(test: _Test, away: Bool, before: Bool) -> Bool:
    """Outliers, (n_rows,): groups with outliers are tested once more, with Friedel mates that may differ."""
    data, nothing = test.data, np.zeros(len(away), np.bool_)
    tested = _differ(data, away | before, nothing)
    found, now = away.copy(), away
    for _ in range(MOST_TURNS):
        test = replace(test, mean=_mean_without(test, now, tested), most=np.full(2 * len(data.reflections), np.inf))
        new = np.where(_rows_of(data, tested), before, now)
        _begin_with_two(data, new, tested)
        _search(test, new, tested)
        moving = _moving(data, new, now)
        found, now = now, new
        if not moving.any():
            return new
        tested = moving
    # where two sets alternate the observations of both are outliers
    ever = now | found
    few = tested & (_inside(data, ever) < 2)
    return np.where(_rows_of(data, few), now, ever)


def _mean_without(test: _Test, away: Bool, tested: Bool) -> Float:
    """I_h of the rows that are not ``away``, (n_rows,), of the groups that are ``tested``, by place."""
    rows = test.data.rows
    kept = rows.out.copy()
    rows.out[:] = away
    mean = expected(test.data, test.crystals, test.errors, None, tested)[0]
    rows.out[:] = kept
    return mean


def _disputes_settled(test: _Test, away: Bool, before: Bool, mean: Float) -> Bool:
    """Outliers, (n_rows,): ``away``, and one of two that are left in a group and disagree; weighting/pair_test.py.

    ``before``: outliers with which the search began, (n_rows,).  ``mean``: I_h, by place.
    """
    data, rows = test.data, test.data.rows
    two = _inside(data, away) == 2
    if not two.any():
        return away
    test = replace(test, mean=_mean_without(test, away, two), most=np.full(len(two), np.inf))
    worst = _extremes(test, away, two, _sums(test, away, two))[0]
    back = np.bincount(places(rows.number[before & ~away], data.apart), minlength=len(two))
    known = two & (data.ranks.allreduce(back) == 1)
    judged = two & (worst > np.where(known, test.limits[1], test.limits[0]) ** 2)
    arrays = 0, rows.n_crystals, rows.arrays(), test.crystals.arrays(), data.apart
    ends = np.full((len(two), 2), -np.inf)
    outlier_kernels.pair_ends(*arrays, away, judged, ends)
    ends = data.ranks.allreduce(ends, "max")
    above = outlier_kernels.count_above(*arrays, np.maximum(mean, 0.0), away)
    n_above, n_out = data.ranks.allreduce(np.array([above, np.count_nonzero(away)])).tolist()
    high, low = np.where(judged, ends[:, 0], 0.0), np.where(judged, -ends[:, 1], 0.0)
    level = np.repeat(local_means(data, np.maximum(mean[0::2], 0.0)), 2)
    odds = log_odds(low, high, level, n_above, n_out - n_above)
    sure = judged & (np.abs(odds) >= np.log(LEAST_ODDS)) & (low < high)
    away = away.copy()
    outlier_kernels.leave_pairs(*arrays, away, sure, np.where(odds > 0, high, low))
    return away


def _impossible(data: RankData, crystals: CrystalScales, emax: float | None) -> int:
    """Mark intensities that no structure gives (weighting/wilson_test.py), but not those of crystals left out."""
    rows = data.rows
    if not emax:
        return 0
    marks = np.empty(len(rows), np.bool_)
    most = emax**2 * row_means(data, crystals)
    n = outlier_kernels.impossible(0, rows.n_crystals, rows.arrays(), crystals.arrays(), most, marks)
    rows.impossible[:] = marks
    rows.leave_out_lost()
    return int(data.ranks.allreduce(np.array([n], np.int64))[0])


def _rows_of(data: RankData, marked: Bool) -> Bool:
    """Whether the group of each row is ``marked``, (n_rows,).  ``marked``: by place."""
    number = data.rows.number
    found = np.empty(len(number), np.bool_)
    for first in range(0, len(number), _CHUNK):
        part = slice(first, first + _CHUNK)
        found[part] = marked[places(number[part], data.apart)]
    return found
