"""The options for many crystals and references as PHIL text."""

from __future__ import annotations

REFERENCE = """
zero_dose = False
  .type = bool
  .help = "Extrapolate merged intensities to dose zero, with a slope for each reflection, and write them to"
          "output.zero_dose_mtz."
dose
  .help = "How the dose of an observation follows from the number of its image."
{
  same_crystal = True
    .type = bool
    .help = "The sweeps were measured one after the other on one crystal, in their order. False: each of them begins"
            "at dose zero."
}
reference = None
  .type = strings
  .help = "Intensities to scale against: an MTZ or CIF file with data, a structure model (PDB, CIF), or scaled.expt"
          "and scaled.refl, separated by a comma. The reference determines the overall scale and is not part of the"
          "output."
reference_mode = *estimated fixed
  .type = choice
  .optional = False
  .help = "How far the intensities of the reference are trusted. estimated: their errors are estimated from the"
          "agreement with the data. fixed: they are taken as exact."
reference_model
  .help = "How intensities are calculated from a structure model."
{
  k_sol = 0.35
    .type = float(value_min=0)
    .expert_level = 2
    .help = "Density of the flat bulk solvent, electrons per cubic Angstrom."
  b_sol = 46.0
    .type = float(value_min=0)
    .expert_level = 2
    .help = "B of the bulk solvent, square Angstrom."
}
"""

CROSS_VALIDATION = """
cross_validation
  .help = "Scale several times, each time with another free set that is left out of the fit. Only the log is written."
{
  cross_validation_mode = single multi
    .type = choice
    .optional = True
    .help = "single: scale with nfolds free sets. multi: the same for each value of an option."
  parameter = None
    .type = str
    .optional = True
    .help = "Name of the option that is varied (multi)."
  parameter_values = None
    .type = strings
    .help = "Values of this option; True and False by themselves for a switch."
  nfolds = 1
    .type = int(value_min=1)
    .help = "Number of free sets, at most 100 over free_set_percentage."
}
"""

FILTERING = """
filtering
  .help = "Leave out parts of the data that make the rest worse, and scale the rest again."
{
  method = deltacchalf deviations
    .type = choice
    .optional = True
    .help = "deltacchalf: leave out parts without which CC1/2 is better, by far more than usual. deviations: leave"
            "out parts that deviate from equivalents by far more than the others; this is more sensitive for single"
            "crystals. None: leave out nothing."
  deltacchalf {
    mode = *dataset image_group
      .type = choice
      .optional = False
      .help = "What is left out: whole data sets, or groups of images of a data set."
    group_size = 10
      .type = int(value_min=1)
      .help = "Number of images in a group; the remaining images at the end of a sweep belong to the last group."
    stdcutoff = 4.0
      .type = float(value_min=0)
      .help = "A part is left out if its influence is lower than usual by more than this number of robust standard"
              "deviations."
    max_cycles = 6
      .type = int(value_min=1)
      .help = "Largest number of cycles in which parts are left out."
    max_percent_removed = 10.0
      .type = float(value_min=0, value_max=100)
      .help = "Largest part of the observations that may be left out, per cent; the worst parts go first."
    min_completeness = None
      .type = float(value_min=0, value_max=100)
      .help = "Completeness that must remain, per cent."
    min_reflections = 0
      .type = int(value_min=0)
      .expert_level = 1
      .help = "Parts with fewer observations are not judged."
  }
  output.scale_and_filter_results = scale_and_filter_results.json
    .type = str
    .optional = True
    .help = "What was left out and why, in the form of dials.scale; None for no file."
}
"""
