"""The options as PHIL text."""

from __future__ import annotations

from braggscale.options.export_files import EXPORT_FILES
from braggscale.options.input_text import INPUT
from braggscale.options.many_crystals_text import CROSS_VALIDATION, FILTERING, REFERENCE
from braggscale.options.model_options import MODEL_OPTIONS
from braggscale.options.output_text import OUTPUT

GENERAL = """
model = *auto {models}
  .type = choice
  .optional = False
  .help = "Scaling model of data sets that have none yet. auto: KB for stills and sweeps of less than 1 degree,"
          "physical otherwise."
restraints = *estimated fixed
  .type = choice
  .optional = False
  .help = "How strongly corrections are restrained. estimated: the strengths are determined from the data, with"
          "parameters at fine intervals; but the restraint of a component is fixed if you give its interval, lmax,"
          "weight or level. fixed: intervals and weights are those of dials.scale; array models have no others."
          "Unless this option is given, data that have been scaled before keep their kind of restraints, and without"
          "an error model they are fixed."
validate = False
  .type = bool
  .help = "Test how well the model, and simpler ones, predict reflections that are left out of the fit; takes several"
          "times as long."
anomalous = False
  .type = bool
  .help = "Keep the Friedel mates I+ and I- apart in scaling and outlier rejection."
overwrite_existing_models = False
  .type = bool
  .help = "Start from new models, also for data sets that have been scaled before."
exclude_images = None
  .type = strings
  .multiple = True
  .help = "Images to leave out: ID:first:last, several separated by commas or blanks; first:last is enough if there"
          "is only one sweep, *:first:last means every sweep. Can be repeated."
exclude_batches = None
  .type = ints(size=2, value_min=0)
  .multiple = True
  .help = "First and last batch number to leave out, as in the table of the log. Can be repeated."
include_images = None
  .type = strings
  .multiple = True
  .help = "Images to use again that an earlier run left out; written as for exclude_images. Can be repeated."
split_at = None
  .type = strings
  .multiple = True
  .help = "Cut a sweep into two data sets: ID:image, where the second begins with this image; several separated by"
          "commas or blanks. The first part keeps the identifier. Other options refer to the data sets after the cut."
reset_exclusions = False
  .type = bool
  .help = "Use again all images that earlier runs left out, and then apply the exclusions of this run."
nproc = Auto
  .type = int(value_min=1, value_max=4096)
  .help = "Number of threads. Auto: as many as this process may use. The result does not depend on it."
"""

REFLECTION_SELECTION = """
reflection_selection
  .help = "Which reflections take part in the fit of the scales. All usable reflections are scaled with the result."
{
  method = *auto intensity_ranges quasi_random use_all random
    .type = choice
    .optional = False
    .help = "intensity_ranges: reflections within the ranges below. quasi_random: a sample that connects all data"
            "sets and resolutions. random: randomly chosen groups of equivalents. use_all: all reflections. auto:"
            "use_all for stills and for inputs up to 250,000 rows if restraints are estimated and no range is given,"
            "otherwise intensity_ranges."
  random
    .help = "Size of the samples of the methods random and quasi_random."
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
    .type = floats(size=6, value_min=0.1)
    .expert_level = 1
    .help = "Unit cell for resolution and statistics, Angstrom and degrees. None: the median of the data sets."
  E2_range = 0.8, 5.0
    .type = floats(size=2, value_min=0)
    .help = "Range of the normalised intensity E^2, for intensity_ranges; not applied to data sets with 10000 usable"
            "reflections or fewer."
  Isigma_range = -5.0, 0.0
    .type = floats(size=2)
    .help = "Range of I/sigma; a second number of 0 means no upper limit."
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
    .help = "Which intensities are used: profile-fitted ones, summation, or the best mixture of both for each"
            "reflection."
  combine.Imid = None
    .type = floats(value_min=0)
    .expert_level = 2
    .help = "Midpoints of the mixture to try: the intensities, in counts, above which summation has more weight than"
            "the profile; 0 is profile only, 1 is summation only."
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
      .help = "basic: refined as above. None: the sigmas are those of integration."
    basic {
      a = None
        .type = float(value_min=1e-3, value_max=1e3)
        .expert_level = 1
        .help = "Fixed value of a. None: refined."
      b = None
        .type = float(value_min=0, value_max=10)
        .expert_level = 1
        .help = "Fixed value of b. None: refined."
      minimisation = *individual
        .type = choice
        .optional = True
        .expert_level = 2
        .help = "None: a and b are not refined but keep their stored, given or default values."
      min_Ih = 25.0
        .type = float(value_min=0)
        .expert_level = 2
        .help = "Smallest mean number of photons of a group of equivalents that takes part in the refinement of a and"
                "b."
      n_bins = 10
        .type = int(value_min=2, value_max=1000)
        .expert_level = 2
        .help = "Intensity bins of the refinement of b."
      stills.min_Isigma = None
        .type = float(value_min=0)
        .expert_level = 1
        .help = "Smallest measured I/sigma of observations of stills that take part in the refinement of a and b."
      stills.min_multiplicity = None
        .type = int(value_min=2)
        .expert_level = 1
        .help = "Fewest equivalent observations of stills that take part in the refinement of a and b."
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
  .help = "Reflections that are not used at all."
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
            "with restraints=estimated 0.05, because reflections with a small fraction have large errors."
  min_isigi = -5.0
    .type = float
    .expert_level = 1
    .help = "Smallest I/sigma."
  small_scale_cutoff = 0.001
    .type = float(value_min=0)
    .expert_level = 2
    .help = "Smallest inverse scale factor, relative to the median of its data set."
}
dataset_selection
  .help = "Data sets are given by identifiers, by the first characters of long identifiers (4 or more), or as #n of"
          "the table in the log."
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
  analytical_correction = False
    .type = bool
    .expert_level = 1
    .help = "The column analytical_correction of the tables is a known part of the inverse scale factor, such as the"
            "transmission of a crystal of known shape. Intensities are divided by it before scaling."
  full_matrix = Auto
    .type = bool
    .help = "After the rounds, refine by least squares with the full normal matrix, which gives the standard"
            "deviations of the parameters. Without it the strengths of estimated restraints keep their starting"
            "values. Auto: on; the number of parameters decides how the equations are solved."
  outlier_rejection = *standard simple
    .type = choice
    .optional = True
    .help = "standard: observations are compared with the mean of their equivalents without themselves. simple: with"
            "the mean of all. None: no rejection."
  outlier_zmax = Auto
    .type = float(value_min=3)
    .help = "Deviation, in standard deviations, above which an observation is an outlier. Auto: 4; 6 with"
            "restraints=fixed or if the error model is not refined."
  emax = 10.0
    .type = float(value_min=0)
    .expert_level = 1
    .help = "Normalised amplitude E above which an observation is an outlier even without equivalents."
  use_free_set = False
    .type = bool
    .help = "Leave some unique reflections out of the fit of the scales, and compare their statistics with those of"
            "the others."
  free_set_percentage = 10.0
    .type = float(value_min=0.1, value_max=50)
    .expert_level = 1
    .help = "Part of the unique reflections that is in the free set, per cent."
  free_set_offset = 0
    .type = int(value_min=0)
    .expert_level = 1
    .help = "Number of the first reflection in the free set; each number gives another free set."
  only_target = False
    .type = bool
    .help = "Scale each data set against the reference by itself, with the intensities of the reference. Without"
            "reference=, the data sets that have been scaled before are the reference, and the other data sets are"
            "scaled."
  only_save_targeted = True
    .type = bool
    .expert_level = 2
    .help = "With only_target, the output has only the data sets that were scaled now. False: it also has the data"
            "sets of the reference, unchanged."
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

REPORT = """
report
  .help = "What the report shows in addition to this run."
{
  compare = None
    .type = str
    .optional = True
    .help = "The scale.json of another run, which the report compares with this one."
}
"""

RANKS = """
ranks
  .help = "For very many data sets. With several MPI ranks (mpiexec, srun), or if one of these options is given, data"
          "sets are read one after the other and kept in a compact form."
{
  memory_limit = None
    .type = float(value_min=0.1)
    .help = "Gigabytes of memory that each process may use. Rows that do not fit are kept in files in the folder for"
            "temporary files (TMPDIR)."
  skip_bad_files = False
    .type = bool
    .help = "Leave out files that cannot be read, and name them in the log. False: such a file ends the run."
  scaled_files = True
    .type = bool
    .help = "Write scaled.expt and scaled.refl, one numbered pair for each input file. False: write merged data only."
  group_by = None
    .type = str
    .help = "Also write merged files and statistics for each group of input files, with the scales of all data. The"
            "value is a regular expression for the path of a file; the group is named by the text that matches its"
            "parentheses, as in group_by=run_([0-9]+)."
}
"""


def master_text() -> str:
    """All options as PHIL text, with those of the exports in their place."""
    exports = "".join(
        f"  {name} = None\n    .type = str\n    .optional = True\n    .expert_level = {one.level}\n"
        f'    .help = "{one.help}"\n'
        for name, one in EXPORT_FILES.items()
    )
    output = OUTPUT.replace("{exports}", exports)
    general = GENERAL.replace("{models}", " ".join(MODEL_OPTIONS))
    models = ("\n" + one.text for one in MODEL_OPTIONS.values())
    scaling = (REFLECTION_SELECTION, WEIGHTING, CUT_DATA, SCALING, CROSS_VALIDATION, FILTERING)
    return "".join((general, REFERENCE, INPUT, *models, *scaling, output, REPORT, RANKS))


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
        "input.space_group",
    )


def delta_options() -> tuple[str, ...]:
    """Full names of the options that ``scale delta-cc-half`` has."""
    names = ("mode", "group_size", "stdcutoff", "min_reflections")
    return (
        "cut_data.d_min",
        "cut_data.d_max",
        "dataset_selection.use_datasets",
        "dataset_selection.exclude_datasets",
        *(f"filtering.deltacchalf.{name}" for name in names),
    )
