"""What the options ask of a run over ranks, as values; options that it cannot serve are refused by name."""

from __future__ import annotations

from dataclasses import dataclass

from braggscale.data.flags import Fate
from braggscale.data.geometry import UnitCell
from braggscale.data.reindexing import AUTO
from braggscale.data.row_fates import Cuts
from braggscale.errors import CommandError
from braggscale.io.export.export import ExportSettings
from braggscale.io.reading import Known
from braggscale.io.reindexing import known_facts
from braggscale.options.schema import Options
from braggscale.scaling.plan import (
    PARTIALITY_CUTOFF,
    STILLS_CUTOFF,
    ZMAX,
    ZMAX_UNCALIBRATED,
    FilterSettings,
    filter_settings,
)
from braggscale.weighting.error_model import ErrorModelOptions
from braggscale.weighting.outlier_test import OutlierOptions

# Options that have a meaning here; whoever sets another one is told that it has none.
SERVED = (
    "model", "restraints", "anomalous", "overwrite_existing_models", "nproc", "input.space_group", "input.unit_cell",
    "input.polarization_fraction", "input.accept", "input.reindex", "input.keep_flags", "input.keep_scales",
    "KB.modulation_correction", "reflection_selection.best_unit_cell",
    "reflection_selection.intensity_choice", "reflection_selection.method", "weighting.error_model.error_model",
    "weighting.error_model.basic.a", "weighting.error_model.basic.b", "weighting.error_model.basic.minimisation",
    "weighting.error_model.basic.min_Ih", "weighting.error_model.basic.n_bins", "weighting.error_model.grouping",
    "weighting.error_model.reset_error_model", "scaling_options.full_matrix", "scaling_options.outlier_rejection",
    "scaling_options.outlier_zmax", "scaling_options.emax", "filtering.method", "filtering.deltacchalf.mode",
    "filtering.deltacchalf.stdcutoff", "filtering.deltacchalf.max_cycles", "filtering.deltacchalf.max_percent_removed",
    "filtering.deltacchalf.min_reflections", "reference", "reference_mode", "scaling_options.only_target",
)  # fmt: skip
SERVED_SCOPES = ("cut_data.", "output.", "ranks.", "reference_model.")
# Exports that need no row of the data.
MERGED_EXPORTS = ("merged_mtz", "merged_cif")
_SWEEPS = (
    "run over several ranks, or with a memory limit, model=KB is the only model: one scale and one B for each data set"
)


@dataclass(frozen=True, slots=True)
class ReferenceRequest:
    """``paths``: files of the reference.  ``d_min``: Angstrom, None for that of the data.  ``k_sol``, ``b_sol``: bulk
    solvent of a model.
    """

    paths: tuple[str, ...]
    d_min: float | None
    k_sol: float
    b_sol: float


@dataclass(frozen=True, slots=True)
class RanksPlan:
    """Values of the options that act here.

    ``reindex``: operators for all data sets, ``mend_indexing``: whether those that differ get one of their own.
    ``best_unit_cell``: None for the median of the data sets.  ``estimated``: whether the spread of scales and of B is
    found from the data.  ``apart``: Friedel mates are different reflections in scaling.
    ``partiality_cutoff``: None to decide when it is known whether all are stills.
    ``errors``: None: V' = V.  ``memory_limit``: bytes of this process, None for no limit.
    ``scaled_files``: whether scaled tables are written.  ``group_by``: of input files, None for no groups.
    ``filtering``: None where no crystal is left out for its influence.
    ``detector_map``: whether there is a map of the detector, if all data sets have the same panel.
    ``reference``: against which each data set is scaled by itself, None to scale all together.
    """

    known: Known
    space_group: tuple[str, ...]
    unit_cell: tuple[str, ...]
    reindex: tuple[str, ...]
    mend_indexing: bool
    cuts: Cuts
    partiality_cutoff: float | None
    intensity_choice: str
    best_unit_cell: UnitCell | None
    kb_is_explicit: bool
    estimated: bool
    apart: bool
    errors: ErrorModelOptions | None
    outliers: OutlierOptions
    small_scale_cutoff: float
    n_bins: int
    export: ExportSettings
    memory_limit: float | None
    skip_bad_files: bool
    scaled_files: bool
    group_by: str | None
    filtering: FilterSettings | None
    detector_map: bool
    reference: ReferenceRequest | None

    def row_cuts(self, stills: bool) -> Cuts:
        """Which reflections are used.  ``stills``: whether all data sets are."""
        low = STILLS_CUTOFF if stills and (self.estimated or self.reference) else PARTIALITY_CUTOFF
        cut = low if self.partiality_cutoff is None else self.partiality_cutoff
        return Cuts(self.cuts.d_min, self.cuts.d_max, cut, self.cuts.min_isigi, self.cuts.accept)


def plan_of(options: Options) -> RanksPlan:
    """Raises CommandError for options that a run over ranks cannot serve."""
    _refuse(options)
    errors, basic, cut = options.weighting.error_model, options.weighting.error_model.basic, options.cut_data
    wanted, scaling = options.reflection_selection, options.scaling_options
    refined = errors.error_model is not None and basic.minimisation is not None and basic.a is None
    alone = scaling.only_target  # what data sets have in common cannot be found from each of them alone
    estimated = options.restraints == "estimated" and errors.error_model is not None and not alone
    zmax = scaling.outlier_zmax or (ZMAX if (estimated or alone) and refined else ZMAX_UNCALIBRATED)
    accept = frozenset(Fate[word.upper()] for word in options.input.accept or ())
    model = ErrorModelOptions(basic.a, basic.b, basic.minimisation is not None, basic.min_Ih, basic.n_bins)
    asked = options.input
    output, modulation = options.output, options.models["KB"].modulation_correction
    return RanksPlan(
        known=known_facts(
            asked.space_group,
            asked.unit_cell,
            asked.polarization_fraction,
            asked.keep_flags or (),
            asked.keep_scales,
        ),
        space_group=asked.space_group,
        unit_cell=asked.unit_cell,
        reindex=tuple(text for text in asked.reindex if text.lower() != AUTO),
        mend_indexing=any(text.lower() == AUTO for text in asked.reindex),
        cuts=Cuts(cut.d_min, cut.d_max, 0.0, cut.min_isigi, accept),
        partiality_cutoff=cut.partiality_cutoff,
        intensity_choice=wanted.intensity_choice,
        best_unit_cell=wanted.best_unit_cell,
        kb_is_explicit=options.model == "KB",
        estimated=estimated,
        apart=options.anomalous,
        errors=None if errors.error_model is None else model,
        outliers=OutlierOptions(scaling.outlier_rejection, zmax, scaling.emax),
        small_scale_cutoff=cut.small_scale_cutoff,
        n_bins=output.merging.nbins,
        export=ExportSettings(
            output.free_flags, output.crystal_name, output.project_name, output.use_internal_variance
        ),
        memory_limit=None if options.ranks.memory_limit is None else options.ranks.memory_limit * 1e9,
        skip_bad_files=options.ranks.skip_bad_files,
        scaled_files=options.ranks.scaled_files,
        group_by=options.ranks.group_by,
        filtering=filter_settings(options.filtering),
        detector_map=estimated if modulation is None else bool(modulation),
        reference=_reference(options) if alone else None,
    )


def _reference(options: Options) -> ReferenceRequest:
    solvent = options.reference_model
    return ReferenceRequest(options.reference or (), options.cut_data.d_min, solvent.k_sol, solvent.b_sol)


def _refuse(options: Options) -> None:
    where = "over several ranks, or with a memory limit"
    only, modulation = options.scaling_options.only_target, options.models["KB"].modulation_correction
    if bool(options.reference) != only:
        raise CommandError(
            f"{where} a reference scales each data set by itself: write reference=FILE and only_target=True"
        )
    if only and (options.filtering.method is not None or modulation):
        raise CommandError(
            f"{'modulation_correction=True' if modulation else 'filtering.method'} compares data sets with each other; "
            "only_target=True scales each of them by itself"
        )
    for name in sorted(options.explicit):
        if name not in SERVED and not name.startswith(SERVED_SCOPES):
            raise CommandError(f"{name} has no meaning {where}; leave it out, or scale on one machine without a limit")
    if options.model not in ("auto", "KB"):
        raise CommandError(f"model={options.model}: {_SWEEPS}; write model=KB")
    if options.weighting.error_model.grouping != "combined":
        raise CommandError(f"grouping={options.weighting.error_model.grouping}: there is one error model {where}")
    if options.is_explicit("reflection_selection.method") and options.reflection_selection.method != "use_all":
        raise CommandError(f"method={options.reflection_selection.method}: all observations take part {where}")
    filtering = options.filtering
    if filtering.method is not None and filtering.deltacchalf.mode != "dataset":
        raise CommandError(
            f"mode={filtering.deltacchalf.mode}: {where} whole data sets are filtered; write mode=dataset"
        )
    for name in options.output.exports:
        if name not in MERGED_EXPORTS:
            raise CommandError(
                f"{name}: {where} only {' and '.join(MERGED_EXPORTS)} are written; make others with scale export from "
                "the scaled files"
            )
    for name in ("space_group", "unit_cell", "reindex"):
        for item in getattr(options.input, name):
            head, colon, _ = item.partition(":")
            if colon and head.strip().isalnum() and len(head.strip()) > 2:
                raise CommandError(f"{name}={item}: {where} it is the same for all data sets; write {name}=VALUE")


def sweeps_without_model(identifier: str) -> CommandError:
    """What to say of a sweep where nobody has asked for model=KB."""
    return CommandError(f"data set {identifier} is a sweep; {_SWEEPS}; write model=KB")
