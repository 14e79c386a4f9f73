"""The options as frozen values.

The classes mirror the PHIL text one to one: ``schema.cut_data.d_min`` is the option ``cut_data.d_min``. PHIL's
None and Auto are both None here: no option has both (a test says so), so None means "decide from the data" for
an option whose default is Auto, and "off" or "no limit" for all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_type_hints

from braggscale.options.export_files import EXPORT_FILES
from braggscale.options.model_options import MODEL_OPTIONS
from braggscale.options.values import AUTO

IntensityChoice = Literal["profile", "sum", "combine"]
ModelValues = Mapping[str, Any]  # by the name of the kind of model; values of the class in its record
ExportPaths = Mapping[str, str]  # by the name of the option; exports that are not wanted are absent


@dataclass(frozen=True, slots=True)
class MultiDataset:
    """reflection_selection.random.multi_dataset"""

    Isigma_cutoff: float


@dataclass(frozen=True, slots=True)
class Random:
    """reflection_selection.random"""

    multi_dataset: MultiDataset
    min_groups: int
    min_reflections: int


@dataclass(frozen=True, slots=True)
class Combine:
    """reflection_selection.combine; intensities in counts."""

    Imid: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class InputOptions:
    """input.  ``space_group``, ``unit_cell``, ``reindex``: items ``[ID:]value``.  ``accept``: names of fates.

    ``keep_flags``: names of flags, three of them with a limit.
    """

    space_group: tuple[str, ...]
    unit_cell: tuple[str, ...]
    reindex: tuple[str, ...]
    polarization_fraction: float | None
    accept: tuple[str, ...] | None
    keep_flags: tuple[str, ...] | None
    keep_scales: bool


@dataclass(frozen=True, slots=True)
class ReflectionSelection:
    """``best_unit_cell``: Angstrom, degrees.  ``d_range``: (d_min, d_max), Angstrom, in this order."""

    method: Literal["auto", "intensity_ranges", "quasi_random", "use_all", "random"]
    random: Random
    best_unit_cell: tuple[float, float, float, float, float, float] | None
    E2_range: tuple[float, float]
    Isigma_range: tuple[float, float]
    d_range: tuple[float, float] | None
    min_partiality: float
    intensity_choice: IntensityChoice
    combine: Combine


@dataclass(frozen=True, slots=True)
class StillLimits:
    """weighting.error_model.basic.stills"""

    min_Isigma: float | None
    min_multiplicity: int | None


@dataclass(frozen=True, slots=True)
class BasicErrorModel:
    """weighting.error_model.basic"""

    a: float | None
    b: float | None
    minimisation: Literal["individual"] | None
    min_Ih: float
    n_bins: int
    stills: StillLimits


@dataclass(frozen=True, slots=True)
class ErrorModelOptions:
    """weighting.error_model; ``error_model_group``: sweeps of each group, counted from 1."""

    error_model: Literal["basic"] | None
    basic: BasicErrorModel
    reset_error_model: bool
    grouping: Literal["individual", "grouped", "combined"]
    error_model_group: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Weighting:
    """weighting"""

    error_model: ErrorModelOptions


@dataclass(frozen=True, slots=True)
class CutData:
    """Limits in Angstrom, None for no limit."""

    d_min: float | None
    d_max: float | None
    partiality_cutoff: float | None
    min_isigi: float
    small_scale_cutoff: float


@dataclass(frozen=True, slots=True)
class DatasetSelection:
    """Names of data sets as they were typed; None where the option was not used."""

    use_datasets: tuple[str, ...] | None
    exclude_datasets: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ScalingOptions:
    """scaling_options"""

    analytical_correction: bool
    full_matrix: bool | None
    outlier_rejection: Literal["standard", "simple"] | None
    outlier_zmax: float | None
    emax: float
    use_free_set: bool
    free_set_percentage: float
    free_set_offset: int
    only_target: bool
    only_save_targeted: bool


@dataclass(frozen=True, slots=True)
class ScalingRefinery:
    """scaling_refinery"""

    max_iterations: int | None
    rmsd_tolerance: float
    full_matrix_max_iterations: int | None


@dataclass(frozen=True, slots=True)
class DeltaCcHalf:
    """filtering.deltacchalf.  ``max_percent_removed``, ``min_completeness``: per cent."""

    mode: Literal["dataset", "image_group"]
    group_size: int
    stdcutoff: float
    max_cycles: int
    max_percent_removed: float
    min_completeness: float | None
    min_reflections: int


@dataclass(frozen=True, slots=True)
class FilteringOutput:
    """filtering.output"""

    scale_and_filter_results: str | None


@dataclass(frozen=True, slots=True)
class FilteringOptions:
    """filtering"""

    method: Literal["deltacchalf", "deviations"] | None
    deltacchalf: DeltaCcHalf
    output: FilteringOutput


@dataclass(frozen=True, slots=True)
class ReferenceModel:
    """reference_model; ``b_sol``: Angstrom^2."""

    k_sol: float
    b_sol: float


@dataclass(frozen=True, slots=True)
class Dose:
    """dose"""

    same_crystal: bool


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """cross_validation; ``parameter``: name of an option, ``parameter_values``: its values as they were typed."""

    cross_validation_mode: Literal["single", "multi"] | None
    parameter: str | None
    parameter_values: tuple[str, ...] | None
    nfolds: int


@dataclass(frozen=True, slots=True)
class Merging:
    """output.merging"""

    nbins: int


@dataclass(frozen=True, slots=True)
class Output:
    """Paths, None where the file is not wanted.  ``exports``: those of other programs, by the name of the option."""

    experiments: str
    reflections: str
    log: str | None
    json: str | None
    html: str | None
    exports: ExportPaths
    free_flags: str | None
    zero_dose_mtz: str | None
    crystal_name: str
    project_name: str
    use_internal_variance: bool
    exclude_on_image_scale: float | None
    exclude_on_batch_rmerge: float | None
    additional_stats: bool
    merging: Merging


# Values of ``input.accept``: reasons for which an earlier program rejected a row.
ACCEPTED = ("saturated", "misfit", "flagged", "incomplete")

# Options of section output that name a file of scaled data.
SCALED_FILES = ("experiments", "reflections", "log", "json", "html")


@dataclass(frozen=True, slots=True)
class Report:
    """report.  ``compare``: path of another run's summary."""

    compare: str | None


@dataclass(frozen=True, slots=True)
class Ranks:
    """ranks.  ``memory_limit``: gigabytes of each process."""

    memory_limit: float | None
    skip_bad_files: bool
    scaled_files: bool
    group_by: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """Every option.  ``exclude_images``, ``include_images``: items ``[ID:]first:last``, in order of mention.

    ``exclude_batches``: pairs of batch numbers.  ``split_at``: items ``[ID:]image``.
    ``explicit``: full names of the options that the user set; it is not an option itself.
    ``as_dials``: whether a caller of dials.scale is to find its sentences in the log; no option either.
    """

    model: str
    restraints: Literal["estimated", "fixed"]
    validate: bool
    anomalous: bool
    overwrite_existing_models: bool
    exclude_images: tuple[str, ...]
    exclude_batches: tuple[tuple[int, int], ...]
    include_images: tuple[str, ...]
    split_at: tuple[str, ...]
    reset_exclusions: bool
    nproc: int | None
    zero_dose: bool
    dose: Dose
    reference: tuple[str, ...] | None
    reference_mode: Literal["estimated", "fixed"]
    reference_model: ReferenceModel
    input: InputOptions
    models: ModelValues
    reflection_selection: ReflectionSelection
    weighting: Weighting
    cut_data: CutData
    dataset_selection: DatasetSelection
    scaling_options: ScalingOptions
    scaling_refinery: ScalingRefinery
    cross_validation: CrossValidation
    filtering: FilteringOptions
    output: Output
    report: Report
    ranks: Ranks
    explicit: frozenset[str] = field(default=frozenset(), compare=False)
    as_dials: bool = field(default=False, compare=False)

    def is_explicit(self, path: str) -> bool:
        """Whether the user set the option of this full name: by argument, or in a file to other than its default."""
        return path in self.explicit

    def as_dict(self) -> dict[str, Any]:
        """The values of all options, nested as their names are; None for None and Auto."""
        values: dict[str, Any] = {}
        for name, value in asdict(self).items():
            values |= value if name == "models" else {name: value}
        del values["explicit"], values["as_dials"]
        exports = values["output"].pop("exports")
        values["output"] |= {option: exports.get(option) for option in EXPORT_FILES}
        return values


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The command line.  ``modified``: PHIL text of the options that differ from their defaults.

    ``notes``: sentences on every name that was guessed or translated, for the log.
    """

    argv: tuple[str, ...]
    files: tuple[str, ...]
    modified: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the machine-readable summary."""
        return {
            "arguments": list(self.argv),
            "files": list(self.files),
            "modified": self.modified.splitlines(),
            "notes": list(self.notes),
        }


def fill(kind: type[Any], prefix: str, values: Mapping[str, Any]) -> Any:
    """An instance of the dataclass from the PHIL values, full name -> value, below ``prefix``."""
    made = {}
    for name, hint in _hints(kind).items():
        path = prefix + name
        if isinstance(hint, type) and is_dataclass(hint):
            made[name] = fill(hint, path + ".", values)
        elif hint == ModelValues:
            made[name] = {kind: fill(one.values, f"{kind}.", values) for kind, one in MODEL_OPTIONS.items()}
        elif hint == ExportPaths:
            made[name] = {option: values[prefix + option] for option in EXPORT_FILES if values[prefix + option]}
        else:
            value = values[path]
            if path in ("exclude_images", "include_images", "split_at"):
                value = tuple(item for entry in value for item in entry)
            elif path == "reflection_selection.d_range" and value:
                value = (min(value), max(value))
            made[name] = None if value is AUTO else value
    return kind(**made)


def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind) if one.name not in ("explicit", "as_dials")}


def option_paths(kind: type[Any] = Options, prefix: str = "") -> list[str]:
    """Full names of all fields, in order; equal to the full names of the PHIL text."""
    paths: list[str] = []
    for name, hint in _hints(kind).items():
        if isinstance(hint, type) and is_dataclass(hint):
            paths += option_paths(hint, f"{prefix}{name}.")
        elif hint == ModelValues:
            paths += [path for kind, one in MODEL_OPTIONS.items() for path in option_paths(one.values, f"{kind}.")]
        else:
            paths += [prefix + option for option in (EXPORT_FILES if hint == ExportPaths else (name,))]
    return paths
