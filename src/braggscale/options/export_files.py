"""The files for other programs: option, help, and the module that writes each. This is their only list."""

from __future__ import annotations

from typing import NamedTuple


class ExportOption(NamedTuple):
    """``level``: expert level of the option.  ``module``: in ``io.export``, with a record EXPORT."""

    level: int
    help: str
    module: str


# by the name of the option in section output
EXPORT_FILES: dict[str, ExportOption] = {
    "merged_mtz": ExportOption(0, "Merged intensities and amplitudes with free flags, as MTZ.", "merged_mtz"),
    "unmerged_mtz": ExportOption(0, "Scaled observations with batch headers, as MTZ.", "unmerged_mtz"),
    "merged_cif": ExportOption(1, "Merged data and statistics for deposition, as mmCIF.", "merged_cif"),
    "unmerged_cif": ExportOption(1, "Scaled observations for deposition, as mmCIF.", "unmerged_cif"),
    "shelx": ExportOption(
        1, "Scaled observations for SHELX: a .hkl file of this name, with .ins and .cif beside it.", "shelx"
    ),
    "xds_ascii": ExportOption(
        1, "Scaled observations in the form of XDS_ASCII.HKL; one file for each sweep.", "xds_ascii"
    ),
    "merge_json": ExportOption(
        1,
        "Merging statistics by wavelength for databases (ISPyB), in the form of dials.merge, as JSON.",
        "merge_json",
    ),
    "sca": ExportOption(1, "Merged I+ and I- in the form of SCALEPACK.", "scalepack"),
}
