"""The verdict on a run, in plain words: checks of the numbers in scale.json, with their thresholds.

Each check is ``good``, ``look`` (worth a look) or ``bad``. The verdict is the worst of them, except that a single
``look`` among ten checks does not count. The thresholds are those that are usual in the field: docs/guide/report.md
gives the reasons.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

import numpy as np

from braggscale.report.exclusion_advice import (
    commands,
    data_sets_standing_out,
    deviating,
    identifiers,
    rise_of_cc_half,
    worth_leaving_out,
)
from braggscale.report.summary_document import Advice, Check, Summary, Verdict
from braggscale.report.summary_sections import Curve
from braggscale.report.summary_values import State
from braggscale.report.symmetry_text import symmetry_sentences
from braggscale.report.text.tables import short_names
from braggscale.statistics.catalogue import CATALOGUE
from braggscale.statistics.shown_digits import shown_digits
from braggscale.wording import all_of, show_with_error, some_of

NO_GAIN = "It cannot be shown that the others are predicted better without them."
GOOD: State = "good"
LOOK: State = "look"
BAD: State = "bad"
# look beyond the first, bad beyond the second
MULTIPLICITY = 2.5, 1.5
COMPLETENESS = 0.9, 0.0  # a few stills are never complete, which is no fault of the data
INNER_R_MEAS = 0.10, 0.25  # strong reflections at low resolution: systematic errors
INNER_CC_HALF = 0.98, 0.90
OUTLIER_SHARE = 0.03, 0.08
ISA = 10.0, 4.0  # largest I/sigma, 1/(a b)
ERROR_A = 3.0, 6.0  # errors of integration too small (or too large) by this factor
MISFIT = 1.5, 2.5  # mean z^2 of an intensity range, or one over it
DAMAGE = 0.10, 1.0  # rise of R_d over a sweep as a share of its start, if beyond three esds
RISES = 3.0
FALL_OF_B = 2.0, 10.0  # Angstrom^2 within a sweep, if beyond four esds
SIGNIFICANT = 4.0
TWIN_L, TWIN_FRACTION = 0.44, 0.1  # mean |L| below, twin fraction above
PSEUDO_TRANSLATION = 0.2  # height of a Patterson peak far from the origin, relative to it
HIGHEST_BY_CHANCE = 5.0  # standard deviations of the Patterson map: the highest of some thousand places
DETECTOR_Z = 1.0, 3.0  # mean z of a cell of the detector, if a twentieth of the cells are beyond


def verdict(summary: Summary) -> Verdict:
    """The verdict on a run.  ``summary``: of the run; its own entry ``verdict`` is not looked at."""
    checks = _checks(summary)
    states = [check.state for check in checks]
    state = BAD if BAD in states else LOOK if LOOK in states else GOOD
    return Verdict(state=state, sentence=_sentence(state, checks), checks=checks, commands=_commands(summary))


def _sentence(state: State, checks: Sequence[Check]) -> str:
    if state == GOOD:
        return "The run is fine: nothing asks for a second look."
    worst = [_within_sentence(check.name) for check in checks if check.state == state]
    names = all_of(worst)
    if state == BAD:
        return f"The result should not be used as it is: look at {names}."
    return f"The run is usable; have a look at {names}."


def _within_sentence(name: str) -> str:
    return " ".join(word if any(c in word for c in "12_") else word.lower() for word in name.split())


def _checks(summary: Summary) -> list[Check]:
    found = [_convergence(summary), *_statistics(summary), *_errors(summary), _outliers(summary)]
    found += [_indexing(summary), _symmetry(summary), _intensities(summary), _images(summary), _data_sets(summary)]
    found += [_damage(summary), _detector(summary)]
    return [check for check in found if check is not None]


def _state(value: float, limits: tuple[float, float]) -> State:
    """Limits in ascending order: the value should be small; descending: it should be large."""
    sign = 1 if limits[1] > limits[0] else -1
    return BAD if sign * (value - limits[1]) > 0 else LOOK if sign * (value - limits[0]) > 0 else GOOD


def _convergence(summary: Summary) -> Check:
    fit = summary.fit
    if fit.message:
        return Check("Fit", LOOK, f"The fit of the scales: {fit.message}.", "models")
    undetermined = len(fit.undetermined)
    if undetermined:
        text = f"{undetermined} of {fit.parameters} parameters are seen by no data; their neighbours carry them over."
        return Check("Fit", LOOK, text, "models")
    text = f"The fit converged, with {fit.parameters} parameters."
    if not fit.converged:
        text += " A few observations at the border of being outliers still change sides."
    return Check("Fit", GOOD, text, "models")


def needing_reindexing(summary: Summary) -> dict[str, str]:
    """Data sets that are indexed in another way than the others, and the operators that they need."""
    check = summary.indexing
    if check is None or check.mended:
        return {}
    pairs = zip(check.data_sets, check.operator, strict=True)
    return {name: operator for name, operator in pairs if operator != check.operators[0]}


def _indexing(summary: Summary) -> Check | None:
    if summary.indexing is None or len(summary.indexing.operators) == 1:
        return None
    needed = needing_reindexing(summary)
    n = len(summary.indexing.data_sets)
    if needed:
        what = " and ".join(sorted(set(needed.values())))
        text = f"{len(needed)} of {n} data sets are indexed in another way than the others: they need {what}."
        return Check("Indexing", BAD, text, "data-sets")
    if not summary.indexing.mended and not any(summary.indexing.decided):
        text = f"Whether the {n} data sets are indexed alike cannot be told: they have too little in common."
        return Check("Indexing", GOOD, text, "indexing")
    if not summary.indexing.mended:
        return Check("Indexing", GOOD, f"The {n} data sets are indexed alike.", "data-sets")
    return Check("Indexing", GOOD, "Data sets were reindexed to agree with the others.", "data-sets")


def _statistics(summary: Summary) -> list[Check]:
    statistics = summary.statistics
    if statistics is None:
        return [Check("Statistics", BAD, "No observation is left to merge.", "reflections")]
    overall, inner = statistics.suggested or statistics.overall, statistics.shells[0]
    found = []
    if overall.multiplicity is not None:
        state = _state(overall.multiplicity, MULTIPLICITY)
        text = f"Each unique reflection was measured {overall.multiplicity:.1f} times on average."
        if state == BAD:
            text += " Scales and statistics rest on the few that were measured more than once."
        found.append(Check("Multiplicity", state, text, "resolution"))
    value = overall.completeness
    if value is not None:
        text = f"{100 * value:.1f} % of the possible reflections were measured."
        found.append(Check("Completeness", _state(value, COMPLETENESS), text, "resolution"))
    cc, r, digits = inner.cc_half, inner.r_meas, shown_digits(statistics)
    if cc is not None:
        text = f"CC1/2 of the innermost shell is {digits.of_shell(CATALOGUE['cc_half'], cc)}."
        if _state(cc, INNER_CC_HALF) != GOOD:
            text += " Even the strongest reflections agree badly: wrong symmetry or indexing, or a beam stop shadow?"
        found.append(Check("Low-resolution CC1/2", _state(cc, INNER_CC_HALF), text, "resolution"))
    if r is not None:
        text = f"R_meas of the innermost shell is {digits.of_shell(CATALOGUE['r_meas'], r)}."
        if _state(r, INNER_R_MEAS) != GOOD:
            text += " Strong reflections should agree better than this: look for systematic errors."
        found.append(Check("Low-resolution R_meas", _state(r, INNER_R_MEAS), text, "resolution"))
    limit = statistics.suggested_d_min
    if limit is not None:
        end = statistics.overall.d_min
        text = f"The signal ends at {limit:.2f} Å, where CC1/2 falls to 0.3; the data go to {end:.2f} Å."
        found.append(Check("Resolution limit", LOOK, text, "resolution"))
    else:
        text = f"Data to {statistics.overall.d_min:.2f} Å; {statistics.suggested_reason}."
        found.append(Check("Resolution limit", GOOD, text, "resolution"))
    return found


def _errors(summary: Summary) -> list[Check]:
    found = []
    models = summary.error_models
    if not models:
        return [Check("Error model", LOOK, "Errors are those of the integration, without an error model.", "errors")]
    several = len(models) > 1
    isa = [m.isa for m in models if m.isa is not None]
    a = [m.model.a for m in models]
    worst = max(a, key=lambda v: abs(math.log(max(v, 1e-6))))
    state = _state(max(worst, 1 / max(worst, 1e-6)), ERROR_A)
    text = f"Errors of the integration were multiplied by a = {worst:.2f}"
    text += " in the most extreme case" * several
    if isa:
        state = max(state, _state(min(isa), ISA), key=(GOOD, LOOK, BAD).index)
        text += f"; no I/σ exceeds {min(isa):.0f}"
        if _state(min(isa), ISA) != GOOD:
            text += ", which is low: instability of beam, crystal or detector limits the strong reflections"
    found.append(Check("Error model", state, text + ".", "errors"))
    scatter = [r.corrected for m in models for r in m.ranges if r.n >= 50 and r.corrected]
    if scatter:
        off = max(scatter, key=lambda v: abs(math.log(v)))
        state = _state(max(off, 1 / off), MISFIT)
        text = "Errors agree with the scatter of equivalents at all intensities."
        if state != GOOD:
            text = f"Errors do not fit at all intensities: in one range the scatter is {off:.2f} times the expected."
        found.append(Check("Errors by intensity", state, text, "errors"))
    return found


def _symmetry(summary: Summary) -> Check | None:
    found = summary.symmetry
    if found is None or not (found.absences or found.elements):
        return None
    text = " ".join(symmetry_sentences(found, str(summary.space_group)))
    states = {element.state for element in found.elements}
    return Check("Symmetry", LOOK if states & {"denied", "missing"} else GOOD, text, "symmetry") if text else None


def _intensities(summary: Summary) -> Check | None:
    """Signs of twinning and of pseudo-translation."""
    found = summary.intensity_distribution
    if found is None:
        return None
    signs = []
    if found.l_test is not None and found.l_test.mean_abs is not None and found.l_test.mean_abs < TWIN_L:
        signs.append(f"mean |L| is {found.l_test.mean_abs:.3f}, 0.5 is expected: a twin?")
    tests = found.tests
    for law in tests.twin_laws if tests is not None else ():
        if law.fraction is not None and law.fraction > max(TWIN_FRACTION, SIGNIFICANT * (law.esd or 0.0)):
            signs.append(f"the twin law {law.operator} has a fraction of {law.fraction:.2f}")
    peak = None if tests is None else tests.patterson
    if tests and peak and peak.height > max(PSEUDO_TRANSLATION, HIGHEST_BY_CHANCE * (peak.noise or 0.0)):
        place = ", ".join(f"{x:.2f}" for x in peak.place)
        signs.append(f"the Patterson map has {100 * peak.height:.0f} % at ({place}): pseudo-translation")
    if signs:
        return Check("Intensities", LOOK, "; ".join(signs) + ".", "intensities")
    if found.l_test is None:
        return None
    return Check("Intensities", GOOD, "No sign of twinning or of pseudo-translation.", "intensities")


def _outliers(summary: Summary) -> Check | None:
    counts = summary.ledger.total
    rejected, scaled = counts.get("outlier", 0), counts.get("scaled", 0)
    if not scaled:
        return None
    share = rejected / (rejected + scaled)
    are = "observation" if rejected == 1 else "observations"
    text = f"{rejected} {are} ({100 * share:.2f} %) {'is an outlier' if rejected == 1 else 'are outliers'}."
    return Check("Outliers", _state(share, OUTLIER_SHARE), text, "outliers")


def _damage(summary: Summary) -> Check | None:
    """Radiation damage: the part that was corrected (B along each sweep) and the part that is left (R_d)."""
    corrected, left = _corrected(summary), _left(summary)
    parts = [part for part in (corrected, left) if part is not None]
    if not parts:
        return None
    state = max((state for state, _ in parts), key=(GOOD, LOOK, BAD).index)
    return Check("Radiation damage", state, " ".join(text for _, text in parts), "damage")


def _corrected(summary: Summary) -> tuple[State, str] | None:
    """By how much B falls within a sweep, and where it falls most."""
    worst: tuple[float, float, int, int, int] | None = None
    for d, entry in enumerate(summary.models):
        for curve in entry.components:
            if isinstance(curve, Curve) and curve.unit == "A^2" and len(curve.value) > 1:
                fall = _fall(curve)
                if worst is None or fall[0] > worst[0]:
                    worst = (*fall, d)
    if worst is None:
        return None
    size, esd, first, last, d = worst
    if size < FALL_OF_B[0] or size < SIGNIFICANT * esd:
        return GOOD, f"The B factor falls by {size:.1f} Å² at most within a sweep, which is little."
    names = identifiers(summary)
    of = f" of data set {short_names(names)[d]}" if len(names) > 1 else ""
    text = (
        f"The B factor falls by {size:.1f} Å² between images {first} and {last}{of}: high resolution fades. Scaling "
        "corrects that on average; reflections that change by themselves it cannot mend."
    )
    return _state(size, FALL_OF_B), text


def _fall(curve: Curve) -> tuple[float, float, int, int]:
    """The largest fall along a curve, its standard deviation, and the images between which it happens."""
    value = np.array(curve.value)
    before = np.maximum.accumulate(value)
    k = int(np.argmax(before - value))
    j = int(np.argmax(value[: k + 1]))
    esd = math.hypot(curve.esd[j], curve.esd[k]) if curve.esd else 0.0
    first, last = curve.image
    # a curve reaches from the beginning of the first image, half an image before its number, to the end of the last
    at = [math.floor(first + (last - first) * i / (len(value) - 1) + 0.5) for i in (j, k)]
    return float(value[j] - value[k]), esd, max(at[0], math.ceil(first)), min(at[1], math.floor(last))


def _left(summary: Summary) -> tuple[State, str] | None:
    """Whether observations that are far from each other in a sweep still agree worse, after scaling."""
    trend = summary.radiation_damage.trend if summary.radiation_damage else None
    if not trend or not trend.start or trend.start <= 0 or trend.esd is None:
        return None
    share = trend.rise / trend.start
    rise = show_with_error(100 * share, 100 * trend.esd / trend.start)
    if trend.rise < RISES * trend.esd or share < DAMAGE[0]:
        text = "After scaling, images far from each other in a sweep agree as well as neighbours"
        return GOOD, f"{text} (R_d changes by {rise} %)."
    text = f"After scaling, R_d still rises by {rise} % over a sweep: late images disagree with early ones."
    if summary.exclusions is not None and summary.exclusions.images:
        text += " Images that disagree anyway, see above, may be why."
    return _state(share, DAMAGE), text


def _detector(summary: Summary) -> Check | None:
    detector = summary.detector
    if detector is None:
        return None
    z = np.array([[np.nan if v is None else v for v in row] for row in detector.mean_z], np.float64)
    number = np.array(detector.compared, np.float64)
    known = np.isfinite(z)
    if np.count_nonzero(known) < 20:
        return None
    # larger than the mean of this number of observations is by chance
    size = np.where(np.abs(z) > SIGNIFICANT / np.sqrt(np.maximum(number, 1)), np.abs(z), 0.0)[known]
    high = float(np.quantile(size, 0.95))
    state = _state(high, DETECTOR_Z)
    text = "Deviations do not depend on the place on the detector."
    if state != GOOD:
        text = "Parts of the detector disagree with the rest: a shadow, a bad module, or a correction that is missing."
    return Check("Detector", state, text, "detector")


# Parts that stand out ---------------------------------------------------------------------------------------


def _images(summary: Summary) -> Check | None:
    table, found = summary.by_image, summary.exclusions
    if table is None or found is None or not any(table.first):
        return None
    if not found.images:
        return Check("Images", GOOD, "No images disagree with the rest beyond chance.", "images")
    names = identifiers(summary)
    short = dict(zip(names, short_names(names), strict=True))
    runs = [
        f"{one.first}-{one.last}" + (f" of data set {short.get(one.data_set, one.data_set)}" if len(names) > 1 else "")
        for one in found.images
    ]
    text = f"Images {some_of(runs, 3, 'run' if len(runs) == 4 else 'runs')} disagree with the rest beyond chance"
    if not any(one.recommended for one in found.images):
        return Check("Images", GOOD, f"{text}. {NO_GAIN}", "images")
    return Check("Images", LOOK, f"{text}.", "images")


def _data_sets(summary: Summary) -> Check | None:
    table = summary.by_data_set
    if table is None or len(table.identifier) < 4:
        return None
    out = data_sets_standing_out(summary)
    if not out:
        return Check("Data sets", GOOD, f"None of the {len(table.identifier)} data sets stands out.", "data-sets")
    every = short_names(list(table.identifier))
    named = some_of([every[k] for k in out], 5)
    text = f"Data sets that agree worse with the rest than the others do: {named}."
    if not worth_leaving_out(summary):
        tested = summary.exclusions is not None and summary.exclusions.data_sets
        if not tested and not {*out} & {*deviating(summary)}:
            text = f"CC1/2 would be higher without data set {named}, but it deviates no more than the others."
            return Check("Data sets", GOOD, text, "data-sets")
        return Check("Data sets", GOOD, f"{text} {NO_GAIN}", "data-sets")
    return Check("Data sets", LOOK, text, "data-sets")


def _commands(summary: Summary) -> list[Advice]:
    limit = summary.statistics.suggested_d_min if summary.statistics else None
    found = []
    if needing_reindexing(summary):
        found.append(_again(summary, "Index all data sets alike:", "reindex=auto"))
    leave = worth_leaving_out(summary)
    rise = rise_of_cc_half(summary, leave)
    found += commands(summary.exclusions, leave, identifiers(summary), limit, summary.output, rise)
    left, tested = _left(summary), summary.exclusions
    only_damage = tested is not None and not tested.images  # bad images let R_d rise, too
    if left is not None and left[0] != GOOD and only_damage and summary.zero_dose is None:
        found.append(_again(summary, "Follow each reflection back to dose zero:", "zero_dose=True"))
    return found


def _again(summary: Summary, why: str, option: str) -> Advice:
    """The command that scales the result again with one more option."""
    return Advice(why, shlex.join(["scale", summary.output.experiments, summary.output.reflections, option]))
