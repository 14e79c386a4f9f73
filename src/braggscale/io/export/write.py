"""Every export that was asked for, one file at a time: what fails is named at the end, the others stand."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.errors import OutputError, UserError
from braggscale.io.atomic_files import write_alone
from braggscale.io.export import free_flags, mmcif, mtz, scalepack, shelx, xds_ascii
from braggscale.io.export.scaled_observations import Crystals, in_listed_setting, wavelength_groups
from braggscale.io.export.wavelengths import WavelengthSet, union, wavelength_sets
from braggscale.options.schema import shelx_files
from braggscale.statistics.merging_statistics import Statistics, merging_statistics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Paths, None where a file is not wanted.

    ``shelx``: name of the .hkl file; .ins and .cif are written beside it.  ``xds_ascii``: with several sweeps the
    identifier goes in front of the ending.  ``sca``: with several wavelengths WAVE1, ... goes there.
    ``free_flags``: an MTZ file whose free flags are taken over.
    ``use_internal_variance``: see ``merging.merge``.
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
    use_internal_variance: bool = False

    def needs_statistics(self) -> bool:
        """Whether any file contains merging statistics."""
        return bool(self.merged_cif or self.unmerged_cif or self.shelx)


class _Export:
    """Merged data are made once, and only if a file needs them."""

    def __init__(self, data: Crystals, wanted: Wanted, statistics: Statistics | None) -> None:
        self.data, self.wanted, self.statistics = in_listed_setting(data), wanted, statistics

    @cached_property
    def sets(self) -> tuple[WavelengthSet, ...]:
        """Merged data of each wavelength."""
        return wavelength_sets(self.data, internal_variance=self.wanted.use_internal_variance)

    @cached_property
    def free(self) -> free_flags.FreeFlags:
        """Free flags, new or taken over."""
        indices = union(self.sets)
        if self.wanted.free_flags:
            return free_flags.flags_from_mtz(self.wanted.free_flags, indices, self.data.symmetry)
        return free_flags.new_flags(indices)

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
        alone = len(self.sets) == 1
        found = mmcif.merged_cif(
            self.sets,
            self.data.symmetry,
            self.data.cell,
            [self.statistics] if alone else [self._statistics_of(k) for k in range(len(self.sets))],
            free=self.free.flag,
            free_value=self.free.free,
        )
        return found.encode()

    def _statistics_of(self, number: int) -> Statistics | None:
        """Statistics of one of several wavelengths, in as many shells as those of all."""
        if self.statistics is None:
            return None
        rows = self.sets[number].rows
        asu, minus = self.data.symmetry.asu(rows.hkl)
        return merging_statistics(
            asu,
            minus,
            rows.intensity,
            rows.sigma,
            self.data.cell,
            self.data.symmetry,
            n_bins=len(self.statistics.shells),
            use_internal_variance=self.wanted.use_internal_variance,
        )

    def xds(self, number: int) -> bytes:
        """Content of XDS_ASCII.HKL for one data set."""
        return xds_ascii.xds_ascii(self.data, number, error_model=_error_model(self.data.experiments[number])).encode()

    def sca(self, number: int) -> bytes:
        """Content of the SCALEPACK file of one wavelength."""
        return scalepack.scalepack(self.sets[number].merged, self.data.symmetry, self.data.cell).encode()


def write_exports(data: Crystals, wanted: Wanted, statistics: Statistics | None) -> list[str]:
    """Write the files; returns their names.

    Raises OutputError that names every file which failed, after the others have been written.
    """
    export = _Export(data, wanted, statistics)
    tasks: list[tuple[str | None, Callable[[], bytes]]] = [
        (wanted.merged_mtz, export.merged_mtz),
        (wanted.unmerged_mtz, export.unmerged_mtz),
        (wanted.merged_cif, export.merged_cif),
        (wanted.unmerged_cif, lambda: mmcif.unmerged_cif(export.data, statistics).encode()),
    ]
    if wanted.sca:
        n = len(np.unique(wavelength_groups(data.experiments)[1][data.rows.data_set]))
        names = [wanted.sca] if n == 1 else [_numbered(wanted.sca, f"WAVE{k + 1}") for k in range(n)]
        tasks += [(name, partial(export.sca, k)) for k, name in enumerate(names)]
    if wanted.shelx:
        hkl, ins, cif = shelx_files(wanted.shelx)
        tasks += [
            (hkl, lambda: shelx.hkl_file(export.data.rows).encode()),
            (ins, lambda: shelx.ins_file(export.data).encode()),
            (cif, lambda: shelx.cif(export.data, statistics).encode()),
        ]
    if wanted.xds_ascii:
        sweeps = [k for k, experiment in enumerate(data.experiments) if not experiment.is_still]
        parts = _sweep_names([experiment.identifier for experiment in data.experiments])
        for k in sweeps or [0]:
            name = wanted.xds_ascii if len(sweeps) < 2 else _numbered(wanted.xds_ascii, parts[k])
            tasks.append((name, partial(export.xds, k)))
    written: list[str] = []
    problems: dict[str, list[str]] = {}
    for path, make in tasks:
        if path is None:
            continue
        try:
            write_alone(path, make())
            written.append(path)
        except UserError as error:
            problems.setdefault(_reason(error), []).append(path)
        except MemoryError:
            problems.setdefault("not enough memory", []).append(path)
    for path in written:
        log.info(f"Written: {path}")
    if problems:
        failed = [f"{_and(paths)} not written: {reason}" for reason, paths in problems.items()]
        raise OutputError("; ".join(failed))
    return written


def _reason(error: UserError) -> str:
    """Why a file could not be made; of a failed write what the system says."""
    cause = error.__cause__
    return str(cause.strerror or cause) if isinstance(cause, OSError) else str(error)


def _and(paths: list[str]) -> str:
    return f"{paths[0]} was" if len(paths) == 1 else f"{', '.join(paths[:-1])} and {paths[-1]} were"


def _error_model(experiment: Experiment) -> tuple[float, float] | None:
    """a and b of the stored model, None where there is none."""
    model = experiment.scaling_model or {}
    configuration = model.get("configuration_parameters")
    pair = configuration.get("error_model_parameters") if isinstance(configuration, dict) else None
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(x, int | float) for x in pair):
        return None
    return float(pair[0]), float(pair[1])


def _numbered(path: str, name: str) -> str:
    stem, ending = os.path.splitext(path)
    return f"{stem}_{name}{ending}"


def _sweep_names(identifiers: Sequence[str]) -> list[str]:
    """Identifiers as parts of file names: what an identifier says must not lead to another folder."""
    names = [re.sub(r"[^\w.-]", "_", identifier) for identifier in identifiers]
    return names if len(set(names)) == len(names) else [str(k) for k in range(len(names))]
