"""Names and values that options had in 2018, and those that only dials.scale has."""

from __future__ import annotations

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
    "scaling_options.nproc": "nproc",
    "scaling_options.space_group": "input.space_group",
}
# Old option, its value in lower case -> today's value.
OLD_VALUES: dict[tuple[str, str], str] = {
    **{("weighting.optimise_errors", word): "basic" for word in ("true", "yes", "on", "1")},
    **{("weighting.optimise_errors", word): "None" for word in ("false", "no", "off", "0")},
    ("model", "none"): "auto",
}

# Too like the names of other options: these need a dot.
FULL_NAME_ONLY = ("*.share.absorption",)

# Options of dials.scale, of any version, that there are not, and what comes nearest.
DIALS_ONLY: dict[str, str | None] = {
    "reference": None,
    "reference_model.*": None,
    "scaling_options.reference": None,
    "scaling_options.target_model": None,
    "scaling_options.target_mtz": None,
    "scaling_options.target_cycle": None,
    "scaling_options.only_target": None,
    "scaling_options.only_save_targeted": None,
    "scaling_options.check_consistent_indexing": None,
    "scaling_options.use_free_set": None,
    "scaling_options.free_set_percentage": None,
    "scaling_options.free_set_offset": None,
    "scaling_options.concurrent": None,
    "scaling_options.verbosity": "-v",
    "scaling_refinery.engine": "scaling_options.full_matrix",
    "scaling_refinery.full_matrix_engine": "scaling_options.full_matrix",
    "scaling_refinery.refinement_order": None,
    "weighting.weighting_scheme": None,
    "weighting.output_optimised_vars": "weighting.error_model.error_model",
    "weighting.error_model.basic.stills.*": None,
    "weighting.error_model.basic.stills.min_Isigma": None,
    "weighting.error_model.basic.stills.min_multiplicity": None,
    "reflection_selection.combine.joint_analysis": None,
    "output.delete_integration_shoeboxes": None,
    "output.additional_stats": None,
    "output.plot_scaling_models": "output.html",
    "output.debug.log": "-v",
    "output.exclude_on_image_scale": "exclude_images",
    "output.exclude_on_batch_rmerge": "exclude_images",
    "exclude_images_multiple": "exclude_images",
    "physical.fix_initial": None,
    "physical.analytical_correction": None,
    "array.analytical_correction": None,
    "KB.analytical_correction": None,
    "dose_decay.*": "the model physical",
    "dose_decay.relative_B_correction": "physical.decay_correction",
    "dose_decay.resolution_dependence": None,
    "dose_decay.fix_initial": None,
    "cross_validation.*": None,
    "cross_validation.cross_validation_mode": None,
    "cross_validation.parameter": None,
    "cross_validation.parameter_values": None,
    "cross_validation.nfolds": None,
    "filtering.*": "exclude_images, exclude_datasets",
    "filtering.deltacchalf.max_cycles": None,
    "filtering.deltacchalf.max_percent_removed": None,
    "filtering.deltacchalf.min_completeness": None,
    "filtering.deltacchalf.group_size": None,
    "filtering.deltacchalf.stdcutoff": None,
    "filtering.output.scale_and_filter_results": None,
    "input.experiments": "the name of the file alone",
    "input.reflections": "the name of the file alone",
    "debug": "-v",
}
# Values of shared options that only dials.scale has, in lower case.
DIALS_ONLY_VALUES: dict[str, tuple[str, ...]] = {
    "model": ("dose_decay",),
    "reflection_selection.method": ("auto",),
    "weighting.error_model.basic.minimisation": ("regression",),
}
