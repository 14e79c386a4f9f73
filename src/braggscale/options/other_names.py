"""Names and values that options had in 2018, and those that only dials.scale has."""

from __future__ import annotations

from dataclasses import dataclass

_OF_DIALS = ("physical", "array", "KB", "dose_decay")  # models of dials.scale

# Names of 2018 (and a few others in use) -> today's. ``*.name``: the parameter of the models that have it.
RENAMED: dict[str, str] = {
    "parameterisation.scale_term": "*.scale_correction",
    "parameterisation.scale_interval": "*.scale_interval",
    "parameterisation.decay_term": "*.decay_correction",
    "parameterisation.decay_interval": "*.decay_interval",
    "parameterisation.decay_restraint": "*.decay_restraint",
    "parameterisation.n_resolution_bins": "*.n_resolution_bins",
    "parameterisation.absorption_term": "*.absorption_correction",
    "parameterisation.lmax": "*.lmax",
    "parameterisation.surface_weight": "*.surface_weight",
    "parameterisation.modulation_term": "*.modulation_correction",
    "parameterisation.image_term": "physical.image_correction",
    "parameterisation.n_modulation_bins": "*.n_modulation_bins",
    "parameterisation.n_absorption_bins": "*.n_absorption_bins",
    "reflection_selection.intensity": "reflection_selection.intensity_choice",
    "weighting.error_model": "weighting.error_model.error_model",
    "weighting.optimise_errors": "weighting.error_model.error_model",
    "cut_data.exclude_batches": "exclude_batches",
    "dataset_selection.include_datasets": "dataset_selection.use_datasets",
    **{f"{model}.analytical_correction": "scaling_options.analytical_correction" for model in _OF_DIALS},
    "scaling_options.nproc": "nproc",
    "scaling_options.space_group": "input.space_group",
    "scaling_options.reference": "reference",
    "scaling_options.target_model": "reference",
    "scaling_options.target_mtz": "reference",
    "scaling_options.check_consistent_indexing": "input.reindex",
}
# Option, a value of 2018 or of dials.scale in lower case -> the value here.
OLD_VALUES: dict[tuple[str, str], str] = {
    **{("weighting.optimise_errors", word): "basic" for word in ("true", "yes", "on", "1")},
    **{("weighting.optimise_errors", word): "None" for word in ("false", "no", "off", "0")},
    **{("scaling_options.check_consistent_indexing", word): "auto" for word in ("true", "yes", "on", "1")},
    **{("scaling_options.check_consistent_indexing", word): "None" for word in ("false", "no", "off", "0")},
    ("model", "none"): "auto",
    ("cross_validation.cross_validation_mode", "none multi single"): "None",
    ("cross_validation.cross_validation_mode", "multi single"): "None",
    ("filtering.method", "none deltacchalf"): "None",  # dials.scale prints its choices so where none is chosen
    ("cut_data.small_scale_cutoff", "auto"): "0.001",
}

# These are too similar to the names of other options and are recognised only with a dot.
FULL_NAME_ONLY = (
    "*.share.absorption",
    "*.share.decay",
    "filtering.method",
    "filtering.deltacchalf.min_reflections",
)

# Options of any version of dials.scale that this program does not have, and the nearest option that it has.
DIALS_ONLY: dict[str, str | None] = {
    "scaling_options.target_cycle": None,
    "scaling_options.concurrent": None,
    "scaling_options.verbosity": "-v",
    "scaling_refinery.engine": "scaling_options.full_matrix",
    "scaling_refinery.full_matrix_engine": "scaling_options.full_matrix",
    "scaling_refinery.refinement_order": None,
    "weighting.weighting_scheme": None,
    "weighting.output_optimised_vars": "weighting.error_model.error_model",
    "reflection_selection.combine.joint_analysis": None,
    "output.delete_integration_shoeboxes": None,
    "output.plot_scaling_models": "output.html",
    "output.debug.log": "-v",
    "exclude_images_multiple": "exclude_images",
    "physical.fix_initial": None,
    "dose_decay.fix_initial": None,
    "debug": "-v",
}
# Options that name input files, as dials.scale has them; a name alone does the same.
INPUT_FILES = ("input.experiments", "input.reflections")
# Values of shared options that only dials.scale has, in lower case.
DIALS_ONLY_VALUES: dict[str, tuple[str, ...]] = {
    "weighting.error_model.basic.minimisation": ("regression",),
}


@dataclass(frozen=True, slots=True)
class Harmless:
    """Values of an option of dials.scale with which it changes nothing here; no values: all of them."""

    why: str
    values: tuple[str, ...] = ()


# Options of dials.scale that are accepted, because their values change nothing: by full name.
CHANGES_NOTHING: dict[str, Harmless] = {
    "scaling_options.target_cycle": Harmless("scaled data sets are a start of the others anyway"),
    "scaling_options.concurrent": Harmless("all corrections are fitted together"),
    "scaling_options.verbosity": Harmless("-v makes the log longer, -q shorter"),
    "scaling_refinery.engine": Harmless("the size of the problem decides on the minimiser"),
    "scaling_refinery.full_matrix_engine": Harmless("the size of the problem decides on the minimiser"),
    "scaling_refinery.refinement_order": Harmless("all corrections are fitted together"),
    "weighting.weighting_scheme": Harmless("weights are inverse variances", ("invvar",)),
    "weighting.output_optimised_vars": Harmless("the error model is always applied", ("true",)),
    "reflection_selection.combine.joint_analysis": Harmless("data sets are always compared together", ("true",)),
    "output.delete_integration_shoeboxes": Harmless("shoeboxes are never written", ("true",)),
    "output.plot_scaling_models": Harmless("the report has the plots"),
    "output.debug.log": Harmless("-v makes the log longer"),
    "exclude_images_multiple": Harmless("it has no effect in dials.scale either"),
    "physical.fix_initial": Harmless("the mean over all data sets sets the scale"),
    "dose_decay.fix_initial": Harmless("the mean over all data sets sets the scale"),
    "debug": Harmless("-v makes the log longer"),
}
# Choices of dials.scale of which none may be chosen; its parameters then list all of them without a star.
_OPEN_CHOICES = (
    {"physical", "array", "kb", "dose_decay"},
    {"multi", "single"},
    {"deltacchalf"},
    {"none", "deltacchalf"},
)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def is_open_choice(text: str) -> bool:
    """Whether a value is a list of choices of dials.scale of which none is marked."""
    words = text.lower().split()
    return len(words) > 1 and set(words) in _OPEN_CHOICES


def reason_to_accept(path: str, text: str) -> str:
    """Why an option of dials.scale can be accepted with this value, '' if it cannot.  ``path``: its full name."""
    harmless = CHANGES_NOTHING.get(path)
    if harmless is None:
        return ""
    words = text.lower().split()
    starred = [word[1:] for word in words if word.startswith("*")]
    value = "none" if is_open_choice(text) else starred[0] if len(starred) == 1 else " ".join(words)
    value = "true" if value in _TRUE else "false" if value in _FALSE else value
    return harmless.why if not harmless.values or value in harmless.values else ""
