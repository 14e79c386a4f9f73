"""The story of a run: choose, prepare, sort, model, fit in rounds, judge, merge.

``run`` takes what was read and the options, and returns a Result that the writers and reports use. No file is opened
or written here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from braggscale.data import batches, data_set_names, image_selection, sorting
from braggscale.data.data_set_names import MOST_LOGGED
from braggscale.data.experiment import Experiment
from braggscale.data.fit_subset import Draw, Limits, Pool, Selection, select
from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.normalised_intensities import normalised_intensities
from braggscale.data.preparation import Cuts
from braggscale.data.sorting import Member, Sorted
from braggscale.data.symmetry import Symmetry
from braggscale.data.table import DataSet
from braggscale.data.unique_reflections import Groups
from braggscale.errors import DataError
from braggscale.fit.fit_scales import FitSettings
from braggscale.models.data_set_model import EXTRAS
from braggscale.models.joint_model import JointModel
from braggscale.models.settings import ModelSettings
from braggscale.models.stored_model import OWN_ENTRY, common_restraints
from braggscale.numerics.array_types import Bool, Float, Int
from braggscale.numerics.timing import Clock
from braggscale.options.schema import Options
from braggscale.scaling.build_models import build_models, fixed_parameters, repeated, stored_with
from braggscale.scaling.cross_validation import validate
from braggscale.scaling.plan import ZMAX, settle
from braggscale.scaling.previous_run import start_of, stored_entry
from braggscale.scaling.result import Result
from braggscale.scaling.rounds import scale_data
from braggscale.scaling.state import RoundSettings, Scaled, Work
from braggscale.statistics.confidence_intervals import INTERVALS_OF, blocks_of, intervals
from braggscale.statistics.merging_statistics import Statistics, merging_statistics
from braggscale.weighting.error_model import ErrorModelOptions, assign
from braggscale.weighting.intensity_choice import initial
from braggscale.weighting.outlier_test import OutlierOptions

log = logging.getLogger(__name__)


def run(
    data_sets: Sequence[DataSet],
    not_indexed: int,
    options: Options,
    given: Callable[[str], bool],
    clock: Clock | None = None,
) -> Result:
    """Scale the data sets.

    ``given``: whether the user set the option of this full name.  Raises UserError where data cannot be scaled.
    """
    clock = clock or Clock()
    everything = tuple(data_sets)
    with clock.stage("preparation"):
        # every sweep gets its batch numbers, so that they do not depend on which data sets are left out
        numbered = with_batches([data_set.experiment for data_set in everything])
        numbers = _chosen(everything, options)
        chosen = [everything[i] for i in numbers]
        options = _settled(chosen, options, given)
        symmetry = sorting.common_symmetry([data_set.experiment for data_set in chosen])
        cell = sorting.best_cell(
            [data_set.experiment for data_set in chosen], options.reflection_selection.best_unit_cell
        )
        log.info(f"Space group {symmetry.name}, unit cell " + " ".join(f"{x:.3f}" for x in cell))
        experiments = [numbered[i] for i in numbers]
        log_batches(experiments)
        images = choose_images(experiments, numbers, options)
        members = sorting.prepare_all(
            chosen,
            numbers,
            experiments,
            images,
            _cuts(options),
            options.reflection_selection.intensity_choice,
            cell,
        )
        _log_preparation(members)
    with clock.stage("symmetry"):
        members, data = sorting.sort_observations(members, symmetry)
        grouping = data.apart if options.anomalous else data.together
        members, data = sorting.drop_unconnected(members, data, symmetry, grouping)
        grouping = data.apart if options.anomalous else data.together
    kept = [k for k, member in enumerate(members) if not member.dropped]
    with clock.stage("models"):
        settings, model, theta, taken = build_models([members[k] for k in kept], data, options, given)
        fixed = fixed_parameters(model, settings)
        of = _error_models(len(kept), options)
        everybody = len(kept) == len(everything)
        start = start_of(theta, taken, model, [members[k] for k in kept], data, options, of, everybody)
    with clock.stage("selection"):
        selection = _select(data, grouping, len(kept), options)
        _log_selection(selection, [members[k].identifier for k in kept])
    with clock.stage("scaling"):
        work = Work(data.rows, grouping, data.apart, data.epsilon, model, selection.mask, fixed, of)
        scaled = scale_data(work, start, _round_settings(options))
    validation = None
    if options.validate:
        with clock.stage("validation"):
            others = _other_restraints([members[k] for k in kept], data, options, given, settings)
            validation = validate(work, scaled, data.together, _round_settings(options).fit, others)
    with clock.stage("statistics"):
        members = _final_fates(members, kept, data, scaled, options.cut_data.small_scale_cutoff)
        good = usable(data, scaled, options.cut_data.small_scale_cutoff)
        statistics = _statistics(data, scaled, good, cell, symmetry, options)
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
        models=_stored_models(model, settings, options, work, scaled, esd),
        selection=selection,
        statistics=statistics,
        batch_lines=tuple(lines),
        not_indexed=not_indexed,
        seconds=dict(clock.seconds),
        validation=validation,
    )


def _other_restraints(
    members: Sequence[Member],
    data: Sorted,
    options: Options,
    given: Callable[[str], bool],
    settings: Sequence[ModelSettings],
) -> dict[str, JointModel]:
    """The models that the other choice of ``restraints`` gives, by its name; none where it makes no difference."""
    other: Literal["estimated", "fixed"] = "fixed" if any(s.estimated for s in settings) else "estimated"
    changed = replace(options, restraints=other, overwrite_existing_models=True)
    kinds = {s.model for s in settings}
    if len(kinds) == 1:
        changed = replace(changed, model=kinds.pop())
    if other == "estimated" and all(s.model == "array" for s in settings):
        return {}
    return {f"{other} restraints": build_models(members, data, changed, given, quiet=True)[1]}


def _chosen(data_sets: Sequence[DataSet], options: Options) -> list[int]:
    """Positions of the data sets in use."""
    identifiers = [data_set.identifier for data_set in data_sets]
    log.info(f"Dataset unique identifiers are {identifiers}")
    use, leave = options.dataset_selection.use_datasets, options.dataset_selection.exclude_datasets
    kept = list(data_set_names.choose_data_sets(identifiers, use or (), leave or ()))
    if len(kept) < len(identifiers):
        out = [identifiers[i] for i in range(len(identifiers)) if i not in set(kept)]
        log.info(f"Data sets left out: {', '.join(out)}")
    return kept


def _settled(chosen: Sequence[DataSet], options: Options, given: Callable[[str], bool]) -> Options:
    """The options with every automatic value settled that is not a matter of a single data set's model."""
    stored = [repeated(options, stored_with(options, data_set.experiment), given) for data_set in chosen]
    if not given("restraints"):
        restraints, why = common_restraints([model for model in stored if model is not None], options.restraints)
        options = replace(options, restraints=restraints)
        if why:
            log.info(f"restraints {restraints}{why}")
        if options.restraints == "estimated" and options.weighting.error_model.error_model is None:
            options = replace(options, restraints="fixed")
            log.info("restraints fixed: without an error model nobody knows how far data are to be trusted")
    kinds = [options.model if model is None else model["__id__"] for model in stored]
    grids = [kind == "array" and not d.experiment.is_still for kind, d in zip(kinds, chosen, strict=True)]
    estimated = options.restraints == "estimated" and not all(grids)
    if options.restraints == "estimated" and given("restraints") and any(grids):
        log.info("model array: restraints are fixed, it has no estimated ones")
    stills = all(data_set.experiment.is_still for data_set in chosen)
    n_rows = sum(len(data_set.table) for data_set in chosen)
    options, sentences = settle(options, estimated, stills, n_rows, given)
    for sentence in sentences:
        log.info(sentence)
    return options


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


def choose_images(
    experiments: Sequence[Experiment], numbers: Sequence[int], options: Options
) -> image_selection.ImageChoice:
    """Images in use after the options."""
    choice = image_selection.choose_images(
        experiments,
        _offsets(experiments),
        exclude_images=options.exclude_images,
        exclude_batches=options.exclude_batches,
        include_images=options.include_images,
        reset_exclusions=options.reset_exclusions,
        numbers=numbers,
    )
    for line in choice.lines:
        log.info(line)
    return choice


def _cuts(options: Options) -> Cuts:
    cut = options.cut_data
    accept = frozenset(Fate[word.upper()] for word in options.input.accept or ())
    return Cuts(cut.d_min, cut.d_max, cut.partiality_cutoff or 0.0, cut.min_isigi, accept)


def _select(data: Sorted, groups: Groups, n_data_sets: int, options: Options) -> Selection:
    wanted = options.reflection_selection
    rows = data.rows
    values = initial(rows, wanted.intensity_choice)
    e2 = None
    if wanted.method == "intensity_ranges":
        e2 = np.ones(len(rows))
        for mine in sorting.rows_by_data_set(rows, n_data_sets):
            e2[mine] = normalised_intensities(values.intensity[mine], rows.d[mine], data.epsilon[mine])
    pool = Pool(groups, rows.data_set, n_data_sets, values.intensity, values.variance, rows.d, rows.partiality, e2)
    low, high = wanted.Isigma_range
    d_range = None if wanted.d_range is None else (min(wanted.d_range), max(wanted.d_range))
    limits = Limits((wanted.E2_range[0], wanted.E2_range[1]), (low, high), d_range, wanted.min_partiality)
    draw = Draw(wanted.random.min_groups, wanted.random.min_reflections, wanted.random.multi_dataset.Isigma_cutoff)
    selection = select(wanted.method, pool, limits, draw)
    for warning in selection.warnings:
        log.warning(warning)
    if not selection.mask.any():
        raise DataError(
            f"no reflection passes the selection ({wanted.method}: E2_range, Isigma_range, d_range, "
            "min_partiality) in groups of two or more; widen the limits or use reflection_selection.method=use_all"
        )
    return selection


def _round_settings(options: Options) -> RoundSettings:
    selection, scaling, refinery = options.reflection_selection, options.scaling_options, options.scaling_refinery
    errors = options.weighting.error_model
    basic = errors.basic
    error_options = ErrorModelOptions(basic.a, basic.b, basic.minimisation is not None, basic.min_Ih, basic.n_bins)
    return RoundSettings(
        intensity_choice=selection.intensity_choice,
        midpoints=list(selection.combine.Imid) if selection.combine.Imid else None,
        errors=None if errors.error_model is None else error_options,
        outliers=OutlierOptions(scaling.outlier_rejection, scaling.outlier_zmax or ZMAX, scaling.emax),
        fit=FitSettings(
            first_order=True,
            full_matrix=scaling.full_matrix,
            max_iterations=refinery.max_iterations,
            full_matrix_max_iterations=refinery.full_matrix_max_iterations,
            tolerance=refinery.rmsd_tolerance,
        ),
    )


def _error_models(n: int, options: Options) -> Int:
    """Number of the error model of each data set, (n,)."""
    wanted = options.weighting.error_model
    return assign(wanted.grouping, n, wanted.error_model_group or ())


def usable(data: Sorted, scaled: Scaled, cutoff: float) -> Bool:
    """Observations that end as scaled, (n,)."""
    result: Bool = ~scaled.state.rejected & (scaled.state.scale >= cutoff)
    return result


def _final_fates(
    members: list[Member], kept: Sequence[int], data: Sorted, scaled: Scaled, cutoff: float
) -> list[Member]:
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
    data_sets: Sequence[DataSet], numbers: Sequence[int], members: Sequence[Member]
) -> tuple[tuple[Member, ...], list[int]]:
    """All data sets of the input in their order, and where in it each of ``members`` stands."""
    complete: list[Member] = []
    places: list[int] = []
    by_number = dict(zip(numbers, members, strict=True))
    for i, data_set in enumerate(data_sets):
        if i in by_number:
            places.append(len(complete))
            complete.append(by_number[i])
            continue
        fate = np.full(len(data_set.table), Fate.DATA_SET_EXCLUDED, np.uint8)
        complete.append(Member(i, data_set, data_set.experiment, None, "excluded by the command", fate))
    return tuple(complete), places


def _stored_models(
    model: JointModel,
    settings: Sequence[ModelSettings],
    options: Options,
    work: Work,
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
            if component.name in EXTRAS.get(data_set.kind, ()) and (where.start, where.stop) in seen:
                del found[component.name]
            seen.add((where.start, where.stop))
        stored.append(found | {OWN_ENTRY: stored_entry(settings[d], options)})
    return tuple(stored)


def _log_preparation(members: Sequence[Member]) -> None:
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
    data: Sorted, scaled: Scaled, good: Bool, cell: UnitCell, symmetry: Symmetry, options: Options
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
        n_bins=options.output.merging.nbins,
        use_internal_variance=options.output.use_internal_variance,
        d_min=options.cut_data.d_min,
    )


def _with_intervals(
    statistics: Statistics | None, data: Sorted, scaled: Scaled, good: Bool, experiments: Sequence[Experiment]
) -> Statistics | None:
    """The statistics with confidence intervals of the overall ones."""
    if statistics is None:
        return None
    widths = [None if e.is_still or e.scan is None else e.scan.oscillation[1] for e in experiments]
    g, rows = scaled.state.scale[good], data.rows
    found = intervals(
        data.together.subset(good),
        data.apart.subset(good),
        scaled.state.values.intensity[good] / g,
        np.sqrt(scaled.variance[good]) / g,
        blocks_of(rows.data_set[good], rows.xyz[good, 2], widths),
        {name: getattr(statistics.overall, name) for name in INTERVALS_OF},
    )
    return replace(statistics, intervals=found)
