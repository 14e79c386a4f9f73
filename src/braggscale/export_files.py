"""Exports of a run, and of scaled files without a run. Both give the same values to ``io.export.write``.

The unit cell of the run, which its files would not contain otherwise, is kept in the stored models.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from braggscale.data.data_set_names import choose_data_sets
from braggscale.data.experiment import Experiment
from braggscale.data.geometry import UnitCell
from braggscale.data.reflection_columns import OBSERVED_VARIANCE
from braggscale.data.sorting import best_cell, common_symmetry
from braggscale.data.symmetry import Symmetry
from braggscale.data.table import DataSet
from braggscale.errors import DataError, OutputError, UserError
from braggscale.io import Input, open_inputs
from braggscale.io.export.export import ExportSettings
from braggscale.io.export.scaled_observations import (
    NEEDED,
    Changed,
    Columns,
    Crystals,
    cell_esd,
    collect,
    scan_points,
)
from braggscale.io.export.write import needs_statistics, write_exports
from braggscale.io.reindexing import with_changes
from braggscale.models.stored_model import OWN_ENTRY, stored_cell
from braggscale.numerics.array_types import Array
from braggscale.numerics.partitions import available_processors, threads
from braggscale.numerics.timing import Clock
from braggscale.options.schema import Options, Output
from braggscale.run_warnings import Code, warn
from braggscale.statistics.merging import merge
from braggscale.statistics.merging_statistics import Statistics, Unmerged, merging_statistics
from braggscale.statistics.symmetry_check import likely_group
from braggscale.wording import all_of

if TYPE_CHECKING:
    from braggscale.scaling.result import Result

log = logging.getLogger(__name__)


def export_settings(output: Output) -> ExportSettings:
    """What the options say about the content of the exports."""
    return ExportSettings(output.free_flags, output.crystal_name, output.project_name, output.use_internal_variance)


def export_result(
    result: Result, options: Options, document: Mapping[str, Any], columns: Mapping[str, tuple[str, Sequence[Array]]]
) -> None:
    """Write the exports that the options name, after the run has written its data.

    ``document``: the experiments as written.  ``columns``: type and values, (n_rows,) of each data set, as written.
    Raises OutputError naming the files that could not be written.
    """
    try:
        data = result_crystals(result, options, document, columns)
        write_exports(data, options.output.exports, export_settings(options.output), result.statistics)
    except UserError as error:
        raise OutputError(f"{error}; the scaled data are complete") from error


def result_crystals(
    result: Result, options: Options, document: Mapping[str, Any], columns: Mapping[str, tuple[str, Sequence[Array]]]
) -> Crystals:
    """The scaled observations of a run as all kinds of exports need them.

    ``document``: the experiments as written.  ``columns``: type and values, (n_rows,) of each data set, as written.
    Raises DataError if no observation is within the resolution limits.
    """
    tables = [
        Changed(one.usable.table, {name: arrays[d] for name, (_, arrays) in columns.items()})
        for d, one in enumerate(result.used)
    ]
    experiments = tuple(
        replace(one.experiment, identifier=one.identifier, scaling_model=model)
        for one, model in zip(result.used, result.models, strict=True)
    )
    return _crystals(tables, experiments, result.symmetry, result.cell, document, options)


def export_scaled(files: Sequence[str], options: Options) -> None:
    """Export data that are scaled already.

    Raises CommandError for data sets that are not there, InputError for damaged files, DataError if a data set is not
    scaled or nothing is left, OutputError naming the files that could not be written.
    """
    with threads(options.nproc or available_processors()):
        _export_scaled(files, options)


def _export_scaled(files: Sequence[str], options: Options) -> None:
    clock = Clock()
    with clock.stage("reading"):
        data = open_inputs(files)
        for note in data.notes:
            log.info(note)
        if len(set(data.document.files)) > 1:
            warn(
                log,
                Code.NOT_SCALED_TOGETHER,
                "the data sets come from several files; they are on one scale only if they were scaled together",
            )
        data = with_changes(data, options.input.space_group, (), ())
        crystals = stored_crystals(data, options)
        if not options.input.space_group:
            crystals = _with_likely_group(crystals)
    paths = options.output.exports
    statistics = None
    if needs_statistics(paths):
        with clock.stage("statistics"):
            statistics = _statistics(crystals, options)
    with clock.stage("exports"):
        write_exports(crystals, paths, export_settings(options.output), statistics)


def stored_crystals(data: Input, options: Options, outliers: bool = False) -> Crystals:
    """The data sets that were chosen, all of them scaled.  ``outliers``: with the observations that were rejected.

    Raises CommandError for data sets that are not there, DataError if a data set is not scaled.
    """
    chosen = options.dataset_selection
    identifiers = [data_set.identifier for data_set in data.data_sets]
    kept = choose_data_sets(identifiers, chosen.use_datasets or (), chosen.exclude_datasets or ())
    data_sets = [data.data_sets[k] for k in kept]
    for data_set in data_sets:
        _refuse_unscaled(data_set)
    experiments = tuple(data_set.experiment for data_set in data_sets)
    symmetry = common_symmetry(experiments)
    cell = best_cell(
        experiments,
        options.reflection_selection.best_unit_cell
        or stored_cell([experiment.scaling_model for experiment in experiments]),
    )
    document = {**data.document.data, "experiment": [data.document.data["experiment"][k] for k in kept]}
    tables = [_as_scaled(data_set) for data_set in data_sets]
    crystals = _crystals(tables, experiments, symmetry, cell, document, options, outliers)
    log.info(f"Space group {symmetry}, unit cell " + " ".join(f"{x:.3f}" for x in cell))
    sets = "1 data set" if len(kept) == 1 else f"{len(kept)} data sets"
    log.info(f"{np.count_nonzero(~crystals.rows.outlier)} scaled observations of {sets}")
    return crystals


def _as_scaled(data_set: DataSet) -> Columns:
    """The table of a data set.

    A program that has scaled it again and does not know the variances at observed intensities has left those of the
    run before in the table; then the variances that it wrote are taken.
    """
    table = data_set.table
    if OBSERVED_VARIANCE not in table or OWN_ENTRY in (data_set.experiment.scaling_model or {}):
        return table
    return Changed(table, {OBSERVED_VARIANCE: table["intensity.scale.variance"]})


def _with_likely_group(data: Crystals) -> Crystals:
    """The data in the space group with the observed systematic absences, if this group is probable enough."""
    rows = data.rows
    merged = merge(rows.hkl, rows.intensity, rows.sigma, data.symmetry)
    pattern_group = likely_group(merged.hkl, merged.mean, merged.sigma, data.symmetry, data.cell)
    if pattern_group is None:
        return data
    symmetry, pattern = pattern_group
    others = f" (or {all_of(pattern.groups[1:])}, which forbid the same)" if len(pattern.groups) > 1 else ""
    log.info(
        f"Systematic absences: {symmetry}{others}, probability {pattern.probability:.3f}. The exports have this space "
        f"group; space_group={str(data.symmetry).replace(' ', '')} keeps that of the files"
    )
    return replace(data, symmetry=symmetry)


def _refuse_unscaled(data_set: DataSet) -> None:
    missing = [name for name in NEEDED if name not in data_set.table]
    if missing:
        raise DataError(
            f"{data_set.table.source}: data set {data_set.identifier} is not scaled, its table has no column "
            f"{missing[0]!r}; scale it first, and export scaled.expt and scaled.refl"
        )


def _crystals(
    tables: Sequence[Columns],
    experiments: tuple[Experiment, ...],
    symmetry: Symmetry,
    cell: UnitCell,
    document: Mapping[str, Any],
    options: Options,
    outliers: bool = False,
) -> Crystals:
    wavelengths = [experiment.beam.wavelength for experiment in experiments]
    cut = options.cut_data
    rows = collect(tables, cell, d_min=cut.d_min, d_max=cut.d_max, wavelengths=wavelengths, outliers=outliers)
    return Crystals(rows, experiments, symmetry, cell, scan_points(document, experiments), cell_esd(document, cell))


def _statistics(data: Crystals, options: Options) -> Statistics | None:
    asu, minus = data.symmetry.asu(data.rows.hkl)
    return merging_statistics(
        Unmerged(asu, minus, data.rows.intensity, data.rows.sigma, data.cell, data.symmetry),
        n_bins=options.output.merging.nbins,
        use_internal_variance=options.output.use_internal_variance,
        d_min=options.cut_data.d_min,
    )
