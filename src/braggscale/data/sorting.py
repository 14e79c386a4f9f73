"""From data sets to one sorted set of observations with a model: everything that precedes the first fit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data import image_selection
from braggscale.data.experiment import Experiment
from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell, median_unit_cell
from braggscale.data.observations import Observations
from braggscale.data.preparation import Cuts, UsableRows, prepare
from braggscale.data.symmetry import Arranged, Symmetry
from braggscale.data.table import DataSet, forget
from braggscale.data.unique_reflections import Groups
from braggscale.errors import DataError
from braggscale.numerics.array_types import Bool, Float, Int

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunDataSet:
    """A data set on its way through the run.

    ``number``: its place in the input, n of ``#n``.  ``experiment``: with the images in use and batch offset.
    ``prepared``: None if the data set was dropped before its table was read.  ``dropped``: why, or empty.
    ``fate``: of every input row, (n_input,), uint8.
    """

    number: int
    data_set: DataSet
    experiment: Experiment
    prepared: UsableRows | None
    dropped: str
    fate: np.ndarray

    @property
    def identifier(self) -> str:
        """As in the log."""
        return self.data_set.identifier


@dataclass(frozen=True, slots=True)
class SortedObservations:
    """Observations of all data sets in the order of unique reflections, I+ before I-.

    ``asu``: index in the asymmetric unit, (n, 3).  ``minus``: True for I-, (n,).
    ``friedel_merged``, ``friedel_split``: groups with Friedel mates together and apart, over the same rows.
    """

    rows: Observations
    asu: np.ndarray
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
        found = "; ".join(
            f"{by_hall[e.crystal.hall].name} ({', '.join(ids[:4])}{', ...' if len(ids) > 4 else ''})"
            for ids in names.values()
            for e in experiments
            if e.identifier == ids[0]
        )
        raise DataError(
            f"the data sets have different space groups: {found}; give the one of all as space_group=, "
            "or choose with use_datasets="
        )
    return by_hall[experiments[0].crystal.hall]


def best_cell(experiments: Sequence[Experiment], wanted: UnitCell | None) -> UnitCell:
    """The cell for resolution limits and statistics: as wanted, or the median over the data sets."""
    return wanted or median_unit_cell([experiment.crystal.unit_cell for experiment in experiments])


def prepare_all(
    data_sets: Sequence[DataSet],
    numbers: Sequence[int],
    experiments: Sequence[Experiment],
    choice: image_selection.ImageChoice,
    cuts: Cuts,
    intensity: str,
    cell: UnitCell,
) -> list[RunDataSet]:
    """Prepare every data set. One without usable rows is dropped with a warning, or ends a run of one.

    ``experiments``: with identifiers and batch offsets as in the run, one per data set; ``choice``: images in use.
    Raises DataError if nothing is usable at all.
    """
    members = []
    for k, (number, data_set, experiment) in enumerate(zip(numbers, data_sets, experiments, strict=True)):
        in_use = choice.in_use[k]
        if experiment.scan is not None and in_use is not None:
            scan = replace(experiment.scan, valid_image_ranges=in_use)
            experiment = replace(experiment, scan=scan)
        prepared = prepare(
            data_set.table,
            experiment,
            k,
            cuts=cuts,
            in_use=in_use,
            intensity=intensity,
            best_cell=cell,
        )
        members.append(RunDataSet(number, data_set, experiment, prepared, prepared.reason, prepared.fate))
        if prepared.reason:
            log.warning(f"data set {data_set.identifier} is left out: {prepared.reason}")
    forget(data_set.table for data_set in data_sets)
    if all(member.dropped for member in members):
        reasons = "; ".join(f"data set {m.identifier}: {m.dropped}" for m in members[:3])
        raise DataError(f"no usable reflections: {reasons}")
    return members


def sort_observations(members: Sequence[RunDataSet], symmetry: Symmetry) -> tuple[list[RunDataSet], SortedObservations]:
    """One set of observations from all members that are not dropped; ``data_set`` counts those members.

    Returns also the members without their own observations, which would be in memory twice.
    """
    parts = []
    kept = [member for member in members if not member.dropped]
    for position, member in enumerate(kept):
        if member.prepared is None:
            continue
        rows = member.prepared.observations
        parts.append(replace(rows, data_set=np.full(len(rows), position, np.int32)))
    rows = Observations.concatenate(parts)
    found = symmetry.arrange(rows.hkl)
    none = rows.take(np.zeros(0, np.int64))
    emptied = [
        member if member.prepared is None else replace(member, prepared=replace(member.prepared, observations=none))
        for member in members
    ]
    return emptied, sorted_rows(rows.take(found.order), found)


def sorted_rows(rows: Observations, found: Arranged) -> SortedObservations:
    """Groups of rows that are already in order."""
    friedel_split = Groups.of_sizes(found.sizes)
    first = np.ones(len(found.sizes), np.bool_)
    first[1:] = (found.hkl[1:] != found.hkl[:-1]).any(axis=1)
    friedel_merged = Groups(np.append(friedel_split.offsets[:-1][first], friedel_split.n_rows))
    epsilon = np.repeat(found.epsilon.astype(np.float64), found.sizes)
    asu, minus = np.repeat(found.hkl, found.sizes, axis=0), np.repeat(found.minus, found.sizes)
    return SortedObservations(rows, asu, minus, epsilon, friedel_merged, friedel_split)


def drop_unconnected(
    members: list[RunDataSet], data: SortedObservations, symmetry: Symmetry, groups: Groups
) -> tuple[list[RunDataSet], SortedObservations]:
    """Leave out data sets that share no unique reflection with anything, not even themselves.

    Their scale would be a free number. With a single data set this ends the run: raises DataError.
    """
    several = groups.spread(groups.sizes() > 1)
    kept = [member for member in members if not member.dropped]
    seen = np.bincount(data.rows.data_set, several, len(kept)) > 0
    if seen.all():
        return members, data
    reason = "no reflection of it was measured twice, here or in another data set"
    if not seen.any():
        raise DataError("nothing to scale: no unique reflection was measured more than once in all data sets")
    lost: dict[int, RunDataSet] = {}
    for position, member in enumerate(kept):
        if not seen[position]:
            log.warning(f"data set {member.identifier} is left out: {reason}")
            fate = member.fate.copy()
            fate[fate == Fate.SCALED] = Fate.DATA_SET_UNUSABLE
            lost[id(member)] = replace(member, dropped=reason, fate=fate)
    members = [lost.get(id(member), member) for member in members]
    stay = seen[data.rows.data_set]
    new_position = np.cumsum(seen) - 1
    rows = data.rows.take(stay)
    rows = replace(rows, data_set=new_position[rows.data_set].astype(np.int32))
    # still in order, so that nothing moves
    return members, sorted_rows(rows, symmetry.arrange(rows.hkl))


def rows_by_data_set(rows: Observations, n_data_sets: int) -> list[Int]:
    """Places of each data set's rows among the sorted observations."""
    order = np.argsort(rows.data_set, kind="stable")
    ends = np.cumsum(np.bincount(rows.data_set, minlength=n_data_sets))
    return np.split(order, ends[:-1])
