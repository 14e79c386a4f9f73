"""Every export that was asked for, one file at a time: what fails is named at the end, the others stand."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO

from braggscale.errors import OutputError, UserError
from braggscale.export import free_r, mmcif, mtz, sca, shelx, xds
from braggscale.export.observations import Crystals, in_listed_setting
from braggscale.export.sets import WavelengthSet, union, wavelength_sets
from braggscale.io.outputs import commit, pending, write_beside
from braggscale.stats import Statistics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Paths, None where a file is not wanted.

    ``shelx``: name of the .hkl file; .ins and .cif are written beside it.  ``xds_ascii``: with several sweeps the
    identifier goes in front of the ending.  ``free_flags``: an MTZ file whose free flags are taken over.
    """

    merged_mtz: str | None = None
    unmerged_mtz: str | None = None
    merged_cif: str | None = None
    unmerged_cif: str | None = None
    shelx: str | None = None
    xds_ascii: str | None = None
    sca: str | None = None
    free_flags: str | None = None
    crystal_name: str = "XTAL"
    project_name: str = "BRAGGSCALE"

    def paths(self) -> list[str]:
        """Files to write, except those whose names depend on the data."""
        names = [self.merged_mtz, self.unmerged_mtz, self.merged_cif, self.unmerged_cif, self.sca]
        paths = [name for name in names if name]
        if self.shelx:
            paths += [_with_ending(self.shelx, ending) for ending in (".hkl", ".ins", ".cif")]
        return paths + ([self.xds_ascii] if self.xds_ascii else [])


class _Export:
    """Merged data are made once, and only if a file needs them."""

    def __init__(self, data: Crystals, wanted: Wanted, statistics: Statistics | None) -> None:
        self.data, self.wanted, self.statistics = in_listed_setting(data), wanted, statistics

    @cached_property
    def sets(self) -> tuple[WavelengthSet, ...]:
        """Merged data of each wavelength."""
        return wavelength_sets(self.data)

    @cached_property
    def free(self) -> free_r.FreeFlags:
        """Free flags, new or taken over."""
        indices = union(self.sets)
        if self.wanted.free_flags:
            return free_r.flags_from_mtz(self.wanted.free_flags, indices, self.data.symmetry)
        return free_r.new_flags(indices)

    def merged_mtz(self) -> bytes:
        """Content of the merged MTZ file."""
        return mtz.merged_mtz(
            self.sets,
            self.data.symmetry,
            self.data.cell,
            free=self.free.flag,
            crystal=self.wanted.crystal_name,
            project=self.wanted.project_name,
        )

    def unmerged_mtz(self) -> bytes:
        """Content of the unmerged MTZ file."""
        return mtz.unmerged_mtz(self.data, crystal=self.wanted.crystal_name, project=self.wanted.project_name)

    def merged_cif(self) -> bytes:
        """Content of the merged mmCIF file."""
        # statistics are those of the run: they belong to a block only if there is one wavelength
        statistics = [self.statistics] if len(self.sets) == 1 else [None] * len(self.sets)
        found = mmcif.merged_cif(
            self.sets,
            self.data.symmetry,
            self.data.cell,
            statistics,
            free=self.free.flag,
            free_value=self.free.free,
        )
        return found.encode()

    def sca(self) -> bytes:
        """Content of the SCALEPACK file: the first wavelength."""
        return sca.scalepack(self.sets[0].merged, self.data.symmetry, self.data.cell).encode()


def write_exports(
    data: Crystals,
    wanted: Wanted,
    statistics: Statistics | None,
    error_models: Sequence[tuple[float, float]],
) -> list[str]:
    """Write the files; returns their names.

    ``error_models``: a and b of each data set.  Raises OutputError that names every file which failed, after the
    others have been written.
    """
    export = _Export(data, wanted, statistics)
    tasks: list[tuple[str | None, Callable[[], bytes]]] = [
        (wanted.merged_mtz, export.merged_mtz),
        (wanted.unmerged_mtz, export.unmerged_mtz),
        (wanted.merged_cif, export.merged_cif),
        (wanted.unmerged_cif, lambda: mmcif.unmerged_cif(export.data, statistics).encode()),
        (wanted.sca, export.sca),
    ]
    if wanted.shelx:
        tasks += [
            (_with_ending(wanted.shelx, ".hkl"), lambda: shelx.hkl_file(export.data.rows).encode()),
            (_with_ending(wanted.shelx, ".ins"), lambda: shelx.ins_file(export.data).encode()),
            (_with_ending(wanted.shelx, ".cif"), lambda: shelx.cif(export.data, statistics).encode()),
        ]
    if wanted.xds_ascii:
        sweeps = [k for k, experiment in enumerate(data.experiments) if not experiment.is_still]
        for k in sweeps or [0]:
            name = wanted.xds_ascii if len(sweeps) < 2 else _numbered(wanted.xds_ascii, data.experiments[k].identifier)
            tasks.append((name, _xds(export, k, error_models[k])))
    written, problems = [], []
    for path, make in tasks:
        if path is None:
            continue
        try:
            _write(path, make())
            written.append(path)
        except UserError as error:
            problems.append(f"{path} was not written: {error}")
    for path in written:
        log.info(f"Written: {path}")
    if problems:
        raise OutputError("; ".join(problems) + "; the scaled data are complete")
    return written


def _xds(export: _Export, number: int, error_model: tuple[float, float]) -> Callable[[], bytes]:
    return lambda: xds.xds_ascii(export.data, number, error_model=error_model).encode()


def _write(path: str, content: bytes) -> None:
    def write(file: IO[bytes]) -> None:
        file.write(content)

    with pending() as pairs:
        pairs.append((write_beside(path, write), path))
        commit(pairs)


def _with_ending(path: str, ending: str) -> str:
    stem, old = os.path.splitext(path)
    return (stem if old in (".hkl", ".ins", ".cif") else path) + ending


def _numbered(path: str, identifier: str) -> str:
    stem, ending = os.path.splitext(path)
    return f"{stem}_{identifier}{ending}"
