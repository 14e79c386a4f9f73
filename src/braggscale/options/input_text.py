"""Text of the options that say what files do not."""

from __future__ import annotations

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
    .help = "New indices from the old ones, such as k,h,-l; axes and space group change with them. auto: data sets that"
            "are indexed in another way than the others get the operator that their intensities ask for. Can be"
            "repeated."
  polarization_fraction = None
    .type = float(value_min=0, value_max=1)
    .help = "Polarisation of the beam for INTEGRATE.HKL of XDS, which is corrected for a beam without (0.5);"
            "about 0.99 at synchrotrons."
  polarization_fraction = None
    .type = float(value_min=0, value_max=1)
    .help = "Polarisation of the beam for INTEGRATE.HKL of XDS, which is corrected for a beam without (0.5). None:"
            "0.99 as at synchrotrons, or 0.5 if an X-ray tube has the wavelength."
  accept = None
    .type = strings
    .help = "Reflections to take back that the program before rejected: saturated, misfit, flagged, incomplete."
  keep_flags = None
    .type = strings
    .help = "Reflections that MOSFLM flagged and that are used all the same, as AIMLESS does after KEEP: overloads,"
            "edge, and with a limit bgratio:X, pkratio:X, gradient:X."
  keep_scales = False
    .type = bool
    .help = "Start from the scales that an earlier program has applied in an MTZ file (SCALEUSED) instead of undoing"
            "them; new scales multiply these."
}
"""
