"""From files to files: read, run the pipeline, write everything at once or nothing.

The table, the log, the summary and the experiments belong together: each is written beside its target first, then all
are renamed, the experiments last. A run that fails leaves what was there before.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from braggscale import __version__
from braggscale.data.observations import rows_by_data_set
from braggscale.data.preparation import flags_with_fates
from braggscale.data.table import Table
from braggscale.errors import OutputError, UserError
from braggscale.io import Input, open_inputs
from braggscale.io.atomic_files import commit, pending, write_alone, write_text
from braggscale.io.experiment_list import Kept, history_line, imageset_numbers, output_data, to_text
from braggscale.io.reindexing import changed, known
from braggscale.io.splitting import split_sweeps
from braggscale.io.table_writer import write_table
from braggscale.models.stored_model import with_cell
from braggscale.numerics.array_types import Array
from braggscale.numerics.partitions import available_processors, threads
from braggscale.numerics.timing import Clock
from braggscale.options.schema import Options
from braggscale.report.read_summary import read_summary
from braggscale.report.summary import summary
from braggscale.report.summary_document import Summary, summary_text
from braggscale.report.text.log import log_end, log_next, log_result
from braggscale.scaling.pipeline import run as run_pipeline
from braggscale.scaling.plan import make_plan
from braggscale.scaling.result import Result

log = logging.getLogger(__name__)

NewColumns = dict[str, tuple[str, list[Array]]]  # by column name: type, and one array per data set in the output


def run(
    files: Sequence[str],
    options: Options,
    command: Mapping[str, Any],
    log_text: Callable[[], str],
) -> None:
    """Scale the data in ``files`` and write the outputs that ``schema.output`` names.

    ``command``: what the summary says of the command line.
    ``log_text``: everything logged so far.  Raises UserError where the run cannot go on; nothing is written then.
    """
    with threads(options.nproc or available_processors()):
        _run(files, options, command, log_text)


def _run(
    files: Sequence[str],
    options: Options,
    command: Mapping[str, Any],
    log_text: Callable[[], str],
) -> None:
    clock = Clock()
    with clock.stage("reading"):
        # before anything else: this run may replace the file
        other = read_summary(options.report.compare) if options.report.compare and options.output.html else None
        asked = options.input
        data = open_inputs(files, known(asked.space_group, asked.unit_cell, asked.polarization_fraction))
    for note in data.notes:
        log.info(note)
    data = changed(data, asked.space_group, asked.unit_cell, asked.reindex)
    data = split_sweeps(data, options.split_at)
    options = with_mtz_files(options, data, files)
    plan = make_plan(options, data.data_sets)
    result = run_pipeline(data.data_sets, data.not_indexed, plan, clock)
    log_result(result, options.anomalous)
    document, columns, problem = _write(data, result, options, command, log_text, clock, other)
    if options.output.exports:
        _export(result, options, document, columns, log_text, clock)
    if problem is not None:
        raise problem


def with_mtz_files(options: Options, data: Input, files: Sequence[str]) -> Options:
    """The options with MTZ files to write where nothing came from DIALS: what users of other programs go on with.

    Not where the options say something else, nor in the place of an input.
    """
    if not data.all_other:
        return options
    inputs = {os.path.realpath(path) for path in files}
    exports = {
        name: path
        for name, path in (("merged_mtz", "scaled.mtz"), ("unmerged_mtz", "scaled_unmerged.mtz"))
        if not options.is_explicit(f"output.{name}") and os.path.realpath(path) not in inputs
    }
    return replace(options, output=replace(options.output, exports={**exports, **options.output.exports}))


def _export(
    result: Result,
    options: Options,
    document: Mapping[str, Any],
    columns: NewColumns,
    log_text: Callable[[], str],
    clock: Clock,
) -> None:
    """The files for other programs, after the scaled data, which stand whatever happens.

    The log has been written with the scaled data. It is replaced by one that also says what became of the exports; if
    there is no room for that, the first one stays.
    """
    from braggscale.export_files import export_result  # few runs need it

    failed = ""
    try:
        with clock.stage("exports"):
            export_result(result, options, document, columns)
        log.info("")
        log_next(result, options.output.experiments, options.output.reflections, clock.seconds)
    except UserError as error:
        failed = f"Error: {error}\n"
        raise
    finally:
        if options.output.log:
            with suppress(OutputError):
                write_alone(options.output.log, (log_text() + failed).encode())


def name_anew(files: Sequence[str], names: str, experiments: str, reflections: str) -> None:
    """Write the data in ``files`` with new identifiers, separated by blanks or commas, and do not scale."""
    from braggscale.io.identifiers import assign_identifiers, split_names

    data = open_inputs(files)
    for note in data.notes:
        log.info(note)
    history = history_line(_now(), __version__, "identifiers assigned")
    assign_identifiers(data, split_names(names), experiments, reflections, history)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(
    data: Input,
    result: Result,
    options: Options,
    command: Mapping[str, Any],
    log_text: Callable[[], str],
    clock: Clock,
    other: Summary | None,
) -> tuple[Mapping[str, Any], NewColumns, OutputError | None]:
    """Writes the table, the experiments, the log, the summary and the report.

    Returns document and columns for the exports, and what went wrong with the report: the others stand without it.
    """
    output = options.output
    kept = result.used
    models = [
        Kept(
            index=member.number,
            identifier=member.identifier,
            scaling_model=with_cell(model, result.cell),
            valid_image_ranges=None if member.experiment.scan is None else member.experiment.scan.valid_image_ranges,
            batch_offset=None if member.experiment.scan is None else member.experiment.scan.batch_offset,
        )
        for member, model in zip(kept, result.models, strict=True)
    ]
    document = output_data(data.document, models, history_line(_now(), __version__))
    columns = output_columns(result, imageset_numbers(document))
    pieces = [member.usable.table for member in kept]
    names = {member.data_set.id: member.identifier for member in kept}
    keep = _previous(output.experiments, output.reflections, data, result)
    exports = list(output.exports.values())
    with pending() as pairs:
        with clock.stage("writing"):
            pairs.append((write_table(output.reflections, pieces, columns, names, {"shoebox"}), output.reflections))
            experiments = write_text(output.experiments, to_text(document))
            pairs.append((experiments, output.experiments))
        with clock.stage("report"):
            wanted = output.json or output.html
            found = summary(result, options, command, dict(clock.seconds)) if wanted else None
            report, problem = _report(found, options, other)
        pairs += report
        written = [output.reflections, output.experiments, output.log, output.json, *(path for _, path in report)]
        log_end(result, written, keep, exports)
        if problem is not None:
            log.info("The report could not be written")
        if not exports:
            log_next(result, output.experiments, output.reflections, clock.seconds)
        between = []
        if output.log:
            between.append((write_text(output.log, log_text()), output.log))
        if output.json and found is not None:
            between.append((write_text(output.json, summary_text(found)), output.json))
        pairs[1:1] = between
        commit(pairs[: len(pairs) - len(report)], keep)
        try:
            commit(report)
        except OutputError as error:
            problem = _without_report(report[0][1], error)
    return document, columns, problem


def _report(
    found: Summary | None, options: Options, other: Summary | None
) -> tuple[list[tuple[str, str]], OutputError | None]:
    """The report beside its target, to be put in place after the data; or why there is none."""
    target = options.output.html
    if not target or found is None:
        return [], None
    # imported here: costs time that a run without a report need not spend
    from braggscale.report.page.html import report_html

    try:
        return [(write_text(target, report_html(found, other, options.report.compare or "")), target)], None
    except OutputError as error:
        return [], _without_report(target, error)
    except Exception as error:  # a fault of ours in drawing must not cost the data
        log.debug("the report failed", exc_info=True)
        return [], _without_report(target, OutputError(f"internal error, {type(error).__name__}: {error}"))


def _without_report(target: str, error: OutputError) -> OutputError:
    why = str(error).removesuffix("; nothing was changed")
    return OutputError(f"{target} was not written: {why}; the scaled data are complete")


def output_columns(result: Result, imagesets: Sequence[int]) -> NewColumns:
    """Columns of the scaled table that are new or changed: type, and one array per data set in the output.

    Rows that were not scaled have intensity 0 with variance -1 and scale 1.
    """
    state, scaled = result.scaled.state, result.scaled
    changed: dict[str, tuple[str, list[Array]]] = {}
    usable = [one.usable for one in result.used]
    tables = [rows.table for rows in usable]

    def put(name: str, tag: str, values: list[Array]) -> None:
        changed[name] = (tag, values)

    names = {name for rows in usable for name in rows.changed}
    for name in sorted(names):
        values = [rows.changed.get(name, rows.table[name]) for rows in usable]
        put(name, tables[0].columns[name].tag, values)
    new: dict[str, list[Array]] = {name: [] for name in ("value", "variance", "scale", "scale_variance")}
    flags, fates, ids, sets = [], [], [], []
    places = rows_by_data_set(result.data.rows.data_set, len(tables))
    for d, (mine, table) in enumerate(zip(places, tables, strict=True)):
        member = result.used[d]
        rows = result.data.rows.row[mine]
        for name, empty, found in (
            ("value", 0.0, state.values.intensity),
            ("variance", -1.0, scaled.variance),
            ("scale", 1.0, state.scale),
            ("scale_variance", 0.0, scaled.scale_variance),
        ):
            column = np.full(len(table), empty)
            column[rows] = found[mine]
            new[name].append(column)
        fate = member.fate[member.usable.kept]
        flags.append(flags_with_fates(table["flags"], fate))
        fates.append(fate.astype(np.int32))
        ids.append(np.full(len(table), member.data_set.id, np.int32))
        sets.append(np.full(len(table), imagesets[d], np.int32))
    put("intensity.scale.value", "double", new["value"])
    put("intensity.scale.variance", "double", new["variance"])
    put("inverse_scale_factor", "double", new["scale"])
    put("inverse_scale_factor_variance", "double", new["scale_variance"])
    put("flags", "std::size_t", flags)
    put("scaling_fate", "int", fates)
    put("id", "int", ids)
    put("imageset_id", "int", sets)
    return changed


def _previous(experiments: str, reflections: str, data: Input, result: Result) -> dict[str, str]:
    """Where to keep the pair that is replaced, if this run removes whole data sets from its own input."""
    removed = len(result.used) < len(result.members)
    inputs = {os.path.realpath(path) for path in (*data.document.files, *_sources(data))}
    if not removed or not inputs & {os.path.realpath(experiments), os.path.realpath(reflections)}:
        return {}
    return {path: _with_previous(path) for path in (experiments, reflections) if os.path.exists(path)}


def _sources(data: Input) -> list[str]:
    tables: list[Table] = [data_set.table for data_set in data.data_sets]
    return [table.source for table in tables]


def _with_previous(path: str) -> str:
    stem, ending = os.path.splitext(path)
    return f"{stem}.previous{ending}"
