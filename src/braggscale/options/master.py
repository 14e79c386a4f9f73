"""The options as PHIL text, the names they had in 2018, and the names that only dials.scale has."""

from __future__ import annotations

MODELS = ("physical", "array", "KB")

GENERAL = """
model = *auto physical array KB
  .type = choice
  .optional = False
  .help = "Scaling model of data sets that have none yet. auto: KB for stills and sweeps of less than 1 degree,"
          "physical otherwise."
restraints = *estimated fixed
  .type = choice
  .optional = False
  .help = "How strongly corrections are held back. estimated: the data decide, on fine intervals; a component whose"
          "interval, lmax, weight or level is given is fixed all the same. fixed: by intervals and weights, as"
          "dials.scale does; array models always. Unless it is given, data that have been scaled before keep theirs,"
          "and without an error model it is fixed."
validate = False
  .type = bool
  .help = "Judge the model, and simpler ones, by reflections left out of the fit; takes several times as long."
anomalous = False
  .type = bool
  .help = "Keep the Friedel mates I+ and I- apart in scaling and outlier rejection."
overwrite_existing_models = False
  .type = bool
  .help = "Start from new models, also for data sets that have been scaled before."
exclude_images = None
  .type = strings
  .multiple = True
  .help = "Images to leave out: ID:first:last, several separated by commas or blanks; first:last is enough for a"
          "single sweep, *:first:last is every sweep. Can be repeated."
exclude_batches = None
  .type = ints(size=2, value_min=0)
  .multiple = True
  .help = "First and last batch number to leave out, as in the table of the log. Can be repeated."
include_images = None
  .type = strings
  .multiple = True
  .help = "Images to take back that an earlier run left out; written as for exclude_images."
          "Can be repeated."
split_at = None
  .type = strings
  .multiple = True
  .help = "Cut a sweep in two data sets: ID:image, the image at which the second begins; several separated by commas"
          "or blanks. The first part keeps the identifier. Other options name the data sets as they are after the cut."
reset_exclusions = False
  .type = bool
  .help = "Forget which images earlier runs left out, before the exclusions of this run."
nproc = Auto
  .type = int(value_min=1)
  .help = "Number of threads. Auto: as many as this process may use. The result does not depend on it."
"""

PHYSICAL = """
physical
  .help = "Smooth scale and B factor along the rotation, absorption surface of the crystal."
{
  scale_correction = True
    .type = bool
    .expert_level = 1
    .help = "Scale that varies smoothly with rotation."
  scale_interval = Auto
    .type = float(value_min=1)
    .help = "Largest spacing of the scale parameters, degrees. Auto: 2.5, or what makes 4 to 80 intervals;"
            "with restraints=fixed 1 to 15, by the width of the sweep."
  decay_correction = True
    .type = bool
    .help = "Relative B factor that varies smoothly with rotation."
  decay_interval = Auto
    .type = float(value_min=1)
    .help = "Largest spacing of the B-factor parameters, degrees. Auto: 5, or twice what the scale has; where"
            "it is fixed 1.5 to 20, by the width of the sweep."
  decay_restraint = 0.1
    .type = float(value_min=0)
    .expert_level = 1
    .help = "Weight that pulls each B-factor parameter towards 0, where it is fixed (restraints)."
  absorption_correction = Auto
    .type = bool
    .help = "Absorption surface in spherical harmonics. Auto: on where scattering angles reach 2.56 degrees; where it"
            "is fixed (restraints) only for sweeps of more than 60 degrees."
  absorption_level = low medium high
    .type = choice
    .optional = True
    .help = "Expected absorption; switches the surface on and sets lmax and surface_weight:"
            "low 4 and 5e5, medium 6 and 5e4, high 6 and 5e3."
  lmax = Auto
    .type = int(value_min=2, value_max=40)
    .help = "Highest order of the spherical harmonics; lmax^2 + 2 lmax parameters. Auto: 6; up to 60"
            "degrees, and where the surface is fixed, 4."
  surface_weight = Auto
    .type = float(value_min=0)
    .help = "Weight that pulls the coefficients of the harmonics towards 0. Auto: from the data;"
            "where the surface is fixed 5e5."
  modulation_correction = Auto
    .type = bool
    .help = "Uneven response of the detector, one map for all sweeps. Auto: on if the detector has a single panel;"
            "with restraints=fixed off."
  image_correction = Auto
    .type = bool
    .help = "An effect of its own for every image_interval, on top of the smooth scale; its size is estimated. Auto: on"
            "if images are as wide as rocking curves and have 50 reflections for an effect; with restraints=fixed off."
  image_interval = Auto
    .type = float(value_min=0.01)
    .expert_level = 1
    .help = "Rotation that shares one image effect, degrees. Auto: 1, or as few images as have 50 reflections if they"
            "are as wide as rocking curves."
  share.absorption = False
    .type = bool
    .expert_level = 1
    .help = "One absorption surface for all sweeps, for one crystal on one axis."
  correction.fix = None
    .type = strings
    .expert_level = 1
    .help = "Components that keep their stored values: scale, decay, absorption, modulation, image."
}
"""

ARRAY = """
array
  .help = "Grids of scales over resolution, detector position and rotation."
{
  decay_correction = True
    .type = bool
    .help = "Grid over resolution and rotation."
  absorption_correction = True
    .type = bool
    .help = "Grid over detector position and rotation."
  modulation_correction = False
    .type = bool
    .help = "Grid over detector position, the same at every rotation."
  decay_interval = 20.0
    .type = float(value_min=1)
    .help = "Largest spacing of the decay and absorption grids along the rotation, degrees."
  n_resolution_bins = 10
    .type = int(value_min=1, value_max=1000)
    .help = "Intervals of the decay grid along 1/d^2."
  n_absorption_bins = 3
    .type = int(value_min=1, value_max=1000)
    .help = "Intervals of the absorption grid along x and along y of the detector."
  n_modulation_bins = 20
    .type = int(value_min=1, value_max=1000)
    .help = "Intervals of the modulation grid along x and along y of the detector."
  correction.fix = None
    .type = strings
    .expert_level = 1
    .help = "Components that keep their stored values: decay, absorption, modulation."
}
"""

KB = """
KB
  .help = "One scale and one B factor for each data set."
{
  scale_correction = True
    .type = bool
    .expert_level = 1
    .help = "One scale for each data set."
  decay_correction = True
    .type = bool
    .help = "One relative B factor for each data set."
  modulation_correction = Auto
    .type = bool
    .help = "Uneven response of the detector, one map for all data sets. Auto: on if the detector has a single"
            "panel; with restraints=fixed off."
  correction.fix = None
    .type = strings
    .expert_level = 1
    .help = "Components that keep their stored values: scale, decay, modulation."
}
"""

REFLECTION_SELECTION = """
reflection_selection
  .help = "Which reflections take part in the fit; all usable ones are scaled afterwards."
{
  method = *intensity_ranges quasi_random use_all random
    .type = choice
    .optional = False
    .help = "intensity_ranges: by the ranges below; with restraints=estimated everything of stills and of inputs up to"
            "250,000 rows, unless this or a range is given. quasi_random: a sample that connects all data sets and"
            "resolutions. random: groups of equivalents at random. use_all: everything."
  random
    .help = "How much the methods random and quasi_random draw."
  {
    multi_dataset.Isigma_cutoff = 1.0
      .type = float
      .expert_level = 1
      .help = "Smallest mean I/sigma of a group of equivalents, for runs with several data sets."
    min_groups = 2000
      .type = int(value_min=1)
      .expert_level = 1
      .help = "Smallest number of groups of equivalents."
    min_reflections = 50000
      .type = int(value_min=1)
      .expert_level = 1
      .help = "Smallest number of reflections."
  }
  best_unit_cell = None
    .type = floats(size=6, value_min=0)
    .expert_level = 1
    .help = "Unit cell for resolution and statistics, Angstrom and degrees. None: the median of the data sets."
  E2_range = 0.8, 5.0
    .type = floats(size=2, value_min=0)
    .help = "Range of the normalised intensity E^2, for intensity_ranges; data sets with 10000 usable"
            "reflections or fewer take part whole."
  Isigma_range = -5.0, 0.0
    .type = floats(size=2)
    .help = "Range of I/sigma; 0 as the second number is no upper limit."
  d_range = None
    .type = floats(size=2, value_min=0)
    .help = "Range of resolution, Angstrom, in either order."
  min_partiality = 0.95
    .type = float(value_min=0, value_max=1)
    .expert_level = 1
    .help = "Smallest recorded fraction of reflections that take part in the fit."
  intensity_choice = profile sum *combine
    .type = choice
    .optional = False
    .help = "Profile-fitted intensities, summation intensities, or for each reflection the better mixture."
  combine.Imid = None
    .type = floats(value_min=0)
    .expert_level = 2
    .help = "Intensities at which summation takes over, to be tried; 0 is profile only, 1 is summation only."
}
"""

WEIGHTING = """
weighting {
  error_model
    .help = "sigma'^2 = a^2 (sigma^2 + (b I)^2)."
  {
    error_model = *basic
      .type = choice
      .optional = True
      .help = "None leaves the sigmas as they were measured."
    basic {
      a = None
        .type = float(value_min=1e-3)
        .expert_level = 1
        .help = "Fixed value of a. None: refined."
      b = None
        .type = float(value_min=0)
        .expert_level = 1
        .help = "Fixed value of b. None: refined."
      minimisation = *individual
        .type = choice
        .optional = True
        .expert_level = 2
        .help = "None keeps a and b at their stored, given or start values."
      min_Ih = 25.0
        .type = float(value_min=0)
        .expert_level = 2
        .help = "Smallest mean number of photons of a group that takes part in the refinement of a and b."
      n_bins = 10
        .type = int(value_min=2)
        .expert_level = 2
        .help = "Intensity bins of the refinement of b."
    }
    reset_error_model = False
      .type = bool
      .expert_level = 1
      .help = "Do not start from the error model that is stored with scaled data."
    grouping = individual grouped *combined
      .type = choice
      .optional = False
      .expert_level = 1
      .help = "One error model for each sweep, for each group of sweeps in error_model_group, or for all."
    error_model_group = None
      .type = ints(value_min=1)
      .multiple = True
      .expert_level = 1
      .help = "Sweeps, counted from 1, that share an error model with grouping=grouped. Can be repeated."
  }
}
"""

CUT_DATA = """
cut_data
  .help = "Reflections that are left out altogether."
{
  d_min = None
    .type = float(value_min=0)
    .help = "High-resolution limit, Angstrom."
  d_max = None
    .type = float(value_min=0)
    .help = "Low-resolution limit, Angstrom."
  partiality_cutoff = Auto
    .type = float(value_min=0, value_max=1)
    .expert_level = 1
    .help = "Smallest recorded fraction of a reflection, after its parts have been added up. Auto: 0.4; for stills"
            "0.05, because their errors say what they are worth, but with restraints=fixed 0.4."
  min_isigi = -5.0
    .type = float
    .expert_level = 1
    .help = "Smallest I/sigma."
  small_scale_cutoff = 0.001
    .type = float(value_min=0)
    .expert_level = 2
    .help = "Smallest inverse scale factor."
}
dataset_selection
  .help = "Identifiers, unique beginnings of long ones (4 characters or more), or #n of the table in the log."
{
  use_datasets = None
    .type = strings
    .help = "Scale only these data sets; separated by commas or blanks."
  exclude_datasets = None
    .type = strings
    .help = "Leave these data sets out; separated by commas or blanks."
}
"""

SCALING = """
scaling_options {
  full_matrix = True
    .type = bool
    .help = "After the rounds, least squares with the full normal matrix, which gives the esds. Without it"
            "estimated restraints stay at the strengths with which they start."
  outlier_rejection = *standard simple
    .type = choice
    .optional = True
    .help = "standard: against the mean of the others. simple: against the mean of all. None: no rejection."
  outlier_zmax = Auto
    .type = float(value_min=3)
    .help = "Normalised deviation from which a reflection is an outlier. Auto: 4; with"
            "restraints=fixed or an error model that is not refined 6."
  emax = 10.0
    .type = float(value_min=0)
    .expert_level = 1
    .help = "Normalised amplitude E from which a reflection is an outlier by itself."
}
scaling_refinery {
  max_iterations = None
    .type = int(value_min=1)
    .expert_level = 1
    .help = "Most steps of a minimisation without the full matrix; None: 100."
  rmsd_tolerance = 1e-4
    .type = float(value_min=1e-6)
    .expert_level = 1
    .help = "Relative change of the rmsd below which a minimisation has converged; a tenth of it in rounds."
  full_matrix_max_iterations = None
    .type = int(value_min=1)
    .help = "Most steps with the full matrix; None: 100."
}
"""

# Exports: what each option of section output writes, with its expert level (``io.export.registry``).
EXPORT_FILES: dict[str, tuple[int, str]] = {
    "merged_mtz": (0, "Merged intensities and amplitudes with free flags, as MTZ."),
    "unmerged_mtz": (0, "Scaled observations with batch headers, as MTZ."),
    "merged_cif": (1, "Merged data and statistics for deposition, as mmCIF."),
    "unmerged_cif": (1, "Scaled observations for deposition, as mmCIF."),
    "shelx": (1, "Scaled observations for SHELX: a .hkl file of this name, with .ins and .cif beside it."),
    "xds_ascii": (1, "Scaled observations in the form of XDS_ASCII.HKL; one file for each sweep."),
    "sca": (1, "Merged I+ and I- in the form of SCALEPACK."),
}

OUTPUT = """
output {
  experiments = scaled.expt
    .type = str
    .optional = False
    .help = "Experiments with their scaling models."
  reflections = scaled.refl
    .type = str
    .optional = False
    .help = "Scaled reflections; a name that ends in .h5 makes an HDF5 file."
  log = scale.log
    .type = str
    .optional = True
    .help = "The log; None for no file."
  json = scale.json
    .type = str
    .optional = True
    .help = "Everything that the log says, for programs; None for no file."
  html = scale.html
    .type = str
    .optional = True
    .help = "The report, one page for a browser; None for no file."
{exports}  free_flags = None
    .type = str
    .optional = True
    .expert_level = 1
    .help = "An MTZ file whose free flags are taken over; None: new ones."
  crystal_name = XTAL
    .type = str
    .optional = False
    .expert_level = 1
    .help = "Name of the crystal in MTZ files."
  project_name = BRAGGSCALE
    .type = str
    .optional = False
    .expert_level = 1
    .help = "Name of the project in MTZ files."
  use_internal_variance = False
    .type = bool
    .expert_level = 1
    .help = "Sigmas of merged intensities, in statistics and exports, from the scatter of the equivalents where that"
            "is larger."
  merging.nbins = 20
    .type = int(value_min=1, value_max=1000)
    .expert_level = 1
    .help = "Resolution shells of the merging statistics."
}
"""

REPORT = """
report
  .help = "What the report shows beside the run."
{
  compare = None
    .type = str
    .optional = True
    .help = "The scale.json of another run, shown beside this one."
}
"""

INPUT = """
input
  .help = "What files do not say, or say wrongly. For all data sets, or ID:value for one of them."
{
  space_group = None
    .type = str
    .multiple = True
    .help = "Space group by name or number, in place of that of the files; one that the lattice cannot have is an"
            "error. Joins data sets whose files name different ones. Can be repeated."
  unit_cell = None
    .type = str
    .multiple = True
    .help = "Unit cell a,b,c,alpha,beta,gamma, Angstrom and degrees, in place of that of the files. Can be repeated."
  reindex = None
    .type = str
    .multiple = True
    .help = "New indices from the old ones, such as k,h,-l; axes and space group change with them. Can be repeated."
  polarization_fraction = None
    .type = float(value_min=0, value_max=1)
    .help = "Polarisation of the beam for INTEGRATE.HKL of XDS, which is corrected for a beam without (0.5);"
            "about 0.99 at synchrotrons."
  accept = None
    .type = strings
    .help = "Reflections to take back that the program before rejected: saturated, misfit, flagged, incomplete."
}
"""


def master_text() -> str:
    """All options as PHIL text, with those of the exports in their place."""
    exports = "".join(
        f'  {name} = None\n    .type = str\n    .optional = True\n    .expert_level = {level}\n    .help = "{text}"\n'
        for name, (level, text) in EXPORT_FILES.items()
    )
    output = OUTPUT.replace("{exports}", exports)
    models = (PHYSICAL, ARRAY, KB)
    return "".join((GENERAL, INPUT, *models, REFLECTION_SELECTION, WEIGHTING, CUT_DATA, SCALING, output, REPORT))


def export_options() -> tuple[str, ...]:
    """Full names of the options that ``scale export`` has."""
    return (
        "reflection_selection.best_unit_cell",
        "cut_data.d_min",
        "cut_data.d_max",
        "dataset_selection.use_datasets",
        "dataset_selection.exclude_datasets",
        *(f"output.{name}" for name in EXPORT_FILES),
        "output.free_flags",
        "output.crystal_name",
        "output.project_name",
        "output.use_internal_variance",
        "output.merging.nbins",
    )


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
