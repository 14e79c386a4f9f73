"""The files of a rank, one after the other: first what they are about, then their rows, in compact columns."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data import image_selection
from braggscale.data.experiment import Experiment, Sweep
from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell, median_unit_cell
from braggscale.data.image_selection import ImageRequest
from braggscale.data.observations import Observations
from braggscale.data.preparation import UsableRows, prepare
from braggscale.data.repeated import row_keys
from braggscale.data.signal import is_blank
from braggscale.data.sorting import LeftOut, RunDataSet, UsedDataSet, best_cell, common_symmetry
from braggscale.data.symmetry import Symmetry
from braggscale.data.table import DataSet, forget
from braggscale.errors import DataError, InputError, UserError
from braggscale.io import Input, open_inputs
from braggscale.io.reindexing import with_changes, with_operators
from braggscale.numerics.array_types import Array, Int
from braggscale.ranks.agreement import log_of_all, together
from braggscale.ranks.communicator import Communicator, gather_texts
from braggscale.ranks.crystal_rows import Allocator, RowStore
from braggscale.ranks.detector import Detector, common_detector
from braggscale.ranks.packing import packed
from braggscale.ranks.plan import RanksPlan, sweeps_without_model
from braggscale.ranks.shares import Unit
from braggscale.statistics.merging import mix
from braggscale.weighting.intensity_choice import Intensities, initial

log = logging.getLogger(__name__)

_NOTHING = ImageRequest((), (), (), False)
_MOST_DIFFERENT = 4


@dataclass(frozen=True, slots=True)
class Census:
    """What the files of all ranks are about; the same in all ranks but for ``units``, ``room`` and ``not_indexed``.

    ``units``: of this rank, without bad files.  ``n_data_sets``: of each unit of the command line, (n_units,), 0 for
    bad files.  ``room``: rows in the tables of this rank.  ``stills``: whether all data sets are.
    ``cell``: for resolution and statistics.  ``wavelength``: mean over all data sets, Angstrom.
    ``not_indexed``: rows of this rank that belong to no data set.  ``warnings``: bad files that were left out.
    ``detector``: that of which there is a map, None for no map.
    """

    units: tuple[Unit, ...]
    n_data_sets: Int
    room: int
    stills: bool
    symmetry: Symmetry
    cell: UnitCell
    wavelength: float
    not_indexed: int
    warnings: tuple[str, ...]
    detector: Detector | None

    def first_number(self, unit: Unit) -> int:
        """Number of the first data set of a unit among those of the whole command line, from 0."""
        return int(self.n_data_sets[: unit.number].sum())

    def units_of(self, numbers: Int) -> Int:
        """The unit of each data set, (k,).  ``numbers``: of data sets among those of the whole command line, (k,)."""
        found: Int = np.searchsorted(np.cumsum(self.n_data_sets), numbers, side="right")
        return found


def open_unit(unit: Unit, plan: RanksPlan) -> Input:
    """The data sets of a unit, with the space group and unit cell that were asked for."""
    data = open_inputs(unit.files, plan.known)
    return with_changes(data, plan.space_group, plan.unit_cell, plan.reindex)


def take_census(ranks: Communicator, units: Sequence[Unit], mine: Sequence[Unit], plan: RanksPlan) -> Census:
    """Opens every file of this rank and learns what there is; nothing is computed yet.

    ``units``: of the whole command line, ``mine``: those of this rank.
    Raises, on all ranks, InputError for a bad file unless bad files are skipped, and DataError where space groups
    differ or nothing is left.
    """
    looked_at = together(ranks, lambda: _look(ranks, mine, plan))
    numbers = np.zeros(len(units), np.int64)
    for unit, experiments, _, _ in looked_at.good:
        numbers[unit.number] = len(experiments)
    numbers = ranks.allreduce(numbers)
    lines = [f"{name} is left out: {reason}" for name, reason in looked_at.bad]
    warnings = log_of_all(ranks, logging.WARNING, lines)
    experiments = [one for _, found, _, _ in looked_at.good for one in found]
    if numbers.sum() == 0:
        raise DataError("none of the files can be read")
    symmetry = _common_symmetry(ranks, experiments)
    if not plan.kb_is_explicit:
        together(ranks, lambda: _refuse_sweeps(experiments))
    sweeps = ranks.allreduce(np.array([any(not one.is_still for one in experiments)], np.int64), "max")
    table = np.array([[*one.crystal.unit_cell, one.beam.wavelength] for one in experiments]).reshape(-1, 7)
    every = np.concatenate(ranks.allgather(table))
    median = median_unit_cell([tuple(row) for row in every[:, :6].tolist()])
    cell = together(ranks, lambda: best_cell(experiments, plan.best_unit_cell)) if plan.best_unit_cell else median
    return Census(
        tuple(unit for unit, *_ in looked_at.good),
        numbers,
        sum(n for *_, n, _ in looked_at.good),
        not bool(sweeps[0]),
        symmetry,
        cell,
        float(every[:, 6].mean()),
        sum(n for *_, n in looked_at.good),
        tuple(warnings),
        common_detector(ranks, experiments) if plan.detector_map else None,
    )


@dataclass(frozen=True, slots=True)
class _LookedAt:
    """``good``: unit, experiments, rows, rows without a data set.  ``bad``: file, and what is wrong with it."""

    good: list[tuple[Unit, list[Experiment], int, int]]
    bad: list[tuple[str, str]]


def _look(ranks: Communicator, mine: Sequence[Unit], plan: RanksPlan) -> _LookedAt:
    looked_at = _LookedAt([], [])
    for unit in mine:
        ranks.at(f"reading {unit.name}")
        try:
            data = open_unit(unit, plan)
        except (InputError, DataError) as error:
            if not plan.skip_bad_files:
                raise type(error)(f"{error}; to scale the others without it: skip_bad_files=True") from error
            looked_at.bad.append((unit.name, str(error)))
            continue
        # what a table or a document holds is not needed here, and would add up
        experiments = [replace(one.experiment, scaling_model=None) for one in data.data_sets]
        looked_at.good.append((unit, experiments, sum(len(one.table) for one in data.data_sets), data.not_indexed))
        forget(one.table for one in data.data_sets)
    return looked_at


def _refuse_sweeps(experiments: Sequence[Experiment]) -> None:
    for one in experiments:
        if not one.is_still:
            raise sweeps_without_model(one.identifier)


def _common_symmetry(ranks: Communicator, experiments: Sequence[Experiment]) -> Symmetry:
    """The space group of all data sets of all ranks."""
    mine = {one.crystal.hall: one for one in experiments}
    halls = list(dict.fromkeys(name for text in gather_texts(ranks, "\n".join(mine)) for name in text.splitlines()))
    groups = [Symmetry.from_hall(hall) for hall in halls]
    different = list(dict.fromkeys(str(group) for group in groups if group != groups[0]))
    if different:
        names = ", ".join([str(groups[0]), *different][:_MOST_DIFFERENT])
        raise DataError(f"the data sets have different space groups: {names}; give the common one as space_group=")
    if experiments:
        common_symmetry([experiments[0]])
    return groups[0]


@dataclass(frozen=True, slots=True)
class PreparedUnit:
    """A unit with its data sets as they are used.

    ``first``: number of its first data set among all.  ``data_sets``: with their observations.
    """

    unit: Unit
    data: Input
    first: int
    data_sets: tuple[RunDataSet, ...]


def prepared_units(
    ranks: Communicator, inputs: Census, plan: RanksPlan, operators: Mapping[int, str] | None = None
) -> Iterator[PreparedUnit]:
    """The units of this rank, one in memory at a time.  ``operators``: of data sets that are reindexed, by number."""
    cuts = plan.row_cuts(inputs.stills)
    for unit in inputs.units:
        ranks.at(f"at work on {unit.name}")
        data = open_unit(unit, plan)
        first = inputs.first_number(unit)
        mended = {k: operators[first + k] for k in range(len(data.data_sets)) if operators and first + k in operators}
        if mended:
            data = with_operators(data, mended, inputs.symmetry.hall)
        sets: list[RunDataSet] = []
        for k, data_set in enumerate(data.data_sets):
            experiment, in_use = data_set.experiment, None
            if isinstance(experiment.kind, Sweep):
                choice = image_selection.choose_images([experiment], [0], _NOTHING, [k])
                in_use = choice.in_use[0]
                experiment = experiment if in_use is None else experiment.with_images(in_use)
            rows = prepare(
                data_set.table, experiment, k, cuts=cuts, in_use=in_use, intensity=plan.intensity_choice,
                best_cell=inputs.cell,
            )  # fmt: skip
            sets.append(_judged(data_set, experiment, rows, first + k))
        yield PreparedUnit(unit, data, first, tuple(sets))
        forget(one.table for one in data.data_sets)


def _judged(data_set: DataSet, experiment: Experiment, rows: UsableRows, number: int) -> RunDataSet:
    """The data set as it is used, or why it is left out."""
    reason = rows.reason
    fate = rows.fate
    if not reason and is_blank(rows.observations):
        reason = "no signal: its intensities scatter about 0"
        fate = np.where(fate == Fate.SCALED, np.uint8(Fate.DATA_SET_UNUSABLE), fate)
    if reason:
        return LeftOut(number, data_set, experiment, reason, fate, rows.partials)
    return UsedDataSet(number, data_set, experiment, rows, fate)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The rows of this rank, not yet numbered.

    ``numbers``, ``names``: of the data sets that are crystals of ``store``; the numbers are among all, (n_crystals,).
    ``fates``: input rows by fate, (n_fates,).  ``left_out``: data sets that are not used, and why.
    ``both_kinds``: whether a row has profile and sum.
    """

    store: RowStore
    numbers: Int
    names: list[str]
    fates: Int
    left_out: tuple[tuple[str, str], ...]
    both_kinds: bool


def load(ranks: Communicator, inputs: Census, plan: RanksPlan, allocator: Allocator) -> Loaded:
    """Read and prepare the units of this rank.  Raises InputError for indices that no crystal has."""
    store = RowStore.of(allocator, inputs.room, inputs.detector is not None)
    numbers: list[int] = []
    names: list[str] = []
    left_out: list[tuple[str, str]] = []
    fates = np.zeros(max(Fate) + 1, np.int64)
    both = False
    for one in prepared_units(ranks, inputs, plan):
        used = [data_set for data_set in one.data_sets if isinstance(data_set, UsedDataSet)]
        left_out += [
            (data_set.identifier, data_set.reason)
            for data_set in one.data_sets
            if not isinstance(data_set, UsedDataSet)
        ]
        for data_set in one.data_sets:
            fates += np.bincount(data_set.fate, minlength=len(fates))
        if not used:
            continue
        try:
            _append(store, used, inputs, plan)
        except UserError as error:
            raise InputError(f"{one.unit.name}: {error}") from error
        numbers += [data_set.number for data_set in used]
        names += [data_set.identifier for data_set in used]
        both |= any(bool((o.has_sum & o.has_prf).any()) for o in (data_set.usable.observations for data_set in used))
    return Loaded(store, np.array(numbers, np.int64), names, fates, tuple(left_out), both)


def _append(store: RowStore, used: Sequence[UsedDataSet], inputs: Census, plan: RanksPlan) -> None:
    """Put the rows of the data sets of one unit into the store."""
    observations = [data_set.usable.observations for data_set in used]
    hkl = np.concatenate([rows.hkl for rows in observations])
    index = packed(*inputs.symmetry.asu(hkl))
    ends = np.cumsum([len(rows) for rows in observations]).tolist()
    for rows, last in zip(observations, ends, strict=True):
        values = initial(rows, plan.intensity_choice)
        columns = _columns(rows, values, index[last - len(rows) : last])
        if inputs.detector is not None:
            columns["place"] = inputs.detector.positions(rows.xyz)
        store.append(_key(rows), columns)


def _columns(rows: Observations, values: Intensities, index: Int) -> dict[str, Array]:
    columns = {
        "index": index,
        "intensity": values.intensity,
        "variance": values.variance,
        "s": 0.5 / rows.d**2,
        "factor": values.raw_factor,
    }
    if len(values.relative):
        columns["relative"] = values.relative
    return columns


def _key(rows: Observations) -> int:
    """A number that looks random, the same for the same data wherever they stand."""
    return int(mix(row_keys(rows).min(keepdims=True))[0])


def refuse_twice(ranks: Communicator, keys: Array) -> None:
    """Raises DataError, on all ranks, if two data sets are the same data.

    ``keys``: of the crystals of this rank, (n_crystals,).
    """
    every = np.sort(np.concatenate(ranks.allgather(keys)))
    n = int(np.count_nonzero(every[1:] == every[:-1]))
    if n:
        raise DataError(f"{n} data sets are there twice, with the same rows to the last digit; give them once")
