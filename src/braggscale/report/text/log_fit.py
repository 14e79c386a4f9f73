"""Writes the last fit to the log: its end, the size of each correction, and how well models predict."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from braggscale.fit.component_summaries import ComponentSummary, sentences
from braggscale.log_detail import MANY_DATA_SETS, in_file
from braggscale.numerics.minimisers import Fit, Stop
from braggscale.report.text import tables
from braggscale.run_warnings import Code, warn
from braggscale.scaling.result import Result
from braggscale.wording import some_of

log = logging.getLogger(__name__)

# A parameter that differs from "no correction" by less than this many esds is not significant (DIALS' count).
SIGNIFICANT = 2.0
HELD_BACK = 0.1  # if less than this share of its parameters is effective, the restraint suppresses the correction


def log_fit(result: Result) -> None:
    """How the last fit ended, the corrections, validation, and what the data do not determine."""
    outcome, extra = result.scaled.outcome, details(result)
    log.info("")
    log.info(f"{result.model.n_parameters} parameters from {outcome.n_observations} observations", extra=extra)
    for name, fit in outcome.fits:
        log.info(f"Last fit, {name}: {_ending(fit)}", extra=extra)
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
    many, extra = len(result.used) > MANY_DATA_SETS, details(result)
    log.info(_by_component(found) if many else _by_data_set(result, found), extra=extra)
    strengths = result.scaled.state.strengths
    if strengths:
        shown = ", ".join(f"{kind} {value:.3g}" for kind, value in strengths.items())
        log.info(f"Strengths of the restraints, estimated: {shown}", extra=extra)
    for sentence in sentences(found):
        log.info(sentence)


def _by_data_set(result: Result, found: Sequence[ComponentSummary]) -> str:
    """A line for each component of each data set."""
    header = ("data set", "component", "parameters", "effective", "rms %", "from", "to")
    names = tables.short_names([one.identifier for one in result.used])
    rows = [
        (
            names[f.data_set],
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


def _ending(fit: Fit) -> str:
    """How a minimisation ended, and after how many steps."""
    if fit.stop is Stop.CONVERGED:
        return f"converged after {fit.steps}"
    return f"{fit.steps}, {fit.stop.value}"


def details(result: Result) -> dict[str, bool]:
    """The mark of lines that the terminal shows only if there are few data sets."""
    return in_file(len(result.used) > MANY_DATA_SETS)
