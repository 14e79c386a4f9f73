"""Makes the observations of a run, in the order of unique reflections, from the data sets of the input."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data import batches, image_selection, sorting
from braggscale.data.connected_sets import connected_sets
from braggscale.data.experiment import Experiment
from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.preparation import count_fates
from braggscale.data.reference import Placed, Reference, place_reference
from braggscale.data.sorting import RunDataSet, SortedObservations
from braggscale.data.symmetry import Symmetry
from braggscale.data.table import DataSet
from braggscale.data.unique_reflections import Groups
from braggscale.log_detail import MANY_DATA_SETS, in_file
from braggscale.numerics.timing import Clock
from braggscale.run_warnings import Code, warn
from braggscale.scaling.plan import Plan
from braggscale.scaling.reference import Beside, beside, groups_known
from braggscale.weighting.negative_intensities import with_symmetric_variances
from braggscale.wording import some_of

log = logging.getLogger(__name__)

WORST = 5  # number of data sets that are named if there are very many


@dataclass(frozen=True, slots=True)
class RunData:
    """The data that a run scales.

    ``data_sets``: those that the plan chose, in their order.  ``images``: in use, one entry for each of them.
    ``cell``: for resolution and statistics, Angstrom and degrees.
    ``beside``: the observations with those of a reference; None where there is none.
    ``groups``: of observations that should agree, with Friedel mates together, or apart in an anomalous run.
    """

    data_sets: tuple[RunDataSet, ...]
    images: image_selection.ImageChoice
    symmetry: Symmetry
    cell: UnitCell
    observations: SortedObservations
    groups: Groups
    beside: Beside | None = None


def run_data(
    data_sets: Sequence[DataSet], plan: Plan, clock: Clock, quiet: bool = False, reference: Reference | None = None
) -> RunData:
    """Choose images, prepare every data set that the plan chose, and sort the observations; logs their numbers.

    ``data_sets``: all of the input.  ``quiet``: nothing is logged.  ``reference``: intensities to scale against.
    Raises CommandError for images that are not there, DataError where space groups differ or nothing is usable.
    """
    with clock.stage("preparation"):
        # every sweep gets its batch numbers, so that they do not depend on which data sets are left out
        numbered = _with_batches([data_set.experiment for data_set in data_sets])
        experiments = [numbered[k] for k in plan.data_sets]
        symmetry = sorting.common_symmetry(experiments)
        cell = sorting.best_cell(experiments, plan.best_unit_cell)
        offsets = batches.offsets_of(experiments)
        images = image_selection.choose_images(experiments, offsets, plan.images, plan.data_sets)
        if not quiet:
            log.info(f"Space group {symmetry}, unit cell " + " ".join(f"{x:.3f}" for x in cell))
            _log_batches(experiments, offsets)
            for line in images.lines:
                log.info(line)
        chosen = [data_sets[k] for k in plan.data_sets]
        prepared = sorting.prepare_all(
            chosen, plan.data_sets, experiments, images, plan.cuts, plan.intensity_choice, cell, plan.known_factor
        )
        if not quiet:
            _log_preparation(prepared)
    with clock.stage("symmetry"):
        prepared, observations = sorting.sort_observations(prepared, symmetry)
        symmetric, changed = with_symmetric_variances(observations.rows, len(sorting.used_data_sets(prepared)))
        if changed:
            observations = replace(observations, rows=symmetric)
            if not quiet:
                log.info(
                    f"Variances of negative {' and '.join(changed)} intensities do not grow with the size of the "
                    "intensity as those of positive ones do: its counts are added"
                )
        groups = _groups(observations, plan.anomalous)
        both = None
        if reference is not None:
            placed = place_reference(reference, symmetry, cell)
            both = beside(observations, placed, symmetry, reference.calculated, plan.anomalous)
        known = None if both is None else groups_known(both)
        before = len(observations.rows)
        prepared, observations = sorting.drop_unconnected(prepared, observations, symmetry, groups, known)
        groups = _groups(observations, plan.anomalous)
        if reference is not None and both is not None and len(observations.rows) < before:
            both = beside(observations, placed, symmetry, reference.calculated, plan.anomalous)
        if reference is not None and both is not None and not quiet:
            _log_reference(reference, placed, both)
        if both is None and not quiet:
            _warn_of_parts(prepared, observations, groups)
    return RunData(tuple(prepared), images, symmetry, cell, observations, groups, both)


def _warn_of_parts(prepared: Sequence[RunDataSet], observations: SortedObservations, groups: Groups) -> None:
    """Warn if some data sets have no reflection in common with the others."""
    names = [one.identifier for one in sorting.used_data_sets(prepared)]
    part = connected_sets(observations.rows.data_set, groups, len(names))
    if not part.any():
        return
    parts = [[name for name, k in zip(names, part.tolist(), strict=True) if k == which] for which in np.unique(part)]
    shown = "; ".join(some_of(members, 4) for members in parts[:4])
    more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
    warn(
        log,
        Code.NO_COMMON_SCALE,
        f"the data sets fall into {len(parts)} parts that share no reflection ({shown}{more}): each part is scaled by "
        "itself, and the scale between the parts follows from mean intensities only",
    )


def _log_reference(reference: Reference, placed: Placed, both: Beside) -> None:
    """Log what the reference is, and how much of it is used."""
    notes = "".join(f"; {note}" for note in placed.notes)
    log.info(
        f"Reference {reference.source}: {reference.what}; {both.n_reference} of them are measured here"
        f" (d {placed.d.max():.2f} to {placed.d.min():.2f}){notes}"
    )


def _groups(observations: SortedObservations, anomalous: bool) -> Groups:
    return observations.friedel_split if anomalous else observations.friedel_merged


def _with_batches(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The experiments with the batch offsets of this run."""
    offsets = batches.assign_batches(experiments)
    return [
        experiment if offset is None else experiment.with_batch_offset(offset)
        for experiment, offset in zip(experiments, offsets, strict=True)
    ]


def _log_batches(experiments: Sequence[Experiment], offsets: Sequence[int | None]) -> None:
    """The table of batch numbers."""
    if any(offset is not None for offset in offsets):
        extra = in_file(len(experiments) > MANY_DATA_SETS)
        log.info("Batch numbers assigned to datasets:", extra=extra)
        for line in batches.batch_lines(experiments, offsets):
            log.info(line, extra=extra)


def _log_preparation(data_sets: Sequence[RunDataSet]) -> None:
    """Log the usable rows of each data set, and why others are not usable."""
    counts = [count_fates(one.fate) for one in data_sets]
    good = [found.pop(Fate.SCALED, 0) for found in counts]
    shown = list(range(len(data_sets)))
    if len(data_sets) > MANY_DATA_SETS:
        rows = sum(len(one.fate) for one in data_sets)
        shown = sorted(shown, key=good.__getitem__)[:WORST]
        fewest = ", ".join(f"{data_sets[k].identifier} ({good[k]} of {len(data_sets[k].fate)})" for k in shown)
        log.info(
            f"{sum(good)} of {rows} rows are usable, {min(good)} to {max(good)} of each data set; fewest of {fewest}"
        )
        return
    for k in shown:
        log.info(f"Data set {data_sets[k].identifier}: {good[k]} of {len(data_sets[k].fate)} rows usable")
        log.debug("; ".join(f"{n} {FATE_TEXT[fate]}" for fate, n in counts[k].items()))
