"""Text of the options for facts that the files do not contain."""

from __future__ import annotations

INPUT = """
input
  .help = "Facts that the files do not contain, or contain wrongly. For all data sets, or ID:value for one of them."
{
  space_group = None
    .type = str
    .multiple = True
    .help = "Space group by name or number, instead of that of the files. It must agree with the lattice. With it,"
            "data sets with different space groups can be scaled together. Can be repeated."
  unit_cell = None
    .type = str
    .multiple = True
    .help = "Unit cell a,b,c,alpha,beta,gamma, Angstrom and degrees, instead of that of the files. Can be repeated."
  reindex = None
    .type = str
    .multiple = True
    .help = "New indices in terms of the old ones, such as k,h,-l; axes and space group change accordingly. auto:"
            "data sets that are indexed in another way than the others are reindexed to agree with them. Can be"
            "repeated."
  polarization_fraction = None
    .type = float(value_min=0, value_max=1)
    .help = "Fraction of polarisation of the beam for INTEGRATE.HKL of XDS, whose intensities are corrected for an"
            "unpolarised beam (0.5). None: 0.99 as at synchrotrons, or 0.5 if the wavelength is that of an X-ray"
            "tube."
  accept = None
    .type = strings
    .help = "Kinds of reflections to use although the previous program rejected them: saturated, misfit, flagged,"
            "incomplete."
  keep_flags = None
    .type = strings
    .help = "Kinds of reflections to use although MOSFLM flagged them, as AIMLESS does after KEEP: overloads, edge,"
            "and with a limit bgratio:X, pkratio:X, gradient:X."
  keep_scales = False
    .type = bool
    .help = "Keep the scales that an earlier program has applied in an MTZ file (SCALEUSED) instead of undoing them;"
            "the new scales multiply these."
}
"""
