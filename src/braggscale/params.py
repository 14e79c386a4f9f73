"""The options as frozen values, and the choices that depend on the data.

The classes mirror the PHIL text one to one: ``params.cut_data.d_min`` is the option ``cut_data.d_min``. PHIL's
None and Auto are both None here: no option has both (a test says so), so None means "decide from the data" for
an option whose default is Auto, and "off" or "no limit" for all others.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_type_hints

from braggscale.errors import CommandError
from braggscale.phil_values import AUTO

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
    modulation_correction: bool | None
    image_correction: bool | None
    image_interval: float | None
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
    modulation_correction: bool | None
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

    full_matrix: bool
    outlier_rejection: Literal["standard", "simple"] | None
    outlier_zmax: float | None
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
    html: str | None
    merged_mtz: str | None
    unmerged_mtz: str | None
    merged_cif: str | None
    unmerged_cif: str | None
    shelx: str | None
    xds_ascii: str | None
    sca: str | None
    free_flags: str | None
    crystal_name: str
    project_name: str
    use_internal_variance: bool
    merging: Merging


# Options of section output that name a file: of scaled data, and of other programs.
SCALED_FILES = ("experiments", "reflections", "log", "json", "html")
EXPORTS = ("merged_mtz", "unmerged_mtz", "merged_cif", "unmerged_cif", "shelx", "xds_ascii", "sca")


def exports_of(output: Output) -> list[str]:
    """Names of the exports that are wanted, as they were given."""
    return [path for name in EXPORTS if (path := getattr(output, name))]


def shelx_files(path: str) -> tuple[str, str, str]:
    """The .hkl, .ins and .cif file that the option ``shelx`` means, with or without one of the endings."""
    stem, ending = os.path.splitext(path)
    stem = stem if ending in (".hkl", ".ins", ".cif") else path
    return stem + ".hkl", stem + ".ins", stem + ".cif"


@dataclass(frozen=True, slots=True)
class Report:
    """report.  ``compare``: path of another run's summary."""

    compare: str | None


@dataclass(frozen=True, slots=True)
class Params:
    """Every option.  ``exclude_images``, ``include_images``: items ``[ID:]first:last``, in order of mention.

    ``exclude_batches``: pairs of batch numbers.  ``split_at``: items ``[ID:]image``.
    """

    model: Literal["auto", "physical", "array", "KB"]
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
    report: Report


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


def fill(kind: type[Any], prefix: str, values: Mapping[str, Any]) -> Any:
    """An instance of the dataclass from the PHIL values, full name -> value, below ``prefix``."""
    made = {}
    for name, hint in _hints(kind).items():
        path = prefix + name
        if isinstance(hint, type) and is_dataclass(hint):
            made[name] = fill(hint, path + ".", values)
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
    return {field.name: hints[field.name] for field in fields(kind)}


def option_paths(kind: type[Any] = Params, prefix: str = "") -> list[str]:
    """Full names of all fields, in order; equal to the full names of the PHIL text."""
    found: list[str] = []
    for name, hint in _hints(kind).items():
        inner = isinstance(hint, type) and is_dataclass(hint)
        found += option_paths(hint, f"{prefix}{name}.") if inner else [prefix + name]
    return found


PARTIALITY_CUTOFF, STILLS_CUTOFF = 0.4, 0.05  # the first is DIALS'
# With calibrated errors and scales without systematic differences 4 finds most and loses least; otherwise DIALS' 6.
ZMAX, ZMAX_UNCALIBRATED = 4.0, 6.0
# With estimated restraints all of so many observations take part in the fit; of more the ranges are enough.
ALL_BELOW = 250_000


def settle(
    params: Params, estimated: bool, stills: bool, n_rows: int, given: Callable[[str], bool]
) -> tuple[Params, list[str]]:
    """Options whose automatic value depends on the whole input, settled; sentences for the log on the unusual ones.

    ``estimated``: whether restraints are.  ``stills``: whether all data sets are stills.  ``n_rows``: of the input.
    """
    sentences = []
    cut, scaling, selection = params.cut_data, params.scaling_options, params.reflection_selection
    if cut.partiality_cutoff is None:
        low = estimated and stills
        if low:
            sentences.append(f"stills: reflections are used from a partiality of {STILLS_CUTOFF:g}, by their errors")
        cut = replace(cut, partiality_cutoff=STILLS_CUTOFF if low else PARTIALITY_CUTOFF)
    if scaling.outlier_zmax is None:
        errors = params.weighting.error_model
        basic = errors.basic
        refined = errors.error_model is not None and basic.minimisation is not None and basic.a is None
        calibrated = estimated and refined
        scaling = replace(scaling, outlier_zmax=ZMAX if calibrated else ZMAX_UNCALIBRATED)
    asked = any(given(f"reflection_selection.{name}") for name in _SELECTING)
    if estimated and not asked and (stills or n_rows <= ALL_BELOW):
        sentences.append("all observations take part in the fit (method=use_all)")
        selection = replace(selection, method="use_all")
    return replace(params, cut_data=cut, scaling_options=scaling, reflection_selection=selection), sentences


_SELECTING = ("method", "E2_range", "Isigma_range", "d_range", "min_partiality")

COMPONENTS: dict[str, tuple[str, ...]] = {
    "physical": ("scale", "decay", "absorption", "modulation", "image"),
    "array": ("decay", "absorption", "modulation"),
    "KB": ("scale", "decay", "modulation"),
}


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """What the choice of a model depends on.

    ``oscillation_range``: total rotation, degrees, without sign.  ``largest_angle``: between s0 and s1 over the
    usable reflections, degrees; None where it is not known.  ``single_panel``: the detector is one known panel.
    ``image_width``: degrees, without sign.  ``mosaicity``: sd of the rocking curve, degrees; 0 where it is not known.
    ``n_rows``: usable reflections.
    """

    identifier: str
    is_still: bool
    oscillation_range: float
    largest_angle: float | None = None
    single_panel: bool = False
    image_width: float = 0.0
    mosaicity: float = 0.0
    n_rows: int = 0


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The model of one data set with every Auto settled.

    ``scale``, ``decay``, ``absorption``, ``modulation``: components that the model has.  Intervals in degrees.
    Numbers that the model has no use for are 0.  ``fixed``: components that keep their values.
    ``estimated``: components whose restraints the data determine.
    """

    model: ModelName
    scale: bool
    decay: bool
    absorption: bool
    modulation: bool
    scale_interval: float
    decay_interval: float
    lmax: int
    surface_weight: float
    decay_restraint: float
    n_resolution_bins: int
    n_absorption_bins: int
    n_modulation_bins: int
    share_absorption: bool
    fixed: tuple[str, ...]
    estimated: tuple[str, ...] = ()
    image: bool = False
    image_interval: float = 1.0


KB_BELOW = 1.0  # degrees of rotation; DIALS' limit for the automatic choice of KB
KB_SUGGESTED_BELOW = 3.0  # degrees
ABSORPTION_ABOVE = 60.0  # degrees of rotation; DIALS' limit: less does not cover the surface
ABSORPTION_ANGLE = 2.5626  # degrees, acos(0.999): s0 and s1 nearly coincide, as in electron diffraction (DIALS' limit)
DEFAULT_LMAX = 4
DEFAULT_SURFACE_WEIGHT = 5e5
DEFAULT_DECAY_RESTRAINT = 0.1
# With estimated restraints a basis only has to be fine enough: finer than these changed no merged intensity.
FINE_INTERVAL = 2.5  # degrees; of the decay twice as much
FINEST_INTERVAL = 1e-3  # degrees, however narrow the sweep
LEAST_INTERVALS, MOST_INTERVALS = 4, 80  # of the scale, per sweep
FINE_LMAX, WEDGE_LMAX = 6, 4  # of sweeps, and of those below ABSORPTION_ABOVE
MODULATION_BINS = 16
IMAGE_INTERVAL = 1.0  # degrees
# Image effects by themselves: images at least as wide as rocking curves (full width at half maximum, 2.355 sd), and
# so many reflections for each effect that its error, about 3 % over their root, is below the usual flicker of a beam.
FULL_WIDTH = 2.355
LEAST_PER_EFFECT = 50
# Sweep width below which, scale interval, decay interval; degrees. DIALS' automatic values.
INTERVALS = ((5.0, 1.0, 1.5), (10.0, 2.0, 3.0), (25.0, 4.0, 5.0), (90.0, 8.0, 10.0), (float("inf"), 15.0, 20.0))
# lmax, surface weight; DIALS' values.
ABSORPTION_LEVELS = {"low": (4, 5e5), "medium": (6, 5e4), "high": (6, 5e3)}


def resolve_model(params: Params, facts: SweepFacts) -> tuple[ModelSettings, list[str]]:
    """The model of a data set, and a sentence for the log on each choice that a user may wonder about.

    The sentences do not name the data set, so that equal ones can be put together. Limits and automatic values
    are those of DIALS.  Raises CommandError when the options leave the model without a component.
    """
    name, sentences = _model_name(params, facts)
    if name == "physical":
        settings = _physical(params.physical, facts, sentences, params.restraints == "estimated")
    elif name == "array":
        settings = _array(params.array)
    else:
        settings = _kb(params.KB, facts, sentences, params.restraints == "estimated")
    if not (settings.scale or settings.decay or settings.absorption or settings.modulation or settings.image):
        raise CommandError(
            f"data set {facts.identifier}: the model {name} has no component left; switch on at least one of its "
            f"corrections ({', '.join(COMPONENTS[name])}) or choose another model"
        )
    if name == "array" and not (settings.decay or settings.absorption):
        raise CommandError(
            f"data set {facts.identifier}: the model array needs decay_correction or absorption_correction"
        )
    return settings, sentences


def _model_name(params: Params, facts: SweepFacts) -> tuple[ModelName, list[str]]:
    degrees = facts.oscillation_range
    if params.model == "KB":
        return "KB", []
    if facts.is_still:
        if params.model == "auto":
            return "KB", ["model KB, because it is a still"]
        return "KB", [f"model KB instead of {params.model}, which needs a rotation: it is a still"]
    if params.model == "auto" and degrees < KB_BELOW:
        return "KB", [f"model KB, because the sweep covers {degrees:.3g} degrees, less than {KB_BELOW:g}"]
    advice = []
    if degrees < KB_SUGGESTED_BELOW:
        advice = [f"the sweep covers only {degrees:.3g} degrees: model=KB may be the better choice"]
    return ("physical" if params.model == "auto" else params.model), advice


def _physical(options: Physical, facts: SweepFacts, sentences: list[str], estimate: bool) -> ModelSettings:
    degrees = facts.oscillation_range
    _, scale_interval, decay_interval = next(row for row in INTERVALS if degrees < row[0])
    estimated = _estimated(options) if estimate else ()
    fine = max(min(FINE_INTERVAL, degrees / LEAST_INTERVALS), degrees / MOST_INTERVALS)
    fine = min(max(fine, FINEST_INTERVAL), scale_interval)
    if "scale" in estimated:
        scale_interval = fine
    if "decay" in estimated:
        decay_interval = 2.0 * fine
    default_lmax = DEFAULT_LMAX
    if "absorption" in estimated:
        default_lmax = FINE_LMAX if degrees > ABSORPTION_ABOVE else WEDGE_LMAX
    modulation = _modulation(options.modulation_correction, facts, sentences, estimate)
    image, image_interval = _images(options, facts, estimate)
    if image and options.image_correction is None:
        sentences.append(f"image effects on, one for every {image_interval:.3g} degrees (image_correction=False: off)")
    absorption, why = _absorption(options, facts, "absorption" in estimated)
    lmax, weight = options.lmax, options.surface_weight
    if why and (lmax is not None or weight is not None or options.share.absorption):
        why += "; lmax, surface_weight and share.absorption have no effect"
    if why:
        sentences.append(why)
    if options.absorption_level is not None:
        level = ABSORPTION_LEVELS[options.absorption_level]
        given = [text for text, value in (("lmax", lmax), ("surface_weight", weight)) if value is not None]
        if given:
            sentences.append(
                f"absorption_level={options.absorption_level} overrides {' and '.join(given)}: "
                f"lmax {level[0]}, surface_weight {level[1]:g}"
            )
        lmax, weight = level
    return ModelSettings(
        model="physical",
        scale=options.scale_correction,
        decay=options.decay_correction,
        absorption=absorption,
        modulation=modulation,
        scale_interval=scale_interval if options.scale_interval is None else options.scale_interval,
        decay_interval=decay_interval if options.decay_interval is None else options.decay_interval,
        lmax=default_lmax if lmax is None else lmax,
        surface_weight=DEFAULT_SURFACE_WEIGHT if weight is None else weight,
        decay_restraint=options.decay_restraint,
        n_resolution_bins=0,
        n_absorption_bins=0,
        n_modulation_bins=MODULATION_BINS if modulation else 0,
        share_absorption=options.share.absorption and absorption,
        fixed=_fixed("physical", options.correction),
        estimated=estimated,
        image=image,
        image_interval=image_interval,
    )


def _images(options: Physical, facts: SweepFacts, estimate: bool) -> tuple[bool, float]:
    """Whether there are image effects, and the rotation that shares one, degrees.

    Interval if none is given: one image if images are as wide as rocking curves and have enough reflections, the least
    number of images that has if that is up to IMAGE_INTERVAL, else IMAGE_INTERVAL.
    """
    width, interval = facts.image_width, IMAGE_INTERVAL
    wide = facts.mosaicity > 0 and width >= FULL_WIDTH * facts.mosaicity
    if wide and facts.n_rows > 0:
        per_image = facts.n_rows * width / facts.oscillation_range
        interval = min(width * math.ceil(LEAST_PER_EFFECT / per_image), max(width, IMAGE_INTERVAL))
    if options.image_interval is not None:
        interval = options.image_interval
    if options.image_correction is not None:
        return options.image_correction, interval
    return estimate and wide and facts.n_rows * interval >= LEAST_PER_EFFECT * facts.oscillation_range, interval


def _modulation(wanted: bool | None, facts: SweepFacts, sentences: list[str], estimate: bool) -> bool:
    """Whether there is a map of the detector; where it is asked for and cannot be, a sentence says so."""
    if wanted and not facts.single_panel:
        sentences.append("modulation correction off: the detector has several panels or is not known")
    return facts.single_panel and (estimate if wanted is None else wanted)


def _estimated(options: Physical) -> tuple[str, ...]:
    """Components of which the user gave no number."""
    given = {
        "scale": options.scale_interval is not None,
        "decay": options.decay_interval is not None or options.decay_restraint != DEFAULT_DECAY_RESTRAINT,
        "absorption": any(x is not None for x in (options.lmax, options.surface_weight, options.absorption_level)),
    }
    return tuple(name for name in COMPONENTS["physical"] if not given.get(name, False))


def _absorption(options: Physical, facts: SweepFacts, estimated: bool) -> tuple[bool, str]:
    """Whether the surface is on; if it was switched off automatically, why.

    A sweep too narrow to determine a surface is no reason to leave it out where its strength is estimated.
    """
    if options.absorption_level is not None:
        return True, ""
    if options.absorption_correction is not None:
        return options.absorption_correction, ""
    off = "absorption correction off: the sweep"
    if facts.oscillation_range <= ABSORPTION_ABOVE and not estimated:
        return False, f"{off} covers {facts.oscillation_range:.3g} degrees, not more than {ABSORPTION_ABOVE:g}"
    angle = facts.largest_angle
    if angle is not None and angle < ABSORPTION_ANGLE:
        return False, f"{off}'s scattering angles reach only {angle:.2f} degrees, less than {ABSORPTION_ANGLE:.2f}"
    return True, ""


def _array(options: ArrayModel) -> ModelSettings:
    return ModelSettings(
        model="array",
        scale=False,
        decay=options.decay_correction,
        absorption=options.absorption_correction,
        modulation=options.modulation_correction,
        scale_interval=0.0,
        decay_interval=options.decay_interval,
        lmax=0,
        surface_weight=0.0,
        decay_restraint=0.0,
        n_resolution_bins=options.n_resolution_bins,
        n_absorption_bins=options.n_absorption_bins,
        n_modulation_bins=options.n_modulation_bins,
        share_absorption=False,
        fixed=_fixed("array", options.correction),
    )


def _kb(options: KB, facts: SweepFacts, sentences: list[str], estimate: bool) -> ModelSettings:
    modulation = _modulation(options.modulation_correction, facts, sentences, estimate)
    return ModelSettings(
        model="KB",
        scale=options.scale_correction,
        decay=options.decay_correction,
        absorption=False,
        modulation=modulation,
        scale_interval=0.0,
        decay_interval=0.0,
        lmax=0,
        surface_weight=0.0,
        decay_restraint=0.0,
        n_resolution_bins=0,
        n_absorption_bins=0,
        n_modulation_bins=MODULATION_BINS if modulation else 0,
        share_absorption=False,
        fixed=_fixed("KB", options.correction),
        estimated=COMPONENTS["KB"] if estimate else (),
    )


def _fixed(model: ModelName, correction: Correction) -> tuple[str, ...]:
    fixed = [name for name in COMPONENTS[model] if name in (correction.fix or ())]
    if model != "array" and "modulation" in fixed:
        fixed.append("modules")  # the other part of the detector's response
    return tuple(fixed)
