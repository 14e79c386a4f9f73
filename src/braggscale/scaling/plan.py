"""Makes the plan of a run from the options; this is the only module of scaling that reads options.

``make_plan`` determines every automatic value that depends on the whole input, chooses the data sets in use, and turns
options into values. All later stages use the plan alone. Automatic choices that depend on a single data set (its model
and the settings of the model) are made later, from ``Plan.models`` and the facts about the data set (models/choice.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from braggscale.data import data_set_names
from braggscale.data.fit_subset import Draw, Limits
from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.image_selection import ImageRequest
from braggscale.data.reindexing import AUTO as REINDEX_AUTO
from braggscale.data.row_fates import Cuts
from braggscale.data.table import DataSet
from braggscale.fit.solver import FitSettings
from braggscale.log_detail import MANY_DATA_SETS, in_file
from braggscale.models import MODELS
from braggscale.models.choice import AUTO, ModelRequest, repeated_model
from braggscale.models.stored_model import common_restraints
from braggscale.options.schema import FilteringOptions, Options, Output, ScalingOptions
from braggscale.scaling.previous_run import Continuation, OutlierLimits
from braggscale.scaling.state import RoundSettings
from braggscale.weighting.error_model import ErrorModelOptions, StillLimits
from braggscale.weighting.outlier_test import OutlierOptions

log = logging.getLogger(__name__)

PARTIALITY_CUTOFF, STILLS_CUTOFF = 0.4, 0.05  # the first is DIALS'
# Limit of the outlier test: 4 is best with a refined error model and scales without systematic differences;
# otherwise 6, as in DIALS.
ZMAX, ZMAX_UNCALIBRATED = 4.0, 6.0
# With estimated restraints, all observations take part in the fit unless there are more than this; then ranges are
# used.
ALL_BELOW = 250_000
KNOWN_FACTOR = "analytical_correction"  # the column, as integration programs write it
# Options that choose the observations of the fit. If the user sets one of them, no automatic choice replaces it.
_SELECTING = ("E2_range", "Isigma_range", "d_range", "min_partiality")


@dataclass(frozen=True, slots=True)
class FitSelection:
    """Which observations take part in the fit.  ``method``: as fit_subset.select names it."""

    method: str
    limits: Limits
    draw: Draw


@dataclass(frozen=True, slots=True)
class ErrorModelGroups:
    """Which data sets share an error model; ``grouping`` and ``sweeps`` as in error_model.assign."""

    grouping: str
    sweeps: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class StatisticsRequest:
    """``n_bins``: resolution shells.  ``use_internal_variance``: sigma of a mean from the scatter of its equivalents.

    ``d_min``: limit of the user, Angstrom; None for no limit.  ``half_sets``: whether statistics of halves are wanted.
    """

    n_bins: int
    use_internal_variance: bool
    d_min: float | None
    half_sets: bool = False


@dataclass(frozen=True, slots=True)
class FreeSetRequest:
    """``percentage``: of the unique reflections.  ``offset``: the first of them that is free."""

    percentage: float
    offset: int


@dataclass(frozen=True, slots=True)
class ZeroDoseRequest:
    """``same_crystal``: whether the sweeps follow each other on one crystal; else each begins at dose zero."""

    same_crystal: bool


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """What filtering.deltacchalf asks for.

    ``method``: deltacchalf or deviations.  ``mode``: dataset or image_group.  ``group_size``: number of images.
    ``stdcutoff``: standard deviations. ``max_percent_removed``: of the observations.  ``min_completeness``: per
    cent, None for no limit. ``min_reflections``: observations below which a part is not judged.
    """

    method: str
    mode: str
    group_size: int
    stdcutoff: float
    max_cycles: int
    max_percent_removed: float
    min_completeness: float | None
    min_reflections: int


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """``scale``: images with a smaller one are left out.  ``r_merge``: those with a larger one.  None: no limit."""

    scale: float | None
    r_merge: float | None

    def asked(self) -> list[tuple[str, float]]:
        """The options that were given, with their values."""
        both = ("output.exclude_on_image_scale", self.scale), ("output.exclude_on_batch_rmerge", self.r_merge)
        return [(name, value) for name, value in both if value is not None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a run that depends on the options.

    ``data_sets``: positions, in the input, of the data sets in use.  ``images``: which of their images.
    ``cuts``: which reflections.  ``intensity_choice``: sum, profile or combine.
    ``best_unit_cell``: for resolution and statistics, Angstrom and degrees; None for the median of the data sets.
    ``anomalous``: whether all Friedel mates are apart in scaling.  ``small_scale_cutoff``: smallest inverse scale.
    ``validate``: whether the model is tested with reflections left out of the fit.
    ``mend_indexing``: whether data sets that are indexed in another way than the others are reindexed.
    ``known_factor``: column with a known part of the inverse scale factor, None for none.
    ``reference_mode``: estimated or fixed; used if there is a reference.  ``one_by_one``: whether each data set is
    scaled against it by itself.
    ``free_set``: reflections that are left out of the fit; None for none.
    ``zero_dose``: None where intensities are not extrapolated to dose zero.
    ``image_limits``: None where images are not left out for their scale or R_merge.
    ``filtering``: None where nothing is filtered.  ``filtered``: why data sets were left out, by their positions.
    """

    data_sets: tuple[int, ...]
    images: ImageRequest
    cuts: Cuts
    intensity_choice: str
    best_unit_cell: UnitCell | None
    anomalous: bool
    selection: FitSelection
    models: ModelRequest
    error_models: ErrorModelGroups
    rounds: RoundSettings
    continuation: Continuation
    small_scale_cutoff: float
    validate: bool
    mend_indexing: bool
    statistics: StatisticsRequest
    reference_mode: str = "estimated"
    one_by_one: bool = False
    free_set: FreeSetRequest | None = None
    zero_dose: ZeroDoseRequest | None = None
    known_factor: str | None = None
    image_limits: ImageLimits | None = None
    filtering: FilterSettings | None = None
    filtered: Mapping[int, str] = field(default_factory=dict)


def make_plan(options: Options, data_sets: Sequence[DataSet]) -> Plan:
    """The plan for a run on these data sets; logs choices that may surprise the user.

    Raises CommandError for data sets that do not exist, and if none would be left.
    """
    numbers = _data_sets_in_use(options, data_sets)
    chosen = [data_sets[k] for k in numbers]
    models = _settled_restraints(options, chosen)
    if options.scaling_options.only_target:
        # data sets that are scaled one by one cannot share parameters
        models = replace(models, estimated=False, restraints_are_explicit=True)
    options = _settled(options, chosen, models)
    wanted, cut = options.reflection_selection, options.cut_data
    images = ImageRequest(
        options.exclude_images, options.exclude_batches, options.include_images, options.reset_exclusions
    )
    accept = frozenset(Fate[word.upper()] for word in options.input.accept or ())
    return Plan(
        data_sets=tuple(numbers),
        images=images,
        cuts=Cuts(cut.d_min, cut.d_max, cut.partiality_cutoff or 0.0, cut.min_isigi, accept),
        intensity_choice=wanted.intensity_choice,
        best_unit_cell=wanted.best_unit_cell,
        anomalous=options.anomalous and not _mates_are_tested(options, chosen, models),
        selection=_selection(options),
        models=models,
        error_models=_error_model_groups(options),
        rounds=_round_settings(options),
        continuation=_continuation(options),
        small_scale_cutoff=cut.small_scale_cutoff,
        validate=options.validate,
        mend_indexing=any(text.lower() == REINDEX_AUTO for text in options.input.reindex),
        statistics=_statistics(options),
        reference_mode="fixed" if options.scaling_options.only_target else options.reference_mode,
        one_by_one=options.scaling_options.only_target,
        free_set=_free_set(options.scaling_options),
        zero_dose=ZeroDoseRequest(options.dose.same_crystal) if options.zero_dose else None,
        known_factor=KNOWN_FACTOR if options.scaling_options.analytical_correction else None,
        image_limits=_image_limits(options.output),
        filtering=filter_settings(options.filtering),
    )


def _statistics(options: Options) -> StatisticsRequest:
    asked = options.output
    return StatisticsRequest(
        asked.merging.nbins, asked.use_internal_variance, options.cut_data.d_min, asked.additional_stats
    )


def _image_limits(asked: Output) -> ImageLimits | None:
    limits = ImageLimits(asked.exclude_on_image_scale, asked.exclude_on_batch_rmerge)
    return limits if limits.asked() else None


def _free_set(asked: ScalingOptions) -> FreeSetRequest | None:
    return FreeSetRequest(asked.free_set_percentage, asked.free_set_offset) if asked.use_free_set else None


def _error_model_groups(options: Options) -> ErrorModelGroups:
    """Data sets that are scaled each by itself have error models of their own."""
    asked = options.weighting.error_model
    grouping = "individual" if options.scaling_options.only_target else asked.grouping
    return ErrorModelGroups(grouping, asked.error_model_group or ())


def filter_settings(options: FilteringOptions) -> FilterSettings | None:
    """What the options say about filtering; None where nothing is filtered."""
    if options.method is None:
        return None
    asked = options.deltacchalf
    return FilterSettings(
        options.method,
        asked.mode,
        asked.group_size,
        asked.stdcutoff,
        asked.max_cycles,
        asked.max_percent_removed,
        asked.min_completeness,
        asked.min_reflections,
    )


def model_request(options: Options) -> ModelRequest:
    """The choice of models by the options."""
    return ModelRequest(
        kind=options.model,
        kind_is_explicit=options.is_explicit("model"),
        estimated=options.restraints == "estimated",
        restraints_are_explicit=options.is_explicit("restraints"),
        options=options.models,
        explicit=frozenset(name for name in options.explicit if name.split(".")[0] in options.models),
        use_stored=not options.overwrite_existing_models,
        same_crystal=options.dose.same_crystal,
    )


def _data_sets_in_use(options: Options, data_sets: Sequence[DataSet]) -> list[int]:
    """Positions of the data sets in use."""
    identifiers = [data_set.identifier for data_set in data_sets]
    many = len(identifiers) > MANY_DATA_SETS
    log.info(f"Dataset unique identifiers are {identifiers}", extra=in_file(many))
    if many:
        log.info(f"{len(identifiers)} data sets: {', '.join(identifiers[:3])} to {identifiers[-1]}")
    use, leave = options.dataset_selection.use_datasets, options.dataset_selection.exclude_datasets
    kept = list(data_set_names.choose_data_sets(identifiers, use or (), leave or ()))
    if len(kept) < len(identifiers):
        out = [identifiers[i] for i in range(len(identifiers)) if i not in set(kept)]
        log.info(f"Data sets left out: {', '.join(out)}")
    return kept


def _settled_restraints(options: Options, chosen: Sequence[DataSet]) -> ModelRequest:
    """The choice of models, with the decision whether restraints are estimated."""
    request = model_request(options)
    if not request.restraints_are_explicit:
        stored = [repeated_model(request, d.experiment.scaling_model) for d in chosen]
        known = [model for model in stored if model is not None]
        restraints, why = common_restraints(known, "estimated" if request.estimated else "fixed")
        request = replace(request, estimated=restraints == "estimated")
        if why:
            log.info(f"restraints {restraints}{why}")
        if request.estimated and options.weighting.error_model.error_model is None:
            request = replace(request, estimated=False)
            log.info("restraints fixed: without an error model it is not known how precise the data are")
    if request.estimated and request.restraints_are_explicit:
        for kind in sorted({kind for kind in _kinds(request, chosen) if not _can_estimate(kind)}):
            log.info(f"model {kind}: restraints are fixed, it has no estimated ones")
    return request


def _kinds(request: ModelRequest, chosen: Sequence[DataSet]) -> list[str]:
    """The kind of model of each data set if it is known before the data are prepared, otherwise auto."""
    stored = [repeated_model(request, d.experiment.scaling_model) for d in chosen]
    kinds = [request.kind if model is None else str(model["__id__"]) for model in stored]
    return [AUTO if d.experiment.is_still else kind for kind, d in zip(kinds, chosen, strict=True)]


def _can_estimate(kind: str) -> bool:
    return kind == AUTO or MODELS[kind].estimates


def _has_partials(data_set: DataSet) -> bool:
    """Whether any reflection was recorded in part; files without partialities have 1."""
    return "partiality" in data_set.table and bool((np.asarray(data_set.table["partiality"]) < 1.0).any())


def _settled(options: Options, chosen: Sequence[DataSet], models: ModelRequest) -> Options:
    """The options with all automatic values that depend on all data sets replaced by numbers."""
    estimated = models.estimated and any(map(_can_estimate, _kinds(models, chosen)))
    stills = all(data_set.experiment.is_still for data_set in chosen)
    cut, scaling, selection = options.cut_data, options.scaling_options, options.reflection_selection
    if cut.partiality_cutoff is None:
        low = (estimated or scaling.only_target) and stills
        if low and any(map(_has_partials, chosen)):
            log.info(f"stills: used from a partiality of {STILLS_CUTOFF:g}; a small partiality means a small weight")
        cut = replace(cut, partiality_cutoff=STILLS_CUTOFF if low else PARTIALITY_CUTOFF)
    if scaling.outlier_zmax is None:
        errors = options.weighting.error_model
        basic = errors.basic
        refined = errors.error_model is not None and basic.minimisation is not None and basic.a is None
        scaling = replace(
            scaling, outlier_zmax=ZMAX if (estimated or scaling.only_target) and refined else ZMAX_UNCALIBRATED
        )
    asked = any(options.is_explicit(f"reflection_selection.{name}") for name in _SELECTING)
    n_rows = sum(len(data_set.table) for data_set in chosen)
    if selection.method == "auto":
        everything = (estimated or scaling.only_target) and not asked and (stills or n_rows <= ALL_BELOW)
        if everything:
            log.info("all observations take part in the fit (reflection_selection.method=use_all)")
        selection = replace(selection, method="use_all" if everything else "intensity_ranges")
    return replace(options, cut_data=cut, scaling_options=scaling, reflection_selection=selection)


def _mates_are_tested(options: Options, chosen: Sequence[DataSet], models: ModelRequest) -> bool:
    """Whether the run itself estimates how much Friedel mates differ, and separates those that would bias the fit.

    If so, separating all of them has no advantage, but half of the comparisons between observations would be lost.
    """
    scaling, errors = options.scaling_options, options.weighting.error_model
    refined = errors.error_model is not None and errors.basic.minimisation is not None and errors.basic.a is None
    estimated = models.estimated and any(map(_can_estimate, _kinds(models, chosen)))
    return estimated and refined and scaling.full_matrix is not False and scaling.outlier_rejection == "standard"


def _selection(options: Options) -> FitSelection:
    wanted = options.reflection_selection
    low, high = wanted.Isigma_range
    d_range = None if wanted.d_range is None else (min(wanted.d_range), max(wanted.d_range))
    limits = Limits((wanted.E2_range[0], wanted.E2_range[1]), (low, high), d_range, wanted.min_partiality)
    draw = Draw(wanted.random.min_groups, wanted.random.min_reflections, wanted.random.multi_dataset.Isigma_cutoff)
    return FitSelection(wanted.method, limits, draw)


def _round_settings(options: Options) -> RoundSettings:
    selection, scaling, refinery = options.reflection_selection, options.scaling_options, options.scaling_refinery
    errors = options.weighting.error_model
    basic = errors.basic
    stills = None
    if basic.stills.min_Isigma is not None or basic.stills.min_multiplicity is not None:
        stills = StillLimits(basic.stills.min_Isigma, basic.stills.min_multiplicity or 2)
    refine = basic.minimisation is not None
    error_options = ErrorModelOptions(basic.a, basic.b, refine, basic.min_Ih, basic.n_bins, stills)
    return RoundSettings(
        intensity_choice=selection.intensity_choice,
        midpoints=list(selection.combine.Imid) if selection.combine.Imid else None,
        errors=None if errors.error_model is None else error_options,
        outliers=OutlierOptions(scaling.outlier_rejection, scaling.outlier_zmax or ZMAX, scaling.emax),
        fit=FitSettings(
            first_order=True,
            full_matrix=scaling.full_matrix is not False,
            max_iterations=refinery.max_iterations,
            full_matrix_max_iterations=refinery.full_matrix_max_iterations,
            tolerance=refinery.rmsd_tolerance,
        ),
    )


def _continuation(options: Options) -> Continuation:
    scaling, errors = options.scaling_options, options.weighting.error_model
    return Continuation(
        anything=not options.overwrite_existing_models,
        error_model=errors.error_model is not None,
        reset_error_model=errors.reset_error_model,
        intensity_mixture=options.reflection_selection.intensity_choice == "combine",
        outlier_limits=OutlierLimits(scaling.outlier_rejection, scaling.outlier_zmax, scaling.emax, options.anomalous),
    )
