"""Profile-fitted intensities put on the scale of the sums.

A profile fit loses the intensity that its reference profile does not cover: tails that become wider with resolution,
the part of a reflection beyond the end of a scan, spots near the edge of a detector if the reference profile was made
elsewhere. Equivalents have the same resolution, so most of this error is common to them and cannot be found by
comparing equivalents; a mixture of profiles for weak and sums for strong reflections would distort the intensities.

A sum involves no model of the shape that could be wrong, so the sums are the reference. The ratio R (``profile_ratio``)
follows from P and S of the same observation. With T the expected intensity from its equivalents without the observation
itself,

    sum_i w_i (P_i/R_i - S_i - o_i)/T_i d ln R_i/d theta = gradient of the penalty,    w = T^2/D times a robust factor,

which is unbiased for any noise of P and S and for arbitrarily weak reflections, because no row is selected or weighted
by its own intensity and thus by its noise. D is the variance of P/R - S. o is an offset, a smooth function of
resolution in counts: an error of the background in one of the two must not be mistaken for a factor. It is not known
which of the two has this error, so it is not corrected.

The data determine the smoothness of the functions: lambda <- (rank - lambda tr(C S))/(theta'S theta) (Fellner-Schall;
Wood & Fasiolo, Biometrics 73 (2017) 1071), with one strength for each kind of function in all data sets. The levels of
small data sets, which share their functions, are random effects about a common level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggscale.data.observations import rows_by_data_set
from braggscale.numerics.array_types import Bool, Float, Int, Int32
from braggscale.numerics.partitions import run_in_threads
from braggscale.weighting.profile_fit import MOST_PARTS, FamilyFits, Pairs, stepped_strength
from braggscale.weighting.profile_ratio import Ratio, Sites

FEWEST = 50  # rows with both intensities that are needed to determine their ratio
OWN_ROWS = 500  # data sets with fewer rows share their functions
# If there are more rows, every k-th is used; the error of R is then 0.1 %. With many data sets, the number for each.
MOST_ROWS, ENOUGH_ROWS = 40_000, 1_000
STEPS, MORE_STEPS = 5, 2  # most steps of a first fit, and of one that starts from an earlier round
STILL = 1e-4  # rms change of ln R in a step that is negligible
# Strengths stay when a step asks for less than this many effective parameters.
SAME_STRENGTH = 0.02
PART = 16_384  # rows whose ratio is calculated at once
START = 100.0  # first strength: second differences of 10 %, or for an offset of a tenth of the noise


@dataclass(frozen=True, slots=True)
class ProfileScale:
    """R of every data set with enough rows that have both intensities.  ``strengths``: of the penalties, by kind."""

    ratios: tuple[Ratio, ...]
    strengths: dict[str, float]

    def family(self, n_sets: int) -> Int:
        """Number in ``ratios`` of each data set, -1 for none, (n_sets,)."""
        numbers = np.full(n_sets, -1)
        for k, ratio in enumerate(self.ratios):
            numbers[ratio.data_sets] = k
        return numbers

    def log_ratio(self, rows: Sites) -> Float:
        """ln R of each row, (n,); 0 where it is not known or profiles are used alone."""
        values = np.zeros(len(rows))
        if not len(rows):
            return values
        last = max([int(rows.data_set.max()), *(int(ratio.data_sets.max()) for ratio in self.ratios)])
        family = self.family(last + 1)[rows.data_set]
        order = np.argsort(family, kind="stable")
        ends = np.searchsorted(family[order], np.arange(len(self.ratios) + 1)).tolist()
        parts = [
            (ratio, order[begin : min(begin + PART, last)])
            for ratio, first, last in zip(self.ratios, ends[:-1], ends[1:], strict=True)
            if ratio.alone != "profiles"
            for begin in range(first, last, PART)
        ]
        n_tasks = min(len(parts), MOST_PARTS)

        def task(k: int) -> None:
            """ln R of every ``n_tasks``-th part from the k-th on."""
            for ratio, part in parts[k::n_tasks]:
                values[part] = ratio.log(rows.take(part))

        run_in_threads(task, n_tasks)
        return values


@dataclass(frozen=True, slots=True)
class Sample:
    """Observations from which ratios are found.

    ``rows``: their numbers, (n,), those of family k from ``offsets[k]`` to ``offsets[k + 1]``, (n_families + 1,).
    ``families``: data sets of each, in rising order, (n_sets,).
    """

    rows: Int
    offsets: Int
    families: tuple[Int, ...]

    @classmethod
    def of(cls, data_set: Int | Int32, usable: Bool, n_sets: int) -> Sample:
        """Of many rows every k-th.  ``data_set``: position of the data set, ``usable``: has both intensities, (n,)."""
        usable_rows = np.flatnonzero(usable)
        mine = data_set[usable_rows]
        families = _families(np.bincount(mine, minlength=n_sets))
        enough = max(MOST_ROWS // max(len(families), 1), ENOUGH_ROWS)
        family = np.full(n_sets, -1, np.int32)
        for k, data_sets in enumerate(families):
            family[data_sets] = k
        # data sets without a family come first
        parts = rows_by_data_set(family[mine] + 1, len(families) + 1)[1:]
        chosen = [usable_rows[part[:: max(1, -(-len(part) // enough))]] for part in parts]
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum([len(part) for part in chosen], dtype=np.int64)))
        return cls(np.concatenate(chosen) if chosen else np.zeros(0, np.int64), offsets, tuple(families))


def fit(pairs: Pairs, sample: Sample, before: ProfileScale | None = None) -> ProfileScale:
    """Ratio of profile to sum of every data set; empty where fewer than 50 observations have both.

    ``pairs``: the rows of ``sample``, in its order.  ``before``: result of an earlier round, to start from.
    """
    if not sample.families:
        return ProfileScale((), {} if before is None else dict(before.strengths))
    known = {} if before is None else {tuple(r.data_sets.tolist()): r for r in before.ratios}
    ratios = [known.get(tuple(data_sets.tolist())) for data_sets in sample.families]
    fits = FamilyFits(pairs, sample.offsets, sample.families, ratios)
    strengths = {} if before is None else dict(before.strengths)
    for kind in sorted(fits.kinds()):
        strengths.setdefault(kind, START)
    for _ in range(STEPS if before is None else MORE_STEPS):
        size, free = dict.fromkeys(strengths, 0.0), dict.fromkeys(strengths, 0.0)
        change = fits.step(strengths, size, free)
        moved = 0.0
        for kind, old in strengths.items():
            strengths[kind] = stepped_strength(old, free[kind], size[kind])
            moved = max(moved, abs(np.log(strengths[kind] / old)) * free[kind])
        if moved < SAME_STRENGTH or change < STILL:
            break
    return ProfileScale(fits.judged(), strengths)


def _families(counts: Int) -> list[Int]:
    """Data sets that share a ratio: large ones have their own.  ``counts``: rows of each data set, (n_sets,)."""
    small = counts < OWN_ROWS
    families = [np.array([s]) for s in np.flatnonzero(~small)]
    if counts[small].sum() >= FEWEST:
        families.append(np.flatnonzero(small & (counts > 0)))
    return families
