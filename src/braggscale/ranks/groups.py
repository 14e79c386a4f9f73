"""Groups of input files, such as runs or time points: one scaling of all, and merged data of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.errors import CommandError
from braggscale.numerics.array_types import Float, Int
from braggscale.ranks.means import RankData
from braggscale.ranks.merging import merged_data, merged_sums, r_split_by_shell, statistics_of
from braggscale.ranks.plan import RanksPlan
from braggscale.ranks.rounds import RanksScaled
from braggscale.ranks.shares import Unit
from braggscale.statistics.merging import Merged
from braggscale.statistics.merging_statistics import Statistics

MOST_GROUPS = 1000
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]+")


@dataclass(frozen=True, slots=True)
class MergedGroup:
    """Merged data of some of the crystals, the same in all ranks.

    ``name``: as in names of files, "" for all crystals.  ``n_data_sets``: that were merged.
    ``n_observations``: of them.  ``r_split``: of the shells of ``statistics``, and of all, (n_bins + 1,).
    """

    name: str
    n_data_sets: int
    n_observations: int
    statistics: Statistics | None
    r_split: Float


def group_names(units: Sequence[Unit], pattern: str | None) -> tuple[list[str], Int]:
    """Names of the groups in order, and the group of each unit, (n_units,); no names without a ``pattern``.

    ``pattern``: a regular expression for the path of a file; the name is its first pair of parentheses, or all of it.
    Raises CommandError for a pattern that is none, a file that it does not fit, or too many groups.
    """
    if pattern is None:
        return [], np.zeros(len(units), np.int64)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise CommandError(f"group_by={pattern}: {error}; it has to be a regular expression") from None
    found = []
    for unit in units:
        match = expression.search(unit.name)
        text = "" if match is None else match[1 if expression.groups else 0] or ""
        if not text:
            raise CommandError(f"{unit.name}: group_by={pattern} finds nothing in this name")
        found.append(_UNSAFE.sub("_", text))
    names = sorted(set(found))
    if len(names) > MOST_GROUPS:
        raise CommandError(f"group_by={pattern} makes {len(names)} groups, such as {names[0]} and {names[1]}")
    return names, np.searchsorted(names, found)


def merged_group(
    data: RankData, scaled: RanksScaled, plan: RanksPlan, symmetry: Symmetry, cell: UnitCell, name: str = "",
    member: Int | None = None,
) -> tuple[MergedGroup, Merged]:  # fmt: skip
    """Merge the crystals of a group: what there is to say about it, and the merged reflections.

    ``member``: 1 for the crystals of this rank that belong to it, else 0, (n_crystals,); None for all.
    """
    there = ~data.rows.lost if member is None else (member > 0) & ~data.rows.lost
    if member is not None:
        scaled = replace(scaled, crystals=scaled.crystals.with_scales(scaled.crystals.k * there, scaled.crystals.b))
    sums = merged_sums(data, scaled, plan.small_scale_cutoff, observed=not plan.estimated)
    n = int(data.ranks.allreduce(np.array([np.count_nonzero(there)], np.int64))[0])
    internal, limit, reflections = plan.export.use_internal_variance, plan.cuts.d_min, data.reflections
    n_rows = int(round(float(sums.plain[:, 3].sum())))
    statistics, split = None, np.full(plan.n_bins + 1, np.nan)
    if n_rows:
        statistics = statistics_of(sums, reflections, symmetry, cell, plan.n_bins, limit, internal)
        split = r_split_by_shell(sums, reflections, cell, plan.n_bins, limit)
    merged = merged_data(sums, reflections, symmetry, internal)
    return MergedGroup(name, n, n_rows, statistics, split), merged
