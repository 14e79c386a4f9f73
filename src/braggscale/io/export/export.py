"""The record that describes a kind of export, and the data from which every export is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from braggscale.data.geometry import UnitCell, d_spacings
from braggscale.data.symmetry import Symmetry
from braggscale.errors import DataError
from braggscale.io.export import free_flags
from braggscale.io.export.scaled_observations import Crystals, in_listed_setting, no_observations
from braggscale.io.export.wavelengths import WavelengthSet, union, wavelength_sets
from braggscale.statistics.french_wilson import amplitudes
from braggscale.statistics.merging import Merged
from braggscale.statistics.merging_statistics import Statistics


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """The user's choices for the content of exports.

    ``free_flags``: path of an MTZ file whose free flags are taken over; None makes new ones.
    ``crystal_name``, ``project_name``: written into MTZ files.
    ``use_internal_variance``: sigmas of merged intensities also from the scatter of equivalents, see ``merging.merge``.
    """

    free_flags: str | None = None
    crystal_name: str = "XTAL"
    project_name: str = "BRAGGSCALE"
    use_internal_variance: bool = False


class ExportData:
    """The scaled data as all kinds of files need them.

    ``crystals``: the observations, in a setting of the space group that tables list.  ``statistics``: of the data,
    None if no file needs them or nothing could be merged.  Merged data and free flags are made when the first file
    needs them, and only once.
    """

    def __init__(self, crystals: Crystals, settings: ExportSettings, statistics: Statistics | None) -> None:
        """Raises DataError if no table lists any setting of the space group."""
        self.crystals, self.settings, self.statistics = in_listed_setting(crystals), settings, statistics

    @classmethod
    def of_merged(
        cls,
        merged: Merged,
        wavelength: float,
        symmetry: Symmetry,
        cell: UnitCell,
        settings: ExportSettings,
        statistics: Statistics | None,
    ) -> ExportData:
        """Data of which only merged reflections are known; there are no observations.

        Raises DataError if no table lists the setting of the space group.
        """
        if symmetry.name is None:
            raise DataError(f"space group {symmetry}: no table lists this setting, so it cannot be exported; reindex")
        rows = no_observations()
        data = cls(Crystals(rows, (), symmetry, cell, ()), settings, statistics)
        data.__dict__["sets"] = (
            WavelengthSet(wavelength, rows, merged, amplitudes(merged, d_spacings(cell, merged.hkl))),
        )
        return data

    @cached_property
    def sets(self) -> tuple[WavelengthSet, ...]:
        """Merged data of each wavelength."""
        return wavelength_sets(self.crystals, internal_variance=self.settings.use_internal_variance)

    @cached_property
    def free(self) -> free_flags.FreeFlags:
        """Free flags of the reflections ``union(sets)``, new or taken over.

        Raises CommandError or InputError if those of a file cannot be used.
        """
        indices = union(self.sets)
        if self.settings.free_flags:
            return free_flags.flags_from_mtz(self.settings.free_flags, indices, self.crystals.symmetry)
        return free_flags.new_flags(indices)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file.  ``content``: makes its bytes; raises a UserError if the format cannot hold the data."""

    path: str
    content: Callable[[], bytes]


def one_path(path: str) -> tuple[str, ...]:
    """The names of an export that writes the file of the option and no other."""
    return (path,)


@dataclass(frozen=True, slots=True)
class Export:
    """A kind of export; ``registry.EXPORTS`` lists it under the name of its option.

    ``files``: from the data and the value of the option to the files.  A kind that writes one file for each data set
    or wavelength returns several.
    ``needs_statistics``: whether a file contains merging statistics.
    ``names``: from the value of the option to the names that are known before there are data; the command line refuses
    those that are inputs or other outputs.
    """

    files: Callable[[ExportData, str], Sequence[ExportFile]]
    needs_statistics: bool = False
    names: Callable[[str], tuple[str, ...]] = one_path


def numbered(path: str, name: str) -> str:
    """``path`` with ``_name`` in front of its ending."""
    stem, ending = os.path.splitext(path)
    return f"{stem}_{name}{ending}"
