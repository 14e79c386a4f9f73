"""An MTZ file without data, the common beginning of merged and unmerged files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from braggscale import __version__
from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.errors import DataError

if TYPE_CHECKING:
    import gemmi


def empty_mtz(symmetry: Symmetry, cell: UnitCell) -> gemmi.Mtz:
    """An MTZ object of gemmi without data, with the columns H, K, L.

    Raises DataError for a setting that no table lists.
    """
    import gemmi

    group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(symmetry.hall))
    if group is None:
        raise DataError(f"space group {symmetry}: no table lists this setting; it cannot be written to MTZ")
    mtz = gemmi.Mtz(with_base=True)
    mtz.title = f"From braggscale {__version__}"
    mtz.history = [mtz.title]
    mtz.spacegroup = group
    mtz.set_cell_for_all(gemmi.UnitCell(*cell))
    return mtz
