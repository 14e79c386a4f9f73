"""The steps of a run: prepare, sort, build models, fit in rounds, decide the fates, merge.

``run`` takes the input and the plan, and returns a Result for writers and reports. No file is opened or written here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from braggscale.data import batches
from braggscale.data.fit_subset import Selection
from braggscale.data.sorting import UsedDataSet, used
from braggscale.data.table import DataSet
from braggscale.data.unique_reflections import Groups
from braggscale.models import MODELS
from braggscale.models.choice import ModelRequest
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings
from braggscale.numerics.array_types import Bool
from braggscale.numerics.partitions import side_by_side
from braggscale.numerics.timing import Clock
from braggscale.scaling.build_models import build_models, fixed_parameters
from braggscale.scaling.by_wavelength import by_wavelength
from braggscale.scaling.conclusion import (
    final_fates,
    half_sets_of,
    statistics_of,
    usable,
    with_excluded,
    with_intervals,
)
from braggscale.scaling.cross_validation import validate
from braggscale.scaling.dose import at_zero_dose
from braggscale.scaling.fit_selection import selected
from braggscale.scaling.free_set import free_set, is_free
from braggscale.scaling.indexing_check import IndexingCheck
from braggscale.scaling.judgement import exclusions_of, symmetry_of
from braggscale.scaling.one_by_one import scale_one_by_one
from braggscale.scaling.outlying import outlying
from braggscale.scaling.plan import Plan
from braggscale.scaling.previous_run import start_of
from braggscale.scaling.reference import ReferenceFit, scale_with_reference, selection_of_observations
from braggscale.scaling.result import Result
from braggscale.scaling.rounds import scale_data
from braggscale.scaling.run_data import RunData, run_data
from braggscale.scaling.state import Scaled, ScalingProblem, Start
from braggscale.scaling.stored_models import stored_models
from braggscale.weighting.error_model import assign

log = logging.getLogger(__name__)


def run(
    data_sets: Sequence[DataSet],
    not_indexed: int,
    plan: Plan,
    found: RunData | None = None,
    clock: Clock | None = None,
    indexing: IndexingCheck | None = None,
) -> Result:
    """Scale the data sets.

    ``not_indexed``: rows of the input that belong to no data set.  ``plan``: made for these data sets.
    ``found``: their observations, None to have them prepared.  ``clock``: gets the seconds of each stage.
    ``indexing``: whether they are indexed alike, for the result.  Raises UserError where data cannot be scaled.
    """
    clock = clock or Clock()
    found = found or run_data(data_sets, plan, clock)
    data, in_use = found.observations, used(found.data_sets)
    with clock.stage("models"):
        settings, model, theta, taken = build_models(in_use, data, plan.models)
        fixed = fixed_parameters(model, settings)
        of = assign(plan.error_models.grouping, len(in_use), plan.error_models.sweeps)
        everybody = len(in_use) == len(data_sets)
        start = start_of(theta, taken, model, in_use, data, plan.continuation, of, everybody)
    with clock.stage("selection"):
        identifiers = [one.identifier for one in in_use]
        selection, chosen = _selected(found, identifiers, plan)
        free = _free_rows(found.groups, plan)
    with clock.stage("scaling"):
        still = np.array([one.experiment.is_still for one in in_use])
        work = ScalingProblem(
            data.rows, found.groups, data.friedel_split, data.epsilon, model, selection.mask & ~free, fixed, of, still
        )
        scaled, told = _scaled(work, start, found, plan, chosen)
    validation = None
    if plan.validate:
        with clock.stage("validation"):
            others = _other_restraints(in_use, found, plan.models, settings)
            validation = validate(work, scaled, data.friedel_merged, plan.rounds.fit, others)
    with clock.stage("statistics"):
        final = final_fates(found.data_sets, data, scaled, plan.small_scale_cutoff)
        good = usable(data.rows.data_set, scaled, plan.small_scale_cutoff)
        used_experiments = [one.experiment for one in in_use]
        statistics, found_bad = side_by_side(
            lambda: statistics_of(data, scaled, good, found.cell, found.symmetry, plan.statistics),
            lambda: exclusions_of(data, scaled, good, used_experiments),
        )
        asked = statistics if plan.statistics.half_sets else None
        halves = half_sets_of(data, scaled, good, found.cell, found.symmetry, asked)
        apart = None
        if plan.free_set is not None:
            about = (found.cell, found.symmetry, plan.statistics, plan.free_set)
            apart = free_set(data, scaled, good, free, about)
        undamaged = None
        if plan.zero_dose is not None:
            undamaged = at_zero_dose(data, scaled, good, used_experiments, found.cell, plan.zero_dose.same_crystal)
        several = by_wavelength(data, scaled, good, used_experiments, (found.cell, found.symmetry, plan.statistics))
        statistics = with_intervals(statistics, data, scaled, good, used_experiments)
    with clock.stage("checks"):
        checked = symmetry_of(data, scaled, good, found.symmetry, found.cell)
    covariance = scaled.outcome.covariance
    esd = None if covariance is None else np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    # data sets that were not chosen are still listed in the ledger
    members = with_excluded(data_sets, final, plan.filtered)
    return Result(
        members=members,
        used=tuple(used(members)),
        kept=tuple(k for k, one in enumerate(members) if isinstance(one, UsedDataSet)),
        symmetry=found.symmetry,
        cell=found.cell,
        data=data,
        settings=tuple(settings),
        model=model,
        scaled=scaled,
        esd=esd,
        models=stored_models(model, settings, plan.continuation.outlier_limits, of, scaled, esd),
        selection=selection,
        statistics=statistics,
        batch_lines=batches.lines_in_use([one.experiment for one in final], found.images.in_use),
        not_indexed=not_indexed,
        seconds=dict(clock.seconds),
        validation=validation,
        exclusions=found_bad,
        symmetry_check=checked,
        indexing=indexing,
        reference=told,
        free_set=apart,
        half_sets=halves,
        wavelengths=several,
        zero_dose=undamaged,
        outlying=outlying(scaled, data.rows.data_set, model, used_experiments, good),
    )


def _scaled(
    work: ScalingProblem, start: Start, found: RunData, plan: Plan, chosen: Bool
) -> tuple[Scaled, ReferenceFit | None]:
    """The scales, and how they compare with a reference where there is one.  ``chosen``: rows in the fit."""
    if found.beside is None:
        return scale_data(work, start, plan.rounds), None
    chosen = chosen & ~_free_rows(found.beside.groups, plan)
    if plan.one_by_one:
        return scale_one_by_one(work, start, plan.rounds, found.beside, chosen)
    return scale_with_reference(work, start, plan.rounds, found.beside, plan.reference_mode, chosen)


def _free_rows(groups: Groups, plan: Plan) -> Bool:
    """Rows of the free set, (n,)."""
    if plan.free_set is None:
        return np.zeros(groups.n_rows, bool)
    result: Bool = groups.spread(is_free(groups, plan.free_set))
    return result


def _selected(found: RunData, identifiers: list[str], plan: Plan) -> tuple[Selection, Bool]:
    """Observations that take part in the fit; and which rows, where a reference stands among them."""
    if found.beside is None:
        selection = selected(found.observations, found.groups, identifiers, plan.intensity_choice, plan.selection)
        return selection, selection.mask
    both = found.beside
    selection = selected(both.data, both.groups, [*identifiers, "reference"], plan.intensity_choice, plan.selection)
    return selection_of_observations(selection, both.own), selection.mask | ~both.own


def _other_restraints(
    in_use: Sequence[UsedDataSet], found: RunData, request: ModelRequest, settings: Sequence[ModelSettings]
) -> dict[str, JointModel]:
    """The models with the other kind of ``restraints``, by its name; empty if they are the same."""
    estimated = not any(s.estimated for s in settings)
    changed = replace(request, estimated=estimated, use_stored=False)
    kinds = {s.model for s in settings}
    if len(kinds) == 1:
        changed = replace(changed, kind=kinds.pop())
    if estimated and not any(MODELS[s.model].estimates for s in settings):
        return {}
    name = "estimated restraints" if estimated else "fixed restraints"
    return {name: build_models(in_use, found.observations, changed, quiet=True)[1]}
