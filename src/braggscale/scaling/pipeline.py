"""The story of a run: choose, prepare, sort, model, fit in rounds, judge, merge.

``run`` takes what was read and the options, and returns a Result that the writers and reports use. No file is opened
or written here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from braggscale.data import batches, image_selection, sorting
from braggscale.data.data_set_names import MOST_LOGGED
from braggscale.data.experiment import Experiment
from braggscale.data.fit_subset import Pool, Selection, select
from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.normalised_intensities import normalised_intensities
from braggscale.data.sorting import RunDataSet, SortedObservations
from braggscale.data.symmetry import Symmetry
from braggscale.data.table import DataSet
from braggscale.data.unique_reflections import Groups
from braggscale.errors import DataError
from braggscale.models import MODELS
from braggscale.models.choice import ModelRequest
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings
from braggscale.models.stored_model import OWN_ENTRY
from braggscale.numerics.array_types import Bool, Float
from braggscale.numerics.timing import Clock
from braggscale.scaling.build_models import build_models, fixed_parameters
from braggscale.scaling.cross_validation import validate
from braggscale.scaling.plan import FitSelection, Plan, StatisticsRequest
from braggscale.scaling.previous_run import OutlierLimits, start_of, stored_entry
from braggscale.scaling.result import Result
from braggscale.scaling.rounds import scale_data
from braggscale.scaling.state import Scaled, ScalingProblem
from braggscale.statistics.confidence_intervals import INTERVALS_OF, blocks_of, intervals
from braggscale.statistics.merging_statistics import Statistics, merging_statistics
from braggscale.weighting.error_model import assign
from braggscale.weighting.intensity_choice import initial

log = logging.getLogger(__name__)


def run(data_sets: Sequence[DataSet], not_indexed: int, plan: Plan, clock: Clock | None = None) -> Result:
    """Scale the data sets.

    ``not_indexed``: rows of the input that belong to no data set.  ``plan``: made for these data sets.
    ``clock``: gets the seconds of each stage.  Raises UserError where data cannot be scaled.
    """
    clock = clock or Clock()
    everything = tuple(data_sets)
    with clock.stage("preparation"):
        # every sweep gets its batch numbers, so that they do not depend on which data sets are left out
        numbered = with_batches([data_set.experiment for data_set in everything])
        numbers = plan.data_sets
        chosen = [everything[i] for i in numbers]
        symmetry = sorting.common_symmetry([data_set.experiment for data_set in chosen])
        cell = sorting.best_cell([data_set.experiment for data_set in chosen], plan.best_unit_cell)
        log.info(f"Space group {symmetry.name}, unit cell " + " ".join(f"{x:.3f}" for x in cell))
        experiments = [numbered[i] for i in numbers]
        log_batches(experiments)
        images = image_selection.choose_images(experiments, _offsets(experiments), plan.images, numbers)
        for line in images.lines:
            log.info(line)
        members = sorting.prepare_all(
            chosen,
            numbers,
            experiments,
            images,
            plan.cuts,
            plan.intensity_choice,
            cell,
        )
        _log_preparation(members)
    with clock.stage("symmetry"):
        members, data = sorting.sort_observations(members, symmetry)
        grouping = data.friedel_split if plan.anomalous else data.friedel_merged
        members, data = sorting.drop_unconnected(members, data, symmetry, grouping)
        grouping = data.friedel_split if plan.anomalous else data.friedel_merged
    kept = [k for k, member in enumerate(members) if not member.dropped]
    with clock.stage("models"):
        settings, model, theta, taken = build_models([members[k] for k in kept], data, plan.models)
        fixed = fixed_parameters(model, settings)
        of = assign(plan.error_models.grouping, len(kept), plan.error_models.sweeps)
        everybody = len(kept) == len(everything)
        start = start_of(theta, taken, model, [members[k] for k in kept], data, plan.continuation, of, everybody)
    with clock.stage("selection"):
        selection = _select(data, grouping, len(kept), plan.intensity_choice, plan.selection)
        _log_selection(selection, [members[k].identifier for k in kept])
    with clock.stage("scaling"):
        work = ScalingProblem(data.rows, grouping, data.friedel_split, data.epsilon, model, selection.mask, fixed, of)
        scaled = scale_data(work, start, plan.rounds)
    validation = None
    if plan.validate:
        with clock.stage("validation"):
            others = _other_restraints([members[k] for k in kept], data, plan.models, settings)
            validation = validate(work, scaled, data.friedel_merged, plan.rounds.fit, others)
    with clock.stage("statistics"):
        members = _final_fates(members, kept, data, scaled, plan.small_scale_cutoff)
        good = usable(data, scaled, plan.small_scale_cutoff)
        statistics = _statistics(data, scaled, good, cell, symmetry, plan.statistics)
        statistics = _with_intervals(statistics, data, scaled, good, [members[k].experiment for k in kept])
    # data sets that were not chosen keep their place in the ledger
    complete, places = _with_left_out(everything, numbers, members)
    covariance = scaled.outcome.covariance
    esd = None if covariance is None else np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    lines = batches.batch_lines(
        [m.experiment for m in members],
        _offsets([m.experiment for m in members]),
        [images.in_use[k] for k in range(len(members))],
    )
    return Result(
        members=complete,
        kept=tuple(places[k] for k in kept),
        symmetry=symmetry,
        cell=cell,
        data=data,
        settings=tuple(settings),
        model=model,
        scaled=scaled,
        esd=esd,
        models=_stored_models(model, settings, plan.continuation.outlier_limits, work, scaled, esd),
        selection=selection,
        statistics=statistics,
        batch_lines=tuple(lines),
        not_indexed=not_indexed,
        seconds=dict(clock.seconds),
        validation=validation,
    )


def _other_restraints(
    members: Sequence[RunDataSet],
    data: SortedObservations,
    request: ModelRequest,
    settings: Sequence[ModelSettings],
) -> dict[str, JointModel]:
    """The models that the other choice of ``restraints`` gives, by its name; none where it makes no difference."""
    estimated = not any(s.estimated for s in settings)
    changed = replace(request, estimated=estimated, use_stored=False)
    kinds = {s.model for s in settings}
    if len(kinds) == 1:
        changed = replace(changed, kind=kinds.pop())
    if estimated and not any(MODELS[s.model].estimates for s in settings):
        return {}
    name = "estimated restraints" if estimated else "fixed restraints"
    return {name: build_models(members, data, changed, quiet=True)[1]}


def _offsets(experiments: Sequence[Experiment]) -> list[int | None]:
    return [None if e.is_still or e.scan is None else e.scan.batch_offset for e in experiments]


def with_batches(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The experiments with the batch offsets of this run."""
    offsets = batches.assign_batches(experiments)
    result = []
    for experiment, offset in zip(experiments, offsets, strict=True):
        if experiment.scan is not None and offset is not None:
            experiment = replace(experiment, scan=replace(experiment.scan, batch_offset=offset))
        result.append(experiment)
    return result


def log_batches(experiments: Sequence[Experiment]) -> None:
    """The table of batch numbers."""
    offsets = _offsets(experiments)
    if any(offset is not None for offset in offsets):
        log.info("Batch numbers assigned to datasets:")
        for line in batches.batch_lines(experiments, offsets):
            log.info(line)


def _select(
    data: SortedObservations, groups: Groups, n_data_sets: int, intensity_choice: str, wanted: FitSelection
) -> Selection:
    rows = data.rows
    values = initial(rows, intensity_choice)
    e2 = None
    if wanted.method == "intensity_ranges":
        e2 = np.ones(len(rows))
        for mine in sorting.rows_by_data_set(rows, n_data_sets):
            e2[mine] = normalised_intensities(values.intensity[mine], rows.d[mine], data.epsilon[mine])
    pool = Pool(groups, rows.data_set, n_data_sets, values.intensity, values.variance, rows.d, rows.partiality, e2)
    selection = select(wanted.method, pool, wanted.limits, wanted.draw)
    for warning in selection.warnings:
        log.warning(warning)
    if not selection.mask.any():
        raise DataError(
            f"no reflection passes the selection ({wanted.method}: E2_range, Isigma_range, d_range, "
            "min_partiality) in groups of two or more; widen the limits or use reflection_selection.method=use_all"
        )
    return selection


def usable(data: SortedObservations, scaled: Scaled, cutoff: float) -> Bool:
    """Observations that end as scaled, (n,)."""
    result: Bool = ~scaled.state.rejected & (scaled.state.scale >= cutoff)
    return result


def _final_fates(
    members: list[RunDataSet], kept: Sequence[int], data: SortedObservations, scaled: Scaled, cutoff: float
) -> list[RunDataSet]:
    """Outliers and scales that are too small, written into the fates of the input rows."""
    small = scaled.state.scale < cutoff
    if small.any():
        log.warning(
            f"{int(small.sum())} reflections have an inverse scale factor below {cutoff:g} and are left out; "
            "fewer parameters or an exclusion of bad images may help"
        )
    result = list(members)
    for k, mine in zip(kept, sorting.rows_by_data_set(data.rows, len(kept)), strict=True):
        member = members[k]
        if member.prepared is None:
            continue
        rows = member.prepared.kept[data.rows.row[mine]]
        fate = member.fate.copy()
        fate[rows[scaled.state.rejected[mine]]] = Fate.OUTLIER
        fate[rows[small[mine]]] = Fate.SCALE_TOO_SMALL
        result[k] = replace(member, fate=fate)
    return result


def _with_left_out(
    data_sets: Sequence[DataSet], numbers: Sequence[int], members: Sequence[RunDataSet]
) -> tuple[tuple[RunDataSet, ...], list[int]]:
    """All data sets of the input in their order, and where in it each of ``members`` stands."""
    complete: list[RunDataSet] = []
    places: list[int] = []
    by_number = dict(zip(numbers, members, strict=True))
    for i, data_set in enumerate(data_sets):
        if i in by_number:
            places.append(len(complete))
            complete.append(by_number[i])
            continue
        fate = np.full(len(data_set.table), Fate.DATA_SET_EXCLUDED, np.uint8)
        complete.append(RunDataSet(i, data_set, data_set.experiment, None, "excluded by the command", fate))
    return tuple(complete), places


def _stored_models(
    model: JointModel,
    settings: Sequence[ModelSettings],
    limits: OutlierLimits,
    work: ScalingProblem,
    scaled: Scaled,
    esd: Float | None,
) -> tuple[dict[str, Any], ...]:
    """The dictionary of each data set's model."""
    errors = [scaled.state.errors[number] for number in work.error_model_of]
    stored = []
    seen: set[tuple[int, int]] = set()
    for d, data_set in enumerate(model.data_sets):
        slices = [model.where(d, c) for c in range(len(data_set.components))]
        theta = [scaled.outcome.theta[where] for where in slices]
        sigma = None if esd is None else [esd[where] for where in slices]
        extra: dict[str, Any] = {
            "error_model_type": "BasicErrorModel",
            "error_model_parameters": [errors[d].a, errors[d].b],
        }
        if errors[d].c > 0:
            extra["error_model_linear_term"] = errors[d].c  # other programs expect two parameters
        if scaled.state.i_mid is not None:
            extra["Imid"] = float(scaled.state.i_mid)
        found = data_set.to_dict(theta, sigma, extra, scaled.state.strengths)
        for component, where in zip(data_set.components, slices, strict=True):
            # what all data sets share and no other program reads is stored once: of stills it would be most of the file
            if component.name in data_set.beyond_dials and (where.start, where.stop) in seen:
                del found[component.name]
            seen.add((where.start, where.stop))
        stored.append(found | {OWN_ENTRY: stored_entry(settings[d], limits)})
    return tuple(stored)


def _log_preparation(members: Sequence[RunDataSet]) -> None:
    """Rows and reasons of each data set."""
    for member in members[:MOST_LOGGED]:
        if member.prepared is None:
            continue
        counts = member.prepared.counts()
        good = counts.pop(Fate.SCALED, 0)
        log.info(f"Data set {member.identifier}: {good} of {len(member.fate)} rows usable")
        log.debug("; ".join(f"{n} {FATE_TEXT[fate]}" for fate, n in counts.items()))
    if len(members) > MOST_LOGGED:
        log.info(f"... and {len(members) - MOST_LOGGED} more data sets")


def _log_selection(selection: Selection, identifiers: Sequence[str]) -> None:
    """How many observations take part in the fit, and why not the others."""
    total = sum(share.usable for share in selection.shares)
    log.info(
        f"{int(selection.mask.sum())} of {total} observations take part in the fit of the scales, "
        f"in {selection.n_groups} unique reflections"
    )
    names = {
        "not_allowed": "not allowed",
        "e2": "outside E2_range",
        "i_over_sigma": "outside Isigma_range",
        "partiality": "below min_partiality",
        "d": "outside d_range",
        "single": "without a partner",
        "not_drawn": "not drawn",
    }
    for key, text in names.items():
        n = sum(getattr(share, key) for share in selection.shares)
        if n:
            log.info(f"  {n} {text}")
    whole = [identifiers[s.data_set] for s in selection.shares if not s.e2_applies]
    if whole and len(whole) <= MOST_LOGGED:
        log.debug(f"too few reflections for an E2 range: {', '.join(whole)}")


def _statistics(
    data: SortedObservations, scaled: Scaled, good: Bool, cell: UnitCell, symmetry: Symmetry, wanted: StatisticsRequest
) -> Statistics | None:
    """Merging statistics of what is written out; None, with a warning, where nothing can be merged."""
    rows = np.flatnonzero(good)
    g = scaled.state.scale[rows]
    return merging_statistics(
        np.take(data.asu, rows, axis=0),
        data.minus[rows],
        scaled.state.values.intensity[rows] / g,
        np.sqrt(scaled.variance[rows]) / g,
        cell,
        symmetry,
        n_bins=wanted.n_bins,
        use_internal_variance=wanted.use_internal_variance,
        d_min=wanted.d_min,
    )


def _with_intervals(
    statistics: Statistics | None,
    data: SortedObservations,
    scaled: Scaled,
    good: Bool,
    experiments: Sequence[Experiment],
) -> Statistics | None:
    """The statistics with confidence intervals of the overall ones."""
    if statistics is None:
        return None
    widths = [None if e.is_still or e.scan is None else e.scan.oscillation[1] for e in experiments]
    g, rows = scaled.state.scale[good], data.rows
    found = intervals(
        data.friedel_merged.subset(good),
        data.friedel_split.subset(good),
        scaled.state.values.intensity[good] / g,
        np.sqrt(scaled.variance[good]) / g,
        blocks_of(rows.data_set[good], rows.xyz[good, 2], widths),
        {name: getattr(statistics.overall, name) for name in INTERVALS_OF},
    )
    return replace(statistics, intervals=found)
