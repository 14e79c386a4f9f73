"""The scaled data as a run writes them: experiments with their models, and tables with new columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from braggscale import __version__
from braggscale.data.observations import rows_by_data_set
from braggscale.data.preparation import flags_with_fates
from braggscale.data.reflection_columns import OBSERVED_VARIANCE
from braggscale.data.sorting import UsedDataSet
from braggscale.data.table import DataSet, Table
from braggscale.io import Input
from braggscale.io.atomic_files import write_text
from braggscale.io.experiment_list import OutputExperiment, history_line, imageset_numbers, output_data, to_text
from braggscale.io.run_stamp import COLUMN as RUN_COLUMN
from braggscale.io.run_stamp import stamp_of
from braggscale.io.table_writer import write_table
from braggscale.models.stored_model import with_run
from braggscale.numerics.array_types import Array, Float, Int
from braggscale.scaling.result import Result

NewColumns = dict[str, tuple[str, list[Array]]]  # by column name: type, and one array per data set in the output


@dataclass(frozen=True, slots=True)
class ScaledOutput:
    """The scaled data as they are written.

    ``document``: the experiment list.  ``tables``: rows of each data set in the output, ``columns``: their new or
    changed columns.  ``identifiers``: by the number in the column ``id``.
    """

    document: Mapping[str, Any]
    tables: tuple[Table, ...]
    columns: NewColumns
    identifiers: Mapping[int, str]


def now() -> str:
    """The time for a line of the history, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stored_models_with_cell(result: Result) -> list[dict[str, Any]]:
    """The model of each data set in the output, with the unit cell and the number of the run, as it is stored."""
    run = stamp_of(result.models)
    return [with_run(model, result.cell, run) for model in result.models]


def scaled_output(data: Input, result: Result, beside: Sequence[int] = ()) -> ScaledOutput:
    """The content of ``scaled.expt`` and ``scaled.refl``.

    ``data``: the input that was scaled.  ``beside``: positions, in the input, of data sets that an earlier run has
    scaled. They are written unchanged after those of this run.
    """
    models = stored_models_with_cell(result)
    document = document_of(data, result.used, models, now(), beside)
    imagesets = imageset_numbers(document)
    n = len(result.used)
    old = [data.data_sets[k] for k in beside]
    columns = output_columns(result, imagesets[:n])
    return ScaledOutput(
        document,
        (*(one.usable.table for one in result.used), *(one.table for one in old)),
        _with_old(columns, old, imagesets[n:]) if old else columns,
        {one.id: one.identifier for one in (*(used.data_set for used in result.used), *old)},
    )


def _with_old(columns: NewColumns, old: Sequence[DataSet], imagesets: Sequence[int]) -> NewColumns:
    """The columns, extended by the rows of data sets that an earlier run has scaled, unchanged.

    Zeros stand where a table has no such column.  ``imagesets``: of the old data sets.
    """
    result: NewColumns = {}
    for name, (tag, values) in columns.items():
        more = []
        for one, imageset in zip(old, imagesets, strict=True):
            if name in ("id", "imageset_id"):
                number = one.id if name == "id" else imageset
                more.append(np.full(len(one.table), number, values[0].dtype))
            elif name in one.table:
                more.append(np.asarray(one.table[name]).astype(values[0].dtype))
            else:
                more.append(np.zeros((len(one.table), *values[0].shape[1:]), values[0].dtype))
        result[name] = (tag, [*values, *more])
    return result


def document_of(
    data: Input, used: Sequence[UsedDataSet], models: Sequence[dict[str, Any]], time: str, beside: Sequence[int] = ()
) -> dict[str, Any]:
    """The experiment list with the models of the data sets.

    ``used``: their ``number`` counts the experiments of ``data``.  ``time``: as ``now`` gives it.
    ``beside``: experiments that follow them with the models that they have.
    """
    kept = [_kept(one, model) for one, model in zip(used, models, strict=True)]
    kept += [
        OutputExperiment(k, data.data_sets[k].identifier, data.data_sets[k].experiment.scaling_model) for k in beside
    ]
    return output_data(data.document, kept, history_line(time, __version__))


def _kept(data_set: UsedDataSet, model: dict[str, Any]) -> OutputExperiment:
    scan = data_set.experiment.scan
    return OutputExperiment(
        index=data_set.number,
        identifier=data_set.identifier,
        scaling_model=model,
        valid_image_ranges=None if scan is None else scan.valid_image_ranges,
        batch_offset=None if scan is None else scan.batch_offset,
    )


def write_pair(scaled: ScaledOutput, experiments: str, reflections: str) -> list[tuple[str, str]]:
    """Write both files beside their targets; returns (file, target) for ``atomic_files.commit``, the table first."""
    table = write_table(reflections, scaled.tables, scaled.columns, scaled.identifiers, {"shoebox"})
    return [(table, reflections), (write_text(experiments, to_text(scaled.document)), experiments)]


@dataclass(frozen=True, slots=True)
class ScaledRows:
    """Results of scaling for the usable rows of one data set, (n,) each.

    ``row``: in the output table.  ``intensity``, ``variance``: not divided by g, counts, counts^2.
    ``observed_variance``: at the observed intensity, counts^2.
    ``scale``, ``scale_variance``: g and var(g).
    """

    row: Int
    intensity: Float
    variance: Float
    observed_variance: Float
    scale: Float
    scale_variance: Float


# Values of rows that were not scaled.
_EMPTY = {"intensity": 0.0, "variance": -1.0, "observed_variance": -1.0, "scale": 1.0, "scale_variance": 0.0}


def output_columns(result: Result, imagesets: Sequence[int]) -> NewColumns:
    """Columns of the scaled table of a run, see ``columns_of``."""
    state, scaled = result.scaled.state, result.scaled
    places = rows_by_data_set(result.data.rows.data_set, len(result.used))
    rows = [
        ScaledRows(
            result.data.rows.row[rows_of_set],
            state.values.intensity[rows_of_set],
            scaled.variance[rows_of_set],
            scaled.observed_variance[rows_of_set],
            state.scale[rows_of_set],
            scaled.scale_variance[rows_of_set],
        )
        for rows_of_set in places
    ]
    return columns_of(result.used, rows, stamp_of(result.models), imagesets)


def columns_of(
    used: Sequence[UsedDataSet], scaled: Sequence[ScaledRows], run: int, imagesets: Sequence[int]
) -> NewColumns:
    """Columns of the scaled table that are new or changed: type, and one array per data set in the output.

    Rows that were not scaled have intensity 0 with variance -1 and scale 1.
    ``scaled``: of each data set.  ``run``: number of the run (io/run_stamp.py).  ``imagesets``: of each data set.
    """
    changed: dict[str, tuple[str, list[Array]]] = {}
    usable = [one.usable for one in used]
    tables = [rows.table for rows in usable]

    def put(name: str, tag: str, values: list[Array]) -> None:
        """Add a column."""
        changed[name] = (tag, values)

    names = {name for rows in usable for name in rows.changed}
    for name in sorted(names):
        owner = next(table for table in tables if name in table)
        # a table without the column has zeros in it, as in all columns of the output
        values = [
            rows.changed[name] if name in rows.changed
            else rows.table[name] if name in rows.table
            else np.zeros((len(rows.table), *owner[name].shape[1:]), owner[name].dtype)
            for rows in usable
        ]  # fmt: skip
        put(name, owner.columns[name].tag, values)
    new: dict[str, list[Array]] = {name: [] for name in _EMPTY}
    flags, fates, ids, sets = [], [], [], []
    for member, table, rows, imageset in zip(used, tables, scaled, imagesets, strict=True):
        for name, empty in _EMPTY.items():
            column = np.full(len(table), empty)
            column[rows.row] = getattr(rows, name)
            new[name].append(column)
        fate = member.fate[member.usable.kept]
        flags.append(flags_with_fates(table["flags"], fate))
        fates.append(fate.astype(np.int32))
        ids.append(np.full(len(table), member.data_set.id, np.int32))
        sets.append(np.full(len(table), imageset, np.int32))
    put("intensity.scale.value", "double", new["intensity"])
    put("intensity.scale.variance", "double", new["variance"])
    put(OBSERVED_VARIANCE, "double", new["observed_variance"])
    put("inverse_scale_factor", "double", new["scale"])
    put("inverse_scale_factor_variance", "double", new["scale_variance"])
    put("flags", "std::size_t", flags)
    put("scaling_fate", "int", fates)
    put("id", "int", ids)
    put(RUN_COLUMN, "int", [np.full(len(own), run, np.int32) for own in ids])
    put("imageset_id", "int", sets)
    return changed
