"""The options as frozen values, what a command line sets, and the choices that depend on the data.

The classes mirror the PHIL text one to one: ``params.cut_data.d_min`` is the option ``cut_data.d_min``. PHIL's
None and Auto are both None here: no option has both (a test says so), so None means "decide from the data" for
an option whose default is Auto, and "off" or "no limit" for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, get_type_hints

from braggscale.errors import CommandError
from braggscale.params_text import (
    DIALS_ONLY,
    DIALS_ONLY_VALUES,
    FULL_NAME_ONLY,
    MASTER,
    MODELS,
    OLD_VALUES,
    RENAMED,
)
from braggscale.phil import AUTO, Assignment, Definitions

ModelName = Literal["physical", "array", "KB"]
IntensityChoice = Literal["profile", "sum", "combine"]


@dataclass(frozen=True, slots=True)
class Share:
    """physical.share"""

    absorption: bool


@dataclass(frozen=True, slots=True)
class Correction:
    """<model>.correction; ``fix``: names of components."""

    fix: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Physical:
    """Intervals in degrees."""

    scale_correction: bool
    scale_interval: float | None
    decay_correction: bool
    decay_interval: float | None
    decay_restraint: float
    absorption_correction: bool | None
    absorption_level: Literal["low", "medium", "high"] | None
    lmax: int | None
    surface_weight: float | None
    share: Share
    correction: Correction


@dataclass(frozen=True, slots=True)
class ArrayModel:
    """Interval in degrees."""

    decay_correction: bool
    absorption_correction: bool
    modulation_correction: bool
    decay_interval: float
    n_resolution_bins: int
    n_absorption_bins: int
    n_modulation_bins: int
    correction: Correction


@dataclass(frozen=True, slots=True)
class KB:
    """KB"""

    scale_correction: bool
    decay_correction: bool
    correction: Correction


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
class ReflectionSelection:
    """``best_unit_cell``: Angstrom, degrees.  ``d_range``: (d_min, d_max), Angstrom, in this order."""

    method: Literal["intensity_ranges", "quasi_random", "use_all", "random"]
    random: Random
    best_unit_cell: tuple[float, float, float, float, float, float] | None
    E2_range: tuple[float, float]
    Isigma_range: tuple[float, float]
    d_range: tuple[float, float] | None
    min_partiality: float
    intensity_choice: IntensityChoice
    combine: Combine


@dataclass(frozen=True, slots=True)
class BasicErrorModel:
    """weighting.error_model.basic"""

    a: float | None
    b: float | None
    minimisation: Literal["individual"] | None
    min_Ih: float
    n_bins: int


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
    partiality_cutoff: float
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

    full_matrix: bool
    outlier_rejection: Literal["standard", "simple"] | None
    outlier_zmax: float
    emax: float


@dataclass(frozen=True, slots=True)
class ScalingRefinery:
    """scaling_refinery"""

    max_iterations: int | None
    rmsd_tolerance: float
    full_matrix_max_iterations: int | None


@dataclass(frozen=True, slots=True)
class Merging:
    """output.merging"""

    nbins: int


@dataclass(frozen=True, slots=True)
class Output:
    """Paths, None where the file is not wanted."""

    experiments: str
    reflections: str
    log: str | None
    json: str | None
    use_internal_variance: bool
    merging: Merging
    delete_integration_shoeboxes: bool


@dataclass(frozen=True, slots=True)
class Params:
    """Every option.  ``exclude_images``, ``include_images``: items ``[ID:]first:last``, in order of mention.

    ``exclude_batches``: pairs of batch numbers.
    """

    model: Literal["auto", "physical", "array", "KB"]
    anomalous: bool
    overwrite_existing_models: bool
    exclude_images: tuple[str, ...]
    exclude_batches: tuple[tuple[int, int], ...]
    include_images: tuple[str, ...]
    reset_exclusions: bool
    nproc: int | None
    physical: Physical
    array: ArrayModel
    KB: KB
    reflection_selection: ReflectionSelection
    weighting: Weighting
    cut_data: CutData
    dataset_selection: DatasetSelection
    scaling_options: ScalingOptions
    scaling_refinery: ScalingRefinery
    output: Output


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What was typed.  ``modified``: PHIL text of what differs from the defaults.

    ``notes``: sentences on every name that was guessed or translated, for the log.
    ``explicit``: full names of the options that arguments set, or files set to something else than the default.
    """

    argv: tuple[str, ...]
    files: tuple[str, ...]
    modified: str
    notes: tuple[str, ...]
    explicit: frozenset[str]

    def given(self, path: str) -> bool:
        """Whether the user set the option of this full name."""
        return path in self.explicit

    def as_dict(self) -> dict[str, Any]:
        """For the machine-readable summary."""
        return {
            "arguments": list(self.argv),
            "files": list(self.files),
            "modified": self.modified.splitlines(),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """The options after all assignments.  ``values``: full name -> PHIL value."""

    values: Mapping[str, Any]
    params: Params
    modified: str
    notes: tuple[str, ...]
    explicit: frozenset[str]


@cache
def definitions() -> Definitions:
    """The master scope; parsed once."""
    return Definitions(MASTER, MODELS, RENAMED, DIALS_ONLY, FULL_NAME_ONLY)


def settle(assignments: Sequence[tuple[Assignment, bool]]) -> tuple[Settings | None, list[str]]:
    """Apply assignments in order, later ones win.  Each comes with whether an argument, not a file, made it.

    A short name that several models have goes to the model named by ``model=``, and to all of them when the
    model is automatic.  Returns the settings and the problems, one line each; no settings if there are any.
    """
    master = definitions()
    values = master.defaults()
    problems: list[str] = []
    notes: list[str] = []
    explicit: set[str] = set()
    targets = []
    for made, typed in assignments:
        try:
            target = master.resolve(made.name)
        except CommandError as error:
            problems.append(f"{made.origin}: {error}")
            continue
        if target.note:
            notes.append(f"{made.origin}: {target.note}")
        targets.append((made, typed, target, _todays_words(made, target.paths)))
    # the model first: other names depend on the one that is named last
    for made, _, target, words in targets:
        if target.paths == ("model",):
            _assign(master, values, made, target.paths, words, [])
    model = values["model"]
    for made, typed, target, words in targets:
        paths = target.paths
        if target.family:
            chosen = [path for path in paths if model in ("auto", path.split(".")[0])]
            if not chosen:
                owners = " and ".join(path.split(".")[0] for path in paths)
                problems.append(f"{made.origin}: model={model} has no {made.name}; {owners} has it")
                continue
            if len(chosen) > 1:
                notes.append(f"{made.origin}: set for the models {', '.join(p.split('.')[0] for p in chosen)}")
            paths = tuple(chosen)
        before = {path: values[path] for path in paths}
        if _assign(master, values, made, paths, words, problems):
            explicit |= {path for path in paths if typed or values[path] != before[path]}
    problems += _contradictions(values)
    if problems:
        return None, list(dict.fromkeys(problems))
    explicit |= {path for path, option in master.options.items() if values[path] != option.default}
    params: Params = _fill(Params, "", values)
    settings = Settings(values, params, master.modified(values), tuple(dict.fromkeys(notes)), frozenset(explicit))
    return settings, []


def _todays_words(made: Assignment, paths: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """The words, or today's word for a value that an old option had."""
    if len(made.words) != 1 or len(paths) != 1:
        return made.words
    word = made.words[0][0].lower()
    for (old, value), new in OLD_VALUES.items():
        named = old == made.name or old.endswith("." + made.name)
        if named and value == word and paths[0] in (RENAMED.get(old), old):
            return ((new, False),)
    return made.words


def _assign(
    master: Definitions,
    values: dict[str, Any],
    made: Assignment,
    paths: tuple[str, ...],
    words: tuple[tuple[str, bool], ...],
    problems: list[str],
) -> bool:
    """Set all paths, or add one problem; whether it went well."""
    shown = " ".join(text for text, _ in words).lower()
    if shown in DIALS_ONLY_VALUES.get(paths[0], ()):
        rest = ", ".join(master.options[paths[0]].choices)
        problems.append(f"{made.origin}: {shown} is a value of dials.scale that scale does not have; nearest: {rest}")
        return False
    try:
        for path in paths:
            master.assign(values, path, words)
    except CommandError as error:
        problems.append(f"{made.origin}: {error}")
        return False
    return True


COMPONENTS: dict[str, tuple[str, ...]] = {
    "physical": ("scale", "decay", "absorption"),
    "array": ("decay", "absorption", "modulation"),
    "KB": ("scale", "decay"),
}


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """What PHIL types cannot say: order of ranges, options that exclude each other."""
    found: list[str] = []
    selection = "reflection_selection."
    low, high = values[selection + "E2_range"]
    if not low < high:
        found.append(f"E2_range={low:g},{high:g}: the first number must be the smaller one")
    low, high = values[selection + "Isigma_range"]
    if high != 0 and not low < high:
        found.append(f"Isigma_range={low:g},{high:g}: the first number must be the smaller one, or the second 0")
    if (d_range := values[selection + "d_range"]) and d_range[0] == d_range[1]:
        found.append(f"d_range={d_range[0]:g},{d_range[1]:g}: the two limits are equal")
    if (cell := values[selection + "best_unit_cell"]) and not (min(cell) > 0 and max(cell[3:]) < 180):
        found.append("best_unit_cell: lengths must be above 0, angles between 0 and 180")
    low, high = values["cut_data.d_min"], values["cut_data.d_max"]
    if low is not None and high is not None and not low < high:
        found.append(f"d_min={low:g} d_max={high:g}: d_min must be smaller than d_max; nothing would be left")
    if values["dataset_selection.use_datasets"] and values["dataset_selection.exclude_datasets"]:
        found.append("use_datasets and exclude_datasets cannot be used together: one list is enough")
    if values["physical.absorption_level"] and values["physical.absorption_correction"] is False:
        level = values["physical.absorption_level"]
        found.append(f"absorption_level={level} contradicts physical.absorption_correction=False")
    if values["model"] == "array" and not (values["array.decay_correction"] or values["array.absorption_correction"]):
        found.append("model=array needs decay_correction or absorption_correction")
    error = "weighting.error_model."
    if values[error + "error_model_group"] and values[error + "grouping"] != "grouped":
        found.append("error_model_group is used only with grouping=grouped")
    everything = {name for names in COMPONENTS.values() for name in names}
    for model in MODELS:
        for name in values[f"{model}.correction.fix"] or ():
            known = COMPONENTS[model] if values["model"] == model else everything
            if name not in known:
                found.append(f"correction.fix={name}: the components are {', '.join(sorted(known))}")
    outputs: dict[str, str] = {}
    for name in ("experiments", "reflections", "log", "json"):
        path = values["output." + name]
        if path == "":
            found.append(f"output.{name}: the name is empty")
        elif path is not None and outputs.setdefault(path, name) != name:
            found.append(f"output.{outputs[path]} and output.{name} are the same file, {path}")
    return found


def _fill(kind: type, prefix: str, values: Mapping[str, Any]) -> Any:
    """An instance of the dataclass from the values below ``prefix``."""
    made = {}
    for name, hint in _hints(kind).items():
        path = prefix + name
        if is_dataclass(hint):
            made[name] = _fill(hint, path + ".", values)
        else:
            value = values[path]
            if path in ("exclude_images", "include_images"):
                value = tuple(item for entry in value for item in entry)
            elif path == "reflection_selection.d_range" and value:
                value = (min(value), max(value))
            made[name] = None if value is AUTO else value
    return kind(**made)


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def option_paths(kind: type = Params, prefix: str = "") -> list[str]:
    """Full names of all fields, in order; equal to the full names of the PHIL text."""
    found: list[str] = []
    for name, hint in _hints(kind).items():
        found += option_paths(hint, f"{prefix}{name}.") if is_dataclass(hint) else [prefix + name]
    return found


def unused_model_settings(params: Params, given: Callable[[str], bool], models_in_use: Collection[str]) -> list[str]:
    """Sentences for the log on parameters that were set for models that no data set has.

    ``models_in_use``: names of the models of all data sets, once they are known.  Raises CommandError with the
    same sentences where ``model=`` was named: then it is a mistake, not a guess that went wrong.
    """
    master = definitions()
    paths = [path for path in master.options if path.split(".")[0] in MODELS and given(path)]
    sentences: list[str] = []
    for key in dict.fromkeys(map(master.key, paths)):
        owners = [path.split(".")[0] for path in paths if master.key(path) == key]
        if not set(owners) & set(models_in_use):
            used = ", ".join(sorted(models_in_use))
            what = f"{owners[0]}.{key[2:]}" if len(owners) == 1 else key[2:]
            sentences.append(f"{what} has no effect: the models in use are {used}; {' and '.join(owners)} would use it")
    if sentences and params.model != "auto":
        raise CommandError("; ".join(sentences))
    return sentences
