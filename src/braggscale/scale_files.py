"""A run from input files to output files: read, run the pipeline, write all outputs or none.

The table, the log, the summary and the experiments belong together. Each is first written beside its target; then all
are renamed, the experiments last. A run that fails leaves the earlier files unchanged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np

from braggscale import __version__
from braggscale.data.reference import Reference, turned
from braggscale.data.reindexing import AUTO as REINDEX_AUTO
from braggscale.data.reindexing import inverse_of
from braggscale.data.sorting import LeftOut
from braggscale.data.table import Table, smallest_d
from braggscale.errors import CommandError, OutputError, UserError
from braggscale.io import Input, open_inputs
from braggscale.io.atomic_files import commit, pending, write_alone, write_beside, write_text
from braggscale.io.experiment_list import history_line
from braggscale.io.image_names import image_names
from braggscale.io.reindexing import known_facts, with_changes, with_operators
from braggscale.io.splitting import split_sweeps
from braggscale.numerics.partitions import available_processors, side_by_side, threads
from braggscale.numerics.timing import Clock
from braggscale.options.assignments import values_to_try, with_option
from braggscale.options.schema import Options
from braggscale.report.checks import advice_without_summary
from braggscale.report.filter_results import filter_results_text
from braggscale.report.read_summary import read_summary
from braggscale.report.summary import summary
from braggscale.report.summary_document import Advice, Summary, summary_text
from braggscale.report.text.log import log_end, log_next, log_result
from braggscale.report.text.tables import text_table
from braggscale.run_warnings import Warned, warnings_heard
from braggscale.scaled_output import ScaledOutput, now, scaled_output, write_pair
from braggscale.scaling.filtered_run import run_filtered
from braggscale.scaling.free_set import HEADER, FreeSet, cross_validate, table_of
from braggscale.scaling.indexing_check import check_indexing, log_indexing
from braggscale.scaling.plan import Plan, make_plan
from braggscale.scaling.result import Result
from braggscale.scaling.run_data import run_data

log = logging.getLogger(__name__)

REFERENCE_OF_OTHERS = "the reference of the others"  # why a data set that was scaled before is not scaled


@dataclass(frozen=True, slots=True)
class _Record:
    """What log and summary contain in addition to the result.

    ``command``: entries of the summary about the command line.  ``log_text``: returns everything logged so far.
    ``warned``: the warnings so far; the list grows.
    """

    command: Mapping[str, Any]
    log_text: Callable[[], str]
    warned: Sequence[Warned]
    clock: Clock


def run(
    files: Sequence[str],
    options: Options,
    command: Mapping[str, Any],
    log_text: Callable[[], str],
) -> None:
    """Scale the data in ``files`` and write the outputs that ``schema.output`` names.

    ``command``: entries of the summary about the command line. ``log_text``: returns everything logged so far.
    Raises UserError if the run cannot go on; then nothing is written. It is a CommandError for options that cannot
    be met, an OutputError for a file that cannot be written.
    """
    with threads(options.nproc or available_processors()), warnings_heard() as warned:
        _run(files, options, _Record(command, log_text, warned, Clock.of_command()))


def _run(files: Sequence[str], options: Options, record: _Record) -> None:
    with record.clock.stage("reading"):
        # read first, because this run may replace the file
        other = read_summary(options.report.compare) if options.report.compare and options.output.html else None
        data = open_files(files, options)
    data = as_asked(data, options)
    data = split_sweeps(data, options.split_at)
    if options.cross_validation.cross_validation_mode:
        _cross_validate(data, options, record.log_text)
        return
    options = with_mtz_files(options, data, files)
    data, result = scale_input(data, options, record.clock)
    if options.as_dials:
        log.info(f"Space group being used during scaling is {result.symmetry}")
        log.info("Scaling models have been initialised for all experiments.")
    log_result(result, options.anomalous)
    if options.as_dials and options.output.html:
        log.info(f"Writing html report to: {options.output.html}")
    scaled, advice, problem = _write(data, result, options, record, other)
    if options.output.exports:
        _export(result, options, scaled, advice, record)
    if problem is not None:
        raise problem


def _cross_validate(data: Input, options: Options, log_text: Callable[[], str]) -> None:
    """Scale several times, each time with another free set; only the log is written."""
    asked = options.cross_validation
    name = asked.parameter if asked.cross_validation_mode == "multi" else None
    choices = [""] if name is None else values_to_try(name, asked.parameter_values)
    every = {value: options if name is None else with_option(options, name, value) for value in choices}
    step = max(int(100.0 / options.scaling_options.free_set_percentage), 2)

    def scale_once(value: str, offset: int) -> FreeSet | None:
        """Scale with one value of the option; returns the statistics of the free set."""
        chosen = every[value]
        scaling = replace(chosen.scaling_options, use_free_set=True, free_set_offset=offset)
        return scale_input(data, replace(chosen, scaling_options=scaling), Clock())[1].free_set

    tried = cross_validate(choices, min(asked.nfolds, step), scale_once)
    log.info("")
    log.info(
        f"Cross-validation{f' of {name}' if name else ''}: R_meas and CC1/2 of reflections in the fit and of free ones"
    )
    log.info(text_table(HEADER, table_of(tried)))
    if options.output.log:
        write_alone(options.output.log, log_text().encode())


def open_files(files: Sequence[str], options: Options) -> Input:
    """Read the files; the options give facts that some of them do not contain."""
    asked = options.input
    return open_inputs(
        files,
        known_facts(
            asked.space_group,
            asked.unit_cell,
            asked.polarization_fraction,
            asked.keep_flags or (),
            asked.keep_scales,
        ),
    )


def as_asked(data: Input, options: Options) -> Input:
    """The data with space group, unit cell and indices as set by the options; logs this and the readers' notes."""
    for note in data.notes:
        log.info(note)
    asked = options.input
    operators = [text for text in asked.reindex if text.lower() != REINDEX_AUTO]
    return with_changes(data, asked.space_group, asked.unit_cell, operators)


def scale_input(data: Input, options: Options, clock: Clock) -> tuple[Input, Result]:
    """Scale what was read; nothing is written.  To be called inside ``partitions.threads``.

    Also returns the data as they were scaled, that is reindexed if this was asked for and necessary.
    Raises CommandError for options that do not fit the data.
    """
    plan = make_plan(options, data.data_sets)
    reference, plan = _reference(data, options, plan)
    prepared = run_data(data.data_sets, plan, clock, reference=reference)
    with clock.stage("indexing"):
        check = check_indexing(prepared)
    if check is not None and reference is not None and check.common_operator and not plan.mend_indexing:
        # all data sets agree with each other: it is the reference that is indexed in another way
        log.info(f"Indexing: the reference is reindexed; {check.common_operator} takes the data to its indexing")
        reference = turned(reference, inverse_of(check.common_operator))
        prepared = run_data(data.data_sets, plan, clock, quiet=True, reference=reference)
        check = check_indexing(prepared)
    if check is not None and not check.alike and plan.mend_indexing:
        data = with_operators(data, check.changes(), prepared.symmetry.hall)
        check = replace(check, mended=True)
        prepared = run_data(data.data_sets, plan, clock, quiet=True, reference=reference)
    log_indexing(check)
    return data, run_filtered(data.data_sets, data.not_indexed, plan, prepared, clock, check, reference)


def _reference(data: Input, options: Options, plan: Plan) -> tuple[Reference | None, Plan]:
    """The reference that the options name, None without one, and the plan for the data sets that are scaled.

    Raises CommandError if ``only_target`` finds no scaled data sets, or no others.
    """
    if not options.reference and not plan.one_by_one:
        return None, plan
    from braggscale.io.reference_file import read_reference, scaled_reference

    if not options.reference:
        old = [k for k in plan.data_sets if data.data_sets[k].experiment.scaling_model is not None]
        new = tuple(k for k in plan.data_sets if k not in set(old))
        if not old or not new:
            raise CommandError(
                "only_target=True: give a reference=, or scaled data sets to scale against and others to scale; there "
                f"are {len(old)} scaled and {len(new)} new data sets"
            )
        source = f"{len(old)} scaled data set{'s' * (len(old) > 1)}"
        why = dict.fromkeys(old, REFERENCE_OF_OTHERS)
        return scaled_reference([data.data_sets[k] for k in old], source), replace(plan, data_sets=new, filtered=why)
    from braggscale.io.reference_model import ModelRequest

    d_min = options.cut_data.d_min or smallest_d(data.data_sets)
    wavelength = float(np.median([one.experiment.beam.wavelength for one in data.data_sets]))
    solvent = options.reference_model
    request = ModelRequest(d_min, wavelength, solvent.k_sol, solvent.b_sol)
    return read_reference(options.reference, request), plan


def with_mtz_files(options: Options, data: Input, files: Sequence[str]) -> Options:
    """The options, with MTZ files as additional outputs if no input came from DIALS: other programs go on with these.

    They are not added where the options name them, nor where they would replace an input.
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


def _export(result: Result, options: Options, scaled: ScaledOutput, advice: Sequence[Advice], record: _Record) -> None:
    """Write the files for other programs. The scaled data have been written before and are kept if this fails.

    The log has been written with the scaled data. It is replaced by one that also reports on the exports; if the
    disk has no room for it, the first one stays.
    """
    from braggscale.export_files import export_result  # few runs need it

    failed = ""
    try:
        with record.clock.stage("exports"):
            export_result(result, options, scaled.document, scaled.columns)
        log.info("")
        log_next(advice, options.output.experiments, options.output.reflections, record.clock.seconds)
    except UserError as error:
        failed = f"Error: {error}\n"
        raise
    finally:
        if options.output.log:
            with suppress(OutputError):
                write_alone(options.output.log, (record.log_text() + failed).encode())


def name_anew(files: Sequence[str], names: str, experiments: str, reflections: str) -> None:
    """Write the data in ``files`` with new identifiers, separated by blanks or commas, and do not scale."""
    from braggscale.io.identifiers import assign_identifiers, split_names

    data = open_inputs(files)
    for note in data.notes:
        log.info(note)
    history = history_line(now(), __version__, "identifiers assigned")
    assign_identifiers(data, split_names(names), experiments, reflections, history)


def _write(
    data: Input,
    result: Result,
    options: Options,
    record: _Record,
    other: Summary | None,
) -> tuple[ScaledOutput, Sequence[Advice], OutputError | None]:
    """Write the table, the experiments, the log, the summary and the report.

    Returns the scaled data as written, the commands to try next, and the error of the report if there was one: a
    failed report does not prevent the other files.
    """
    output = options.output
    scaled = scaled_output(data, result, _written_again(data, result, options))
    keep = kept_before(output.experiments, output.reflections, data, result)
    exports = list(output.exports.values())
    with pending() as pairs:
        images, seconds = image_names(data.document.data), dict(record.clock.seconds)
        wanted = output.json or output.html
        with record.clock.stage("writing"):
            written_pair, made = side_by_side(
                lambda: write_pair(scaled, output.experiments, output.reflections),
                lambda: summary(result, options, record.command, seconds, record.warned, images) if wanted else None,
            )
            pairs += written_pair
        with record.clock.stage("report"):
            report, problem = _report(made, options, other)
        advice = made.verdict.commands if made is not None else advice_without_summary(result, options)
        pairs += report
        filtered = options.filtering.output.scale_and_filter_results if result.filtering is not None else None
        written = [output.reflections, output.experiments, output.log, output.json]
        zero_dose_path = output.zero_dose_mtz if result.zero_dose is not None else None
        written += [*(path for _, path in report), filtered, zero_dose_path]
        log_end(result, written, keep, exports)
        if problem is not None:
            log.info("The report could not be written" if not report else "The report is not complete")
        if not exports:
            log_next(advice, output.experiments, output.reflections, record.clock.seconds)
        between = []
        if output.log:
            between.append((write_text(output.log, record.log_text()), output.log))
        if output.json and made is not None:
            between.append((write_text(output.json, summary_text(made)), output.json))
        if zero_dose_path:
            between.append((_zero_dose_file(zero_dose_path, result), zero_dose_path))
        if filtered:
            between.append((write_text(filtered, filter_results_text(result)), filtered))
        pairs[1:1] = between
        commit(pairs[: len(pairs) - len(report)], keep)
        try:
            commit(report)
        except OutputError as error:
            problem = _without_report(report[0][1], error)
    return scaled, advice, problem


def _written_again(data: Input, result: Result, options: Options) -> list[int]:
    """Positions of the data sets that served as the reference and are also wanted in the output."""
    scaling = options.scaling_options
    if not scaling.only_target or scaling.only_save_targeted:
        return []
    left_out = [one for one in result.data_sets if isinstance(one, LeftOut) and one.reason == REFERENCE_OF_OTHERS]
    if not left_out:
        log.info("only_save_targeted=False: the reference is in a file of its own and is not written again")
    return [one.number for one in left_out if data.data_sets[one.number].experiment.scaling_model is not None]


def _zero_dose_file(path: str, result: Result) -> str:
    """Write the intensities at dose zero to a temporary file beside their target; returns its name."""
    from braggscale.io.export.zero_dose_mtz import zero_dose_mtz

    zero_dose = result.zero_dose
    if zero_dose is None:
        raise OutputError(f"{path}: there are no intensities at dose zero")
    wavelength = float(np.median([one.experiment.beam.wavelength for one in result.used]))
    content = zero_dose_mtz(zero_dose.hkl, zero_dose.found, result.symmetry, result.cell, wavelength)

    def write(file: IO[bytes]) -> None:
        """Write the content to a file that is open."""
        file.write(content)

    return write_beside(path, write)


def _report(
    made: Summary | None, options: Options, other: Summary | None
) -> tuple[list[tuple[str, str]], OutputError | None]:
    """Write the report to a temporary file beside its target.

    Returns the file with its target, or nothing if there is no report, and the error if something went wrong."""
    target = options.output.html
    if not target or made is None:
        return [], None
    # imported here because a run without a report should not spend this time
    from braggscale.report.page.html import report_html

    failed: list[str] = []
    try:
        page = report_html(made, other, options.report.compare or "", failed)
        problem = OutputError(f"{target}: {failed[0]}; the scaled data are complete") if failed else None
        return [(write_text(target, page), target)], problem
    except OutputError as error:
        return [], _without_report(target, error)
    except Exception as error:  # an internal error of the report must not prevent the data from being written
        log.debug("the report failed", exc_info=True)
        return [], _without_report(target, OutputError(f"internal error, {type(error).__name__}: {error}"))


def _without_report(target: str, error: OutputError) -> OutputError:
    why = str(error).removesuffix("; nothing was changed")
    return OutputError(f"{target} was not written: {why}; the scaled data are complete")


def kept_before(experiments: str, reflections: str, data: Input, result: Result) -> dict[str, str]:
    """New names for the input files, which are kept if this run replaces them and leaves out whole data sets."""
    removed = len(result.used) < len(result.data_sets)
    inputs = {os.path.realpath(path) for path in (*data.document.files, *_sources(data))}
    if not removed or not inputs & {os.path.realpath(experiments), os.path.realpath(reflections)}:
        return {}
    return {path: _unused_name(path) for path in (experiments, reflections) if os.path.exists(path)}


def _sources(data: Input) -> list[str]:
    tables: list[Table] = [data_set.table for data_set in data.data_sets]
    return [table.source for table in tables]


def _unused_name(path: str) -> str:
    """A name for a copy of the file under which no file exists yet."""
    stem, ending = os.path.splitext(path)
    name, n = f"{stem}.previous{ending}", 1
    while os.path.exists(name):  # a copy that an earlier run has kept must not be overwritten
        n += 1
        name = f"{stem}.previous-{n}{ending}"
    return name
