"""Leaves out parts of the data that make the result worse: whole data sets, or groups of images.

The influence of every part on CC1/2 comes from sums over the scaled observations (statistics/influence.py), without
scaling again. The worst parts are left out, and the remaining ones are tested again with the same scales, until none
stands out. Then the remaining parts are scaled once and tested again with their new scales.

delta CC1/2 is that of transformed intensities (statistics/influence.py). Outliers are included, because bad parts
have most of them. A part is left out if CC1/2 is better without it, delta < 0, and if delta is far below that of
the others. For a part of n observations,

    z = (delta/n - median(delta/n)) sqrt(n) / s

must be below -stdcutoff, where s is 1.4826 times the median deviation of the parts above the median. A part of twice
the size has twice the influence, with an error that is larger by sqrt(2). dials.scale uses mean and standard deviation
instead. But if ten of a hundred parts are bad, no part differs from the mean by four standard deviations.

The method ``deviations`` judges the mean z^2 of a part in the same way. Outliers are included, but none counts for
more than 25. With both methods a part is left out only if its mean z^2 is at least SUBSTANTIAL times that of the
usual part, because a part whose observations agree with their equivalents is not bad. If the true variance of an
observation is r times the one in its weight, its mean with m others is less precise than the mean of the others
only if r > 2 + 1/m.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.experiment import Still
from braggscale.data.geometry import inverse_d_squared
from braggscale.data.sorting import UsedDataSet
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.normal import SD_FROM_MAD
from braggscale.scaling.conclusion import statistics_of, usable
from braggscale.scaling.filter_cycles import (
    COMPLETENESS,
    CYCLES,
    NO_MORE,
    PERCENT,
    STOP_TEXT,
    Cycle,
    Filtering,
    Part,
)
from braggscale.scaling.outlying import deviations_of
from braggscale.scaling.plan import FilterSettings, Plan
from braggscale.scaling.result import Result
from braggscale.statistics.half_sets import ratio
from braggscale.statistics.influence import Segments, influence
from braggscale.wording import some_of

log = logging.getLogger(__name__)

# With fewer parts one cannot say how much parts usually differ.
FEWEST_PARTS = 4
MOST_NAMED = 10
DELTA_CC = "deltacchalf"
# Largest z^2 that one observation counts for, because the share of gross outliers differs from part to part by chance.
LARGEST = 25.0
# Smallest ratio of the mean z^2 of a part to that of the usual part; below it a difference is too small to matter.
SUBSTANTIAL = 2.5


def stands_out(delta: Float, n: Float, stdcutoff: float) -> tuple[Bool, Float, float]:
    """Which parts make CC1/2 far worse than the others do, z, both (n_parts,), and the limit of delta.

    ``delta``: influence of each part, NaN where it is not known; ``n``: its observations, both (n_parts,).
    """
    known = np.isfinite(delta) & (n > 0)
    nothing = np.zeros(len(delta), bool)
    if np.count_nonzero(known) < FEWEST_PARTS:
        return nothing, np.full(len(delta), np.nan), float("nan")
    each = np.where(known, delta / np.maximum(n, 1.0), 0.0)
    usual = float(np.median(each[known]))
    off = (each - usual) * np.sqrt(n)
    # only values above the median, so that bad parts do not make s larger
    above = np.abs(off[known & (off >= 0)])
    width = SD_FROM_MAD * float(np.median(above)) if len(above) else 0.0
    if width <= 0:
        return nothing, np.full(len(delta), np.nan), float("nan")
    z = np.where(known, off / width, np.nan)
    typical = float(np.median(n[known]))
    limit = usual * typical - stdcutoff * width * np.sqrt(typical)
    return known & (z < -stdcutoff) & (delta < 0), z, limit


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Scaled observations that are tested.

    ``part``: number of the part, ``x``: I/g, ``variance``: of x, ``place``: position among all rows, (n,) each.
    ``s``: 1/d^2 of each group, (n_groups,).
    """

    x: Float
    variance: Float
    groups: Groups
    s: Float
    part: Int
    place: Int

    @classmethod
    def of(cls, result: Result, chosen: Bool, part: Int) -> _Scaled:
        """The ``chosen`` rows of a result.  ``chosen``, ``part``: of every row, (n,)."""
        rows = np.flatnonzero(chosen)
        groups = result.data.friedel_merged.subset(chosen)
        scale = result.scaled.state.scale[rows]
        x = result.scaled.state.values.intensity[rows] / scale
        s = inverse_d_squared(result.data.asu[rows][groups.offsets[:-1]], result.cell)
        return cls(x, result.scaled.variance[rows] / scale**2, groups, s, part[rows], rows)

    def without(self, out: Bool) -> _Scaled:
        """The observations of the parts that are kept.  ``out``: (n_parts,)."""
        keep = ~out[self.part]
        stay = self.groups.sum(keep) > 0
        groups = self.groups.subset(keep)
        return _Scaled(self.x[keep], self.variance[keep], groups, self.s[stay], self.part[keep], self.place[keep])


def first_filtering(result: Result, settings: FilterSettings) -> Filtering:
    """Before the first cycle."""
    n = int(usable(result.data.rows.data_set, result.scaled, 0.0).sum())
    return Filtering(settings, n, tuple((one.identifier, _images(one)) for one in result.used))


def _images(data_set: UsedDataSet) -> tuple[int, int] | None:
    kind = data_set.experiment.kind
    if isinstance(kind, Still):
        return None
    runs = kind.scan.valid_image_ranges or (kind.scan.image_range,)
    return runs[0][0], runs[-1][1]


def judge(result: Result, plan: Plan, so_far: Filtering) -> Filtering:
    """The filtering so far and the cycles on the scales of one result; the last leaves nothing out or meets a limit."""
    settings = so_far.settings
    parts, part = _parts(result, settings)
    good = usable(result.data.rows.data_set, result.scaled, plan.small_scale_cutoff)
    scaled = _Scaled.of(result, good, part)
    state = result.scaled.state
    judged = _Scaled.of(result, good | (state.rejected & ~state.impossible & (state.scale > 0)), part)
    complete = result.statistics.overall.completeness if result.statistics else float("nan")
    possible = len(scaled.groups) / complete if complete > 0 else float("nan")
    cycles, lost = list(so_far.cycles), sum(cycle.n_removed for cycle in so_far.cycles)
    gone = np.zeros(len(parts), bool)
    while True:
        segments = Segments.of(judged.groups, judged.part, len(parts))
        influences = influence(judged.x, judged.groups, segments, len(parts), judged.s, judged.variance)
        n = np.bincount(scaled.part, minlength=len(parts)).astype(np.float64)
        z2 = mean_deviations(result, good, part, gone)
        value = influences.delta if settings.method == DELTA_CC else deviation_as_influence(z2, n)
        out, z, limit = stands_out(np.where(n >= settings.min_reflections, value, np.nan), n, settings.stdcutoff)
        out &= substantially(z2)
        worst = np.flatnonzero(out)[np.argsort(z[out], kind="stable")]
        within, reason = _within_limits(worst, n, lost, len(cycles), so_far)
        if len(within) and settings.min_completeness is not None:
            left = len(scaled.without(_marked(within, len(parts))).groups)
            if 100.0 * left / possible < settings.min_completeness:
                within, reason = within[:0], COMPLETENESS
        seen = [
            replace(parts[k], n=int(n[k]), delta=float(influences.delta[k]), z2=float(z2[k])) for k in range(len(parts))
        ]
        removed = tuple(seen[k] for k in within.tolist())
        lost += sum(one.n for one in removed)
        at_all = _marked(scaled.place, len(good))
        merged = statistics_of(result.data, result.scaled, at_all, result.cell, result.symmetry, plan.statistics)
        listed = sorted((one for one in seen if one.n), key=lambda one: one.delta if np.isfinite(one.delta) else np.inf)
        percent = 100.0 * lost / max(so_far.n_initial, 1)
        cycles.append(Cycle(tuple(listed), removed, limit, percent, influences.cc, merged))
        if reason or not removed:
            return replace(so_far, cycles=tuple(cycles), reason=reason or NO_MORE)
        gone = gone | _marked(within, len(parts))
        scaled, judged = (rows.without(_marked(within, len(parts))) for rows in (scaled, judged))


def _within_limits(worst: Int, n: Float, lost: int, n_cycles: int, so_far: Filtering) -> tuple[Int, str]:
    """Those of the worst parts that may be left out, and the reason to stop; no reason if another cycle may follow."""
    settings = so_far.settings
    if len(worst) and n_cycles >= settings.max_cycles:
        return worst[:0], CYCLES
    room = 0.01 * settings.max_percent_removed * so_far.n_initial - lost
    within = worst[np.cumsum(n[worst]) <= room]
    return within, NO_MORE if len(worst) == 0 else PERCENT if len(within) < len(worst) else ""


def mean_deviations(result: Result, good: Bool, part: Int, gone: Bool) -> Float:
    """Mean z^2 of each part, (n_parts,); NaN if no equivalents are left, and for parts that are ``gone``, (n_parts,).

    z is the deviation from the mean of the other observations, over the standard deviation of the difference. The
    means are those of the observations that are ``good``, (n,). Outliers are judged, too, but none counts for more
    than LARGEST.
    ``part``: of each row, (n,).
    """
    every = deviations_of(result.scaled, good & ~gone[part])
    seen = np.isfinite(every) & ~gone[part]
    z2 = np.minimum(every[seen], LARGEST)
    n = np.bincount(part[seen], minlength=len(gone)).astype(np.float64)
    return ratio(np.bincount(part[seen], z2, len(gone)), n)


def substantially(z2: Float) -> Bool:
    """Parts whose mean z^2 is at least SUBSTANTIAL times the usual one, (n_parts,).  ``z2``: mean z^2, (n_parts,)."""
    known = np.isfinite(z2)
    result: Bool = known & (z2 > SUBSTANTIAL * (np.median(z2[known]) if known.any() else 1.0))
    return result


def deviation_as_influence(z2: Float, n: Float) -> Float:
    """Deviations in the form of an influence for ``stands_out``, (n_parts,): lower for larger deviations.

    ``z2``: mean z^2, ``n``: observations of each part, (n_parts,).
    """
    return -n * z2


def _marked(which: Int, n: int) -> Bool:
    mark = np.zeros(n, bool)
    mark[which] = True
    return mark


def _parts(result: Result, settings: FilterSettings) -> tuple[list[Part], Int]:
    """The parts, and the part of each row, (n,)."""
    rows = result.data.rows
    if settings.mode == "dataset":
        whole = [Part(one.number, one.data_set.id, one.identifier, None) for one in result.used]
        return whole, rows.data_set.astype(np.int64)
    parts: list[Part] = []
    base, origin, last = [], [], []
    for one in result.used:
        base.append(len(parts))
        images = _images(one)
        if images is None:
            parts.append(Part(one.number, one.data_set.id, one.identifier, None))
            origin.append(0)
            last.append(len(parts) - 1)
            continue
        first, end = images
        n = max((end - first + 1) // settings.group_size, 1)  # remaining images join the last group
        for k in range(n):
            begin = first + k * settings.group_size
            stop = end if k == n - 1 else begin + settings.group_size - 1
            parts.append(Part(one.number, one.data_set.id, one.identifier, (begin, stop)))
        origin.append(first)
        last.append(len(parts) - 1)
    d = rows.data_set
    image = np.floor(rows.xyz[:, 2]).astype(np.int64) + 1
    place = np.maximum((image - np.array(origin)[d]) // settings.group_size, 0)
    return parts, np.minimum(np.array(base)[d] + place, np.array(last)[d])


def log_filtering(filtering: Filtering, first: int) -> None:
    """Log the parts that the cycles from number ``first`` on have left out, and why they ended."""
    what = "data sets" if filtering.settings.mode == "dataset" else "groups of images"
    for k, cycle in enumerate(filtering.cycles[first:], first + 1):
        worst = cycle.parts[0] if cycle.parts else None
        text = f"Filtering, cycle {k}: CC1/2 {cycle.cc_half:.4f} of {len(cycle.parts)} {what}"
        if worst is not None:
            text += f"; lowest delta CC1/2 {worst.delta:.5f} ({worst})"
            known = filtering.settings.method == DELTA_CC and bool(np.isfinite(cycle.limit))
            text += f", limit {cycle.limit:.5f}" if known else ""
        log.info(text)
        if cycle.removed:
            shown = some_of(
                [f"{part} ({reason_of(part, filtering.settings.method)})" for part in cycle.removed], MOST_NAMED
            )
            log.info(f"  left out: {shown}; {cycle.percent:.2f} % of the observations so far")
    log.info(f"Filtering ends: {STOP_TEXT[filtering.reason]}")


def reason_of(part: Part, method: str) -> str:
    """The number for which a part was left out, as text."""
    return f"delta CC1/2 {part.delta:.5f}" if method == DELTA_CC else f"mean z^2 {part.z2:.2f}"


def reasons(parts: Sequence[Part], method: str) -> dict[int, str]:
    """Why whole data sets are left out, by their positions in the input."""
    return {part.number: f"filtered: {reason_of(part, method)}" for part in parts if part.images is None}
