"""Which observations take part in the fit.  All usable ones are scaled afterwards.

Observations are in the order of the groups (unique reflections as runs of rows).  A row is a candidate if

    E2lo < E^2 < E2hi        (where E^2 is given and its data set has more than 10,000 usable rows)
    I/sigma > lo  and  I/sigma < hi      (hi = 0: no upper limit)
    partiality > min_partiality
    d_min < d < d_max

An observation gives information on scales only together with another one of the same reflection, so groups with a
single candidate do not take part.  ``intensity_ranges`` uses all other groups.  ``random`` and ``quasi_random`` draw
whole groups from them, the latter so that every data set is connected to others in every resolution shell.
``use_all`` only requires that a group has two rows.

The limits apply to every part of every method.  (In DIALS they are skipped in that part of ``quasi_random`` that
connects data sets, and a cut-off on <I/sigma> that no group passes ends the run; here it is lowered to 0, then
dropped.)
Sources: DIALS behaviour; random numbers from the Mersenne Twister with the seed of DIALS, 43.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int, Int32

SEED = 43

# Data sets with at most this number of usable rows have no limits on E^2, because the mean of a shell would be too
# uncertain (DIALS).
FEW_ROWS = 10_000

N_SHELLS = 20
# Shells are at least this wide in 1/d^2, 1/Angstrom^2 (DIALS).
NARROWEST_SHELL = 0.004


@dataclass(frozen=True, slots=True)
class Limits:
    """Both ends of a range are excluded.

    ``e2_range``: normalised intensity E^2, dimensionless.  ``isigma_range``: I/sigma, upper end
    0 for none.  ``d_range``: smallest and largest d, Angstrom.  ``min_partiality``: rows must lie above.
    """

    e2_range: tuple[float, float] = (0.8, 5.0)
    isigma_range: tuple[float, float] = (-5.0, 0.0)
    d_range: tuple[float, float] | None = None
    min_partiality: float = 0.95


@dataclass(frozen=True, slots=True)
class Draw:
    """How much ``random`` and ``quasi_random`` draw.

    ``min_groups``, ``min_reflections``: as many groups as satisfy both.  ``isigma_cutoff``: least mean
    I/sigma of a group, for runs with several data sets.
    """

    min_groups: int = 2000
    min_reflections: int = 50_000
    isigma_cutoff: float = 1.0


@dataclass(frozen=True, slots=True)
class Pool:
    """The observations from which is chosen; all arrays in the order of ``groups``, (n,).

    ``data_set``: position of the data set.  ``n_data_sets``: in the run.  ``intensity``, ``variance``:
    counts, counts^2.  ``d``: Angstrom.  ``partiality``: recorded fraction.  ``e2``: normalised intensity,
    None for no limits on E^2.  ``allowed``: rows that may take part (no outliers, not in a free set), None for all.
    """

    groups: Groups
    data_set: Int32
    n_data_sets: int
    intensity: Float
    variance: Float
    d: Float
    partiality: Float
    e2: Float | None = None
    allowed: Bool | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """Rows of one data set: those chosen for the fit, and the others by the first reason why they are not.

    The numbers from ``not_allowed`` to ``chosen`` add up to ``usable``.  ``not_allowed``: outliers and free
    set.  ``single``: no other candidate in the group.  ``not_drawn``: left out by the random choice.
    ``e2_applies``: False for 10,000 usable rows or fewer.
    """

    data_set: int
    usable: int
    not_allowed: int
    e2: int
    i_over_sigma: int
    partiality: int
    d: int
    single: int
    not_drawn: int
    chosen: int
    e2_applies: bool


@dataclass(frozen=True, slots=True)
class Shell:
    """Rows chosen to connect data sets in one resolution shell (Angstrom), and the target for each data
    set."""

    d_max: float
    d_min: float
    chosen: int
    smallest: int
    target: int


@dataclass(frozen=True, slots=True)
class Selection:
    """``mask``: the rows that take part, (n,).  ``shares``: by data set.  ``shells``: of ``quasi_random``
    with several data sets.  ``n_groups``: groups that take part.  ``warnings``: for the log.
    """

    mask: Bool
    shares: tuple[Share, ...]
    n_groups: int
    shells: tuple[Shell, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def empty(self) -> tuple[int, ...]:
        """Positions of the data sets without any row in the fit."""
        return tuple(share.data_set for share in self.shares if share.chosen == 0)


def select(method: str, pool: Pool, limits: Limits, draw: Draw | None = None) -> Selection:
    """The rows that take part, by the name of the method.  Raises ValueError for an unknown name."""
    if method == "use_all":
        return use_all(pool)
    if method == "intensity_ranges":
        return intensity_ranges(pool, limits)
    if method == "random":
        return random(pool, limits, draw or Draw())
    if method == "quasi_random":
        return quasi_random(pool, limits, draw or Draw())
    raise ValueError(f"no such selection method: {method}")


def use_all(pool: Pool) -> Selection:
    """All rows that are allowed and not alone in their group."""
    return _finish(_Candidates(pool, None))


def intensity_ranges(pool: Pool, limits: Limits) -> Selection:
    """All rows within the limits that are not alone in their group."""
    return _finish(_Candidates(pool, limits))


def random(pool: Pool, limits: Limits, draw: Draw) -> Selection:
    """Whole groups at random: max(min_groups, ceil(min_reflections / mean group size)), or all if fewer.

    With several data sets only from groups with mean I/sigma above ``isigma_cutoff``.
    """
    candidates = _Candidates(pool, limits)
    warnings: list[str] = []
    qualify = candidates.qualifying(draw.isigma_cutoff if pool.n_data_sets > 1 else None, warnings)
    groups = np.flatnonzero(qualify)
    if len(groups):
        wanted = max(draw.min_groups, math.ceil(draw.min_reflections / candidates.sizes[groups].mean()))
        groups = _drawn(np.random.RandomState(SEED), groups, wanted)
    taken = np.zeros(len(qualify), np.bool_)
    taken[groups] = True
    return _finish(candidates, pool.groups.spread(taken), warnings=warnings)


def quasi_random(pool: Pool, limits: Limits, draw: Draw) -> Selection:
    """Groups that connect the data sets, then some of each data set, then some of all.

    With n data sets and groups of m members on average, T = max(m min_groups, min_reflections) rows are wanted.

    1. Q = m min(1000, min_groups) rows connect data sets. In each of 20 shells of equal width in 1/d^2 groups are
    taken,
       those that many data sets share first, each time for the data set that has the fewest rows so far, until every
       data set has Q/(4n)/20 rows or the shell has 1.2 Q/20. Targets rise while the shell has less than Q/20.
    2. Half of the rest of T are reflections that one data set holds more than once, at random, from each data set.
    3. Whole groups at random make up for what is then missing.

    One data set alone: as :func:`random`.
    """
    if pool.n_data_sets < 2:
        return random(pool, limits, draw)
    candidates = _Candidates(pool, limits)
    warnings: list[str] = []
    qualify = candidates.qualifying(draw.isigma_cutoff, warnings)
    if not qualify.any():
        return _finish(candidates, warnings=warnings)
    parts = _Parts.of(candidates, qualify)
    m = float(candidates.sizes[candidates.sizes > 1].mean())
    wanted = max(m * draw.min_groups, draw.min_reflections)
    taken, shells = _connect_data_sets(parts, pool, m * min(1000, draw.min_groups))
    generator = np.random.RandomState(SEED)
    each = (wanted - parts.size[taken].sum()) / (2 * pool.n_data_sets)
    if each > 0:
        repeated = np.flatnonzero(parts.size > 1)
        repeated = repeated[np.argsort(parts.data_set[repeated], kind="stable")]
        bounds = np.searchsorted(parts.data_set[repeated], np.arange(pool.n_data_sets + 1))
        for a, b in zip(bounds[:-1], bounds[1:], strict=True):
            if b > a:
                own = repeated[a:b]
                taken[_drawn(generator, own, math.ceil(each / parts.size[own].mean()))] = True
    so_far, total = int(parts.size[taken].sum()), int(parts.size.sum())
    if wanted > so_far and total > so_far:
        k = int(1.05 * (wanted - so_far) / (1 - so_far / total) / m)
        more = np.zeros(len(qualify), np.bool_)
        more[_drawn(generator, np.flatnonzero(qualify), k)] = True
        taken |= more[parts.group]
    rows = np.zeros(len(pool.data_set), np.bool_)
    rows[parts.rows] = taken[parts.of_row]
    return _finish(candidates, rows, shells, warnings)


class _Candidates:
    """Rows within the limits, in groups with at least two of them.

    ``reason``: number of the first limit that a row fails, 0 for none, (n,).  ``mask``: candidates, (n,).
    ``sizes``: candidates in each group, 0 or at least 2, (n_groups,).
    """

    REASONS = ("none", "not_allowed", "e2", "i_over_sigma", "partiality", "d", "single")

    def __init__(self, pool: Pool, limits: Limits | None) -> None:
        self.pool = pool
        self.reason = np.zeros(len(pool.data_set), np.uint8)
        self.e2_applies = np.zeros(pool.n_data_sets, np.bool_)
        if pool.allowed is not None:
            self._reject(~pool.allowed, "not_allowed")
        if limits is not None:
            self._apply(limits)
        sizes = pool.groups.sum(self.reason == 0).astype(np.int64)
        self._reject(pool.groups.spread(sizes < 2), "single")
        self.mask: Bool = self.reason == 0
        self.sizes: Int = np.where(sizes < 2, 0, sizes)

    def _reject(self, bad: Bool, reason: str) -> None:
        self.reason[bad & (self.reason == 0)] = self.REASONS.index(reason)

    def _apply(self, limits: Limits) -> None:
        pool = self.pool
        if pool.e2 is not None:
            self.e2_applies = np.bincount(pool.data_set, minlength=pool.n_data_sets) > FEW_ROWS
            inside = (pool.e2 > limits.e2_range[0]) & (pool.e2 < limits.e2_range[1])
            self._reject(~inside & self.e2_applies[pool.data_set], "e2")
        low, high = limits.isigma_range
        ratio = pool.intensity / np.sqrt(pool.variance)
        self._reject(~(ratio > low), "i_over_sigma")
        if high != 0:
            self._reject(~(ratio < high), "i_over_sigma")
        self._reject(~(pool.partiality > limits.min_partiality), "partiality")
        if limits.d_range is not None:
            d_min, d_max = limits.d_range
            self._reject(~((pool.d > d_min) & (pool.d < d_max)), "d")

    def qualifying(self, cutoff: float | None, warnings: list[str]) -> Bool:
        """Groups of candidates with mean I/sigma above the cut-off, lowered while there are none,
        (n_groups,)."""
        several: Bool = self.sizes > 1
        if cutoff is None or not several.any():
            return several
        ratio = np.where(self.mask, self.pool.intensity / np.sqrt(self.pool.variance), 0.0)
        mean = self.pool.groups.sum(ratio) / np.maximum(self.sizes, 1)
        for limit in (cutoff, 0.0):
            qualify: Bool = several & (mean > limit)
            if qualify.any():
                return qualify
            warnings.append(f"No group of equivalent reflections has a mean I/sigma above {limit:g}.")
        return several


@dataclass(frozen=True, slots=True)
class _Parts:
    """The part of a group that comes from one data set, (n_parts,), sorted by group.

    ``group``, ``data_set``: of each part.  ``size``: rows.  ``rows``: candidate rows, (k,).  ``of_row``: the
    part that each of them belongs to, (k,).
    """

    group: Int
    data_set: Int
    size: Int
    rows: Int
    of_row: Int

    @classmethod
    def of(cls, candidates: _Candidates, qualify: Bool) -> _Parts:
        pool = candidates.pool
        rows = np.flatnonzero(candidates.mask & pool.groups.spread(qualify))
        key = pool.groups.index()[rows] * pool.n_data_sets + pool.data_set[rows]
        parts, of_row, size = np.unique(key, return_inverse=True, return_counts=True)
        return cls(parts // pool.n_data_sets, parts % pool.n_data_sets, size, rows, of_row)


def _connect_data_sets(parts: _Parts, pool: Pool, rows_wanted: float) -> tuple[Bool, tuple[Shell, ...]]:
    """First part of :func:`quasi_random`: which parts are taken, (n_parts,), and the shells."""
    n = pool.n_data_sets
    minimum, maximum = int(rows_wanted / N_SHELLS), int(1.2 * rows_wanted / N_SHELLS)
    # If there were more data sets than wanted rows, the share of each would be 0 and could not be increased.
    target = max(1, int(rows_wanted / (4 * n) / N_SHELLS))
    s = pool.d[pool.groups.offsets[parts.group]] ** -2.0
    margin = 1e-6 * (s.max() - s.min())
    lowest = s.min() - margin
    step = max((s.max() + margin - lowest) / N_SHELLS, NARROWEST_SHELL)
    shell = np.minimum(((s - lowest) / step).astype(np.int64), N_SHELLS - 1)
    taken = np.zeros(len(parts.group), np.bool_)
    shells = []
    for k in np.unique(shell):
        inside = np.flatnonzero(shell == k)
        chosen, reached = _connect_shell(
            parts.group[inside], parts.data_set[inside], parts.size[inside], (target, minimum, maximum, n)
        )
        taken[inside] = chosen
        got = np.bincount(parts.data_set[inside[chosen]], parts.size[inside[chosen]], minlength=n)
        edges = lowest + step * np.array([k, k + 1])
        d_max, d_min = np.maximum(edges, 1e-12) ** -0.5
        shells.append(Shell(float(d_max), float(d_min), int(got.sum()), int(got.min()), reached))
    return taken, tuple(shells)


def _connect_shell(group: Int, data_set: Int, size: Int, numbers: tuple[int, int, int, int]) -> tuple[Bool, int]:
    """Parts of the groups taken in one shell, (n_parts,), and the target per data set in the end.

    ``group`` (sorted), ``data_set``, ``size``: of each part.  ``numbers``: target per data set, least and
    greatest number of rows in the shell, number of data sets in the run.
    The loops are over the groups taken and the data sets, not over all groups; neither grows with the data.
    """
    target, minimum, maximum, n = numbers
    offsets = Groups.from_keys(group).offsets
    order = np.argsort(-np.diff(offsets), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    part_rank = np.repeat(rank, np.diff(offsets))
    by_set = np.lexsort((part_rank, data_set))
    names, first = np.unique(data_set[by_set], return_index=True)
    waiting = {
        int(k): iter(part_rank[by_set[a:b]]) for k, a, b in zip(names, first, [*first[1:], len(by_set)], strict=True)
    }
    count = dict.fromkeys(waiting, 0)
    used = np.zeros(len(order), np.bool_)
    total = 0
    heap = [(0, k) for k in waiting]
    exhausted = n - len(waiting)

    def take(r: int) -> None:
        """Take group r of the order, and count its rows for each of its data sets."""
        nonlocal total
        used[r] = True
        g = order[r]
        for k, rows in zip(
            data_set[offsets[g] : offsets[g + 1]].tolist(), size[offsets[g] : offsets[g + 1]].tolist(), strict=True
        ):
            count[k] += rows
            total += rows
            heapq.heappush(heap, (count[k], k))

    take(0)
    while heap and total <= maximum:
        rows, k = heap[0]
        if rows != count[k]:
            heapq.heappop(heap)
        elif rows >= target:
            if total >= minimum:
                break
            target *= int(minimum * (n - exhausted) / (total * n)) + 1 if exhausted < n else 1
            target = max(target, rows + 1)
        elif (r := next((r for r in waiting[k] if not used[r]), None)) is not None:
            take(r)
        else:
            exhausted += 1
            heapq.heappop(heap)
    return used[part_rank], target


def _drawn(generator: np.random.RandomState, items: Int, k: int) -> Int:
    """k of the items at random, without replacement, in their order; all of them if there are no more."""
    return items if k >= len(items) else np.sort(generator.permutation(items)[:k])


def _finish(
    candidates: _Candidates,
    rows: Bool | None = None,
    shells: tuple[Shell, ...] = (),
    warnings: Sequence[str] = (),
) -> Selection:
    """The report.  ``rows``: the rows drawn, None for all candidates, (n,)."""
    pool, said = candidates.pool, list(warnings)
    mask = candidates.mask if rows is None else candidates.mask & rows
    if not candidates.mask.any():
        said.append("No reflection within the selection limits was measured more than once; there is nothing to fit.")
    names = candidates.REASONS
    table = np.bincount(
        pool.data_set.astype(np.int64) * len(names) + candidates.reason, minlength=pool.n_data_sets * len(names)
    ).reshape(pool.n_data_sets, len(names))
    chosen = np.bincount(pool.data_set[mask], minlength=pool.n_data_sets)
    shares = tuple(
        Share(
            data_set=k,
            usable=int(numbers.sum()),
            **{name: int(number) for name, number in zip(names[1:], numbers[1:], strict=True)},
            not_drawn=int(numbers[0] - chosen[k]),
            chosen=int(chosen[k]),
            e2_applies=bool(candidates.e2_applies[k]),
        )
        for k, numbers in enumerate(table)
    )
    n_groups = int(np.count_nonzero(pool.groups.sum(mask)))
    return Selection(mask, shares, n_groups, shells, tuple(said))
