"""Makes one sorted set of observations from all data sets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data import image_selection
from braggscale.data.experiment import Experiment
from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell, median_unit_cell, relative_volume
from braggscale.data.observations import Observations
from braggscale.data.preparation import Partials, UsableRows, prepare
from braggscale.data.repeated import row_keys, shared_rows
from braggscale.data.row_fates import Cuts
from braggscale.data.signal import is_blank, significance
from braggscale.data.symmetry import Arranged, Symmetry
from braggscale.data.table import DataSet, forget
from braggscale.data.unique_reflections import Groups
from braggscale.errors import CommandError, DataError
from braggscale.numerics.array_types import Array, Bool, Float, Int, UInt
from braggscale.run_warnings import Code, warn

log = logging.getLogger(__name__)

# Cells of one crystal form differ by less: the edges by 4 % for stills of CuNiR, by 2 % for different temperatures.
CELL_LENGTHS, CELL_ANGLES = 0.07, 4.0
# Largest difference of a cell that the user gives, and the smallest relative volume of a valid cell.
LARGEST_RATIO, LEAST_VOLUME = 1.0, 1e-6
# Rows of each data set that are compared to find data that were given twice.
_COMPARED = 8


@dataclass(frozen=True, slots=True)
class UsedDataSet:
    """A data set that takes part in the run.

    ``number``: its place in the input, n of ``#n``.  ``experiment``: with the images in use and batch offset.
    ``usable``: its usable rows.  ``fate``: of every input row, as far as it is known, (n_input,), uint8.
    """

    number: int
    data_set: DataSet
    experiment: Experiment
    usable: UsableRows
    fate: Array

    @property
    def identifier(self) -> str:
        """As in the log."""
        return self.data_set.identifier


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A data set of the input that was left out of the run, at its beginning or later, and the reason.

    ``number``, ``experiment``: as for ``UsedDataSet``.  ``fate``: of each row of the input, (n_input,).  ``partials``:
    None if its table was never read.
    """

    number: int
    data_set: DataSet
    experiment: Experiment
    reason: str
    fate: Array
    partials: Partials | None = None

    @property
    def identifier(self) -> str:
        """As in the log."""
        return self.data_set.identifier


RunDataSet = UsedDataSet | LeftOut


def used_data_sets(data_sets: Sequence[RunDataSet]) -> list[UsedDataSet]:
    """Those that take part; numbers of data sets in observations, models and settings refer to this list."""
    return [one for one in data_sets if isinstance(one, UsedDataSet)]


@dataclass(frozen=True, slots=True)
class SortedObservations:
    """Observations of all data sets in the order of unique reflections, I+ before I-.

    ``asu``: index in the asymmetric unit, (n, 3).  ``minus``: True for I-, (n,).  ``epsilon``: (n,).
    ``friedel_merged``, ``friedel_split``: groups with Friedel mates together and apart, over the same rows.
    """

    rows: Observations
    asu: Array
    minus: Bool
    epsilon: Float
    friedel_merged: Groups
    friedel_split: Groups


def common_symmetry(experiments: Sequence[Experiment]) -> Symmetry:
    """Space group of the run; raises DataError where space-group numbers differ."""
    by_hall: dict[str, Symmetry] = {}
    for experiment in experiments:
        hall = experiment.crystal.hall
        by_hall.setdefault(hall, by_hall.get(hall) or Symmetry.from_hall(hall))
    names: dict[object, list[str]] = {}
    for experiment in experiments:
        symmetry = by_hall[experiment.crystal.hall]
        names.setdefault(symmetry.number or symmetry.name, []).append(experiment.identifier)
    if len(names) > 1:
        listed = "; ".join(
            f"{by_hall[e.crystal.hall].name} ({', '.join(ids[:4])}{', ...' if len(ids) > 4 else ''})"
            for ids in names.values()
            for e in experiments
            if e.identifier == ids[0]
        )
        raise DataError(
            f"the data sets have different space groups: {listed}; give the common one as space_group=, "
            "or choose with use_datasets="
        )
    return by_hall[experiments[0].crystal.hall]


def best_cell(experiments: Sequence[Experiment], wanted: UnitCell | None) -> UnitCell:
    """The cell for resolution limits and statistics: as wanted, or the median over the data sets.

    Raises CommandError if the wanted one is not a valid cell or differs too much from those of the data.
    """
    if wanted and not (max(wanted[3:]) < 180 and relative_volume(wanted) > LEAST_VOLUME):
        raise CommandError(f"best_unit_cell={' '.join(f'{x:g}' for x in wanted)}: these angles span no cell")
    if wanted and not any(_near(wanted, e.crystal.unit_cell, LARGEST_RATIO, 180.0) for e in experiments):
        raise CommandError(
            f"best_unit_cell={' '.join(f'{x:g}' for x in wanted)}: its edges differ by more than "
            f"{100 * LARGEST_RATIO:g} % from those of every data set"
        )
    chosen = wanted or median_unit_cell([experiment.crystal.unit_cell for experiment in experiments])
    far = [e.identifier for e in experiments if not _near(e.crystal.unit_cell, chosen)]
    if far:
        shown = ", ".join(far[:4]) + (f" and {len(far) - 4} more" if len(far) > 4 else "")
        warn(
            log,
            Code.UNIT_CELL_DIFFERS,
            f"the unit cell of data set {shown} differs from that of the run by more than {100 * CELL_LENGTHS:g} % or "
            f"{CELL_ANGLES:g} degrees; is it the same crystal form? Leave it out with exclude_datasets=",
        )
    return chosen


def _near(cell: UnitCell, other: UnitCell, lengths: float = CELL_LENGTHS, angles: float = CELL_ANGLES) -> bool:
    ratios = np.array(cell[:3]) / np.array(other[:3])
    turns = np.abs(np.array(cell[3:]) - np.array(other[3:]))
    return bool(np.abs(ratios - 1.0).max() <= lengths and turns.max() <= angles)


def prepare_all(
    data_sets: Sequence[DataSet],
    numbers: Sequence[int],
    experiments: Sequence[Experiment],
    choice: image_selection.ImageChoice,
    cuts: Cuts,
    intensity: str,
    cell: UnitCell,
    known_factor: str | None = None,
) -> list[RunDataSet]:
    """Prepare every data set. One without usable rows is left out with a warning, or ends a run of one.

    ``experiments``: with identifiers and batch offsets as in the run, one per data set; ``choice``: images in use.
    ``known_factor``: column with a known part of the inverse scale factor.
    Raises DataError if nothing is usable at all, InputError for a table without that column.
    """
    prepared: list[RunDataSet] = []
    for k, (number, data_set, experiment) in enumerate(zip(numbers, data_sets, experiments, strict=True)):
        in_use = choice.in_use[k]
        experiment = experiment if in_use is None else experiment.with_images(in_use)
        rows = prepare(
            data_set.table,
            experiment,
            k,
            cuts=cuts,
            in_use=in_use,
            intensity=intensity,
            best_cell=cell,
            known_factor=known_factor,
        )
        if rows.reason:
            warn(
                log,
                Code.DATA_SET_LEFT_OUT,
                f"data set {data_set.identifier} is left out: {rows.reason}",
                data_set.identifier,
            )
            prepared.append(LeftOut(number, data_set, experiment, rows.reason, rows.fate, rows.partials))
        else:
            prepared.append(UsedDataSet(number, data_set, experiment, rows, rows.fate))
    forget(data_set.table for data_set in data_sets)
    _refuse_twice(used_data_sets(prepared))
    prepared = _without_blank(prepared)
    out = [one for one in prepared if isinstance(one, LeftOut)]
    if len(out) == len(prepared):
        reasons = "; ".join(f"data set {one.identifier}: {one.reason}" for one in out[:3])
        raise DataError(f"no usable reflections: {reasons}")
    return prepared


def _refuse_twice(data_sets: Sequence[UsedDataSet]) -> None:
    """Raises DataError if two data sets share more than half of their rows, because the same data were given twice."""
    seen: dict[int, tuple[UsedDataSet, UInt]] = {}
    doubles: list[tuple[UsedDataSet, UsedDataSet, int]] = []
    for one in data_sets:
        keys = np.sort(row_keys(one.usable.observations))
        # equal data sets have the same smallest keys; those of different data sets are hardly ever equal
        for key in keys[:_COMPARED].tolist():
            other = seen.setdefault(key, (one, keys))
            shared = 0 if other[0] is one else shared_rows(keys, other[1])
            if 2 * shared > min(len(keys), len(other[1])):
                doubles.append((other[0], one, shared))
                break
    if doubles:
        first, second, rows = doubles[0]
        gone = {id(double) for _, double, _ in doubles}
        kept = [one.identifier for one in data_sets if id(one) not in gone]
        raise DataError(
            f"data sets {first.identifier} and {second.identifier} are the same data, {rows} rows agree to the last "
            f"digit; give them once, or scale with use_datasets={','.join(kept)}"
        )


def _without_blank(data_sets: Sequence[RunDataSet]) -> list[RunDataSet]:
    """Leaves out data sets without a signal, with a warning, where others have one. Raises DataError if none has."""
    blank = [one for one in used_data_sets(data_sets) if is_blank(one.usable.observations)]
    if not blank:
        return list(data_sets)
    if len(blank) == len(used_data_sets(data_sets)):
        first = blank[0]
        raise DataError(
            f"no signal in data set {first.identifier}"
            + (f" and {len(blank) - 1} more" if len(blank) > 1 else "")
            + f": the intensities scatter about 0, sum(I/sigma)/sqrt(n) = {significance(first.usable.observations):.1f}"
        )
    lost = {id(one) for one in blank}
    shown = ", ".join(one.identifier for one in blank[:4]) + (f" and {len(blank) - 4} more" if len(blank) > 4 else "")
    warn(log, Code.DATA_SET_WITHOUT_SIGNAL, f"data set {shown}: left out, no signal; the intensities scatter about 0")
    result: list[RunDataSet] = []
    for one in data_sets:
        if isinstance(one, UsedDataSet) and id(one) in lost:
            fate = one.fate.copy()
            fate[fate == Fate.SCALED] = Fate.DATA_SET_UNUSABLE
            reason = "no signal: its intensities scatter about 0"
            result.append(LeftOut(one.number, one.data_set, one.experiment, reason, fate, one.usable.partials))
        else:
            result.append(one)
    return result


def sort_observations(
    data_sets: Sequence[RunDataSet], symmetry: Symmetry
) -> tuple[list[RunDataSet], SortedObservations]:
    """One set of observations from all data sets in use; ``data_set`` is the position among these.

    The order of the members of a group does not depend on the order of the input.
    Also returns the data sets without their observations, so that these are in memory only once.
    """
    parts = [
        replace(one.usable.observations, data_set=np.full(len(one.usable.observations), position, np.int32))
        for position, one in enumerate(used_data_sets(data_sets))
    ]
    rows = Observations.concatenate(parts)
    arranged = symmetry.arrange(rows.hkl)
    none = rows.take(np.zeros(0, np.int64))
    emptied: list[RunDataSet] = [
        one if isinstance(one, LeftOut) else replace(one, usable=replace(one.usable, observations=none))
        for one in data_sets
    ]
    return emptied, sorted_rows(rows.take(_in_groups(arranged, row_keys(rows))), arranged)


def in_order(rows: Observations, symmetry: Symmetry) -> tuple[SortedObservations, Int]:
    """The rows in the order of unique reflections, and the earlier position of each, (n,)."""
    arranged = symmetry.arrange(rows.hkl)
    order = _in_groups(arranged, row_keys(rows))
    return sorted_rows(rows.take(order), arranged), order


def _in_groups(arranged: Arranged, keys: UInt) -> Int:
    """The order of the rows, with members of a group sorted by their keys; so sums do not depend on the input's order.

    Otherwise another order of rows would change the last digits of sums, and the minimisers' result within their
    tolerance.  ``keys``: of the rows in the order of the input, (n,).
    """
    group = np.repeat(np.arange(len(arranged.sizes)), arranged.sizes)
    order: Int = arranged.order[np.lexsort((keys[arranged.order], group))]
    return order


def sorted_rows(rows: Observations, arranged: Arranged) -> SortedObservations:
    """Groups of rows that are already in order."""
    friedel_split = Groups.of_sizes(arranged.sizes)
    first = np.ones(len(arranged.sizes), np.bool_)
    first[1:] = (arranged.hkl[1:] != arranged.hkl[:-1]).any(axis=1)
    friedel_merged = Groups(np.append(friedel_split.offsets[:-1][first], friedel_split.n_rows))
    epsilon = np.repeat(arranged.epsilon.astype(np.float64), arranged.sizes)
    asu, minus = np.repeat(arranged.hkl, arranged.sizes, axis=0), np.repeat(arranged.minus, arranged.sizes)
    return SortedObservations(rows, asu, minus, epsilon, friedel_merged, friedel_split)


def drop_unconnected(
    data_sets: Sequence[RunDataSet],
    data: SortedObservations,
    symmetry: Symmetry,
    groups: Groups,
    known: Bool | None = None,
) -> tuple[list[RunDataSet], SortedObservations]:
    """Leave out data sets none of whose reflections was measured twice, in the same or in another data set.

    ``known``: unique reflections with a reference intensity, (n_groups,).
    Their scale would be a free number. With a single data set this ends the run: raises DataError.
    """
    several = groups.spread((groups.sizes() > 1) | (known if known is not None else False))
    seen = np.bincount(data.rows.data_set, several, len(used_data_sets(data_sets))) > 0
    if seen.all():
        return list(data_sets), data
    reason = "no reflection of it was measured twice, here or in another data set"
    if not seen.any():
        raise DataError("nothing to scale: no unique reflection was measured more than once in all data sets")
    connected = iter(seen.tolist())
    left: list[RunDataSet] = []
    for one in data_sets:
        if isinstance(one, LeftOut) or next(connected):
            left.append(one)
            continue
        warn(log, Code.DATA_SET_ALONE, f"data set {one.identifier} is left out: {reason}", one.identifier)
        fate = np.where(one.fate == Fate.SCALED, np.uint8(Fate.DATA_SET_UNUSABLE), one.fate)
        left.append(LeftOut(one.number, one.data_set, one.experiment, reason, fate, one.usable.partials))
    stay = seen[data.rows.data_set]
    new_position = np.cumsum(seen) - 1
    rows = data.rows.take(stay)
    rows = replace(rows, data_set=new_position[rows.data_set].astype(np.int32))
    # the rows that remain are still in order
    return left, sorted_rows(rows, symmetry.arrange(rows.hkl))
