"""Writes the results of a finished run to the log, in the order of the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.fit.component_summaries import ComponentSummary, sentences
from braggscale.numerics.minimisers import Fit, Stop
from braggscale.numerics.timing import since_the_command_began
from braggscale.report.checks import symmetry_entry
from braggscale.report.numbers.reference import reference_lines
from braggscale.report.summary_document import Advice
from braggscale.report.symmetry_text import symmetry_sentences
from braggscale.report.text import tables
from braggscale.report.text.citations import papers
from braggscale.report.text.wavelengths import wavelength_lines
from braggscale.report.zero_dose import zero_dose_lines
from braggscale.run_warnings import Code, warn
from braggscale.scaling.free_set import FreeSet
from braggscale.scaling.result import Result
from braggscale.statistics.merging_statistics import Statistics
from braggscale.weighting.intensity_choice import Choice
from braggscale.wording import show, some_of

log = logging.getLogger(__name__)

# A parameter that differs from "no correction" by less than this many esds is not significant (DIALS' count).
SIGNIFICANT = 2.0
MOST_OUTLYING = 15  # data sets that differ from the others, in the log
# Below this mean multiplicity scales are hardly determined by equivalents.
LOW_MULTIPLICITY = 1.5
MOST_DATA_SETS = 20  # of more the range and the worst are shown
HELD_BACK = 0.1  # if less than this share of its parameters is effective, the restraint suppresses the correction


def log_result(result: Result, anomalous: bool) -> None:
    """Error model, intensity choice, outliers, parameters, the ledger and the merging statistics.

    ``anomalous``: whether Friedel mates were kept apart in the run.
    """
    _log_choices(result)
    _log_fit(result)
    log.info("")
    for line in tables.ledger_table(result.ledger(), FATE_TEXT, MOST_DATA_SETS).splitlines():
        log.info(line)
    if result.batch_lines:
        log.info("")
        log.info("For reference, batch numbers assigned to datasets were:")
        for line in result.batch_lines:
            log.info(line)
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
    for words in _profiles(result):
        log.info(words)
    choice = next((r.choice for r in reversed(result.scaled.rounds) if r.choice and r.choice.table), None)
    if choice is not None:
        log.info("")
        _log_choice(choice)
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
            log.info(tables.text_table(("expected intensity", "n", "uncorrected", "corrected"), rows))
    if last.rejection is not None:
        log.info("")
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
        log.info(tables.text_table(("multiplicity", "n", "outliers", "%"), counts))


def _profiles(result: Result) -> list[str]:
    """Sentences on the ratio of profiles to sums; if there are many data sets, only for the first few."""
    found = result.scaled.profiles
    names = [result.members[k].identifier for k in result.kept]
    words = [finding.sentence(names) for finding in found[:MOST_DATA_SETS]]
    if len(found) > MOST_DATA_SETS:
        words.append(f"(and of {len(found) - MOST_DATA_SETS} more data sets: see scale.json)")
    return ["", *words] if words else []


def _multiplicity(first: int, last: int | None) -> str:
    if last is None:
        return f"{first} or more"
    return str(first) if first == last else f"{first} - {last}"


def _known(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def _ending(fit: Fit) -> str:
    """How a minimisation ended, and after how many steps."""
    if fit.stop is Stop.CONVERGED:
        return f"converged after {fit.steps}"
    return f"{fit.steps}, {fit.stop.value}"


def _log_choice(choice: Choice) -> None:
    log.info(f"Intensities: {choice.sentence} ({choice.reason}; {choice.n_rows} observations compared)")
    rows = [(row.name, _known(row.cc_half, 5), _known(row.r_meas, 5), _known(row.score, 4)) for row in choice.table]
    log.info(tables.text_table(("combination", "CC1/2", "R_meas", "scatter"), rows))


def _log_fit(result: Result) -> None:
    outcome = result.scaled.outcome
    log.info("")
    log.info(f"{result.model.n_parameters} parameters from {outcome.n_observations} observations")
    for name, fit in outcome.fits:
        log.info(f"{name}: {_ending(fit)}")
    if outcome.message:
        warn(log, Code.MATRIX_SINGULAR, outcome.message)
    _log_findings(result)
    _log_validation(result)
    if outcome.undetermined and any(component.n_parameters > 1 for _, component, _ in result.model.parts()):
        names = [result.parameter_name(p) for p in outcome.undetermined]
        warn(
            log,
            Code.PARAMETERS_UNDETERMINED,
            f"no data determine {some_of(names, 6)}; neighbouring parameters carry them over and give them their esds",
        )
    if len(result.models) == 1 and result.models[0]["__id__"] == "KB":
        warn(
            log, Code.NO_COMMON_SCALE, "one data set has nothing to be put on a scale with: model=KB leaves it as it is"
        )
    if result.esd is not None and not result.model.estimated:
        null = result.model.null()
        weak = np.abs(outcome.theta - null) < SIGNIFICANT * result.esd
        share = 100.0 * float(weak.mean())
        log.info(f"{100 - share:.0f} % of the parameters differ from no correction by more than {SIGNIFICANT:g} esds")
        if share > 50:
            _log_advice(result)


def _log_findings(result: Result) -> None:
    """Table of the components, and a sentence on each."""
    found = result.scaled.component_summaries
    if not found:
        return
    if len(result.used) > MOST_DATA_SETS:
        log.info(_by_component(found))
    else:
        log.info(_by_data_set(result, found))
    strengths = result.scaled.state.strengths
    if strengths:
        log.info("Strengths estimated: " + ", ".join(f"{kind} {value:.3g}" for kind, value in strengths.items()))
    for sentence in sentences(found):
        log.info(sentence)


def _by_data_set(result: Result, found: Sequence[ComponentSummary]) -> str:
    """A line for each component of each data set."""
    header = ("data set", "component", "parameters", "effective", "rms %", "from", "to")
    rows = [
        (
            result.used[f.data_set].identifier,
            f.component,
            f.n_parameters,
            f"{f.effective:.1f}",
            f"{100 * f.rms:.2f}",
            f"{f.low:.3f}",
            f"{f.high:.3f}",
        )
        for f in found
    ]
    return tables.text_table(header, rows)


def _by_component(found: Sequence[ComponentSummary]) -> str:
    """A line for each component of very many data sets: medians, and the range of the correction."""
    header = ("component", "data sets", "parameters", "effective", "median rms %", "from", "to")
    rows = []
    for name in dict.fromkeys(f.component for f in found):
        of = [f for f in found if f.component == name]
        own = [f for f in of if f.first]
        rows.append(
            (
                name,
                len(of),
                sum(f.n_parameters for f in own),
                f"{sum(f.effective for f in own):.1f}",
                f"{100 * float(np.median([f.rms for f in of])):.2f}",
                f"{min(f.low for f in of):.3f}",
                f"{max(f.high for f in of):.3f}",
            )
        )
    return tables.text_table(header, rows)


def _log_validation(result: Result) -> None:
    """How well this model and simpler ones predict reflections that were left out of the fit."""
    found = result.validation
    if found is None:
        return
    log.info("")
    if found.candidates:
        log.info(
            f"Validation: {found.groups} reflections, {found.observations} observations, left out of the fit a "
            f"{_ordinal(found.folds)} at a time"
        )
        rows = [
            (c.name, f"{c.loss:.4f}", *(("", "") if k == 0 else (f"{c.worse:+.4f}", f"{c.uncertainty:.4f}")))
            for k, c in enumerate(found.candidates)
        ]
        log.info(tables.text_table(("model", "-ln L per obs.", "worse by", "+-"), rows))
    for sentence in found.sentences():
        log.info(sentence)


def _ordinal(n: int) -> str:
    return {5: "fifth"}.get(n, f"{n}th part")


def _log_advice(result: Result) -> None:
    """Advice if most parameters are not significant, because their restraint is too strong or there are too many."""
    surfaces = [f for f in result.scaled.component_summaries if f.component == "absorption"]
    held = sum(f.effective for f in surfaces) < HELD_BACK * sum(f.n_parameters for f in surfaces)
    if surfaces and held and result.settings[0].model == "physical":
        log.info(
            "surface_weight holds the absorption correction back to next to nothing; restraints=estimated lets the "
            "data decide, absorption_level=high loosens it"
        )
    elif any(settings.model != "KB" for settings in result.settings):
        log.info("Fewer parameters (larger intervals, smaller lmax) would describe the data as well")


def _log_outlying(result: Result) -> None:
    """Data sets that differ from the others; nothing is left out for that."""
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


def log_shells(statistics: Statistics, anomalous: bool) -> None:
    """Tables by resolution, and an empty line.  ``anomalous``: also that with I+ and I- apart, where they differ."""
    log.info("")
    log.info("Merging statistics by resolution")
    log.info(tables.merging_table(statistics))
    if anomalous and statistics.anomalous:
        log.info("")
        log.info("I+ and I- apart")
        log.info(tables.anomalous_table(statistics))
    log.info("")


def _log_statistics(result: Result, anomalous: bool) -> None:
    statistics = result.statistics
    if statistics is None:
        return
    log_shells(statistics, anomalous)
    log.info(tables.summary_table(statistics))
    if with_limits := tables.intervals_table(statistics, anomalous):
        log.info("")
        log.info(with_limits)
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
    """Screw axes by absences, and rotations of the lattice that the space group has not, or has in vain."""
    found = result.symmetry_check
    log.info("")
    log.info("Symmetry")
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
    log.info("")
    _log_papers(result)
    for path, previous in keep.items():
        log.info(f"Whole data sets were removed: the old {path} is kept as {previous}")
    log.info("Written: " + ", ".join(path for path in files if path))
    if exports:
        log.info("To be exported: " + ", ".join(exports))
    total = sum(result.ledger().get("-", {}).values()) + sum(len(member.fate) for member in result.members)
    scaled = sum(counts.get(Fate.SCALED, 0) for counts in result.ledger().values())
    log.info(f"{scaled} of {total} reflections are scaled")


def _log_papers(result: Result) -> None:
    """The papers to cite."""
    rounds = result.scaled.rounds
    log.info("Please cite the papers of the methods that this run used:")
    for method, paper in papers(
        {settings.model for settings in result.settings},
        any(settings.estimated for settings in result.settings),
        bool(rounds) and any(found.n_used for found in rounds[-1].errors),
    ):
        log.info(f"  {method}: {paper}")
    log.info("")


def log_next(advice: Sequence[Advice], experiments: str, table: str, seconds: Mapping[str, float]) -> None:
    """How long it took, and what to type next.  ``advice``: what the assessment proposes.  ``seconds``: by stage."""
    log.info(tables.times(seconds, since_the_command_began()))
    for one in advice:
        log.info(one.why)
        log.info(f"  {one.command}")
    log.info("To merge the data, or take them to other programs:")
    log.info(f"  scale export {experiments} {table} merged_mtz=merged.mtz")
