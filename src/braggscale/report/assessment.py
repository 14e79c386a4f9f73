"""Whether a run is fine, in plain words: checks with their thresholds, on the numbers of scale.json.

Each check is ``good``, ``look`` (worth a look) or ``bad``; the verdict is the worst of them, but for a lone ``look``
in ten. Thresholds are what the field calls good, not laws: docs/guide/report.md gives the reasons.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

import numpy as np

from braggscale.numerics.array_types import Float
from braggscale.report.summary_document import Advice, Check, Summary, Verdict
from braggscale.report.summary_values import State
from braggscale.report.text.tables import short_names
from braggscale.wording import all_of, some_of

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
DAMAGE = 0.25, 1.0  # rise of R_d over a sweep as a share of its start, if beyond 4 esds
SIGNIFICANT = 4.0
DETECTOR_Z = 1.0, 3.0  # mean z of a cell of the detector, if a twentieth of the cells are beyond
# Parts stand out beyond so many robust standard deviations of the others, and by this factor.
STANDS_OUT, FACTOR = 5.0, 1.5
# Images also by their deviations: so many robust standard deviations, and mean z^2 above this.
Z2_STANDS_OUT, Z2 = 3.0, 2.0
FEWEST_OBSERVATIONS = 20
FEW_IMAGES = 0.01  # a smaller share of images that stand out is not worth a second look
MOST_COMMANDS = 6
MOST_OF_A_SET = 0.5  # a data set with more of its images standing out is left out as a whole


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
    found += [_images(summary), _data_sets(summary), _damage(summary), _detector(summary)]
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
    cc, r = inner.cc_half, inner.r_meas
    if cc is not None:
        text = f"CC1/2 of the innermost shell is {cc:.3f}."
        if _state(cc, INNER_CC_HALF) != GOOD:
            text += " Even the strongest reflections agree badly: wrong symmetry or indexing, or a beam stop shadow?"
        found.append(Check("Low-resolution CC1/2", _state(cc, INNER_CC_HALF), text, "resolution"))
    if r is not None:
        text = f"R_meas of the innermost shell is {r:.3f}."
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


def _outliers(summary: Summary) -> Check | None:
    counts = summary.ledger.total
    rejected, scaled = counts.get("outlier", 0), counts.get("scaled", 0)
    if not scaled:
        return None
    share = rejected / (rejected + scaled)
    text = f"{rejected} observations ({100 * share:.2f} %) are outliers."
    return Check("Outliers", _state(share, OUTLIER_SHARE), text, "outliers")


def _damage(summary: Summary) -> Check | None:
    trend = summary.radiation_damage.trend if summary.radiation_damage else None
    if not trend or not trend.start or trend.start <= 0 or trend.esd is None:
        return None
    share = trend.rise / trend.start
    if trend.rise < SIGNIFICANT * trend.esd or share < DAMAGE[0]:
        return Check("Radiation damage", GOOD, "Agreement does not get worse with the distance of images.", "damage")
    text = f"R_d rises by {100 * share:.0f} % over a sweep: late images disagree with early ones."
    return Check("Radiation damage", _state(share, DAMAGE), text, "damage")


def _detector(summary: Summary) -> Check | None:
    detector = summary.detector
    if detector is None:
        return None
    z = np.array([[np.nan if v is None else v for v in row] for row in detector.mean_z], np.float64)
    number = np.array(detector.compared, np.float64)
    known = np.isfinite(z)
    if np.count_nonzero(known) < 20:
        return None
    # beyond what chance gives a mean of so many
    size = np.where(np.abs(z) > SIGNIFICANT / np.sqrt(np.maximum(number, 1)), np.abs(z), 0.0)[known]
    high = float(np.quantile(size, 0.95))
    state = _state(high, DETECTOR_Z)
    text = "Deviations do not depend on the place on the detector."
    if state != GOOD:
        text = "Parts of the detector disagree with the rest: a shadow, a bad module, or a correction that is missing."
    return Check("Detector", state, text, "detector")


# Parts that stand out ---------------------------------------------------------------------------------------


def robust_excess(values: Float) -> Float:
    """Distance of ``values``, (n,), from their median in robust standard deviations, (n,); NaN is kept.

    The robust standard deviation is 1.4826 times the median of the absolute deviations.
    """
    known = values[np.isfinite(values)]
    if len(known) < 4:
        return np.full(len(values), np.nan)
    middle = np.median(known)
    spread = 1.4826 * float(np.median(np.abs(known - middle)))
    return np.asarray((values - middle) / max(spread, 1e-3 * abs(float(middle)), 1e-12))


def numbers(values: Sequence[float | None]) -> Float:
    """A column of scale.json as an array, (n,), NaN for null."""
    return np.array([np.nan if v is None else v for v in values], np.float64)


def images_standing_out(summary: Summary) -> list[tuple[int, int, int]]:
    """Runs of images whose R_merge or deviations stand out, or without which CC1/2 rises: (data set, first, last).

    ``data set``: position in ``by_data_set``.  Runs that touch are joined.
    """
    table = summary.by_image
    if table is None or table.data_sets_per_bin > 1:
        return []
    r, n = numbers(table.r_merge), numbers(table.observations)
    delta = numbers(table.delta_cc_half)
    enough = n >= FEWEST_OBSERVATIONS
    r = np.where(enough & (r > 0), r, np.nan)
    if not np.isfinite(r).any():
        return []
    z2 = numbers(table.mean_z2)
    z2 = np.where(enough & (z2 > 0), z2, np.nan)
    with np.errstate(invalid="ignore"):
        out = (robust_excess(np.log(r)) > STANDS_OUT) & (r > FACTOR * np.nanmedian(r))
        out |= (robust_excess(np.log(z2)) > Z2_STANDS_OUT) & (z2 > Z2)
        # a fall of CC1/2 beyond the robust scatter and visible in its third digit
        out |= enough & (robust_excess(delta) < -2 * STANDS_OUT) & (delta < -0.002)
    runs: list[tuple[int, int, int]] = []
    for k in np.flatnonzero(out).tolist():
        d, first, last = (column[k] for column in (table.data_set, table.first, table.last))
        if first == 0:
            continue  # stills have no images to leave out, they are data sets
        if runs and runs[-1][0] == d and runs[-1][2] == first - 1:
            runs[-1] = (d, runs[-1][1], last)
        else:
            runs.append((d, first, last))
    return runs


def data_sets_standing_out(summary: Summary) -> list[int]:
    """Positions in ``by_data_set`` of those without which CC1/2 rises, or that disagree with all others."""
    table = summary.by_data_set
    if table is None or len(table.identifier) < 4:
        return []
    n = numbers(table.observations)
    delta, r, rest = map(numbers, (table.delta_cc_half, table.r_merge, table.cc_rest))
    enough = n >= FEWEST_OBSERVATIONS
    with np.errstate(invalid="ignore"):
        out = (robust_excess(delta) < -2 * STANDS_OUT) & (delta < -0.002)
        out |= (robust_excess(np.log(np.where(r > 0, r, np.nan))) > STANDS_OUT) & (r > 2 * np.nanmedian(r))
        out |= (robust_excess(rest) < -2 * STANDS_OUT) & (rest < 0.5 * np.nanmedian(rest))
    return [int(k) for k in np.flatnonzero(out & enough)]


def _images(summary: Summary) -> Check | None:
    table = summary.by_image
    if table is None or not any(table.first):
        return None
    runs = images_standing_out(summary)
    if not runs:
        return Check("Images", GOOD, "No images stand out.", "images")
    names = short_names(_identifiers(summary))
    of = [f" of data set {name}" if len(names) > 1 else "" for name in names]
    shown = some_of([f"{a}-{b}{of[d]}" for d, a, b in runs], 3, "runs")
    images = sum(b - a + 1 for a, b in zip(table.first, table.last, strict=True))
    if sum(b - a + 1 for _, a, b in runs) < FEW_IMAGES * images:
        return Check("Images", GOOD, f"Very few images stand out: {shown}.", "images")
    return Check("Images", LOOK, f"Images {shown} agree worse with the rest than the others do.", "images")


def _data_sets(summary: Summary) -> Check | None:
    table = summary.by_data_set
    if table is None or len(table.identifier) < 4:
        return None
    out = data_sets_standing_out(summary)
    if not out:
        return Check("Data sets", GOOD, f"None of the {len(table.identifier)} data sets stands out.", "data-sets")
    every = short_names(list(table.identifier))
    text = f"Data sets that agree worse with the rest than the others do: {some_of([every[k] for k in out], 5)}."
    return Check("Data sets", LOOK, text, "data-sets")


# Commands ---------------------------------------------------------------------------------------------------


def _commands(summary: Summary) -> list[Advice]:
    output = summary.output
    pair = [output.experiments, output.reflections]
    found: list[Advice] = []

    def add(why: str, *words: str) -> None:
        found.append(Advice(why, shlex.join(["scale", *pair, *words])))

    limit = summary.statistics.suggested_d_min if summary.statistics else None
    if limit is not None:
        add(f"Cut the resolution where CC1/2 falls to 0.3, {limit:.2f} Å:", f"d_min={limit:.2f}")
    sets = data_sets_standing_out(summary)
    runs = images_standing_out(summary)
    names = _identifiers(summary)
    for d in {d for d, *_ in runs}:
        images = sum(b - a + 1 for k, a, b in runs if k == d)
        if len(names) > 1 and images > MOST_OF_A_SET * _images_of(summary, d) and d not in sets:
            sets.append(d)
    runs = [run for run in runs if run[0] not in sets]
    if sets and len(sets) < 0.5 * len(names):
        listed = ",".join(names[k] for k in sorted(sets))
        add("Leave out the data sets that stand out:", f"exclude_datasets={listed}")
    if runs:
        items = [f"{a}:{b}" if len(names) == 1 else f"{names[d]}:{a}:{b}" for d, a, b in runs[: 2 * MOST_COMMANDS]]
        add("Leave out the images that stand out:", f"exclude_images={','.join(items)}")
    if output.json:
        compare = shlex.quote("report.compare=" + output.json)
        found = [Advice(a.why, f"{a.command} {compare}") for a in found]
    return found[:MOST_COMMANDS]


def _identifiers(summary: Summary) -> list[str]:
    """Identifiers of the data sets in the output."""
    return summary.by_data_set.identifier if summary.by_data_set else []


def _images_of(summary: Summary, d: int) -> int:
    table = summary.by_image
    if table is None:
        return 0
    return sum(
        last - first + 1 for k, first, last in zip(table.data_set, table.first, table.last, strict=True) if k == d
    )
