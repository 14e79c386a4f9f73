"""Outliers among rows of which no rank has all of a reflection: leave-one-out deviations from sums.

The rules are those of weighting/leave_one_out.py: the worst observation of a reflection goes while its z against the
others is beyond zmax, and one that is out comes back below 0.9 zmax. z of a row follows from the sums over the rows
that are in and the row itself. The worst row of a reflection is found by the largest z^2 over all ranks, so one move
costs one exchange of 16 bytes for each reflection, and one of its sums. Of a reflection with many observations all that
deviate at least 0.7 times as far as the worst one go together.

A row weighs at most ten times as much as is usual for its reflection; here that is the geometric mean of the weights,
each held within a factor of ten of it, in the place of their median, for which all rows would have to meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.compiled import crystal_passes as kernels
from braggscale.numerics.compiled.outliers import CAP
from braggscale.ranks.crystal_rows import CrystalScales
from braggscale.ranks.exact_sums import Sums
from braggscale.ranks.means import RankData, mean_sums, ratio
from braggscale.weighting.error_model import ErrorModel
from braggscale.weighting.outlier_test import RETURN_SHARE, OutlierOptions

# Passes over the rows in which members move; groups that have not settled by then keep what they have.
MOST_MOVES = 25
# From so many members on several go at once: those with at least this share of the largest z^2.
MANY, TOGETHER = 20, 0.5
EVEN = 1e-9  # deviations that differ by less are equal
SHELLS = 20  # of resolution, for the mean intensity that emax is measured by
SETTLING = 2  # searches, each with the variances that follow from the one before


@dataclass(frozen=True, slots=True)
class Judged:
    """``n_out``: outliers in all ranks.  ``n_changed``: rows that have changed sides.  ``n_impossible``: by emax."""

    n_out: int
    n_changed: int
    n_impossible: int


def judge(
    data: RankData, crystals: CrystalScales, errors: ErrorModel, options: OutlierOptions, fresh: bool, back: bool
) -> Judged:
    """Find the outliers and mark them in ``data.rows.out``.

    ``fresh``: earlier outliers do not count.  ``back``: an outlier may come back.
    """
    rows = data.rows
    before = np.array(rows.out)
    n_impossible = _impossible(data, crystals, options.emax)
    if fresh:
        rows.out[:] = False
    away = np.array(rows.out)
    for _ in range(SETTLING):
        changed = _search(data, crystals, errors, options, away, back or fresh)
        rows.out[:] = away
        if not changed:
            break
    np.logical_or(away, rows.impossible, out=rows.out)
    found = np.array([np.count_nonzero(rows.out), np.count_nonzero(rows.out != before)], np.int64)
    n_out, n_changed = data.ranks.allreduce(found).tolist()
    return Judged(n_out, n_changed, n_impossible)


def _search(
    data: RankData, crystals: CrystalScales, errors: ErrorModel, options: OutlierOptions, away: Bool, back: bool
) -> bool:
    """Move rows out and back in until nothing moves; changes ``away``, (n_rows,).  Returns whether any has moved."""
    counts, zmax = data.counts, options.zmax
    mean = np.zeros(len(counts))
    for mode in (kernels.EQUAL, *3 * (kernels.EXPECTED,)):
        kind = "equal" if mode == kernels.EQUAL else "expected"
        mean = ratio(mean_sums(data, crystals, errors, mode, mean, data.shift, kind))
    most = _caps(data, crystals, errors, mean)
    inside = counts - data.ranks.allreduce(_count(data, away))
    simple, any_moved = options.method == "simple", False
    for _ in range(MOST_MOVES):
        sums = _capped_sums(data, crystals, errors, mean, most, away)
        worst, best = _extremes(data, crystals, errors, mean, most, away, sums)
        limits = _limits(worst, best, inside, zmax, back, simple)
        moved = np.zeros(len(counts), np.int64)
        n = kernels.move(
            0, data.rows.n_crystals, data.rows.arrays(), crystals.arrays(), errors.terms, data.shift, mean, most, away,
            sums, limits, moved,
        )  # fmt: skip
        inside = inside - data.ranks.allreduce(moved)
        if not data.ranks.allreduce(np.array([n], np.int64), "max")[0]:
            break
        any_moved = True
        if simple:
            break
    return any_moved


def _count(data: RankData, away: Bool) -> Int:
    """Rows of each reflection on this rank that are away."""
    found: Int = np.bincount(data.rows.number[away] >> data.shift, minlength=len(data.counts))
    return found


def _caps(data: RankData, crystals: CrystalScales, errors: ErrorModel, mean: Float) -> Float:
    """The most that a row of each reflection may weigh, (n_reflections,)."""
    around = np.empty((len(data.counts), 2))
    around[:, 0], around[:, 1] = -np.inf, np.inf
    usual = np.zeros(len(data.counts))
    for kind in ("weights", "held weights"):

        def add(sums: Sums) -> None:
            kernels.weight_sums(
                0, data.rows.n_crystals, data.rows.arrays(), crystals.arrays(), errors.terms, data.shift, mean, around,
                sums,
            )  # fmt: skip

        usual = ratio(data.sums.collect(kind, data.counts, 2, add))
        around[:, 0], around[:, 1] = usual - np.log(CAP), usual + np.log(CAP)
    return np.asarray(CAP * np.exp(usual))


def _capped_sums(
    data: RankData, crystals: CrystalScales, errors: ErrorModel, mean: Float, most: Float, away: Bool
) -> Float:
    def add(sums: Sums) -> None:
        kernels.capped_sums(
            0, data.rows.n_crystals, data.rows.arrays(), crystals.arrays(), errors.terms, data.shift, mean, most, away,
            sums,
        )  # fmt: skip

    return data.sums.collect("capped", data.counts, 2, add)


def _extremes(
    data: RankData, crystals: CrystalScales, errors: ErrorModel, mean: Float, most: Float, away: Bool, sums: Float
) -> tuple[Float, Float]:
    """Largest z^2 of the rows in use and smallest of those left out, of each reflection, (n_reflections,) each."""
    found = np.zeros((len(sums), 2))
    found[:, 1] = -np.inf
    kernels.extremes(
        0, data.rows.n_crystals, data.rows.arrays(), crystals.arrays(), errors.terms, data.shift, mean, most, away,
        sums, found,
    )  # fmt: skip
    found = data.ranks.allreduce(found, "max")
    return found[:, 0], -found[:, 1]


def _limits(worst: Float, best: Float, inside: Int, zmax: float, back: bool, simple: bool) -> Float:
    """From which z^2 on rows go, and up to which they come back, of each reflection, (n_reflections, 2)."""
    goes = (worst > zmax * zmax) & (inside >= 3)
    least = np.where(inside >= MANY, np.maximum(TOGETHER * worst, zmax * zmax), worst)
    if simple:
        least = np.full(len(worst), zmax * zmax)
    limits = np.empty((len(worst), 2))
    limits[:, 0] = np.where(goes, least * (1.0 - EVEN), np.inf)
    comes = ~goes & (best < (RETURN_SHARE * zmax) ** 2) & back
    limits[:, 1] = np.where(comes, best * (1.0 + EVEN), -1.0)
    return limits


def _impossible(data: RankData, crystals: CrystalScales, emax: float | None) -> int:
    """Mark intensities that no structure gives (weighting/wilson_test.py), but not those of crystals left out."""
    rows = data.rows
    if not emax:
        return 0
    ends = np.array([rows.s.min(initial=np.inf), -rows.s.max(initial=-np.inf)])
    low, minus_high = data.ranks.allreduce(ends, "min").tolist()
    per_shell = SHELLS / max((-minus_high - low) * (1 + 1e-6), 1e-12)
    epsilon = data.reflections.epsilon if data.shift else np.repeat(data.reflections.epsilon, 2)
    everything = np.full(SHELLS, int(data.counts.sum()), np.int64)

    def add(sums: Sums) -> None:
        kernels.shell_sums(
            0, rows.n_crystals, rows.arrays(), crystals.arrays(), data.shift, epsilon, low, per_shell, sums
        )

    mean = ratio(data.sums.collect("shells", everything, 2, add))
    near = np.maximum(np.maximum(mean, np.append(mean[1:], 0.0)), np.append(0.0, mean[:-1]))
    marks = np.empty(len(rows), np.bool_)
    n = kernels.impossible(
        0, rows.n_crystals, rows.arrays(), crystals.arrays(), data.shift, epsilon, near, low, per_shell, emax**2, marks
    )
    rows.impossible[:] = marks
    rows.leave_out_lost()
    return int(data.ranks.allreduce(np.array([n], np.int64))[0])
