"""The options of section output as PHIL text."""

from __future__ import annotations

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
    .help = "Everything in the log and the report, for programs; None for no file."
  html = scale.html
    .type = str
    .optional = True
    .help = "The report, one page for a browser; None for no file."
{exports}  free_flags = None
    .type = str
    .optional = True
    .expert_level = 1
    .help = "An MTZ file whose free flags are taken over; None: new ones."
  zero_dose_mtz = zero_dose.mtz
    .type = str
    .optional = True
    .expert_level = 1
    .help = "Merged intensities at dose zero and slopes, with zero_dose=True; None for no file."
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
    .help = "In statistics and exports, take the sigma of a merged intensity from the scatter of its equivalents if"
            "this is larger than the one from their sigmas."
  exclude_on_image_scale = None
    .type = float(value_min=0)
    .expert_level = 2
    .help = "After scaling, leave out images whose scale is below this fraction of the mean scale, and scale the rest"
            "again."
  exclude_on_batch_rmerge = None
    .type = float(value_min=0)
    .expert_level = 2
    .help = "After scaling, leave out images whose R_merge is above this value, and scale the rest again."
  additional_stats = False
    .type = bool
    .expert_level = 1
    .help = "Show R_split, and CC1/2 and CC_anom weighted by errors, by resolution."
  merging.nbins = 20
    .type = int(value_min=1, value_max=1000)
    .expert_level = 1
    .help = "Resolution shells of the merging statistics."
}
"""
