"""A free set: unique reflections that take no part in the fit of the scales, and the test of the model with them.

Scales that follow noise improve the agreement of the reflections in the fit, but not that of the free set. R_meas
and CC1/2 of both are compared; a gap between them shows that noise was fitted. Cross-validation repeats the scaling
with other free sets, and with other values of an option.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.sorting import SortedObservations
from braggscale.data.symmetry import Symmetry
from braggscale.data.unique_reflections import Groups
from braggscale.numerics.array_types import Bool, Float
from braggscale.scaling.conclusion import statistics_of
from braggscale.scaling.plan import FreeSetRequest, StatisticsRequest
from braggscale.scaling.state import Scaled

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FreeSet:
    """R_meas and CC1/2 of the reflections in the fit and of those left out; NaN where there are too few.

    ``n_free``, ``n_work``: unique reflections.
    """

    percentage: float
    offset: int
    n_work: int
    n_free: int
    r_meas_work: float
    r_meas_free: float
    cc_half_work: float
    cc_half_free: float

    @property
    def numbers(self) -> tuple[float, ...]:
        """R_meas of work and free set and their gap, CC1/2 of both and their gap."""
        r_gap, cc_gap = self.r_meas_free - self.r_meas_work, self.cc_half_work - self.cc_half_free
        return self.r_meas_work, self.r_meas_free, r_gap, self.cc_half_work, self.cc_half_free, cc_gap


def is_free(groups: Groups, request: FreeSetRequest) -> Bool:
    """Which unique reflections are free, (n_groups,): every k-th from the offset on, k = 100/percentage."""
    step = max(int(100.0 / request.percentage), 2)
    result: Bool = np.arange(len(groups)) % step == request.offset % step
    return result


def free_set(
    data: SortedObservations,
    scaled: Scaled,
    good: Bool,
    free: Bool,
    about: tuple[UnitCell, Symmetry, StatisticsRequest, FreeSetRequest],
) -> FreeSet:
    """Statistics of both sets.

    ``good``: rows that are merged, ``free``: rows of the free set, (n,).  ``about``: cell, symmetry, and the
    requests of the plan for statistics and free set.
    """
    cell, symmetry, wanted, request = about
    found = []
    for part in (good & ~free, good & free):
        statistics = statistics_of(data, scaled, part, cell, symmetry, wanted) if part.any() else None
        overall = None if statistics is None else statistics.overall
        found.append((float("nan"),) * 2 if overall is None else (overall.r_meas, overall.cc_half))
    groups = data.friedel_merged
    n_free, n = int(np.count_nonzero(groups.sum(free & good))), int(np.count_nonzero(groups.sum(good)))
    (r_work, cc_work), (r_free, cc_free) = found
    return FreeSet(request.percentage, request.offset, n - n_free, n_free, r_work, r_free, cc_work, cc_free)


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of options, and the statistics of its free sets: columns as ``FreeSet.numbers``, (n_folds, 6)."""

    name: str
    numbers: Float


def cross_validate(choices: Sequence[str], folds: int, scale: Callable[[str, int], FreeSet | None]) -> list[Trial]:
    """Scale with every choice and every free set.

    ``scale``: a function of a choice and a free-set offset; it returns None if there was no free set.
    """
    tried = []
    for name in choices:
        rows = []
        for offset in range(folds):
            log.info("")
            log.info(f"Cross-validation: {name or 'these options'}, free set {offset + 1} of {folds}")
            statistics = scale(name, offset)
            if statistics is not None:
                rows.append(statistics.numbers)
        tried.append(Trial(name, np.array(rows, np.float64).reshape(-1, 6)))
    return tried


HEADER = ("", "R work", "R free", "gap", "CC1/2 work", "CC1/2 free", "gap")


def table_of(tried: Sequence[Trial]) -> list[tuple[str, ...]]:
    """Rows of the table: means, with standard deviations where there are several free sets; * marks the best."""
    means = np.array([t.numbers.mean(axis=0) if len(t.numbers) else np.full(6, np.nan) for t in tried])
    best = {}
    if len(tried) > 1 and np.isfinite(means).all():
        best = {1: means[:, 1].argmin(), 2: means[:, 2].argmin(), 4: means[:, 4].argmax(), 5: means[:, 5].argmin()}
    rows = []
    for k, one in enumerate(tried):
        cells = []
        for column in range(6):
            text = f"{means[k, column]:.4f}"
            if len(one.numbers) > 1:
                text += f" ({one.numbers[:, column].std(ddof=1):.4f})"
            cells.append(text + ("*" if best.get(column) == k else ""))
        rows.append((one.name or "these options", *cells))
    return rows
