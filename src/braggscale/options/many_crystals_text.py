"""The options for many crystals and references as PHIL text."""

from __future__ import annotations

REFERENCE = """
zero_dose = False
  .type = bool
  .help = "Extrapolate merged intensities to dose zero, with a slope for each reflection; output.zero_dose_mtz has"
          "them."
dose
  .help = "Which dose observations have, by the numbers of their images."
{
  same_crystal = True
    .type = bool
    .help = "The sweeps follow each other on one crystal, in their order; else each of them begins at dose zero."
}
reference = None
  .type = strings
  .help = "Intensities to scale against: an MTZ or CIF file with data, a structure model (PDB, CIF), or scaled.expt and"
          "scaled.refl, separated by a comma. It sets the scale, and is no part of the output."
reference_mode = *estimated fixed
  .type = choice
  .optional = False
  .help = "How much the reference says about intensities. estimated: as its agreement with the data shows. fixed: they"
          "are those of the reference."
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
  .help = "Whole scalings with reflections left out of the fit. Only the log is written."
{
  cross_validation_mode = single multi
    .type = choice
    .optional = True
    .help = "single: the options as they are, with nfolds free sets. multi: the same for each value of a parameter."
  parameter = None
    .type = str
    .optional = True
    .help = "Name of the option that is tried (multi)."
  parameter_values = None
    .type = strings
    .help = "Its values; True and False for a switch."
  nfolds = 1
    .type = int(value_min=1)
    .help = "Number of free sets, at most 100 over free_set_percentage."
}
"""

FILTERING = """
filtering
  .help = "Parts of the data that make the rest worse are left out, and what remains is scaled again."
{
  method = deltacchalf deviations
    .type = choice
    .optional = True
    .help = "deltacchalf: parts without which CC1/2 is better, by far more than usual. deviations: parts that deviate"
            "from equivalents by far more than the others, which tells more of single crystals. None: nothing is left"
            "out."
  deltacchalf {
    mode = *dataset image_group
      .type = choice
      .optional = False
      .help = "What is left out: whole data sets, or groups of images of one data set."
    group_size = 10
      .type = int(value_min=1)
      .help = "Images of a group; what is left over at the end of a sweep joins the last one."
    stdcutoff = 4.0
      .type = float(value_min=0)
      .help = "Robust standard deviations below the usual influence beyond which a part is left out."
    max_cycles = 6
      .type = int(value_min=1)
      .help = "How often parts may be left out."
    max_percent_removed = 10.0
      .type = float(value_min=0, value_max=100)
      .help = "Most that may be left out, per cent of the observations; the worst parts go first."
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
