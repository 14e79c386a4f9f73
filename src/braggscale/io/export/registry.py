"""The kinds of exports.  The key is the name of the option in section output (``options.master.EXPORT_FILES``)."""

from __future__ import annotations

from braggscale.io.export import (
    merge_json,
    merged_cif,
    merged_mtz,
    scalepack,
    shelx,
    unmerged_cif,
    unmerged_mtz,
    xds_ascii,
)
from braggscale.io.export.export import Export

EXPORTS: dict[str, Export] = {
    "merged_mtz": merged_mtz.EXPORT,
    "unmerged_mtz": unmerged_mtz.EXPORT,
    "merged_cif": merged_cif.EXPORT,
    "unmerged_cif": unmerged_cif.EXPORT,
    "merge_json": merge_json.EXPORT,
    "sca": scalepack.EXPORT,
    "shelx": shelx.EXPORT,
    "xds_ascii": xds_ascii.EXPORT,
}
