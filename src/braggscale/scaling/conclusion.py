"""The end of a run: the final fate of every row of the input, and the merging statistics."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from braggscale.data.experiment import Experiment, Sweep
from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.observations import rows_by_data_set
from braggscale.data.sorting import LeftOut, RunDataSet, SortedObservations, used_data_sets
from braggscale.data.symmetry import Symmetry
from braggscale.data.table import DataSet
from braggscale.numerics.array_types import Bool, Float, Int, Int32
from braggscale.run_warnings import Code, warn
from braggscale.scaling.plan import StatisticsRequest
from braggscale.scaling.state import Scaled
from braggscale.statistics.confidence_intervals import INTERVALS_OF, Intervals, blocks_of, intervals
from braggscale.statistics.half_set_statistics import HalfSets, half_set_statistics
from braggscale.statistics.merging_statistics import Statistics, Unmerged, merging_statistics
from braggscale.statistics.shell_statistics import Shell
from braggscale.wording import some_of

log = logging.getLogger(__name__)

# The units of two detectors never differ by a larger factor than this; those of damaged intensities or cells may.
MOST_APART = 1e6
IMPLAUSIBLE = "a million times that of most observations, or a millionth"


def usable(data_set: Int32, scaled: Scaled, cutoff: float) -> Bool:
    """Observations with the fate scaled, (n,): no outliers, and an inverse scale factor that is not too small.

    ``data_set``: position of the data set, (n,).  ``cutoff``: see :func:`too_small`.
    """
    result: Bool = ~scaled.state.rejected & ~too_small(scaled.state.scale, data_set, cutoff)
    return result


def too_small(scale: Float, data_set: Int32, cutoff: float) -> Bool:
    """Observations whose inverse scale factor is below ``cutoff`` times the median of their data set, (n,).

    The limit is relative to the data set, because data sets may have different scales. Single observations whose scale
    is a million times that of their data set are marked, too. ``scale``: g, ``data_set``: position of the data set,
    (n,).
    """
    usual = np.abs(_typical(scale, data_set))[data_set]
    result: Bool = ~((scale >= cutoff * usual) & (scale <= MOST_APART * usual))
    return result


def _typical(scale: Float, data_set: Int32) -> Float:
    """Median g of each data set, (n_data_sets,); 1 for one without observations."""
    places = rows_by_data_set(data_set, int(data_set.max(initial=-1)) + 1)
    return np.array([np.median(scale[rows_of_set]) if len(rows_of_set) else 1.0 for rows_of_set in places])


def strangers(scale: Float, data_set: Int32) -> Int:
    """Places of data sets whose scale is a million times that of most observations or a millionth, ascending, (k,).

    ``scale``: g, ``data_set``: position of the data set, (n,).
    """
    size = np.abs(_typical(scale, data_set))
    usual = float(np.median(size[data_set])) if len(data_set) else 1.0
    return np.flatnonzero(~((size * MOST_APART >= usual) & (size <= MOST_APART * usual)))


def warn_of_strangers(names: Sequence[str]) -> None:
    """Say which data sets are left out for their scale.  ``names``: their identifiers."""
    warn(
        log,
        Code.IMPLAUSIBLE_SCALE,
        f"data set {some_of(names, 4)}: the scale is {IMPLAUSIBLE}; left out, it is no measurement of the same "
        "crystal; the others are scaled again",
    )


def final_fates(
    data_sets: Sequence[RunDataSet], data: SortedObservations, scaled: Scaled, cutoff: float
) -> list[RunDataSet]:
    """The data sets, with the final fates of their rows: outliers and scales that are too small are entered."""
    small = too_small(scaled.state.scale, data.rows.data_set, cutoff)
    if small.any():
        warn(
            log,
            Code.SCALE_TOO_SMALL,
            f"{int(small.sum())} reflections have an inverse scale factor below {cutoff:g} of the usual one of their "
            "data set and are left out; "
            "fewer parameters or an exclusion of bad images may help",
        )
    places = iter(rows_by_data_set(data.rows.data_set, len(used_data_sets(data_sets))))
    result: list[RunDataSet] = []
    for one in data_sets:
        if isinstance(one, LeftOut):
            result.append(one)
            continue
        rows_of_set = next(places)
        rows = one.usable.kept[data.rows.row[rows_of_set]]
        fate = one.fate.copy()
        fate[rows[scaled.state.rejected[rows_of_set]]] = Fate.OUTLIER
        fate[rows[small[rows_of_set]]] = Fate.SCALE_TOO_SMALL
        result.append(replace(one, fate=fate))
    return result


def with_excluded(
    data_sets: Sequence[DataSet], chosen: Sequence[RunDataSet], reasons: Mapping[int, str]
) -> tuple[RunDataSet, ...]:
    """All data sets of the input in their order: those that were chosen, and those that the command excluded.

    ``reasons``: why data sets were left out later, by their places in the input.
    """
    by_number = {one.number: one for one in chosen}
    complete: list[RunDataSet] = []
    for k, data_set in enumerate(data_sets):
        if k in by_number:
            complete.append(by_number[k])
            continue
        fate = np.full(len(data_set.table), Fate.DATA_SET_EXCLUDED, np.uint8)
        complete.append(LeftOut(k, data_set, data_set.experiment, reasons.get(k, "excluded by the command"), fate))
    return tuple(complete)


def statistics_of(
    data: SortedObservations, scaled: Scaled, good: Bool, cell: UnitCell, symmetry: Symmetry, wanted: StatisticsRequest
) -> Statistics | None:
    """Merging statistics of the scaled observations; None, with a warning, if nothing can be merged.

    ``good``: rows that are merged, (n,).
    """
    rows = np.flatnonzero(good)
    g = scaled.state.scale[rows]
    observations = Unmerged(
        np.take(data.asu, rows, axis=0),
        data.minus[rows],
        scaled.state.values.intensity[rows] / g,
        np.sqrt(scaled.variance[rows]) / g,
        cell,
        symmetry,
    )
    return merging_statistics(
        observations,
        n_bins=wanted.n_bins,
        use_internal_variance=wanted.use_internal_variance,
        d_min=wanted.d_min,
    )


def half_sets_of(
    data: SortedObservations,
    scaled: Scaled,
    good: Bool,
    cell: UnitCell,
    symmetry: Symmetry,
    statistics: Statistics | None,
) -> HalfSets | None:
    """Statistics of halves in the shells of ``statistics``; None without.  ``good``: rows that are merged, (n,)."""
    if statistics is None:
        return None
    rows = np.flatnonzero(good)
    g = scaled.state.scale[rows]
    x, sigma = scaled.state.values.intensity[rows] / g, np.sqrt(scaled.variance[rows]) / g
    d_min = np.array([shell.d_min for shell in statistics.shells])
    return half_set_statistics(np.take(data.rows.hkl, rows, axis=0), x, sigma, symmetry, cell, d_min)


def with_intervals(
    statistics: Statistics | None,
    data: SortedObservations,
    scaled: Scaled,
    good: Bool,
    experiments: Sequence[Experiment],
) -> Statistics | None:
    """The statistics with confidence intervals of the overall ones.  ``good``: rows that are merged, (n,)."""
    if statistics is None:
        return None
    kinds = [experiment.kind for experiment in experiments]
    widths = [kind.scan.oscillation[1] if isinstance(kind, Sweep) else None for kind in kinds]
    g, rows = scaled.state.scale[good], data.rows
    found = intervals(
        data.friedel_merged.subset(good),
        data.friedel_split.subset(good),
        scaled.state.values.intensity[good] / g,
        np.sqrt(scaled.variance[good]) / g,
        blocks_of(rows.data_set[good], rows.xyz[good, 2], widths),
        {name: getattr(statistics.overall, name) for name in INTERVALS_OF},
    )
    return replace(statistics, intervals=found, overall=_significance(statistics.overall, found))


def _significance(overall: Shell, overall_limits: Intervals | None) -> Shell:
    """The statistics with a correlation marked as not significant if its interval contains 0."""
    if overall_limits is None:
        return overall
    contain_zero = {
        f"{name}_significant": False
        for name, limits in (("cc_half", overall_limits.cc_half), ("cc_anom", overall_limits.cc_anom))
        if limits is not None and limits[0] <= 0.0
    }
    return replace(overall, **contain_zero)
