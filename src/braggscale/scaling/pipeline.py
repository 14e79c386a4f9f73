"""The steps of a run: prepare, sort, build models, fit in rounds, decide the fates, merge.

``run`` takes the input and the plan, and returns a Result for writers and reports. No file is opened or written here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from braggscale.data import batches
from braggscale.data.experiment import Experiment
from braggscale.data.fit_subset import Selection
from braggscale.data.geometry import inverse_d_squared
from braggscale.data.sorting import SortedObservations, UsedDataSet, used_data_sets
from braggscale.data.table import DataSet
from braggscale.data.unique_reflections import Groups
from braggscale.errors import DataError
from braggscale.models import MODELS
from braggscale.models.choice import ModelRequest
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.partitions import side_by_side
from braggscale.numerics.timing import Clock
from braggscale.scaling.build_models import build_models, fixed_parameters
from braggscale.scaling.by_wavelength import Wavelengths, by_wavelength
from braggscale.scaling.conclusion import (
    final_fates,
    half_sets_of,
    statistics_of,
    usable,
    with_excluded,
    with_intervals,
)
from braggscale.scaling.cross_validation import Validation, validate
from braggscale.scaling.data_checks import exclusions_of, symmetry_of
from braggscale.scaling.dose import ZeroDoseResult, at_zero_dose, doses
from braggscale.scaling.fit_selection import selected
from braggscale.scaling.free_set import FreeSet, free_set, is_free
from braggscale.scaling.indexing_check import IndexingCheck
from braggscale.scaling.one_by_one import scale_one_by_one
from braggscale.scaling.outlying import outlying
from braggscale.scaling.plan import Plan
from braggscale.scaling.previous_run import start_of
from braggscale.scaling.reference import ReferenceFit, scale_with_reference, selection_of_observations
from braggscale.scaling.result import Result
from braggscale.scaling.rounds import scale_data
from braggscale.scaling.run_data import RunData, run_data
from braggscale.scaling.state import RoundSettings, Scaled, ScalingProblem, Start
from braggscale.scaling.stored_models import stored_models
from braggscale.statistics.exclusions import Exclusions
from braggscale.statistics.half_set_statistics import HalfSets
from braggscale.statistics.merging_statistics import Statistics
from braggscale.weighting.error_model import assign

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Models:
    """The models of the data sets in use.  ``fixed``: parameters that keep their values, (n_parameters,).

    ``error_model_of``: number of the error model of each data set, (n_data_sets,).
    """

    settings: Sequence[ModelSettings]
    model: JointModel
    start: Start
    fixed: Bool
    error_model_of: Int


@dataclass(frozen=True, slots=True)
class _Fit:
    """The scales, and how they were found.  ``free``: rows of the free set, (n,)."""

    problem: ScalingProblem
    selection: Selection
    free: Bool
    scaled: Scaled
    reference: ReferenceFit | None
    validation: Validation | None


@dataclass(frozen=True, slots=True)
class _Merged:
    """Everything that is calculated from the scaled observations of a run."""

    statistics: Statistics | None
    exclusions: Exclusions
    half_sets: HalfSets | None
    free_set: FreeSet | None
    zero_dose: ZeroDoseResult | None
    wavelengths: Wavelengths | None


def run(
    data_sets: Sequence[DataSet],
    not_indexed: int,
    plan: Plan,
    prepared: RunData | None = None,
    clock: Clock | None = None,
    indexing: IndexingCheck | None = None,
) -> Result:
    """Scale the data sets.

    ``not_indexed``: number of input rows that belong to no data set.  ``plan``: made for these data sets.
    ``prepared``: their observations, None to have them prepared.  ``clock``: gets the seconds of each stage.
    ``indexing``: check of indexing, for the result.  Raises UserError, DataError if the data cannot be scaled.
    """
    clock = clock or Clock()
    prepared = prepared or run_data(data_sets, plan, clock)
    data, in_use = prepared.observations, used_data_sets(prepared.data_sets)
    with clock.stage("models"):
        models = _models(prepared, in_use, plan, everybody=len(in_use) == len(data_sets))
    fit = _fit(prepared, in_use, models, plan, clock)
    scaled = fit.scaled
    with clock.stage("statistics"):
        final = final_fates(prepared.data_sets, data, scaled, plan.small_scale_cutoff)
        good = _merged_rows(data, scaled, plan)
        experiments = [one.experiment for one in in_use]
        merged = _merged(prepared, fit, good, experiments, plan)
    with clock.stage("checks"):
        symmetry = symmetry_of(data, scaled, good, prepared.symmetry, prepared.cell)
    esd = _esd(scaled)
    limits = plan.continuation.outlier_limits
    # data sets that were not chosen are still listed in the ledger
    every = with_excluded(data_sets, final, plan.filtered)
    return Result(
        data_sets=every,
        used=tuple(used_data_sets(every)),
        kept=tuple(k for k, one in enumerate(every) if isinstance(one, UsedDataSet)),
        symmetry=prepared.symmetry,
        cell=prepared.cell,
        data=data,
        settings=tuple(models.settings),
        model=models.model,
        scaled=scaled,
        esd=esd,
        models=stored_models(models.model, models.settings, limits, models.error_model_of, scaled, esd),
        selection=fit.selection,
        statistics=merged.statistics,
        batch_lines=batches.lines_in_use([one.experiment for one in final], prepared.images.in_use),
        not_indexed=not_indexed,
        seconds=dict(clock.seconds),
        validation=fit.validation,
        exclusions=merged.exclusions,
        symmetry_check=symmetry,
        indexing=indexing,
        reference=fit.reference,
        free_set=merged.free_set,
        half_sets=merged.half_sets,
        wavelengths=merged.wavelengths,
        zero_dose=merged.zero_dose,
        outlying=outlying(scaled, data.rows.data_set, models.model, experiments, good),
    )


def _merged_rows(data: SortedObservations, scaled: Scaled, plan: Plan) -> Bool:
    """Rows that are merged, (n,).  Raises DataError if there are none."""
    good = usable(data.rows.data_set, scaled, plan.small_scale_cutoff)
    if not good.any():
        raise DataError(
            f"no observation is left after scaling: of {len(good)}, {scaled.state.rejected.sum()} are outliers "
            "and the others have inverse scale factors below small_scale_cutoff; try model=KB, or "
            "restraints=fixed, and check whether all data are of the same crystal form"
        )
    return good


def _models(prepared: RunData, in_use: Sequence[UsedDataSet], plan: Plan, everybody: bool) -> _Models:
    """Build the models, and find their starting point.  ``everybody``: whether all data sets of the input are used."""
    data = prepared.observations
    settings, model, theta, taken = build_models(in_use, data, plan.models)
    fixed = fixed_parameters(model, settings)
    error_model_of = assign(plan.error_models.grouping, len(in_use), plan.error_models.sweeps)
    start = start_of(theta, taken, model, in_use, data, plan.continuation, error_model_of, everybody)
    return _Models(settings, model, start, fixed, error_model_of)


def _fit(prepared: RunData, in_use: Sequence[UsedDataSet], models: _Models, plan: Plan, clock: Clock) -> _Fit:
    """Select observations, find the scales, and test the models if the plan asks for it."""
    with clock.stage("selection"):
        selection, chosen = _selected(prepared, [one.identifier for one in in_use], plan)
        free = _free_rows(prepared.groups, plan)
    with clock.stage("scaling"):
        problem = _problem(prepared, in_use, models, selection.mask & ~free)
        scaled, reference = _scaled(problem, models.start, prepared, plan, chosen)
    validation = None
    if plan.validate:
        with clock.stage("validation"):
            others = _other_restraints(in_use, prepared, plan.models, models.settings)
            groups = prepared.observations.friedel_merged
            validation = validate(problem, scaled, groups, plan.rounds.fit, others)
    return _Fit(problem, selection, free, scaled, reference, validation)


def _problem(prepared: RunData, in_use: Sequence[UsedDataSet], models: _Models, chosen: Bool) -> ScalingProblem:
    """The problem of the rounds.  ``chosen``: observations in the fit, (n,)."""
    data = prepared.observations
    still = np.array([one.experiment.is_still for one in in_use])
    return ScalingProblem(
        data.rows, prepared.groups, data.friedel_split, data.epsilon, models.model, chosen, models.fixed,
        models.error_model_of, still,
    )  # fmt: skip


def _merged(prepared: RunData, fit: _Fit, good: Bool, experiments: Sequence[Experiment], plan: Plan) -> _Merged:
    """The statistics of the scaled observations, and the tests of images and data sets.

    ``good``: rows that are merged, (n,).
    """
    scaled, free = fit.scaled, fit.free
    data, cell, symmetry = prepared.observations, prepared.cell, prepared.symmetry
    statistics, exclusions = side_by_side(
        lambda: statistics_of(data, scaled, good, cell, symmetry, plan.statistics),
        lambda: exclusions_of(data, scaled, good, experiments),
    )
    shells = statistics if plan.statistics.half_sets else None
    halves = half_sets_of(data, scaled, good, cell, symmetry, shells)
    both_sets = None
    if plan.free_set is not None:
        both_sets = free_set(data, scaled, good, free, (cell, symmetry, plan.statistics, plan.free_set))
    at_zero = None
    if plan.zero_dose is not None:
        at_zero = _zero_dose(prepared, fit, good, experiments, plan.rounds, plan.zero_dose.same_crystal)
    wavelengths = by_wavelength(data, scaled, good, experiments, (cell, symmetry, plan.statistics))
    statistics = with_intervals(statistics, data, scaled, good, experiments)
    return _Merged(statistics, exclusions, halves, both_sets, at_zero, wavelengths)


def _zero_dose(
    prepared: RunData,
    fit: _Fit,
    good: Bool,
    experiments: Sequence[Experiment],
    settings: RoundSettings,
    same_crystal: bool,
) -> ZeroDoseResult:
    """Intensities at dose zero.  Scales from a reference are kept: the reference does not change with the dose."""
    data = prepared.observations
    groups = data.friedel_merged
    hkl = data.asu[groups.offsets[:-1]].astype(np.int32)
    s = inverse_d_squared(hkl, prepared.cell)
    again = None if prepared.beside is not None else (fit.problem, settings)
    found = at_zero_dose(groups, s, fit.scaled, good, doses(data, experiments, same_crystal), again)
    return ZeroDoseResult(found, hkl, same_crystal)


def _esd(scaled: Scaled) -> Float | None:
    """Standard deviations of theta, (n_parameters,); None without a covariance."""
    covariance = scaled.outcome.covariance
    return None if covariance is None else np.sqrt(np.maximum(covariance.diagonal(), 0.0))


def _scaled(
    problem: ScalingProblem, start: Start, prepared: RunData, plan: Plan, chosen: Bool
) -> tuple[Scaled, ReferenceFit | None]:
    """The scales, and the comparison with the reference if there is one.  ``chosen``: rows in the fit, (n,)."""
    if prepared.beside is None:
        return scale_data(problem, start, plan.rounds), None
    chosen = chosen & ~_free_rows(prepared.beside.groups, plan)
    if plan.one_by_one:
        return scale_one_by_one(problem, start, plan.rounds, prepared.beside, chosen)
    return scale_with_reference(problem, start, plan.rounds, prepared.beside, plan.reference_mode, chosen)


def _free_rows(groups: Groups, plan: Plan) -> Bool:
    """Rows of the free set, (n,)."""
    if plan.free_set is None:
        return np.zeros(groups.n_rows, bool)
    result: Bool = groups.spread(is_free(groups, plan.free_set))
    return result


def _selected(prepared: RunData, identifiers: list[str], plan: Plan) -> tuple[Selection, Bool]:
    """Observations that take part in the fit, and the rows of the problem that do: the reference is among these."""
    if prepared.beside is None:
        selection = selected(prepared.observations, prepared.groups, identifiers, plan.intensity_choice, plan.selection)
        return selection, selection.mask
    both = prepared.beside
    selection = selected(both.data, both.groups, [*identifiers, "reference"], plan.intensity_choice, plan.selection)
    return selection_of_observations(selection, both.own), selection.mask | ~both.own


def _other_restraints(
    in_use: Sequence[UsedDataSet], prepared: RunData, request: ModelRequest, settings: Sequence[ModelSettings]
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
    return {name: build_models(in_use, prepared.observations, changed, quiet=True)[1]}
