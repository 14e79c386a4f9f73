"""Writes the results of a finished run to the log, in the order of the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.log_detail import MANY_DATA_SETS, in_file
from braggscale.numerics.timing import since_the_command_began
from braggscale.report.checks import symmetry_entry
from braggscale.report.numbers.half_sets import half_set_lines
from braggscale.report.numbers.reference import reference_lines
from braggscale.report.summary_document import Advice
from braggscale.report.symmetry_text import symmetry_sentences
from braggscale.report.text import tables
from braggscale.report.text.citations import papers
from braggscale.report.text.log_fit import details, log_fit
from braggscale.report.text.wavelengths import wavelength_lines
from braggscale.report.zero_dose import zero_dose_lines
from braggscale.run_warnings import Code, warn
from braggscale.scaling.free_set import FreeSet
from braggscale.scaling.result import Result
from braggscale.statistics.catalogue import ABOUT_MATES, SUMMARY
from braggscale.statistics.merging_statistics import Statistics
from braggscale.weighting.intensity_choice import Choice
from braggscale.wording import show

log = logging.getLogger(__name__)

MOST_OUTLYING = 15  # data sets that differ from the others, in the log
# Below this mean multiplicity scales are hardly determined by equivalents.
LOW_MULTIPLICITY = 1.5
MOST_PROFILES = 3  # sentences on profiles of data sets, on the terminal


def log_result(result: Result, anomalous: bool) -> None:
    """Error model, intensity choice, outliers, parameters, the ledger and the merging statistics.

    ``anomalous``: whether Friedel mates were kept apart in the run.
    """
    _log_choices(result)
    log_fit(result)
    log.info("")
    for number, part in enumerate(tables.ledger_tables(result.ledger(), FATE_TEXT, MANY_DATA_SETS)):
        log.info(part, extra=in_file(number == 2))
    if result.batch_lines:
        extra = details(result)
        log.info("", extra=extra)
        log.info("Batch numbers in use after the exclusions:", extra=extra)
        for line in result.batch_lines:
            log.info(line, extra=extra)
    if result.outlying:
        _log_outlying(result)
    if result.wavelengths is not None:
        log.info("")
        for line in wavelength_lines(result.wavelengths):
            log.info(line)
    if result.zero_dose is not None:
        log.info("")
        for line in zero_dose_lines(result.zero_dose):
            log.info(line)
    if result.free_set is not None:
        _log_free_set(result.free_set)
    if result.reference is not None:
        log.info("")
        for line in reference_lines(result.reference):
            log.info(line)
    _log_statistics(result, anomalous)
    if result.half_sets is not None:
        log.info("")
        for line in half_set_lines(result.half_sets):
            log.info(line)
    if result.symmetry_check.patterns or result.symmetry_check.elements:
        _log_symmetry(result)


def _log_choices(result: Result) -> None:
    if not result.scaled.rounds:
        return
    last = result.scaled.rounds[-1]
    if not result.scaled.converged:
        log.info(
            f"After {last.number} rounds a few observations at the border of being outliers still change sides; "
            "the last fit uses the choices of the last round"
        )
    _log_profiles(result)
    choice = next((r.choice for r in reversed(result.scaled.rounds) if r.choice and r.choice.table), None)
    if choice is not None:
        log.info("")
        _log_choice(choice, details(result))
    for number, found in enumerate(last.errors):
        log.info("")
        name = "Error model" if len(last.errors) == 1 else f"Error model {number + 1}"
        limit = f"{found.model.isa:.2f}" if np.isfinite(found.model.isa) else "none"
        linear, value = ("c I + ", f", c = {found.model.c:.4g}") if found.model.c > 0 else ("", "")
        log.info(f"{name}: V' = a^2 (V + {linear}(b I)^2), a = {found.model.a:.4f}, b = {found.model.b:.5f}{value}")
        log.info(f"from {found.n_used} observations; limit of I/sigma {limit}")
        if found.reason:
            log.info(found.reason)
        rows = [
            (f"{r.high:.1f} - {r.low:.1f}", r.n, f"{r.uncorrected:.2f}", f"{r.corrected:.2f}") for r in found.ranges
        ]
        if rows:
            log.info("Mean square deviation of equivalents over its expectation:", extra=details(result))
            table = tables.text_table(("expected intensity", "n", "uncorrected", "corrected"), rows)
            log.info(table, extra=details(result))
    if last.rejection is not None:
        log.info("", extra=details(result))
        log.info(f"Outliers: {last.n_outliers} of {len(result.data.rows)} observations")
        if last.n_wilson:
            log.info(f"of these {last.n_wilson} by their size alone (emax)")
        if last.n_shadowed:
            log.info(
                f"of these {last.n_shadowed} in shadows: where the detector records less than 0.4 of what is expected"
            )
        counts = [
            (_multiplicity(m.first, m.last), m.rows, m.rejected, f"{100 * m.rejected / max(m.rows, 1):.2f}")
            for m in last.rejection.by_multiplicity
        ]
        log.info(tables.text_table(("multiplicity", "n", "outliers", "%"), counts), extra=details(result))


def _log_profiles(result: Result) -> None:
    """Sentences on the ratio of profiles to sums; if there are many data sets, only for the first few."""
    found = result.scaled.profiles
    names = [result.data_sets[k].identifier for k in result.kept]
    many = len(found) > MANY_DATA_SETS
    if found:
        log.info("")
    for number, finding in enumerate(found[:MANY_DATA_SETS]):
        log.info(finding.sentence(names), extra=in_file(many and number >= MOST_PROFILES))
    if many:
        log.info(f"(and of {len(found) - MOST_PROFILES} more groups of data sets: see scale.json)")


def _multiplicity(first: int, last: int | None) -> str:
    if last is None:
        return f"{first} or more"
    return str(first) if first == last else f"{first} - {last}"


def _log_choice(choice: Choice, extra: dict[str, bool]) -> None:
    """``extra``: marks the table."""
    log.info(f"Intensities: {choice.sentence} ({choice.reason}; {choice.n_rows} observations compared)")
    rows = [
        (
            row.name,
            *(tables.known(value, digits) for value, digits in ((row.cc_half, 5), (row.r_meas, 5), (row.score, 4))),
        )
        for row in choice.table
    ]
    log.info(tables.text_table(("combination", "CC1/2", "R_meas", "scatter"), rows), extra=extra)


def _log_outlying(result: Result) -> None:
    """Log the data sets that differ from the others; they are not left out for this reason."""
    by_set: dict[int, list[str]] = {}
    for one in result.outlying:
        by_set.setdefault(one.data_set, []).append(str(one))
    log.info("")
    log.info(f"{len(by_set)} of {len(result.used)} data sets differ from the others (filtering.method=deviations or")
    log.info("exclude_datasets= leaves data sets out):")
    for d, texts in list(by_set.items())[:MOST_OUTLYING]:
        log.info(f"  data set {result.used[d].identifier}: {'; '.join(texts)}")
    if len(by_set) > MOST_OUTLYING:
        log.info(f"  and {len(by_set) - MOST_OUTLYING} more, see scale.json")


def _log_free_set(found: FreeSet) -> None:
    log.info("")
    log.info(f"Free set: {found.n_free} unique reflections were left out of the fit, {found.n_work} took part")
    rows = [
        ("work", show(found.r_meas_work, 4), show(found.cc_half_work, 4)),
        ("free", show(found.r_meas_free, 4), show(found.cc_half_free, 4)),
    ]
    log.info(tables.text_table(("", "R_meas", "CC1/2"), rows))


def log_shells(statistics: Statistics, anomalous: bool, extra: dict[str, bool] | None = None) -> None:
    """Tables by resolution, and an empty line.

    ``anomalous``: also that with I+ and I- apart, where they differ.  ``extra``: marks the tables.
    """
    log.info("")
    log.info("Merging statistics by resolution", extra=extra)
    log.info(tables.merging_table(statistics), extra=extra)
    if anomalous and statistics.anomalous:
        log.info("", extra=extra)
        log.info("I+ and I- apart", extra=extra)
        log.info(tables.anomalous_table(statistics), extra=extra)
    log.info("", extra=extra)


def _log_statistics(result: Result, anomalous: bool) -> None:
    statistics = result.statistics
    if statistics is None:
        return
    extra = details(result)
    log_shells(statistics, anomalous, extra)
    if extra and not anomalous:
        log.info(tables.summary_table(statistics, tuple(name for name in SUMMARY if name not in ABOUT_MATES)))
    else:
        log.info(tables.summary_table(statistics))
    for line in tables.limit_lines(statistics):
        log.info(line)
    if extra and not anomalous and statistics.anomalous:
        log.info("", extra=extra)
        log.info(tables.summary_table(statistics, ABOUT_MATES), extra=extra)
    if sentence := tables.friedel_sentence(statistics):
        log.info(sentence)
    multiplicity = statistics.overall.multiplicity
    if multiplicity < LOW_MULTIPLICITY:
        warn(
            log,
            Code.LOW_MULTIPLICITY,
            f"multiplicity {multiplicity:.2f} leaves little to scale: few reflections were measured twice, so scales "
            "and statistics rest on these alone; more data sets would help",
        )


def _log_symmetry(result: Result) -> None:
    """Log the absences, the rotations that the space group lacks, and those that the intensities do not have."""
    found, extra = result.symmetry_check, details(result)
    log.info("", extra=extra)
    log.info("Symmetry", extra=extra)
    for sentence in symmetry_sentences(symmetry_entry(result), str(result.symmetry)):
        log.info(sentence)
    if found.denied or found.missing:
        header = ("rotation", "fold", "used", "pairs", "CC", "R_meas", "probability")
        rows = [
            (
                e.operator,
                e.fold,
                "yes" if e.used else "no",
                e.pairs,
                f"{e.cc:.3f}",
                f"{e.r_meas:.3f}",
                f"{e.probability:.2f}",
            )
            for e in found.elements
        ]
        log.info(tables.text_table(header, rows))


def log_end(result: Result, files: Sequence[str | None], keep: Mapping[str, str], exports: Sequence[str]) -> None:
    """The files that were written, and the exports that follow.  ``keep``: new names of old files that are kept."""
    log.info("", extra=details(result))
    _log_papers(result)
    for path, previous in keep.items():
        log.info(f"Whole data sets were removed: the old {path} is kept as {previous}")
    if details(result):
        log.info("The log file also has the rounds, tables by resolution and the papers to cite; -v shows them here")
    log.info("Written: " + ", ".join(path for path in files if path))
    if exports:
        log.info("To be exported: " + ", ".join(exports))
    total = sum(result.ledger().get("-", {}).values()) + sum(len(member.fate) for member in result.data_sets)
    scaled = sum(counts.get(Fate.SCALED, 0) for counts in result.ledger().values())
    log.info(f"{scaled} of {total} reflections are scaled")


def _log_papers(result: Result) -> None:
    """The papers to cite."""
    rounds, extra = result.scaled.rounds, details(result)
    log.info("Please cite the papers of the methods that this run used:", extra=extra)
    for method, paper in papers(
        {settings.model for settings in result.settings},
        any(settings.estimated for settings in result.settings),
        bool(rounds) and any(found.n_used for found in rounds[-1].errors),
    ):
        log.info(f"  {method}: {paper}", extra=extra)
    log.info("")


def log_next(advice: Sequence[Advice], experiments: str, table: str, seconds: Mapping[str, float]) -> None:
    """Log the times, and what to type next.  ``advice``: proposals of the assessment.  ``seconds``: by stage."""
    log.info(tables.times(seconds, since_the_command_began()))
    for one in advice:
        log.info(one.why)
        log.info(f"  {one.command}")
    log.info("To merge the data, or take them to other programs:")
    log.info(f"  scale export {experiments} {table} merged_mtz=merged.mtz")
